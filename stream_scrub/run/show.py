"""How results look: tables and sentences for people, JSON for machines. Never a number that was not asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from stream_scrub.config import Loaded, masked
from stream_scrub.index import Index
from stream_scrub.lists.wire import utc_seconds
from stream_scrub.rules import Rulebook
from stream_scrub.run.checking import Answer
from stream_scrub.run.foresee import Foreseen
from stream_scrub.run.importing import Effect


def machine(shown: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(msgspec.json.encode(shown).decode())


@contextmanager
def progress(*, visible: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal's standard error; a line a stage elsewhere. Yields `stage(what, done, of)`."""
    console = Console(stderr=True)
    if not visible:
        yield lambda _what, _done, _of: None
        return
    if not console.is_terminal:
        seen: set[str] = set()

        def line(what: str, _done: int, _of: int) -> None:
            if what not in seen:
                seen.add(what)
                console.print(what)

        yield line
        return
    place = TextColumn("{task.fields[place]}")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), place, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None, place="")

        def stage(what: str, done: int, of: int) -> None:
            at = f"{done:,} of {of:,}" if of else ""
            bar.update(task, description=what, completed=done, total=of or None, place=at)

        yield stage


def effect(made: Effect, *, as_json: bool) -> None:
    """What an import did."""
    if as_json:
        machine(made.as_json())
        return
    console = Console()
    console.print(f"{made.register} ({made.kind}), read as {made.read_as}", highlight=False)
    table = Table(show_header=False, box=None, pad_edge=False)
    for what in ("added", "removed", "unchanged", "refused", "duplicates", "count"):
        table.add_row({"count": "now in it"}.get(what, what), f"{getattr(made, what):,}")
    console.print(table)
    if made.kept:
        console.print(
            f"{made.kept:,} numbers that the list lacks stay: a full list only adds to this register",
            highlight=False,
        )
    if made.foreseen is not None:
        _foreseen(console, made.foreseen)
    if made.ending:
        console.print(f"{made.ending:,} of the listed numbers end", highlight=False)
    if made.refused:
        names = made.refused_in or [""] * len(made.refused_lines)
        places = zip(names, made.refused_lines, strict=True)
        lines = ", ".join(f"{name}: {line}" if name else str(line) for name, line in places)
        more = " ..." if made.refused > len(made.refused_lines) else ""
        console.print(f"refused lines: {lines}{more}", highlight=False)
    if made.would_be_refused:
        console.print(f"would be refused: {made.would_be_refused}", highlight=False, markup=False)
    where = (
        "dry run: nothing was published"
        if made.position is None
        else f"published at position {made.position}"
    )
    console.print(f"{where}, effective {made.effective_at}, in {made.took_s:.1f} s", highlight=False)


def _foreseen(console: Console, foreseen: Foreseen) -> None:
    """What a dry run found out beside the counts."""
    for what, regions in (("added", foreseen.added_in), ("removed", foreseen.removed_in)):
        if regions:
            told = ", ".join(f"{region} {count:,}" for region, count in regions.items())
            console.print(f"{what} by region: {told}", highlight=False)
    total = sum(foreseen.changed.values())
    console.print(
        f"of the last {foreseen.judged:,} prospects, {total:,} would get another verdict", highlight=False
    )
    for what, count in foreseen.changed.items():
        console.print(f"    {count:,}  {what}", highlight=False)


def status(index: Index, rulebook: Rulebook, *, as_json: bool) -> None:
    """Every register of an index."""
    now = datetime.now(UTC)
    registers = [
        {
            "register": r.name,
            "kind": r.kind,
            "count": len(r.numbers),
            "effective_at": utc_seconds(r.effective_at),
            "age_days": round((now - r.effective_at).total_seconds() / 86400, 2),
            "seq": r.seq,
            "position": r.position,
            "source": r.source,
            "chain": r.chain,
        }
        for _, r in sorted(index.registers.items())
    ]
    if as_json:
        machine({"position": index.position, "registers": registers})
        return
    console = Console()
    if not registers:
        console.print(
            "the log holds no register yet: import one with `stream-scrub lists import FILE --register NAME`"
        )
        return
    table = Table(
        "register", "kind", "numbers", "effective", "age", "seq", "source", box=None, pad_edge=False
    )
    for r in registers:
        table.add_row(
            *(str(r["register"]), str(r["kind"]), f"{r['count']:,}", str(r["effective_at"])),
            *(f"{r['age_days']:.1f} d", str(r["seq"]), str(r["source"])),
        )
    console.print(table)
    console.print(f"position {index.position}", highlight=False)
    missing = sorted(rulebook.registers - {name.partition("@")[0] for name in index.registers} - {"internal"})
    if missing:
        console.print(f"named by rules and never imported, so stale: {', '.join(missing)}", highlight=False)


def verdicts(answers: list[Answer], *, as_json: bool) -> None:
    """One line a number, and why."""
    if as_json:
        for answer in answers:
            typer.echo(answer.stamp.decode())
        return
    console = Console()
    for answer in answers:
        fields = answer.fields
        colour = "green" if fields["verdict"] == "allowed" else "red"
        said = f"[{colour}]{fields['verdict']}[/] {fields['reason']}"
        why = [f"in {', '.join(fields['registers'])}" if "registers" in fields else ""]
        why += [f"until {fields['until']}" if "until" in fields else "", f"index {fields['index']}"]
        why += [f"rules {fields['rules']}" if "rules" in fields else ""]
        console.print(
            f"{fields.get('number', answer.asked)}  {said}  ({'; '.join(filter(None, why))})", highlight=False
        )
        if answer.source:
            console.print(f"    {answer.source}", highlight=False, markup=False)


def configuration(found: Loaded, *, as_json: bool) -> None:
    """Every setting with where it comes from."""
    shown = masked(found.settings) if found.settings is not None else {}
    if as_json:
        machine({"settings": shown, "origins": found.origins, "problems": found.problems})
        return
    console = Console()
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for section, values in shown.items():
        for key, value in values.items():
            name = f"{section}.{key}"
            table.add_row(name, msgspec.json.encode(value).decode(), found.origins.get(name, "default"))
    console.print(table, highlight=False, markup=False)

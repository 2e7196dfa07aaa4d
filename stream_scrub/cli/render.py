"""How results look: tables and sentences for people, JSON for machines. Never a number that was not asked for."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from stream_scrub import terminal
from stream_scrub.config import Loaded, masked
from stream_scrub.kafka.client.allowed_properties import HARMLESS
from stream_scrub.model import Progress
from stream_scrub.publisher.import_list import ImportEffect
from stream_scrub.publisher.import_preview import ImportPreview
from stream_scrub.queries.check import CheckedNumber
from stream_scrub.queries.evidence import LogStatus
from stream_scrub.server.tokens import IssuedToken, ListedToken


@contextmanager
def progress(*, visible: bool) -> Iterator[Progress]:
    """A bar on a terminal's standard error; a line a stage elsewhere. Yields `stage(what, done, of)`."""
    console = terminal.People(stderr=True)
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
    place = TextColumn("{task.fields[place]}", markup=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        place,
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None, place="")

        def stage(what: str, done: int, of: int) -> None:
            at = f"{done:,} of {of:,}" if of else ""
            bar.update(task, description=terminal.one_line(what), completed=done, total=of or None, place=at)

        yield stage


def effect(made: ImportEffect) -> None:
    """What an import did."""
    console = terminal.People()
    console.print(f"{made.register} ({made.kind}), read as {made.read_as}")
    counts = ("added", "removed", "unchanged", "refused", "duplicates", "count")
    console.rows(
        ("", ""), [({"count": "now in it"}.get(what, what), f"{getattr(made, what):,}") for what in counts]
    )
    if made.kept:
        console.print(
            f"{made.kept:,} numbers that the list lacks stay: a full list only adds to this register",
            highlight=False,
        )
    if made.outside:
        console.print(
            f"{made.outside:,} numbers lie in areas that were not declared: they are opposed, and their areas stay"
            " closed",
            highlight=False,
        )
    if made.foreseen is not None:
        _foreseen(console, made.foreseen)
    if made.ending:
        console.print(f"{made.ending:,} of the listed numbers end")
    if made.refused:
        names = made.refused_in or [""] * len(made.refused_lines)
        places = zip(names, made.refused_lines, strict=True)
        lines = ", ".join(f"{name}: {line}" if name else str(line) for name, line in places)
        more = " ..." if made.refused > len(made.refused_lines) else ""
        console.print(f"refused lines: {lines}{more}")
    if made.would_be_refused:
        console.print(f"would be refused: {made.would_be_refused}")
    where = (
        "dry run: nothing was published"
        if made.position is None
        else f"published at position {made.position}"
    )
    console.print(f"{where}, effective {made.effective_at}, in {made.took_s:.1f} s")


def _foreseen(console: terminal.People, foreseen: ImportPreview) -> None:
    """What a dry run found out beside the counts."""
    for what, regions in (("added", foreseen.added_in), ("removed", foreseen.removed_in)):
        if regions:
            listed = ", ".join(f"{region} {count:,}" for region, count in regions.items())
            console.print(f"{what} by region: {listed}")
    total = sum(foreseen.changed.values())
    console.print(f"of the last {foreseen.judged:,} prospects, {total:,} would get another verdict")
    for what, count in foreseen.changed.items():
        console.print(f"    {count:,}  {what}")


def status(found: LogStatus) -> None:
    """What keeps everybody from the log, if anything does; its registers; and those that rules of today need and that cannot
    be used."""
    console = terminal.People()
    if found.mark is not None:
        console.print(found.mark)
    if not found.registers:
        if found.mark is None:
            console.print(
                "the log holds no register yet: import one with `stream-scrub lists import FILE --register NAME`"
            )
        return
    console.rows(
        ("register", "kind", "numbers", "effective", "age", "seq", "source"),
        [
            (
                *(each.register, each.kind, f"{each.count:,}", each.effective_at),
                *(f"{each.age_days:.1f} d", each.seq, each.source),
            )
            for each in found.registers
        ],
    )
    console.print(f"position {found.position}")
    if found.unusable:
        console.print("registers that rules of today need and that cannot be used:")
        for lacking in found.unusable:
            console.print(f"  {lacking.register} ({', '.join(lacking.countries)}): {lacking.why}")


def stamps(answers: list[CheckedNumber]) -> None:
    """The stamps themselves, one a line."""
    for answer in answers:
        terminal.raw(answer.stamp + b"\n")


def verdicts(answers: list[CheckedNumber]) -> None:
    """One line a number, and why."""
    console = terminal.People()
    for answer in answers:
        fields = answer.fields
        colour = "green" if fields["verdict"] == "allowed" else "red"
        why = [f"in {', '.join(fields['registers'])}" if "registers" in fields else ""]
        why += [f"until {fields['until']}" if "until" in fields else "", f"index {fields['index']}"]
        why += [f"rules {fields['rules']}" if "rules" in fields else ""]
        console.print(
            f"{fields.get('number', answer.asked)} ",
            terminal.styled(fields["verdict"], colour),
            f"{fields['reason']}  ({'; '.join(filter(None, why))})",
        )
        if answer.source:
            console.print(f"    {answer.source}")


class Configuration(msgspec.Struct, frozen=True):
    """Every setting by section, secrets masked; where each comes from that is no default; and every problem."""

    settings: dict[str, dict[str, Any]]
    origins: Mapping[str, str]
    problems: Sequence[str]

    @classmethod
    def of(cls, found: Loaded) -> "Configuration":
        """What was loaded, with its secrets masked."""
        shown = masked(found.settings, HARMLESS) if found.settings is not None else {}
        return cls(shown, found.origins, found.problems)


def configuration(found: Configuration) -> None:
    """Every setting with where it comes from."""
    terminal.People().rows(
        ("setting", "value", "from"),
        [
            (f"{section}.{key}", terminal.document(value), found.origins.get(f"{section}.{key}", "default"))
            for section, values in found.settings.items()
            for key, value in values.items()
        ],
    )


def issued(made: IssuedToken) -> None:
    """A new token."""
    console = terminal.People()
    console.print(
        f"{made.name} may ask for {', '.join(made.scopes)}. Keep the token now: it is not shown again."
    )
    terminal.raw(made.token.encode() + b"\n")


def tokens(listed: Sequence[ListedToken]) -> None:
    """Every token."""
    terminal.People().rows(
        ("name", "scopes", "made", "last used"),
        [(each.name, ", ".join(each.scopes), each.created_at, each.last_used or "") for each in listed],
    )

"""`lists import`, `remove`, `status`, `publish` and `renew`: writes lists and requests to the log."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_scrub import terminal
from stream_scrub.cli.options import (
    CONSENTS,
    GUARDS,
    LIST,
    Invocation,
    argument,
    columns_to_name,
    option,
    quiet_log,
)
from stream_scrub.errors import ConfigError
from stream_scrub.model import LogReader, RegisterKind

if TYPE_CHECKING:  # loaded when a command runs
    from stream_scrub.imports.ask_reassigned import ReassignedQuery
    from stream_scrub.imports.import_list import ImportEffect, ImportPreview
    from stream_scrub.imports.remove_register import RegisterRemoved
    from stream_scrub.imports.renew_log import LogRenewed
    from stream_scrub.queries.history import LogStatus
    from stream_scrub.terminal.console import People


EffectiveAt = Annotated[
    str,
    option(
        "DAY",
        "The list's day or time; default: as in the file, else in its name, else now if the register has no maximum age.",
        LIST,
    ),
]
ListFormat = Annotated[
    str, option("--format NAME", "auto, or a format's name: see docs/reference/list-formats.md.", LIST)
]
ListColumn = Annotated[
    str, option("NAME", "Column of the numbers in a CSV: a header's name, or a number from 1.", LIST)
]
ListColumns = Annotated[
    str,
    option("NAME=COLUMN,...", "Columns by name, as in phone=Mobile,consent=Opt-in or area=1,number=2.", LIST),
]
AllConsented = Annotated[
    bool,
    option("--all-consented", "Every person in the list consented, whatever its columns say.", CONSENTS),
]
NoInto = Annotated[
    str,
    option(
        "--no-into REGISTER",
        "With consent= in --columns: import the people who said no as opt-outs.",
        CONSENTS,
    ),
]
AllowChange = Annotated[
    bool,
    option(
        "--allow-change",
        "Accept an unusual list (lists.max_change, lists.max_added, other countries, missing days), and print why.",
        GUARDS,
    ),
]
RegisterUnknown = Annotated[
    bool, option("--register-unknown", "Create a register that no rule uses.", GUARDS)
]
AllowOlder = Annotated[bool, option("--allow-older", "Accept a full list older than the register's.", GUARDS)]
AllowEnds = Annotated[
    bool, option("--allow-ends", "Let the list's expiry dates end oppositions in internal.", GUARDS)
]
Register = Annotated[str, option("--register -r REGISTER", "The register, as in tps or internal@acme.")]
Kind = Annotated[
    RegisterKind | None,
    option(
        "deny|allow", "For the first import; default: as the rules need it, else as the list states.", LIST
    ),
]
ListRegion = Annotated[
    str | None, option("REGION", "Region of national numbers; default: the register's (lists.regions).", LIST)
]
MaxBad = Annotated[
    float | None, option("SHARE", "Refuse above this share of bad lines (lists.max_bad).", GUARDS)
]
ListHashed = Annotated[
    str,
    option(
        "hmac-sha256|sha256|drop",
        "FILE has hashes of numbers: by a shared key, without one, or of California's DROP.",
        LIST,
    ),
]
ListKnown = Annotated[
    str,
    option(
        "NUMBER",
        "With --hashed: a number in the list, or any number and its hash. It proves the form and the key.",
        LIST,
    ),
]
ListAreas = Annotated[str, option("AREAS", "Subscribed areas, as in 212,305; or all.", LIST)]


def import_(
    call: Invocation,
    file: Annotated[Path, argument("FILE", "The list: plain, gzip or zip.")],
    register: Register,
    adds: Annotated[bool, option("--adds", "FILE has numbers to add.")] = False,
    removes: Annotated[bool, option("--removes", "FILE has numbers to remove.")] = False,
    kind: Kind = None,
    effective_at: EffectiveAt = "",
    region: ListRegion = None,
    format_: ListFormat = "auto",
    column: ListColumn = "",
    columns: ListColumns = "",
    all_consented: AllConsented = False,
    no_into: NoInto = "",
    max_bad: MaxBad = None,
    areas: ListAreas = "",
    hashed: ListHashed = "",
    known: ListKnown = "",
    allow_change: AllowChange = False,
    allow_older: AllowOlder = False,
    allow_ends: AllowEnds = False,
    register_unknown: RegisterUnknown = False,
    dry_run: Annotated[bool, option("--dry-run", "Show the effect without publishing.")] = False,
) -> None:
    """Compare a list with its register and publish the changes. FILE is a full list by default."""
    from stream_scrub.imports import import_list, plan_import
    from stream_scrub.index import HashKeys

    if adds and removes:
        raise ConfigError(["--adds and --removes: a file is one or the other"])
    settings = call.settings(lists__max_bad=max_bad)
    options = plan_import.ImportOptions(
        file=file,
        register=import_list.named(register, settings),
        change="adds" if adds else "removes" if removes else "full",
        kind=kind,
        effective_at=import_list.effective(effective_at, datetime.now(UTC)),
        region=region or "",
        is_region_named=region is not None,
        column=column,
        format=format_,
        columns=import_list.columns(columns),
        all_consented=all_consented,
        no_into=import_list.named(no_into, settings) if no_into else "",
        max_bad=settings.lists.max_bad,
        allow_older=allow_older,
        allow_ends=allow_ends,
        register_unknown=register_unknown,
        areas=tuple(filter(None, (area.strip() for area in areas.split(",")))),
        hashed=import_list.hashed_order(hashed, known, region or settings.prospect.default_region),
        keys=HashKeys(settings.lists.hash_keys),
        dry_run=dry_run,
    )
    options = import_list.guarded(options, settings, any_change=allow_change)
    with columns_to_name(), call.progress() as progress:
        effect = import_list.run(options, settings, quiet_log(settings), progress)
    call.write(effect, show_effect)


def status(call: Invocation) -> None:
    """List the registers on the log with kind, size and age."""
    from stream_scrub.ops import read_log
    from stream_scrub.queries import history
    from stream_scrub.scrub import scrubbing

    settings = call.settings()
    rulebook = scrubbing.rulebook(settings)
    replay = read_log.replayed(settings, quiet_log(settings))
    mark = replay.known("").log.mark
    result = history.status(replay.index, rulebook, datetime.now(UTC), mark)
    call.write(result, show_status)


def ask_reassigned(
    call: Invocation,
    lists: Annotated[list[Path], argument("FILE...", "Lists of consents or leads with days.")],
    output: Annotated[Path, option("--output -o FILE", "The questions to write: number,date.")] = Path(
        "ask-reassigned.csv"
    ),
    columns: ListColumns = "",
) -> None:
    """Write the questions to the US Reassigned Numbers Database: each number with the first day of its consents."""
    from stream_scrub.imports import ask_reassigned, import_list

    call.write(
        ask_reassigned.ask(lists, output, dict(import_list.columns(columns)), datetime.now(UTC)), show_asked
    )


def remove(
    call: Invocation,
    register: Annotated[str, argument("NAME", "The register, as in tps or consent@acme.")],
) -> None:
    """Remove a register that no rule uses, or a register of consents. The log keeps its history."""
    from stream_scrub.imports import import_list, remove_register

    settings = call.settings()
    name = import_list.named(register, settings)
    with call.progress() as progress:
        removed = remove_register.run(name, settings, quiet_log(settings), progress)
    call.write(removed, show_removed)


def publish(
    call: Invocation,
    folder: Annotated[
        Path | None, option("--folder DIR", "Watch DIR/REGISTER for lists (lists.folder).")
    ] = None,
) -> None:
    """Publish requests, expiries and dropped files as they arrive, until SIGTERM or Ctrl-C."""
    from stream_scrub.cli import greeting
    from stream_scrub.requests import daemon

    settings = call.settings(lists__folder=folder)
    greeting.of_publisher(settings)
    raise typer.Exit(daemon.run(settings))


def renew(
    call: Invocation,
    topic: Annotated[str, argument("TOPIC", "The new log's name.")],
    cut: Annotated[Path, option("--cut FILE", "Where to write the old log's proof, for a timestamp.")],
    without: Annotated[
        list[str] | None, option("REGISTER=FILE", "Expired consents to leave out; repeatable.")
    ] = None,
) -> None:
    """Copy every register to a new log without requests and proofs. The old log stays as it is."""
    from stream_scrub.imports import renew_log
    from stream_scrub.kafka import clients
    from stream_scrub.queries import verify_log

    old, new = call.settings(), call.settings(topics__log=topic)
    numbers = renew_log.left_out(without or [], old)
    with call.progress() as progress:

        def prove(reader: LogReader) -> renew_log.OldLogProof:
            proof = verify_log.verify(reader, progress, clients.deadline(), topic=old.topics.log)
            return renew_log.OldLogProof(terminal.document(proof).encode() + b"\n", proof.sound, proof.end)

        result = renew_log.run(cut, numbers, old, new, prove, quiet_log(old), progress)
    call.write(result, show_renewed)


def show_effect(effect: "ImportEffect") -> None:
    """Print the effect of an import."""
    console = terminal.people()
    console.print(f"{effect.register} ({effect.kind}), format {effect.read_as}")
    counts = ("added", "removed", "unchanged", "refused", "duplicates", "count")
    console.rows(
        ("", ""), [({"count": "now in it"}.get(what, what), f"{getattr(effect, what):,}") for what in counts]
    )
    for line in _notes_on(effect):
        console.print(line)
    if effect.foreseen is not None:
        _preview(console, effect.foreseen)
    if effect.would_be_refused:
        console.print(f"would be refused: {effect.would_be_refused}")
    where = (
        "dry run: nothing was published"
        if effect.position is None
        else f"published at position {effect.position}"
    )
    console.print(f"{where}, effective {effect.effective_at}, in {effect.took_s:.1f} s")


def _notes_on(effect: "ImportEffect") -> Iterator[str]:
    """What a list's counts do not say: how it was read, and what does not count of it."""
    yield from effect.reading
    if effect.kept:
        yield f"{effect.kept:,} numbers not in the list stay: full lists only add to this register"
    if effect.endless:
        yield (
            f"warning: {effect.endless:,} expiry dates are ignored: an opposition to you does not expire. To apply"
            " them, import the list again with --allow-ends"
        )
    if effect.outside:
        yield f"{effect.outside:,} numbers lie outside the declared areas: they are opposed, and their areas stay closed"
    if effect.older:
        yield f"{effect.older:,} clean answers are older than the register's and no longer count"
    if effect.ending:
        yield f"{effect.ending:,} of the listed numbers expire"
    if effect.refused:
        names = effect.refused_in or [""] * len(effect.refused_lines)
        places = zip(names, effect.refused_lines, strict=True)
        lines = ", ".join(f"{name}: {line}" if name else str(line) for name, line in places)
        more = " ..." if effect.refused > len(effect.refused_lines) else ""
        yield f"refused lines: {lines}{more}"
    if (opt_outs := effect.opt_outs) is not None:
        known = f"{opt_outs.unchanged:,} were in it already"
        yield f"{opt_outs.added:,} opt-outs added to {opt_outs.register}, {known}"
    for note in effect.notes:
        yield f"note: {note}"


def _preview(console: "People", preview: "ImportPreview") -> None:
    """Print what only a dry run computes."""
    for what, regions in (("added", preview.added_in), ("removed", preview.removed_in)):
        if regions:
            listed = ", ".join(f"{region} {count:,}" for region, count in regions.items())
            console.print(f"{what} by region: {listed}")
    total = sum(preview.changed.values())
    console.print(f"of the last {preview.judged:,} prospects, {total:,} would get another verdict")
    for what, count in preview.changed.items():
        console.print(f"    {count:,}  {what}")


def show_status(status: "LogStatus") -> None:
    """Print the log's mark, its registers, and the unusable ones that today's rules need."""
    console = terminal.people()
    if status.mark is not None:
        console.print(status.mark)
    if not status.registers:
        if status.mark is None:
            console.print(
                "the log has no register yet: import one with `stream-scrub lists import FILE --register NAME`"
            )
        return
    console.rows(
        ("register", "kind", "numbers", "effective", "age", "seq", "source"),
        [
            (
                *(each.register, each.kind, f"{each.count:,}", each.effective_at),
                *(f"{each.age_days:.1f} d", each.seq, each.source),
            )
            for each in status.registers
        ],
    )
    console.print(f"position {status.position}")
    for held in status.registers:
        if held.note:
            console.print(f"note: {held.note}")
    if status.unusable:
        console.print("unusable registers that today's rules need:")
        for each in status.unusable:
            console.print(f"  {each.register} ({', '.join(each.countries)}): {each.why}")


def show_asked(asked: "ReassignedQuery") -> None:
    """Print what the file of questions holds, and what to do with it."""
    console = terminal.people()
    left_out = f"left out: {asked.undated} without a day, {asked.others} without an American number"
    console.print(f"{asked.file}: {asked.numbers} numbers to ask about; {left_out}")
    console.print(
        "submit it, then import the answers with `stream-scrub lists import ANSWERS -r us-reassigned --format reassigned`"
    )


def show_removed(removed: "RegisterRemoved") -> None:
    """Print what was removed."""
    terminal.people().print(
        f"{removed.register} is removed, with {removed.numbers:,} numbers, at position {removed.position}"
    )


def show_renewed(renewed: "LogRenewed") -> None:
    """Print the content of the new log and the next steps."""
    console = terminal.people()
    console.rows(
        ("register", "kind", "numbers", "ending", "left out"),
        [(each.register, each.kind, each.count, each.ending, each.left_out) for each in renewed.registers],
    )
    for line in (
        f"{renewed.old}, up to position {renewed.position}, is proven in {renewed.cut} (SHA-256 {renewed.cut_sha256}): have it timestamped",
        f"next: set topics.log to {renewed.new} for publisher, workers and check API, and start them",
        f"then keep {renewed.old} while its verdicts may have to be proven, and delete it: that is the erasure",
    ):
        console.print(line)

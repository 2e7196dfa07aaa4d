"""How a scrubbed file looks on the terminal: a bar while it runs, a table when it is done. Never a number."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from stream_scrub import terminal
from stream_scrub.files.results.proof import Verified
from stream_scrub.files.results.summary import Summary
from stream_scrub.model import Progress, Reason, Verdict

if TYPE_CHECKING:  # they load what one command needs
    from stream_scrub.files.produce import Produced
    from stream_scrub.files.wash import WashPrepared

_LINES = 10


@contextmanager
def progress(*, visible: bool) -> Iterator[Progress]:
    """A bar on a terminal's standard error, with speed and time left; one line elsewhere. Yields
    `stage(what, done, of)`, in bytes of the file."""
    console = terminal.People(stderr=True)
    if not visible:
        yield lambda _what, _done, _of: None
        return
    if not console.is_terminal:
        yield lambda what, done, _of: console.print(what) if not done else None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("opening", total=None)

        def stage(what: str, done: int, of: int) -> None:
            if not done:
                bar.console.print(terminal.styled(what, ""))
            bar.update(task, description=terminal.one_line(what), completed=done, total=of or None)

        yield stage


def summary(made: Summary, folder: Path) -> None:
    """What became of the rows, and what deserves a look."""
    console = terminal.People()
    read = made.input
    packing = f"{read.packing}, " if read.packing else ""
    console.print(f"{read.name} ({packing}{read.written_as}), {read.columns}")
    rows = [
        (str(Reason(reason).verdict), reason, f"{count:,}", f"{count / made.rows:.1%}")
        for reason, count in made.reasons.items()
    ]
    total = [("", "rows", f"{made.rows:,}", "")]
    ordered = sorted(rows, key=lambda row: row[0] != Verdict.ALLOWED)
    console.rows(("verdict", "reason", "rows", "share"), [*ordered, *total])
    for note in notes(made):
        console.print(note)
    console.print(
        f"the results are in {folder}: begin with report.html ({made.rows / max(made.took_s, 0.001):,.0f} rows/s)"
    )


def produced(made: "Produced") -> None:
    """What is on the topic now."""
    are = "prospect is" if made.prospects == 1 else "prospects are"
    terminal.People().print(f"{made.prospects:,} {are} on {made.topic} ({made.columns})")


def prepared(made: "WashPrepared", folder: Path) -> None:
    """What is to be submitted, and what that saves."""
    console = terminal.People()
    console.print(f"{folder / made.file}: {made.numbers:,} numbers to submit to {made.register}")
    console.rows(
        ("left out", "numbers"),
        [
            ("the same number again", f"{made.repeated:,}"),
            ("no valid number", f"{made.invalid:,}"),
            ("an earlier answer is still good", f"{made.good:,}"),
            ("not this register's, or blocked anyway", f"{made.others:,}"),
        ],
    )
    console.print(
        f"import the answer with `stream-scrub lists import ANSWER -r {made.register} --format wash`, and scrub again"
    )


def verified(found: Verified) -> None:
    """What a proof still proves."""
    console = terminal.People()
    for each in found.checked:
        console.print(f"as it was: {each}")
    for each in found.unchecked:
        console.print(f"not checked: {each}")
    for each in found.differs:
        console.print("differs:", terminal.styled(each, "bold red"))
    console.print("everything is as it was" if found.same else "not everything is as it was")


def notes(made: Summary) -> Iterator[str]:
    """What deserves a look, a sentence each."""
    for stale in made.stale:
        why = "nobody gave it" if stale.missing else "its list is too old"
        yield f"rows blocked because the list {stale.register} is needed, and {why}: {stale.rows:,}"
    if made.invalid_lines:
        lines = ", ".join(map(str, made.invalid_lines[:_LINES]))
        yield f"rows without a readable number: {made.reasons[Reason.INVALID_NUMBER]:,}; the first lines: {lines}"
    if made.destroyed:
        yield f"numbers that a spreadsheet destroyed (their last digits are gone): {made.destroyed:,}"
    if made.duplicates:
        yield f"numbers that stood in the file before: {made.duplicates:,}"
    if made.uneven:
        yield f"rows with more or fewer cells than the others: {made.uneven:,}"
    if made.unclosed_lines:
        lines = ", ".join(map(str, made.unclosed_lines[:_LINES]))
        yield f"a quote is never closed in these lines: {lines}"
    if made.scrub_again_by is not None:
        yield f"scrub again before {made.scrub_again_by} is over: some verdicts are good until then only"

"""One file scrubbed: it is opened, its columns are found, its rows judged and written, and all of it told.

1. `source.py` opens and unpacks. 2. `rows/columns.py` finds the columns. 3. `rows/run.py` judges a block of rows at a time.
4. `results/outputs.py` gives all files their names at the end, or none of them.
"""

import codecs
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from stream_scrub import __version__
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.files.kinds.delimited.scrubbing import need_delimiter
from stream_scrub.files.kinds.kind import Counts, LeadsFile
from stream_scrub.files.kinds.opening import Judging, leads_of
from stream_scrub.files.order import FileOrder
from stream_scrub.files.results import report
from stream_scrub.files.results.outputs import PROOF, OutputFile, OutputFolder, need_apart, output_folder
from stream_scrub.files.results.proof import proof_of
from stream_scrub.files.results.registers import registers_of, rules_of
from stream_scrub.files.results.summary import FORMAT, InputRead, OutputWritten, Summary, encoded
from stream_scrub.files.rows.duplicates import Duplicates
from stream_scrub.files.rows.run import Targets
from stream_scrub.files.source import InputFile, open_input, size_of
from stream_scrub.model import Progress, Reason
from stream_scrub.wiring import scrubbing
from stream_scrub.wiring.index_sources import IndexUsed

SUMMARY = "summary.json"
# They write the names of hosts (RFC 3492): each would read some files, as something else.
_OF_HOSTS = ("idna", "punycode")


def scrub_file(
    order: FileOrder, settings: Settings, used: IndexUsed, stage: Progress = lambda _what, _done, _of: None
) -> Summary:
    """Scrub the file that `order` names into its folder. `stage` is told of progress, with bytes of the file done.

    Raises ConfigError (an option, or columns that cannot be told), Refused (no rows, too many without a number, a file
    that cannot be read or written).
    """
    began = time.monotonic()
    need_delimiter(order.delimiter)
    _need_encoding(order.encoding)
    need_apart(order.input, order.output)
    scrubber = scrubbing.scrubber(settings, hold=False)
    judging = Judging(settings, scrubber, used.index, order.on or datetime.now(UTC))
    order.region_by(settings)
    size = size_of(order.input)
    with (
        output_folder(order.output, force=order.force) as folder,
        tempfile.TemporaryFile(dir=order.output) as scratch,
    ):
        with open_input(order.input) as file:
            leads = leads_of(file, order, judging, Duplicates(scratch), folder.scratch)
            stage(f"scrubbing {file.name}: {leads.spoken}", 0, size)
            files = _outputs(folder, leads.extension, order)
            leads.scrub(
                Targets(files[0], files[1], files[2] if order.annotated else None),
                lambda _rows: stage("scrubbing", file.size, size),
            )
            read = _read(file, leads)
        _need_rows(read, leads.tally, order)
        made = _summary(order, read, leads.tally, judging, used, files, began)
        written = [file.written for file in files]
        written += [folder.put(SUMMARY, encoded(made)), folder.put(report.NAME, report.page_of(made))]
        lists = dict(used.files)
        folder.put(PROOF, proof_of(made, written, order.output, order.input, lists, scrubber.rulebook))
        folder.keep()
    return made


def _need_encoding(name: str) -> None:
    try:
        # Some codecs turn no bytes into text, or cannot pass over what they cannot read.
        bytes(range(1, 256)).decode(name or "utf-8", "replace")
        reads = not name or codecs.lookup(name).name not in _OF_HOSTS
    except (LookupError, ValueError):
        reads = False
    if not reads:
        raise ConfigError([f"--encoding: {name!r} is no encoding that Python knows, as in cp1252"])


def _outputs(folder: OutputFolder, extension: str, order: FileOrder) -> list[OutputFile]:
    """The files of rows: allowed, blocked and, where it was asked for, annotated."""
    names = ["allowed", "blocked", *(["annotated"] if order.annotated else [])]
    return [folder.open(name + extension) for name in names]


def _read(file: InputFile, leads: LeadsFile) -> InputRead:
    return InputRead(
        name=file.name,
        sha256=file.sha256,
        bytes=file.size,
        packing=file.packing,
        kind=leads.kind,
        written_as=leads.written_as,
        columns=leads.spoken,
        titles=leads.titles,
    )


def _need_rows(read: InputRead, tally: Counts, order: FileOrder) -> None:
    """Raises Refused for a file without rows, or with too many that hold no readable number."""
    if not tally.rows:
        raise Refused(f"{read.name}: it holds no rows; nothing was written")
    reasons = tally.reasons()
    bad = reasons.get(Reason.INVALID_NUMBER, 0) + reasons.get(Reason.UNREADABLE, 0)
    if bad > order.max_bad * tally.rows:
        lines = ", ".join(map(str, tally.invalid_lines[:10]))
        raise Refused(
            f"{read.name}: {bad} of {tally.rows} rows ({bad / tally.rows:.1%}) hold no readable number, more than --max-bad"
            f" {order.max_bad:.0%}; columns: {read.columns}; nothing was written. Lines: {lines}"
        )


def _summary(
    order: FileOrder,
    read: InputRead,
    tally: Counts,
    judging: Judging,
    used: IndexUsed,
    files: Sequence[OutputFile],
    began: float,
) -> Summary:
    allowed = tally.allowed
    rows = {"allowed": allowed, "blocked": tally.rows - allowed, "annotated": tally.rows}
    outputs = []
    for file in files:
        name, digest, size = file.written
        outputs.append(OutputWritten(name=name, sha256=digest, bytes=size, rows=rows[name.partition(".")[0]]))
    return Summary(
        format=FORMAT,
        version=__version__,
        input=read,
        at=judging.now,
        on=None if order.on is None else order.on.date(),
        source=used.source,
        index=used.index.position,
        registers=registers_of(used, judging.now),
        rules=rules_of(judging.scrubber.rulebook, tally.digests()),
        facts={"region": order.region_by(judging.settings), **order.said},
        rows=tally.rows,
        allowed=allowed,
        blocked=tally.rows - allowed,
        reasons=tally.reasons(),
        lines=tally.lines(),
        stale=tally.stale(used.index),
        scrub_again_by=tally.until(),
        duplicates=tally.duplicates.count(),
        destroyed=tally.destroyed,
        invalid_lines=tally.invalid_lines,
        uneven=tally.uneven,
        unclosed_lines=tally.unclosed_lines,
        outputs=outputs,
        took_s=round(time.monotonic() - began, 3),
    )

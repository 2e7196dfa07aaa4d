"""One file scrubbed: it is opened, its columns are found, its rows are judged and written, and all of it is reported.

1. `source.py` opens and unpacks. 2. `leads_of` finds the kind of file, and `columns.py` its columns. 3. `rows.py` judges
a block of rows at a time. 4. `outputs.py` gives all files their names at the end, or none of them.
"""

import codecs
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TypeAlias

import msgspec

from stream_scrub import __version__
from stream_scrub.call import FACTS
from stream_scrub.clock import zone
from stream_scrub.config import Settings
from stream_scrub.errors import BadFile, ConfigError
from stream_scrub.files.csv_file import DelimitedFile, need_delimiter
from stream_scrub.files.ndjson import NdjsonFile, is_ndjson
from stream_scrub.files.options import FileOptions
from stream_scrub.files.outputs import BAD_NUMBERS, PROOF, Nowhere, OutputFile, need_apart, output_folder
from stream_scrub.files.proof import proof_of, stamp
from stream_scrub.files.report.notes import Note, notes_on
from stream_scrub.files.rows import BadNumbers, Duplicates, Judging, Run, Targets
from stream_scrub.files.source import InputFile, open_input, size_of
from stream_scrub.files.spreadsheet import SpreadsheetFile
from stream_scrub.files.summary import (
    FORMAT,
    REPORT,
    InputRead,
    OutputWritten,
    Summary,
    encoded,
    page_of,
    plan_of,
    registers_of,
    rules_of,
)
from stream_scrub.imports.index_sources import IndexUsed
from stream_scrub.imports.parsing.parsed_list import NO_ROWS
from stream_scrub.languages import by_door, need_language, say
from stream_scrub.made_by import made_by
from stream_scrub.model import Progress, Reason
from stream_scrub.numbering.zones import zones_of
from stream_scrub.scrub import scrubbing
from stream_scrub.timestamps import Timestamps

SUMMARY = "summary.json"
# They write the names of hosts (RFC 3492): each would read some files, as something else.
_OF_HOSTS = ("idna", "punycode")
CellFile: TypeAlias = DelimitedFile | SpreadsheetFile  # rows of cells
LeadsFile: TypeAlias = CellFile | NdjsonFile


def leads_of(
    file: InputFile,
    options: FileOptions,
    judging: Judging,
    duplicates: Duplicates,
    scratch: Callable[[], Path],
) -> LeadsFile:
    """The file of leads that this is. `scratch` makes a folder for what a library keeps on disk. Raises ConfigError, BadFile."""
    delimiter = need_delimiter(options.delimiter)
    scrubbing.need_known_purposes(options.call, judging.scrubber.rulebook)
    if options.to not in {"", "csv"}:
        raise ConfigError([f"--to: {options.to!r}: say csv, or leave it out"])
    if file.spreadsheet:
        _need_unsaid("a spreadsheet", {"--delimiter": delimiter, "--encoding": options.encoding})
        if file.table:
            _need_unsaid(f"in {file.table}", {"--sheet": options.sheet})
        run = Run(judging, options, duplicates)
        return SpreadsheetFile(file, run, options.sheet, options.to == "csv", scratch())
    _need_unsaid("no spreadsheet", {"--sheet": options.sheet, "--to": options.to})
    if not delimiter and is_ndjson(file.head):
        titles = "" if options.columns.titles is None else "0"
        _need_unsaid("NDJSON", {"--encoding": options.encoding, "--titles": titles})
        return NdjsonFile(file, options, judging, duplicates)
    return DelimitedFile(file, Run(judging, options, duplicates), delimiter, options.encoding)


def _need_unsaid(what: str, options: dict[str, str]) -> None:
    """Raises ConfigError for an option that this kind of file has no use for."""
    said = [name for name, value in options.items() if value]
    if said:
        raise ConfigError([f"{' and '.join(said)}: the file is {what}"])


def scrub_file(
    options: FileOptions,
    settings: Settings,
    used: IndexUsed,
    stage: Progress = lambda _what, _done, _of: None,
) -> Summary:
    """Scrub the file that `options` name into its folder. `stage` gets the progress, with bytes of the file done.

    Raises as `scrub_with_notes`."""
    return scrub_with_notes(options, settings, used, stage)[0]


def scrub_with_notes(
    options: FileOptions,
    settings: Settings,
    used: IndexUsed,
    stage: Progress = lambda _what, _done, _of: None,
) -> tuple[Summary, list[str]]:
    """As `scrub_file`, with the summary's notes in the language of the report.

    Raises ConfigError (an option, or columns that are not clear), BadFile (no rows, too many without a number, a file
    that cannot be read or written).
    """
    began = time.monotonic()
    need_delimiter(options.delimiter)
    _need_encoding(options.encoding)
    need_language(options.language)
    scrubber = scrubbing.scrubber(settings, hold=False)
    judging = Judging.as_of(options.on, settings, scrubber, used.index)
    options.region_by(settings)
    if options.dry_run:
        with tempfile.TemporaryFile() as scratch, tempfile.TemporaryDirectory() as path:
            nowhere = Targets(Nowhere(), Nowhere())
            judged = _judged(options, judging, scratch, lambda: Path(path), lambda _: nowhere, stage)
            made, notes = _summary(options, *judged, judging, used, [], began)
            return made, [note.said(options.language) for note in notes]
    need_apart((options.input, *used.files.values()), options.output)
    with (
        output_folder(options.output, force=options.force) as folder,
        tempfile.TemporaryFile(dir=options.output) as scratch,
    ):
        files: list[OutputFile] = []

        def opened(name: str) -> OutputFile:
            files.append(folder.open(name))
            return files[-1]

        def targets(extension: str) -> Targets:
            allowed, blocked = (opened(name + extension) for name in ("allowed", "blocked"))
            annotated = opened("annotated" + extension) if options.annotated else None
            return Targets(allowed, blocked, annotated, BadNumbers(lambda: opened(BAD_NUMBERS)))

        judged = _judged(options, judging, scratch, folder.scratch, targets, stage)
        made, notes = _summary(options, *judged, judging, used, files, began)
        written = [*files, folder.put(SUMMARY, encoded(made))]
        results = (*(each.name for each in written), PROOF)
        said = [note.said(options.language) for note in notes]
        written.append(folder.put(REPORT, page_of(made, said, options.language, results)))
        folder.put(
            PROOF, proof_of(made, written, options.output, options.input, used.files, scrubber.rulebook)
        )
        folder.put_sums()
        folder.keep()
    if server := Timestamps.of(settings.evidence):
        stage("asking for the timestamp of the proof", 0, 0)
        if missing := stamp(options.output, server):
            return msgspec.structs.replace(made, notes=[*made.notes, missing]), [*said, missing]
    return made, said


def _judged(
    options: FileOptions,
    judging: Judging,
    scratch: IO[bytes],
    folder: Callable[[], Path],
    targets: Callable[[str], Targets],
    stage: Progress,
) -> tuple[InputRead, LeadsFile]:
    """Read the file and judge its rows; `targets` opens the results, by their extension. Raises as `scrub_file`."""
    size = size_of(options.input)
    with open_input(options.input) as file:
        leads = leads_of(file, options, judging, Duplicates(scratch), folder)
        stage(f"scrubbing {file.name}: {leads.spoken}", 0, size)
        leads.scrub(targets(leads.extension), lambda: stage("scrubbing", file.size, size))
        read = InputRead(
            name=file.name,
            sha256=file.sha256,
            bytes=file.size,
            packing=file.packing,
            kind=leads.kind,
            written_as=leads.written_as,
            columns=leads.spoken,
            titles=leads.titles,
        )
    leads.tally.finish()
    _need_rows(read, leads, options)
    _need_region(read, leads, options)
    return read, leads


def _need_encoding(name: str) -> None:
    try:
        # Some codecs turn no bytes into text, or cannot pass over what they cannot read.
        bytes(range(1, 256)).decode(name or "utf-8", "replace")
        reads = not name or codecs.lookup(name).name not in _OF_HOSTS
    except (LookupError, ValueError):
        reads = False
    if not reads:
        raise ConfigError([f"--encoding: {name!r} is not an encoding that Python knows, as in cp1252"])


class FewNumbers(BadFile):
    """More rows without a readable number than `FileOptions.max_bad` allows."""


def _need_rows(read: InputRead, leads: LeadsFile, options: FileOptions) -> None:
    """Raises BadFile for a file without rows, or with too many that hold no readable number."""
    tally = leads.tally
    if not tally.rows:
        raise BadFile(by_door(f"{read.name}: it holds no rows; nothing was written", say(NO_ROWS)))
    bad = tally.reasons[Reason.INVALID_NUMBER] + tally.reasons[Reason.UNREADABLE]
    if bad > options.max_bad * tally.rows:
        lines = [*tally.invalid_lines, *tally.unreadable_lines]
        # One line only: the page masks what looks like a phone number, as several do.
        first = f"; the first is on line {min(lines)}" if lines else ""
        why = (
            f"{read.name}: {bad} of {tally.rows} rows ({bad / tally.rows:.1%}) hold no readable number, and at most"
            f" {options.max_bad:.0%} may{first}; nothing was written. Is it the right column ({read.columns})? --max-bad 1"
            " scrubs it anyway"
        )
        page = say(
            "rows without a readable number: %(bad)s of %(rows)s, the first on line %(line)s. Check the columns of numbers, or"
            " scrub the file anyway",
            bad=bad,
            rows=tally.rows,
            line=min(lines, default=1),
        )
        raise FewNumbers(by_door(why, page))


def _need_region(read: InputRead, leads: LeadsFile, options: FileOptions) -> None:
    """Raises BadFile if nobody named the region of national numbers, and the file's other numbers speak against it."""
    doubts = [counts.doubt for counts in leads.tally.assumed if counts.doubt]
    for column in leads.countries[:1]:
        doubts += [doubt for counts in leads.tally.assumed if (doubt := counts.doubt_by(column))]
    if options.region is None and doubts:
        why = (
            f"{read.name}: {doubts[0]}; nothing was written. Pass --region if all of them are of one country, or name a column"
            f" with each row's country: --region-column ({read.columns})"
        )
        page = say(
            "%(doubt)s. Choose “Country of numbers without a country code” if all of them are of one country, or the column of"
            " the country",
            doubt=doubts[0],
        )
        raise BadFile(by_door(why, page))


def _summary(
    options: FileOptions,
    read: InputRead,
    leads: LeadsFile,
    judging: Judging,
    used: IndexUsed,
    files: Sequence[OutputFile],
    began: float,
) -> tuple[Summary, Sequence[Note]]:
    tally, allowed = leads.tally, leads.tally.allowed
    texts = {fact: FACTS[fact].text(member) for fact, member in options.call.members().items()}
    rows = {"allowed": allowed, "blocked": tally.rows - allowed, "annotated": tally.rows}
    outputs = [
        OutputWritten(
            name=each.name,
            sha256=each.sha256,
            bytes=each.size,
            rows=rows.get(each.name.partition(".")[0]),
        )
        for each in files
    ]
    notes = list(notes_on(options, leads.facts, tally, judging, used.readings))
    made = Summary(
        format=FORMAT,
        version=__version__,
        made_by=made_by(token=options.token),
        input=read,
        at=datetime.now(UTC) if options.on else judging.now,
        on=None if options.on is None else options.on.date(),
        source=used.source,
        index=used.index.position,
        registers=registers_of(used, judging.now),
        rules=rules_of(judging.scrubber.rulebook, sorted(tally.rules)),
        facts={"region": options.region_by(judging.settings), **texts},
        rows=tally.rows,
        allowed=allowed,
        blocked=tally.rows - allowed,
        reasons={str(reason): tally.reasons[reason] for reason in Reason if tally.reasons[reason]},
        lines=tally.line_counts,
        stale=tally.stale_counts(judging.index),
        scrub_again_by=tally.until,
        plan=plan_of(tally.windows, judging.now, zone(zones_of(options.region_by(judging.settings))[0])),
        any_hour=allowed - tally.windows.total(),
        duplicates=tally.duplicates.count(),
        destroyed=tally.destroyed,
        invalid_lines=tally.invalid_lines,
        uneven=tally.uneven,
        unreadable_lines=tally.unreadable_lines,
        notes=[note.said() for note in notes],
        outputs=outputs,
        took_s=round(time.monotonic() - began, 3),
    )
    return made, notes

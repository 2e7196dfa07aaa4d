"""Which kind of file it is, by its content, and the options that fit none but another kind."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.files.kinds.delimited.scrubbing import DelimitedFile, need_delimiter
from stream_scrub.files.kinds.kind import LeadsFile
from stream_scrub.files.kinds.ndjson import NdjsonFile, is_ndjson
from stream_scrub.files.kinds.spreadsheet import SpreadsheetFile
from stream_scrub.files.order import FileOrder
from stream_scrub.files.rows.duplicates import Duplicates
from stream_scrub.files.rows.facts import COLUMNS, FactsReader
from stream_scrub.files.rows.judging import RowJudge
from stream_scrub.files.rows.run import Run, Watch
from stream_scrub.files.rows.tally import Tally
from stream_scrub.files.source import InputFile
from stream_scrub.index import Index
from stream_scrub.scrub.batch import Scrubber


@dataclass(frozen=True, slots=True)
class Judging:
    """What rows are judged by: settings, index, moment, and the scrubber of these settings. `watch` is shown
    every block of judged rows."""

    settings: Settings
    scrubber: Scrubber
    index: Index
    now: datetime

    watch: Watch | None = None

    def run(self, order: FileOrder, duplicates: Duplicates) -> Run:
        """A run over rows of cells."""
        prospect = self.settings.prospect
        members = {fact: getattr(prospect, fact) for fact in COLUMNS}
        asked = replace(order.columns, members=members, said=order.said)
        facts = FactsReader(self.scrubber.facts_of, order.said)
        judge = RowJudge(self.scrubber, self.index, self.now)
        return Run(judge, facts, order.region_by(self.settings), asked, Tally(duplicates), self.watch)


def leads_of(
    file: InputFile, order: FileOrder, judging: Judging, duplicates: Duplicates, scratch: Callable[[], Path]
) -> LeadsFile:
    """The file of leads that this is. `scratch` makes a folder for what a library keeps on disk. Raises ConfigError, Refused."""
    delimiter = need_delimiter(order.delimiter)
    if order.to not in {"", "csv"}:
        raise ConfigError([f"--to: {order.to!r}: say csv, or leave it out"])
    if file.spreadsheet:
        _need_unsaid("a spreadsheet", {"--delimiter": delimiter, "--encoding": order.encoding})
        run = judging.run(order, duplicates)
        return SpreadsheetFile(file, run, order.sheet, order.to == "csv", scratch())
    _need_unsaid("no spreadsheet", {"--sheet": order.sheet, "--to": order.to})
    if not delimiter and is_ndjson(file.head):
        titles = "" if order.columns.titles is None else "0"
        _need_unsaid("NDJSON", {"--encoding": order.encoding, "--titles": titles})
        return NdjsonFile(
            file, order, judging.settings, judging.index, judging.now, duplicates, judging.watch
        )
    return DelimitedFile(file, judging.run(order, duplicates), delimiter, order.encoding)


def _need_unsaid(what: str, options: dict[str, str]) -> None:
    """Raises ConfigError for an option that this kind of file has no use for."""
    said = [name for name, value in options.items() if value]
    if said:
        raise ConfigError([f"{' and '.join(said)}: the file is {what}"])

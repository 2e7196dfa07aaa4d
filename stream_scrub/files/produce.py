"""Rows of a file as prospects on the topic: for whoever has grown from files to a stream."""

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Refused, ScrubError
from stream_scrub.files.kinds.kind import LeadsFile
from stream_scrub.files.kinds.ndjson import NO_JSON, NdjsonFile
from stream_scrub.files.kinds.opening import Judging, leads_of
from stream_scrub.files.order import FileOrder
from stream_scrub.files.rows.cells import mended
from stream_scrub.files.rows.columns import plain
from stream_scrub.files.rows.duplicates import Duplicates
from stream_scrub.files.rows.facts import COLUMNS, member
from stream_scrub.files.source import open_input, size_of
from stream_scrub.index import Index
from stream_scrub.model import Progress
from stream_scrub.numbering import REGIONS
from stream_scrub.scrub.member_names import fold
from stream_scrub.wiring import clients, scrubbing

_ON_THE_WAY = 50_000  # records that wait for their delivery reports
_STAMP = "scrub"  # the member that a worker writes
_TOLD_EVERY = 1_000


class Produced(msgspec.Struct, frozen=True, kw_only=True):
    """What was put on the topic, and from which columns: see `Columns.spoken`."""

    topic: str
    prospects: int
    columns: str


class Record(NamedTuple):
    """A row as a prospect: the row's line, and the record's key and value."""

    line: int
    key: bytes | None
    value: bytes


def produce(
    order: FileOrder,
    key_column: str,
    topic: str,
    settings: Settings,
    log: FilteringBoundLogger,
    stage: Progress = lambda _what, _done, _of: None,
) -> Produced:
    """Put the rows of the order's file on a topic of prospects, in order; `topic` is empty for the only one. Each is produced once; a second run produces
    all of them again.

    Raises ConfigError (columns that cannot be told), Refused, and what the brokers say to the first row that they do not
    take: the rows before it are then on the topic.
    """
    topic = _one_input(settings, topic)
    scrubber = scrubbing.scrubber(settings, hold=False)
    judging = Judging(settings, scrubber, Index.empty(), datetime.now(UTC))
    size = size_of(order.input)
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryFile())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        file = stack.enter_context(open_input(order.input))
        leads = leads_of(file, order, judging, Duplicates(scratch), lambda: Path(folder))
        if isinstance(leads, NdjsonFile):
            if order.said or order.columns.names or order.region is not None:
                raise ConfigError(
                    ["NDJSON is put on the topic as it is: of its lines only --key-column is asked"]
                )
            records: Iterator[Record] = _lines(leads, key_column)
        else:
            records = records_of(leads, order, key_column, settings)
        stage(f"producing {file.name}: {leads.spoken}", 0, size)
        sent = _send(records, topic, settings, log, lambda: stage("producing", file.size, size))
        if not sent:
            raise Refused(f"{file.name}: it holds no rows; nothing was produced")
        return Produced(topic=topic, prospects=sent, columns=leads.spoken)


def _one_input(settings: Settings, topic: str) -> str:
    inputs = settings.topics.inputs
    if inputs.pattern is None and topic not in ("", *inputs.names):
        raise ConfigError([f"--topic {topic}: workers read {inputs}"])
    if inputs.pattern is not None and (not topic or not inputs.among([topic])):
        raise ConfigError([f"--topic: say one that workers read: {inputs}"])
    if not topic and inputs.several:
        raise ConfigError([f"--topic: say which of {inputs}"])
    return topic or inputs.names[0]


def _send(
    records: Iterator[Record],
    topic: str,
    settings: Settings,
    log: FilteringBoundLogger,
    progress: Callable[[], None],
) -> int:
    """Send all records; how many the brokers have taken. Raises what they say to the first that they do not take."""
    reports = _Reports()
    writer = clients.prospects_writer(settings, log, topic)
    sent = 0
    try:
        for record in records:
            reports.wait_for_room()
            writer.send(record.key, record.value, reports.of(record.line))
            sent += 1
            if sent % _TOLD_EVERY == 0:
                progress()
        reports.wait_for_all()
    finally:
        writer.close()
    return sent


class _Reports:
    """Delivery reports: they come on the writer's thread, and the first that is an error ends the run."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = 0
        self._error: tuple[int, ScrubError] | None = None

    def of(self, line: int) -> Callable[[Any], None]:
        """The function that hears what became of the record of that line."""
        with self._changed:
            self._waiting += 1

        def told(found: object) -> None:
            with self._changed:
                self._waiting -= 1
                if isinstance(found, ScrubError) and self._error is None:
                    self._error = line, found
                self._changed.notify()

        return told

    def wait_for_room(self) -> None:
        """Return when another record may be sent. Raises the first error."""
        self._wait(_ON_THE_WAY - 1)

    def wait_for_all(self) -> None:
        """Return when all have arrived. Raises the first error."""
        self._wait(0)

    def _wait(self, most: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting <= most or self._error is not None)
            if self._error is not None:
                line, error = self._error
                raise type(error)(f"line {line} was not taken, those before it were: {error}") from error


def records_of(leads: LeadsFile, order: FileOrder, key_column: str, settings: Settings) -> Iterator[Record]:
    """The rows of a table as prospects, in order. Raises ConfigError, Refused."""
    return _Members(leads, order, key_column, settings).records()


@dataclass(frozen=True, slots=True)
class _Members:
    """From the cells of a row to the members of its prospect."""

    leads: LeadsFile
    order: FileOrder
    key_column: str
    settings: Settings

    def records(self) -> Iterator[Record]:
        """One prospect a row."""
        columns, prospect = self.leads.columns, self.settings.prospect
        names = self._names()
        key = None if not self.key_column else self._key()
        numbers = set(columns.numbers)
        places = dict(zip(prospect.numbers, columns.numbers, strict=False))
        if columns.region is not None:
            places[prospect.region] = columns.region
        shared = {getattr(prospect, fact): member(fact, text) for fact, text in self.order.said.items()}
        region = None if self.order.region is None else self.order.region_by(self.settings)
        for line, row in self.leads.rows():
            cells = [mended(cell) if place in numbers else cell for place, cell in enumerate(row)]
            made: dict[str, Any] = dict(zip(names, cells, strict=False))
            # Each by itself, and not by its column's name alone: one column may be several of them.
            made |= {name: cells[at] for name, at in places.items() if at < len(cells)}
            for fact, place in columns.facts.items():
                made[getattr(prospect, fact)] = member(fact, self.leads.fact_at(row, place))
            self._place_numbers(made, cells)
            if region is not None and made.get(prospect.region, "").strip().upper() not in REGIONS:
                made[prospect.region] = region
            value = msgspec.json.encode(made | shared)
            yield Record(line, _key_of(row, key), value)

    def _names(self) -> list[str]:
        """The member of each column: as the settings call it where the file takes it for that, else its title, each
        once. No other column gets a name that the stream looks for: it would decide there, and did not in the file."""
        columns, prospect = self.leads.columns, self.settings.prospect
        fixed = dict(zip(columns.numbers, prospect.numbers, strict=False))
        fixed |= {place: getattr(prospect, fact) for fact, place in columns.facts.items()}
        if columns.region is not None:
            fixed[columns.region] = prospect.region
        of_all = [getattr(prospect, fact) for fact in self.order.said]
        if self.order.region is not None:
            of_all.append(prospect.region)
        if nested := [name for name in (*fixed.values(), *of_all) if "." in name]:
            raise ConfigError([f"prospect: {', '.join(nested)} is inside an object, which a row has none of"])
        members = (*prospect.numbers, *(getattr(prospect, fact) for fact in COLUMNS))
        taken = {_STAMP, *map(fold, members)}
        made = []
        for place, title in enumerate(self._titles()):
            name = fixed.get(place) or _unused(title, taken)
            taken.add(fold(name))
            made.append(name)
        return made

    def _titles(self) -> Sequence[str]:
        columns = self.leads.columns
        names = [name.strip(" \ufeff") for name in columns.names]
        width = max(len(names), columns.reach)
        return [
            names[place] if place < len(names) and names[place] else f"column_{place + 1}"
            for place in range(width)
        ]

    def _place_numbers(self, made: dict[str, Any], cells: Sequence[str]) -> None:
        """Number columns beyond those that the settings name join the first one as a list."""
        columns, named = self.leads.columns, self.settings.prospect.numbers
        if len(columns.numbers) > len(named):
            held = [
                cells[place]
                for place in (columns.numbers[0], *columns.numbers[len(named) :])
                if place < len(cells)
            ]
            made[named[0]] = [cell for cell in held if cell.strip()]

    def _key(self) -> int:
        titles = [plain(name) for name in self.leads.columns.names]
        wanted = plain(self.key_column)
        if titles.count(wanted) > 1:
            places = [str(place + 1) for place, title in enumerate(titles) if title == wanted]
            raise ConfigError(
                [f"--key-column: columns {' and '.join(places)} are called so: say {' or '.join(places)}"]
            )
        if wanted in titles:
            return titles.index(wanted)
        if self.key_column.isdigit() and self.key_column.isascii() and int(self.key_column) >= 1:
            return int(self.key_column) - 1
        raise ConfigError([f"--key-column: no column is called {self.key_column!r}"])


def _key_of(row: Sequence[str], place: int | None) -> bytes | None:
    return (
        row[place].encode("utf-8", "replace")
        if place is not None and place < len(row) and row[place]
        else None
    )


def _unused(title: str, taken: set[str]) -> str:
    """The title, with a number behind it if another member is called so, in whatever case."""
    name, count = title, 1
    while fold(name) in taken:
        count += 1
        name = f"{title}_{count}"
    return name


def _lines(leads: NdjsonFile, key_column: str) -> Iterator[Record]:
    """NDJSON is prospects already: each line as it is."""
    for line, value in leads.values():
        key = None
        if key_column:
            try:
                found = msgspec.json.decode(value)
            except NO_JSON:
                found = None
            member = found.get(key_column) if isinstance(found, dict) else None
            key = str(member).encode("utf-8", "replace") if isinstance(member, str | int) else None
        yield Record(line, key, value)

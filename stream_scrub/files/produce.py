"""Rows of a file as prospects on the topic: for a user who has grown from files to a stream."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from stream_scrub.call import FACTS
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.files.columns import Columns, places_of
from stream_scrub.files.ndjson import NO_JSON, NdjsonFile
from stream_scrub.files.options import FileOptions
from stream_scrub.files.rows import Duplicates, Judging
from stream_scrub.files.scrub_file import CellFile, leads_of
from stream_scrub.files.source import InputFile, open_input, size_of
from stream_scrub.index import Index
from stream_scrub.kafka import clients
from stream_scrub.kafka.requests_writer import LineRecord, send_all
from stream_scrub.model import Logger, Progress, Reason, Why
from stream_scrub.numbering import is_blank, parted_in, region_named
from stream_scrub.producer.leads import RECORD_LIMIT, OwnFault, OwnFaults, deliveries, topic_of
from stream_scrub.registry.client import RegistryClient
from stream_scrub.registry.writer import Encode, encoder
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import number_members, text_of
from stream_scrub.scrub.decode import Members, Unreadable, fold, read_strictly
from stream_scrub.stamp import STAMP


class Produced(msgspec.Struct, frozen=True, kw_only=True):
    """What was put on the topic, and from which columns: see `Columns.spoken`."""

    topic: str
    prospects: int
    columns: str


class WrongNumber(msgspec.Struct, frozen=True, kw_only=True):
    """A line whose prospect would come out blocked. `number` is its first number, with `#` for each digit."""

    line: int
    number: str


class OwnFaultCount(msgspec.Struct, kw_only=True):
    """The prospects that would come out blocked for one fault of their own, and the first lines."""

    reason: Reason
    why: Why | None
    member: str
    prospects: int = 0
    first: list[WrongNumber] = []


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found: `sound` prospects can be blocked only by registers or the law."""

    prospects: int
    sound: int
    blocked: list[OwnFaultCount]
    columns: str


_FIRST_LINES = 3  # that are shown of each fault
_SHOWN_SIGNS = 40  # of a number


def check(options: FileOptions, settings: Settings) -> Checked:
    """Judge the rows of a file as prospects without sending them, by empty registers and without Kafka: a topic takes
    records up to Kafka's default limit. Raises ConfigError, Refused."""
    if settings.prospect.format != "json":
        raise ConfigError(
            ["--check judges rows as JSON, and workers read Avro or Protobuf: add --set prospect.format=json"]
        )
    faults, members = OwnFaults(settings, RECORD_LIMIT), scrubbing.terms(settings).members
    counts: dict[OwnFault, OwnFaultCount] = {}
    prospects = 0
    with open_input(options.input) as file, _leads(file, options, settings) as leads:
        for record in _records(leads, options, "", settings):
            prospects += 1
            fault = faults.of(record.value)
            if fault is None:
                continue
            count = counts.setdefault(fault, OwnFaultCount(**fault._asdict()))
            count.prospects += 1
            if len(count.first) < _FIRST_LINES:
                number = _without_digits(record.value, members)
                count.first.append(WrongNumber(line=record.line, number=number))
        blocked = sorted(counts.values(), key=lambda count: -count.prospects)
        sound = prospects - sum(count.prospects for count in blocked)
        return Checked(prospects=prospects, sound=sound, blocked=blocked, columns=leads.spoken)


def _without_digits(value: bytes, members: Members) -> str:
    """The first number of a prospect, with `#` for each digit; empty if there is none."""
    try:
        numbers = number_members(read_strictly(value, members).numbers)
    except Unreadable:
        return ""
    text = text_of(numbers[0]) if numbers else ""
    return "".join("#" if sign.isnumeric() else sign for sign in text[:_SHOWN_SIGNS])


@contextmanager
def _leads(file: InputFile, options: FileOptions, settings: Settings) -> Iterator[CellFile | NdjsonFile]:
    """The leads of a file. Raises ConfigError (columns that are not clear), Refused."""
    judging = Judging(settings, scrubbing.scrubber(settings, hold=False), Index.empty(), datetime.now(UTC))
    with tempfile.TemporaryFile() as scratch, tempfile.TemporaryDirectory() as folder:
        yield leads_of(file, options, judging, Duplicates(scratch), lambda: Path(folder))


def produce(
    options: FileOptions,
    key_column: str,
    topic: str,
    settings: Settings,
    log: Logger,
    stage: Progress = lambda _what, _done, _of: None,
) -> Produced:
    """Put the rows of a file on a topic of prospects, in order; `topic` is empty for the only one. Each is produced once;
    a second run produces all of them again.

    Raises ConfigError (columns that are not clear), Refused, and what the brokers say to the first row that they do not
    take: the rows before it are then on the topic.
    """
    topic = topic_of(settings, topic, "avro")
    size = size_of(options.input)
    with ExitStack() as stack:
        file = stack.enter_context(open_input(options.input))
        leads = stack.enter_context(_leads(file, options, settings))
        encoders: Encoders = _in_json
        if settings.prospect.format != "json" and not isinstance(leads, NdjsonFile):
            registry = RegistryClient(settings.registry)
            stack.callback(registry.close)
            encoders = _in_avro(registry, topic, settings)
        records = _records(leads, options, key_column, settings, encoders)
        # Else the first row would wait for a minute, for a topic or a broker that is not there.
        with clients.Brokers(settings, log).topics() as there:
            there.partitions(topic, clients.deadline())
        stage(f"producing {file.name}: {leads.spoken}", 0, size)
        sending = deliveries(settings, log, topic, "line")
        sent = send_all(sending, records, lambda: stage("producing", file.size, size))
        if not sent:
            raise Refused(f"{file.name}: it holds no rows; nothing was produced")
        return Produced(topic=topic, prospects=sent, columns=leads.spoken)


_ANY_PLACE = 99_999  # the key may be in a column that nobody looks at, in a file without titles
# What writes the values, by the members that rows may have.
Encoders = Callable[[Sequence[str]], Encode]


def _in_json(_names: Sequence[str]) -> Encode:
    return lambda row, _line: msgspec.json.encode(row)


def _in_avro(registry: RegistryClient, topic: str, settings: Settings) -> Encoders:
    prospect = settings.prospect
    members = {*prospect.numbers, prospect.region, *prospect.facts.values()}
    return partial(encoder, registry, topic, prospect.numbers, members)


def _records(
    leads: CellFile | NdjsonFile,
    options: FileOptions,
    key_column: str,
    settings: Settings,
    encoders: Encoders = _in_json,
) -> Iterator[LineRecord]:
    """The prospects of a file, in order. Raises ConfigError, Refused."""
    if not isinstance(leads, NdjsonFile):
        return records_of(leads, options, key_column, settings, encoders)
    if options.call.members() or options.columns.names or options.region is not None:
        raise ConfigError(["NDJSON is put on the topic as it is: of its lines only --key-column is asked"])
    if settings.prospect.format != "json":
        raise ConfigError(["prospect.format: NDJSON is put on the topic as it is, and workers read Avro"])
    return _lines(leads, key_column)


def records_of(
    leads: CellFile,
    options: FileOptions,
    key_column: str,
    settings: Settings,
    encoders: Encoders = _in_json,
) -> Iterator[LineRecord]:
    """The rows of a table as prospects, in order. Raises ConfigError, Refused."""
    columns, prospect = leads.columns, settings.prospect
    names = _names(columns, options, settings)
    key = places_of([key_column], columns.names, _ANY_PLACE, "--key-column")[0] if key_column else None
    numbers = set(columns.numbers)
    # Number columns beyond those that the settings name join the first one as a list.
    more = columns.numbers[len(prospect.numbers) :]
    places = dict(zip(prospect.numbers, columns.numbers, strict=False))
    shared = {prospect.facts[fact]: member for fact, member in options.call.members().items()}
    region = None if options.region is None else options.region_by(settings)
    facts = {prospect.facts[fact]: (FACTS[fact], place) for fact, place in columns.facts.items()}
    encode = encoders(list(dict.fromkeys([*names, *places, prospect.region, *facts, *shared])))
    for line, row in leads.rows():
        cells = [_number_cell(cell) if place in numbers else cell for place, cell in enumerate(row)]
        made: dict[str, Any] = dict(zip(names, cells, strict=False))
        # Each by itself, and not by its column's name alone: one column may be several of them.
        made |= {name: cells[at] for name, at in places.items() if at < len(cells)}
        if columns.region is not None and columns.region < len(row):
            made[prospect.region] = row[columns.region]  # the cell itself: it may be a number's too
        for name, (fact, place) in facts.items():
            made[name] = fact.member(leads.fact_at(row, place))
        if more:
            joined = [cells[place] for place in (columns.numbers[0], *more) if place < len(cells)]
            made[prospect.numbers[0]] = [cell for cell in joined if cell.strip()]
        if region is not None and is_blank(made.get(prospect.region)):
            made[prospect.region] = region
        named = made.get(prospect.region)
        here = prospect.default_region if is_blank(named) else region_named(named)
        for name in prospect.numbers:
            if here and name in made:
                made[name] = _parted(made[name], here)
        cell = row[key] if key is not None and key < len(row) else ""
        yield LineRecord(line, cell.encode("utf-8", "replace") or None, encode(made | shared, line))


def _number_cell(cell: str) -> str:
    """A cell of a number column; empty if it holds no digit, as in a file that is scrubbed."""
    return cell if any(map(str.isdigit, cell)) else ""


def _parted(member: Any, region: str) -> Any:
    """A member with each number of a cell with several by itself, as in a file that is scrubbed."""
    cells = member if isinstance(member, list) else [member]
    found = [text for cell in cells for text in parted_in(cell, region) or (cell,)]
    return found if len(found) > len(cells) else member


def _names(columns: Columns, options: FileOptions, settings: Settings) -> list[str]:
    """The member of each column: as the settings call it where the file takes it for that, else its title, each
    once. No other column gets a name that the stream looks for: it would decide there, and did not in the file."""
    prospect = settings.prospect
    fixed = dict(zip(columns.numbers, prospect.numbers, strict=False))
    fixed |= {place: prospect.facts[fact] for fact, place in columns.facts.items()}
    if columns.region is not None:
        fixed[columns.region] = prospect.region
    of_all = [prospect.facts[fact] for fact in options.call.members()]
    if options.region is not None:
        of_all.append(prospect.region)
    if nested := [name for name in (*fixed.values(), *of_all) if "." in name]:
        raise ConfigError([f"prospect: {', '.join(nested)} is inside an object, but rows have no objects"])
    taken = {STAMP, *map(fold, (*prospect.numbers, prospect.region, *prospect.facts.values()))}
    titles = [name.strip(" \ufeff") for name in columns.names]
    titles += [""] * (columns.reach - len(titles))
    made = []
    for place, title in enumerate(titles, 1):
        name = fixed.get(place - 1) or _unused(title or f"column_{place}", taken)
        taken.add(fold(name))
        made.append(name)
    return made


def _unused(title: str, taken: set[str]) -> str:
    """The title, with a number behind it if another member is called so, in whatever case."""
    name, count = title, 1
    while fold(name) in taken:
        count += 1
        name = f"{title}_{count}"
    return name


def _lines(leads: NdjsonFile, key_column: str) -> Iterator[LineRecord]:
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
        yield LineRecord(line, key, value)

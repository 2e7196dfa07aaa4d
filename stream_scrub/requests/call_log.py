"""A dialler's call log on the topics: an attempt for each row, and an opt-out for each that says so.

A log that is read twice counts once, because each attempt has the call's own id. docs/dialler.md has the formats.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from stream_scrub.call import day_in
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.imports.formats import ParsedList, open_list
from stream_scrub.imports.parsing.cells import clean
from stream_scrub.imports.parsing.csv_table import CsvTable, place_of, title
from stream_scrub.imports.parsing.titles import TITLES
from stream_scrub.kafka import clients
from stream_scrub.kafka.requests_writer import Deliveries, LineRecord, send_all
from stream_scrub.model import Logger
from stream_scrub.numbering import e164, region_named
from stream_scrub.requests.attempts import ATTEMPT, REFUSAL, AttemptReader, CallAttempt
from stream_scrub.texts import masked

OPT_OUT, NONE = "opt-out", "none"
OUTCOMES = (ATTEMPT, REFUSAL, OPT_OUT, NONE)
_LINES_SHOWN = 10
_LATEST_MS = 2**53  # no row is later
# The columns of a record, and the roles of their titles in `imports/parsing/titles.toml`. The first title of a role counts.
# `code`: a calling code.
_ROLES = {
    "id": "call_id",
    "number": "call_number",
    "at": "call_at",
    "status": "call_status",
    "campaign": "call_campaign",
    "code": "calling_code",
}
_NEEDED = ("id", "number", "at", "status")
# Asterisk's Master.csv has no titles.
_ASTERISK = (
    *("accountcode", "src", "dst", "dcontext", "clid", "channel", "dstchannel", "lastapp", "lastdata"),
    *("start", "answer", "end", "duration", "billsec", "disposition", "amaflags", "uniqueid", "userfield"),
)
_ASTERISK_WIDTHS = (17, 18)
_DISPOSITIONS = {"ANSWERED", "NO ANSWER", "BUSY", "FAILED", "CONGESTION"}
# What VICIdial's statuses say, and Asterisk's dispositions. DNCL and DNCC were on its lists, and never dialled.
_STATUSES = {
    **dict.fromkeys(("A", "AA", "AM", "AL", "N", "NA", "B", "AB", "DC", "ADC", "DROP", "PDROP"), ATTEMPT),
    **dict.fromkeys(("SALE", "CALLBK", *_DISPOSITIONS), ATTEMPT),
    **dict.fromkeys(("NI", "DEC"), REFUSAL),
    "DNC": OPT_OUT,
    **dict.fromkeys(("DNCL", "DNCC"), NONE),
}


class CallLogOptions(NamedTuple):
    """`columns` and `statuses`: the user's meanings of titles and statuses. `zone`: for moments without one."""

    columns: Mapping[str, str]
    statuses: Mapping[str, str]
    zone: ZoneInfo | None
    region: str | None
    campaign: str | None

    @classmethod
    def of(
        cls,
        columns: Iterable[str],
        statuses: Iterable[str],
        zone: str,
        region: str | None,
        campaign: str | None,
    ) -> "CallLogOptions":
        """The options as a command has them, pairs as `NAME=VALUE`. Raises ConfigError."""
        titles, meanings, found = _pairs(columns), _pairs(statuses), None
        wrong = {status for status, meaning in meanings.items() if meaning not in OUTCOMES}
        problems = [f"--column {name}: use {', '.join(_ROLES)}" for name in titles.keys() - _ROLES.keys()]
        problems += [f"--status {status}: use {', '.join(OUTCOMES)}" for status in wrong]
        try:
            found = ZoneInfo(zone) if zone else None
        except (OSError, ValueError, ZoneInfoNotFoundError):
            problems.append(f"--zone {zone}: no such zone; write it as Europe/Paris")
        if region is not None and not region_named(region):
            problems.append(f"--region {region}: no such region; write it as FR")
        if problems:
            raise ConfigError(problems)
        return cls(titles, meanings, found, region, campaign)


def _pairs(texts: Iterable[str]) -> dict[str, str]:
    return {name.strip(): value.strip() for name, _, value in (text.partition("=") for text in texts)}


class CallLogSent(msgspec.Struct, kw_only=True):
    """What a call log's rows were."""

    attempts: int = 0
    refusals: int = 0
    opt_outs: int = 0
    none: int = 0  # never dialled
    refused: int = 0  # rows without an id, a moment or a valid number
    refused_lines: list[int] = msgspec.field(default_factory=list)  # the first of them
    unknown: dict[str, int] = msgspec.field(default_factory=dict)  # statuses that counted as attempts


def send_call_log(file: Path, options: CallLogOptions, settings: Settings, log: Logger) -> CallLogSent:
    """Put the rows of a call log on the topics of attempts and of requests. Raises ConfigError, BadList, and what the
    brokers say to the first record that they do not take."""
    sent = CallLogSent()

    def send(topic: str, records: Iterable[LineRecord]) -> None:
        send_all(Deliveries(clients.Brokers(settings, log).requests_writer(topic), "line"), records)

    with open_list(file) as packed:
        for member in packed.members:
            opt_outs: list[LineRecord] = []
            table = CsvTable(member.source.text(), ParsedList(), strict=False)
            attempts = _attempts(table, member.name, options, settings, sent, opt_outs)
            send(settings.topics.attempts, attempts)
            if opt_outs:
                send(settings.topics.requests, opt_outs)
    return sent


def _attempts(
    table: CsvTable,
    name: str,
    options: CallLogOptions,
    settings: Settings,
    sent: CallLogSent,
    opt_outs: list[LineRecord],
) -> Iterator[LineRecord]:
    """The attempts in the file of that name, in order. `sent` and `opt_outs` learn what the rows are."""
    first = table.head[0].cells if table.head else []
    is_asterisk = len(first) in _ASTERISK_WIDTHS and first[_ASTERISK.index("disposition")] in _DISPOSITIONS
    titles = _ASTERISK if is_asterisk else [title(cell) for cell in first]
    places = _places(name, titles, table.width, options)
    reader = AttemptReader(settings.prospect.default_region, {})
    for row in table.body(ParsedList(), headed=not is_asterisk):
        cells = {role: clean(row.cell(place)) for role, place in places.items()}
        status = cells.get("status", "")
        meaning = options.statuses.get(status) or _STATUSES.get(status.upper())
        if meaning is None:
            sent.unknown[status] = sent.unknown.get(status, 0) + 1
        if meaning == NONE:
            sent.none += 1
            continue
        if meaning == OPT_OUT:  # whatever else it lacks; the publisher says so if it cannot read the number
            sent.opt_outs += 1
            said = {"request": OPT_OUT, "number": _typed(cells), "source": "call log", "status": status}
            said |= {"region": options.region} if options.region else {}
            opt_outs.append(LineRecord(row.line, None, msgspec.json.encode(said)))
        value = _record(cells, meaning == REFUSAL, options)
        read = value and reader.read(value, _LATEST_MS)
        if not isinstance(read, CallAttempt):
            sent.refused += 1
            sent.refused_lines += [row.line] if len(sent.refused_lines) < _LINES_SHOWN else []
            continue
        sent.attempts += meaning != REFUSAL
        sent.refusals += meaning == REFUSAL
        yield LineRecord(row.line, e164(read.number).encode(), value)


def _places(file: str, titles: Sequence[str], width: int, options: CallLogOptions) -> dict[str, int]:
    """The place of each column. Raises BadList for a named one that is missing, and ConfigError for another one."""
    places = {}
    for name, role in _ROLES.items():
        if name in options.columns:
            places[name] = place_of(options.columns[name], titles, width)
        elif present := [titles.index(each) for each in TITLES[role] if each in titles]:
            places[name] = present[0]
    if missing := [name for name in _NEEDED if name not in places]:
        raise ConfigError(
            [f"{masked(file)}: --column {name}=TITLE: no column is known for it" for name in missing]
        )
    return places


def _typed(cells: Mapping[str, str]) -> str:
    """The number of a row, as it was dialled."""
    number, code = cells.get("number", ""), cells.get("code", "")
    return f"+{code}{number}" if code else number


def _record(cells: Mapping[str, str], refused: bool, options: CallLogOptions) -> bytes:
    """The record of a row; empty if it has no moment that can be read, or no id. Raises ConfigError."""
    at = cells.get("at", "")
    if day_in(at) is None:  # a day without an hour is read as in any other record
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            return b""
        if moment.tzinfo is None and options.zone is None:
            how = "say the server's, as in Europe/Paris"
            raise ConfigError([f"--zone: the moments in this log have none; {how}"])
        at = (moment if moment.tzinfo else _later(moment, options.zone)).isoformat()
    said = {
        "request": REFUSAL if refused else ATTEMPT,
        "id": cells.get("id", ""),
        "number": _typed(cells),
        "region": options.region,
        "at": at,
        "campaign": options.campaign or cells.get("campaign"),
        "outcome": cells.get("status"),
    }
    return msgspec.json.encode({name: value for name, value in said.items() if value}) if said["id"] else b""


def _later(at: datetime, zone: ZoneInfo | None) -> datetime:
    """That moment in the zone; the later one of two, if its clock shows it twice or never: the number rests longer."""
    return max(at.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))

"""Whether a request may lift at all, and whether it was said after the last word of the person who opposed. Pure.

Requests of two partitions or topics have no order, and a consent that is read a batch late would undo the opt-out after
it. So what restricts is remembered with its moment, and what lifts counts only if it was said later. Restrictions
always count.

A consent that was said before an opposition and is read after the lift ends with what the lift ended: the person does not agree
to it again. While the opposition stands it may go beneath it, for it may be corrected, and the lift to come ends it.

Memory is bounded: the latest moment is kept for a limited count of numbers, and `recall` reads them from the log at the
start. What is forgotten was said before `floor_ms`, and a lift from before that moment takes no one out of a register of
opposition. What a renewed log said before is forgotten, also what was lifted or taken back: no consent from before
`renewed_ms` counts there, for it may have ended. So it is where the log's first records were deleted.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from stream_scrub.clock import parse_zoned
from stream_scrub.log import wire
from stream_scrub.log.scan import scan
from stream_scrub.model import (
    FOR,
    INTERNAL,
    Deadline,
    LogReader,
    LogRecord,
    RegisterKind,
    RegisterName,
    Request,
)
from stream_scrub.requests.parse_request import ParsedRequest, RegisterChange, RequestTerms, read

NUMBERS_MAX = 100_000  # some 27 MB
# At the start so many offsets of the log are read back, and so many bytes of requests are kept of them: seconds of work.
LOOK_BACK = 100_000
_LATEST_BYTES = 16 << 20
# An opposition of the next century would block every lift; no clock is a day behind.
_AHEAD_MS = 24 * 3600 * 1000
_EVER_MS = 1 << 62
_RENEWED, _RENEWING = (b'"reason":"%s"' % each.encode() for each in (wire.RENEWED, wire.RENEWING))
_Stream = int  # an ordered sequence: a partition of the requests, or of the lifts
_Said = tuple[int, _Stream, int]  # when, in milliseconds since 1970, in which stream, and its offset there
_UNNAMED = "@"  # for consents without a campaign: the last opposition to any campaign that was lifted


class Oppositions:
    """When numbers were last opposed by a request, by register."""

    def __init__(self, numbers_max: int = NUMBERS_MAX) -> None:
        self.floor_ms = 0
        self.renewed_ms = 0  # when the log was renewed; 0 if it was not
        self._max = numbers_max
        self._of: dict[tuple[str, int], _Said] = {}

    def add(self, request: Request, parsed: ParsedRequest, read_ms: int, found_in: str = "") -> None:
        """Note what a request restricts, by when it was said: at the latest a day after `read_ms`, when it was read.
        `found_in` is the register that got it, if the log says so: a request with one scope too many counts for
        everybody, and only its register shows that."""
        said = min(moment_of(request, parsed), read_ms + _AHEAD_MS), _stream(request), request.offset
        restricted = [change.register for change in parsed.changes if restricts(change)]
        if restricted and found_in:
            restricted.append(found_in)
        for register in dict.fromkeys(map(_compared, restricted)):
            for number in parsed.numbers:
                self._note(register, number, said)
        for register in () if parsed.older is None else parsed.older.lifted:
            for number in parsed.numbers:
                opposed = self._of.get((_compared(register), number))
                if opposed is not None and not _later(opposed, request, parsed):
                    self._note(_UNNAMED, number, opposed)
        while len(self._of) > self._max:  # the one whose last opposition came first
            moment, *_ = self._of.pop(next(iter(self._of)))
            self.floor_ms = max(self.floor_ms, moment)

    def _note(self, register: str, number: int, said: _Said) -> None:
        before = self._of.pop((register, number), said)
        self._of[register, number] = max(before, said)

    def outlive(
        self,
        request: Request,
        parsed: ParsedRequest,
        change: RegisterChange,
        terms: RequestTerms,
        holds: Callable[[str, int], bool],
    ) -> list[int]:
        """The numbers that a request may not lift in that register, or may not give a consent in it: their opposition
        was said later, or may have been. `holds(register, number)` says whether a register holds a number now."""
        own, above = ((), ()) if restricts(change) else _against(change, terms)
        if own and change.kind is RegisterKind.ALLOW and moment_of(request, parsed) < self.renewed_ms:
            return list(parsed.numbers)
        kept = []
        for number in parsed.numbers if own else ():
            forgotten = (own[0], number) not in self._of and moment_of(request, parsed) < self.floor_ms
            lifted = (
                register
                for register in above
                if (register, number) in self._of and not holds(register, number)
            )
            opposed = [said for each in own if (said := self._of.get((each, number))) is not None]
            # A register gets requests in the order of their partition: only a register above it may be ahead.
            asked = None if parsed.at_ms is None else moment_of(request, parsed)
            after = [said for said in opposed if said[1] != _stream(request) or asked not in (None, said[0])]
            after += [self._of[each, number] for each in lifted]
            if any(_later(said, request, parsed) for said in after) or (
                forgotten and change.kind is RegisterKind.DENY and holds(change.register, number)
            ):
                kept.append(number)
        return kept


def _against(change: RegisterChange, terms: RequestTerms) -> tuple[Sequence[str], Sequence[str]]:
    """By which registers the opposition to a lift or a consent is noted, and by which the one above a consent, which
    counts once it does not stand any more: to everybody or to its campaign, by every channel or by its own."""
    name, own = RegisterName.split(change.register), _compared(change.register)
    if change.kind is RegisterKind.DENY:
        return [own, *(_internal(name.campaign, terms.law.channels) if name.base == INTERNAL else ())], ()
    channels = terms.law.channels_of(name.base)
    above = [
        register
        for campaign in dict.fromkeys(("", name.campaign or terms.house))
        for register in _internal(campaign, channels)
    ]
    return [own, *([] if name.scope else [_UNNAMED])], above


def _internal(campaign: str, channels: Iterable[str]) -> list[str]:
    """The registers of oppositions to you for a campaign ("": every one), by every channel and by each of these."""
    scopes = (campaign, *(f"{campaign}{FOR}{channel}" for channel in channels))
    return [str(RegisterName(INTERNAL, scope)) for scope in scopes]


def _compared(register: str) -> str:
    """A register's name with its campaign as campaigns are compared: one opposition counts for all its spellings, and
    for all purposes of the campaign. One to a single channel is another one."""
    name = RegisterName.split(register)
    compared = name.plainly if name.base == INTERNAL else RegisterName(name.base, name.campaign)
    return sys.intern(str(compared))  # one text for all the numbers that are remembered


def _stream(request: Request) -> _Stream:
    return 2 * request.partition + request.may_lift


def _later(said: _Said, request: Request, parsed: ParsedRequest) -> bool:
    """Whether an opposition was said after the request, or may have been."""
    moment, stream, offset = said
    if stream == _stream(request) and (parsed.at_ms is None or moment == moment_of(request, parsed)):
        # The partition's order says so, unless a batch that was cut off is taken again after it.
        return offset > request.offset and moment >= moment_of(request, parsed)
    return moment >= moment_of(request, parsed)


def takes_out(parsed: ParsedRequest) -> bool:
    """Whether a request takes numbers out of a register of opposition, for which a right to lift is needed. A consent
    that leaves oppositions alone does not, nor does a correction of consents."""
    return any(change.kind is RegisterKind.DENY and not change.held for change in parsed.changes)


def restricts(change: RegisterChange) -> bool:
    """Whether a change takes a right to call away."""
    return change.held is (change.kind is RegisterKind.DENY)


def moment_of(request: Request, parsed: ParsedRequest) -> int:
    """When a request was said, in milliseconds since 1970: the moment that it names, but no later than Kafka's own."""
    if parsed.at_ms is None:
        return request.timestamp_ms
    return min(parsed.at_ms, request.timestamp_ms) if request.timestamp_ms else parsed.at_ms


def recall(
    reader: LogReader,
    terms: RequestTerms,
    quiet_s: float,
    *,
    heard: Callable[[], None] = lambda: None,
    look_back: int = LOOK_BACK,
    numbers_max: int = NUMBERS_MAX,
) -> Oppositions:
    """What the last requests on the log restricted. Leaves the reader anywhere.

    It reads on as long as something comes within `quiet_s`, however long the log is, and calls `heard` meanwhile: with
    one deadline for the whole log, a publisher with a long log could never start again.
    Raises Corrupt, Unavailable, Refused.
    """
    found = Oppositions(numbers_max)
    latest: deque[_RequestsPart] = deque()
    count = nbytes = 0
    for record in _last_of(reader, quiet_s, look_back, found):
        heard()
        kind = wire.part_of(record)
        if kind == "seal":
            found.renewed_ms = max(found.renewed_ms, _renewed_at(record))
        if kind != "requests":
            continue
        value = record.value or b""
        register = (record.key or b"").decode("utf-8", "replace")
        latest.append(_RequestsPart(register, value.splitlines(), len(value), record.timestamp_ms))
        count, nbytes = count + len(latest[-1].lines), nbytes + latest[-1].nbytes
        # Only so many numbers are remembered: what would be forgotten again need not be read.
        while len(latest) > 1 and (count - len(latest[0].lines) >= numbers_max or nbytes > _LATEST_BYTES):
            forgotten = latest.popleft()
            count, nbytes = count - len(forgotten.lines), nbytes - forgotten.nbytes
            found.floor_ms = max(found.floor_ms, latest[0].at_ms or 0)
    for part in latest:
        heard()
        for request in _requests(part.lines):
            parsed = read(request.value, terms)
            if isinstance(parsed, ParsedRequest):
                found.add(request, parsed, part.at_ms or _EVER_MS, part.register)
    # The requests of the log before are gone, and with them when each of its numbers was opposed.
    found.floor_ms = max(found.floor_ms, found.renewed_ms)
    return found


class _RequestsPart(NamedTuple):
    """The register that got the requests, the lines of a part of requests, its bytes, and when it was published."""

    register: str
    lines: Sequence[bytes]
    nbytes: int
    at_ms: int | None


def _last_of(reader: LogReader, quiet_s: float, look_back: int, found: Oppositions) -> Iterator[LogRecord]:
    """The log's last records. Whatever was published before them was said before."""
    first, end = reader.bounds()
    since = max(first, end - look_back)
    if first:  # deleted oppositions, and whether a renewal began the log, are no longer known
        found.renewed_ms = found.floor_ms = _kept_since(reader, first, quiet_s)
    elif since:
        found.renewed_ms = _first_moment(reader, quiet_s)
    whole = since == 0
    for records, _ in scan(reader, Deadline.after(quiet_s), since=since):
        if records and not whole:
            found.floor_ms, whole = max(found.floor_ms, records[0].timestamp_ms or 0), True
        yield from records
        if records and records[-1].offset >= end - 1:
            return


def _kept_since(reader: LogReader, first: int, quiet_s: float) -> int:
    """When the first record that the log still holds was published; now, where it holds none."""
    for records, _ in scan(reader, Deadline.after(quiet_s), since=first):
        if records and records[0].timestamp_ms:
            return records[0].timestamp_ms
    return int(time.time() * 1000)


def _first_moment(reader: LogReader, quiet_s: float) -> int:
    """When a renewal began this log, by its first seal, which stays there however far the log goes on; 0 if none did."""
    for records, _ in scan(reader, Deadline.after(quiet_s), since=0):
        for record in records:
            if record.key != wire.RULES.encode():  # the log begins with a register
                return 0
            if wire.part_of(record) == "seal":
                return _renewed_at(record)
    return 0


def _renewed_at(record: LogRecord) -> int:
    """When a renewal put this seal on the log; 0 if none did. The moment that its mark names counts as well as Kafka's own,
    which is by the clock of the machine that it ran on."""
    value, at = record.value or b"", record.timestamp_ms or 0
    if _RENEWED in value:
        return at
    if _RENEWING not in value:
        return 0
    try:
        return max(at, int(parse_zoned(wire.decode_seal(value)[0].effective_at).timestamp() * 1000))
    except ValueError:  # the replay of the log says what is wrong with it
        return at


def _requests(lines: Iterable[bytes]) -> Iterator[Request]:
    for line in lines:
        try:
            said = wire.read_request_line(line)
            value = said.value()
        except (msgspec.MsgspecError, ValueError):  # the replay of the log says what is wrong with it
            continue
        yield Request(said.partition, said.offset, said.timestamp, None, value, may_lift=said.lifts)

"""When numbers came into registers and left them. The log is read again, and its proof goes with each event.

One pass over the log follows a few numbers through every register. It is a follower like any other, so whatever is
corrupt is refused, and its index is the very one that workers judged by at that position.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from stream_scrub.index import Index, Register
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.ledger import LogMark
from stream_scrub.lists.log.replay import LogRules, Replay
from stream_scrub.model import LogRecord, RegisterKind
from stream_scrub.numbering import REGIONS, normalise
from stream_scrub.rules import digest_of
from stream_scrub.timestamps import from_seconds

# added: it came in; removed, ended: it left, the latter because its time was over; renewed: it stays, asked for again
# or with another end; asked: requests named it and changed nothing, and it is not in the register.
EventKind = Literal["added", "removed", "ended", "renewed", "asked"]


@dataclass(frozen=True, slots=True)
class RequestEvidence:
    """A request as it stood on its topic. `request` are its own bytes, one JSON object. Where it names other people's
    numbers as well, these are left out and counted."""

    partition: int
    offset: int
    timestamp_ms: int
    request: msgspec.Raw
    others_left_out: int = 0


@dataclass(frozen=True, slots=True)
class NumberEvent:
    """What one delta did to a number in one register. `position` is the offset of its seal, `timestamp_ms` the moment
    that Kafka keeps with that, `chain` the head of the register's hash chain after it. `end` is when the number's
    membership ends, as far as it is in the register and it does.
    """

    number: int
    position: int
    timestamp_ms: int | None
    register: str
    kind: RegisterKind
    change: EventKind
    reason: str
    source: wire.DeltaSource
    effective_at: datetime
    end: datetime | None
    seq: int
    chain: str
    requests: tuple[RequestEvidence, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a register stands to a number at one position: whether it holds it, the event since which that is so (None:
    it never held it), and when that ends."""

    register: Register
    held: bool
    since: NumberEvent | None
    end: datetime | None


class NumberHistory:
    """Follows some numbers through the log. Feed it every record in offset order from the log's beginning; raises
    Corrupt as `Replay.take` does. `region` is the one that requests without one are read in.
    """

    def __init__(self, numbers: Iterable[int], region: str) -> None:
        self.numbers = tuple(dict.fromkeys(numbers))
        self.at_ms: int | None = None  # the moment of the last seal
        self._region = region
        self._replay = Replay(digest_of=digest_of)
        self._ends: dict[tuple[str, int], int] = {}
        self._since: dict[tuple[str, int], NumberEvent] = {}
        self._asides: dict[str, list[tuple[str, bytes]]] = defaultdict(list)

    @property
    def index(self) -> Index:
        """Every register after the last seal that was taken."""
        return self._replay.index

    @property
    def rules(self) -> LogRules:
        """The rules on the log after the last seal that was taken, with their texts."""
        return self._replay.rules

    @property
    def mark(self) -> LogMark | None:
        """What keeps everybody from judging by the log, after the last seal that was taken."""
        return self._replay.known(wire.RULES).log.mark

    def take(self, record: LogRecord) -> list[NumberEvent]:
        """What this record did to the numbers: a seal may do something, parts never do."""
        before = self._replay.index
        index = self._replay.take(record)
        name, headers = (record.key or b"").decode(), dict(record.headers)
        if index is None:
            side = (headers.get("part") or b"").decode()
            if headers.get("i") == b"0":  # as `Replay` does with parts that were never sealed
                self._asides.pop(name, None)
            if side in ("ends", "requests"):
                self._asides[name].append((side, record.value or b""))
            return []
        asides = self._asides.pop(name, [])
        if asides and not wire.decode_seal(record.value or b"")[0].parts:  # they were never sealed
            asides = []
        self.at_ms = record.timestamp_ms
        if name == wire.RULES:
            return []
        return self._events(record, before.registers.get(name), index.registers[name], asides)

    def standing(self, number: int) -> list[Standing]:
        """How every register stands to the number after the last seal that was taken, by the registers' names."""
        found = []
        for name, register in sorted(self.index.registers.items()):
            held = number in register.numbers
            end = self._ends.get((name, number))
            found.append(Standing(register, held, self._since.get((name, number)), from_seconds(end)))
        return found

    def _events(
        self,
        record: LogRecord,
        before: Register | None,
        after: Register,
        asides: list[tuple[str, bytes]],
    ) -> list[NumberEvent]:
        stated = _stated([value for side, value in asides if side == "ends"], self.numbers)
        asked = self._asked([value for side, value in asides if side == "requests"])
        seal: wire.Seal | None = None
        events = []
        for number in self.numbers:
            key = (after.name, number)
            was = before is not None and number in before.numbers
            held = number in after.numbers
            end_before = self._ends.pop(key, None)
            end = (stated.get(number, end_before) or None) if held else None
            if end is not None:
                self._ends[key] = end
            if was == held and end == end_before and number not in asked:
                continue
            seal = seal or wire.decode_seal(record.value or b"")[0]
            event = NumberEvent(
                number=number,
                position=record.offset,
                timestamp_ms=record.timestamp_ms,
                register=after.name,
                kind=after.kind,
                change=_change(was, held, seal),
                reason=seal.reason,
                source=seal.source,
                effective_at=after.effective_at,
                end=from_seconds(end),
                seq=after.seq,
                chain=after.chain,
                requests=tuple(asked.get(number, ())),
            )
            if was != held:
                self._since[key] = event
            events.append(event)
        return events

    def _asked(self, parts: list[bytes]) -> Mapping[int, list[RequestEvidence]]:
        """The requests among these lines that name one of the numbers, by number."""
        found: dict[int, list[RequestEvidence]] = defaultdict(list)
        for line in b"".join(parts).split(b"\n")[:-1]:
            said = wire.read_request_line(line)
            try:
                raw = said.value()
                request = msgspec.json.decode(raw, type=dict[str, Any])
            except (ValueError, RecursionError):  # nobody can tell whom it names
                continue
            for number, (shown, others) in self._named(request).items():
                kept = raw if not others else msgspec.json.encode({**request, "number": shown})
                found[number].append(
                    RequestEvidence(said.partition, said.offset, said.timestamp, msgspec.Raw(kept), others)
                )
        return found

    def _named(self, request: Mapping[str, Any]) -> dict[int, tuple[list[Any], int]]:
        """Which of the numbers a request names: how it spells each of them, and how many other numbers it names."""
        named = request.get("number")
        spelt = named if isinstance(named, list) else [named]
        region = request.get("region")
        region = region.strip().upper() if isinstance(region, str) else ""
        region = region if region in REGIONS else self._region
        found: dict[int, list[Any]] = defaultdict(list)
        for text in spelt:
            read = normalise(str(text), region) if isinstance(text, str | int) else None
            if read is not None and read[0] in self.numbers:
                found[read[0]].append(text)
        return {number: (texts, len(spelt) - len(texts)) for number, texts in found.items()}


def _change(was: bool, held: bool, seal: wire.Seal) -> EventKind:
    if was == held:
        return "renewed" if held else "asked"
    if held:
        return "added"
    return "ended" if seal.reason == "ended" else "removed"


def _stated(parts: list[bytes], numbers: Iterable[int]) -> dict[int, int]:
    """What a delta says of when these numbers end, 0 for never."""
    found = {}
    for part in parts:
        for end, bitmap in wire.decode_ends(part):
            found.update({number: end for number in numbers if number in bitmap})
    return found

"""What `prospects.recalled` has said so far: of each number when it was recalled last, and which registers are suspended.

A verdict is newer than a recall if it was given later, and its position on the opposition log is not lower. Only a newer
one counts: it knew what the recall is about. Positions begin again on a renewed log, so a day later they do not matter.
"""

import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from functools import reduce

from stream_scrub.clock import parse_zoned
from stream_scrub.errors import Corrupt
from stream_scrub.model import INTERNAL, PartitionKey, Reason, family
from stream_scrub.recall_notice import ONE_LOG_MS, WRITTEN_BEFORE, RecallNotice, decode
from stream_scrub.rules import Rulebook
from stream_scrub.stamp import Stamp

NUMBERS_MAX = 1_000_000  # about 120 MB
EPOCH = datetime.fromtimestamp(0, UTC)
_NUMBER = re.compile(r"\+[0-9]{2,20}")
_POSITION_BITS = 64
_POSITION = (1 << _POSITION_BITS) - 1


def _order(notice: RecallNotice) -> int:
    """Its moment, then its position."""
    return _millis(notice.at) << _POSITION_BITS | notice.index


def _millis(at: str) -> int:
    return int(parse_zoned(at).timestamp() * 1000)


def _joined(one: int, other: int) -> int:
    """One order that stops what either does."""
    older, newer = sorted((one, other))
    if (newer - older) >> _POSITION_BITS > ONE_LOG_MS:
        return newer
    return (newer | _POSITION) - _POSITION + max(newer & _POSITION, older & _POSITION)


def _stops(order: int, stamp: Stamp) -> bool:
    late_ms = _millis(stamp.at_text) - (order >> _POSITION_BITS)
    return late_ms <= 0 or (late_ms <= ONE_LOG_MS and stamp.index < order & _POSITION)


def read(value: bytes | None, place: str) -> RecallNotice:
    """The notice in a record. Raises Corrupt: whom it stops is unknown."""
    try:
        notice = decode(value or b"")
        if notice.kind == "alive":
            return notice
        is_known = _NUMBER.fullmatch(notice.number) if notice.kind == "recalled" else notice.register
        if is_known and 0 <= notice.index <= _POSITION and _order(notice) > 0:
            return notice
    except (ValueError, RecursionError, OverflowError):
        pass
    raise Corrupt(
        f"{place}: this release cannot read this recall, so nothing may be dialled: install the release of"
        " `stream-scrub recall`, or find out who else writes to the topic"
    )


class ProofOfLife:
    """Until when recall has proved that it works, by partition of the leads. Moments are those of `clock.elapsed`."""

    def __init__(self) -> None:
        self._proven_at: dict[PartitionKey, float] = {}

    def take(self, notice: RecallNotice, written_after: float) -> None:
        """Take a proof, which was written after that moment."""
        proven_at = written_after - max(0, notice.lag_ms) / 1000
        for name in notice.partitions:
            topic, _, number = name.rpartition("/")
            if number.isdecimal():
                key = topic, int(number)
                self._proven_at[key] = max(proven_at, self._proven_at.get(key, proven_at))

    def since(self, partitions: Iterable[PartitionKey]) -> float:
        """A moment at which recall worked in all these partitions; -inf if one was never proven."""
        return min((self._proven_at.get(key, float("-inf")) for key in partitions), default=float("inf"))


def digests_of(stamp: Stamp) -> set[str]:
    """The rules that a verdict rests on, by their digests; "" alone if the stamp names none."""
    return {digest for each in stamp.each for digest in (each.rules, each.residence) if digest} or {""}


class Recalls:
    """`numbers_max`: so many numbers are remembered. Beyond that the half with the oldest recalls is forgotten, and every
    verdict of that time counts as recalled. So does every verdict whose recall may have been written before `since`: these
    are not read."""

    def __init__(self, book: Rulebook, numbers_max: int = NUMBERS_MAX, since: datetime = EPOCH) -> None:
        self._rules: dict[str, Collection[str]] = {
            rule.digest: rule.asked for country in book.countries.values() for rule in country.rules
        }
        self._numbers_max = numbers_max
        self._last: dict[int, int] = {}
        self._rested: set[int] = set()  # numbers whose last recall says `too-often`
        # Whatever the clock says later, no verdict passes whose recall was not read.
        self._forgotten = int((since + WRITTEN_BEFORE).timestamp() * 1000) << _POSITION_BITS
        self._registers: dict[str, RecallNotice] = {}

    def take(self, notice: RecallNotice) -> None:
        """Remember a notice. Their order does not matter."""
        if notice.kind == "recalled":
            number, order = int(notice.number), _order(notice)
            last = self._last.get(number, order)
            if order >= last:
                self._rested.discard(number)
                if notice.reason == Reason.TOO_OFTEN:
                    self._rested.add(number)
            self._last[number] = _joined(last, order)
            if len(self._last) > self._numbers_max:
                self._forget()
        elif _order(notice) >= _order(self._registers.get(notice.register, notice)):
            self._registers[notice.register] = notice

    def _forget(self) -> None:
        middle = sorted(self._last.values())[len(self._last) // 2]
        forgotten = [last for last in self._last.values() if last <= middle]
        self._forgotten = reduce(_joined, sorted(forgotten), self._forgotten)
        self._last = {number: last for number, last in self._last.items() if last > middle}
        self._rested &= self._last.keys()

    def stop(self, number: str, stamp: Stamp) -> bool:
        """Whether this number of a stamp was recalled since its verdict."""
        return any(_stops(order, stamp) for order in (self._last.get(int(number), -1), self._forgotten))

    def is_rested(self, number: str) -> bool:
        """Whether its last recall says that this number was called too often."""
        return int(number) in self._rested

    def suspend(self, stamp: Stamp) -> bool:
        """Whether a verdict rests on a register that is suspended, as far as the rules here can tell."""
        suspended = {
            family(register.register) for register in self._registers.values() if register.kind == "suspended"
        }
        if not suspended:
            return False
        # A rule that is not known here may ask any register.
        register_sets = [self._rules.get(digest, suspended) for digest in digests_of(stamp)]
        return INTERNAL in suspended or any(name in each for each in register_sets for name in suspended)

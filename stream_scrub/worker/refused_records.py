"""Finds the records that an output topic refuses for what they are, so that they come out in another form. Pure.

A broker refuses a client's whole batch for one record in it, and mostly does not say for which one. So the next
batches are cut before the likeliest suspect, or in the middle of the suspects, until one record is alone in its
batch. If that one is refused, it is proven, and comes out blocked in a form that the topic takes. The reason (no key,
a timestamp too far ahead, too many bytes) applies to other records too: for `_FOR_S` seconds such records are not
even tried, so that a producer that always sends them costs the others nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Place = tuple[str, int, int]  # topic, partition and offset of a prospect

_FOR_S = (
    60.0  # what was proven of one record holds for others so long; then the topic's settings may be others
)
_PROVEN_MAX = 10_000
_AHEAD_MS = 60_000  # clocks differ; what is farther ahead is the likeliest to be refused for its timestamp
OTHER = (
    "_INVALID_DIFFERENT_RECORD"  # the client's word for the others of a batch, where the broker named some
)
TOO_LARGE = "MSG_SIZE_TOO_LARGE"
_TIMESTAMP = "INVALID_TIMESTAMP"
_SIZES = frozenset({TOO_LARGE, "RECORD_LIST_TOO_LARGE", "INVALID_MSG_SIZE"})
PLAIN, BARE = (
    1,
    2,
)  # forms: its own bytes with our key and moment; and, where that is refused, not even its bytes


class RecordReport(NamedTuple):
    """What the client reported of a record, and what it may have been refused for. `nbytes` is its size as it went
    out, `own_bytes` without any stamp in its value."""

    place: Place
    allowed: bool
    code: str
    keyless: bool
    timestamp_ms: int
    nbytes: int
    own_bytes: int


class RecordRefusal(NamedTuple):
    """Why a record cannot come out as it came, and in which form it does."""

    cause: str
    form: int


class _RefusedKind(NamedTuple):
    """What an output refuses: records without a key, ahead of a moment, or of more bytes."""

    code: str
    until_s: float
    keyless: bool = False
    after_ms: int = 0
    over_bytes: int = 0

    def holds(self, report: RecordReport) -> bool:
        if self.keyless:
            return report.keyless
        if self.after_ms:
            return report.timestamp_ms >= self.after_ms
        return report.nbytes >= self.over_bytes


class RefusedRecords:
    """What is known of the records that one worker's outputs refuse. The caller gives the time: `now_s` monotonic,
    `now_ms` since 1970."""

    def __init__(self) -> None:
        self._suspects: set[Place] = set()
        self._proven: dict[Place, RecordRefusal] = {}
        self._kinds: dict[bool, list[_RefusedKind]] = {False: [], True: []}
        self._too_large: _RefusedKind | None = None  # also with nothing but their own bytes

    @property
    def are_known(self) -> bool:
        """Whether any record is suspected or proven. Otherwise a batch need not be looked at."""
        kinds = self._kinds[False] or self._kinds[True] or self._too_large
        return bool(self._suspects or self._proven or kinds)

    def failed(self, reports: Sequence[RecordReport], *, alone: bool, now_s: float, now_ms: int) -> None:
        """A batch was refused, with these reports; `alone` says that it had only one record."""
        named = [report for report in reports if report.code != OTHER]
        if not named:
            return
        if alone:
            self._suspects.clear()
            self._prove(named[0], now_s, now_ms)
            return
        again = {report.place for report in named} & self._suspects
        self._suspects = again or _likeliest(named, now_ms)

    def _prove(self, report: RecordReport, now_s: float, now_ms: int) -> None:
        before = self._proven.get(report.place)
        if len(self._proven) >= _PROVEN_MAX:  # of partitions that went away in between
            self._proven.clear()
        self._proven[report.place] = RecordRefusal(report.code, BARE if before is not None else PLAIN)
        kind = _RefusedKind(report.code, now_s + _FOR_S)
        if before is not None:
            if report.code in _SIZES:
                self._too_large = kind._replace(over_bytes=report.own_bytes)
            return
        if report.code in _SIZES:
            kind = kind._replace(over_bytes=report.nbytes)
        elif report.code == _TIMESTAMP and report.timestamp_ms > now_ms + _AHEAD_MS:
            kind = kind._replace(after_ms=report.timestamp_ms)
        elif report.code != _TIMESTAMP and report.keyless:
            kind = kind._replace(keyless=True)
        else:  # this reason says nothing about other records
            return
        kept = [each for each in self._kinds[report.allowed] if not each.holds(report)]
        self._kinds[report.allowed] = [*kept, kind]

    def together(self, places: Iterable[Place]) -> int | None:
        """How many of a batch's first records may go together; None for all of them."""
        if not self._suspects:
            return None
        found = [at for at, place in enumerate(places) if place in self._suspects]
        if not found:
            return None
        return found[len(found) // 2] or 1

    def of(self, reports: Iterable[RecordReport], now_s: float) -> dict[int, RecordRefusal]:
        """The records that must come out in another form, by their index in `reports`. The reports' codes are
        ignored."""
        for allowed, kinds in self._kinds.items():
            self._kinds[allowed] = [each for each in kinds if each.until_s > now_s]
        if self._too_large is not None and self._too_large.until_s <= now_s:
            self._too_large = None
        found = {}
        for at, report in enumerate(reports):
            refusal = self._proven.get(report.place) or self._by_kind(report)
            if refusal is not None:
                found[at] = refusal
        return found

    def _by_kind(self, report: RecordReport) -> RecordRefusal | None:
        if self._too_large is not None and report.own_bytes >= self._too_large.over_bytes:
            return RecordRefusal(self._too_large.code, BARE)
        for kind in self._kinds[report.allowed]:
            if kind.holds(report):
                return RecordRefusal(kind.code, PLAIN)
        return None

    def committed(self, places: Iterable[Place]) -> None:
        """These records are committed: forget what was known of them."""
        if self._suspects or self._proven:
            for place in places:
                self._suspects.discard(place)
                self._proven.pop(place, None)


def _likeliest(named: Sequence[RecordReport], now_ms: int) -> set[Place]:
    """The suspects to look at first: the one record that stands out by size, key or timestamp; all of them where none
    does."""
    largest = max(named, key=lambda report: report.nbytes)
    ahead = max(named, key=lambda report: report.timestamp_ms)
    keyless = next((report for report in named if report.keyless), None)
    if largest.code in _SIZES:
        return {largest.place}
    if keyless is not None and named[0].code != _TIMESTAMP:
        return {keyless.place}
    if ahead.timestamp_ms > now_ms + _AHEAD_MS:
        return {ahead.place}
    return {report.place for report in named}


def stamp_facts(refusal: RecordRefusal, report: RecordReport, *, several: bool) -> Mapping[str, Any]:
    """What the stamp says besides the verdict: the cause, the record's place among the prospects (with its topic where
    these are `several`), and its own timestamp, which is lost otherwise."""
    place = "/".join(map(str, report.place[not several :]))
    return {"cause": refusal.cause, "from": place, "timestamp": report.timestamp_ms}

"""What a target gets, from the committed deltas of the opposition log and from `prospects.recalled`; and how far it is.

An event has the same id and the same place whenever its record is read, so it can be delivered again after a crash. The
state of a partition is in its committed offset and its note: there is no store.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from stream_scrub.clock import from_millis, utc_millis
from stream_scrub.config.settings import FanoutTarget
from stream_scrub.errors import Corrupt, Refused
from stream_scrub.index import Hashing, as_numbers
from stream_scrub.log import wire
from stream_scrub.log.wire import SealKind
from stream_scrub.model import Header, PartitionKey
from stream_scrub.recall_notice import decode

EventType = Literal["opted-out", "lifted", "recalled"]
Place = tuple[int, int]  # a record's offset, and which of its events
_NOTED_MAX = 80  # open events in a note: brokers keep 4 KiB
_FORMAT = "fanout1"


class Event(NamedTuple):
    """What a target must know of a number."""

    type: EventType
    number: int
    list: str  # the target's own name for it
    register: str
    reason: str
    moment_ms: int  # when it was committed
    partition: PartitionKey
    place: Place
    start: int  # the offset from which it can be read again

    @property
    def id(self) -> str:
        """The same for every try, also after a crash."""
        topic, partition = self.partition
        # Without dots: a webhook's signature is over texts with dots between.
        return f"{topic.replace('.', '_')}-{partition}-{self.place[0]}-{self.place[1]}-{self.moment_ms}"

    @property
    def at(self) -> str:
        """When it was committed, RFC 3339."""
        moment = from_millis(self.moment_ms)
        return "" if moment is None else utc_millis(moment)

    @property
    def about(self) -> tuple[bool, str, int]:
        """A later event about the same takes this one's place."""
        return self.type == "recalled", self.list, self.number


class Progress:
    """What of one partition a target has."""

    def __init__(self, topic_id: str, offset: int = 0, note: str = "") -> None:
        """`offset` and `note`: as committed. Without a note, or with one about an earlier topic of the same name, everything
        is delivered."""
        self._topic_id = topic_id
        self.start = 0  # the offset from which everything can be read that was not handed out
        self.upto: Place = (0, 0)  # everything before this place was handed out
        # Handed out and not done, with the offset from which each can be read again.
        self.open: dict[Place, int] = {}
        self._again: set[Place] = set()  # open events of an earlier run, which are read again
        # The first offset of events handed out while the note had no room: they come again, done or not, because deltas
        # interleave on the log.
        self._unnoted: int | None = None
        kind, _, rest = note.partition(" ")
        noted_id, _, places = rest.partition(" ")
        if (kind, noted_id) == (_FORMAT, topic_id):
            self.upto, *again = map(_place, places.split())
            self.start, self._again = offset, set(again)

    def read_upto(self, start: int, upto: int) -> None:
        """Everything before the offset `upto` was read and handed out, but for deltas that begin at `start` or later and
        have no seal yet. Open events of an earlier run that were not there are dropped: the lists have changed."""
        self.start, self.upto = start, max(self.upto, (upto, 0))
        self._again = {place for place in self._again if place[0] >= upto}

    def has_delivered(self, offset: int) -> bool:
        """Whether no event of that record is to be delivered."""
        return (offset + 1, 0) <= self.upto and all(place[0] != offset for place in self._again)

    def takes(self, place: Place) -> bool:
        """Whether an event that was read is still to be delivered."""
        return place >= self.upto or place in self._again

    def hand_out(self, event: Event) -> None:
        """The event is being delivered."""
        self.upto = max(self.upto, (event.place[0], event.place[1] + 1))
        self._again.discard(event.place)
        self.open[event.place] = event.start
        if self._overflows:
            self._unnoted = event.start if self._unnoted is None else min(self._unnoted, event.start)

    def done(self, event: Event) -> None:
        """The event needs no more tries."""
        self.open.pop(event.place, None)

    def commit(self) -> tuple[int, str]:
        """The offset to commit, and its note."""
        waiting = sorted(self.open.keys() | self._again)  # the latter can be read from `start` on
        upto, starts = self.upto, [self.start, *self.open.values()]
        if not self._overflows:
            self._unnoted = None
        else:
            upto = waiting[_NOTED_MAX]
            starts += [] if self._unnoted is None else [self._unnoted]
        noted_events = " ".join(f"{offset}.{n}" for offset, n in (upto, *waiting[:_NOTED_MAX]))
        return min(starts), f"{_FORMAT} {self._topic_id} {noted_events}"

    @property
    def _overflows(self) -> bool:
        return len(self.open) + len(self._again) > _NOTED_MAX


def _place(text: str) -> Place:
    offset, _, n = text.partition(".")
    return int(offset), int(n)


class LogEvents:
    """The log's deltas as events. Parts wait for their seal, as in a follower."""

    def __init__(self, target: FanoutTarget) -> None:
        self._target = target
        self._parts: dict[str, list[tuple[int, str, bytes]]] = {}

    @property
    def unsealed(self) -> int | None:
        """The offset of the first part that waits for its seal."""
        return min((parts[0][0] for parts in self._parts.values()), default=None)

    def read(
        self,
        partition: PartitionKey,
        offset: int,
        value: bytes,
        headers: Iterable[Header],
        moment_ms: int,
        *,
        is_delivered: bool = False,
    ) -> Iterator[Event]:
        """The events of a record: none, or those of the delta that it seals. `is_delivered`: the target has all of them,
        and some parts of the delta may not have been read again. Raises Corrupt, and Refused for a register of hashes."""
        header_of = dict(headers)
        register, side = (
            (header_of.get(name) or b"").decode("utf-8", "replace") for name in ("register", "part")
        )
        if register not in self._target.lists:
            return iter(())
        if side != "seal":
            self._parts.setdefault(register, []).append((offset, side, value))
            return iter(())
        parts = self._parts.pop(register, [])
        if is_delivered:
            return iter(())
        try:
            seal, _ = wire.decode_seal(value)
        except ValueError as error:
            raise Corrupt(f"{error}: see `stream-scrub lists verify`", offset) from error
        if wire.digests([each for _, _, each in parts]) != seal.parts:
            raise Corrupt("a seal that does not fit its parts: see `stream-scrub lists verify`", offset)
        if isinstance(seal.hashed, Hashing):
            raise Refused(
                f"{register} holds hashes, and a target needs numbers: take it out of the target's lists"
            )
        # A full set restates what the deltas before it gave, unless it is the first one on its log.
        is_news = seal.kind == "delta" or seal.seq == 1 or seal.reason == wire.RENEWED
        if seal.register_kind is not SealKind.DENY or not is_news:
            return iter(())
        start = parts[0][0] if parts else offset
        return self._events(partition, seal, parts, (offset, start, moment_ms))

    def _events(
        self,
        partition: PartitionKey,
        seal: wire.Seal,
        parts: list[tuple[int, str, bytes]],
        at: tuple[int, int, int],
    ) -> Iterator[Event]:
        offset, start, moment_ms = at
        n = 0
        for _, side, value in parts:
            if side not in ("adds", "removes"):
                continue
            type_: EventType = "opted-out" if side == "adds" else "lifted"
            list_ = self._target.lists[seal.register]
            for number in as_numbers(wire.bitmap_of(value)).tolist():
                if type_ == "opted-out" or self._target.lifts:
                    yield Event(
                        type_,
                        number,
                        list_,
                        seal.register,
                        seal.reason,
                        moment_ms,
                        partition,
                        (offset, n),
                        start,
                    )
                n += 1


def recall_of(partition: PartitionKey, offset: int, value: bytes, moment_ms: int) -> list[Event] | None:
    """The event of a record of `prospects.recalled`. Empty for suspensions and proofs of life; None if the record is not a recall."""
    try:
        notice = decode(value)
        if notice.kind != "recalled":
            return []
        number, place = int(notice.number), (offset, 0)
    except (ValueError, RecursionError):
        return None
    return [
        Event("recalled", number, "", notice.register, notice.reason, moment_ms, partition, place, offset)
    ]

"""A blocked prospect as it is sent back: its producer's own bytes, and a header with its tries and its origin. Pure."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import msgspec

from stream_scrub.config.settings import Route
from stream_scrub.index import Index
from stream_scrub.kafka.cloud_events import without_event
from stream_scrub.kafka.headers import FROM_HEADER, came_from
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.model import Header, Reason, family
from stream_scrub.registry.records import RecordReader
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.scrub.decode import Members
from stream_scrub.scrub.stamp import without_stamp
from stream_scrub.stamp import STAMP, Stamp, header_in, stamp_on

RETRY_HEADER = "scrub-retry"
_OURS = frozenset({STAMP, RETRY_HEADER, FROM_HEADER})
_OWN_KEY = b"scrub/"  # the key of a record that came without one, on a topic that refuses those


class _Retried(msgspec.Struct):
    tries: int = 0


_RETRIED = msgspec.json.Decoder(_Retried)


class BlockedProspect(NamedTuple):
    """One blocked prospect."""

    topic: str
    partition: int
    offset: int
    reason: Reason
    kind: str  # as `kind_of`
    blocked_at: float  # seconds since 1970
    tries: int
    is_whole: bool  # False if its bytes are not on the blocked topic
    own_key: bytes | None
    value: bytes | None  # the producer's own
    headers: list[Header]
    moment_ms: int
    goes_to: str  # empty if its topic is no longer an input

    def key(self) -> bytes | None:
        """For `Session.emit`."""
        return self.own_key

    def timestamp(self) -> tuple[int, int]:
        """For `Session.emit`: now, since a record with an old timestamp might be deleted before it is read."""
        return (0, self.moment_ms)


def kind_of(reason: Reason, registers: Iterable[str] = ()) -> str:
    """What is sent back together: a reason, and for `stale-register` the register."""
    if reason is not Reason.STALE_REGISTER:
        return str(reason)
    return f"{reason}.{min(map(family, registers), default='')}"


def origin(routes: Sequence[Route]) -> Callable[[str, str], str]:
    """A function from a blocked topic, and the topic in a prospect's header, to the input that it goes back to; empty if
    that is not in `routes`. Without a header it is the first input of that blocked topic: prospects emitted while there was
    only one input have none."""
    inputs_of: dict[str, list[str]] = {}
    for route in routes:
        inputs_of.setdefault(route.blocked, []).append(route.input)

    def of(blocked: str, named: str) -> str:
        inputs = inputs_of.get(blocked, [])
        if len(inputs) == 1 or not named:
            return inputs[0] if inputs else ""
        return named if named in inputs else ""

    return of


def blocked_prospects(
    fetched: PolledBatch, members: Members, origin_of: Callable[[str, str], str], now_ms: int
) -> list[BlockedProspect]:
    """The records of the blocked topics, each as it is sent back."""
    return [_blocked_prospect(fetched, at, members, origin_of, now_ms) for at in range(len(fetched.messages))]


def _blocked_prospect(
    fetched: PolledBatch, at: int, members: Members, origin_of: Callable[[str, str], str], now_ms: int
) -> BlockedProspect:
    topic = fetched.topics[at]
    message, partition, value = fetched.messages[at], fetched.partitions[at], fetched.values[at]
    offset = message.offset() or 0
    headers = list(fetched.headers.each[at] or ())
    in_header = header_in(headers)
    stamp = stamp_on(in_header, value)
    reason, registers = _why(stamp)
    tries = _tries(headers)
    retried = msgspec.json.encode({"tries": tries + 1, "from": f"{topic}/{partition}/{offset}"})
    key = message.key()
    is_refused = stamp is not None and stamp.cause != ""
    if is_refused and (key or b"").startswith(_OWN_KEY):
        key = None
    return BlockedProspect(
        topic,
        partition,
        offset,
        reason,
        kind_of(reason, registers),
        message.timestamp()[1] / 1000 if stamp is None else stamp.at.timestamp(),
        tries,
        not (is_refused and value is None),
        key,
        without_stamp(value, members, in_header),
        [*(h for h in without_event(headers) if h[0] not in _OURS), (RETRY_HEADER, retried)],
        now_ms,
        origin_of(topic, came_from(headers)),
    )


def verdict_kind(
    scrubber: Scrubber, records: RecordReader, prospect: BlockedProspect, index: Index, now: datetime
) -> str:
    """The kind of the verdict that a prospect would get now, as `kind_of`. Raises Unavailable."""
    batch = scrubber.scrub(records.read([prospect.value], [prospect.headers]), index, now)
    return kind_of(*_why(stamp_on(batch.stamps[0], batch.values[0])))


def _why(stamp: Stamp | None) -> tuple[Reason, list[str]]:
    """The reason, and the unusable registers. A record without a stamp had no room for it."""
    if stamp is None:
        return Reason.UNREADABLE, []
    stale = [each for each in stamp.each if each.reason is Reason.STALE_REGISTER]
    return stamp.reason, [name for each in stale for name in each.registers]


def _tries(headers: Iterable[Header]) -> int:
    header = next((value for name, value in headers if name == RETRY_HEADER), None)
    with suppress(msgspec.MsgspecError):
        return max(0, _RETRIED.decode(header or b"{}").tries)
    return 0

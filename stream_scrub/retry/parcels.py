"""A blocked prospect as it goes back: its producer's own bytes, and a header that says how often and from where. Pure."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from stream_scrub.config.inputs import Route
from stream_scrub.index import Index
from stream_scrub.kafka.fetched import Fetched
from stream_scrub.kafka.headers import FROM_HEADER, came_from
from stream_scrub.model import Header, Reason, family
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.scrub.decode import STAMP, Members
from stream_scrub.scrub.stamp import without_stamp
from stream_scrub.timestamps import parse_zoned

RETRY_HEADER = "scrub-retry"
_OURS = frozenset({STAMP, RETRY_HEADER, FROM_HEADER})
_OWN_KEY = b"scrub/"  # what a record got for a key that had none, where the topic refuses those


class _Stamped(msgspec.Struct):
    scrub: dict[str, Any] = {}


class _Retried(msgspec.Struct):
    tries: int = 0


class Parcel(NamedTuple):
    """One blocked prospect. `value` is the producer's own, `blocked_at` in seconds since 1970; `is_whole` is False where
    its bytes are not here; `goes_to` is empty where the topic that it came from is no input now."""

    topic: str
    partition: int
    offset: int
    reason: Reason
    kind: str
    blocked_at: float
    tries: int
    is_whole: bool
    own_key: bytes | None
    value: bytes | None
    headers: list[Header]
    moment_ms: int
    goes_to: str

    def key(self) -> bytes | None:
        """As the session asks for it."""
        return self.own_key

    def timestamp(self) -> tuple[int, int]:
        """As the session asks for it: now, since an old moment might be deleted before it is read."""
        return (0, self.moment_ms)


def kind_of(reason: Reason, registers: Iterable[str] = ()) -> str:
    """What is brought back together: a reason, and the register of `stale-register`."""
    if reason is not Reason.STALE_REGISTER:
        return str(reason)
    return f"{reason}.{min(map(family, registers), default='')}"


def origin(routes: Sequence[Route]) -> Callable[[str, str], str]:
    """A function from a blocked topic, and the topic that a prospect's header names, to the input that the prospect goes
    back to; empty where that is none of `routes`. Without a header it is the only input of that topic, else the first:
    what came out while there was one input only says nothing of it."""
    inputs_of: dict[str, list[str]] = {}
    for each in routes:
        inputs_of.setdefault(each.blocked, []).append(each.input)

    def of(blocked: str, told: str) -> str:
        inputs = inputs_of.get(blocked, [])
        if len(inputs) == 1 or not told:
            return inputs[0] if inputs else ""
        return told if told in inputs else ""

    return of


def parcels(
    fetched: Fetched, members: Members, origin_of: Callable[[str, str], str], now_ms: int
) -> list[Parcel]:
    """The records of the blocked topics, each as it goes back."""
    return [_parcel(fetched, at, members, origin_of, now_ms) for at in range(len(fetched.messages))]


def _parcel(
    fetched: Fetched, at: int, members: Members, origin_of: Callable[[str, str], str], now_ms: int
) -> Parcel:
    topic = fetched.topics[at]
    message, partition, value = fetched.messages[at], fetched.partitions[at], fetched.values[at]
    offset = message.offset() or 0
    headers = list(fetched.headers.each[at] or ())
    in_header = next((told for name, told in headers if name == STAMP), None)
    stamp = _stamp(in_header, value)
    reason, registers = _why(stamp)
    tries = _tries(headers)
    told = msgspec.json.encode({"tries": tries + 1, "from": f"{topic}/{partition}/{offset}"})
    key = message.key()
    if "cause" in stamp and (key or b"").startswith(_OWN_KEY):
        key = None
    return Parcel(
        topic,
        partition,
        offset,
        reason,
        kind_of(reason, registers),
        _moment(stamp, message.timestamp()[1]),
        tries,
        not ("cause" in stamp and value is None),
        key,
        value if in_header is not None or not stamp else without_stamp(value, members),
        [*(h for h in headers if h[0] not in _OURS), (RETRY_HEADER, told)],
        now_ms,
        origin_of(topic, came_from(headers)),
    )


def verdict_kind(scrubber: Scrubber, parcel: Parcel, index: Index, now: datetime) -> str:
    """The kind of the verdict that a prospect would get now: a reason, and the register of `stale-register`."""
    batch = scrubber.scrub([parcel.value], index, now)
    return kind_of(*_why(_stamp(batch.stamps[0], batch.values[0])))


def _stamp(in_header: bytes | None, value: bytes | None) -> dict[str, Any]:
    with suppress(msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        if in_header is not None:
            return msgspec.json.decode(in_header, type=dict[str, Any])
        return msgspec.json.decode(value or b"", type=_Stamped).scrub
    return {}


def _why(stamp: dict[str, Any]) -> tuple[Reason, list[str]]:
    """The reason, and the registers that could not be used. A record without a stamp had no room for it."""
    try:
        reason = Reason(stamp["reason"])
    except (KeyError, ValueError, TypeError):
        return Reason.UNREADABLE, []
    numbers = stamp.get("numbers")
    entries = [stamp, *(numbers if isinstance(numbers, list) else ())]
    stale = [e for e in entries if isinstance(e, dict) and e.get("reason") == Reason.STALE_REGISTER]
    return reason, [str(name) for entry in stale for name in entry.get("registers", ())]


def _tries(headers: Iterable[Header]) -> int:
    told = next((value for name, value in headers if name == RETRY_HEADER), None)
    with suppress(msgspec.MsgspecError):
        return max(0, msgspec.json.decode(told or b"{}", type=_Retried).tries)
    return 0


def _moment(stamp: dict[str, Any], record_ms: int) -> float:
    with suppress(ValueError, TypeError):
        return parse_zoned(stamp["at"]).timestamp() if "at" in stamp else record_ms / 1000
    return record_ms / 1000

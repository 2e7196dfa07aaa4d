"""The nouns. Frozen, no I/O; every room may import this; nothing here imports a room."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from stream_scrub import clock
from stream_scrub.texts import names_a_number, plain

if TYPE_CHECKING:  # structlog is a sixth of what a command's start would cost
    from structlog.typing import FilteringBoundLogger

    Logger = FilteringBoundLogger
else:
    Logger = Any

Header = tuple[str, bytes | None]
PartitionKey = tuple[str, int]  # a topic and a partition of it
# Where to start a partition whose committed offset has expired.
BeginAt = Literal["beginning", "end"]
# How far a long command has come: what it does, how much is done, and how much there is (0: unknown).
Progress = Callable[[str, int, int], None]


class Verdict(StrEnum):
    """What a dialler may do with a prospect."""

    ALLOWED = "allowed"
    BLOCKED = "blocked"


class Reason(StrEnum):
    """Why. A closed set: consumers may switch on it."""

    CLEAR = "clear"
    CONSENTED = "consented"
    CONTRACT = "contract"
    EXEMPT = "exempt"
    OPPOSED = "opposed"
    NO_CONSENT = "no-consent"
    NOT_WASHED = "not-washed"
    BANNED_PURPOSE = "banned-purpose"
    UNKNOWN_PURPOSE = "unknown-purpose"
    NOT_CALLABLE = "not-callable"
    INVALID_NUMBER = "invalid-number"
    UNKNOWN_COUNTRY = "unknown-country"
    UNREADABLE = "unreadable"
    NO_RULE = "no-rule"
    STALE_REGISTER = "stale-register"
    TOO_OFTEN = "too-often"

    @property
    def verdict(self) -> Verdict:
        """The verdict that this reason belongs to."""
        return Verdict.ALLOWED if self in _ALLOWING else Verdict.BLOCKED


class Why(StrEnum):
    """Why a prospect is `unreadable`, or a number is an `invalid-number`. A closed set."""

    # The value
    NULL = "null"
    EMPTY = "empty"
    NOT_UTF_8 = "not-utf-8"
    BYTE_ORDER_MARK = "byte-order-mark"
    TRUNCATED = "truncated"
    NOT_JSON = "not-json"
    NOT_AN_OBJECT = "not-an-object"
    NESTED_TOO_DEEP = "nested-too-deep"
    MEMBER_TWICE = "member-twice"
    TOO_LARGE = "too-large"  # for its topic, with its stamp
    # The value in Avro or Protobuf
    NO_SCHEMA_ID = "no-schema-id"
    UNKNOWN_SCHEMA = "unknown-schema"
    UNUSABLE_SCHEMA = "unusable-schema"
    SCHEMA_MISMATCH = "schema-mismatch"
    # The number
    NO_NUMBER = "no-number"
    WRONG_TYPE = "wrong-type"
    TOO_MANY_NUMBERS = "too-many-numbers"
    SEVERAL_NUMBERS = "several-numbers"  # in one text
    NO_DIGITS = "no-digits"
    LOST_DIGITS = "lost-digits"  # a spreadsheet rounded it
    TOO_SHORT = "too-short"
    TOO_LONG = "too-long"
    NOT_VALID = "not-valid"  # in its region


class Fault(NamedTuple):
    """Why, with the member of the settings and the schema's id that it is about, as far as these are known."""

    why: Why
    member: str = ""
    schema: str = ""


_ALLOWING = frozenset({Reason.CLEAR, Reason.CONSENTED, Reason.CONTRACT, Reason.EXEMPT})


class RegisterKind(StrEnum):
    """`deny`: the numbers in it are opposed. `allow`: the numbers in it consented, or were washed clean."""

    DENY = "deny"
    ALLOW = "allow"


_REGISTER_NAME = re.compile(
    r"([a-z0-9][a-z0-9-]*+)(?:@((?:[a-z0-9][a-z0-9-]*+)?(?:\+[a-z0-9][a-z0-9-]*+)?))?"
)
FOR = "+"  # in a scope, between the campaign and the purpose of a consent or the channel of an opposition
_WINDOW = re.compile(r"(?:(.+)-)?([1-9][0-9]{0,3})m")
WINDOW_MINUTES_MAX = 24 * 60


class RegisterName(NamedTuple):
    """A register's name, as in `us-dnc`, `internal@acme` or `consent@acme+insurance`: the base, and the scope that it
    counts for. A scope is a campaign, or a campaign and a purpose. That of `internal` is a campaign, a channel
    (`internal@+sms`), or both. Consents to a window of time are in a register for windows of that length:
    `consent-hours@acme+60m`, or `consent-hours@acme+insurance-60m`."""

    base: str
    scope: str = ""

    @classmethod
    def parse(cls, text: str) -> "RegisterName | None":
        """The name in a text; None if the text is no register's name, or spells a campaign in another way than look-ups
        do (`plainly`)."""
        match = _REGISTER_NAME.fullmatch(text)
        if match is None or match[2] == "" or ((match[2] or "").startswith(FOR) and match[1] != INTERNAL):
            return None
        name = cls(match[1], match[2] or "")
        return name if name == name.plainly else None

    @classmethod
    def read(cls, text: str) -> "RegisterName | None":
        """The name in a text that may spell the campaign in any way; None if the text is no register's name."""
        name = cls.split(text).plainly
        return cls.parse(text) or (cls.parse(str(name)) if name.scope else None)

    @classmethod
    def split(cls, text: str) -> "RegisterName":
        """The two halves of a name from the log, unchecked."""
        base, _, scope = text.partition("@")
        return cls(base, scope)

    @property
    def plainly(self) -> "RegisterName":
        """The same name with its campaign and purpose as they are compared."""
        if not self.scope:
            return self
        scope = plain(self.scope.partition(FOR)[0])
        return RegisterName(self.base, f"{scope}{FOR}{plain(self.purpose)}" if self.purpose else scope)

    @property
    def campaign(self) -> str:
        """The campaign that it counts for, as campaigns are compared; empty for all."""
        return plain(self.scope.partition(FOR)[0])

    @property
    def purpose(self) -> str:
        """The purpose of the consents in it, or the channel of the oppositions in it; empty for all."""
        return self.scope.partition(FOR)[2]

    @property
    def window(self) -> "Window | None":
        """The windows that its consents open; None for every other register."""
        match = _WINDOW.fullmatch(self.purpose) if self.campaign and self.base != INTERNAL else None
        if match is None or int(match[2]) > WINDOW_MINUTES_MAX:
            return None
        return Window(match[1] or "", int(match[2]))

    @property
    def whole(self) -> str:
        """The name for all purposes and channels of the campaign: `consent@acme` for `consent@acme+insurance`, and
        `internal@` for `internal@+sms`. Empty for a name that is for all of them itself."""
        return scoped_name(self.base, self.campaign) if self.purpose else ""

    @property
    def looks_like_number(self) -> bool:
        """Whether it looks like a phone number: names are shown everywhere, and numbers must not be."""
        return names_a_number(str(self))

    def __str__(self) -> str:
        return scoped_name(self.base, self.scope) if self.scope else self.base


class Window(NamedTuple):
    """The windows of time that the consents in one register open. Each ends when its consent ends."""

    purpose: str  # of the calls; empty for all
    minutes: int  # from its begin to its end

    def register(self, whole: str) -> str:
        """The register of these windows, by the name for all purposes of its campaign."""
        purpose = f"{self.purpose}-" if self.purpose else ""
        return f"{whole}{FOR}{purpose}{self.minutes}m"


def scoped_name(base: str, scope: str) -> str:
    """The name of the register for one campaign. Without a RegisterName, because it is on the hot path."""
    return f"{base}@{scope}"


def family(register: str) -> str:
    """A register's name without its scope. A register and its scoped ones are published together."""
    return RegisterName.split(register).base


INTERNAL = "internal"
CONSENT = "consent"
HASHED = "hashed"  # oppositions to campaigns, as hashes that a buyer of leads handed over
RESTED = "rested"  # numbers that were called too often, or refused, each until its end
# The kind of these two follows from their meaning, whatever the log holds.
OWN = MappingProxyType({INTERNAL: RegisterKind.DENY, CONSENT: RegisterKind.ALLOW})


class LogRecord(NamedTuple):
    """One record of the opposition log, as a follower sees it. `timestamp_ms` is the moment that Kafka keeps with it,
    in milliseconds since 1970-01-01T00:00Z. It is evidence, but the seal does not cover it.
    """

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    timestamp_ms: int | None = None


class Request(NamedTuple):
    """One record of `opposition.requests`, or of `opposition.lifts`, as it came."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()
    leader_epoch: int | None = None  # counts its partition's leaders (KIP-320), if the broker tells
    may_lift: bool = False  # it came over `opposition.lifts`


class LogReader(Protocol):
    """What the lists room needs to follow the log. One partition, one order, committed records only."""

    def read(self, timeout_s: float) -> tuple[list[LogRecord], bool]:
        """Wait at most `timeout_s` for records in offset order. The flag is True if the broker confirmed during this
        call that everything that can be read now has been returned.

        Raises Unavailable while the broker cannot be asked, Corrupt when offsets that were never read are gone,
        Refused when the topic is missing or may not be read.
        """
        ...

    def seek(self, offset: int) -> None:
        """Read on from this offset, or from the first record after it. A new reader is at the log's start."""
        ...

    def complete_at(self) -> float | None:
        """A moment by `clock.elapsed`. Every transaction that was on the log at that moment has ended since, and
        `read` has returned all of them that were committed. It is the latest such moment that is known; None while
        none is. It matters because neither an open transaction nor what is committed behind it can be read.

        Raises Unavailable, Refused.
        """
        ...

    def bounds(self) -> tuple[int, int]:
        """The first offset that the log holds, and the lowest offset that its next record can get.

        Raises Unavailable, Refused.
        """
        ...

    @property
    def leader_epoch(self) -> int:
        """The epoch of the leader that gave the last end, whoever asked for it; -1 before. A leader of another epoch may
        lack what was read before, and have other records in its place."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


class IndexGuard(Protocol):
    """What an index must fulfil besides being fresh. It looks in a thread of its own, or once by `look`."""

    def start(self) -> None:
        """Start the thread."""
        ...

    def stop(self) -> None:
        """End the thread."""
        ...

    def look(self, deadline: "Deadline") -> bool:
        """Look once, without the thread; whether that settled something. Raises Unavailable, Refused."""
        ...

    def need(self, position: int, known_at: float) -> None:
        """Check an index that had the whole log at `known_at` (`clock.elapsed`), up to `position`. Never blocks. Raises
        StaleIndex."""
        ...


class LogWriter(Protocol):
    """What the lists room needs to publish: all records of one delta, or none."""

    def takes(self, nbytes: int) -> bool:
        """Whether its transaction timeout is enough to write so many bytes. If not: 1. close it, 2. open another one
        with more time, 3. only then read the register again, because somebody may publish in between.
        """
        ...

    def publish(self, records: Sequence[tuple[bytes, bytes, Sequence[Header]]], *, after: int) -> int:
        """Write (key, value, headers) in one transaction; returns the offset of the last one. The caller has read the log up
        to the record `after`; if the register was published since, nothing is committed.

        Raises Unavailable, Migrated (another publisher of this register has taken over), Uncertain, Refused.
        """
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Deadline:
    """One moment, passed down: retries share it, nothing re-creates it."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """A deadline that many seconds from now on `clock.elapsed`."""
        return cls(clock.elapsed() + seconds)

    def left(self, at_most: float | None = None) -> float:
        """Seconds left, never negative, capped by `at_most`."""
        left = max(0.0, self.at - clock.elapsed())
        return left if at_most is None else min(left, at_most)

    @property
    def passed(self) -> bool:
        """Whether it is too late."""
        return clock.elapsed() >= self.at

"""The nouns. Frozen, no I/O; every room may import this; nothing here imports a room."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from stream_scrub import clock
from stream_scrub.redaction import names_a_number
from stream_scrub.spelling import plain

Header = tuple[str, bytes | None]
PartitionKey = tuple[str, int]  # a topic and a partition of it
# Where partitions begin whose committed offset is gone, as somebody said.
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
    BANNED_PURPOSE = "banned-purpose"
    UNKNOWN_PURPOSE = "unknown-purpose"
    NOT_CALLABLE = "not-callable"
    INVALID_NUMBER = "invalid-number"
    UNREADABLE = "unreadable"
    NO_RULE = "no-rule"
    STALE_REGISTER = "stale-register"

    @property
    def verdict(self) -> Verdict:
        """The verdict that this reason belongs to."""
        return Verdict.ALLOWED if self in _ALLOWING else Verdict.BLOCKED


_ALLOWING = frozenset({Reason.CLEAR, Reason.CONSENTED, Reason.CONTRACT, Reason.EXEMPT})


class RegisterKind(StrEnum):
    """`deny`: the numbers in it are opposed. `allow`: the numbers in it consented, or were washed clean."""

    DENY = "deny"
    ALLOW = "allow"


_REGISTER_NAME = re.compile(
    r"([a-z0-9][a-z0-9-]*+)(?:@((?:[a-z0-9][a-z0-9._-]*+)?(?:\+[a-z0-9][a-z0-9-]*+)?))?"
)
FOR = "+"  # in a scope, between the campaign and the purpose that a consent is for, or the channel of an opposition


class RegisterName(NamedTuple):
    """A register's name, `us-dnc`, `internal@acme` or `consent@acme+insurance`: the base, and the scope that it counts
    for. A scope is a campaign, or in a register of consents a campaign and a purpose. In one of oppositions to you it is a
    campaign, a channel (`internal@+sms`), or both."""

    base: str
    scope: str = ""

    @classmethod
    def parse(cls, text: str) -> "RegisterName | None":
        """The name that somebody wrote; None if the text is no register's name."""
        found = _REGISTER_NAME.fullmatch(text)
        if found is None or found[2] == "" or ((found[2] or "").startswith(FOR) and found[1] != INTERNAL):
            return None
        return cls(found[1], found[2] or "")

    @classmethod
    def read(cls, text: str) -> "RegisterName | None":
        """The name that somebody wrote, whose campaign may be spelt in any way; None if the text names no register."""
        meant = cls.split(text).plainly
        return cls.parse(text) or (cls.parse(str(meant)) if meant.scope else None)

    @classmethod
    def split(cls, text: str) -> "RegisterName":
        """The two halves of a name that the log already holds. Nothing is checked."""
        base, _, scope = text.partition("@")
        return cls(base, scope)

    @property
    def plainly(self) -> "RegisterName":
        """The same with its campaign as campaigns are compared: registers of one such name count for one campaign."""
        if not self.scope:
            return self
        scope = plain(self.scope.partition(FOR)[0])
        return RegisterName(self.base, f"{scope}{FOR}{plain(self.purpose)}" if self.purpose else scope)

    @property
    def campaign(self) -> str:
        """The campaign that it counts for, as campaigns are compared; empty if it counts for all."""
        return plain(self.scope.partition(FOR)[0])

    @property
    def purpose(self) -> str:
        """The purpose that the consents in it are for, or the channel that the oppositions in it are to; empty if it is
        for all."""
        return self.scope.partition(FOR)[2]

    @property
    def others(self) -> list[str]:
        """The names that are not its own and mean it too (`Index.spelt`): as campaigns are compared, and for consents of
        one purpose the campaign's with FOR behind it, as for all of its purposes."""
        keys = [
            str(self.plainly),
            *([f"{scoped_name(self.base, self.campaign)}{FOR}"] if self.purpose else []),
        ]
        return [key for key in keys if key != str(self)]

    @property
    def looks_like_number(self) -> bool:
        """Whether it looks like a phone number. Names are shown everywhere; phone numbers must not be."""
        return names_a_number(str(self))

    def __str__(self) -> str:
        return scoped_name(self.base, self.scope) if self.scope else self.base


def scoped_name(base: str, scope: str) -> str:
    """The name of the register that counts for one campaign. On the hot path, so no RegisterName is made."""
    return f"{base}@{scope}"


def family(register: str) -> str:
    """A register's name without its scope. A register and its scoped ones are published together."""
    return RegisterName.split(register).base


INTERNAL = "internal"
CONSENT = "consent"
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
    leader_epoch: int | None = (
        None  # counts the leaders of its partition (KIP-320); None where the broker tells none
    )
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

    def close(self) -> None:
        """Release the connection."""
        ...


class LogWriter(Protocol):
    """What the lists room needs to publish: all records of one delta, or none."""

    def takes(self, nbytes: int) -> bool:
        """Whether its transaction timeout is enough to write so many bytes. If not: 1. close it, 2. open another one
        with more time, 3. only then read the register again, because somebody may publish in between.
        """
        ...

    def publish(self, records: Sequence[tuple[bytes, bytes, Sequence[Header]]]) -> int:
        """Write (key, value, headers) in one transaction; returns the offset of the last one.

        Raises Unavailable, Migrated (another publisher of this register has taken over), Uncertain, Refused.
        """
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Deadline:
    """One moment, passed down: retries share it, nothing re-creates it."""

    at: float = field()

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

"""The stamp: the verdict on a prospect with its evidence. It is written and read here, and nowhere else.

schemas/stamp.schema.json describes the bytes. A program gets a `Stamp` from the library and from the HTTP client, or
`Unknown` if there is no verdict. Both have `allowed`: a caller that forgets an outage does not dial.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Literal

import msgspec

from stream_scrub import strict_json
from stream_scrub.call import VOICE
from stream_scrub.clock import parse_zoned
from stream_scrub.model import Header, Reason, Verdict, Why

STAMP = "scrub"  # the member of the value, or the record's header, that holds it
E164 = Annotated[str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{1,18}\Z")]  # E.164 with a plus
_PERSONAL = {"number", "numbers", "callable"}


class _Verdict:
    """What the stamp and its entries have in common."""

    __slots__ = ()
    verdict: Verdict
    rests_until_text: str

    @property
    def allowed(self) -> bool:
        """Whether the number may be called."""
        return self.verdict is Verdict.ALLOWED

    @property
    def rests_until(self) -> datetime | None:
        """Of a number that was called too often: the moment from which it may be called again, where that is known."""
        return parse_zoned(self.rests_until_text) if self.rests_until_text else None

    def __bool__(self) -> bool:
        return self.allowed

    def __repr__(self) -> str:
        """Without numbers: none may get into a log."""
        shown = [
            f"{name}={getattr(self, name)!s}"
            for name in self.__struct_fields__  # type: ignore[attr-defined]  # of the struct that it is
            if name not in _PERSONAL and getattr(self, name) not in (None, "", ())
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


class CallHours(msgspec.Struct, frozen=True, omit_defaults=True):
    """When the person may be called, as the rules ask."""

    zones: Sequence[str]  # in which the person may be: all windows are open in all of them
    windows: Sequence[str]  # from/to in UTC: the first minute, and the one that is too late. None: no call
    local: str  # the hours of a week on the person's own clock
    not_on: Sequence[date] = ()  # days among those of the windows on which there are no calls

    def at(self, moment: datetime) -> bool:
        """Whether a call may begin at that moment, which has a time zone."""
        return self.next_at(moment) == moment

    def next_at(self, moment: datetime) -> datetime | None:
        """The first moment from that one on at which a call may begin: itself within a window. None after the last
        window. Raises ValueError if a foreign stamp has other windows."""
        return min((max(first, moment) for first, last in self.spans() if moment < last), default=None)

    def spans(self) -> Iterator[tuple[datetime, datetime]]:
        """Yield the moments of each window. Raises ValueError if a foreign stamp has others."""
        for window in self.windows:
            first, last = window.split("/")
            yield parse_zoned(first), parse_zoned(last)


# The fields of both are in the order in which they are written.
class NumberStamp(_Verdict, msgspec.Struct, frozen=True, omit_defaults=True):
    """The verdict on one number of several."""

    verdict: Verdict
    reason: Reason
    why: Why | None = None  # it is an `invalid-number`
    number: E164 | None = None  # dial this. None if it is not valid
    registers: Sequence[str] = ()  # those that the verdict rests on
    rules: str = ""  # digest of the rule that decided
    residence: str = ""  # digest of the rule where the person lives, if that is another country
    until: date | None = None  # last day on which the verdict may be used
    rests_until_text: str = msgspec.field(default="", name="rests_until")


class Stamp(_Verdict, msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, dict=True):
    """A verdict with its evidence: docs/dialler.md has every member."""

    verdict: Verdict
    reason: Reason
    why: Why | None = None  # it is `unreadable`, or its only number an `invalid-number`
    member: str = ""  # the prospect's member that `why` is about
    schema: str = ""  # the id of the schema that `why` is about
    channel: str = VOICE
    cause: str = ""  # what was wrong with the record, of a prospect that is unreadable for that
    origin: str = msgspec.field(default="", name="from")  # and the place that it came from
    timestamp: int | None = None  # and its own timestamp, in milliseconds
    number: E164 | None = None  # dial this. None if it is not valid, or there are several
    registers: Sequence[str] = ()
    numbers: Sequence[NumberStamp] = ()  # of a prospect with several
    callable: Sequence[E164] = ()  # those of them that may be called, with `prospect.mixed` = "strip"
    index: int  # position of the log at which the verdict was given
    rules: str = ""
    residence: str = ""
    at_text: str = msgspec.field(name="at")
    until: date | None = None
    rests_until_text: str = msgspec.field(default="", name="rests_until")
    call: CallHours | None = None  # None if it is blocked, or if no rule sets hours
    # Of a check alone: whether a call may begin at `at`; if not, from when on, where that is known.
    callable_now: bool | None = None
    next_text: str = msgspec.field(default="", name="next")

    @property
    def at(self) -> datetime:
        """The moment of the verdict."""
        return parse_zoned(self.at_text)

    @property
    def next(self) -> datetime | None:
        """The first moment after a check at which a call may begin, if none may now. Ask again before that call."""
        return parse_zoned(self.next_text) if self.next_text else None

    def callable_at(self, moment: datetime) -> bool:
        """Whether a call may begin at that moment, which has a time zone, by this verdict and its hours. `until` is
        another question: it is a day of the person's country."""
        return self.allowed and (self.call is None or self.call.at(moment))

    @property
    def each(self) -> "Sequence[Stamp | NumberStamp]":
        """The verdicts on the single numbers: the stamp itself if there is one only."""
        return self.numbers or (self,)

    @property
    def json(self) -> bytes:
        """The stamp's own bytes. Keep them: `stream-scrub explain` can then say years later why."""
        written: bytes = self.__dict__.get("json") or encode(self)
        return written


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no verdict: do not dial."""

    why: str
    status: int | None = None  # of the HTTP answer, if there was one
    cause: str | None = None  # why no verdict would be safe, as in `log-behind` (docs/operator.md, Holds)

    @property
    def allowed(self) -> Literal[False]:
        """Never."""
        return False

    def __bool__(self) -> Literal[False]:
        return False


class _Stamped(msgspec.Struct):
    scrub: msgspec.Raw = msgspec.Raw()


encode = msgspec.json.Encoder().encode
_DECODER = msgspec.json.Decoder(Stamp)
_STAMPED = msgspec.json.Decoder(_Stamped)
_LENIENT = strict_json.decoder(dict)  # reads half of a surrogate pair too, as the decoding of prospects does


def decode(written: bytes) -> Stamp:
    """The stamp that these bytes hold. Raises ValueError."""
    try:
        stamp = _DECODER.decode(written)
    except RecursionError as error:
        raise ValueError("the stamp is nested too deeply") from error
    parse_zoned(stamp.at_text)
    stamp.__dict__["json"] = written
    return stamp


def header_in(headers: Iterable[Header] | None) -> bytes | None:
    """The header that holds a stamp, of a record's headers; None without one."""
    return next((value for name, value in headers or () if name == STAMP), None)


def written_on(header: bytes | None, value: bytes | None) -> bytes | None:
    """The bytes of an emitted record's stamp: its header, else the member of its value; None without one."""
    if header is not None:
        return header
    with suppress(ValueError, RecursionError):
        try:
            return bytes(_STAMPED.decode(value or b"").scrub) or None
        except ValueError:
            members = _LENIENT.decode((value or b"").decode())
            return encode(members[STAMP]) if isinstance(members, dict) and STAMP in members else None
    return None


def stamp_on(header: bytes | None, value: bytes | None) -> Stamp | None:
    """An emitted record's stamp; None if it has none, or none that can be read."""
    try:
        return decode(written_on(header, value) or b"")
    except ValueError:
        return None

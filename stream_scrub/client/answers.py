"""What became of a question: a verdict, or Unknown; and how that is read out of whatever came back."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import msgspec

from stream_scrub.model import Reason, Verdict

Question = Mapping[str, Any]
_DIGITS = re.compile(r"[0-9 +().\u00a0-]*")


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict. The members are those of the stamp (docs/dialler.md): `number` is what to dial, None where the
    question had several numbers or none that is valid. `stamp` has the stamp's own bytes. The `repr` shows no number.
    """

    verdict: Verdict
    reason: Reason
    number: str | None = field(repr=False)
    registers: tuple[str, ...]
    index: int
    rules: str
    at: datetime
    until: date | None
    stamp: bytes = field(repr=False)

    @property
    def may_dial(self) -> bool:
        """Whether the verdict is `allowed`: dial now, and ask again for a call on another day."""
        return self.verdict is Verdict.ALLOWED


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no verdict: do not dial. `why` is a sentence; `status` is that of the answer, None if there was none;
    `cause` is the server's word for a hold, as in `log-behind`."""

    why: str
    status: int | None = None
    cause: str | None = None

    @property
    def may_dial(self) -> Literal[False]:
        """Never."""
        return False


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that the brokers have: where it is on its topic."""

    topic: str
    partition: int
    offset: int


class Got(msgspec.Struct, frozen=True):
    """An answer that came whole."""

    status: int
    body: bytes
    retry_after: str = ""


class _Numbered(msgspec.Struct):
    number: str = ""


class _Stamp(msgspec.Struct):
    verdict: Verdict
    reason: Reason
    index: int
    at: datetime
    number: str | None = None
    registers: tuple[str, ...] = ()
    rules: str = ""
    until: date | None = None
    numbers: tuple[_Numbered, ...] = ()


class _Stamps(msgspec.Struct):
    stamps: list[msgspec.Raw]


class _Told(msgspec.Struct):
    detail: str = ""
    cause: str | None = None


_STAMP = msgspec.json.Decoder(_Stamp)
_STAMPS = msgspec.json.Decoder(_Stamps)
_TOLD = msgspec.json.Decoder(_Told)
_ACCEPTED = msgspec.json.Decoder(Accepted)


def answer_of(found: Got | Unknown, asked: Any) -> Answer | Unknown:
    """The outcome of one question; `asked` is the number or the numbers that it was about."""
    if isinstance(found, Unknown):
        return found
    return _read(found.body, asked) if found.status == 200 else _unknown(found)


def answers_of(found: Got | Unknown, page: list[Question]) -> list[Answer | Unknown]:
    """The outcome of each question of a page."""
    if not isinstance(found, Unknown) and found.status == 200:
        try:
            stamps = _STAMPS.decode(found.body).stamps
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            stamps = []
        if len(stamps) == len(page):
            pairs = zip(stamps, page, strict=True)
            return [_read(bytes(each), asked.get("number")) for each, asked in pairs]
        found = Unknown("the answer is not what was asked for", found.status)
    return [found if isinstance(found, Unknown) else _unknown(found)] * len(page)


def _read(body: bytes, asked: Any) -> Answer | Unknown:
    try:
        found = _STAMP.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Unknown("the answer is no stamp", 200)
    if found.reason.verdict is not found.verdict:
        return Unknown("the answer contradicts itself", 200)
    told = [each for each in (found.number, *(each.number for each in found.numbers)) if each]
    if not _is_about(told, asked, found.verdict):
        return Unknown("the answer is about another number", 200)
    members = msgspec.structs.asdict(found)
    del members["numbers"]
    return Answer(**members, stamp=body)


def _is_about(told: list[str], asked: Any, verdict: Verdict) -> bool:
    """Whether a stamp's numbers are those that were asked about, as far as it can be seen without a numbering plan: by
    their last digits. A proxy may give one question another's answer."""
    if not told:
        return verdict is Verdict.BLOCKED
    ends = [_last_digits(each) for each in ([asked] if isinstance(asked, str | int) else asked or [])]
    return all(any(each.endswith(end) for end in ends) for each in told)


def _last_digits(number: object) -> str:
    """The last digits of a number as it was typed; empty where letters say more than digits, as in an extension."""
    text = str(number)
    if not _DIGITS.fullmatch(text):
        return ""
    return "".join(sign for sign in text if sign.isdigit()).lstrip("0")[-6:]


def accepted_of(found: Got | Unknown) -> Accepted | Unknown:
    """What became of a request."""
    if isinstance(found, Unknown) or found.status != 202:
        return found if isinstance(found, Unknown) else _unknown(found)
    try:
        return _ACCEPTED.decode(found.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Unknown("the answer names no place", 202)


def _unknown(found: Got) -> Unknown:
    try:
        told = _TOLD.decode(found.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = _Told()
    return Unknown(told.detail or f"the server answered {found.status}", found.status, told.cause)

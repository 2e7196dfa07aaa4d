"""What became of a question: a verdict, or Unknown; and how that is read out of whatever came back."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import msgspec

from stream_scrub import strict_json
from stream_scrub.model import Reason, Verdict

Question = Mapping[str, Any]
AT_APART_MAX_S = 300.0  # between a stamp's moment and this machine's clock
_LAST_ZONE = timedelta(hours=12)  # a day ends last on earth where clocks are so far behind UTC
_LAST, _LEAST = 6, 4  # digits that are compared; with fewer a number cannot be told from others
_WORDS = re.compile(r"[^\W\d_]+|[#;,]")  # what begins an extension, or is no part of the number
_KEYPAD = str.maketrans("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999")
_NUMBER = re.compile(r"\d(?:[\s().+-]*\d){5,}")


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


def _once(pairs: list[tuple[str, Any]]) -> None:
    """Two parsers may differ in which of two members they read."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a member stands twice")


_ONCE = strict_json.decoder(_once)
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
        _ONCE.decode(body.decode())
    except (ValueError, RecursionError):  # UnicodeDecodeError and msgspec's errors among them
        return Unknown("the answer is no stamp", 200)
    if found.reason.verdict is not found.verdict:
        return Unknown("the answer contradicts itself", 200)
    told = [each for each in (found.number, *(each.number for each in found.numbers)) if each]
    if not _is_about(told, asked, found.verdict):
        return Unknown("the answer is about another number", 200)
    now = datetime.now(UTC)
    if found.at.tzinfo is None or abs((now - found.at).total_seconds()) > AT_APART_MAX_S:
        return Unknown("the answer is of another moment: it was kept somewhere, or a clock is wrong", 200)
    if found.until is not None and found.until < (now - _LAST_ZONE).date():
        return Unknown("the answer's time is over", 200)
    members = msgspec.structs.asdict(found)
    del members["numbers"]
    return Answer(**members, stamp=body)


def _is_about(told: list[str], asked: Any, verdict: Verdict) -> bool:
    """Whether a stamp's numbers are those that were asked about, as far as it can be seen without a numbering plan: by
    their last digits. A proxy may give one question another's answer. Where a question has too few digits to tell, no
    answer is a permission."""
    ends = [
        end
        for each in ([asked] if isinstance(asked, str | int) else asked or [])
        for end in _last_digits(each)
    ]
    if not told or not ends:
        return verdict is Verdict.BLOCKED
    return all(any(each.endswith(end) for end in ends) for each in told)


def _last_digits(number: object) -> list[str]:
    """What the number may end with, as it was typed: the last digits of each piece between words, and those with letters
    for digits, as in 1-800-FLOWERS. Digits of any script count."""
    text = str(number).lower()
    pieces = [*_WORDS.split(text), text.translate(_KEYPAD)]
    found = ("".join(digit for sign in each if (digit := _digit(sign))).lstrip("0") for each in pieces)
    return [digits[-_LAST:] for digits in found if len(digits) >= _LEAST]


def _digit(sign: str) -> str:
    value = unicodedata.decimal(sign, None)
    return "" if value is None else str(value)


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
    detail = _NUMBER.sub("...", told.detail)
    return Unknown(detail or f"the server answered {found.status}", found.status, told.cause)

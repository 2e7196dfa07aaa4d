"""(a) A strict reader of JSON (RFC 8259), written by hand for the tests. It shares nothing with the product, nor with
any library that the product reads JSON with. (b) Every spelling of a text, for tests of code that must read all of
them alike.
"""

import random
from typing import Any, NamedTuple

SHORT = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}
LONG = {sign: letter for letter, sign in SHORT.items()}
WORDS = {"true": True, "false": False, "null": None}


class NotJson(ValueError):
    """The text is not JSON."""


class Member(NamedTuple):
    """One member of an object, as it stands."""

    name: str
    value: Any
    start: int
    end: int


class Object(list):
    """An object: all its Members in order, however often a name occurs."""


def parse(value: bytes) -> Object:
    """Read one object and nothing else. Places are places in the text. Raises NotJson."""
    try:
        text = value.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        raise NotJson("not UTF-8") from error
    reader = _Reader(text)
    found = reader.value()
    reader.space()
    if reader.at != len(text) or not isinstance(found, Object):
        raise NotJson("not one object")
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def take(self, sign: str) -> None:
        if self.peek() != sign:
            raise NotJson(f"no {sign} at {self.at}")
        self.at += 1

    def space(self) -> None:
        while self.peek() in (" ", "\t", "\n", "\r") and self.peek():
            self.at += 1

    def value(self) -> Any:
        self.space()
        sign = self.peek()
        if sign == "{":
            return self.object()
        if sign == "[":
            return self.array()
        if sign == '"':
            return self.string()
        for word, meant in WORDS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return meant
        return self.number()

    def object(self) -> Object:
        members = Object()
        self.take("{")
        self.space()
        if self.peek() == "}":
            self.at += 1
            return members
        while True:
            self.space()
            start = self.at
            name = self.string()
            self.space()
            self.take(":")
            value = self.value()
            members.append(Member(name, value, start, self.at))
            self.space()
            if self.peek() == "}":
                self.at += 1
                return members
            self.take(",")

    def array(self) -> list[Any]:
        parts: list[Any] = []
        self.take("[")
        self.space()
        if self.peek() == "]":
            self.at += 1
            return parts
        while True:
            parts.append(self.value())
            self.space()
            if self.peek() == "]":
                self.at += 1
                return parts
            self.take(",")

    def string(self) -> str:
        self.take('"')
        units: list[str] = []
        while self.peek() != '"':
            sign = self.peek()
            if sign == "" or ord(sign) < 0x20:
                raise NotJson("an open string, or a control character in one")
            self.at += 1
            if sign != "\\":
                units.append(sign)
                continue
            letter = self.peek()
            self.at += 1
            if letter in SHORT and letter:
                units.append(SHORT[letter])
            elif letter == "u":
                digits = self.text[self.at : self.at + 4]
                if len(digits) < 4 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
                    raise NotJson("half an escape")
                self.at += 4
                units.append(chr(int(digits, 16)))
            else:
                raise NotJson("no such escape")
        self.at += 1
        return _paired(units)

    def number(self) -> int | float:
        start = self.at
        if self.peek() == "-":
            self.at += 1
        if self.peek() == "0":
            self.at += 1
        else:
            self.digits()
        whole = True
        if self.peek() == ".":
            self.at, whole = self.at + 1, False
            self.digits()
        if self.peek() in ("e", "E"):
            self.at, whole = self.at + 1, False
            if self.peek() in ("+", "-"):
                self.at += 1
            self.digits()
        spelled = self.text[start : self.at]
        return int(spelled) if whole else float(spelled)

    def digits(self) -> None:
        if not self.peek() or self.peek() not in "0123456789":
            raise NotJson("no digit")
        while self.peek() and self.peek() in "0123456789":
            self.at += 1


def _paired(units: list[str]) -> str:
    """The characters, with the two halves of each surrogate pair put together."""
    made: list[str] = []
    for unit in units:
        if made and "\ud800" <= made[-1] <= "\udbff" and "\udc00" <= unit <= "\udfff":
            high, low = ord(made.pop()), ord(unit)
            made.append(chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)))
        else:
            made.append(unit)
    return "".join(made)


def spelled(text: str, chance: random.Random, *, escapes: float = 0.2) -> str:
    """A text as a JSON string in one of its spellings. About so many of its signs are escaped without need."""
    return '"' + "".join(_spelled(sign, chance, escapes) for sign in text) + '"'


def _spelled(sign: str, chance: random.Random, escapes: float) -> str:
    forced = sign in '"\\' or ord(sign) < 0x20 or "\ud800" <= sign <= "\udfff"
    if not forced and chance.random() >= escapes:
        return sign
    if sign in LONG and chance.random() < 0.5:
        return "\\" + LONG[sign]
    number = ord(sign)
    units = [number]
    if number > 0xFFFF:
        units = [0xD800 + (number - 0x10000 >> 10), 0xDC00 + (number - 0x10000 & 0x3FF)]
    return "".join("\\u" + _mixed(f"{unit:04x}", chance) for unit in units)


def _mixed(digits: str, chance: random.Random) -> str:
    return "".join(chance.choice((digit.lower(), digit.upper())) for digit in digits)

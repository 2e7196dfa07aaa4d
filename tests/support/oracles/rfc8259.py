"""(a) A strict reader of JSON (RFC 8259) that keeps all members of an object, by the standard library: it shares nothing with
the engine. (b) Every spelling of a text, for tests of code that must read all of them alike.
"""

import json
import random
from typing import Any, NamedTuple, NoReturn

# What has a short escape, and its letter.
LONG = {'"': '"', "\\": "\\", "/": "/", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}


class NotJson(ValueError):
    """The text is not JSON."""


class Member(NamedTuple):
    """One member of an object, as it stands."""

    name: str
    value: Any


class Object(list):
    """An object: all its Members in order, however often a name occurs."""


def _no_constant(word: str) -> NoReturn:
    raise NotJson(f"{word} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> Object:
    return Object(Member(name, value) for name, value in pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)


def parse(value: bytes) -> Object:
    """Read one object and nothing else. Raises NotJson."""
    try:
        found = _DECODER.decode(value.decode("utf-8"))
    except ValueError as error:
        raise NotJson(str(error)) from error
    if not isinstance(found, Object):
        raise NotJson("not one object")
    return found


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

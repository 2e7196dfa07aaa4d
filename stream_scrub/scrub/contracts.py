"""Whether a prospect has a contract: `true`, an identifier of a declared shape, or an object with its last day.

Everything else is no contract. A list of words that mean "no" would never be complete.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any

# True: a contract without a known end. A date: its last day. False: no contract.
Contract = bool | date

_TEXT_MAX = 64  # characters; no identifier is longer, and no longer text is compared with a shape
_PIECE = re.compile(r"([#?])(\+?)|(.)", re.DOTALL)
_SIGNS = {"#": "[0-9]", "?": "[0-9a-z]"}
_UNTIL = "until"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def contract_of(member: Any, shapes: Sequence[str] = ()) -> Contract:
    """The contract that a prospect's member states. In `shapes`, `#` is a digit and `?` a letter or digit; a plus
    after either means one or more of them. All other signs stand for themselves, in any case."""
    if isinstance(member, bool):
        return member
    if isinstance(member, int):
        member = str(member) if abs(member) < 10**_TEXT_MAX else ""
    if isinstance(member, str):
        text = member.strip().lower()
        return text == "true" or (len(text) <= _TEXT_MAX and _is_one(text, tuple(shapes)))
    return _last_day(member) if isinstance(member, Mapping) else False


def _is_one(text: str, shapes: tuple[str, ...]) -> bool:
    """Whether the text has one of the shapes and holds more than zeros."""
    return bool(shapes) and text.strip("0") != "" and any(made(text) for made in _matchers(shapes))


@cache
def _matchers(shapes: tuple[str, ...]) -> list[Callable[[str], object]]:
    return [re.compile(_pattern(shape)).fullmatch for shape in shapes]


def _pattern(shape: str) -> str:
    return "".join(
        f"{_SIGNS[sign]}{plus}" if sign else re.escape(other.lower())
        for sign, plus, other in _PIECE.findall(shape)
    )


def _last_day(told: Mapping[str, Any]) -> Contract:
    """The day in `until`. False if another parser could find another value there, or if it is no day."""
    named = [name for name in told if name.casefold() == _UNTIL]
    last = told.get(_UNTIL)
    if named != [_UNTIL] or _UNTIL in getattr(told, "twice", ()) or not isinstance(last, str):
        return False
    try:
        return date.fromisoformat(last) if _DAY.fullmatch(last) else False
    except ValueError:
        return False

"""JSON by RFC 8259, from untrusted bytes."""

import json
from collections.abc import Callable
from typing import Any

# Longer than any real number. A longer integer is kept as text, so that converting it meets no limit and costs no
# time.
INTEGER_DIGITS_MAX = 40


def decoder(object_of: Callable[[list[tuple[str, Any]]], Any]) -> json.JSONDecoder:
    """A decoder that accepts no NaN and no Infinity. `object_of` makes each object from its (name, value) pairs, in
    order; a name may occur twice. An integer of more than INTEGER_DIGITS_MAX digits becomes the text of its digits.
    """
    return json.JSONDecoder(object_pairs_hook=object_of, parse_constant=_no_constant, parse_int=_integer)


def once(pairs: list[tuple[str, Any]]) -> None:
    """For an object whose content does not matter. Raises ValueError if a member occurs twice: parsers differ in which
    of the two they read."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a member occurs twice")


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= INTEGER_DIGITS_MAX else digits

"""JSON as RFC 8259 has it, from bytes that anybody may have written."""

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


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= INTEGER_DIGITS_MAX else digits

"""The areas of a register that is sold by area, and which ones a list may leave out."""

from collections.abc import Sequence
from typing import NamedTuple

from pyroaring import BitMap64

from stream_scrub.errors import ConfigError
from stream_scrub.imports.guards import within
from stream_scrub.imports.parsing.parsed_list import BadList

ALL = "all"


class AreaShape(NamedTuple):
    """How a register's areas are named: so many first digits of a number, of which `code` is the calling code."""

    digits: int
    code: str


def declared(said: Sequence[str], shape: AreaShape | None, register: str) -> tuple[str, ...] | None:
    """The areas that were said, each with its calling code; an empty one stands for all, None for nothing said.
    Raises ConfigError."""
    if not said:
        return None
    if shape is None:
        raise ConfigError([f"--areas: no rule says that {register} is sold by area"])
    if list(said) == [ALL]:
        return ("",)
    short = shape.digits - len(shape.code)
    whole = [area if len(area) == shape.digits else shape.code + area for area in said]
    plain = [
        a.isascii() and a.isdigit() and len(a) == shape.digits and a.startswith(shape.code) for a in whole
    ]
    wrong = [area for area, right in zip(said, plain, strict=True) if not right]
    if wrong:
        why = f"--areas: {wrong[0]!r} is no area of {register}: write {short} digits each, as in 212,305, or {ALL}"
        raise ConfigError([why])
    return tuple(sorted(set(whole)))


def check_areas(areas: tuple[str, ...] | None, numbers: BitMap64) -> int:
    """How many of the numbers lie in none of the declared areas. Raises BadList when none was declared, or when the
    list holds no number of a declared one."""
    if areas is None:
        raise BadList(
            "the register is sold by area: name the areas that you bought, once, with --areas 212,305 or --areas"
            f" {ALL}; later imports keep them"
        )
    inside = [within(area, numbers) for area in areas]
    if empty := [area for area, count in zip(areas, inside, strict=True) if area and not count]:
        raise BadList(
            f"it holds no number of the declared area {empty[0]}: its file is missing, or it was not bought: leave it"
            " out of --areas"
        )
    return len(numbers) - sum(inside)

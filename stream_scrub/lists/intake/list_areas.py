"""Which areas a list covers, where its registry sells it by area: what was bought is declared, kept on the log and
checked against the list. A list that holds one stray number of an area does not cover it. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from pyroaring import BitMap64

from stream_scrub.errors import ConfigError
from stream_scrub.lists.formats import BadList

ALL = "all"
_LONGEST = 15  # digits of a number (ITU-T E.164)


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
        raise ConfigError([f"--areas: no rule says that {register} is handed out by area"])
    if list(said) == [ALL]:
        return ("",)
    short = shape.digits - len(shape.code)
    whole = [area if len(area) == shape.digits else shape.code + area for area in said]
    plain = [
        a.isascii() and a.isdigit() and len(a) == shape.digits and a.startswith(shape.code) for a in whole
    ]
    wrong = [area for area, right in zip(said, plain, strict=True) if not right]
    if wrong:
        raise ConfigError(
            [
                f"--areas: {wrong[0]!r} is no area of {register}: write {short} digits each, as in 212,305, or {ALL}"
            ]
        )
    return tuple(sorted(set(whole)))


def check(areas: tuple[str, ...] | None, numbers: BitMap64) -> int:
    """How many of the numbers lie in none of the declared areas. Raises BadList when nobody declared any, or when the
    list holds no number of a declared one."""
    if areas is None:
        raise BadList(
            "the register is handed out by area: say which areas were bought, once with --areas 212,305 or --areas"
            f" {ALL}; later imports keep them"
        )
    inside = [_inside(area, numbers) for area in areas]
    if empty := [area for area, count in zip(areas, inside, strict=True) if area and not count]:
        raise BadList(
            f"it holds no number of the declared area {empty[0]}: its file is missing, or it was not bought: leave it"
            " out of --areas"
        )
    return len(numbers) - sum(inside)


def _inside(area: str, numbers: BitMap64) -> int:
    if not area:
        return len(numbers)
    lengths = range(_LONGEST - len(area) + 1)
    return sum(_upto(numbers, (int(area) + 1) * 10**n) - _upto(numbers, int(area) * 10**n) for n in lengths)


def _upto(numbers: BitMap64, end: int) -> int:
    """How many of the numbers are below `end`."""
    return int(numbers.rank(end - 1))

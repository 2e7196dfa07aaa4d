"""Whether one text may be two numbers: then it is invalid, because one of them would be lost.

Two people's numbers in one text are separated by anything: a semicolon, a slash, blanks, `ext`. phonenumbers reads many
of these texts as one number: the first one with an extension, or the digits of both. So a text may be two numbers if it
begins with a valid one and ends with another.

Single blanks, hyphens and dots are also how one number is written, so what follows one of these is a second number only
if it begins with 0 or a plus. In Luxembourg, `26 12 34 56` would otherwise be two.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, TypeAlias

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata, country_code_for_region

from stream_scrub.numbering.fractions import has_exponent, without_exponents, without_fractions

# Whether digits, perhaps with a plus before them, are a valid number as typed in a region.
IsNumber: TypeAlias = Callable[[str, str], object]
# The number that digits, perhaps with a plus before them, are as typed in a region; None if they are none.
NumberOf: TypeAlias = Callable[[str, str], int | None]

LEAST_DIGITS: Final = 4  # of any valid number, typed in its own country
_GROUPS_MAX: Final = 24  # of three numbers in pairs of digits
_DIGITS_MAX: Final = 19  # 00, the calling code and the number
LEAST_AFTER_PLUS: Final = 6  # of any valid number with its calling code
NUMBERS_MAX: Final = 4  # of one text that are judged each by itself
# Digits, and the plus before them.
_GROUP = re.compile(r"([+\uff0b][^\d+\uff0b]*)?(\d+)")
# Separators between the groups of one number. A word or another sign may belong to an extension.
_BETWEEN_GROUPS = re.compile(
    r"[ ./()\[\]\t\u00a0\u202f\u2009\u2010-\u2015\u3000\uff08\uff09\uff0e\uff0f\uff0d-]*"
)
_WITHIN = frozenset(" .-\u00a0\u202f\u2009\u2010\u2011")  # one of them separates groups of one number


def may_be_two(text: str, region: str, is_number: IsNumber) -> bool:
    """Whether a valid number as typed in `region` begins the text, and another one ends it.

    `is_number` is asked once for each group of digits at most: none twice, and only for lengths that leave room for the
    other number.
    """
    groups = list(_GROUP.finditer(text))
    least, total = least_digits(region), sum(len(group[2]) for group in groups)
    if len(groups) < 2 or total < pair_digits(region, plus=groups[0][1] is not None):
        return False
    first = _beginning(groups, total - least, region, is_number)
    if first is None:
        return False
    behind = ""
    for at in range(len(groups) - 1, first, -1):
        plus, digits = groups[at][1] is not None, _ascii(groups[at][2])
        behind = digits + behind
        begins = _opens(text, groups, at) and len(behind) >= least
        if begins and is_number("+" + behind if plus else behind, region):
            return True
        if plus:
            return False
    return False


def _opens(text: str, groups: list[re.Match[str]], place: int) -> bool:
    """Whether a number may begin with this group."""
    group = groups[place]
    if place == 0 or group[1] is not None or _ascii(group[2])[0] == "0":
        return True
    return text[groups[place - 1].end() : group.start()] not in _WITHIN


def parted(text: str, region: str, number_of: NumberOf) -> tuple[str, ...]:
    """The numbers in a text that holds two to `NUMBERS_MAX` valid ones and no other digits, each as its digits with a plus
    if it has one. Empty unless every way to part the text gives the same numbers. A plus may also stand between two."""
    if has_exponent(text) or without_fractions(text) != text:
        return ()  # a fraction or an exponent would become digits of a number
    groups = list(_GROUP.finditer(text))
    if not 2 <= len(groups) <= _GROUPS_MAX:
        return ()
    opens = [_opens(text, groups, place) for place in range(len(groups))]
    ways: dict[tuple[int, ...], tuple[str, ...]] = {}
    for numbers, texts in _ways(groups, opens, 0, NUMBERS_MAX, lambda digits: number_of(digits, region)):
        if len(numbers) > 1:
            ways[numbers] = texts
            if len(ways) > 1:
                return ()
    return next(iter(ways.values()), ())


def _ways(
    groups: list[re.Match[str]],
    opens: list[bool],
    at: int,
    left: int,
    number_of: Callable[[str], int | None],
) -> Iterator[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Each way to part the groups from `at` on into at most `left` numbers: the numbers and their texts."""
    if at == len(groups) or not left:
        if at == len(groups):
            yield (), ()
        return
    for behind, digits, number in _numbers_at(groups, at, number_of, opens):
        if at or groups[0][1] is None or digits[0] == "+":  # a plus before the first one belongs to it
            for numbers, texts in _ways(groups, opens, behind, left - 1, number_of):
                yield (number, *numbers), (digits, *texts)


def _numbers_at(
    groups: list[re.Match[str]], first: int, number_of: Callable[[str], int | None], opens: list[bool]
) -> Iterator[tuple[int, str, int]]:
    """The valid numbers that begin with one group and end before one that `opens` another number: the place of that one, the
    digits, perhaps with the plus before them, and the number. No word stands within."""
    digits, signs = "", ("",) if groups[first][1] is None else ("+", "")
    for behind in range(first + 1, len(groups) + 1):
        group = groups[behind - 1]
        if behind > first + 1 and (
            group[1] is not None
            or not _BETWEEN_GROUPS.fullmatch(group.string, groups[behind - 2].end(), group.start())
        ):
            return
        digits += _ascii(group[2])
        if len(digits) > _DIGITS_MAX:
            return
        if len(digits) >= LEAST_DIGITS and (behind == len(groups) or opens[behind]):
            for sign in signs:
                number = number_of(sign + digits)
                if number is not None:
                    yield behind, sign + digits, number


def _beginning(groups: list[re.Match[str]], most: int, region: str, is_number: IsNumber) -> int | None:
    """The last group of the shortest valid number that the groups begin with, of `most` digits at most."""
    sign = "" if groups[0][1] is None else "+"
    digits = ""
    for at, group in enumerate(groups):
        if at and group[1] is not None:
            return None
        digits += _ascii(group[2])
        if len(digits) > most:
            return None
        if len(digits) >= LEAST_DIGITS and is_number(sign + digits, region):
            return at
    return None


def _ascii(digits: str) -> str:
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)


def all_in(text: str, region: str, read: NumberOf) -> tuple[tuple[int, ...], bool]:
    """The valid numbers in a text, by every way to divide it into numbers, and whether there is such a way. Without one:
    those that follow each other from its beginning, or up to its end. `read` gives the number that digits are, perhaps
    with a plus before them, as typed in a region. Fractions of zeros and numbers with an exponent are left out; then it is not
    clear that these are all."""
    bare = without_fractions(without_exponents(text))
    numbers, is_all = _all_in(bare, region, read)
    return numbers, is_all and bare == text


def _all_in(text: str, region: str, read: NumberOf) -> tuple[tuple[int, ...], bool]:
    groups = list(_GROUP.finditer(text))
    count = len(groups)
    if count > _GROUPS_MAX:
        return (), False
    candidates = [  # the first group, the one behind the last, and the number
        (first, behind, number)
        for first in range(count)
        for behind, _, number in _numbers_at(
            groups, first, lambda digits: read(digits, region), [True] * count
        )
    ]
    begun, ended = {0}, {count}
    for first, behind, _ in candidates:
        begun |= {behind} if first in begun else set()
    for first, behind, _ in reversed(candidates):
        ended |= {first} if behind in ended else set()
    covers_all = count > 0 and count in begun
    numbers = dict[int, None]()
    for first, behind, number in candidates:
        if (first in begun and behind in ended) or (not covers_all and (first in begun or behind in ended)):
            numbers[number] = None
    return tuple(numbers), covers_all


def pair_digits(region: str, *, plus: bool = False) -> int:
    """The fewest digits of two valid numbers, the second as typed in `region`; `plus`: the first has its calling code."""
    least = least_digits(region)
    return least + (LEAST_AFTER_PLUS if plus else least)


@lru_cache(maxsize=1024)
def least_digits(region: str) -> int:
    """The fewest digits of a valid number typed in a region without a calling code."""
    lengths: list[int] = []
    for each in COUNTRY_CODE_TO_REGION_CODE.get(country_code_for_region(region), ()):
        plan = PhoneMetadata.metadata_for_region(each, None)
        if plan is not None and plan.general_desc is not None:
            lengths += plan.general_desc.possible_length
            if plan.national_prefix_transform_rule is not None:  # in Jersey, 447015 is 01534 447015
                lengths += plan.general_desc.possible_length_local_only
    return max(LEAST_DIGITS, min(lengths, default=0))

"""National numbers that two calling codes could hold, and whose they are.

The overseas territories of France share its national plan: 0596 60 12 34 is dialled so from Paris and from Martinique,
and its one E.164 form is +596 596 60 12 34. phonenumbers takes +33 596 60 12 34 for another, valid number, and a person
who opposed under one form would be called under the other. In Ireland 048 dials Northern Ireland, in Italy 0549 dials
San Marino.

Sources: ARCEP's national numbering plan (the blocks of 026, 05, 06 and 09 of the overseas territories), ComReg's national
numbering conventions (048), ITU-T E.164 country notes for San Marino (0549).
"""

from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")

_REUNION, _PIERRE, _GUADELOUPE, _GUYANE, _MARTINIQUE = "262", "508", "590", "594", "596"
_ANY: Final = (_REUNION, _GUADELOUPE, _MARTINIQUE, _GUYANE)
FRENCH_TERRITORIES: Final = frozenset((*_ANY, _PIERRE))  # calling codes
# By the first three digits of the national plan: the territories that the block is for. Mayotte and Saint-Martin have
# the codes of Reunion and Guadeloupe.
_FRENCH: Final = {
    **dict.fromkeys(("262", "263", "268", "269", "639", "692", "693"), (_REUNION,)),
    **dict.fromkeys(("508", "708"), (_PIERRE,)),
    **dict.fromkeys(("590", "690", "691"), (_GUADELOUPE,)),
    **dict.fromkeys(("594", "694"), (_GUYANE,)),
    **dict.fromkeys(("596", "696", "697"), (_MARTINIQUE,)),
    **dict.fromkeys(("598", "709", "939", "947", "976"), _ANY),
}
_FRENCH_DIGITS: Final = 9
# By calling code: the beginnings of national significant numbers that have another home, or perhaps several.
BEGINNINGS: Final = {
    "33": tuple(_FRENCH),
    **dict.fromkeys(_ANY, tuple(block for block, codes in _FRENCH.items() if codes == _ANY)),
    "353": ("48",),
    "39": ("0549",),
}


def homes_of(calling_code: str, significant: str) -> tuple[str, ...]:
    """The forms (E.164, digits) that may be the number; empty for a number with one home."""
    if not significant.startswith(BEGINNINGS.get(calling_code, ())):
        return ()
    if calling_code == "353":
        return (f"4428{significant[2:]}",)
    if calling_code == "39":
        return (f"378{significant}",)
    if len(significant) != _FRENCH_DIGITS:
        return ()
    codes = _FRENCH[significant[:3]]
    short = (
        (f"{_PIERRE}{significant[3:]}",) if codes == (_PIERRE,) else ()
    )  # it has also numbers of six digits
    return (*(f"{code}{significant}" for code in codes), *short)


def other_forms(number: int) -> tuple[int, ...]:
    """The other forms (E.164) in which people may write a number that `homes_of` gives: France's for one of Martinique."""
    digits = str(number)
    if digits.startswith("4428"):
        return (int(f"35348{digits[4:]}"),)
    if digits.startswith("3780549"):
        return (int(f"39{digits[3:]}"),)
    if digits[:3] not in FRENCH_TERRITORIES:
        return ()
    significant = digits[3:]
    if digits[:3] == _PIERRE and len(significant) < _FRENCH_DIGITS:
        significant = f"{_PIERRE}{significant}"
    codes = _FRENCH.get(significant[:3], ())
    if len(significant) != _FRENCH_DIGITS or digits[:3] not in codes:
        return ()
    forms = [f"33{significant}", *(f"{code}{significant}" for code in codes)]
    return tuple(int(form) for form in forms if form != digits)


def chosen(valid: Sequence[T]) -> T | None:
    """Of the valid forms of `homes_of`, in its order, the number; None if it is not clear which. The last one counts only if
    it is alone: phonenumbers takes whole blocks for French Guiana's, and any six digits for Saint-Pierre's."""
    certain = valid[:-1] or valid
    return certain[0] if len(certain) == 1 else None

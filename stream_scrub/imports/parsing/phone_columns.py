"""Which columns of a list hold phone numbers: none may be left out without a word."""

import re
from collections.abc import Collection, Sequence

from stream_scrub.imports.parsing.cells import clean
from stream_scrub.imports.parsing.csv_table import CsvTable
from stream_scrub.imports.parsing.parsed_list import BadList
from stream_scrub.numbering import normalise

_PHONE = re.compile(r"phone|mobil|m[oó]vil|gsm|handy|cell|portable|fixe|fijo|festnetz|rufn|\bt[eé]l")
_FAX = re.compile("fax|t[ée]l[ée]cop")

Rows = Sequence[Sequence[str]]


def holding_numbers(body: Rows, width: int, region: str) -> list[int]:
    """The columns most of whose filled cells are numbers."""
    return [place for place in range(width) if _holds_numbers(_filled(body, place), region)]


def unread_phones(titles: Sequence[str], body: Rows, taken: Collection[int], region: str) -> list[int]:
    """The others that hold phone numbers. `titles` are as in the file."""
    # Digits alone may be a customer's number; what is called or spelt as a phone number is one.
    names = [clean(cell).casefold() for cell in titles]
    return [
        place
        for place in holding_numbers(body, len(names), region)
        if place not in taken
        and not _FAX.search(names[place])
        and (_PHONE.search(names[place]) or _are_spelt(_filled(body, place)))
    ]


def need_all_read(table: CsvTable, phones: Collection[int], region: str) -> None:
    """Raises BadList if columns besides `phones` hold phone numbers. The table has titles."""
    titles, *body = (row.cells for row in table.head)
    if others := unread_phones(titles, body, phones, region):
        raise several(len(phones) + len(others), table.width, titled=True)


def several(count: int, width: int, *, titled: bool) -> BadList:
    """What to raise for so many columns of phone numbers."""
    return BadList(
        f"{count} of the list's {width} columns hold phone numbers: choose one with --column "
        + ("(a header's name or a number from 1)" if titled else "(a number from 1)")
        + " of `stream-scrub lists import`, or save each as a list of its own"
    )


def _filled(rows: Rows, place: int) -> list[str]:
    return [clean(row[place]) for row in rows if len(row) > place and row[place].strip()]


def _holds_numbers(cells: Sequence[str], region: str) -> bool:
    valid = sum(normalise(cell, region) is not None for cell in cells)
    return valid > 0 and valid * 2 >= len(cells)


def _are_spelt(cells: Sequence[str]) -> bool:
    return sum(cell.startswith(("+", "0", "(")) for cell in cells) * 2 > len(cells)

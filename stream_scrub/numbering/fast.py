"""The hot part of step 3: digits in a proven shape are looked up, everything else is asked of phonenumbers.

No regular expression runs here. Rows are learnt when a length and beginning is first met (see `tables`), so their
count is bounded by the metadata, not by the traffic. Threads may share a normaliser: a learnt row is only ever
replaced by its equal.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from phonenumbers import PhoneMetadata

from stream_scrub.numbering.library import ask, ask_line
from stream_scrub.numbering.line import Line
from stream_scrub.numbering.tables import ASK, REGIONS, Row, Tables

Answer: TypeAlias = tuple[int, Line] | None
Normalise: TypeAlias = Callable[[str, str], Answer]
LineOf: TypeAlias = Callable[[int], Line | None]
Rows: TypeAlias = dict[int, tuple[int, dict[int, Row]]]  # by digits: (d, the row for each n // d that was met)

TEXT_MAX: Final = 250  # characters; phonenumbers refuses longer texts, whatever they hold
DIGITS_MIN: Final = 4  # shorter ones are phonenumbers' own business
DIGITS_MAX: Final = 20
# Besides the space: what phonenumbers skips anywhere in a number and never takes for the start of an extension or of
# a second number. "x", "~", "#", ",", ";" and letters mean something to it, so they are not here.
SEPARATORS: Final = ("-", ".", "(", ")", "/", "\u00a0")


def normaliser(tables: Tables) -> Normalise:
    """The function that reads what people type, with these tables, or without any that are not of this version."""
    if not tables.in_use:
        return ask
    main: dict[str, dict[int, Row]] = {}
    national: dict[str, Rows] = {}
    international: Rows = {}

    def normalise(text: str, region: str) -> Answer:
        """The number in `text` as typed in `region` (ISO 3166-1), and its line; None unless it is a valid number.

        Valid exactly when phonenumbers' `parse(text, region)` succeeds and `is_valid_number` says so; the number is
        the integer of the E.164 digits (ITU-T E.164), an Italian leading zero included, an extension dropped. With a
        region that phonenumbers does not know, only numbers with a plus are valid. Never raises, whatever the text;
        never blocks. About 0.3 us for plain digits with or without spaces and 15 to 40 us for what must be parsed.
        """
        digits = text.replace(" ", "")
        if digits.isdigit() and digits.isascii() and len(text) <= TEXT_MAX:
            try:
                size, _, cells, shift, lines = main[region][len(digits)]
                n = int(digits)
                cell = cells[n // size]
            except (KeyError, IndexError):
                return elsewhere(text, digits, region)
            if cell > ASK:
                return n + shift, lines[cell]  # type: ignore[return-value]  # a cell above ASK has a line
            if cell < ASK:
                return None
        elif digits and digits[0] == "+":
            digits = digits[1:]
            if digits.isdigit() and digits.isascii() and len(text) <= TEXT_MAX:
                try:
                    n = int(digits)
                    divisor, rows = international[len(digits)]
                    size, first, cells, shift, lines = rows[n // divisor]
                    cell = cells[n // size - first]
                except (KeyError, ValueError):
                    settled, answer = _look_up(digits, international, tables.international)
                    return answer if settled else ask(text, region)
                if cell > ASK:
                    return n + shift, lines[cell]  # type: ignore[return-value]
                return None if cell < ASK else ask(text, region)
        return elsewhere(text, digits, region)

    def elsewhere(text: str, digits: str, region: str) -> Answer:
        """Other separators, a calling code without its plus, 00, a length not met before; else the library."""
        if len(text) > TEXT_MAX or not digits:
            return ask(text, region)
        if not (digits.isascii() and digits.isdigit()):
            bare = _bare(text)
            return ask(text, region) if bare is None else normalise(bare, region)
        if region not in REGIONS or not DIGITS_MIN <= len(digits) <= DIGITS_MAX:
            return ask(text, region)
        if len(digits) not in main.setdefault(region, {}):
            main[region][len(digits)] = tables.main(region, len(digits))
        here = national.setdefault(region, {})
        settled, answer = _look_up(digits, here, lambda typed: tables.national(region, typed))
        if not settled and digits[:2] == "00" and digits[2:3] != "0" and _dials_00(region):
            settled, answer = _look_up(digits[2:], international, tables.international)
        return answer if settled else ask(text, region)

    return normalise


def liner(tables: Tables) -> LineOf:
    """The function that tells a number's line, with these tables, or without any that are not of this version."""
    if not tables.in_use:
        return ask_line
    significant: Rows = {}

    def line_of(number: int) -> Line | None:
        """The line of a number (the integer of its E.164 digits); None unless it is valid.

        For every answer of `normalise`, `line_of(number)` is its line. Nothing is stripped: 330612345678, a French
        number with its national prefix kept, is not valid although +330612345678 can be read. Never raises or blocks.
        """
        if not 10**DIGITS_MIN <= number < 10**DIGITS_MAX:
            return ask_line(number)
        settled, answer = _look_up(str(number), significant, tables.significant)
        return answer and answer[1] if settled else ask_line(number)

    return line_of


def _look_up(
    digits: str, rows: Rows, find: Callable[[str], tuple[int, Row] | None]
) -> tuple[bool, Answer]:
    """Whether the tables settle these digits, and how; `rows` learns from `find` what it lacks."""
    n = int(digits) if DIGITS_MIN <= len(digits) <= DIGITS_MAX else -1
    known = rows.get(len(digits))
    row = None if known is None else known[1].get(n // known[0])
    if row is None:
        found = find(digits) if n >= 0 else None
        if found is None:
            return False, None
        chosen, row = found
        divisor, learnt = rows.setdefault(len(digits), (10 ** (len(digits) - chosen), {}))
        learnt[n // divisor] = row
    cell = row.cells[n // row.size - row.first]
    line = row.lines[cell]
    return cell != ASK, None if line is None else (n + row.shift, line)


def _bare(text: str) -> str | None:
    """The plain digits, with or without a plus, of a text that holds nothing else but separators; else None."""
    bare = text.replace(" ", "")
    for separator in SEPARATORS:
        bare = bare.replace(separator, "")
    digits = bare[1:] if bare[:1] == "+" else bare
    plain = digits.isascii() and digits.isdigit() and len(digits) >= DIGITS_MIN
    return bare if plain and len(bare) < len(text) else None


def _dials_00(region: str) -> bool:
    """Whether 00 and nothing else is the region's international prefix."""
    metadata = PhoneMetadata.metadata_for_region(region, None)
    return metadata is not None and metadata.international_prefix == "00"

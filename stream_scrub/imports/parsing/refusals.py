"""Columns that say of each person whether they may be called: an export of everybody is no list of consents."""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from stream_scrub.imports.parsing.csv_table import CsvRow, title
from stream_scrub.imports.parsing.parsed_list import ParsedList
from stream_scrub.texts import words

# What a cell, as `title` makes it, says of a person who does not want to be called. In a column of consents a no says so,
# in a column with one of these titles a yes, or the day of it.
_REFUSALS = words(
    "optout optedout unsubscribe unsubscribed withdrawn withdrawal revoked opposed opposition objection objected"
    " donotcall donotcontact donotphone dnc refused refusal declined blacklist blacklisted blocklist noconsent"
    " opposé opposée oppose refus refusé refusée désinscrit désinscrite désinscription désabonné désabonnée retiré"
    " nepasappeler nepascontacter pasdaccord nichtanrufen keineeinwilligung"
    " abgemeldet abmeldung widerspruch widersprochen widerrufen widerruf gesperrt"
    " afgemeld verzet geweigerd nietbellen revocato revoca opposto opposizione rifiutato cancellato disiscritto"
    " nonchiamare baja oposición oposicion revocado rechazado nollamar"
)
_NO = words("no non nein nee false falsch faux falso 0 n nie nej denied refuse refuses notgiven none")
_YES = words("yes oui ja si sí true vrai wahr vero verdadero 1 y x")
_CONSENT = re.compile(
    "consent|optin|einwilligung|zustimmung|consenso|toestemming|accord|permission|permiso|accept|acept|agreed|agrees"
    "|autoris|autoriz|authoris|authoriz|samtyck|samtykke|zgoda|maycall|maycontact|callable|contactable|subscribed|allowed"
)
# Around the word of a title: has_opted_out_of_calls, Phone Opt-Out, unsubscribed_at.
_AROUND = re.compile(
    r"(?:is|has|date|phone|voice|calls?|tel|mobile)?(.{0,40}?)"
    r"(?:at|on|date|datum|flag|(?:of|for|from)?(?:phone|voice|calls?|tel|telephone|téléphone|telefon|appels?|anrufe?))?"
)
_DAY = re.compile(r"\d{1,4}[-/.]\d\d?[-/.]\d{1,4}\b.*+")
# Of a column about something else, unless it is about calls too. Spanish has one word for opted out and for low.
_ELSEWHERE = re.compile("mail|courriel|newsletter|postal|fax|priorid|priorit")
_CALLS = re.compile("phone|call|tel|voice|appel|anruf|llamad|chiamat|contact")
_WORDS = 50  # of a column whose title does not tell what it says
_ROWS = 200  # of a mebibyte at most


def refusals_in(column: str, cells: Collection[str]) -> set[str]:
    """Those of the cells that say no to calls. `column` is the title of their column."""
    named = title(column)
    if _ELSEWHERE.search(named) and not _CALLS.search(named):
        return set()
    if _asks_refusal(named):
        return {cell for cell in cells if _DAY.fullmatch(cell.strip()) or title(cell) in _REFUSALS | _YES}
    # A column without a title that says yes or no of each person says it of what the list is about.
    is_answer = _CONSENT.search(named) if named else {title(cell) for cell in cells} <= _YES | _NO | {""}
    refused = _REFUSALS | _NO if is_answer else _REFUSALS
    # A column of consents may hold their moments, each another one.
    return {cell for cell in cells if not cell[1:2].isdigit() and title(cell) in refused}


def _asks_refusal(named: str) -> bool:
    around = _AROUND.fullmatch(named)
    return named in _REFUSALS or (around is not None and around[1] in _REFUSALS)


def watched(
    rows: Iterator[CsvRow], titles: Sequence[str], place: int, reading: ParsedList
) -> Iterator[CsvRow]:
    """The same rows, without the titles. Notes in `reading` the first one of which a column says no to calls. `titles`: of
    the columns; `place`: that of the numbers."""
    left = {place}  # and columns of many words, which say nothing of the kind
    while some := list(islice(rows, _ROWS)):
        if reading.refusal_at == (0, 0):
            reading.refusal_at = _first_refusal(some, titles, left)
        yield from some


def _first_refusal(rows: Sequence[CsvRow], titles: Sequence[str], left: set[int]) -> tuple[int, int]:
    """The line and column, from 1, of a row that says no to calls; 0 and 0 without one. Adds to the columns that are
    `left` out."""
    for each in {*range(max(len(row.cells) for row in rows))} - left:
        column = titles[each] if each < len(titles) else ""
        cells = {row.cells[each] for row in rows if len(row.cells) > each}
        if len(cells) > _WORDS and not (_CONSENT.search(title(column)) or _asks_refusal(title(column))):
            left.add(each)
        elif said := refusals_in(column, cells):
            return next(
                row.line for row in rows if len(row.cells) > each and row.cells[each] in said
            ), each + 1
    return 0, 0

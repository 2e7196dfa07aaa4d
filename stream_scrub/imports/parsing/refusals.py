"""Columns that say of each person whether they may be called: an export of everybody is no list of consents."""

import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import islice

from stream_scrub.imports.parsing.csv_table import ENDS, MAYBE_ENDS, CsvRow, title
from stream_scrub.imports.parsing.parsed_list import ParsedList
from stream_scrub.texts import words

# What a cell, as `title` makes it, says of a person who does not want to be called. In a column of consents a no says so,
# in a column with one of these titles whatever is no no.
_REFUSALS = words(
    "optout optedout unsubscribe unsubscribed withdrawn withdrawal revoked opposed opposition objection objected"
    " donotcall donotcontact donotphone dnc refused refusal declined blacklist blacklisted blocklist noconsent stop"
    " oppose opposee refus refusee desinscrit desinscrite desinscription desabonne desabonnee desabonnement retire"
    " nepasappeler nepascontacter pasdaccord listerouge nichtanrufen keineeinwilligung sperre werbesperre anrufsperre"
    " kontaktsperre telefonsperre abgemeldet abmeldung widerspruch widersprochen widerrufen widerruf gesperrt"
    " afgemeld afmelding uitgeschreven verzet geweigerd nietbellen revocato revoca opposto opposizione rifiuto rifiutato"
    " cancellato disiscritto nonchiamare baja oposicion revocado rechazado nollamar listarobinson"
    " sprzeciw rezygnacja wypisany niedzwonic"
)
_NO = words(
    "no not non nein nee false falsch faux falso n nie nej ne ei nem nao denied refuse refuses notgiven none"
)
_YES = words("yes oui ja si true vrai wahr vero verdadero 1 y x ok tak ano sim")
_NOTHING = words(
    "na nan null never unknown aucun aucune jamais keine keiner nie geen nessuno nessuna mai ninguno ninguna nunca brak"
)  # of a person who did not refuse
_CONSENT = re.compile(
    "consent(?:e?ment|imiento|imento)?|optin|einwilligung|zustimmung|consenso|toestemming|accord|permiss|permiso|accept|acept|agreed|agrees"
    "|autoris|autoriz|authoris|authoriz|samtyck|samtykke|zgoda|maycall|maycontact|maybecalled|cancall|callok|oktocall"
    "|callable|contactok|contactable|subscribed|allowed|rgpd|gdpr|dsgvo|marketing$"
)
# Around the word of a title: has_opted_out_of_calls, Phone Opt-Out, unsubscribed_at.
_BEFORE = ("", *words("is has date dated datede datum data fecha fechade phone voice call calls tel mobile"))
_ABOUT = words("phone voice call calls tel telephone telefon appel appels anruf anrufe")
_BEHIND = (
    *("", *words("at on am le date datum sdatum flag")),
    *(f"{of}{each}" for of in ("", "of", "for", "from") for each in _ABOUT),
)
# Of a column about something else, unless it is about calls too. Spanish has one word for opted out and for low.
_ELSEWHERE = re.compile("mail|courriel|newsletter|postal|fax|priorid|priorit")
_CALLS = re.compile("phone|call|tel|voice|appel|anruf|llamad|chiamat|contact")
_HOLDS = (
    ENDS
    | MAYBE_ENDS
    | words(
        "valablejusquau expirele fin finvalidite findevalidite dateexpiration datedexpiration ablauf gultig scade"
        " datascadenza validohasta caducidad vencimiento"
    )
)
# A year, or a day without the century.
_DATED = re.compile(r"(?<!\d)(?:(?:19|20)\d\d(?:\d{4})?|\d\d?[-/.]\d\d?[-/.]\d\d)(?!\d)")
_WORDS = 50  # of a column whose title does not tell what it says
_ROWS = 200  # of a mebibyte at most


def refusals_in(column: str, cells: Collection[str]) -> set[str]:
    """Those of the cells that say no to calls. `column` is the title of their column."""
    named = title(column)
    if _ELSEWHERE.search(named) and not _CALLS.search(named):
        return set()
    if _asks_refusal(named):
        return {cell for cell in cells if _says(cell) and not _says(cell) & (_NO | _NOTHING)}
    # A column without a title that mostly says yes or no of each person says it of what the list is about.
    said = {title(cell) for cell in cells} - {""}
    is_answer = _CONSENT.search(named) if named else len(said & (_YES | _NO | {"0"})) * 2 > len(said)
    # A column of consents may hold their moments, each another one.
    if not is_answer:
        return {cell for cell in cells if not cell[1:2].isdigit() and title(cell) in _REFUSALS}
    return {cell for cell in cells if _says(cell) & (_REFUSALS | _NO)}


def _says(cell: str) -> set[str]:
    """A cell, and the first word of it, as `title` makes them; none where it is empty. A zero is a no, however it is
    written."""
    first, said = (cell.split() or [""])[0], title(cell)
    return {title(first), said, *(["no"] if said and not said.strip("0") else [])} - {""}


@lru_cache(100)  # titles, for each batch of rows
def _asks_refusal(named: str) -> bool:
    rests = [named.removeprefix(each) for each in _BEFORE]
    return any(rest.removesuffix(each) in _REFUSALS for rest in rests for each in _BEHIND)


def watched(
    rows: Iterator[CsvRow], titles: Sequence[str], read: Collection[int], reading: ParsedList
) -> Iterator[CsvRow]:
    """The same rows, without the titles. Notes in `reading` the first one of which a column says no to calls, and those
    that say until when they hold. `titles`: of the columns; `read`: the places of those that are read."""
    left = {*read}  # and columns of many words, which say nothing of the kind
    ends = [place for place, named in enumerate(titles) if _are_ends(named) and place not in left]
    while some := list(islice(rows, _ROWS)):
        for place in ends:
            if line := next((row.line for row in some if _DATED.search(row.cell(place))), 0):
                reading.end_at = line, place + 1
        if reading.refusal_at == (0, 0):
            reading.refusal_at = _first_refusal(some, titles, left)
        yield from some


def _are_ends(named: str) -> bool:
    return not {named, _CONSENT.sub("", named, count=1)}.isdisjoint(_HOLDS)


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

"""Which columns of a table hold numbers, which one the region, and where its rows begin. Found by content, with the
titles as a hint, or named by the user."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np

from stream_scrub import texts
from stream_scrub.call import FACTS
from stream_scrub.errors import ConfigError
from stream_scrub.files.options import REGION, Asked
from stream_scrub.imports.parsing.phone_columns import COUNTRY, are_regions, may_be_countries
from stream_scrub.imports.parsing.roles import may_refuse
from stream_scrub.imports.parsing.titles import says_phone
from stream_scrub.languages import by_door, say
from stream_scrub.numbering import (
    has_lost_digits,
    may_be_several,
    numbers_in,
    parted_in,
    read_column,
    region_named,
)
from stream_scrub.rules.purposes import shipped
from stream_scrub.texts import shown

Rows = Sequence[Sequence[str]]

_NUMBER_DIGITS = 6  # fewer are no phone number
_CELL_CHARS = 40
_REGION_OPTION = "--region-column"
_LEAD_ROWS = 50  # above which titles may stand
SOME_NUMBERS = 0.1  # of a column's cells: by so many a column that is not called is named
_NUMBERS = 0.5  # of a column's cells: by so many it is one of numbers, whatever its title
_TOLD_COLUMNS = 40
_WORDS = 100  # cells of a column that are compared with known words
_TWICE = (
    "{option}: the file has a column {title} with this fact for each row: leave the option out. If the column means"
    " something else, rename it, or pass --set prospect.{fact}=other"
)
_PERHAPS = (
    "a line above the titles calls column {at} {title}: if it is a title, pass {option} {at}; if not, pass"
    " --set prospect.{fact}=other"
)
_LEAD = (
    "row {line} may be a title or a lead, because its column of numbers holds digits: pass --titles {above} if it is"
    " the first lead, or --titles {titles} if not"
)
_FAX = re.compile(r"fax")
_REGION = re.compile(f"region|{COUNTRY.pattern}")


def phone_share(rows: Rows, region: str) -> float:
    """The largest share of numbers in a column."""
    return max(shares_in(rows, max(map(len, rows), default=0), region, None), default=0.0)


def _region_of(row: Sequence[str], where: int | None, region: str) -> str:
    said = region_named(row[where]) if where is not None and where < len(row) else ""
    return said or region


def shares_in(rows: Rows, width: int, region: str, where: int | None) -> list[float]:
    """For each column, how many of the cells that hold something are a number, or several. `where` is the place of the
    column of regions."""
    held_in, found = np.zeros(width, np.int64), np.zeros(width, np.int64)
    candidates: dict[str, tuple[list[str], list[int]]] = {}
    for row in rows:
        held = [place for place, cell in enumerate(row) if cell and not cell.isspace()]
        held_in[held] += 1
        likely = [
            place
            for place in held
            if len(row[place]) <= _CELL_CHARS and _digits(row[place]) >= _NUMBER_DIGITS
        ]
        cells, places = candidates.setdefault(_region_of(row, where, region), ([], []))
        cells += [row[place] for place in likely]
        places += likely
    for of, (cells, places) in candidates.items():
        valid = read_column(cells, of).numbers > 0
        for place in np.flatnonzero(~valid).tolist():
            valid[place] = bool(parted_in(cells[place], of))
        found += np.bincount(np.array(places, np.int64)[valid], minlength=width)
    return [float(share) for share in found / np.maximum(held_in, 1)]


def _digits(text: str) -> int:
    return sum(map(str.isdigit, text))


def _filled(rows: Rows, place: int) -> list[str]:
    """The cells of a column that hold something."""
    return [row[place] for row in rows if place < len(row) and row[place].strip()]


@dataclass(frozen=True, slots=True)
class Columns:
    """The places of the columns, counted from 0, and their names for people. `facts` are those of facts that rows say.
    The first `titles` lines are no rows; the last of them names the columns, if `titled`. `left_out` are columns that
    hold numbers that are not called, `overlooked` those whose words look like a fact that no column says, `countries` those
    that may say each row's country."""

    numbers: tuple[int, ...]
    region: int | None
    facts: Mapping[str, int]
    titles: int
    titled: bool
    names: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    overlooked: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()

    def name(self, place: int) -> str:
        """A column's title for people, or its number."""
        named = self.names[place].strip() if self.titled and place < len(self.names) else ""
        return shown(named) if named else say("column %(place)s", place=str(place + 1))

    @property
    def reach(self) -> int:
        """How many columns there are up to the last one that is looked at."""
        places = (*self.numbers, *self.facts.values(), -1 if self.region is None else self.region)
        return max(places, default=-1) + 1

    @property
    def spoken(self) -> str:
        """What was found, in a sentence."""
        several = "s" if len(self.numbers) > 1 else ""
        parts = [f"{', '.join(map(self.name, self.numbers))}: {len(self.numbers)} number column{several}"]
        if self.region is not None:
            parts.append(f"region: {self.name(self.region)}")
        parts += [f"{fact}: {self.name(place)}" for fact, place in self.facts.items()]
        if self.left_out:
            parts.append(f"not tested: {', '.join(self.left_out)}")
        parts += self.overlooked
        return "; ".join(parts)


def plain(title: str) -> str:
    """A title without case, accents and signs around it."""
    text = unicodedata.normalize("NFKD", title.casefold())
    return "".join(sign for sign in text if not unicodedata.combining(sign)).strip(" \"'\t\ufeff\0")


def find(rows: Rows, asked: Asked, region: str) -> Columns:
    """The columns of a table whose first rows are `rows`. National numbers are read as of `region`, or as of the
    region column's. Raises ConfigError, which lists what was seen in each column, if nothing or too much was found."""
    width = max(map(len, rows), default=0)
    titles = asked.titles
    if titles is None:
        titles = max((_named_row(rows, name, region) for name in asked.names), default=0)
    titles = min(titles, len(rows))
    if asked.titles is None and not titles:
        _need_known(asked, rows, width, region)
    where = _region(rows, asked, titles, width)
    shares = shares_in(rows[titles:], width, region, where)
    strong = tuple(place for place, share in enumerate(shares) if share >= _NUMBERS)
    numbers = places_of(asked.numbers, rows[titles - 1] if titles else (), width, "--column")
    if asked.titles is None and not titles:
        some = tuple(place for place, share in enumerate(shares) if share > 0)
        titles = _titles(rows, numbers or strong or some or tuple(range(width)), region, where)
        shares = shares_in(rows[titles:], width, region, where)
    names = tuple(rows[titles - 1]) if titles else ()
    left_out: tuple[str, ...] = ()
    if not numbers:
        numbers, left_out = _choose(names, shares, rows[titles:], region)
    if asked.titles is None:
        _need_no_lead(rows[:titles], numbers, region, where)
    lines = [row for row in rows[: max(titles - 1, 0)] if _may_be_titles(row)]
    facts = _facts(lines, names, asked, numbers, where, width)
    found = Columns(numbers, where, facts, titles, bool(titles), names, left_out)
    body = rows[titles:]
    overlooked = _overlooked(body, [0.0] * width if asked.numbers else shares, found)
    countries: list[str] = []
    if where is None:
        all_titles = [_title_at(names, place) for place in range(width)]
        places = perhaps_countries(body, all_titles, numbers, region, _WORDS)
        countries = [found.name(place) for place in places]
    return replace(found, overlooked=tuple(overlooked), countries=tuple(countries))


def perhaps_countries(
    rows: Rows, titles: Sequence[str], numbers: Sequence[int], region: str, most: int | None = None
) -> list[int]:
    """The columns that nobody named and that may say each row's country. `numbers`: those of phone numbers; `most`: how many
    filled cells of a column are looked at."""
    places = []
    for place, title in enumerate(titles):
        if place in numbers:
            continue
        cells, beside = _filled(rows, place)[:most], _beside_numbers(rows, place, numbers)[:most]
        if may_be_countries(title, cells, region, beside):
            places.append(place)
    return places


def _beside_numbers(rows: Rows, place: int, numbers: Sequence[int]) -> list[tuple[str, str]]:
    """The filled cells of a column, each with a phone number of its row."""
    return [
        (row[place], row[number])
        for row in rows
        for number in numbers
        if max(place, number) < len(row) and row[place].strip() and row[number].strip()
    ]


def _title_at(names: Sequence[str], place: int) -> str:
    return names[place] if place < len(names) else ""


def _overlooked(rows: Rows, shares: Sequence[float], found: Columns) -> Iterator[str]:
    """A sentence for each column that is not looked at although it holds numbers, or says no to calls, what a call is for,
    or that a machine speaks: a ban must not be missed without a word."""
    taken = {*found.numbers, found.region, *found.facts.values()}
    for place, share in enumerate(shares):
        if place in taken or found.name(place) in found.left_out:
            continue
        cells = _filled(rows, place)[:_WORDS]
        words = {texts.plain(cell) for cell in cells}
        title = _title_at(found.names, place)
        if share >= SOME_NUMBERS:
            yield f"not looked at: {found.name(place)}, which holds numbers too (--column?)"
        elif may_refuse(title, cells):
            yield f"not looked at: {found.name(place)}, where rows say no to calls (put these people into --list internal=FILE)"
        for fact in FACTS.values():
            known = shipped().keys() if fact.name == "purpose" else fact.words
            if fact.name not in found.facts and words and 2 * len(words & known) > len(words):
                yield f"not looked at: {found.name(place)} ({fact.column_option}?)"
                break


def _facts(
    lines: Rows, names: Sequence[str], asked: Asked, numbers: Sequence[int], where: int | None, width: int
) -> dict[str, int]:
    """The column of each fact: the one that the user named, else the one with the title of that member, also in one of the
    `lines` above the titles. Raises ConfigError if two have the title, if it is not clear whether it is one, or if an option
    says the fact of all rows."""
    named = {
        fact: places_of([name], names, width, FACTS[fact].column_option)[0]
        for fact, name in asked.facts.items()
        if fact != REGION
    }
    # Of lines that may be titles, those that title a column of numbers are.
    sure = [
        names,
        *(line for line in lines if any(says_phone(line[n]) for n in numbers if n < len(line))),
    ]
    found: dict[str, int] = {}
    for fact, known in FACTS.items():
        place = named.get(fact)
        if place is None and not asked.exact:
            member = asked.members.get(fact, "")
            titled = {at for line in sure for at in _titled(line, member)}
            perhaps = {at for line in lines for at in _titled(line, member) if not _is_label(line, at)}
            places = sorted((titled or perhaps).difference({*numbers, where, *named.values()}))
            if len(places) > 1:
                raise _ambiguous([member] * width, "titled", places, known.column_option)
            if places and not titled:
                at, title = places[0] + 1, shown(member)
                why = _PERHAPS.format(title=title, at=at, option=known.column_option, fact=fact)
                page = say(
                    "a line above the titles calls column %(column)s %(title)s: choose below what that column holds",
                    column=at,
                    title=title,
                )
                raise ConfigError([by_door(why, page)])
            place = places[0] if places else None
        if place is None:
            continue
        if fact in asked.said:
            title = shown(names[place].strip()) if place < len(names) else str(place + 1)
            why = _TWICE.format(option=known.option, title=title, fact=fact)
            page = say(
                "column %(title)s says for each lead what you chose for all of them: leave your choice out, or choose"
                " “something else” for the column",
                title=title,
            )
            raise ConfigError([by_door(why, page)])
        found[fact] = place
    return found


def _is_label(row: Sequence[str], place: int) -> bool:
    """Whether a cell is the first of two, or alone, in a line above the titles: it says something of the file, as in
    `Campaign: Spring`. Beside the title of a column of numbers it is a title."""
    held = [at for at, cell in enumerate(row) if cell.strip()]
    return held[0] == place and len(held) <= 2 and not any(says_phone(row[at]) for at in held)


def _ambiguous(names: Sequence[str], called: str, places: Sequence[int], option: str) -> ConfigError:
    """What is raised where several columns of these names may be meant. It says what tells them apart."""
    titles = [names[place].strip() for place in places]
    numbers = [str(place + 1) for place in places]
    by_title = len(set(map(plain, titles))) == len(titles)
    columns = " or ".join((list(map(shown, titles)) if by_title else numbers)[:_TOLD_COLUMNS])
    where = f" (columns {', '.join(numbers[:_TOLD_COLUMNS])})" if by_title else ""
    why = f"{len(places)} columns are {called} {shown(titles[0])}: name one with {option} {columns}{where}"
    page = say(
        "several columns are called %(title)s (columns %(columns)s): choose below what each of them holds",
        title=shown(titles[0]),
        columns=", ".join(numbers[:_TOLD_COLUMNS]),
    )
    return ConfigError([by_door(why, page)])


def _titled(names: Sequence[str], member: str) -> list[int]:
    """The places of columns whose title is that of a prospect's member: case, accents and signs make no difference."""
    wanted = texts.plain(member)
    return [place for place, name in enumerate(names) if wanted and texts.plain(name) == wanted]


def _choose(
    names: Sequence[str], shares: Sequence[float], rows: Rows, region: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The number columns by content and title, and those left out."""
    titles = [plain(names[place]) if place < len(names) else "" for place in range(len(shares))]
    faxes = [place for place, title in enumerate(titles) if _FAX.search(title) and shares[place] > 0]
    strong = [place for place, share in enumerate(shares) if share >= _NUMBERS and place not in faxes]
    hinted = [
        place
        for place, share in enumerate(shares)
        if share > 0 and says_phone(titles[place]) and place not in faxes
    ]
    unhinted = [place for place in strong if place not in hinted]
    if not hinted and not unhinted:
        why = f"no column holds numbers: {_seen(names, shares, rows, region)}. Name one with --column"
        page = say("no column holds numbers: choose the column below, and the country of its numbers")
        raise ConfigError([by_door(why, page)])
    if unhinted and len(hinted) + len(unhinted) > 1:
        seen = _seen(names, shares, rows, region)
        why = f"it is not clear which columns hold numbers to call: {seen}. Name each with --column"
        page = say("it is not clear which columns hold numbers to call: choose them below")
        raise ConfigError([by_door(why, page)])
    left_out = tuple(shown(names[place].strip()) for place in faxes)
    # Whose title promises numbers, but which is empty so far: its first number may stand far below.
    promised = {
        place
        for place, title in enumerate(titles)
        if says_phone(title) and not _FAX.search(title) and not _filled(rows, place)
    }
    return tuple(sorted(promised.union(hinted or unhinted))), left_out


def _region(rows: Rows, asked: Asked, titles: int, width: int) -> int | None:
    """The column of regions: the one that the user named, else one with the title of that member, else one with another
    such title and such cells."""
    if name := asked.facts.get(REGION):
        return places_of([name], rows[titles - 1] if titles else (), width, _REGION_OPTION)[0]
    if asked.exact:
        return None
    lead = range(titles - 1, -1, -1) if titles else range(min(_LEAD_ROWS, len(rows)))
    for line in lead:
        if not _may_be_titles(rows[line]):
            continue
        places = [
            place
            for place in _titled(rows[line], asked.members.get(REGION, ""))
            if line >= titles - 1 or not _is_label(rows[line], place)
        ]
        if not places:
            places = [
                place
                for place, name in enumerate(rows[line])
                if _REGION.search(plain(name)) and are_regions(_filled(rows[line + 1 :], place))
            ]
        if len(places) > 1:
            raise _ambiguous(rows[line], "titled or filled like", places, _REGION_OPTION)
        if not places:
            # Its first country may stand far below.
            places = [
                place
                for place, name in enumerate(map(plain, rows[line]))
                if COUNTRY.search(name) and not says_phone(name) and not _filled(rows[line + 1 :], place)
            ]
            places = places if len(places) == 1 else []
        if places:
            return places[0]
    return None


def _titles(rows: Rows, numbers: Sequence[int], region: str, where: int | None) -> int:
    """How many lines stand above the first row: a preamble, and lines of titles. Only lines above the first row with a
    number can be such, in whatever column it is: a lead must not pass as a heading. The last of them names a column of numbers, or all above it are narrower."""
    lead: list[Sequence[str]] = []
    for row in rows[:_LEAD_ROWS]:
        bare = {place for place, cell in enumerate(row) if not any(map(str.isalpha, cell))}
        if _holds_number(row, bare.union(numbers), region, where):
            break
        lead.append(row)
    named = [
        place
        for place, row in enumerate(lead)
        if _may_be_titles(row) and any(says_phone(row[n]) for n in numbers if n < len(row))
    ]
    if named:
        return named[-1] + 1
    width = max(map(len, rows), default=0)
    first = next((place for place, row in enumerate(lead) if len(row) >= width), None)
    if first is None or not _may_be_titles(lead[first]):
        return 0
    return first + 1 if all(any(map(str.isalpha, lead[first][n])) for n in numbers) else 0


def titles_of(rows: Rows, region: str) -> int:
    """How many lines stand above the first row of a table whose columns are not clear."""
    shares = shares_in(rows, max(map(len, rows), default=0), region, None)
    return _titles(rows, [place for place, share in enumerate(shares) if share > 0], region, None)


def _need_no_lead(rows: Rows, numbers: Iterable[int], region: str, where: int | None) -> None:
    """Raises ConfigError if one of the lines that are taken for titles has part of a number in a column of numbers."""
    for line, row in enumerate(rows):
        here = _region_of(row, where, region)
        if any(
            numbers_in(row[n], here)[0] for n in numbers if n < len(row) and _digits(row[n]) >= _NUMBER_DIGITS
        ):
            page = say(
                "row %(line)s may be a title or a lead. Write %(above)s for “Lines above the first lead” if it is the first"
                " lead, and %(titles)s if not",
                line=line + 1,
                above=line,
                titles=len(rows),
            )
            raise ConfigError([by_door(_LEAD.format(line=line + 1, above=line, titles=len(rows)), page)])


def _may_be_titles(row: Sequence[str]) -> bool:
    """Whether a row may name columns: some letters, and no cell of many digits alone."""
    lettered = [any(map(str.isalpha, cell)) for cell in row]
    return any(lettered) and all(
        named or _digits(cell) < 5 for named, cell in zip(lettered, row, strict=True)
    )


def _named_row(rows: Rows, name: str, region: str) -> int:
    """How many lines there are up to the one that has this title; 0 if none has. What may as well be the place of a
    column is a title only above the first row with a number: a cell of a lead may be the same digit."""
    wanted = plain(name)
    for place, row in enumerate(rows[:_LEAD_ROWS]):
        if wanted.isdigit() and _holds_number(row, range(len(row)), region, None):
            return 0
        if wanted in map(plain, row) and _may_be_titles(row):
            return place + 1
    return 0


def _need_known(asked: Asked, rows: Rows, width: int, region: str) -> None:
    """Raises ConfigError for a column that no line titles, and that is no place of a column."""
    named = [(name, "--column") for name in asked.numbers]
    named += [(name, f"--{fact.replace('_', '-')}-column") for fact, name in asked.facts.items()]
    for name, option in named:
        if not _is_place(name, width):
            titles = _titles(rows, range(width), region, None)
            raise _no_column(name, rows[titles - 1] if titles else (), width, option)


def _is_place(name: str, width: int) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 5 and 1 <= int(name) <= width


def _no_column(name: str, names: Sequence[str], width: int, option: str) -> ConfigError:
    """What is raised for a column that the file lacks: all titles, and the nearest one."""
    titles = {plain(each): shown(each.strip()) for each in names if each.strip()}
    near = get_close_matches(plain(name), titles, n=1)
    hint = f" (did you mean {titles[near[0]]}?)" if near else ""
    known = (
        ", ".join([*titles.values()][:_TOLD_COLUMNS])
        or f"no column has a title: give a number from 1 to {width}"
    )
    why = f"{option}: no column is called {shown(name)!r}{hint}; the columns: {known}"
    page = say("the file has other columns than those that you chose: choose them again")
    return ConfigError([by_door(why, page)])


def places_of(asked: Iterable[str], names: Sequence[str], width: int, option: str) -> tuple[int, ...]:
    """The places of columns that the user named. Raises ConfigError."""
    titles = [plain(name) for name in names]
    found = []
    for name in asked:
        if same := [place for place, title in enumerate(titles) if title == plain(name)]:
            if len(same) > 1:
                raise _ambiguous(names, "called", same, option)
            found.append(same[0])
        elif _is_place(name, width):
            found.append(int(name) - 1)
        else:
            raise _no_column(name, names, width, option)
    return tuple(dict.fromkeys(found))


def _seen(names: Sequence[str], shares: Sequence[float], rows: Rows, region: str) -> str:
    """What was seen in each column, without a single cell."""
    parts = []
    for place, share in enumerate(shares[:_TOLD_COLUMNS]):
        name = shown(names[place].strip()) if place < len(names) else ""
        cells = _filled(rows, place)
        if not cells:
            what = "empty"
        elif share > 0:
            what = f"{share:.0%} numbers of {region}"
        else:
            what = (
                "digits"
                if sum(_digits(cell) >= _NUMBER_DIGITS for cell in cells) * 2 > len(cells)
                else "text"
            )
        parts.append(f"{place + 1} {name}: {what}" if name else f"{place + 1}: {what}")
    return "; ".join(parts) if parts else "the file has no rows"


def _holds_number(row: Sequence[str], places: Iterable[int], region: str, where: int | None) -> bool:
    """Whether a cell at one of these places is a number, or several, or one that a spreadsheet has destroyed."""
    held = [row[place] for place in places if place < len(row)]
    if any(map(has_lost_digits, held)):
        return True
    # However long they are: what a verdict would read as a number is no title.
    cells = [cell for cell in held if _digits(cell) >= _NUMBER_DIGITS]
    if not cells:
        return False
    here = _region_of(row, where, region)
    single = (read_column(cells, here).numbers > 0).any()
    return bool(single) or any(may_be_several(cell, here) for cell in cells)

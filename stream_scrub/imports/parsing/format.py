"""What a format is, and which of them a list has.

A format's module defines FORMAT, which `stream_scrub.imports.formats.FORMATS` names. A format is recognised by what the
list holds, or named, and never guessed.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from stream_scrub.call import VOICE
from stream_scrub.errors import TooMany
from stream_scrub.imports.parsing.parsed_list import BadList, ParsedList
from stream_scrub.imports.parsing.unpack import ListMember, ListSource, PackedList
from stream_scrub.languages import by_door, say
from stream_scrub.texts import masked

SAMPLE_LINES = 50
SURELY = 100
NEVER = 0


@dataclass(frozen=True)
class ListSample:
    """The beginning of a file, for `recognise`: bytes as `ListSource.blocks` gives them, at most 64 KiB.

    `member` is the name of the file, or of the file within the zip. `whole`: there is no more than `head`.
    """

    head: bytes
    member: str
    whole: bool = False

    @cached_property
    def lines(self) -> list[str]:
        """The first 50 lines without their ends, as `ListSource.text` gives them; the one that the sample cuts off
        is not among them.
        """
        text = self.head.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        if not self.whole or not lines[-1]:
            lines = lines[:-1]
        return lines[:SAMPLE_LINES]

    @cached_property
    def filled(self) -> list[str]:
        """Those of `lines` that are not blank."""
        return [line for line in self.lines if line.strip()]


def mostly(alike: int, lines: int) -> bool:
    """Whether so many of a sample's lines are enough to know them by: all but a tenth, or but one of a few."""
    return alike >= 1 and lines - alike <= max(lines // 10, 1 if alike > 1 else 0)


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What an operator may say about a list. `region` is the ISO 3166-1 code that national numbers are read in.

    `column`: the column of the numbers, a header's name or a number from 1; "" when it was not said.
    `columns`: places for named contents, as in {"area": "1", "number": "2", "date": "3", "change": "4"}; values are
    as those of `column`, or what else the format says. `now` is the moment of the import: an end before it has passed.
    `max_numbers` is the most that the list may hold (`lists.max_numbers`), `said` the moment that it speaks of where the
    operator says it. `all_consented`: every person in the list consented, whatever its columns say. `law`: by
    the first digits of numbers, after how many days a consent of the register is over. `channels` are those that a
    consent of the register must be for. `window_minutes` is the length of the register's windows; 0 if it has none.
    """

    region: str
    now: datetime
    column: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    max_numbers: float = math.inf
    said: datetime | None = None
    all_consented: bool = False
    law: tuple[tuple[str, int], ...] = ()
    channels: frozenset[str] = frozenset({VOICE})
    window_minutes: int = 0


@dataclass(frozen=True, slots=True)
class FormatSpec:
    """One list format.

    `about` is a line for `--help` and the docs. `recognise` says how surely a file is of this format by its beginning,
    0 (surely not) to 100 (nothing else looks so); `plain` says 1 of whatever it may be able to read, so a format that
    says less than 2 is never chosen over it. It must not raise, whatever the bytes, nor look at more than the sample.

    `read` reads one file to its end into the `ParsedList`, which it also describes (`ParsedList.described`). It calls one of
    the source's `text`, `chunks` and `blocks`, once. Every line is counted (see `ParsedList`); a number that is not valid
    is a refused line. It raises BadList when the file as a whole is not of this format, and nothing else, whatever
    the bytes. For a zip of several files it is called once for each of them, with the same `ParsedList`.

    `columns` are the names that `ListOptions.columns` may have for it. `oppositions`: its layout is one of people who
    opposed, so it states no consents.
    """

    name: str
    about: str
    recognise: Callable[[ListSample], int]
    read: Callable[[ListSource, ListOptions, ParsedList], None]
    columns: frozenset[str] = frozenset()
    oppositions: bool = False


AUTO = "auto"
_BY_COLUMN = "plain"
_SHAPE_SIGNS = 40


def choose(formats: Sequence[FormatSpec], packed: PackedList) -> FormatSpec:
    """The format that every file in the pack is most surely of. Raises BadList when two are equally likely, or when
    the files are not all of one format.
    """
    samples = [ListSample(member.head, member.name, member.whole) for member in packed.members]
    # an area code without a number says nothing
    filled = [sample for sample in samples if sample.head.strip()]
    if not filled:
        return formats[0]
    scores = {each.name: [each.recognise(sample) for sample in filled] for each in formats}
    sure = {name: min(of) for name, of in scores.items()}
    best = max(sure.values())
    likely = [name for name, score in sure.items() if score == best]
    if len(filled) > 1:
        _agree(scores, filled, max(map(max, zip(*scores.values(), strict=True))), best)
    # A guess would read numbers out of the wrong column.
    if len(likely) > 1:
        page = say(
            "the list can be read in several ways: save it as a CSV file with one column of phone numbers"
        )
        raise BadList(by_door(f"it may be {' or '.join(likely)}: choose one with --format", page))
    return next(each for each in formats if each.name == likely[0])


def _agree(scores: dict[str, list[int]], filled: list[ListSample], surest: int, best: int) -> None:
    # A file of a zip that no format shares with the others is not read as something else.
    of_each = [max(scores, key=lambda name: scores[name][at]) for at in range(len(filled))]
    if best < surest and len(set(of_each)) > 1:
        seen = {name: filled[of_each.index(name)].member for name in dict.fromkeys(of_each)}
        said = ", ".join(f"{masked(member)} looks like {name}" for name, member in seen.items())
        why = f"the zip's files are not all of one format ({said}): unpack it, or choose one with --format"
        page = say("the files in the zip have different layouts: put all phone numbers into one file")
        raise BadList(by_door(why, page))


def read_list(
    formats: Sequence[FormatSpec], packed: PackedList, options: ListOptions, name: str = AUTO
) -> ParsedList:
    """Every file of the pack, in one Reading. `name` is a format's, or "auto". Raises BadList."""
    if name == AUTO:
        chosen = choose(_that_take(formats, options), packed)
    elif name in (by_name := {each.name: each for each in formats}):
        chosen = by_name[name]
    else:
        raise BadList(f"no format is called {name!r}: there is {', '.join(by_name)}")
    if unknown := sorted(options.columns.keys() - chosen.columns):
        known = ", ".join(sorted(chosen.columns)) or "none"
        raise BadList(f"--columns: {chosen.name} knows {known}, not {', '.join(unknown)}")
    reading = ParsedList(max_numbers=options.max_numbers)
    for member in packed.members:
        reading.member = masked(member.name) if len(packed.members) > 1 else ""
        try:
            chosen.read(member.source, options, reading)
            reading.bitmap()  # what it held is then held within the bound
        except (BadList, TooMany) as error:
            why = f"{reading.member}: {error}" if reading.member else str(error)
            raise BadList(by_door(f"read as {chosen.name}: {why}", why)) from error
    reading.unstated = (reading.unstated or chosen.oppositions) and not options.all_consented
    if not reading.outcomes:
        reading.outcomes = {"counted": reading.taken}
        if reading.refused:
            reading.outcomes["without a valid number"] = reading.refused
    like = shape(packed.members[0])
    parts = (chosen.name, packed.described, reading.described, f"like {like}" if like else "")
    reading.described = ", ".join(filter(None, parts))
    return reading


def _that_take(formats: Sequence[FormatSpec], options: ListOptions) -> Sequence[FormatSpec]:
    """The formats that may be meant: who names the column of the numbers has said that it is a CSV, and who names
    other columns that it is a format that has them. Raises BadList when none has.
    """
    if options.column and not options.columns:
        return [each for each in formats if each.name == _BY_COLUMN]
    if not options.columns:
        return formats
    if not (able := [each for each in formats if options.columns.keys() <= each.columns]):
        known = "; ".join(
            f"{each.name} {', '.join(sorted(each.columns))}" for each in formats if each.columns
        )
        raise BadList(f"--columns: no format has all of {', '.join(sorted(options.columns))}: {known}")
    return able


def shape(member: ListMember) -> str:
    """How most of the first lines look, as it may be shown: every digit a 9, every letter an x, since they may be a person's."""
    lines = ListSample(member.head, member.name, member.whole).filled
    lines = [line for line in lines if any(map(str.isdigit, line))] or lines  # rather than a header
    if not lines:
        return ""
    shown = Counter(_mask(line.strip()[: _SHAPE_SIGNS + 1]) for line in lines).most_common(1)[0][0]
    return shown if len(shown) <= _SHAPE_SIGNS else shown[:_SHAPE_SIGNS] + "..."


def _mask(line: str) -> str:
    signs = (
        "9" if sign.isdigit() else "x" if not sign.isascii() or sign.isalpha() else sign for sign in line
    )
    return "".join(sign if sign.isprintable() else " " for sign in signs)

"""Finds the format of a file by its content, unless the operator names it, and reads the file."""

from collections import Counter
from collections.abc import Sequence

from stream_scrub.errors import TooMany
from stream_scrub.lists.parsing.format import FormatSpec, ListOptions, ListSample
from stream_scrub.lists.parsing.parsed_list import BadList, ParsedList
from stream_scrub.lists.parsing.unpack import ListMember, PackedList

AUTO = "auto"
_BY_COLUMN = "plain"
_SHAPE_SIGNS = 40


def named(formats: Sequence[FormatSpec], name: str) -> FormatSpec | None:
    """The format of that name."""
    return next((each for each in formats if each.name == name), None)


def choose(formats: Sequence[FormatSpec], packed: PackedList) -> FormatSpec:
    """The format that every file in the pack is most surely of. Raises BadList when two are equally likely, or when
    the files are not all of one format.
    """
    samples = [ListSample(member.head, member.name, member.whole) for member in packed.members]
    filled = [
        sample for sample in samples if sample.head.strip()
    ]  # an area code without a number says nothing
    if not filled:
        return formats[0]
    scores = {each.name: [each.recognise(sample) for sample in filled] for each in formats}
    sure = {name: min(of) for name, of in scores.items()}
    best = max(sure.values())
    likely = [name for name, score in sure.items() if score == best]
    if len(filled) > 1:
        _agree(scores, filled, max(map(max, zip(*scores.values(), strict=True))), best)
    if len(likely) > 1:
        raise BadList(f"it may be {_or(likely)}: say which with --format")
    chosen = named(formats, likely[0])
    assert chosen is not None
    return chosen


def _agree(scores: dict[str, list[int]], filled: list[ListSample], surest: int, best: int) -> None:
    """A file of a zip that no format shares with the others is not read as something else."""
    of_each = [max(scores, key=lambda name: scores[name][at]) for at in range(len(filled))]
    if best < surest and len(set(of_each)) > 1:
        seen = {name: filled[of_each.index(name)].member for name in dict.fromkeys(of_each)}
        said = ", ".join(f"{member} looks like {name}" for name, member in seen.items())
        raise BadList(
            f"the zip's files are not all of one format ({said}): unpack it, or say which with --format"
        )


def read_list(
    formats: Sequence[FormatSpec], packed: PackedList, options: ListOptions, name: str = AUTO
) -> ParsedList:
    """Every file of the pack, in one Reading. `name` is a format's, or "auto". Raises BadList."""
    if name == AUTO:
        chosen = choose(_that_take(formats, options), packed)
    elif (found := named(formats, name)) is not None:
        chosen = found
    else:
        raise BadList(f"no format is called {name!r}: there is {', '.join(each.name for each in formats)}")
    if unknown := sorted(options.columns.keys() - chosen.columns):
        known = ", ".join(sorted(chosen.columns)) or "none"
        raise BadList(f"--columns: {chosen.name} knows {known}, not {', '.join(unknown)}")
    reading = ParsedList(max_numbers=options.max_numbers)
    for member in packed.members:
        reading.member = member.name if len(packed.members) > 1 else ""
        try:
            chosen.read(member.source, options, reading)
            reading.bitmap()  # what it held is then held within the bound
        except (BadList, TooMany) as error:
            raise BadList(
                f"read as {chosen.name}: {reading.member + ': ' if reading.member else ''}{error}"
            ) from error
    like = shape(packed.members[0])
    parts = (chosen.name, packed.described, reading.described, f"like {like}" if like else "")
    reading.described = ", ".join(filter(None, parts))
    return reading


def _that_take(formats: Sequence[FormatSpec], options: ListOptions) -> Sequence[FormatSpec]:
    """The formats that may be meant: who names the column of the numbers has said that it is a CSV, and who names
    other columns that it is a format that has them. Raises BadList when none has.
    """
    if options.column:
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
    """How most of the first lines look, as it may be shown: every digit a 9, every letter an x, whoever's they are."""
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


def _or(names: Sequence[str]) -> str:
    return " or ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]

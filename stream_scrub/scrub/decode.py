"""Step 2, decode: what a prospect's bytes say, and where its stamp goes. Two readers that must agree.

The quick one takes prospects that leave no room for a second reading: no name with a second spelling
(`Spellings`), no repeated member, no stamp. The strict one takes the others. It walks the object with the standard
library's scanner (RFC 8259) and refuses what two parsers might read differently. Neither ever drops a byte: the
output is sliced out of the original.

A name can be spelled with escapes and, for a parser that ignores case, in another case. The quick readers are sound
only if no name that they look for has a second spelling, in one value or in a whole batch. A false alarm costs time;
a second spelling is never missed.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in CPython, absent from the stubs
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np

from stream_scrub import strict_json
from stream_scrub.call import FACTS
from stream_scrub.stamp import STAMP

Case = Literal["any", "exact"]

# The signs outside ASCII that fold to ASCII. Without escapes, only these can give a name in ASCII a second spelling.
LOOKALIKES: Final = "\u00df\u0130\u0131\u017f\u1e9e\u212a\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06"
# Bytes. Less than `_SMALL` is searched by the interpreter, more by numpy, in pieces that fit into a processor's
# cache.
_SMALL = 8_192
_PIECE = 1 << 19
_WINDOW = 4  # bytes: an integer, of which numpy compares eight at a time
_CASE_BIT = 0x20  # the bit in which a small letter of ASCII differs from its capital


def fold(name: str) -> str:
    """A name without its case, as the least careful parser compares names: (a) by Unicode's full case folding, which
    turns the long s into s and the sign for Kelvin into k, (b) with every i alike, with or without its dot, as in
    Java, and (c) up to a NUL, where a text in C ends."""
    name = _up_to_nul(name)
    if name.isascii():
        return name.lower()
    return name.replace("\u0130", "i").replace("\u0131", "i").casefold()


def _up_to_nul(name: str) -> str:
    return name.partition("\0")[0] if "\0" in name else name


def folder(case: Case) -> Callable[[str], str]:
    """The function by which names are compared: two names are equal if it gives the same text for both."""
    return fold if case == "any" else _up_to_nul


def lookalikes(names: Sequence[str], case: Case) -> str:
    """The signs outside ASCII that could stand in another spelling of these names."""
    if case == "exact":
        return ""
    folded = [fold(name) for name in names]
    return "".join(sign for sign in LOOKALIKES if any(fold(sign) in name for name in folded))


def quoted(name: str) -> bytes:
    """A member's name in quotes, as it stands in the bytes of a plain prospect."""
    return b'"' + name.encode() + b'"'


class Spellings:
    """Finds second spellings of these names, other than by the case of their own letters."""

    def __init__(self, names: Sequence[str], case: Case) -> None:
        self._lookalikes = lookalikes(names, case)
        # The names hold only signs for which JSON has no short escape.
        self.simple = all(
            name.isascii() and name.isprintable() and not set(name) & set('"\\/') for name in names
        )
        # An escape of a sign of ASCII, or of one that folds to ASCII, may spell a letter of a name. No other escape
        # can.
        ways = "|".join(["00[0-7]", *(f"{ord(sign):04x}" for sign in self._lookalikes)])
        self._escape = re.compile(rb"\\u(?i:%s)" % ways.encode() if self.simple else rb"\\")

    def text(self, value: bytes) -> str | None:
        """The value as a text; None if an escape in it may spell one of the names, or if it is not UTF-8."""
        if b"\\" in value and self._escape.search(value) is not None:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None

    def are_plain(self, joined: bytes) -> bool:
        """Whether a whole batch is such a text and holds no lookalike. If this is true of joined values, it is true
        of each value that begins and ends as an object does."""
        if joined.isascii():
            return b"\\" not in joined or self._escape.search(joined) is None
        text = self.text(joined)
        return text is not None and not any(sign in text for sign in self._lookalikes)


class Occurrences:
    """Upper bounds for how often each name, in ASCII, occurs in quotes in a batch; in any case if `case` is "any".

    numpy compares four bytes of a name at every place of the batch: ten times as fast as counting the name.
    """

    def __init__(self, names: Sequence[str], case: Case) -> None:
        self._names = [quoted(name) for name in names]
        self._bit = _CASE_BIT if case == "any" else 0
        # Where the four bytes begin in each name. `bound` moves this to the bytes that were rarest.
        self._at = [0] * len(names)

    def bounds(self, joined: bytes) -> list[int]:
        """A bound for each name."""
        if len(joined) < _SMALL:
            return self._counted(joined, self._names)
        return self._windows(joined, list(enumerate(self._at)))

    def bound(self, joined: bytes, which: int, wanted: int) -> int:
        """A closer bound for one name: the least that any four bytes give, if at most `wanted`; else its count."""
        if len(joined) >= _SMALL:
            others = range(len(self._names[which]) - _WINDOW + 1)
            counts = self._windows(joined, [(which, at) for at in others])
            least = min(counts, default=wanted + 1)
            if least <= wanted:
                self._at[which] = counts.index(least)
                return least
        return self._counted(joined, [self._names[which]])[0]

    def _counted(self, joined: bytes, names: Sequence[bytes]) -> list[int]:
        if self._bit:
            lower = joined.lower()
            return [lower.count(name.lower()) for name in names]
        return [joined.count(name) for name in names]

    def _windows(self, joined: bytes, windows: Sequence[tuple[int, int]]) -> list[int]:
        """For each (name, offset): how often the four bytes at that offset occur in the batch; for a name that is too
        short, a number that is surely larger."""
        chosen = [self._names[which][at : at + _WINDOW] for which, at in windows]
        wanted = [int.from_bytes(bytes(sign | self._bit for sign in four), "little") for four in chosen]
        counts = [0 if len(four) == _WINDOW else len(joined) for four in chosen]
        data = np.frombuffer(joined, np.uint8)
        words, equal = np.empty(_PIECE // _WINDOW, np.dtype("<u4")), np.empty(_PIECE // _WINDOW, np.bool_)
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE + _WINDOW - 1]
            for shift in range(_WINDOW):
                count = min(_PIECE, len(piece) - shift) // _WINDOW
                if count <= 0:
                    break
                here, same = words[:count], equal[:count]
                signs = piece[shift : shift + count * _WINDOW]
                np.bitwise_or(signs, self._bit, out=here.view(np.uint8))
                for i, four in enumerate(wanted):
                    np.equal(here, four, out=same)
                    counts[i] += int(np.count_nonzero(same))
        return counts


ABSENT = msgspec.UNSET
# Nesting beyond this is refused by both readers: parsers differ in how deep they go before they give up.
MAX_DEPTH = 500

Path = tuple[str, ...]


class Members(NamedTuple):
    """Where a prospect keeps what the rules need: a path of member names for each. `facts` are in the order of
    `call.FACTS`. `case`: how these names, and the stamp's, are compared with a prospect's own; "any" accepts every
    spelling that a parser which ignores case would."""

    numbers: tuple[Path, ...]
    region: Path
    facts: tuple[Path, ...]
    case: Case = "any"

    @classmethod
    def of(
        cls,
        numbers: Sequence[str],
        region: str,
        facts: Mapping[str, str] = MappingProxyType({}),
        case: Case = "any",
    ) -> "Members":
        """The members that settings name; a dot in a name reaches into an object. `facts` has the members of facts by
        the facts' names; the others are called as the fact."""

        def path(text: str) -> Path:
            return tuple(text.split("."))

        paths = tuple(path(facts.get(fact, fact)) for fact in FACTS)
        return cls(tuple(map(path, numbers)), path(region), paths, case)

    @property
    def all(self) -> tuple[Path, ...]:
        """The numbers, the region and the facts."""
        return (*self.numbers, self.region, *self.facts)


class Prospect(NamedTuple):
    """One prospect as the strict reader gives it. `facts` are in the order of `Members.facts`. `head + tail` is the
    original without any stamp; a new one goes between them."""

    numbers: list[Any]
    region: Any
    facts: tuple[Any, ...]
    head: bytes
    tail: bytes
    comma: bool


class Unreadable(ValueError):
    """The value is not one JSON object that every parser reads alike. Outside of this room it is a verdict."""


def quick_decoder(members: Members) -> Callable[[bytes], Any]:
    """A decoder to a struct with the top-level members: numbers `n0`, `n1`..., `region`, facts `f0`, `f1`..., `stamp`.

    Sound only for bytes in which no name has a second spelling or occurs twice. Raises one of QUICK_ERRORS; always, for
    member names that no struct may have.
    """
    wanted = [(attribute, path[0]) for attribute, path in _attributes(members)]
    attribute: dict[str, str] = {}
    aliases: dict[str, Any] = {}
    for name, member in wanted:
        if attribute.setdefault(member, name) != name:
            aliases[name] = property(attrgetter(attribute[member]))
    if any(sign in '"\\' or sign < " " for member in attribute for sign in member):
        return _none
    struct = msgspec.defstruct(
        "QuickProspect",
        [(name, Any, ABSENT) for name in (*attribute.values(), "stamp")],
        rename={**{name: member for member, name in attribute.items()}, "stamp": STAMP},
        namespace=aliases,
        gc=False,
    )
    return msgspec.json.Decoder(struct).decode


def _attributes(members: Members) -> list[tuple[str, Path]]:
    """The attribute of the quick reader's struct for each member."""
    return [
        *((f"n{i}", path) for i, path in enumerate(members.numbers)),
        ("region", members.region),
        *((f"f{i}", path) for i, path in enumerate(members.facts)),
    ]


def _none(_: bytes) -> Any:
    raise TypeError


QUICK_ERRORS = (msgspec.DecodeError, RecursionError, TypeError, UnicodeDecodeError)


def spellings_of(members: Members) -> Spellings:
    """Finds second spellings of the members' names and the stamp's."""
    names = [name for path in members.all for name in path]
    return Spellings([*names, STAMP], members.case)


def is_shallow(value: bytes) -> bool:
    """Whether the value is surely not nested deeper than MAX_DEPTH."""
    return len(value) <= MAX_DEPTH or value.count(b"[") + value.count(b"{") <= MAX_DEPTH


class QuickReader:
    """Reads as `read_strictly` does, but only prospects that leave no room for a second reading."""

    def __init__(self, members: Members) -> None:
        self.decode = quick_decoder(members)
        self._spellings = spellings_of(members)
        self._any = members.case == "any"
        self._facts_at = len(members.numbers) + 1
        compared = folder(members.case)
        attributes, paths = zip(*_attributes(members), strict=True)
        self._firsts = attrgetter(*attributes)  # there are more than one
        self._paths = [[(name, f'"{compared(name)}"') for name in path] for path in paths]

    def read(self, value: bytes) -> Prospect | None:
        """As `read_strictly`; None if only that function can tell."""
        try:
            members = self.members(value, self.decode(value))
        except QUICK_ERRORS:
            return None
        if members is None or all(member is ABSENT for member in members):
            return None  # perhaps an empty object: only the strict reader knows whether a comma is needed
        facts = tuple(members[self._facts_at :])
        if dict in map(type, facts):
            return None  # only the strict reader sees whether it has a name twice
        *numbers, region = members[: self._facts_at]
        return Prospect(numbers, region, facts, value[:-1], b"}", comma=True)

    def members(self, value: bytes, quick: Any) -> list[Any] | None:
        """The members of a decoded value, in the order of `Members.all`; None if the value leaves room for another
        reading."""
        if value[:1] != b"{" or value[-1:] != b"}" or not is_shallow(value) or quick.stamp is not ABSENT:
            return None
        text = self._spellings.text(value)
        if text is None:
            return None
        if self._any:
            text = fold(text)
            if f'"{STAMP}"' in text:
                return None
        members = [
            self._dig(first, path, text) if first is not ABSENT or self._any else ABSENT
            for first, path in zip(self._firsts(quick), self._paths, strict=True)
        ]
        return None if _UNSURE in members else members

    def _dig(self, member: Any, path: list[tuple[str, str]], text: str) -> Any:
        """Follow a path from its first member; _UNSURE if a name on it occurs more often in the text."""
        for i, (name, spelled) in enumerate(path):
            if i:
                if not isinstance(member, dict):
                    return ABSENT
                member = member.get(name, ABSENT)
            if member is ABSENT:
                return _UNSURE if self._any and spelled in text else ABSENT
            if text.count(spelled) > 1:
                return _UNSURE
        return member


_UNSURE = object()


def read_strictly(value: bytes, members: Members) -> Prospect:
    """The reference reader. Raises Unreadable."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable("not UTF-8") from error
    try:
        spans = _walk(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable("not one JSON object") from error
    compared = folder(members.case)
    top = _named(_Pairs([span[:2] for span in spans[:-1]]), _tops(members), compared)

    def at(path: Path) -> Any:
        return dig(top.get(compared(path[0]), ABSENT), path[1:], compared)

    numbers = [at(path) for path in members.numbers]
    head, tail, comma = _around(text, spans, compared)
    return Prospect(numbers, at(members.region), tuple(map(at, members.facts)), head, tail, comma)


@lru_cache(maxsize=16)
def _tops(members: Members) -> frozenset[str]:
    """The names at the top level, in the form in which names are compared."""
    compared = folder(members.case)
    return frozenset(compared(path[0]) for path in members.all)


def dig(member: Any, path: Path, compared: Callable[[str], str]) -> Any:
    """Follow a path of member names through objects; ABSENT if it leads nowhere. Raises Unreadable."""
    for name in map(compared, path):
        if not isinstance(member, _Pairs):
            return ABSENT
        member = _named(member, (name,), compared).get(name, ABSENT)
    return member


def _named(members: "_Pairs", names: Collection[str], compared: Callable[[str], str]) -> dict[str, Any]:
    """The members of these names, as names are compared. Raises Unreadable if two parsers could take different
    members: (a) one name occurs twice, or (b) two names compare as equal and have different values."""
    chosen: dict[str, Any] = {}
    for each, value in members.items():
        name = compared(each)
        # Compared as by the least careful parser: a dialler's may find a member that nobody judged.
        if name in names:
            if each in members.twice or (name in chosen and not _same(chosen[name], value)):
                raise Unreadable("a member that the verdict needs occurs twice")
            chosen[name] = value
    return chosen


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal for every parser. An object with a name twice equals nothing, not even itself."""
    pairs = [(one, other)]
    while pairs:
        a, b = pairs.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, list):
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif isinstance(a, _Pairs):
            if a.twice or b.twice or a.keys() != b.keys():
                return False
            pairs.extend((a[name], b[name]) for name in a)
        elif a != b:
            return False
    return True


class _Pairs(dict[str, Any]):
    """A nested object that remembers which of its names occurred twice."""

    __slots__ = ("twice",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs) if len(self) < len(pairs) else Counter[str]()
        self.twice = {name for name, count in counts.items() if count > 1}


_DECODER = strict_json.decoder(_Pairs)
_SPACE = " \t\n\r"


def value_of(token: bytes) -> Any:
    """One JSON value, read as `read_strictly` reads the value of a member. Raises ValueError."""
    return _DECODER.decode(token.decode())


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in _SPACE and at < len(text):
        at += 1
    return at


def _walk(text: str) -> list[tuple[str, Any, int, int]]:
    """The object's members as (name, value, start of the name, end of the value), in order."""
    if _depth(text) > MAX_DEPTH:
        raise ValueError("nested too deep")
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("no object")
    spans: list[tuple[str, Any, int, int]] = []
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}" or spans:
        start = at
        if text[at : at + 1] != '"':
            raise ValueError("no member name")
        name, at = scanstring(text, at + 1, True)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise ValueError("no colon")
        member, at = _DECODER.raw_decode(text, _skip(text, at + 1))
        spans.append((name, member, start, at))
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            break
        if text[at : at + 1] != ",":
            raise ValueError("no comma")
        at = _skip(text, at + 1)
    if _skip(text, at + 1) != len(text):
        raise ValueError("something after the object")
    spans.append(("", None, at, at))  # the closing brace
    return spans


def _depth(text: str) -> int:
    """How deep brackets nest, outside strings. Counted before scanning, because the scanner's own limit differs between
    versions of Python."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    inside = escaped = False
    for sign in text:
        if inside:
            inside = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            inside = True
        elif sign in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in "]}":
            depth -= 1
    return deepest


def _around(
    text: str, spans: list[tuple[str, Any, int, int]], compared: Callable[[str], str]
) -> tuple[bytes, bytes, bool]:
    """The bytes before and after a new stamp, without any old stamp, and whether the new one needs a comma first."""
    members, close = spans[:-1], spans[-1][2]
    olds = [compared(span[0]) == STAMP for span in members]
    kept = len(members) - sum(olds)
    if kept == len(members):
        return text[:close].encode(), text[close:].encode(), bool(members)
    pieces: list[str] = []
    at = 0
    for old, (here, following) in zip(olds, pairwise(members), strict=False):
        if old:  # cut it out with the comma and the space that follow it
            pieces.append(text[at : here[2]])
            at = following[2]
    pieces.append(text[at : members[-1][2]] if olds[-1] else text[at:close])
    head = "".join(pieces)
    if olds[-1] and kept:  # the last member is cut out with the comma before it
        head = head.rstrip(_SPACE).removesuffix(",")
    return head.encode(), text[close:].encode(), bool(kept)

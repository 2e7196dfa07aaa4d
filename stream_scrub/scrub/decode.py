"""Step 2, decode: what a prospect's bytes say, and where its stamp goes.

`read_strictly` is the reference reader, one prospect at a time. It reads RFC 8259 with the standard library's scanner, and
refuses what two parsers might read differently: a name that occurs twice, perhaps with escapes or, for a parser that ignores
case, in another case. It never drops a byte: the output is sliced out of the original. The extension must agree with it
(`backend`).
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in CPython, absent from the stubs
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import msgspec

from stream_scrub import strict_json
from stream_scrub.call import FACTS
from stream_scrub.model import Why
from stream_scrub.stamp import STAMP

Case = Literal["any", "exact"]

# The signs outside ASCII that fold to ASCII. Without escapes, only these can give a name in ASCII a second spelling.
LOOKALIKES: Final = "\u00df\u0130\u0131\u017f\u1e9e\u212a\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06"


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
    """The value is not one JSON object that every parser reads alike, or its schema cannot be used. Outside of this room it is
    a verdict. `member`: the path of the member that is at fault, if one is."""

    def __init__(self, text: str, why: Why = Why.UNUSABLE_SCHEMA, member: str = "") -> None:
        super().__init__(text)
        self.why, self.member = why, member


def read_strictly(value: bytes, members: Members) -> Prospect:
    """Raises Unreadable."""
    try:
        text = value.decode("utf-8")
        is_too_deep = _depth(text) > MAX_DEPTH
        top = None if is_too_deep else _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable("not one JSON object in UTF-8", _why_no_json(value)) from error
    if is_too_deep:
        raise Unreadable("nested too deep", Why.NESTED_TOO_DEEP)
    if not isinstance(top, _Pairs):
        raise Unreadable("not a JSON object", Why.NOT_AN_OBJECT)
    compared, paths = folder(members.case), _compared_paths(members)
    compared_names = {name: compared(name) for name in top}
    chosen = _chosen(top, paths.tops, compared_names)
    values = [_dig(chosen.get(path[0], ABSENT), path, compared) for path in paths.all]
    count = len(members.numbers)
    if STAMP in compared_names.values():
        head, tail, comma = _around_stamps(text, compared)
    else:
        close = len(text.rstrip(_SPACE)) - 1
        head, tail, comma = text[:close].encode(), text[close:].encode(), bool(top)
    return Prospect(values[:count], values[count], tuple(values[count + 1 :]), head, tail, comma)


# A string, also one without its closing quote, which is the group. The possessive star keeps it linear.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+("?)', re.DOTALL)
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def _why_no_json(value: bytes) -> Why:
    """Why the decoder refuses a value. The decoder's own words differ between versions of Python, and are not asked."""
    if value.startswith(_BYTE_ORDER_MARKS):
        return Why.BYTE_ORDER_MARK
    if not value.strip():
        return Why.EMPTY
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return Why.NOT_UTF_8
    outside = _STRING.sub("", text)
    is_open = "" in _STRING.findall(text) or sum(map(outside.count, "{[")) > sum(map(outside.count, "}]"))
    return Why.TRUNCATED if is_open and outside.lstrip(_SPACE).startswith("{") else Why.NOT_JSON


class _ComparedPaths(NamedTuple):
    """The members' paths, in the form in which names are compared, and the names at the top level among them."""

    all: tuple[Path, ...]
    tops: frozenset[str]


@lru_cache(maxsize=16)
def _compared_paths(members: Members) -> _ComparedPaths:
    compared = folder(members.case)
    paths = tuple(tuple(map(compared, path)) for path in members.all)
    return _ComparedPaths(paths, frozenset(path[0] for path in paths))


def _dig(member: Any, path: Path, compared: Callable[[str], str]) -> Any:
    """Follow a path of compared names through objects, from the member that its first one names; ABSENT if it leads nowhere.
    Raises Unreadable."""
    for depth, name in enumerate(path[1:], 1):
        if not isinstance(member, _Pairs):
            return ABSENT
        compared_names = {inner: compared(inner) for inner in member}
        member = _chosen(member, (name,), compared_names, path[:depth]).get(name, ABSENT)
    return member


def _chosen(
    members: "_Pairs", wanted: Collection[str], named: Mapping[str, str], path: Path = ()
) -> dict[str, Any]:
    """The wanted members of the object at that path, by the names as they are compared (`named`). Raises Unreadable if two
    parsers could take different members: (a) one name occurs twice, or (b) two names compare as equal and have different
    values."""
    chosen: dict[str, Any] = {}
    for spelled, value in members.items():
        name = named[spelled]
        # Compared as by the least careful parser: a dialler's may find a member that was not judged.
        if name in wanted:
            if spelled in members.twice or (name in chosen and not _same(chosen[name], value)):
                twice = ".".join((*path, name))
                raise Unreadable(f"the member {twice} occurs twice", Why.MEMBER_TWICE, twice)
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


class _MemberSpan(NamedTuple):
    """Where a member stands in a text: its name from `begin`, its value up to `end`."""

    name: str
    begin: int
    end: int


def _spans(text: str) -> tuple[list[_MemberSpan], int]:
    """The members of an object, in order, and where its last brace stands. The text was read before."""
    at = _skip(text, _skip(text, 0) + 1)
    spans: list[_MemberSpan] = []
    while text[at] != "}":
        begin = at
        name, at = scanstring(text, at + 1, True)
        _, at = _DECODER.raw_decode(text, _skip(text, _skip(text, at) + 1))
        spans.append(_MemberSpan(name, begin, at))
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return spans, at


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


def _around_stamps(text: str, compared: Callable[[str], str]) -> tuple[bytes, bytes, bool]:
    """The bytes before and after a new stamp, without the old stamps, and whether the new one needs a comma first."""
    members, close = _spans(text)
    olds = [compared(span.name) == STAMP for span in members]
    pieces: list[str] = []
    at = 0
    for old, (here, following) in zip(olds, pairwise(members), strict=False):
        if old:  # cut it out with the comma and the space that follow it
            pieces.append(text[at : here.begin])
            at = following.begin
    pieces.append(text[at : members[-1].begin] if olds[-1] else text[at:close])
    head = "".join(pieces)
    if olds[-1] and not all(olds):  # the last member is cut out with the comma before it
        head = head.rstrip(_SPACE).removesuffix(",")
    return head.encode(), text[close:].encode(), not all(olds)

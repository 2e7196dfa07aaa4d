"""Step 2 of a prospect's life: bytes to the few members that a verdict needs.

Two readers that agree. The quick one (msgspec, one struct) takes a prospect whose bytes leave no room for a second
reading: no name that could be spelled otherwise (`member_names`), no repeated member, no stamp. All others go to the
strict one. It walks the object member by member with the standard library's scanner (RFC 8259), and refuses what two
parsers might read differently. Neither ever drops a byte: what is kept is sliced out of the original.
"""

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from itertools import pairwise
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in CPython, absent from the stubs
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from stream_scrub import strict_json
from stream_scrub.scrub.member_names import Case, Spellings, fold, folder

STAMP = "scrub"
ABSENT = msgspec.UNSET
# Nesting beyond this is refused by both readers: parsers differ in how deep they go before they give up.
MAX_DEPTH = 500

Path = tuple[str, ...]


class Members(NamedTuple):
    """Where a prospect keeps what the rules ask for. Each is a path of member names. `case` says how these names, and
    the stamp's, are compared with a prospect's own names: "any" accepts every spelling that a parser which ignores
    case would accept."""

    numbers: tuple[Path, ...]
    region: Path
    purpose: Path
    contract: Path
    campaign: Path
    case: Case = "any"
    channel: Path = ("channel",)
    who: Path = ("who",)
    relation: Path = ("relation",)
    voice_kind: Path = ("voice_kind",)
    residence: Path = ("residence",)

    @classmethod
    def of(
        cls,
        numbers: Sequence[str],
        region: str,
        purpose: str,
        contract: str,
        campaign: str,
        case: Case = "any",
        **others: str,
    ) -> "Members":
        """The members that settings name, `others` by their fields here. Dots in a name reach into objects."""

        def path(text: str) -> Path:
            return tuple(text.split("."))

        return cls(
            tuple(map(path, numbers)),
            path(region),
            path(purpose),
            path(contract),
            path(campaign),
            case,
            **{member: path(text) for member, text in others.items()},
        )

    @property
    def facts(self) -> tuple[Path, ...]:
        """What a prospect says about itself and its call, in the order in which `facts.facts_of` takes it."""
        said = (self.purpose, self.contract, self.campaign, self.channel)
        others = (self.who, self.relation, self.voice_kind, self.residence)
        return tuple(path for path in (*said, *others) if path)

    @property
    def of_three(self) -> "Members":
        """The same as the readings before FACTS knew them: what else a prospect says of itself is not looked at."""
        return self._replace(channel=(), who=(), relation=(), voice_kind=(), residence=())

    @property
    def all(self) -> tuple[Path, ...]:
        """The numbers, the region and the facts."""
        return (*self.numbers, self.region, *self.facts)


class Prospect(NamedTuple):
    """One prospect, read strictly. `facts` are in the order of `Members.facts`. `head + tail` is the original without
    any stamp; a new one goes between them."""

    numbers: list[Any]
    region: Any
    facts: tuple[Any, ...]
    head: bytes
    tail: bytes
    comma: bool


class Unreadable(ValueError):
    """The value is not one JSON object that every parser reads alike. Stays within this room: outside it is a
    verdict."""


def quick_decoder(members: Members) -> Callable[[bytes], Any]:
    """A decoder to a struct with the top-level members: `n0`, `n1`... numbers, `region`, `f0`, `f1`... facts, `stamp`.

    Sound only for bytes in which no name can have a second spelling, and none occurs twice. Raises one of
    QUICK_ERRORS. For member names that no struct may have, the decoder always raises.
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
    """The second spellings that the members' names, or the stamp's, could have."""
    names = [name for path in members.all for name in path]
    return Spellings([*names, STAMP], members.case)


def is_shallow(value: bytes) -> bool:
    """Whether the value is surely not nested deeper than MAX_DEPTH."""
    return len(value) <= MAX_DEPTH or value.count(b"[") + value.count(b"{") <= MAX_DEPTH


class QuickReader:
    """Reads like `read_strictly`, but only prospects that leave no room for a second reading."""

    def __init__(self, members: Members) -> None:
        self.decode = quick_decoder(members)
        self._spellings = spellings_of(members)
        self._any = members.case == "any"
        self._facts_at = len(members.numbers) + 1
        compared = folder(members.case)
        self._paths = [
            (attribute, [(name, f'"{compared(name)}"') for name in path])
            for attribute, path in _attributes(members)
        ]

    def read(self, value: bytes) -> Prospect | None:
        """As `read_strictly`; None if only that function can tell."""
        try:
            found = self.found(value, self.decode(value))
        except QUICK_ERRORS:
            return None
        if found is None or all(member is ABSENT for member in found):
            return None  # perhaps an empty object: only the strict reader knows whether a comma is needed
        facts = tuple(found[self._facts_at :])
        if any(isinstance(fact, dict) for fact in facts):
            return None  # only the strict reader sees whether it has a name twice
        *numbers, region = found[: self._facts_at]
        return Prospect(numbers, region, facts, value[:-1], b"}", comma=True)

    def found(self, value: bytes, quick: Any) -> list[Any] | None:
        """The members of a decoded value, in the order of `Members.all`; None if the value leaves room for another reading."""
        if value[:1] != b"{" or value[-1:] != b"}" or not is_shallow(value) or quick.stamp is not ABSENT:
            return None
        text = self._spellings.text(value)
        if text is None:
            return None
        if self._any:
            text = fold(text)
            if f'"{STAMP}"' in text:
                return None
        made = []
        for attribute, path in self._paths:
            member = self._dig(getattr(quick, attribute), path, text)
            if member is _UNSURE:
                return None
            made.append(member)
        return made

    def _dig(self, member: Any, path: list[tuple[str, str]], text: str) -> Any:
        """Follow a path from its first member; _UNSURE if a name on it stands in the text more often than it was
        found."""
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
    found = _named(_Pairs([span[:2] for span in spans[:-1]]), _tops(members), compared)

    def at(path: Path) -> Any:
        return dig(found.get(compared(path[0]), ABSENT), path[1:], compared)

    numbers = [at(path) for path in members.numbers]
    head, tail, comma = _around(text, spans, compared)
    return Prospect(numbers, at(members.region), tuple(map(at, members.facts)), head, tail, comma)


@lru_cache(maxsize=16)
def _tops(members: Members) -> frozenset[str]:
    """The names at the top level, in the form in which names are compared."""
    compared = folder(members.case)
    return frozenset(compared(path[0]) for path in members.all)


def dig(found: Any, path: Path, compared: Callable[[str], str]) -> Any:
    """Follow a path of member names through objects; ABSENT if it leads nowhere. Raises Unreadable."""
    for name in map(compared, path):
        if not isinstance(found, _Pairs):
            return ABSENT
        found = _named(found, (name,), compared).get(name, ABSENT)
    return found


def _named(members: "_Pairs", names: Collection[str], compared: Callable[[str], str]) -> dict[str, Any]:
    """The members of these names, as names are compared. Raises Unreadable if two parsers could take different
    members: (a) one name stands twice, or (b) two names compare as equal and have different values."""
    found: dict[str, Any] = {}
    for each, value in members.items():
        name = compared(each)
        if name in names:
            if each in members.twice or (name in found and not _same(found[name], value)):
                raise Unreadable("a member that the verdict needs occurs twice")
            found[name] = value
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal for every parser. An object that has a name twice equals nothing, not even
    itself."""
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
        self.twice = set() if len(self) == len(pairs) else _repeated(pairs)


def _repeated(pairs: list[tuple[str, Any]]) -> set[str]:
    seen: set[str] = set()
    return {name for name, _ in pairs if name in seen or seen.add(name)}  # type: ignore[func-returns-value]


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
    """How deep brackets nest, outside strings. It is counted before scanning: the scanner's own limit differs between
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
    """The bytes before and after a new stamp, without any old stamp, and whether the new one needs a comma before
    it."""
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

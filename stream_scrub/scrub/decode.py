"""Step 2 of a prospect's life: bytes to the few members that a verdict needs.

Two readers that agree. The quick one (msgspec, one struct) takes a prospect whose bytes leave no room for a second
reading: no escape, no repeated member, no stamp. All else goes to the strict one, which walks the object member by
member with the standard library's scanner (RFC 8259) and refuses what two parsers might read differently. Neither
ever drops a byte: what is kept is sliced out of the original.
"""

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in CPython, absent from the stubs
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np

STAMP = "scrub"
ABSENT = msgspec.UNSET
# Nesting beyond this is refused by both readers: parsers differ in how deep they go before they give up.
MAX_DEPTH = 500

Path = tuple[str, ...]


class Members(NamedTuple):
    """Where a prospect keeps what the rules ask for; each is a path of member names."""

    numbers: tuple[Path, ...]
    region: Path
    purpose: Path
    contract: Path
    campaign: Path

    @classmethod
    def of(cls, numbers: Sequence[str], region: str, purpose: str, contract: str, campaign: str) -> "Members":
        """From settings, where dots reach into objects."""

        def path(text: str) -> Path:
            return tuple(text.split("."))

        return cls(tuple(map(path, numbers)), path(region), path(purpose), path(contract), path(campaign))

    @property
    def facts(self) -> tuple[Path, ...]:
        """Region, purpose, contract and campaign."""
        return (self.region, self.purpose, self.contract, self.campaign)


class Prospect(NamedTuple):
    """One prospect, read strictly. `head + tail` is the original without any stamp; a new one goes between them."""

    numbers: list[Any]
    region: Any
    purpose: Any
    contract: Any
    campaign: Any
    head: bytes
    tail: bytes
    comma: bool


class Unreadable(ValueError):
    """Not one JSON object that every parser reads alike. Stays within this room: outside it is a verdict."""


def quick_decoder(members: Members) -> Callable[[bytes], Any]:
    """A decoder to a struct with the top-level members: `n0`, `n1`... numbers, `f0`..`f3` facts, `stamp`.

    Sound only for bytes that pass `is_plain` and in which no name occurs twice. Raises one of QUICK_ERRORS.
    """
    wanted = [(f"n{i}", path[0]) for i, path in enumerate(members.numbers)]
    wanted += [(f"f{i}", path[0]) for i, path in enumerate(members.facts)]
    attribute: dict[str, str] = {}
    aliases: dict[str, Any] = {}
    for name, member in wanted:
        if attribute.setdefault(member, name) != name:
            aliases[name] = property(attrgetter(attribute[member]))
    struct = msgspec.defstruct(
        "QuickProspect",
        [(name, Any, ABSENT) for name in (*attribute.values(), "stamp")],
        rename={**{name: member for member, name in attribute.items()}, "stamp": STAMP},
        namespace=aliases,
        gc=False,
    )
    return msgspec.json.Decoder(struct).decode


QUICK_ERRORS = (msgspec.DecodeError, RecursionError, TypeError, UnicodeDecodeError)


# An escape that spells an ASCII sign, so perhaps a letter of a member's name. Any other escape spells none of them.
_ASCII_ESCAPE = re.compile(rb"\\u00[0-7]")


def is_plain(value: bytes) -> bool:
    """Whether an object's bytes leave no room for a second reading of its (ASCII) names, its end or its text."""
    if value[:1] != b"{" or value[-1:] != b"}":
        return False
    if b"\\" in value and _ASCII_ESCAPE.search(value) is not None:
        return False
    if len(value) > MAX_DEPTH and value.count(b"[") + value.count(b"{") > MAX_DEPTH:
        return False
    return value.isascii() or _is_utf8(value)


def all_plain(joined: bytes) -> bool:
    """`is_plain`'s questions about escapes and text, asked of a whole batch at once: true of the values joined only
    if true of each that begins and ends as an object does. The rest of `is_plain` stays to be asked of each."""
    if b"\\" in joined and _ASCII_ESCAPE.search(joined) is not None:
        return False
    return joined.isascii() or _is_utf8(joined)


def occurs_at_most(joined: bytes, name: bytes, times: int) -> bool:
    """Whether a quoted name stands at most so many times in a batch.

    Four bytes of it, compared at every place by numpy, give an upper bound ten times as fast as counting the name;
    only where neither end of the name is rare enough is it counted.
    """
    for four in (name[:4], name[-4:]):
        wanted = int.from_bytes(four, "little")
        bound = 0
        for shift in range(4):
            count = (len(joined) - shift) // 4
            if count > 0:
                words = np.frombuffer(joined, dtype="<u4", count=count, offset=shift)
                bound += int(np.count_nonzero(words == wanted))
        if bound <= times:
            return True
    return joined.count(name) <= times


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def quoted(name: str) -> bytes:
    """A member's name as it stands in plain bytes."""
    return b'"' + name.encode() + b'"'


def read_quickly(value: bytes, members: Members, decode: Callable[[bytes], Any]) -> Prospect | None:
    """As `read_strictly`, for the plain ones; None where only the strict reader may say."""
    if not is_plain(value):
        return None
    try:
        quick = decode(value)
    except QUICK_ERRORS:
        return None
    if quick.stamp is not ABSENT:
        return None
    found = []
    for top, path in _tops(quick, members):
        if top is ABSENT:
            found.append(ABSENT)
        elif any(value.count(quoted(name)) > 1 for name in path):
            return None
        else:
            found.append(dig(top, path[1:]))
    if all(member is ABSENT for member in found):
        return None  # an empty object, perhaps: whether a comma is needed, only the strict reader knows
    region, purpose, contract, campaign = found[-4:]
    return Prospect(found[:-4], region, purpose, contract, campaign, value[:-1], b"}", comma=True)


def _tops(quick: Any, members: Members) -> list[tuple[Any, Path]]:
    numbers = [(getattr(quick, f"n{i}"), path) for i, path in enumerate(members.numbers)]
    return numbers + [(getattr(quick, f"f{i}"), path) for i, path in enumerate(members.facts)]


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
    tops = {path[0] for path in (*members.numbers, *members.facts)}
    found: dict[str, Any] = {}
    for name, member, _, _ in spans:
        if name in tops:
            if name in found:
                raise Unreadable("a member that the verdict needs occurs twice")
            found[name] = member
    numbers = [dig(found, path) for path in members.numbers]
    head, tail, comma = _around(text, spans)
    region, purpose, contract, campaign = (dig(found, path) for path in members.facts)
    return Prospect(numbers, region, purpose, contract, campaign, head, tail, comma)


def dig(found: Any, path: Path) -> Any:
    """Follow a path of member names through objects; ABSENT where it leads nowhere."""
    for name in path:
        if isinstance(found, _Pairs) and name in found.twice:
            raise Unreadable("a member that the verdict needs occurs twice")
        if not isinstance(found, dict):
            return ABSENT
        found = found.get(name, ABSENT)
    return found


class _Pairs(dict[str, Any]):
    """A nested object that remembers which of its names occurred twice."""

    __slots__ = ("twice",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice = set() if len(self) == len(pairs) else _repeated(pairs)


def _repeated(pairs: list[tuple[str, Any]]) -> set[str]:
    seen: set[str] = set()
    return {name for name, _ in pairs if name in seen or seen.add(name)}  # type: ignore[func-returns-value]


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _integer(digits: str) -> int | str:
    # Longer than any number is: kept as text, so that no conversion limit or cost is met; it is no valid number.
    return int(digits) if len(digits) <= 40 else digits


_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs, parse_constant=_no_constant, parse_int=_integer)
_SPACE = " \t\n\r"


def value_of(token: bytes) -> Any:
    """One JSON value, as `read_strictly` reads a member's. Raises ValueError."""
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
    """How deep brackets nest, outside strings. Counted first: a scanner's own limit differs between Pythons."""
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


def _around(text: str, spans: list[tuple[str, Any, int, int]]) -> tuple[bytes, bytes, bool]:
    """The bytes before and after a new stamp, with every old one cut out, and whether a comma is needed between."""
    members, close = spans[:-1], spans[-1][2]
    kept = [span for span in members if span[0] != STAMP]
    if len(kept) == len(members):
        return text[:close].encode(), text[close:].encode(), bool(members)
    pieces: list[str] = []
    at = 0
    for here, following in pairwise(members):
        if here[0] == STAMP:  # it goes with the comma and the space that follow it
            pieces.append(text[at : here[2]])
            at = following[2]
    pieces.append(text[at : members[-1][2]] if members[-1][0] == STAMP else text[at:close])
    head = "".join(pieces)
    if members[-1][0] == STAMP and kept:  # the last one goes with the comma before it
        head = head.rstrip(_SPACE).removesuffix(",")
    return head.encode(), text[close:].encode(), bool(kept)

"""The log's format: parts and seals (schemas/seal.schema.json, schemas/part-headers.schema.json), bytes out and bytes in.

A delta is its parts, then its seal. A part's headers say `part`, `register`, `seq` and `i`. The value of `adds` and
`removes` is portable 64-bit roaring (the RoaringFormatSpec's 64-bit extension), that of `ends` such bitmaps by the
moment that their numbers end, that of `requests` one JSON object a line, that of `rules` a rule's text, that of
`starts` one JSON array a line. The seal's value is one JSON object whose last member is `chain`: the SHA-256, in hex,
of the previous seal's chain (64 hex digits; zeros before the first) followed by this seal's bytes up to the comma
before `"chain"`. So a reader in any language checks the chain without re-encoding.
"""

import base64
import builtins
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from itertools import islice, pairwise
from struct import Struct
from typing import Any, Literal

import msgspec
import numpy as np
from pyroaring import BitMap64

from stream_scrub.index import as_bitmap, as_numbers
from stream_scrub.lists.deltas import StatedEnds
from stream_scrub.model import Header, RegisterKind

FORMAT = 1
PART_BYTES_MAX = 768 * 1024  # with headers and batch overhead well under a broker's default 1 MiB
GENESIS = "0" * 64
RULES = "rules"  # the name of what looks like a register and holds the texts of rules
RENEWED = "renewed"  # the reason of seals that state what an older log held (`restate.py`)
# The reasons of seals of the rules that keep everybody from their log, as one that is being put together, or that goes on
# as the log that the source names. `RENEWED` ends the former, `TAKEN_BACK` the latter, and nothing else does.
RENEWING, MOVED, TAKEN_BACK = "renewing", "moved", "taken-back"
MARKS = frozenset({RENEWING, RENEWED, MOVED, TAKEN_BACK})
END_MAX = 253_402_300_799  # 9999-12-31T23:59:59Z
_CHAIN = b',"chain":"'
_END = Struct("<QI")  # a moment, and how many bytes of bitmap follow
_PIECE = 4_000_000  # numbers that are cut at once: bounds the memory of cutting a large register
_NARROW = 1 << 33  # a range that is made in 10 ms; it costs 0.1 us for each 65 536 that it is wide
_SOME = 50_000  # members that are taken one by one in one call

PartKind = Literal["adds", "removes", "ends", "requests", "rules", "starts"]
# By register: the offsets of the first record of its latest full set and of its last seal.
RegisterStarts = Mapping[str, tuple[int, int]]


class SealKind(StrEnum):
    """What a seal is of: a register of that kind, or the rules, which no verdict can take for a register."""

    DENY = RegisterKind.DENY.value
    ALLOW = RegisterKind.ALLOW.value
    RULES = "rules"


class DeltaSource(msgspec.Struct, frozen=True):
    """The list that a delta came from: its file's name and the SHA-256 (hex) of its bytes."""

    name: str
    sha256: str


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Up to which requests a register has taken them, so that none is applied twice.

    `topic` is the topic's name, `id` the one that Kafka gave it when it was made: a topic made anew counts from 0 again.
    `next` is by partition the offset after the last request, `epochs` that request's leader epoch where the broker gave
    one. `lifts` is the cursor of the topic of lifts, None before the first lift.
    """

    topic: str
    id: str
    next: dict[int, int]
    epochs: dict[int, int] = {}
    lifts: "Cursor | None" = None

    def of(self, topic_id: str, *, lifts: bool) -> "Cursor | None":
        """The cursor of the topic with that id, as the topic of lifts or of the other requests; None for another id."""
        found = self.lifts if lifts else self
        return found if found is not None and found.id == topic_id else None

    def with_(self, later: "Cursor", *, lifts: bool) -> "Cursor":
        """The same, with the later cursor of one of the two topics."""
        if lifts:
            return msgspec.structs.replace(self, lifts=later)
        return msgspec.structs.replace(later, lifts=self.lifts)

    def has(self, partition: int, offset: int, leader_epoch: int | None) -> bool:
        """Whether a request has been taken. A request of a later leader than the last one that was taken is new, also
        at an offset that was taken before: the request that stood there was lost with a leader that had not been copied
        (an unclean election).
        """
        if offset >= self.next.get(partition, 0):
            return False
        return leader_epoch is None or leader_epoch <= self.epochs.get(partition, leader_epoch)


class ReadPosition(msgspec.Struct, frozen=True):
    """How far the publisher of a seal had read the log.

    It had read every seal up to the offset `upto` (-1: none); `log_chain` is the chain over all of them
    (`next_log_chain`). `stated` belongs to the last of them that states where registers begin: the offsets of its first
    part `starts` and of itself, None where there is no such seal.
    """

    upto: int
    log_chain: str
    stated: tuple[int, int] | None = None


NOTHING_READ = ReadPosition(-1, GENESIS)


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """The last message of a delta. Without it the delta does not exist.

    `kind` is `full` when the adds are the whole register, as at its first delta. `ends`, `requests` and `stated` count
    what parts of ends, requests and starts hold, `count` is the register's size after the delta and `next_end` the
    earliest end in it. `parts` are the SHA-256 (hex) of each part's value in order, `effective_at` the moment that the
    source list speaks of (both moments RFC 3339, UTC). `read` says how far its publisher had read the log, `previous`
    is the chain that this seal continues. `asked` stands in every seal of a register from its first request on, so
    that nobody applies a request again; `areas`, once they were declared, are the first digits of the numbers that the
    register's list covers. `starts` stands in seals of releases that had no `read`: where every register
    began, as far as the publisher knew.
    """

    format: int
    register: str
    register_kind: SealKind
    kind: Literal["delta", "full"]
    seq: int
    adds: int
    removes: int
    ends: int = 0
    requests: int = 0
    stated: int = 0
    count: int
    next_end: str | None = None
    effective_at: str
    reason: str = "list"
    source: DeltaSource
    parts: list[str]
    starts: dict[str, tuple[int, int]] | msgspec.UnsetType = msgspec.UNSET
    read: ReadPosition | msgspec.UnsetType = msgspec.UNSET
    asked: Cursor | msgspec.UnsetType = msgspec.UNSET
    areas: list[str] | msgspec.UnsetType = msgspec.UNSET
    previous: str = ""
    chain: str


def split(numbers: BitMap64, limit: int = PART_BYTES_MAX) -> list[bytes]:
    """Portable roaring bitmaps of at most `limit` bytes each that together hold `numbers`; none for none."""
    if not numbers:
        return []
    whole: bytes = numbers.serialize()
    if len(whole) <= limit:
        return [whole]
    if len(numbers) > _PIECE:
        return [part for piece in pieces(numbers, _PIECE) for part in split(piece, limit)]
    share = max(2, 1 + len(whole) * 5 // (limit * 4))
    members = as_numbers(numbers)
    cuts = [len(members) * i // share for i in range(share + 1)]
    return [part for a, b in pairwise(cuts) for part in split(as_bitmap(members[a:b]), limit)]


def pieces(numbers: BitMap64, size: int) -> Iterator[BitMap64]:
    """The numbers in sets of at most `size`, ascending: short calls, and bounded memory."""
    if len(numbers) <= size:
        yield numbers
        return
    last = -1
    for at in range(0, len(numbers), size):
        count = min(size, len(numbers) - at)
        first, last = (
            numbers.next_set_bit(last + 1),
            numbers[at + count - 1],
        )  # a look-up by rank walks all before
        if last - first < _NARROW:
            between = BitMap64()
            between.add_range(first, last)
            between.add(last)  # not in the range: the number after the last of all would be none
            yield numbers & between
        else:
            members = numbers.iter_equal_or_larger(first)
            found = array("Q")
            while count:
                found.extend(islice(members, min(count, _SOME)))
                count -= min(count, _SOME)
            yield BitMap64(found)


def encode_ends(stated: StatedEnds) -> list[bytes]:
    """Parts that say of each number when it ends, ascending by end, of at most PART_BYTES_MAX each; none for none."""
    order = np.argsort(stated.ends, kind="stable")
    numbers, ends = stated.numbers[order], stated.ends[order]
    cuts = [0, *(np.flatnonzero(ends[1:] != ends[:-1]) + 1).tolist(), len(ends)] if len(ends) else []
    parts: list[bytes] = []
    part = bytearray()
    for a, b in pairwise(cuts):
        for bitmap in split(as_bitmap(np.sort(numbers[a:b])), PART_BYTES_MAX - _END.size):
            if len(part) + _END.size + len(bitmap) > PART_BYTES_MAX:
                parts.append(bytes(part))
                part.clear()
            part += _END.pack(int(ends[a]), len(bitmap)) + bitmap
    return [*parts, bytes(part)] if part else parts


def decode_ends(value: bytes) -> Iterator[tuple[int, BitMap64]]:
    """Each end in a part, 0 for none, and its numbers. Raises ValueError with what is wrong."""
    at, before = 0, 0
    while at < len(value):
        if len(value) - at < _END.size:
            raise ValueError("a part of ends is cut off")
        end, length = _END.unpack_from(value, at)
        at += _END.size
        if not before <= end <= END_MAX or length > len(value) - at:
            raise ValueError("a part of ends is not in order, or cut off")
        yield end, bitmap_of(value[at : at + length])
        at, before = at + length, end


def bitmap_of(value: bytes) -> BitMap64:
    """The numbers of a part. Raises ValueError."""
    try:
        return BitMap64.deserialize(value)
    except (ValueError, IndexError) as error:
        raise ValueError("a part is not a portable 64-bit roaring bitmap") from error


def request_line(
    partition: int, offset: int, timestamp_ms: int, value: bytes, *, lifts: bool = False
) -> bytes:
    """One line of a `requests` part: where the request stood, whether on the topic of lifts, and its own bytes.

    The bytes stand as they are if they are one JSON object on one line, else in base64. Raises ValueError for a
    request that no part could hold.
    """
    try:
        plain = b"\n" not in value and b"\r" not in value and isinstance(msgspec.json.decode(value), dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        plain = False
    said: dict[str, Any] = {"partition": partition, "offset": offset, "timestamp": timestamp_ms}
    said |= {"lifts": True} if lifts else {}
    said |= {"request": msgspec.Raw(value)} if plain else {"bytes": base64.b64encode(value).decode()}
    line = msgspec.json.encode(said) + b"\n"
    if len(line) > PART_BYTES_MAX:
        raise ValueError("the request is too large to be kept as evidence")
    return line


def encode_starts(starts: RegisterStarts) -> list[bytes]:
    """Parts that say where every register begins, of at most PART_BYTES_MAX each: a line for each, in order."""
    return pack_lines([msgspec.json.encode((name, *starts[name])) + b"\n" for name in sorted(starts)])


def decode_starts(parts: Iterable[bytes]) -> RegisterStarts:
    """Where every register begins. Raises ValueError with what is wrong."""
    lines = b"".join(parts).split(b"\n")
    try:
        found = [msgspec.json.decode(line, type=tuple[str, int, int]) for line in lines[:-1]]
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError("a line of where registers begin is none") from error
    starts = {name: (start, last) for name, start, last in found}
    if lines[-1] or list(starts) != sorted({name for name, _, _ in found}) or len(starts) != len(found):
        raise ValueError("the lines of where registers begin are not in order, or cut off")
    if not all(0 <= start <= last for start, last in starts.values()):
        raise ValueError("a register is said to begin behind its end")
    return starts


class RequestLine(msgspec.Struct, frozen=True):
    """One line of a `requests` part, read."""

    partition: int
    offset: int
    timestamp: int
    lifts: bool = False
    request: msgspec.Raw = msgspec.Raw()
    bytes: str = ""

    def value(self) -> "builtins.bytes":
        """The request's own bytes. Raises ValueError."""
        return builtins.bytes(self.request) or base64.b64decode(self.bytes, validate=True)


def read_request_line(line: bytes) -> RequestLine:
    """What `request_line` wrote. Raises msgspec.DecodeError."""
    return msgspec.json.decode(line, type=RequestLine)


def pack_lines(lines: Sequence[bytes]) -> list[bytes]:
    """Lines in parts of at most PART_BYTES_MAX each."""
    parts: list[bytes] = []
    part = bytearray()
    for line in lines:
        if part and len(part) + len(line) > PART_BYTES_MAX:
            parts.append(bytes(part))
            part.clear()
        part += line
    return [*parts, bytes(part)] if part else parts


def part_headers(part: PartKind, register: str, seq: int, i: int, digest: str = "") -> list[Header]:
    """The headers of a part: `i` counts a delta's parts from 0; a part of rules also says its `digest`."""
    headers: list[Header] = [
        ("part", part.encode()),
        ("register", register.encode()),
        ("seq", b"%d" % seq),
        ("i", b"%d" % i),
    ]
    return [*headers, ("digest", digest.encode())] if digest else headers


def seal_headers(register: str, seq: int) -> list[Header]:
    """The headers of a seal."""
    return [("part", b"seal"), ("register", register.encode()), ("seq", b"%d" % seq)]


def encode_seal(seal: Seal, previous_chain: str) -> tuple[bytes, str]:
    """The seal's bytes and its chain. The chain is computed here; the one in `seal` is ignored."""
    encoded = msgspec.json.encode(msgspec.structs.replace(seal, chain=""))
    content = encoded[: encoded.rindex(_CHAIN)]
    chain = chain_of(previous_chain, content)
    return content + _CHAIN + chain.encode() + b'"}', chain


def decode_seal(value: bytes) -> tuple[Seal, bytes]:
    """A seal and the content that its chain covers. Raises ValueError with what is wrong."""
    try:
        version = msgspec.json.decode(value, type=_SealVersion).format
        if version != FORMAT:
            raise ValueError(f"format version {version} is unknown here (this release reads {FORMAT})")
        seal = msgspec.json.decode(value, type=Seal)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError("the seal is not a seal's JSON") from error
    content, found, rest = value.rpartition(_CHAIN)
    if not found or rest != seal.chain.encode() + b'"}':
        raise ValueError("the seal does not end with its chain")
    return seal, content


class _SealVersion(msgspec.Struct):
    format: int


def chain_of(previous: str, content: bytes) -> str:
    """The next link of a register's hash chain."""
    return sha256(previous.encode() + content).hexdigest()


def next_log_chain(previous: str, chain: str) -> str:
    """The next link of the chain over the seals of all registers, in the order of the log: `chain` is the seal's own."""
    return sha256(previous.encode() + chain.encode()).hexdigest()


def digests(parts: Sequence[bytes]) -> list[str]:
    """The SHA-256 (hex) of each part."""
    return [sha256(part).hexdigest() for part in parts]

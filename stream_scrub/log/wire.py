"""The log's format: parts and seals (schemas/seal.schema.json, schemas/part-headers.schema.json), bytes out and bytes in.

A delta is its parts, then its seal. A part has the headers `part`, `register`, `seq` and `i`, and a value by its kind:

    adds, removes  portable 64-bit roaring (the RoaringFormatSpec's 64-bit extension)
    ends           such bitmaps, each after the moment at which its numbers end
    requests       one JSON object a line
    rules          a rule's text
    starts         one JSON array a line

The seal is one JSON object whose last member is `chain`: the SHA-256 (hex) of the previous seal's chain followed by this
seal's bytes up to the comma before `"chain"`. A reader in any language checks it without encoding anything.
"""

import base64
import builtins
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from itertools import islice, pairwise
from struct import Struct
from typing import Annotated, Any, Literal, get_args

import msgspec
import numpy as np
from pyroaring import BitMap64

from stream_scrub.index import Hashing, as_bitmap, as_numbers
from stream_scrub.index.deltas import StatedEnds
from stream_scrub.made_by import MadeBy
from stream_scrub.model import Header, LogRecord, RegisterKind

FORMAT = 1
PART_BYTES_MAX = 768 * 1024  # with headers and batch overhead well under a broker's default 1 MiB
GENESIS = "0" * 64
RULES = "rules"  # the name under which rules' texts are on the log; no register has it
REMOVED = "removed"  # the reason of the seal with which `lists remove` empties a register
LIST = "list"  # the reason of a seal of an imported list
RENEWED = "renewed"  # the reason of seals that state what a renewed log held (`encode.py: restated`)
# The reasons of seals of the rules that mark a log. `renewing`: it is not complete yet, until a seal says `renewed`.
# `moved`: it was renewed as the log that the source names, until a seal says `taken-back`.
RENEWING, MOVED, TAKEN_BACK = "renewing", "moved", "taken-back"
ANCHORED = "anchored"  # the reason of a seal of the rules that has a timestamp of the log's head
MARKS = frozenset({RENEWING, RENEWED, MOVED, TAKEN_BACK})
END_MAX = 253_402_300_799  # 9999-12-31T23:59:59Z
_CHAIN = b',"chain":"'
_END = Struct("<QI")  # a moment, and how many bytes of bitmap follow
_PIECE = 4_000_000  # numbers that are split at once: bounds the memory that a large register takes
_NARROW = 1 << 33  # a range of this width is built in 10 ms: 0.1 us for each 65 536
_SOME = 50_000  # members that are copied in one call

PartKind = Literal["adds", "removes", "ends", "requests", "rules", "starts"]
_PARTS = frozenset({*(kind.encode() for kind in get_args(PartKind)), b"seal"})
# By register: the offsets of the first record of its latest full set and of its last seal.
RegisterStarts = Mapping[str, tuple[int, int]]


_Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class SealKind(StrEnum):
    """The kind of the register that a seal belongs to. Rules have one of their own: no verdict can take them for a register."""

    DENY = RegisterKind.DENY.value
    ALLOW = RegisterKind.ALLOW.value
    RULES = "rules"


class DeltaSource(msgspec.Struct, frozen=True):
    """The list that a delta came from: its file's name and the SHA-256 (hex) of its bytes; and who published it."""

    name: str
    sha256: str
    made_by: MadeBy | msgspec.UnsetType = msgspec.UNSET

    def is_from(self, other: "DeltaSource") -> bool:
        """Whether both are the same list, whoever published it."""
        return (self.name, self.sha256) == (other.name, other.sha256)


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which requests a register has taken, so that none is applied twice."""

    topic: str
    id: str  # Kafka's id of the topic: a topic that was re-created counts from 0 again
    next: dict[int, int]  # by partition, the offset after the last request
    epochs: dict[int, int] = {}  # by partition, the leader epoch of that request, where the broker gives one
    lifts: "Cursor | None" = None  # the cursor of the topic of lifts; None before the first lift

    def of(self, topic_id: str, *, lifts: bool) -> "Cursor | None":
        """The cursor of the topic with that id, which is the topic of lifts or the other one; None for another id."""
        cursor = self.lifts if lifts else self
        return cursor if cursor is not None and cursor.id == topic_id else None

    def with_(self, later: "Cursor", *, lifts: bool) -> "Cursor":
        """This cursor with the later one of one of the two topics."""
        if lifts:
            return msgspec.structs.replace(self, lifts=later)
        return msgspec.structs.replace(later, lifts=self.lifts)

    def has(self, partition: int, offset: int, leader_epoch: int | None) -> bool:
        """Whether a request has been taken."""
        # A request of a later leader is new also at an offset that was taken before: after an unclean election, the
        # request that was there is lost.
        if offset >= self.next.get(partition, 0):
            return False
        return leader_epoch is None or leader_epoch <= self.epochs.get(partition, leader_epoch)


class ReadPosition(msgspec.Struct, frozen=True):
    """How far the publisher of a seal had read the log."""

    upto: int  # it had read every seal up to this offset; -1: none
    log_chain: _Digest  # the chain over these seals (`next_log_chain`)
    # The last statement of starts: its first part `starts` and its seal.
    stated: tuple[int, int] | None = None


NOTHING_READ = ReadPosition(-1, GENESIS)


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """The last record of a delta. Without it the delta does not exist. Moments are RFC 3339, UTC."""

    format: int
    register: str
    register_kind: SealKind
    kind: Literal["delta", "full"]  # full: the adds are the whole register, as at its first delta
    seq: int
    adds: int
    removes: int
    ends: int  # numbers whose end the parts state
    requests: int  # requests that the parts hold
    stated: int  # registers whose start the parts state
    count: int  # numbers in the register after the delta
    next_end: str | None  # the earliest end in the register after the delta
    effective_at: str  # the day of the source list
    reason: str
    source: DeltaSource
    parts: list[str]  # the SHA-256 (hex) of each part's value in order
    read: ReadPosition
    # In every seal of a register from its first request on, so that no request is applied again.
    asked: Cursor | msgspec.UnsetType = msgspec.UNSET
    # In a full set, the lists before it, oldest first: their moments by the SHA-256 of their bytes.
    lists: dict[_Digest, str] | msgspec.UnsetType = msgspec.UNSET
    # The first digits of the numbers that the register's list covers, once they were declared.
    areas: list[str] | msgspec.UnsetType = msgspec.UNSET
    # How the register's numbers were hashed: its bitmaps hold the first 64 bits of digests.
    hashed: Hashing | msgspec.UnsetType = msgspec.UNSET
    # An RFC 3161 answer (base64 of DER) with the time of `read.log_chain`, in a seal of the rules.
    timestamp: str | msgspec.UnsetType = msgspec.UNSET
    previous: str  # the chain that this seal continues
    chain: str


_SEAL = msgspec.json.Decoder(Seal)


def split(numbers: BitMap64, limit: int = PART_BYTES_MAX) -> list[bytes]:
    """The numbers as portable roaring bitmaps of at most `limit` bytes each; no bitmap for no number."""
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
    """The numbers in ascending sets of at most `size`: short calls, and bounded memory."""
    if len(numbers) <= size:
        yield numbers
        return
    last = -1
    for at in range(0, len(numbers), size):
        count = min(size, len(numbers) - at)
        # A look-up by rank walks everything before it.
        first, last = numbers.next_set_bit(last + 1), numbers[at + count - 1]
        if last - first < _NARROW:
            between = BitMap64()
            between.add_range(first, last)
            between.add(last)  # not by the range: its end would be out of bounds after the largest number
            yield numbers & between
        else:
            members = numbers.iter_equal_or_larger(first)
            found = array("Q")
            while count:
                found.extend(islice(members, min(count, _SOME)))
                count -= min(count, _SOME)
            yield BitMap64(found)


def encode_ends(stated: StatedEnds) -> list[bytes]:
    """The parts that state ends, ascending by end, of at most PART_BYTES_MAX each; no part for no end."""
    order = np.argsort(stated.ends, kind="stable")
    numbers, ends = stated.numbers[order], stated.ends[order]
    cuts = [0, *(np.flatnonzero(ends[1:] != ends[:-1]) + 1).tolist(), len(ends)] if len(ends) else []
    return packed(
        _END.pack(int(ends[a]), len(bitmap)) + bitmap
        for a, b in pairwise(cuts)
        for bitmap in split(as_bitmap(np.sort(numbers[a:b])), PART_BYTES_MAX - _END.size)
    )


def decode_ends(value: bytes) -> Iterator[tuple[int, BitMap64]]:
    """Each end in a part (0: no end) and its numbers. Raises ValueError."""
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
    partition: int,
    offset: int,
    timestamp_ms: int,
    value: bytes,
    *,
    lifts: bool = False,
    made_by: MadeBy | None = None,
) -> bytes:
    """One line of a `requests` part: the place of the request, who sent it if its server says so, and its bytes.

    The bytes are kept as they are if they are one JSON object on one line, else in base64. Raises ValueError for a
    request that is too large for a part.
    """
    try:
        plain = b"\n" not in value and b"\r" not in value and isinstance(msgspec.json.decode(value), dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        plain = False
    members: dict[str, Any] = {"partition": partition, "offset": offset, "timestamp": timestamp_ms}
    members |= {"lifts": True} if lifts else {}
    if made_by is not None:
        members["made_by"] = made_by
    members |= {"request": msgspec.Raw(value)} if plain else {"bytes": base64.b64encode(value).decode()}
    line = msgspec.json.encode(members) + b"\n"
    if len(line) > PART_BYTES_MAX:
        raise ValueError("the request is too large to be kept as evidence")
    return line


def encode_starts(starts: RegisterStarts) -> list[bytes]:
    """The parts that state where every register begins: a line for each register, in the order of the names."""
    return packed([msgspec.json.encode((name, *starts[name])) + b"\n" for name in sorted(starts)])


def decode_starts(parts: Iterable[bytes]) -> RegisterStarts:
    """Where every register begins. Raises ValueError."""
    lines = b"".join(parts).split(b"\n")
    try:
        entries = [msgspec.json.decode(line, type=tuple[str, int, int]) for line in lines[:-1]]
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError("a line of the statement of starts cannot be read") from error
    starts = {name: (start, last) for name, start, last in entries}
    if lines[-1] or list(starts) != sorted({name for name, _, _ in entries}) or len(starts) != len(entries):
        raise ValueError("the statement of starts is not in order, or cut off")
    if not all(0 <= start <= last for start, last in starts.values()):
        raise ValueError("by the statement of starts a register begins after its end")
    return starts


class RequestLine(msgspec.Struct, frozen=True):
    """One line of a `requests` part, decoded."""

    partition: int
    offset: int
    timestamp: int
    lifts: bool = False
    made_by: MadeBy | None = None
    request: msgspec.Raw = msgspec.Raw()
    bytes: str = ""

    def value(self) -> "builtins.bytes":
        """The request's own bytes. Raises ValueError."""
        return builtins.bytes(self.request) or base64.b64decode(self.bytes, validate=True)


_REQUEST_LINE = msgspec.json.Decoder(RequestLine)


def read_request_line(line: bytes) -> RequestLine:
    """Decode a line of `request_line`. Raises msgspec.DecodeError."""
    return _REQUEST_LINE.decode(line)


def packed(pieces: Iterable[bytes]) -> list[bytes]:
    """Pieces, joined to parts of at most PART_BYTES_MAX each."""
    parts: list[bytes] = []
    part = bytearray()
    for piece in pieces:
        if part and len(part) + len(piece) > PART_BYTES_MAX:
            parts.append(bytes(part))
            part.clear()
        part += piece
    return [*parts, bytes(part)] if part else parts


def part_of(record: LogRecord) -> str:
    """The kind of the part that a record is, or "seal"; empty if its headers name none."""
    return (dict(record.headers).get("part") or b"").decode("utf-8", "replace")


def misfit(record: LogRecord, headers: Mapping[str, bytes | None]) -> str | None:
    """Why a record is neither a part nor a seal, by its form; None when it is one. `headers` are the record's."""
    part = headers.get("part")
    if part not in _PARTS or record.value is None or not record.key:
        return "a record that is neither part nor seal; only publishers may write"
    if headers.get("register") != record.key:
        return "the key and the header name different registers"
    if len(headers) < len(record.headers):
        return "a header occurs twice, and readers differ in which counts"
    if not _is_count(headers.get("seq")) or (part != b"seal" and not _is_count(headers.get("i"))):
        return "a part or seal without its numbers"
    return None


def _is_count(header: bytes | None) -> bool:
    """Whether it is a number as publishers write it."""
    return header is not None and header.isdigit() and len(header) < 20 and header == b"%d" % int(header)


def part_headers(part: PartKind, register: str, seq: int, i: int, digest: str = "") -> list[Header]:
    """The headers of a part: `i` counts a delta's parts from 0; a part of rules also has its `digest`."""
    headers = [("part", part.encode()), *seal_headers(register, seq)[1:], ("i", b"%d" % i)]
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
    """A seal and the content that its chain covers. Raises ValueError."""
    try:
        version = FORMAT_VERSION.decode(value).format
        if version != FORMAT:
            raise ValueError(f"format version {version} is unknown here (this release reads {FORMAT})")
        seal = _SEAL.decode(value)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError("the seal is not a seal's JSON") from error
    content, separator, rest = value.rpartition(_CHAIN)
    if not separator or rest != seal.chain.encode() + b'"}':
        raise ValueError("the seal does not end with its chain")
    return seal, content


class FormatVersion(msgspec.Struct):
    """The version of the format of a seal or a snapshot."""

    format: int


FORMAT_VERSION = msgspec.json.Decoder(FormatVersion)


def chain_of(previous: str, content: bytes) -> str:
    """The next link of a register's hash chain."""
    return sha256(previous.encode() + content).hexdigest()


def next_log_chain(previous: str, chain: str) -> str:
    """The next link of the chain over the seals of all registers, in the order of the log. `chain` is the seal's own."""
    return sha256(previous.encode() + chain.encode()).hexdigest()


def digests(parts: Sequence[bytes]) -> list[str]:
    """The SHA-256 (hex) of each part."""
    return [sha256(part).hexdigest() for part in parts]

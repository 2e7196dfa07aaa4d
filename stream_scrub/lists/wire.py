"""The log's format: parts and seals (schemas/seal.schema.json, schemas/part-headers.schema.json), bytes out and bytes in.

A delta is its parts, then its seal. A part's value is portable 64-bit roaring (the RoaringFormatSpec's 64-bit
extension), its headers say `part`, `register`, `seq` and `i`. The seal's value is one JSON object whose last member
is `chain`: the SHA-256, in hex, of the previous seal's chain (64 hex digits; zeros before the first) followed by
this seal's bytes up to the comma before `"chain"`. So a reader in any language checks the chain without re-encoding.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal

import msgspec
from pyroaring import BitMap64

from stream_scrub.index import as_bitmap, as_numbers
from stream_scrub.model import Header, RegisterKind

FORMAT = 1
PART_BYTES_MAX = 768 * 1024  # with headers and batch overhead well under a broker's default 1 MiB
GENESIS = "0" * 64
_CHAIN = b',"chain":"'


class Source(msgspec.Struct, frozen=True):
    """The list that a delta came from: its file's name and the SHA-256 (hex) of its bytes."""

    name: str
    sha256: str


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """The last message of a delta. Without it the delta does not exist.

    `kind` is `full` when the adds are the whole register, as at its first delta. `count` is the register's size
    after it, `parts` the SHA-256 (hex) of each part's value in order, `effective_at` the moment that the source list
    speaks of (RFC 3339, UTC).
    """

    format: int
    register: str
    register_kind: RegisterKind
    kind: Literal["delta", "full"]
    seq: int
    adds: int
    removes: int
    count: int
    effective_at: str
    source: Source
    parts: list[str]
    chain: str


def utc_seconds(moment: datetime) -> str:
    """RFC 3339 in UTC, `2026-11-24T12:00:00Z`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def split(numbers: BitMap64) -> list[bytes]:
    """Portable roaring bitmaps of at most PART_BYTES_MAX each that together hold `numbers`; none for none."""
    if not numbers:
        return []
    whole: bytes = numbers.serialize()
    if len(whole) <= PART_BYTES_MAX:
        return [whole]
    members = as_numbers(numbers)
    half = len(members) // 2
    return split(as_bitmap(members[:half])) + split(as_bitmap(members[half:]))


def part_headers(part: Literal["adds", "removes"], register: str, seq: int, i: int) -> list[Header]:
    """The headers of a part: `i` counts a delta's parts from 0, adds before removes."""
    return [
        ("part", part.encode()),
        ("register", register.encode()),
        ("seq", b"%d" % seq),
        ("i", b"%d" % i),
    ]


def seal_headers(register: str, seq: int) -> list[Header]:
    """The headers of a seal."""
    return [("part", b"seal"), ("register", register.encode()), ("seq", b"%d" % seq)]


def encode_seal(seal: Seal, previous_chain: str) -> tuple[bytes, str]:
    """The seal's bytes and its chain, computed here: the one in `seal` is not looked at."""
    encoded = msgspec.json.encode(msgspec.structs.replace(seal, chain=""))
    content = encoded[: encoded.rindex(_CHAIN)]
    chain = chain_of(previous_chain, content)
    return content + _CHAIN + chain.encode() + b'"}', chain


def decode_seal(value: bytes) -> tuple[Seal, bytes]:
    """A seal and the content that its chain covers. Raises ValueError with what is wrong."""
    try:
        version = msgspec.json.decode(value, type=_Version).format
        if version != FORMAT:
            raise ValueError(f"format version {version} is unknown here (this release reads {FORMAT})")
        seal = msgspec.json.decode(value, type=Seal)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError("the seal is not a seal's JSON") from error
    content, found, rest = value.rpartition(_CHAIN)
    if not found or rest != seal.chain.encode() + b'"}':
        raise ValueError("the seal does not end with its chain")
    return seal, content


class _Version(msgspec.Struct):
    format: int


def chain_of(previous: str, content: bytes) -> str:
    """The next link of a register's hash chain."""
    return sha256(previous.encode() + content).hexdigest()


def digests(parts: Sequence[bytes]) -> list[str]:
    """The SHA-256 (hex) of each part."""
    return [sha256(part).hexdigest() for part in parts]

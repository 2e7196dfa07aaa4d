"""`lists import --hashed`: a list of hashes, whose form is proven by a number that the operator knows.

A buyer of leads hands over hashes instead of numbers, and nothing in them shows what was hashed: with the plus sign or
without, with which key. If that were guessed wrong, no prospect would ever match. So the hash of a known number must be in
the list.
"""

import base64
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from pyroaring import BitMap64

from stream_scrub.errors import ConfigError
from stream_scrub.homes import other_forms
from stream_scrub.imports.formats import BadList, ParsedList
from stream_scrub.imports.parsing.unpack import PackedList
from stream_scrub.index import Hashing, HashKeys, Register
from stream_scrub.index.hashing import DROP, LEADS, Hash, fingerprint, prefix
from stream_scrub.model import HASHED, INTERNAL, OWN, RESTED, RegisterKind, family
from stream_scrub.numbering import normalise, split
from stream_scrub.texts import masked

HashedAs = Literal["hmac-sha256", "sha256", "drop"]
_HEX = 64  # characters of a digest in hex; 44 in Base64
_HASH = re.compile(r"(?<![0-9A-Za-z+/=])(?:[0-9A-Fa-f]{64}|[0-9A-Za-z+/]{43}=)(?![0-9A-Za-z+/=])")
_BATCH = 1 << 16  # lines


@dataclass(frozen=True, slots=True)
class HashedOrder:
    """What the operator says of a list of hashes. `known`: a number that is in it; 0 for DROP, whose form is known."""

    hashed: HashedAs
    known: int = 0

    @classmethod
    def of(cls, hashed: HashedAs, known: str, region: str) -> "HashedOrder":
        """The order as typed. Raises ConfigError, which does not repeat the number."""
        if hashed == "drop":
            if known:
                raise ConfigError(
                    ["--known: California says how the numbers of DROP are hashed: leave it out"]
                )
            return cls(hashed)
        if "=" in known:
            raise ConfigError(
                [
                    "--known: name a number that is in the list, without its hash: another hash proves nothing about the list"
                ]
            )
        valid = normalise(known, region)
        if valid is None:
            what = (
                "should be a number that is in the list" if not known else f"is no valid number in {region}"
            )
            raise ConfigError([f"--known: {what}, as in +33612345678"])
        return cls(hashed, valid[0])


def read(packed: PackedList, order: HashedOrder, keys: HashKeys, max_numbers: float) -> ParsedList:
    """The list, with the first 64 bits of each hash as its numbers. Raises BadList, ConfigError."""
    reading, codings = ParsedList(max_numbers=max_numbers), set[str]()
    for member in packed.members:
        reading.member = masked(member.name) if len(packed.members) > 1 else ""
        _take(member.source.text(), reading, codings)
    if len(codings) > 1:
        raise BadList("some of its hashes are in hex and some in Base64: they are not all of one kind")
    listed = reading.bitmap()
    reading.hashed = DROP if order.hashed == "drop" else _proven(order, keys, listed)
    parts = ("hashes", packed.described, *codings, reading.hashed.described)
    reading.described = ", ".join(filter(None, parts))
    return reading


def check_register(reading: ParsedList, base: Register, *, whole: bool, by_area: bool) -> None:
    """Raises BadList when the register holds numbers and the list hashes, or the other way round, or when it does not
    replace hashes of another key or form."""
    before = None if base.is_removed else base.hashed
    if reading.hashed is None:
        if before is not None or family(base.name) == HASHED:
            raise BadList(
                f"{base.name} holds hashes: say with --hashed what the list's are; numbers belong in {INTERNAL}@CAMPAIGN"
            )
        return
    if base.seq and not base.is_removed and before is None:
        raise BadList(f"{base.name} holds numbers, and the list hashes: name another register")
    if base.kind is not RegisterKind.DENY or by_area or family(base.name) in (*OWN, RESTED):
        raise BadList(
            f"{base.name} cannot hold hashes: only {HASHED}, {HASHED}@CAMPAIGN and a register of kind deny that a rule"
            " asks and that is not handed out by area can"
        )
    if base.numbers and before != reading.hashed and not whole:
        raise BadList(
            f"{base.name} holds hashes of another form or key: import a full list, which replaces them"
        )


def _take(lines: Iterator[str], reading: ParsedList, codings: set[str]) -> None:
    """A line has one hash. The first line may be titles instead."""
    found: list[int] = []
    for at, line in enumerate(lines, 1):
        hashes = _HASH.findall(line)
        digest = _digest_in(hashes[0]) if len(hashes) == 1 else None
        if digest is not None:
            codings.add("hex" if len(hashes[0]) == _HEX else "Base64")
            found.append(prefix(digest))
        elif not line.strip():
            reading.blank += 1
        elif at == 1 and not hashes:
            reading.titles += 1
        else:
            reading.refuse(at)
        if len(found) == _BATCH:
            reading.take(np.array(found, np.uint64))
            found.clear()
    reading.take(np.array(found, np.uint64))


def _digest_in(text: str) -> bytes | None:
    text = text.strip()
    if _HASH.fullmatch(text) is None:
        return None
    return bytes.fromhex(text) if len(text) == _HEX else base64.b64decode(text, validate=True)


def _proven(order: HashedOrder, keys: HashKeys, listed: BitMap64) -> Hashing:
    """The one hashing, of all forms and keys, by which the known number is in the list. Raises BadList, ConfigError."""
    hash_: Hash = "hmac-sha256" if order.hashed == "hmac-sha256" else "sha256"
    tried = keys.every() if hash_ == "hmac-sha256" else [b"", *keys.every()]
    if not tried:
        raise ConfigError(
            [
                "--hashed hmac-sha256: needs lists.hash_keys, a folder with the shared key in a file of 16 bytes or more"
            ]
        )
    forms = [
        (number, code)
        for number in (order.known, *other_forms(order.known))
        for code in ("", str(split(number)[0]))
    ]
    for key, (number, code), lead in product(tried, forms, LEADS):
        hashing = Hashing(hash_, lead, code, fingerprint(key))
        digest = next(hashing.digests([number], key))
        if digest is not None and prefix(digest) in listed:
            return hashing
    raise BadList(
        f"the known number is not in it, in any form (with + or 00 and country code, country code alone, national with 0 or without) by"
        f" {hash_} {_keys(tried)}: ask for the form and the key, or"
        " name a number that is listed"
    )


def _keys(tried: Collection[bytes]) -> str:
    count = sum(map(bool, tried))
    parts = ["without a key"] * (b"" in tried) + [f"with {count} of lists.hash_keys"] * bool(count)
    return " and ".join(parts)

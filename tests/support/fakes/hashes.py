"""Hashes as a buyer of leads makes them, by the standard library alone."""

import hmac
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from stream_scrub.index import Filter, Hashing, HashKeys, Register, as_bitmap
from stream_scrub.index.hashing import fingerprint

KEY = b"a key that two companies share"


def by_hmac(text: str, key: bytes = KEY) -> bytes:
    return hmac.new(key, text.encode(), "sha256").digest()


def by_sha(text: str, salt: bytes = b"") -> bytes:
    return sha256(salt + text.encode()).digest()


def keys_in(folder: Path, *keys: bytes) -> HashKeys:
    """The keys of a folder with these, each in a file that ends with a line's end."""
    folder.mkdir(exist_ok=True)
    for n, key in enumerate(keys):
        (folder / f"key-{n}").write_bytes(key + b"\n")
    return HashKeys(str(folder))


def text_of(hashing: Hashing, number: int) -> str | None:
    """What is hashed of a number: spelt out here, so that no test takes the product's word for it."""
    if hashing.code and not str(number).startswith(hashing.code):
        return None
    return hashing.lead + str(number)[len(hashing.code) :]


def hashed(register: Register, hashing: Hashing, key: bytes) -> Register:
    """The same register in hashes."""
    texts = [text for number in register.numbers if (text := text_of(hashing, number)) is not None]
    make = by_hmac if hashing.hash == "hmac-sha256" else by_sha
    firsts = sorted({int.from_bytes(make(text, key)[:8], "big") for text in texts})
    prefixes = np.array(firsts, np.uint64)
    return replace(register, numbers=as_bitmap(prefixes), filter=Filter(prefixes), hashed=hashing)


def hashing_of(hash_: str, lead: str, code: str, key: bytes) -> Hashing:
    return Hashing(hash_, lead, code, fingerprint(key))

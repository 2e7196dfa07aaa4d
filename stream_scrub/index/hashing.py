"""Registers of hashes: their forms, and the keys, which are in files and nowhere else.

Such a register holds the first 64 bits of each digest in the place of a number. So the log, snapshots and filters are the
same for it, and only a look-up differs (docs/decisions.md, The index).
"""

import hmac
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scrub.errors import StaleIndex

Hash = Literal["hmac-sha256", "sha256"]
Lead = Literal["+", "", "0", "00"]
LEADS: tuple[Lead, ...] = get_args(Lead)
# A shorter key could be found by trying: a hash of a known number shows when it is right.
KEY_BYTES_MIN = 16
KEY_BYTES_MAX = 4096
_PREFIX = 8  # bytes
_FINGERPRINT_OF = b"stream-scrub hash key"


class Hashing(msgspec.Struct, frozen=True):
    """How the numbers of a register were hashed. The text that is hashed is `lead`, then the number's E.164 digits without
    `code`. A number of another calling code than `code` is in no such register."""

    hash: Hash
    lead: Lead
    code: Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{0,3}\Z")]  # empty: of every country
    # The fingerprint of the key; empty: SHA-256 without a salt.
    key: Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{16})?\Z")]

    @property
    def described(self) -> str:
        """For people: the hash, the form with an X for a digit, and the key's fingerprint."""
        form = f"{self.lead}XXX, numbers of +{self.code} only" if self.code else f"{self.lead}CCXXX"
        return f"{self.hash} of {form}" + (f", key {self.key}" if self.key else "")

    def digests(self, numbers: Iterable[int], key: bytes) -> Iterator[bytes | None]:
        """The digest of each number; None if it is of another country."""
        # A copy spares the key's own rounds: 1.1 us a number instead of 1.7.
        fresh = hmac.new(key, None, "sha256") if self.hash == "hmac-sha256" else sha256(key)
        for digits in map(str, numbers):
            if digits.startswith(self.code):
                digest = fresh.copy()
                digest.update((self.lead + digits[len(self.code) :]).encode())
                yield digest.digest()
            else:
                yield None


# California's DROP: SHA-256 of the last ten digits. Ten digits of another country would be another person's number.
DROP = Hashing("sha256", "", "1", "")


def fingerprint(key: bytes) -> str:
    """The fingerprint of a key on the log, by which a reader knows whether it has the right one."""
    return hmac.digest(key, _FINGERPRINT_OF, "sha256").hex()[:16] if key else ""


def prefix(digest: bytes) -> int:
    """What a register holds of a digest."""
    return int.from_bytes(digest[:_PREFIX], "big")


class HashKeys:
    """The keys in the files of a folder. A file that comes later is found when its key is first needed."""

    def __init__(self, folder: str = "") -> None:
        self._folder = folder
        self._known: dict[str, bytes] = {"": b""}

    def every(self) -> list[bytes]:
        """The keys of all files that can be read. Files that are too short or too long for a key are passed over."""
        return [*dict.fromkeys(self._files())]

    def key(self, wanted: str) -> bytes:
        """The key with that fingerprint. Raises StaleIndex: without the key the register cannot be read."""
        if wanted not in self._known:
            self._known |= {fingerprint(key): key for key in self.every()}
        if wanted not in self._known:
            where = (
                f"no file in lists.hash_keys ({self._folder}) holds it: put the key's file there"
                if self._folder
                else "lists.hash_keys is not set: name a folder that holds the key's file"
            )
            raise StaleIndex("hash-key", f"a hashed register needs the key {wanted}, and {where}")
        return self._known[wanted]

    def prefixes(
        self, hashing: Hashing, numbers: NDArray[np.uint64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
        """For each number, whether the hashing is for its country; and for each of these its prefix. Raises StaleIndex."""
        key = self.key(hashing.key)
        digests = list(hashing.digests(numbers.tolist(), key))
        ours = np.array([digest is not None for digest in digests], np.bool_)
        joined = b"".join(digest[:_PREFIX] for digest in digests if digest is not None)
        return ours, np.frombuffer(joined, ">u8").astype(np.uint64)

    def _files(self) -> Iterator[bytes]:
        try:
            files = sorted(Path(self._folder).iterdir()) if self._folder else []
        except OSError:
            return
        for file in files:
            try:
                with file.open("rb") as opened:
                    key = opened.read(KEY_BYTES_MAX + 3).rstrip(b"\r\n")
            except OSError:  # a folder, or not ours to read
                continue
            if KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
                yield key


NO_KEYS = HashKeys()

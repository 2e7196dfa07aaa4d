"""Registers as immutable sets of numbers, what changes them, and when their numbers end."""

from stream_scrub.index.hashing import NO_KEYS, Hashing, HashKeys
from stream_scrub.index.index import (
    FIRST_ZONE,
    REMOVED_AT,
    Filter,
    Index,
    Numbers,
    Register,
    as_bitmap,
    as_numbers,
)

__all__ = [
    "FIRST_ZONE",
    "NO_KEYS",
    "REMOVED_AT",
    "Filter",
    "HashKeys",
    "Hashing",
    "Index",
    "Numbers",
    "Register",
    "as_bitmap",
    "as_numbers",
]

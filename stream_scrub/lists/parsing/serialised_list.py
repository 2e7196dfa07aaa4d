"""A list that was read, from the process that read it to the one that publishes it: numbers as they are kept, no text.

Plain data, and checked: a process that reads a hostile file is not to be trusted. Numbers go piece by piece, so that no
call holds the interpreter for long while requests are waiting.
"""

import json
from dataclasses import fields
from struct import Struct
from typing import IO, TypeVar, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scrub.lists.log import wire
from stream_scrub.lists.parsing.parsed_list import ParsedList

T = TypeVar("T")
FACTS_BYTES_MAX = 1 << 20
_LENGTH = Struct("<Q")  # of what follows; of a bitmap 0 after its last piece
_PIECE = 500_000  # numbers: about a megabyte, and two milliseconds
_FACTS = [each.name for each in fields(ParsedList) if each.init]
_Facts = msgspec.defstruct(
    "_Facts", [(name, get_type_hints(ParsedList)[name]) for name in _FACTS], frozen=True
)


def write(reading: ParsedList, file: IO[bytes]) -> None:
    """All of it. Raises OSError."""
    put(file, encoded({name: getattr(reading, name) for name in _FACTS}))
    gathered = reading.gathered()
    for numbers in (gathered.endless, gathered.removed):
        for piece in wire.pieces(numbers, _PIECE):
            put(file, piece.serialize())
        put(file, b"")
    for array in (gathered.ending, gathered.ending_at):
        put(file, array.tobytes())


def read(file: IO[bytes], left: int, max_numbers: float) -> ParsedList:
    """What `write` wrote, of `left` bytes at most. Raises ValueError for anything else, TooMany."""
    source = Taken(file, left)
    facts = decoded(source.take(FACTS_BYTES_MAX), _Facts)
    reading = ParsedList(**msgspec.structs.asdict(facts), max_numbers=max_numbers)
    gathered = reading.gathered()
    for into in (gathered.endless, gathered.removed):
        while piece := source.take():
            into.update(wire.bitmap_of(piece))
    ending, ends = np.frombuffer(source.take(), np.uint64), np.frombuffer(source.take(), np.int64)
    if len(ending) != len(ends) or not _ascend(ending):
        raise ValueError("ends and their numbers do not fit")
    gathered.ending, gathered.ending_at = ending, ends
    gathered.need_room()
    return reading


def encoded(value: object) -> bytes:
    """Plain data between the two processes. The standard library's JSON also takes a file's name that is no valid text."""
    return json.dumps(msgspec.to_builtins(value)).encode()


def decoded(value: bytes, kind: type[T]) -> T:
    """What `encoded` made. Raises ValueError for anything else."""
    return msgspec.convert(json.loads(value), kind)


def put(file: IO[bytes], value: bytes) -> None:
    """Bytes with their length before them. Raises OSError."""
    file.write(_LENGTH.pack(len(value)))
    file.write(value)


class Taken:
    """What `put` wrote, taken again from a file that holds `left` bytes more."""

    def __init__(self, file: IO[bytes], left: int) -> None:
        self._file = file
        self._left = left

    def take(self, most: float = float("inf")) -> bytes:
        """The next bytes. Raises ValueError when they are cut off, or more than `most`."""
        head = self._file.read(_LENGTH.size)
        self._left -= _LENGTH.size
        length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else -1
        if not 0 <= length <= min(most, self._left):
            raise ValueError("cut off, or not what it should be")
        self._left -= length
        return self._file.read(length)


def _ascend(numbers: NDArray[np.uint64]) -> bool:
    return bool((numbers[1:] > numbers[:-1]).all())

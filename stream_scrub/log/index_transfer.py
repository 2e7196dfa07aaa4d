"""Sends an index to a child process through a pipe, in pieces: one call on a large bitmap would hold the interpreter, and
with it every check. Nothing is written to a disk."""

from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection

import numpy as np
from pyroaring import BitMap64

from stream_scrub.index import Filter, Index, Register
from stream_scrub.index.end_table import EndTable
from stream_scrub.index.index import ByName
from stream_scrub.log import wire

_NUMBERS = 500_000  # in one piece: a call of 2 ms
_WORDS = 131_072
_END = b""


def send(index: Index, to: Connection) -> None:
    """Send the index. Raises OSError if the child has ended."""
    to.send((index.position, len(index.registers)))
    for register in index.registers.values():
        bare = replace(
            register, numbers=BitMap64(), filter=Filter(np.empty(0, np.uint64)), ends=EndTable.none()
        )
        to.send((bare, register.filter.left))
        for each in register.ends.arrays():
            to.send_bytes(each.tobytes())
        for piece in _pieces(register):
            to.send_bytes(piece)


def receive(sender: Connection) -> Index:
    """Receive the index that the parent sends. Raises EOFError if the parent has ended."""
    position, count = sender.recv()
    registers = {}
    for _ in range(count):
        register, left = sender.recv()
        numbers_that_end = np.frombuffer(sender.recv_bytes(), np.uint64)
        ends = EndTable(numbers_that_end, np.frombuffer(sender.recv_bytes(), np.uint32), {})
        numbers = BitMap64()
        while piece := sender.recv_bytes():
            numbers |= wire.bitmap_of(piece)
        words = b"".join(iter(sender.recv_bytes, _END))
        filter_ = Filter.restored(np.frombuffer(words, np.uint64), left)
        registers[register.name] = replace(register, numbers=numbers, filter=filter_, ends=ends)
    return Index(ByName(registers), position)


def _pieces(register: Register) -> Iterator[bytes]:
    for piece in wire.pieces(register.numbers, _NUMBERS):
        yield piece.serialize()
    yield _END
    # The follower may add to the filter meanwhile. Then it still misses none of these numbers.
    words = register.filter.words
    for at in range(0, len(words), _WORDS):
        yield words[at : at + _WORDS].tobytes()
    yield _END

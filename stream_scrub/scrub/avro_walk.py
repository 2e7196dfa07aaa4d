"""Walks a record in Avro by a program, and writes the members that verdicts need as JSON. Pure.

`avro.py` compiles a program for each schema. The extension (`native/avro.pxi`) runs the same programs and gives the same
bytes; what few records have it leaves to this walker.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, auto
from typing import NamedTuple

import msgspec

from stream_scrub.scrub.decode import Unreadable
from stream_scrub.scrub.schemas import NESTED_MAX, SPARE_MAX, Plan

SPARE_FOR_BYTE = 4  # of a value, apart from SPARE_MAX


class Op(IntEnum):
    """What a step does with the value. `a` and `b` are its operands."""

    END = 0
    INTEGER = auto()  # a: bits; b: 1 to write it
    BYTES = auto()  # after their length. b: 0 to skip them, 1 to write them as UTF-8, 2 as ASCII
    FIXED = auto()  # a: bytes; b: 1 to write them as ASCII
    REAL = auto()  # a: bytes; b: 1 to write it
    BOOLEAN = auto()  # b: 1 to write it
    ENUM = auto()  # a: how many symbols; b: 0 to skip it, else the text of the first one, from 1
    UNION = auto()  # a: branches; as many steps behind it lead to them
    GOTO = auto()  # a: step
    CALL = auto()  # a: step where a record begins
    RETURN = auto()
    ITEMS = auto()  # of an array or map; each begins with the next step. a: step behind them
    NEXT = auto()  # item
    COMMA = auto()  # to write between items
    WRITE = auto()  # a: text
    KEY = auto()  # of a map, to write


class Program(NamedTuple):
    """The steps for a schema's records, from the first one to END."""

    code: Sequence[tuple[int, int, int]]
    texts: Sequence[bytes]


@dataclass(slots=True)
class _Frame:
    """A record, or an array or map, that the walk is in."""

    pc: int  # where to go on behind the record, or where each item begins
    end: int = 0  # behind the items
    left: int = 0  # items of this block
    until: int | None = None  # where this block should end, if it says so
    some: bool = False  # whether an item was written
    keys: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Walk:
    """The state of a walk over one value."""

    program: Program
    data: bytes
    at: int
    spare: int
    pc: int = 0
    frames: list[_Frame] = field(default_factory=list)
    out: list[bytes] = field(default_factory=list)

    def run(self) -> bytes:
        """The JSON. Raises Unreadable, IndexError, UnicodeDecodeError."""
        code, steps = self.program.code, _STEPS
        while True:
            op, a, b = code[self.pc]
            self.pc += 1
            self.spare -= 1
            if not op:  # END
                break
            steps[op](self, a, b)
        if self.at != len(self.data):
            raise Unreadable("bytes behind the record")
        self._spend(0)
        return b"".join(self.out)

    # What a step asks for.

    def _spend(self, count: int) -> None:
        self.spare -= count
        if self.spare < 0:
            raise Unreadable("more of its schema than of its own")

    def _skip(self, size: int) -> None:
        if not 0 <= size <= len(self.data) - self.at:
            raise Unreadable("a length that cannot be")
        self.at += size

    def _taken(self, size: int) -> bytes:
        begin = self.at
        self._skip(size)
        return self.data[begin : self.at]

    def _integer(self, bits: int) -> int:
        data, begin = self.data, self.at
        byte = data[begin]
        if byte < 0x80:
            self.at = begin + 1
            return (byte >> 1) ^ -(byte & 1)
        raw, shift, at = byte & 0x7F, 7, begin + 1
        while byte > 0x7F and shift < bits:
            byte = data[at]
            raw |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
        if byte > 0x7F or raw >> bits:  # readers differ in which bits they drop
            raise Unreadable("an integer of too many bits")
        self.at = at
        return (raw >> 1) ^ -(raw & 1)

    def _which(self, count: int) -> int:
        number = self._integer(32)
        if not 0 <= number < count:
            raise Unreadable("a branch or symbol that there is not")
        return number

    def _put(self, value: object) -> None:
        self.out.append(msgspec.json.encode(value))

    def _begin(self, frame: _Frame) -> None:
        self._spend(0)  # types that hold each other have no other step that looks
        if len(self.frames) == NESTED_MAX:
            raise Unreadable("nested too deeply")
        self.frames.append(frame)

    def _next_block(self, frame: _Frame) -> None:
        # A reader that skips the array believes its size: it would find other members behind it.
        if frame.until is not None and self.at != frame.until:
            raise Unreadable("a block of another size than it states")
        frame.until, count = None, self._integer(64)
        if not count:
            self.frames.pop()
            self.pc = frame.end
            return
        if count < 0:
            size = self._integer(64)
            frame.until, count = self.at + size, -count
        # An item may have no bytes, so a few bytes could state more of them than anybody can count.
        self._spend(count)
        frame.left, self.pc = count, frame.pc

    # The steps. Bytes are a text in ASCII: readers take other bytes for Latin-1, as in Avro's own JSON, or for UTF-8.

    def integer(self, bits: int, written: int) -> None:
        number = self._integer(bits)
        if written:
            self._put(number)

    def octets(self, _a: int, form: int) -> None:
        size = self._integer(64)
        if form:
            self._put(self._taken(size).decode(_ENCODINGS[form]))
        else:
            self._skip(size)

    def fixed(self, size: int, written: int) -> None:
        if written:
            self._put(self._taken(size).decode("ascii"))
        else:
            self._skip(size)

    def real(self, size: int, written: int) -> None:
        (number,) = _REALS[size].unpack(self._taken(size))
        if written:
            if number - number != 0:  # JSON has neither infinities nor NaN
                raise Unreadable("not a number")
            self._put(number)

    def boolean(self, _a: int, written: int) -> None:
        (byte,) = self._taken(1)
        if byte > 1:
            raise Unreadable("neither true nor false")
        if written:
            self._put(byte == 1)

    def enum(self, count: int, first: int) -> None:
        symbol = self._which(count)
        if first:
            self.write(first - 1 + symbol, 0)

    def union(self, count: int, _b: int) -> None:
        self.pc += self._which(count)

    def goto(self, step: int, _b: int) -> None:
        self.pc = step

    def call(self, step: int, _b: int) -> None:
        self._begin(_Frame(self.pc))
        self.pc = step

    def leave(self, _a: int, _b: int) -> None:
        self.pc = self.frames.pop().pc

    def items(self, end: int, _b: int) -> None:
        self._begin(_Frame(self.pc, end))
        self._next_block(self.frames[-1])

    def next_item(self, _a: int, _b: int) -> None:
        frame = self.frames[-1]
        frame.left -= 1
        if frame.left:
            self.pc = frame.pc
        else:
            self._next_block(frame)

    def comma(self, _a: int, _b: int) -> None:
        frame = self.frames[-1]
        if frame.some:
            self.out.append(b",")
        frame.some = True

    def write(self, text: int, _b: int) -> None:
        made = self.program.texts[text]
        self._spend(len(made))
        self.out.append(made)

    def key(self, _a: int, _b: int) -> None:
        key, keys = self._taken(self._integer(64)).decode(), self.frames[-1].keys
        if key in keys:  # readers differ in which one they take
            raise Unreadable("a key occurs twice")
        keys.add(key)
        self._put(key)
        self.out.append(b":")


_ENCODINGS = {1: "utf-8", 2: "ascii"}
_REALS = {4: struct.Struct("<f"), 8: struct.Struct("<d")}
_STEPS: Mapping[int, Callable[[_Walk, int, int], None]] = {
    Op.INTEGER: _Walk.integer,
    Op.BYTES: _Walk.octets,
    Op.FIXED: _Walk.fixed,
    Op.REAL: _Walk.real,
    Op.BOOLEAN: _Walk.boolean,
    Op.ENUM: _Walk.enum,
    Op.UNION: _Walk.union,
    Op.GOTO: _Walk.goto,
    Op.CALL: _Walk.call,
    Op.RETURN: _Walk.leave,
    Op.ITEMS: _Walk.items,
    Op.NEXT: _Walk.next_item,
    Op.COMMA: _Walk.comma,
    Op.WRITE: _Walk.write,
    Op.KEY: _Walk.key,
}


def walker(program: Program) -> Plan:
    """The plan that runs a program in Python."""

    def plan(value: bytes, begin: int) -> bytes | None:
        walk = _Walk(program, value, begin, SPARE_MAX + SPARE_FOR_BYTE * (len(value) - begin))
        try:
            return walk.run()
        except (IndexError, UnicodeDecodeError, Unreadable):
            return None

    return plan

"""A delta on the log, assembled from its records: `read_part` reads one record, `Deltas` joins parts and seal."""

from collections.abc import Container, Sequence
from typing import NamedTuple

import msgspec

from stream_scrub.errors import Corrupt
from stream_scrub.log import wire
from stream_scrub.model import LogRecord, RegisterName

SEAL = "seal"  # the side of a seal


class LogProblem(msgspec.Struct, frozen=True):
    """What is wrong where. `register` is empty where the record belongs to none."""

    offset: int
    register: str
    what: str

    @property
    def error(self) -> Corrupt:
        """The error of a reader that stops here."""
        return Corrupt(f"register {self.register}: {self.what}" if self.register else self.what, self.offset)


class Part(NamedTuple):
    """One record of a delta: a part, or its seal (`i` is -1). `digest` is the header that only a part of rules has."""

    register: str
    side: str
    seq: int
    i: int
    offset: int
    value: bytes
    digest: str


class SealedDelta(NamedTuple):
    """A delta on the log. `content` is what its chain covers; `seq` is the seal's header."""

    register: str
    first: int  # the offset of its first record
    offset: int  # the offset of its seal
    seq: int
    seal: wire.Seal
    content: bytes
    parts: Sequence[Part]
    restates: bool = False  # a full set that equals what the deltas before it gave
    sound: bool = True  # nothing was wrong with it

    @property
    def is_full(self) -> bool:
        """Whether a follower may begin here."""
        return self.seal.kind == "full" or self.seal.seq == 1

    @property
    def starts(self) -> list[Part]:
        """The parts that state where all registers begin."""
        return [part for part in self.parts if part.side == "starts"]

    def wrong_part(self) -> LogProblem | None:
        """The first part that is not the one that was sealed."""
        seal = self.seal
        digests = wire.digests([part.value for part in self.parts])
        for i, (part, digest) in enumerate(zip(self.parts, digests, strict=True)):
            if part.seq != seal.seq or part.i != i:
                return LogProblem(
                    part.offset, self.register, "a part that is not the seal's, or not in order"
                )
            if i < len(seal.parts) and digest != seal.parts[i]:
                return LogProblem(part.offset, self.register, "its bytes are not the ones that were sealed")
        if len(self.parts) != len(seal.parts):
            what = f"{len(seal.parts)} parts were sealed, and {len(self.parts)} are here"
            return LogProblem(self.offset, self.register, what)
        return None


def read_part(record: LogRecord, known: Container[str] = ()) -> Part | LogProblem:
    """Read one record of the log. `known` are register names that need no check. A fault names no register: the key may
    be anything."""
    headers = dict(record.headers)
    if (misfit := wire.misfit(record, headers)) is not None:
        return LogProblem(record.offset, "", misfit)
    name = (record.key or b"").decode("utf-8", "replace")
    if name not in known and RegisterName.parse(name) is None:
        what = "the key is no register's name as look-ups spell it, so no verdict would ask for it"
        return LogProblem(record.offset, "", what)
    side = (headers["part"] or b"").decode()
    seq = int(headers["seq"] or b"")
    i = -1 if side == SEAL else int(headers["i"] or b"")
    digest = (headers.get("digest") or b"").decode("utf-8", "replace")
    return Part(name, side, seq, i, record.offset, record.value or b"", digest)


class Deltas:
    """Assembles the deltas of all registers. Feed it the parts and seals in offset order.

    Values are held until their seal, so a delta takes its own size in memory.
    """

    def __init__(self) -> None:
        self._open: dict[str, list[Part]] = {}

    @property
    def unsealed(self) -> int | None:
        """The offset of the first part that has no seal yet."""
        return min((parts[0].offset for parts in self._open.values()), default=None)

    def unsealed_of(self, register: str) -> int | None:
        """The offset of the first part of that register that has no seal yet."""
        parts = self._open.get(register)
        return parts[0].offset if parts else None

    def take(self, part: Part) -> SealedDelta | LogProblem | None:
        """Return the delta that this record seals, or what is wrong with it; None for a part.

        After a fault the next delta of the register begins with this part, or behind this seal.
        """
        if part.side != SEAL:
            return self._take_part(part)
        parts = self._open.pop(part.register, [])
        try:
            seal, content = wire.decode_seal(part.value)
        except ValueError as error:
            return LogProblem(part.offset, part.register, str(error))
        first = parts[0].offset if parts else part.offset
        return SealedDelta(part.register, first, part.offset, part.seq, seal, content, parts)

    def _take_part(self, part: Part) -> LogProblem | None:
        parts = self._open.setdefault(part.register, [])
        fault = None
        if parts and (parts[0].seq != part.seq or part.i == 0):
            fault = LogProblem(parts[0].offset, part.register, "parts without their seal, then others")
            parts.clear()
        parts.append(part)
        return fault

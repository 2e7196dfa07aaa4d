"""One register's deltas, audited. `Replay` stops at the first fault; this reports it and goes on.

Two things are proven of each delta. (a) It continues the one before it, by sequence and chain: every seal shows that.
(b) It holds what the format promises: it is fed to a replay. After a fault the numbers are not known any more, so from
there on only seals and digests are proven, until the register's next full set.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_scrub.errors import Corrupt
from stream_scrub.index import Register
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.parts import SET_ASIDE_BY
from stream_scrub.lists.log.replay import LogRules, Replay
from stream_scrub.model import LogRecord


class LogProblem(NamedTuple):
    """What is wrong where. `register` is empty where the record belongs to none."""

    offset: int
    register: str
    what: str


class DeltaOnLog(NamedTuple):
    """Where a delta stands on the log, and what its seal says.

    `first` is the offset of its first record, `waiting` that of the record which a reader took for the first at that
    moment: a part that was never sealed may stand before it. `seal` is the seal's offset, `full` whether the delta
    states the whole register, `said` the seal, `stating` the parts that state where all registers begin. `sound`:
    nothing was wrong with it.
    """

    first: int
    waiting: int
    seal: int
    full: bool
    said: wire.Seal
    stating: list[LogRecord]
    sound: bool


@dataclass(slots=True)
class AuditTally:
    """What was proven of a register. `restated` counts full sets that equal the deltas before them. `unproven` are
    spans of offsets whose numbers could not be followed, the last of them open (None) while they still cannot.
    `set_aside` are spans of parts that were never sealed, with the seal of the delta that took their place.
    """

    deltas: int = 0
    restated: int = 0
    problems: int = 0
    unproven: list[tuple[int, int | None]] = field(default_factory=list)
    set_aside: list[tuple[int, int, int]] = field(default_factory=list)


class SingleRegisterReplay(Replay):
    """A replay of one register's records, or the rules'. It cannot check what the seals say of other registers."""

    @classmethod
    def since(
        cls,
        name: str,
        span: tuple[int, int],
        *,
        keep_ends: bool = False,
        digest_of: Callable[[bytes], str] | None = None,
    ) -> "SingleRegisterReplay":
        """A replay that starts at the first offset of the span, where a full set begins, and goes at least to the last."""
        made = cls(keep_ends=keep_ends, digest_of=digest_of)
        made._await({name: span})
        return made

    def _check_log(self, seal: wire.Seal, starts: wire.RegisterStarts, offset: int) -> None:
        pass


class RegisterAudit:
    """The records of one register in offset order. `report` is called with each problem, with at most one of a delta.

    `cut`: the log's beginning has been deleted, so the first delta here need not be the register's first, nor whole.
    """

    def __init__(
        self, name: str, digest_of: Callable[[bytes], str], report: Callable[[LogProblem], None], *, cut: bool
    ) -> None:
        self.name = name
        self.tally = AuditTally()
        self.seq = 0
        self.head = wire.GENESIS  # the chain as the last seal says it
        self.cut = cut
        self._digest_of = digest_of
        self._report = report
        self._replay: Replay | None = SingleRegisterReplay(keep_ends=True, digest_of=digest_of)
        # The chains that the next seal may continue. There are several after a seal whose chain is not that of its
        # content, and none is known after a seal that could not be read.
        self._chains: frozenset[str] = frozenset({wire.GENESIS})
        self._open: list[LogRecord] = []
        self._aside: list[LogRecord] = []
        self._asked: wire.Cursor | None = None
        self._reported = False

    @property
    def unsealed(self) -> int | None:
        """The offset of the first part that has no seal yet."""
        waiting = self._aside or self._open
        return waiting[0].offset if waiting else None

    @property
    def register(self) -> Register | None:
        """The register as it is proven to be; None while its numbers are not known, and for the rules."""
        return None if self._replay is None else self._replay.index.registers.get(self.name)

    @property
    def rules(self) -> LogRules | None:
        """The rules as they are proven to be, for the audit of these."""
        return None if self._replay is None else self._replay.rules

    def fault(self, offset: int, what: str) -> None:
        """A problem with a record that belongs here: what it was to say is not known any more."""
        self._note(offset, what)
        if self._replay is not None:
            self._replay = None
            self.tally.unproven.append((offset, None))

    def doubt(self, offset: int, what: str) -> None:
        """A problem with what a seal says of others: the numbers of this register are as they were."""
        self.tally.problems += 1
        self._report(LogProblem(offset, self.name, what))

    def _note(self, offset: int, what: str) -> None:
        if not self._reported:
            self._reported = True
            self.tally.problems += 1
            self._report(LogProblem(offset, self.name, what))

    def part(self, record: LogRecord) -> None:
        """A part, in form."""
        if self._open and _header(self._open[0], "seq") != _header(record, "seq"):
            self.fault(self._open[0].offset, "parts without their seal, then others")
            self._open = []
        if _header(record, "i") == b"0":
            self._aside += self._open
            self._open = []
        self._open.append(record)

    def seal(self, record: LogRecord) -> DeltaOnLog | None:
        """A seal: where its delta stands, None when that cannot be told."""
        parts, self._open = self._open, []
        aside, self._aside = self._aside, []
        try:
            seal, content = wire.decode_seal(record.value or b"")
        except ValueError as error:
            self.fault(record.offset, str(error))
            self._reported, self._chains = False, frozenset()
            return None
        if not seal.parts and all(_header(part, "seq") == b"%d" % seal.seq for part in parts):
            aside, parts = aside + parts, []
        if seal.register != self.name or _header(record, "seq") != b"%d" % seal.seq:
            self.fault(record.offset, "the seal is another's: it and its headers differ")
        doubted = self._reported  # then what is here of it need not be all of it
        chained = self._chained(seal, content)
        late = self.cut and not self.tally.deltas and (seal.seq > 1 or len(parts) != len(seal.parts))
        if late:  # what it continues can only be believed
            self._replay, chained = None, {seal.chain}
            self.tally.unproven.append((record.offset, None))
        elif seal.seq <= self.seq:
            self._note(
                record.offset, f"sequence {seal.seq} again, after {self.seq}: doubled, or out of order"
            )
            self._reported = False
            return None
        elif self._chains and seal.seq != self.seq + 1:
            self.fault(record.offset, f"sequence {seal.seq} follows {self.seq}: a delta is missing")
        elif seal.chain not in chained:
            self.fault(record.offset, "the chain is broken: this seal does not continue the one before it")
        if not doubted and not (late and len(parts) != len(seal.parts)):
            self._prove(parts, record, seal)
        self._check_asked(record.offset, seal)
        sound, self._reported = not self._reported, False
        self.tally.deltas += 1
        self.seq, self.head, self._chains = seal.seq, seal.chain, frozenset({seal.chain, *chained})
        full = seal.kind == "full" or seal.seq == 1
        first = parts[0].offset if parts else record.offset
        if aside:
            self.tally.set_aside.append((aside[0].offset, aside[-1].offset, record.offset))
        stating = [part for part in parts if _header(part, "part") == b"starts"]
        waiting = aside[0].offset if aside else first
        return DeltaOnLog(first, waiting, record.offset, full, seal, stating, sound)

    def end(self) -> None:
        """Nothing more comes."""
        if (unsealed := self.unsealed) is not None:
            self.fault(unsealed, f"parts without their seal: {SET_ASIDE_BY}")

    def _chained(self, seal: wire.Seal, content: bytes) -> set[str]:
        """The chains that this seal may have, by what it may continue."""
        if (
            not self._chains and not seal.previous
        ):  # after one that could not be read, of a release that said less
            return {seal.chain}
        return {wire.chain_of(chain, content) for chain in self._chains or {seal.previous}}

    def _check_asked(self, offset: int, seal: wire.Seal) -> None:
        """The cursor never goes back and is never left out: requests would be applied again."""
        before, self._asked = self._asked, seal.asked if isinstance(seal.asked, wire.Cursor) else None
        if before is None or self._reported:
            return
        if _goes_back(before, self._asked) or (
            before.lifts is not None and _goes_back(before.lifts, self._asked and self._asked.lifts)
        ):
            self.doubt(offset, "it goes back to requests that the register was told before")

    def _prove(self, parts: list[LogRecord], record: LogRecord, seal: wire.Seal) -> None:
        """Feed the delta to the replay, and begin a new one at a full set where there is none."""
        replay = self._replay
        if replay is None:
            if (wrong := _wrong_part(parts, record, seal)) is not None:
                self.fault(*wrong)
                return
            if seal.kind != "full":
                return
            start = parts[0].offset if parts else record.offset
            span = (start, record.offset)
            replay = SingleRegisterReplay.since(self.name, span, keep_ends=True, digest_of=self._digest_of)
        for each in (*parts, record):
            try:
                replay.take(each)
            except Corrupt as error:
                self.fault(*(_wrong_part(parts, record, seal) or (each.offset, _bare(error))))
                return
        if self._replay is None:
            since, _ = self.tally.unproven.pop()
            self.tally.unproven.append((since, record.offset))
            self._replay = replay
        elif seal.kind == "full" and seal.seq > 1:
            self.tally.restated += 1


def _wrong_part(parts: list[LogRecord], record: LogRecord, seal: wire.Seal) -> tuple[int, str] | None:
    """The offset of the first part that is not the one that was sealed, and what is wrong with it."""
    for i, (part, digest) in enumerate(
        zip(parts, wire.digests([p.value or b"" for p in parts]), strict=True)
    ):
        if _header(part, "seq") != b"%d" % seal.seq or _header(part, "i") != b"%d" % i:
            return part.offset, "a part that is not the seal's, or not in order"
        if i < len(seal.parts) and digest != seal.parts[i]:
            return part.offset, "its bytes are not the ones that were sealed"
    if len(parts) != len(seal.parts):
        return record.offset, f"{len(seal.parts)} parts were sealed, and {len(parts)} are here"
    return None


def _goes_back(before: wire.Cursor, now: wire.Cursor | None) -> bool:
    if now is None:
        return True
    return (now.topic, now.id) == (before.topic, before.id) and any(
        now.next.get(partition, 0) < upto
        and now.epochs.get(partition, -1) <= before.epochs.get(partition, -1)
        for partition, upto in before.next.items()
    )


def _header(record: LogRecord, name: str) -> bytes | None:
    return dict(record.headers).get(name)


def _bare(error: Corrupt) -> str:
    """Its sentence without the place, which stands beside it in the report."""
    text = str(error)
    while (head := text.partition(": "))[2] and head[0].startswith(("log offset ", "register ")):
        text = head[2]
    return text

"""What a daemon publishes with: the log as it knows it, and the writers of the registers that it publishes.

Its own registers' writers are open as long as it lives. The writer of any other register is opened when there is
something to publish, which fences an import of that register that is under way. It is closed after `_IDLE_S` without
use. Opening one takes up to a second, in a thread of its own: opt-outs wait for the thread that publishes.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from msgspec.structs import replace

from stream_scrub import clock
from stream_scrub.config import Settings
from stream_scrub.errors import Corrupt, Migrated, Refused, TakenOver, Unavailable
from stream_scrub.index import Register
from stream_scrub.index.deltas import Delta
from stream_scrub.kafka import clients
from stream_scrub.kafka.log_reader import KafkaLogReader
from stream_scrub.kafka.log_writer import KafkaLogWriter, TransactionExtras
from stream_scrub.log.encode import nbytes_of, records_of
from stream_scrub.log.replay import RegisterView, Replay
from stream_scrub.log.scan import begin, check_known, replay_to_end
from stream_scrub.log.wire import Cursor, DeltaSource, Seal
from stream_scrub.made_by import MadeBy
from stream_scrub.model import Deadline, Logger, RegisterKind, family
from stream_scrub.ops import metric_catalogue
from stream_scrub.ops.loop_state import PublisherState
from stream_scrub.ops.processes import in_daemon_thread

_OPEN_S = 30.0
# A publisher of another register that dies in its transaction hides the log's end for this long: its timeout of ten
# seconds, and the ten seconds until a broker looks for such transactions.
_REACH_S = 25.0
_IDLE_S = 60.0
_CHAIN_DIGITS = 16
_MARKER_AGAIN_S = 0.05
_MARKER_S = 2.0  # until the marker is written, which ending a transaction does not wait for


class PendingDelta(NamedTuple):
    """A delta to publish, and the register that it changes, as read."""

    base: Register
    delta: Delta
    effective_at: datetime
    source: DeltaSource
    known: RegisterView
    cursor: Cursor | None = None


class SealName(NamedTuple):
    """Names a seal, for the note of those who rest on it."""

    log: str
    register: str
    seq: int
    chain: str  # the first digits

    @classmethod
    def of(cls, log: str, seal: Seal) -> "SealName":
        """The name of a seal."""
        return cls(log, seal.register, seal.seq, seal.chain[:_CHAIN_DIGITS])

    @classmethod
    def read(cls, text: str) -> "SealName | None":
        """From its text; None from any other."""
        parts = text.split("/")
        return cls(parts[0], parts[1], int(parts[2]), parts[3]) if len(parts) == 4 else None

    def __str__(self) -> str:
        return f"{self.log}/{self.register}/{self.seq}/{self.chain}"


@dataclass(slots=True)
class _Borrowed:
    writer: KafkaLogWriter
    used_at: float


@dataclass(eq=False)
class DeltaPublisher:
    """One thread. Every method may block for as long as a broker takes, `_REACH_S` at most, and raise Unavailable,
    Refused, Corrupt; `publish` raises Uncertain, Migrated and TakenOver as well, and then it must be closed and fenced
    again before anything else. `need_ours` is called when an own register's writer was replaced, and raises Migrated if
    somebody else had the register in between."""

    settings: Settings
    state: PublisherState
    log: Logger
    need_ours: Callable[[], None] = lambda: None
    _reader: KafkaLogReader | None = field(default=None, init=False)
    _leader_epoch: int = field(default=-1, init=False)
    _own: dict[str, KafkaLogWriter] = field(default_factory=dict, init=False)
    _borrowed: dict[str, _Borrowed] = field(default_factory=dict, init=False)
    _opening: dict[str, Future[KafkaLogWriter]] = field(default_factory=dict, init=False)
    _upto: int = field(default=-1, init=False)
    _publishing: str = field(default="", init=False)
    _made_by: MadeBy = field(init=False)
    replay: Replay = field(default_factory=Replay, init=False)

    def __post_init__(self) -> None:
        self._made_by = clients.made_by(self.settings)
        self._brokers = clients.Brokers(self.settings, self.log)

    @property
    def registers(self) -> Mapping[str, Register]:
        """The registers as the log holds them, by name."""
        return self.replay.index.registers

    def fence(self, families: Sequence[str], also: Sequence[str]) -> None:
        """Open the writers of the daemon's own registers. From here on no one else publishes these, and a transaction
        that an earlier life of this publisher left open is aborted."""
        deadline = Deadline.after(_OPEN_S)
        for each in families:
            self._own[each] = self._brokers.taken_over(each, also, deadline)
        if self._publishing not in {"", *families}:
            self._brokers.taken_over(self._publishing, (), deadline).close()
        self._publishing = ""
        self._own[families[0]].wait_for_others(deadline)

    def read_on(self) -> None:
        """Follow the log to its end: from its beginning the first time, later from the last offset that was read."""
        deadline = Deadline.after(_OPEN_S)
        if self._reader is None:
            reader = self._brokers.log_reader()
            self._reader = reader
            reader.bounds()
            self._leader_epoch = reader.leader_epoch
            if not self._is_known(reader, deadline):
                self.replay = begin(reader, deadline, keep_ends=True)
        # The reader then asks for the end at once, and not after half a second's silence.
        if self._taken >= 0:
            self._reader.seek(self._taken + 1)
        with self._comparing(self._reader):
            replay_to_end(self._reader, deadline, lambda _: self.state.beat(), replay=self.replay)
        if (mark := self.replay.known("").log.mark) is not None:
            raise Refused(mark.why)

    def _is_known(self, reader: KafkaLogReader, deadline: Deadline) -> bool:
        """Whether the log still has the records that were read. A publisher that builds on lost records would corrupt the log."""
        if self._taken < 0:
            return False
        try:
            check_known(reader, self.replay, deadline)
        except ValueError as lost:
            self.log.error("the log lost records that were read, reading it again", why=str(lost))
            return False
        return True

    @contextmanager
    def _comparing(self, reader: KafkaLogReader) -> Iterator[None]:
        """Compare the records read with the log, if another broker leads it now or the next record does not fit. Raises
        Unavailable if some were lost."""
        try:
            yield
        except Corrupt:
            self._need_known(reader)
            raise
        if reader.leader_epoch != self._leader_epoch:
            self._leader_epoch = reader.leader_epoch
            self._need_known(reader)

    def _need_known(self, reader: KafkaLogReader) -> None:
        try:
            check_known(reader, self.replay, Deadline.after(_OPEN_S))
        except ValueError as lost:
            raise Unavailable(f"the log lost records that were read: {lost}") from lost

    @property
    def _taken(self) -> int:
        """The last offset of the log that was read; -1 before the first."""
        return self.replay.known("").upto

    def glance(self) -> None:
        """Take in what others have published meanwhile, without waiting."""
        self._take(0.0)

    def _take(self, wait_s: float) -> None:
        assert self._reader is not None, "read_on comes first"
        with self._comparing(self._reader):
            records, _ = self._reader.read(wait_s)
            for record in records:
                self.replay.take(record)

    def ready(self, name: str) -> bool:
        """Whether a delta may be made now from `base` of that register. It may not while the writer of
        another's register is being opened: then ask again later. For its own registers the answer is always yes."""
        family_name = family(name)
        if (
            family_name not in self._own
            and family_name not in self._borrowed
            and not self._borrow(family_name)
        ):
            return False
        deadline = Deadline.after(_REACH_S)
        while self.replay.index.position < self._upto:
            self._take(0.05)
            if deadline.passed:
                raise Unavailable("what was published cannot be read back yet: another transaction is open")
        return True

    def _borrow(self, mine: str) -> bool:
        opening = self._opening.get(mine)
        if opening is None:
            opening = in_daemon_thread(self._brokers.log_writer, mine)
            self._opening[mine] = opening
        if not opening.done():
            return False
        del self._opening[mine]
        self._borrowed[mine] = _Borrowed(opening.result(), clock.elapsed())
        self.read_on()
        return True

    def base(self, name: str, kind: RegisterKind) -> Register:
        """The register as the log holds it; an empty one of that kind where it holds none."""
        register = self.registers.get(name)
        return register or Register.empty(name, kind, datetime.now(UTC))

    def holds(self, seal: str) -> bool:
        """Whether the log, as it was read, holds that seal (a `SealName`) or a later one of its register. True for none, and for
        another log's: a renewed log states what the old one held."""
        seal_name = SealName.read(seal)
        if seal_name is None or seal_name.log != self.settings.topics.log:
            return True
        held = self.registers.get(seal_name.register)
        if held is None or held.seq < seal_name.seq:
            return False
        return held.seq > seal_name.seq or held.chain.startswith(seal_name.chain)

    def publish(
        self,
        made: Sequence[PendingDelta],
        extras_of: Callable[[str], TransactionExtras] | None = None,
    ) -> list[tuple[Seal, int]]:
        """Deltas of one register and its scoped ones, in one transaction with extras, which may depend on the name of the last
        seal among them; the seals, and the position after the last one."""
        family_name = family(made[0].base.name) if made else next(iter(self._own))
        records, seals = [], []
        for each in made:
            some, seal = records_of(
                each.base,
                each.delta,
                each.effective_at,
                replace(each.source, made_by=self._made_by),
                known=each.known,
                full_every=self.settings.lists.full_every,
                cursor=each.cursor,
                may_state=each is made[-1],
            )
            records += some
            seals.append(seal)
        if not self._writer(family_name).takes(nbytes := nbytes_of(records)):
            self._reopen(family_name, nbytes)
            self._need_same(made)
        borrowed, writer = self._borrowed.get(family_name), self._writer(family_name)
        self.state.beat()
        started = time.perf_counter()
        name = "".join(str(SealName.of(self.settings.topics.log, each)) for each in seals[-1:])
        more = () if extras_of is None else (extras_of(name),)
        read = min((each.known.upto for each in made), default=-1)
        with self._writing(family_name):
            position = writer.publish(records, *more, after=read)
        if made:
            labels = [metric_catalogue.register_label(each.base.name) for each in made]
            self.state.published(labels, time.perf_counter() - started)
        if borrowed is not None:
            borrowed.used_at = clock.elapsed()
        self._upto = max(self._upto, position)
        if writer.is_spent:
            self._reopen(family_name)
        return [(seal, position) for seal in seals]

    @contextmanager
    def _writing(self, mine: str) -> Iterator[None]:
        """A transaction of a register's writer. Raises RegisterBusy if another publisher has a borrowed one now."""
        self._publishing = mine
        try:
            yield
        except TakenOver as error:
            if mine not in self._borrowed:
                raise
            # An import of this register began: it is the publisher now, and this one tries later.
            self._give_back([mine])
            self._publishing = ""
            raise RegisterBusy(str(error)) from error
        self._publishing = ""

    def brokers_time(self, name: str, since: float) -> float | None:
        """A moment that has surely passed, in seconds since 1970: the log's latest timestamp, by the clock of the broker that
        leads it. None if the latest one may be a publisher's. If it is before `since`, has the broker write another one.
        `name`: a register for which `ready` is true. Raises as `publish`."""
        log_partition = self.settings.topics.log, 0

        def latest() -> float | None:
            ends = self._brokers.witnesses.now([log_partition])
            return ends[0].at if ends and ends[0].is_brokers else None

        at = latest()
        if at is not None and at >= since:
            return at
        family_name = family(name)
        writer = self._writer(family_name)
        with self._writing(family_name):
            writer.leave_marker()
        if writer.is_spent:
            self._reopen(family_name)
        until = Deadline.after(_MARKER_S)
        while ((at := latest()) is None or at < since) and not until.passed:
            time.sleep(_MARKER_AGAIN_S)
        return at

    def _writer(self, mine: str) -> KafkaLogWriter:
        borrowed = self._borrowed.get(mine)
        return self._own[mine] if borrowed is None else borrowed.writer

    def _reopen(self, mine: str, nbytes: int = 0) -> None:
        """Replace the writer by one whose transactions may last as long as `nbytes` take. Between the two writers
        somebody else may publish, so the log is read again to its end."""
        self._writer(mine).close()
        also = [self.settings.topics.refused] if mine in self._own else []
        writer = self._brokers.log_writer(mine, also, nbytes)
        if mine in self._own:
            self._own[mine] = writer
            self.need_ours()
        else:
            self._borrowed[mine] = _Borrowed(writer, clock.elapsed())
        self.read_on()

    def _need_same(self, made: Sequence[PendingDelta]) -> None:
        """Raises Unavailable when a delta was made against an older state than the log holds now."""
        for each in made:
            register = self.registers.get(each.base.name)
            if (register.seq if register is not None else 0) != each.base.seq:
                raise Unavailable(f"{each.base.name} was published by somebody else meanwhile")

    def give_back(self) -> None:
        """Close the borrowed writers that were not used for `_IDLE_S`."""
        now = clock.elapsed()
        self._give_back([name for name, each in self._borrowed.items() if now - each.used_at > _IDLE_S])

    def _give_back(self, families: Iterable[str]) -> None:
        for each in list(families):
            self._borrowed.pop(each).writer.close()

    def close(self) -> None:
        """Give up every register and every connection: after a broker's outage some connections never recover by
        themselves. What is known of the log is kept."""
        self._give_back(self._borrowed)
        for opening in self._opening.values():
            opening.add_done_callback(lambda done: None if done.exception() else done.result().close())
        self._opening.clear()
        for writer in self._own.values():
            writer.close()
        self._own.clear()
        self._upto = -1
        if self._reader is not None:
            close_in_background(self._reader.close)
            self._reader = None


def close_in_background(close: Callable[[], None]) -> None:
    """Close a client in a thread of its own: one that has lost its broker may take long."""
    threading.Thread(target=close, name="closing", daemon=True).start()


class RegisterBusy(Migrated):
    """Somebody else publishes this borrowed register just now: try again later."""

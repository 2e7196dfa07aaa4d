"""What a daemon publishes with: the log as it knows it, and the writers of the registers that it publishes.

Its own registers' writers are open as long as it lives. The writer of any other register is opened when there is
something to publish, which fences an import of that register that is under way. It is closed after `_IDLE_S` without
use. Opening one takes up to a second, in a thread of its own: opt-outs wait for the thread that publishes.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from stream_scrub import clock
from stream_scrub.config import Settings
from stream_scrub.errors import Migrated, Refused, TakenOver, Unavailable
from stream_scrub.index import Register
from stream_scrub.kafka.log_reader import KafkaLogReader
from stream_scrub.kafka.log_writer import KafkaLogWriter, TransactionExtras
from stream_scrub.lists.deltas import Delta
from stream_scrub.lists.log.encode import nbytes_of, records_of
from stream_scrub.lists.log.replay import RegisterView, Replay
from stream_scrub.lists.log.scan import replay_to_end
from stream_scrub.lists.log.start_point import begin
from stream_scrub.lists.log.wire import Cursor, DeltaSource, Seal
from stream_scrub.model import Deadline, RegisterKind, family
from stream_scrub.observability import metric_catalogue
from stream_scrub.observability.counters import PublisherCounters
from stream_scrub.publisher import mend_log
from stream_scrub.wiring import clients

_OPEN_S = 30.0
# A publisher of another register that dies in its transaction hides the log's end for this long: its timeout of ten
# seconds, and the ten seconds until a broker looks for such transactions.
_REACH_S = 25.0
_IDLE_S = 60.0


class PendingDelta(NamedTuple):
    """A delta to publish, with what it was made against."""

    base: Register
    delta: Delta
    effective_at: datetime
    source: DeltaSource
    known: RegisterView
    cursor: Cursor | None = None


@dataclass(slots=True)
class _Borrowed:
    writer: KafkaLogWriter
    used_at: float


class _Opening:
    """A writer that is being opened. Whoever gives it up closes it, at the latest when it is open."""

    def __init__(self, opened: Callable[[], KafkaLogWriter]) -> None:
        self._opened = opened
        self._writer: KafkaLogWriter | None = None
        self._error: Exception | None = None
        self._given_up = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="opening", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            writer = self._opened()
        except Exception as error:  # noqa: BLE001 - raised by `writer`
            self._error = error
            return
        with self._lock:
            self._writer = writer
            given_up = self._given_up
        if given_up:
            writer.close()

    @property
    def ended(self) -> bool:
        """Whether it is open, or never will be."""
        return not self._thread.is_alive()

    def writer(self) -> KafkaLogWriter:
        """The writer, once it has `ended`. Raises what opening it raised."""
        if self._error is not None:
            raise self._error
        assert self._writer is not None, "it is open, or there is an error"
        return self._writer

    def give_up(self) -> None:
        with self._lock:
            self._given_up = True
            writer = self._writer
        if writer is not None:
            writer.close()


class DeltaPublisher:
    """One thread. Every method may block for as long as a broker takes, `_REACH_S` at most, and raise Unavailable,
    Refused, Corrupt; `publish` raises Uncertain, Migrated and TakenOver as well, and then it must be closed and
    fenced again before anything else.
    """

    def __init__(
        self,
        settings: Settings,
        counters: PublisherCounters,
        log: FilteringBoundLogger,
        need_ours: Callable[[], None] = lambda: None,
    ) -> None:
        """`need_ours` is called when an own register's writer was replaced, and raises Migrated if somebody else had the
        register in between."""
        self._settings, self._need_ours = settings, need_ours
        self._counters = counters
        self._log = log
        self._reader: KafkaLogReader | None = None
        self._own: dict[str, KafkaLogWriter] = {}
        self._borrowed: dict[str, _Borrowed] = {}
        self._opening: dict[str, _Opening] = {}
        self._upto = -1
        self._publishing = ""
        self.replay = Replay()

    @property
    def registers(self) -> Mapping[str, Register]:
        """The registers as the log holds them, by name."""
        return self.replay.index.registers

    def fence(self, families: Sequence[str], also: Sequence[str]) -> None:
        """Open the writers of the daemon's own registers. From here on nobody else publishes these, and a transaction
        that an earlier life of this publisher left open is aborted."""
        deadline = Deadline.after(_OPEN_S)
        for each in families:
            self._own[each] = clients.taken_over(self._settings, each, self._log, also, deadline)
        if self._publishing not in {"", *families}:
            clients.taken_over(self._settings, self._publishing, self._log, (), deadline).close()
        self._publishing = ""
        self._own[families[0]].wait_for_others(deadline)

    def read_on(self) -> None:
        """Follow the log to its end: from its beginning the first time, later from the last offset that was read."""
        deadline = Deadline.after(_OPEN_S)
        if self._reader is None:
            reader = clients.log_reader(
                self._settings, clients.client_log(self._settings, self._log, "follower")
            )
            if self._taken < 0:
                self.replay = begin(reader, deadline, start=self._settings.lists.start, keep_ends=True)
            self._reader = reader
        if (
            self._taken >= 0
        ):  # the reader then asks for the end at once, and not after half a second's silence
            self._reader.seek(self._taken + 1)
        replay_to_end(self._reader, deadline, lambda _: self._counters.beat(), replay=self.replay)
        if (mark := self.replay.known("").log.mark) is not None:
            raise Refused(mark.why)

    @property
    def _taken(self) -> int:
        """The last offset of the log that was read; -1 before the first."""
        return self.replay.known("").upto

    def glance(self) -> None:
        """Take in what others have published meanwhile, without waiting."""
        self._take(0.0)

    def _take(self, wait_s: float) -> None:
        assert self._reader is not None, "read_on comes first"
        records, _ = self._reader.read(wait_s)
        for record in records:
            self.replay.take(record)

    def ready(self, name: str) -> bool:
        """Whether a delta may be made now against what `base` says of that register. It may not while the writer of
        another's register is being opened: then ask again later. For its own registers the answer is always yes.
        """
        mine = family(name)
        if mine not in self._own and mine not in self._borrowed and not self._borrow(mine):
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
            opening = _Opening(partial(clients.log_writer, self._settings, mine, self._log))
            self._opening[mine] = opening
        if not opening.ended:
            return False
        del self._opening[mine]
        self._borrowed[mine] = _Borrowed(opening.writer(), clock.elapsed())
        self.read_on()
        return True

    def base(self, name: str, kind: RegisterKind) -> Register:
        """The register as the log holds it; an empty one of that kind where it holds none."""
        held = self.registers.get(name)
        return held or Register.empty(name, kind, datetime.now(UTC))

    def publish(
        self, made: Sequence[PendingDelta], beside: TransactionExtras | None = None
    ) -> list[tuple[Seal, int]]:
        """Deltas of one register and its scoped ones, in one transaction with what is beside them; the seals, and the
        position after the last one.
        """
        mine = family(made[0].base.name) if made else next(iter(self._own))
        records, seals = [], []
        for each in made:
            some, seal = records_of(
                each.base,
                each.delta,
                each.effective_at,
                each.source,
                known=each.known,
                full_every=self._settings.lists.full_every,
                cursor=each.cursor,
                may_state=each is made[-1],
            )
            records += some
            seals.append(seal)
        if not self._writer(mine).takes(nbytes := nbytes_of(records)):
            self._reopen(mine, nbytes)
            self._need_same(made)
        for each in made:
            mend_log.tell_set_aside(self._log, each.base.name, each.known.unsealed)
        borrowed, writer = self._borrowed.get(mine), self._writer(mine)
        self._publishing = mine
        self._counters.beat()
        started = time.perf_counter()
        try:
            position = writer.publish(records) if beside is None else writer.publish(records, beside)
        except TakenOver as error:
            if borrowed is None:
                raise
            self._give_back(
                [mine]
            )  # an import of it began: it is the publisher now, and this one tries later
            self._publishing = ""
            raise RegisterBusy(str(error)) from error
        self._publishing = ""
        if made:
            labels = [metric_catalogue.register_label(each.base.name) for each in made]
            self._counters.published(labels, time.perf_counter() - started)
        if borrowed is not None:
            borrowed.used_at = clock.elapsed()
        self._upto = max(self._upto, position)
        if writer.is_spent:
            self._reopen(mine)
        return [(seal, position) for seal in seals]

    def _writer(self, mine: str) -> KafkaLogWriter:
        borrowed = self._borrowed.get(mine)
        return self._own[mine] if borrowed is None else borrowed.writer

    def _reopen(self, mine: str, nbytes: int = 0) -> None:
        """Replace the writer by one whose transactions may last as long as `nbytes` take. Between the two writers
        somebody else may publish, so the log is read again to its end."""
        self._writer(mine).close()
        also = [self._settings.topics.refused] if mine in self._own else []
        writer = clients.log_writer(self._settings, mine, self._log, also, nbytes)
        if mine in self._own:
            self._own[mine] = writer
            self._need_ours()
        else:
            self._borrowed[mine] = _Borrowed(writer, clock.elapsed())
        self.read_on()

    def _need_same(self, made: Sequence[PendingDelta]) -> None:
        """Raises Unavailable when a delta was made against an older state than the log holds now."""
        for each in made:
            held = self.registers.get(each.base.name)
            if (held.seq if held is not None else 0) != each.base.seq:
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
            opening.give_up()
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

"""The demo's threads: one sends, one is the worker, one reads what comes out and checks it; the caller's draws.

The worker shares the process, so the view can show its own counters. Four threads of one interpreter: each works in
short pieces, or the others would wait for it.
"""

import io
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import numpy as np
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import Unavailable
from stream_scrub.kafka.plain import PlainProducer, PlainReader
from stream_scrub.model import Deadline
from stream_scrub.run import wiring
from stream_scrub.run.counters import Counters
from stream_scrub.run.demo_check import Checker, Ledger
from stream_scrub.run.demo_view import Figures, Show
from stream_scrub.run.importing import Effect

_TICK_S = 0.01
_DRAW_S = 0.2
_JOIN_S = 20.0
_FLUSH_S = 10.0
_STALLED_S = 8.0  # nothing came out for so long, though something was sent: what is missing is lost
_GRACE_S = 0.3  # for what should not come: a second copy of the last ones


class LastLines(io.BytesIO):
    """A stream for logs that keeps the last lines only."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=20)

    def write(self, line: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]
        """Keep a line."""
        self.lines.extend(bytes(line).decode("utf-8", "replace").splitlines())
        return len(line)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long, how fast and on how many partitions prospects are sent."""

    seconds: float
    rate: int
    partitions: int


@dataclass(frozen=True, slots=True)
class Publication:
    """The delta, and when its import returned."""

    effect: Effect
    returned_at: float


class Play:
    """One performance. `run` is called once, from the main thread; after it, the attributes tell how it went."""

    def __init__(
        self,
        settings: Settings,
        pace: Pace,
        ledger: Ledger,
        checker: Checker,
        log: FilteringBoundLogger,
        said: LastLines,
    ) -> None:
        self.settings = settings
        self.pace = pace
        self.ledger = ledger
        self.checker = checker
        self.counters = Counters()
        self.said = said
        self.published: Publication | None = None
        self.sent_s = 0.0
        self.undelivered = 0
        self.stopped_early = False
        self._log = log
        self._sent_enough = threading.Event()
        self._stopping = threading.Event()
        self._ending = threading.Event()
        self._past: deque[tuple[float, int, Counter[int]]] = deque()

    def run(
        self,
        show: Show,
        registers: Sequence[Effect],
        publish: Callable[[], Effect],
        rng: np.random.Generator,
    ) -> None:
        """Send, scrub and check until all that was sent has come out, or nothing comes any more; midway, `publish`.

        Raises what a thread raised: Unavailable, Refused, Corrupt and their like.
        """
        threads: list[Future[None]] = []
        with ThreadPoolExecutor(4, "demo") as pool, self._interruptible():
            try:
                show.step("the worker joins its group")
                threads.append(pool.submit(self._work))
                self._wait_until_joined(threads[0])
                threads += [pool.submit(self._check), pool.submit(self._send, rng)]
                self._watch(show, registers, threads, lambda: pool.submit(self._publish, publish))
            finally:
                self._sent_enough.set()
                self._stopping.set()
                time.sleep(_GRACE_S)
                self._ending.set()
        for thread in threads:
            thread.result()
        self.checker.finish()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The first Ctrl-C ends the sending, the second everything."""

        def interrupted(_number: int, _frame: FrameType | None) -> None:
            if self.stopped_early:
                raise KeyboardInterrupt
            self.stopped_early = True
            self._sent_enough.set()

        before = signal.signal(signal.SIGINT, interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _work(self) -> None:
        """The worker, as `stream-scrub worker` runs it, but for the signals."""
        worker, follower = wiring.worker(self.settings, "demo", self.counters, self._log, None)
        follower.start()
        try:
            worker.run(self._stopping)
        finally:
            follower.stop()

    def _wait_until_joined(self, worker: Future[None]) -> None:
        """Prospects sent before would only wait, and tell nothing of the latency."""
        deadline = Deadline.after(_JOIN_S)
        while self.counters.assigned < self.pace.partitions:
            if worker.done():
                worker.result()
            if deadline.passed or worker.done():
                raise Unavailable(f"the worker did not get its partitions in time: {self._note()}")
            time.sleep(0.02)
        self.said.lines.clear()  # that it held until it knew the log is how it should start

    def _send(self, rng: np.random.Generator) -> None:
        """The lead producer: leads at random, each with the next id, at an even pace."""
        producer = PlainProducer(self.settings.kafka.bootstrap_servers, self.settings.topics.prospects)
        sent, leads = self.ledger.sent, self.ledger.leads
        started = time.monotonic()
        total = round(self.pace.seconds * self.pace.rate)
        while len(sent) < total and not self._sent_enough.wait(_TICK_S):
            elapsed = min(time.monotonic() - started, self.pace.seconds)
            due = min(int(elapsed * self.pace.rate) + 1, total) - len(sent)
            for place in rng.integers(len(leads), size=max(0, due)).tolist():
                number, lead = len(sent), leads[place]
                sent.append(place)
                producer.produce(lead.value(number), lead.key, lead.outgoing(number))
            producer.serve()
        self.sent_s = time.monotonic() - started
        self.undelivered = producer.flush(_FLUSH_S) + producer.failed

    def _check(self) -> None:
        """The dialler and the compliance officer in one: reads both output topics as they grow."""
        topics = self.settings.topics
        reader = PlainReader(self.settings.kafka.bootstrap_servers, (topics.allowed, topics.blocked))
        told = False
        try:
            while not self._ending.is_set():
                self.checker.take(reader.read(0.02))
                if self.published is not None and not told:
                    self.checker.published(self.published.effect.position or -1)
                    told = True
        finally:
            reader.close()

    def _publish(self, publish: Callable[[], Effect]) -> None:
        effect = publish()
        self.published = Publication(effect, time.time())

    def _watch(
        self,
        show: Show,
        registers: Sequence[Effect],
        threads: list[Future[None]],
        publish: Callable[[], Future[None]],
    ) -> None:
        """Draw until everything is out."""
        started = moved_at = time.monotonic()
        _, _, sender = threads
        publication: Future[None] | None = None
        taken = 0
        while not any(thread.done() and thread.exception() for thread in threads):
            now = time.monotonic()
            if publication is None and now - started >= self.pace.seconds / 2 and not self.stopped_early:
                publication = publish()
                threads.append(publication)
            show.update(self._figures(now - started, registers))
            if self.checker.taken > taken:
                moved_at, taken = now, self.checker.taken
            is_out = taken >= len(self.ledger.sent) and (publication is None or publication.done())
            if sender.done() and (is_out or now - moved_at > _STALLED_S):
                return
            time.sleep(_DRAW_S)

    def _figures(self, elapsed_s: float, registers: Sequence[Effect]) -> Figures:
        now, taken, latencies = time.monotonic(), self.checker.taken, self.checker.latencies.copy()
        self._past.append((now, taken, latencies))
        while self._past[0][0] < now - 1.0 - _DRAW_S:
            self._past.popleft()
        then, before, earlier = self._past[0]
        fresh = latencies - earlier
        added = self.published.effect.count if self.published is not None else None
        return Figures(
            elapsed_s=elapsed_s,
            of_s=self.pace.seconds,
            produced=len(self.ledger.sent),
            scrubbed=taken,
            per_s=round((taken - before) / (now - then)) if now > then else 0,
            reasons=self.checker.reasons.copy(),
            position=self.counters.position,
            registers=tuple(
                (r.register, r.kind, added if added and r.register == "internal" else r.count)
                for r in registers
            ),
            p50_ms=percentile(fresh, 0.5),
            p99_ms=percentile(fresh, 0.99),
            faults=self.checker.faults.total(),
            delta=self.delta_line(),
            note=self._note(),
        )

    def delta_line(self) -> str:
        """What is known about the delta so far."""
        if self.published is None:
            return ""
        effect = self.published.effect
        line = f"{effect.added:,} opt-outs imported in {effect.took_s:.2f} s, position {effect.position}"
        first, blocked = self.delays()
        line += "" if first is None else f"; first verdict by it {first:.2f} s later"
        return line if blocked is None else f"{line}, enforced {blocked:.2f} s after publication"

    def delays(self) -> tuple[float | None, float | None]:
        """Seconds from the import's return until a verdict by the new position could be read, and until one that
        blocks whom the position before allowed."""
        if self.published is None:
            return None, None
        moments = (self.checker.first_stamp_at, self.checker.first_block_at)
        first, blocked = (None if at is None else max(0.0, at - self.published.returned_at) for at in moments)
        return first, blocked

    def _note(self) -> str:
        return self.said.lines[-1] if self.said.lines else ""


def percentile(latencies: Counter[int], share: float) -> float:
    """The latency in milliseconds that this share of them does not exceed; 0 without any."""
    wanted = latencies.total() * share
    reached = 0
    for milliseconds in sorted(latencies):
        reached += latencies[milliseconds]
        if reached >= wanted:
            return float(milliseconds)
    return 0.0

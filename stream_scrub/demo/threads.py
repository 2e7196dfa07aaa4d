"""The demo's threads: one sends, one reads and checks what comes out, one imports midway; the caller's thread draws.

The worker has a process of its own and reports its state. The four threads share one interpreter: each works in short
pieces, or the others would wait for it.
"""

import os
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

from stream_scrub.config import Settings
from stream_scrub.demo import load as demo_load
from stream_scrub.demo.oracle import OutputCheck, SentLeads
from stream_scrub.demo.view import LiveFigures, Show
from stream_scrub.demo.worker_process import LogLines, WorkerProcess, WorkerState
from stream_scrub.errors import Unavailable
from stream_scrub.kafka.embedded.clients import EmbeddedProducer, EmbeddedReader
from stream_scrub.model import Deadline
from stream_scrub.publisher.import_list import ImportEffect

_TICK_S = 0.01
_DRAW_S = 0.2
_READY_S = 60.0
_FLUSH_S = 30.0
_STALLED_S = (
    30.0  # nothing came out for this long although something was sent: what is missing counts as lost
)
# A slow import might end after the last prospect: so more is sent, a tenth as fast, until the delta was seen to be
# enforced.
_MORE_S, _MORE_SHARE = 30.0, 0.1
# No more prospects than this wait to come out. A machine that cannot keep the rate would show the length of its
# queue, not the time of a verdict; so fewer are sent.
_AHEAD_S, _AHEAD_MIN = 0.25, 200
_LAST_S = 1.0  # for what is due in the last moment
_GRACE_S = 0.3  # for what must not come: a second copy of the last prospects


@dataclass(frozen=True, slots=True)
class SendPlan:
    """How long, how fast and on how many partitions prospects are sent."""

    seconds: float
    rate: int
    partitions: int


@dataclass(frozen=True, slots=True)
class Publication:
    """The delta, when its import returned, and how the machine was then."""

    effect: ImportEffect
    returned_at: float
    load: demo_load.Moment | None = None


class Play:
    """One performance. `run` is called once, from the main thread; after it, the attributes tell how it went."""

    def __init__(
        self,
        settings: Settings,
        pace: SendPlan,
        sent_leads: SentLeads,
        checker: OutputCheck,
        worker: WorkerProcess,
        said: LogLines,
    ) -> None:
        self.settings = settings
        self.pace = pace
        self.sent_leads = sent_leads
        self.checker = checker
        self.said = said
        self.worker_state = WorkerState()
        self.published: Publication | None = None
        self.sent_s = 0.0
        self.undelivered = 0
        self.stopped_early = False
        self.load: demo_load.Load | None = None
        self._worker = worker
        self._sent_enough = threading.Event()
        self._seen = threading.Event()
        self._ending = threading.Event()
        self._past: deque[tuple[float, int, Counter[int]]] = deque()

    def run(
        self,
        show: Show,
        registers: Sequence[ImportEffect],
        publish: Callable[[], ImportEffect],
        rng: np.random.Generator,
    ) -> None:
        """Send, scrub and check until all that was sent has come out, or nothing comes any more; midway, `publish`.

        Raises what a thread raised: Unavailable, Refused, Corrupt and their like.
        """
        threads: list[Future[None]] = []
        with ThreadPoolExecutor(3, "demo") as pool, self._interruptible():
            try:
                show.step("the worker joins its group and reads the lists")
                self._wait_until_ready(max(each.position or 0 for each in registers))
                threads += [pool.submit(self._check), pool.submit(self._send, rng)]
                self._watch(show, registers, threads, lambda: pool.submit(self._publish, publish))
            finally:
                self._sent_enough.set()
                time.sleep(_GRACE_S)
                self._ending.set()
        self._worker.stop()
        self.worker_state = self._worker.state
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

    def _wait_until_ready(self, position: int) -> None:
        """Wait until the worker has its partitions, and an index of that position.

        Prospects that are sent before would wait, and say nothing about latency; or they would be judged by the lists of
        a moment ago, as `rules.index_lag_max_s` lets a worker do, and not by those that the checker knows."""
        deadline = Deadline.after(_READY_S)
        while (state := self._worker.state).assigned < self.pace.partitions or state.position < position:
            self._worker.need()
            if deadline.passed:
                missing = "partitions" if state.assigned < self.pace.partitions else "lists"
                raise Unavailable(f"the worker did not get its {missing} in time: {self._note()}")
            time.sleep(0.02)
        self.said.forget()  # it is right that the worker held until it knew the log

    def _send(self, rng: np.random.Generator) -> None:
        """The lead producer: sends random leads, each with the next id, at an even rate, as long as they come out."""
        (topic,) = self.settings.topics.inputs.names
        producer = EmbeddedProducer(self.settings.kafka.bootstrap_servers, topic)
        sent, leads = self.sent_leads.sent, self.sent_leads.leads
        started = time.monotonic()
        while not self._sent_enough.wait(_TICK_S):
            due = self._due(time.monotonic() - started)
            if due is None:
                break
            for place in rng.integers(len(leads), size=max(0, due - len(sent))).tolist():
                number, lead = len(sent), leads[place]
                sent.append(place)
                producer.produce(lead.value(number), lead.key, lead.outgoing(number))
            producer.serve()
        self.sent_s = time.monotonic() - started
        self.undelivered = producer.flush(_FLUSH_S) + producer.failed

    def _due(self, elapsed_s: float) -> int | None:
        """How many prospects should be sent by now; None when there are no more to be sent."""
        pace, sent = self.pace, len(self.sent_leads.sent)
        total = round(pace.seconds * pace.rate)
        more_s = elapsed_s - pace.seconds
        if more_s > _MORE_S or (self._seen.is_set() and (more_s > _LAST_S or sent >= total)):
            return None
        due = min(int(elapsed_s * pace.rate) + 1, total)
        if more_s > _LAST_S:
            due = total + int(more_s * pace.rate * _MORE_SHARE)
        return min(due, self.checker.taken + max(_AHEAD_MIN, int(pace.rate * _AHEAD_S)))

    def _check(self) -> None:
        """The dialler and the compliance officer in one: reads both output topics as they grow."""
        topics = self.settings.topics
        reader = EmbeddedReader(self.settings.kafka.bootstrap_servers, (topics.allowed, topics.blocked))
        worker_state = False
        try:
            while not self._ending.is_set():
                self.checker.take(reader.read(0.02))
                if self.published is not None and not worker_state:
                    self.checker.published(self.published.effect.position or -1)
                    worker_state = True
                if not self._seen.is_set() and None not in self.delays():
                    before = None if self.published is None else self.published.load
                    self.load = demo_load.between(before, self._look())
                    self._seen.set()
        finally:
            reader.close()

    def _publish(self, publish: Callable[[], ImportEffect]) -> None:
        effect = publish()
        self.published = Publication(effect, time.time(), self._look())

    def _look(self) -> demo_load.Moment | None:
        return demo_load.look((os.getpid(), self._worker.pid))

    def _watch(
        self,
        show: Show,
        registers: Sequence[ImportEffect],
        threads: list[Future[None]],
        publish: Callable[[], Future[None]],
    ) -> None:
        """Draw until everything is out."""
        started = moved_at = time.monotonic()
        _, sender = threads
        publication: Future[None] | None = None
        taken = 0
        while not any(thread.done() and thread.exception() for thread in threads):
            self._worker.need()
            self.worker_state = self._worker.state
            now = time.monotonic()
            if publication is None and now - started >= self.pace.seconds / 2 and not self.stopped_early:
                publication = publish()
                threads.append(publication)
            if self.checker.taken > taken:
                moved_at, taken = now, self.checker.taken
            is_out = taken >= len(self.sent_leads.sent) and (publication is None or publication.done())
            is_over = sender.done() and (is_out or now - moved_at > _STALLED_S)
            show.update(self._figures(now - started, registers))  # at the very end with all that is known
            if is_over:
                return
            time.sleep(_DRAW_S)

    def _figures(self, elapsed_s: float, registers: Sequence[ImportEffect]) -> LiveFigures:
        now, taken, latencies = time.monotonic(), self.checker.taken, self.checker.latencies.copy()
        self._past.append((now, taken, latencies))
        while self._past[0][0] < now - 1.0 - _DRAW_S:
            self._past.popleft()
        then, before, earlier = self._past[0]
        fresh = latencies - earlier
        added = self.published.effect.count if self.published is not None else None
        return LiveFigures(
            elapsed_s=elapsed_s,
            of_s=self.pace.seconds,
            produced=len(self.sent_leads.sent),
            scrubbed=taken,
            per_s=round((taken - before) / (now - then)) if now > then else 0,
            reasons=self.checker.reasons.copy(),
            position=self.worker_state.position,
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
        return (self.said.last() or [""])[-1]


def percentile(latencies: Counter[int], share: float) -> float:
    """The latency in milliseconds that this share of them does not exceed; 0 without any."""
    wanted = latencies.total() * share
    reached = 0
    for milliseconds in sorted(latencies):
        reached += latencies[milliseconds]
        if reached >= wanted:
            return float(milliseconds)
    return 0.0

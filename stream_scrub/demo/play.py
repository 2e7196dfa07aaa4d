"""The demo's performance: one thread sends, one imports midway; the caller's reads and checks what comes out, and draws.

The worker has a process of its own and reports its state. The three threads share one interpreter: each works in short
pieces, or the others would wait for it.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stream_scrub.config import Settings
from stream_scrub.demo.daemons import DemoWorkerState, LogLines, WorkerProcess
from stream_scrub.demo.oracle import OutputCheck
from stream_scrub.errors import Unavailable
from stream_scrub.imports.import_list import ImportEffect
from stream_scrub.kafka.embedded import EmbeddedProducer, EmbeddedReader
from stream_scrub.model import Deadline

_TICK_S, _READ_S, _DRAW_S = 0.01, 0.02, 0.2
_READY_S, _FLUSH_S = 60.0, 30.0
_STALLED_S = 30.0  # if nothing comes out for this long, missing leads count as lost
# A slow import might end after the last prospect. So more is sent, a tenth as fast, until the delta is enforced.
_MORE_S, _MORE_SHARE = 30.0, 0.1
# No more prospects than this wait to come out. A machine that cannot keep the rate would show the length of its
# queue, not the time of a verdict; so fewer are sent.
_AHEAD_S, _AHEAD_MIN = 0.25, 200
_LAST_S = 1.0  # for the leads due in the last moment
_GRACE_S = 0.3  # for what must not come: a second copy of the last prospects


class SendPlan(NamedTuple):
    """How long, how fast and on how many partitions prospects are sent."""

    seconds: float
    rate: int
    partitions: int


class Publication(NamedTuple):
    """The delta, when its import returned, and how long our threads had waited for a processor by then."""

    effect: ImportEffect
    returned_at: float
    waited_s: float = 0.0


@dataclass(eq=False)
class Play:
    """One performance. `run` is called once, from the main thread; the attributes are its progress."""

    settings: Settings
    plan: SendPlan
    checker: OutputCheck
    worker: WorkerProcess
    log_lines: LogLines
    imports: list[ImportEffect]
    worker_state: DemoWorkerState = field(default_factory=DemoWorkerState)
    published: Publication | None = None
    elapsed_s: float = 0.0
    sent_s: float = 0.0
    undelivered: int = 0
    waited_s: float = 0.0  # how long threads waited for a processor until the delta was enforced, added up
    _sent_enough: threading.Event = field(default_factory=threading.Event)

    def run(
        self, draw: Callable[["Play"], None], publish: Callable[[], ImportEffect], rng: np.random.Generator
    ) -> None:
        """Send, scrub and check until all that was sent has come out, or nothing comes any more; midway, `publish`.

        Raises what a thread raised: Unavailable, Refused, Corrupt and their like.
        """
        kafka, topics = self.settings.kafka, self.settings.topics
        reader = EmbeddedReader(kafka.bootstrap_servers, (topics.allowed, topics.blocked, topics.recalled))
        with closing(reader), ThreadPoolExecutor(2, "demo") as pool:
            try:
                self._wait_until_ready(max(each.position or 0 for each in self.imports))
                sender = pool.submit(self._send, rng)
                self._check(reader, draw, sender, lambda: pool.submit(self._publish, publish))
            finally:
                self._sent_enough.set()
            self.checker.take(reader.read(_GRACE_S))
        self.worker.stop()
        self.worker_state = self.worker.state
        self.checker.finish(self.published.effect.position if self.published is not None else None)

    def _wait_until_ready(self, position: int) -> None:
        """Wait until the worker has its partitions, and an index of that position.

        Prospects that are sent earlier would wait, and say nothing about latency. Or the worker would judge them by
        an index of a moment ago, as `rules.index_lag_max_s` lets it, and not by the lists that the checker knows.
        """
        deadline = Deadline.after(_READY_S)
        while (state := self.worker.state).assigned < self.plan.partitions or state.position < position:
            self.worker.need()
            if deadline.passed:
                missing = "partitions" if state.assigned < self.plan.partitions else "lists"
                raise Unavailable(f"the worker did not get its {missing} in time: {self.note}")
            time.sleep(_READ_S)
        self.log_lines.forget()  # it is right that the worker held until it knew the log

    def _send(self, rng: np.random.Generator) -> None:
        """The lead producer: sends random leads, each with the next id, at an even rate, as long as they come out."""
        (topic,) = self.settings.topics.inputs.names
        producer = EmbeddedProducer(self.settings.kafka.bootstrap_servers, topic)
        sent, leads = self.checker.sent, self.checker.leads
        started = time.monotonic()
        while not self._sent_enough.wait(_TICK_S):
            due = self._due(time.monotonic() - started)
            if due is None:
                break
            for lead_at in rng.integers(len(leads), size=max(0, due - len(sent))).tolist():
                number, lead = len(sent), leads[lead_at]
                sent.append(lead_at)
                producer.produce(lead.value(number), lead.key, lead.headers)
            producer.serve()
        self.sent_s = time.monotonic() - started
        self.undelivered = producer.flush(_FLUSH_S) + producer.failed

    def _due(self, elapsed_s: float) -> int | None:
        """How many prospects should be sent by now; None when there are no more to be sent."""
        plan, sent = self.plan, len(self.checker.sent)
        total, more_s = round(plan.seconds * plan.rate), elapsed_s - plan.seconds
        if more_s > _MORE_S or (self.enforced and (more_s > _LAST_S or sent >= total)):
            return None
        due = min(int(elapsed_s * plan.rate) + 1, total)
        if more_s > _LAST_S:
            due = total + int(more_s * plan.rate * _MORE_SHARE)
        return min(due, self.checker.taken + max(_AHEAD_MIN, int(plan.rate * _AHEAD_S)))

    def _publish(self, publish: Callable[[], ImportEffect]) -> None:
        effect = publish()
        self.published = Publication(effect, time.time(), _waited_s())

    def _check(
        self,
        reader: EmbeddedReader,
        draw: Callable[["Play"], None],
        sender: Future[None],
        publish: Callable[[], Future[None]],
    ) -> None:
        """The dialler and the compliance officer in one: reads and checks both outputs until everything is out."""
        started = moved_at = time.monotonic()
        drawn_at = 0.0
        threads = [sender]
        while True:
            self.worker.need()
            before, was_enforced = self._read, self.enforced
            self.checker.take(reader.read(_READ_S))
            if self.published is not None and self.enforced and not was_enforced:
                self.waited_s = _waited_s() - self.published.waited_s
            now = time.monotonic()
            self.elapsed_s = now - started
            if self._read > before:
                moved_at = now
            if len(threads) == 1 and self.elapsed_s >= self.plan.seconds / 2:
                threads.append(publish())
            ended = [thread for thread in threads if thread.done()]
            for thread in ended:
                thread.result()  # raises the thread's exception
            is_out = self.checker.taken >= len(self.checker.sent) and ended == threads
            is_out = is_out and (self.published is None or not self.checker.handed_out.faults())
            is_over = is_out or (sender in ended and now - moved_at > _STALLED_S)
            if is_over or now - drawn_at >= _DRAW_S:
                drawn_at = now
                self.worker_state = self.worker.state
                draw(self)
            if is_over:
                return

    @property
    def _read(self) -> int:
        return self.checker.taken + self.checker.handed_out.recalls

    @property
    def registers(self) -> dict[str, int]:
        """How many numbers each register holds."""
        delta = [self.published.effect] if self.published is not None else []
        return {each.register: each.count for each in [*self.imports, *delta]}

    @property
    def enforced(self) -> bool:
        """Whether a verdict with the delta has come out, and one that blocks a number of the delta."""
        return self.published is not None and None not in self.delays()

    @property
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
        blocks what the position before allowed."""
        if self.published is None:
            return None, None
        moments = (self.checker.first_stamp_at, self.checker.first_block_at)
        first, blocked = (None if at is None else max(0.0, at - self.published.returned_at) for at in moments)
        return first, blocked

    @property
    def per_s(self) -> int:
        """Prospects that came out in a second."""
        return round(self.checker.taken / self.elapsed_s) if self.elapsed_s else 0

    def latency_ms(self, share: float) -> int:
        """The time from sent to read that this share of the prospects does not exceed; 0 without any."""
        latencies = self.checker.latencies
        remaining = share * latencies.total()
        for latency in sorted(latencies):
            remaining -= latencies[latency]
            if remaining <= 0:
                return latency
        return 0

    @property
    def note(self) -> str:
        """The worker's last log line."""
        return (self.log_lines.last() or [""])[-1]


def _waited_s() -> float:
    """How long the threads of the demo and of its worker were ready to run and waited for a processor; 0 where the
    kernel does not say. A thread that waits for the interpreter's lock is not ready to run, so the demo's own slowness
    does not count."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    waited_ns = 0
    for thread in (path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat")):
        with suppress(OSError):  # the thread has just ended
            waited_ns += int(thread.read_text().split()[1])
    return waited_ns / 1e9

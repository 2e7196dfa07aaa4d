"""The main job: poll, scrub, emit, commit, again and again, and hold when no verdict would be safe.

One thread runs the loop; the follower has its own and hands over by one reference. A transaction is one batch, and a
batch is judged by one index. Nothing is in flight between two polls, so a partition that is taken away during a poll
has no open transaction: its records are dropped and left to their new owner.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from structlog.typing import FilteringBoundLogger

from stream_scrub.errors import Migrated, ScrubError, StaleIndex, TooLarge, Unavailable, Uncertain
from stream_scrub.index import Index
from stream_scrub.kafka.session import Session
from stream_scrub.kafka.source import Message, Source
from stream_scrub.lists import archive
from stream_scrub.lists.follow import Follower
from stream_scrub.model import Deadline, Verdict
from stream_scrub.run.counters import Counters
from stream_scrub.scrub.batch import Batch, Scrubber

_IDLE_S = 0.1
_REGISTER_WAITS = 20
# Both under transaction.timeout.ms: after that the broker has ended the transaction by itself.
_COMMIT_S = 10.0
_RECOVER_S = 10.0
_OPEN_S = 5.0
_RETRY_S = 1.0
_SUMMARY_EVERY_S = 60.0
# What a record weighs besides key, value and headers: lengths, timestamp and offset deltas, attributes (KIP-98).
_RECORD_OVERHEAD = 96


@dataclass(frozen=True, slots=True)
class Pace:
    """How much and how long a batch may be, and how old an index."""

    batch_records: int = 10_000
    batch_s: float = 0.05
    index_lag_max_s: float = 30.0


class Worker:
    """One worker. `run` returns when `stopping` is set; it gives up by itself for nothing.

    `record_limit` is the largest record that the output topics take, in bytes; None when it is not known.
    """

    def __init__(
        self,
        source: Source,
        session: Session,
        follower: Follower,
        scrubber: Scrubber,
        counters: Counters,
        log: FilteringBoundLogger,
        *,
        pace: Pace,
        record_limit: int | None = None,
    ) -> None:
        self._source = source
        self._session = session
        self._follower = follower
        self._scrubber = scrubber
        self._counters = counters
        self._log = log
        self._pace = pace
        self._limit = record_limit
        self._largest = 0
        self._trouble: ScrubError | None = None
        self._failures = 0
        self._held_since = 0.0
        self._last_told = ""
        self._summed_at = time.monotonic()
        self._summed = 0

    def run(self, stopping: threading.Event) -> None:
        """Work until told to stop. Then: raises Corrupt if the log was found corrupt, so that the exit code says so."""
        self._wait_for_index(stopping)
        if not stopping.is_set():
            self._look_for_rules()
        self._open_session(stopping)
        if not stopping.is_set():
            self._source.subscribe()
        while not stopping.is_set():
            self._counters.heartbeat = time.monotonic()
            try:
                if self._trouble is not None:
                    self._recover(stopping)
                else:
                    self._step()
            except StaleIndex as stale:
                self._source.drop()
                self._hold(stale)
                self._wait_for_news(stale, stopping)
            except ScrubError as error:
                self._fail(error)
            self._summarise()
        self._session.close(Deadline.after(5.0))
        self._source.close()
        self._log.info("stopped", prospects=self._counters.total, **self._by_verdict())
        if self._follower.corrupt is not None:
            raise self._follower.corrupt

    def _wait_for_index(self, stopping: threading.Event) -> None:
        """A partition taken before there is an index to judge by would only lie idle."""
        while not stopping.is_set():
            self._counters.heartbeat = time.monotonic()
            try:
                self._follower.usable(self._pace.index_lag_max_s)
            except StaleIndex as stale:
                self._hold(stale)
                stopping.wait(_IDLE_S)
            else:
                return

    def _look_for_rules(self) -> None:
        """A worker may only read the log: it says what the stamps that it gives could not be replayed without."""
        if lacking := archive.lacking(self._follower.rules, self._scrubber.rulebook):
            self._log.warning(
                "texts of rules in use are not on the log", rules=sorted(lacking), do=archive.HOW
            )

    def _open_session(self, stopping: threading.Event) -> None:
        """Take over the transactional id before any partition. Raises Refused."""
        while not stopping.is_set():
            try:
                self._session.open(Deadline.after(_OPEN_S))
            except (Unavailable, Uncertain) as error:
                self._log.warning("opening the session, trying again", why=str(error))
                stopping.wait(_RETRY_S)
            else:
                return

    def _wait_for_news(self, stale: StaleIndex, stopping: threading.Event) -> None:
        """Stay in the group. Prospects that wait for a register are read again only when the index is another, or
        after a while: days pass too."""
        position = self._follower.index.position
        for _ in range(_REGISTER_WAITS if stale.cause == "register" else 1):
            self._source.idle(_IDLE_S)
            self._counters.heartbeat = time.monotonic()
            if stopping.is_set() or self._follower.index.position != position:
                return

    def _step(self) -> None:
        """One batch, from poll to commit."""
        self._usable()
        messages, partitions = self._source.poll(self._pace.batch_records, self._pace.batch_s)
        if not messages:
            # A hold for a register ends when a batch needs no stale one any more, not when there is no batch.
            if self._counters.holding != "register":
                self._resumed()
            return
        started = time.perf_counter()
        index = self._usable()
        batch = self._scrub(messages, index)
        self._resumed()
        self._session.emit(messages, partitions, batch.allowed, batch.values, batch.stamps)
        emitted = time.perf_counter()
        offsets = self._source.offsets(partitions, messages, index.position)
        self._session.commit(offsets, self._source.metadata, Deadline.after(_COMMIT_S))
        self._failures = 0
        self._counters.sessions = self._session.reopened
        self._counters.emitted(batch.tally, emitted - started, time.perf_counter() - emitted)

    def _usable(self) -> Index:
        """The index to judge by. Never an older one than what was judged before in the partitions that we hold."""
        index = self._follower.usable(self._pace.index_lag_max_s)
        if index.position < self._source.floor:
            raise StaleIndex(
                "log-behind",
                f"another worker has judged by position {self._source.floor}, this one knows {index.position}",
            )
        return index

    def _scrub(self, messages: list[Message], index: Index) -> Batch:
        values = [message.value() for message in messages]

        def overhead(place: int) -> int:
            message = messages[place]
            headers: Sequence[Any] = message.headers() or ()  # type: ignore[assignment]  # pairs on receipt
            return (
                _RECORD_OVERHEAD
                + len(message.key() or b"")
                + sum(len(k) + len(v or b"") + 8 for k, v in headers)
            )

        # Once a batch was refused every record is measured: it may have been a small one with large headers.
        measured = {"floor": 0} if self._failures else {}
        batch = self._scrubber.scrub(
            values, index, datetime.now(UTC), limit=self._limit, overhead=overhead, **measured
        )
        self._largest = 0
        if self._failures:  # only then is it worth knowing, should a record prove too large again
            weights = zip(batch.values, batch.stamps, strict=True)
            self._largest = max(
                len(v or b"") + len(s or b"") + overhead(i) for i, (v, s) in enumerate(weights)
            )
        return batch

    def _fail(self, error: ScrubError) -> None:
        """Nothing of the batch was or will be emitted (or the broker knows): remember, and recover next."""
        self._source.drop()
        self._failures += 1
        if isinstance(error, TooLarge):
            self._lower_limit()
        self._counters.aborts[type(error).__name__] += 1
        self._trouble = error
        if isinstance(error, Migrated):
            self._log.info("batch given up", why=str(error))
        elif str(error) != self._last_told or self._failures == 1:
            self._log.warning("batch given up, trying again", why=str(error), failures=self._failures)
        self._last_told = str(error)

    def _lower_limit(self) -> None:
        """The largest record of the refused batch is too large for its topic; next time it goes without its stamp."""
        if self._largest:
            self._limit = min(self._limit or self._largest, self._largest) - 1
            self._log.error(
                "a prospect is too large for its topic with its stamp: it will come out blocked, unstamped; "
                "raise max.message.bytes (see `stream-scrub topics`)",
                record_limit=self._limit,
            )

    def _recover(self, stopping: threading.Event) -> None:
        """Abort or re-create the producer; while the broker cannot be asked, stay and try again."""
        assert self._trouble is not None, "recovering from something"
        if self._failures > 1:
            self._source.idle(min(_RETRY_S, 0.1 * self._failures))
        if stopping.is_set():
            return
        reopen = not isinstance(self._trouble, Migrated) or self._failures > 2
        self._session.recover(reopen=reopen, deadline=Deadline.after(_RECOVER_S))
        self._trouble = None

    def _hold(self, stale: StaleIndex) -> None:
        if self._counters.holding != stale.cause:
            self._end_hold()
            self._counters.holding = stale.cause
            self._held_since = time.monotonic()
            level = self._log.error if self._follower.corrupt is not None else self._log.warning
            if self._follower.lag_s is None and not self._follower.trouble:
                level = self._log.info  # every start begins so
            level("holding: nothing is emitted", cause=stale.cause, why=str(stale))

    def _resumed(self) -> None:
        if self._counters.holding:
            held_s = self._end_hold()
            self._log.info("hold ended", held_s=round(held_s, 1), index=self._follower.index.position)

    def _end_hold(self) -> float:
        held_s = time.monotonic() - self._held_since
        if self._counters.holding:
            self._counters.held_s[self._counters.holding] += int(held_s)
        self._counters.holding = ""
        return held_s

    def _summarise(self) -> None:
        now = time.monotonic()
        if now - self._summed_at < _SUMMARY_EVERY_S:
            return
        since, self._summed = self._counters.total - self._summed, self._counters.total
        if since:
            self._log.info(
                "scrubbed",
                prospects=since,
                per_s=round(since / (now - self._summed_at)),
                index=self._counters.position,
                **self._by_verdict(),
            )
        self._summed_at = now

    def _by_verdict(self) -> Counter[str]:
        return Counter({str(verdict): self._counters.of(verdict) for verdict in Verdict})

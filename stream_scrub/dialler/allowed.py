"""`Allowed`: the leads that may be called now, from the allowed topics and `prospects.recalled`."""

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self

from stream_scrub import clock
from stream_scrub.call import VOICE
from stream_scrub.config import load
from stream_scrub.dialler import recalls
from stream_scrub.dialler.leads import Lead, LeadQueue, MayDial, TakenBack, lead_of
from stream_scrub.dialler.recalls import ProofOfLife, Recalls
from stream_scrub.errors import ConfigError, Migrated, ScrubError, StaleIndex, TakenOver, Unavailable
from stream_scrub.kafka import clients
from stream_scrub.kafka.headers import renews
from stream_scrub.kafka.polled_batch import NOTHING, PolledBatch
from stream_scrub.model import BeginAt, Logger
from stream_scrub.ops import logs
from stream_scrub.ops.log_lines import RecurringProblem
from stream_scrub.recall_notice import WRITTEN_BEFORE
from stream_scrub.scrub import scrubbing
from stream_scrub.stamp import header_in, stamp_on

SEEN_S = 1.0  # a recall that was committed longer ago is known before a lead is handed out
OUT_MAX = 100_000  # handed out and not acknowledged; as many may be postponed
_SUSPENDED_MAX, _READ_MAX = 10_000, 2_000
_LOOK_EVERY_S = 0.05  # whether the partitions of leads that wait are still ours
_SWEEP_EVERY_S = 60.0
_RECORDS, _WAIT_S, _AGAIN_S = 500, 0.1, 0.2


class Allowed:
    """An endless iterator over the leads that one member of `group` may call now. Each is handed out at least once: see
    `ack`. Iterate and close in one thread; any thread may call the other methods.

    `settings` and `config`: as for `Checker`. Leads by another `channel`, past their `until` or with a verdict older than
    `max_age` are skipped. Nothing is handed out unless `prospects.recalled` was read to its end in the last second
    (`SEEN_S`), `stream-scrub recall` has shown there in the last `recall.lag_max_s` that it works, and no accepted request has waited
    for the publisher longer than `rules.request_lag_max_s`. With `recall="none"`
    no recall is waited for. Partitions with leads and without a committed offset of the group are not read, unless `start` says
    where: "beginning" or "end". Problems are logged to the logger `stream_scrub`.

    Raises ConfigError; iterating raises Refused, Corrupt, TakenOver (another one of the same `group.instance.id`).
    """

    def __init__(
        self,
        group: str,
        config: str | Path | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        channel: str = VOICE,
        max_age: timedelta = timedelta(days=30),
        recall: Literal["live", "none"] = "live",
        start: BeginAt | None = None,
    ) -> None:
        file = None if config is None else Path(config)
        loaded = load(flags=settings, config_file=file, extra_checks=[clients.refused_properties])
        if max_age > timedelta(loaded.recall.keep_days):
            raise ConfigError(
                [
                    f"max_age: at most recall.keep_days, {loaded.recall.keep_days} days: later, recalls are gone"
                ]
            )
        if recall not in ("live", "none"):
            raise ConfigError([f'recall: "live", or "none" if no `stream-scrub recall` runs, not {recall!r}'])
        if start not in ("beginning", "end", None):
            raise ConfigError([f'start: "beginning" or "end", not {start!r}'])
        if not group:
            raise ConfigError(["group: name the group whose members share the leads, as in dialler-7"])
        if group in (loaded.worker.group_id, clients.side_group(loaded, "recall")):
            raise ConfigError([f"group: {group} belongs to stream-scrub's own processes: choose another"])
        book = scrubbing.law(loaded)
        log = logs.of_library()
        # An older recall takes back only verdicts that are too old.
        since = datetime.now(UTC) - max_age - WRITTEN_BEFORE
        self._leads = LeadQueue(Recalls(book, since=since), book, channel, max_age)
        self._back: deque[TakenBack] = deque()
        self._changed = threading.Condition()
        self._seen_at = self._proven_at = float("-inf")
        self._proof = ProofOfLife()
        # At a start no proof has come yet.
        self._start_s = loaded.recall.lag_max_s
        # A dialler without a recall waits for no proof.
        self._silent_max_s = loaded.recall.lag_max_s if recall == "live" else float("inf")
        self._failure: ScrubError | None = None
        self._closing = threading.Event()
        self._is_closed = False
        # Held while leads are asked for, so that `close` waits. A signal's handler may call `close` in the same thread.
        self._polling = threading.RLock()
        self._problem = RecurringProblem(log, "leads cannot be read, trying again", "leads are read again")
        self._look, self._sweep = clock.Throttle(_LOOK_EVERY_S), clock.Throttle(_SWEEP_EVERY_S)
        self._brokers = clients.Brokers(loaded, log)
        self._reader = self._brokers.allowed_reader(group, start)
        self._recalls = self._brokers.recalls_reader(group, since)
        # A dialler may not read the log.
        self._requests = self._brokers.waiting_requests(reads_log=False)
        if self._requests is not None:
            self._requests.__enter__()
        self._follower = threading.Thread(target=self._follow, args=(log,), daemon=True)
        self._follower.start()

    def _follow(self, log: Logger) -> None:
        problem = RecurringProblem(
            log, "recalls cannot be read, handing out nothing", "recalls are read again"
        )
        uncommitted = RecurringProblem(
            log, "acknowledgements cannot be committed, trying again", "acknowledgements are committed again"
        )
        unsafe = RecurringProblem(log, "holding: nothing is handed out", "hold ended")
        unplaced = RecurringProblem(log, "holding: partitions are not read", "all partitions are read")
        started = clock.elapsed()
        try:
            while not self._closing.is_set():
                uncommitted.report(self._reader.commit_failure)
                unplaced.report(self._reader.no_offsets)
                try:
                    records = self._recalls.read(_WAIT_S)
                except Unavailable as error:
                    problem.occurred(str(error))
                    self._closing.wait(_AGAIN_S)
                    continue
                notices = [recalls.read(each.value, each.place) for each in records]
                problem.end()
                partitions = self._reader.partitions
                with self._changed:
                    for notice, record in zip(notices, records, strict=True):
                        if notice.kind == "alive":
                            self._proof.take(notice, record.written_after)
                        else:
                            self._back += self._leads.apply(notice)
                    self._seen_at = self._recalls.complete_at
                    self._proven_at = self._proof.since(partitions)
                    why = self._why_unsafe(self._proven_at)
                    self._changed.notify_all()
                if clock.elapsed() - started > self._start_s:
                    unsafe.report(why)
        except ScrubError as error:
            self._failure = error

    def __iter__(self) -> Iterator[Lead]:
        return self

    def __next__(self) -> Lead:
        """The next lead to call. Waits for it as long as it takes."""
        while not self._closing.is_set():
            with self._polling:
                if self._is_closed:
                    break
                self._poll()
            with self._changed:
                lead = self._leads.take(datetime.now(UTC)) if self._may_hand_out() else None
                done = self._leads.take_done()
            for key, offset in done:
                self._reader.done(key, offset)
            if lead is not None:
                return lead
        raise StopIteration

    def _has_seen(self) -> bool:
        if not (self._follower.is_alive() or self._closing.is_set()):
            raise self._failure or RuntimeError("recalls are no longer read: nothing may be dialled")
        return clock.elapsed() - self._seen_at <= SEEN_S

    def _may_hand_out(self) -> bool:
        return self._has_seen() and not self._why_unsafe(self._proven_at)

    def _why_unsafe(self, proven_at: float) -> str:
        """Why an opposition may be unknown here: a request waits for the publisher, or recall may be dead, which last worked at
        that moment. Empty if neither is so."""
        if self._requests is not None:
            try:
                self._requests.need_none()
            except StaleIndex as stale:
                return str(stale)
        if clock.elapsed() - proven_at <= self._silent_max_s:
            return ""
        for_s = f"in the last {self._silent_max_s:g} s (recall.lag_max_s)"
        return (
            f"`stream-scrub recall` has not shown {for_s} that it works: start it, or see what its /readyz waits for. If no"
            ' recall runs at all, set recall="none"'
        )

    def _poll(self) -> None:
        """Stay in the group, commit acknowledged leads, and read on if there is room."""
        self._reader.commit_if_due()
        if len(self._leads.out) >= OUT_MAX:
            raise RuntimeError(f"{OUT_MAX} leads are handed out: call `ack` for each that was called")
        waiting, may_hand_out = len(self._leads), self._may_hand_out()
        if waiting and may_hand_out and not self._look.is_due():
            return
        is_full = (
            waiting >= _READ_MAX
            or len(self._leads.suspended) >= _SUSPENDED_MAX
            or len(self._leads.postponed) >= OUT_MAX
        )
        if is_full and self._sweep.is_due():
            with self._changed:
                self._leads.sweep(datetime.now(UTC))
        # Those that wait may be handed out at once, unless they are held.
        wait_s = 0.0 if waiting and may_hand_out else _WAIT_S
        batch = self._read(1 if waiting else _RECORDS, wait_s, take=not is_full)
        partitions = self._reader.partitions
        with self._changed:
            self._proven_at = self._proof.since(partitions)
            self._back += self._leads.give_up(self._reader.gone())
            for message, headers in zip(batch.messages, batch.headers.each, strict=True):
                place = (message.topic() or "", message.partition() or 0), message.offset() or 0
                stamp = stamp_on(header_in(headers), message.value())
                if stamp is None:
                    self._leads.drop(place, "not-allowed")
                    continue
                lead, renewed = lead_of(message.key(), message.value(), stamp, place), renews(headers)
                if renewed is None:
                    self._leads.add(lead)
                else:
                    is_done = self._reader.is_done(place[0], renewed)
                    self._back += self._leads.renew(lead, (place[0], renewed), is_done=is_done)
            if self._back:
                self._changed.notify_all()

    def _read(self, records_max: int, wait_s: float, *, take: bool) -> PolledBatch:
        """The next records; none while the brokers cannot be asked."""
        try:
            batch = self._reader.poll(records_max, wait_s, take=take)
        except (Unavailable, Migrated) as error:
            if isinstance(error, TakenOver):
                raise
            self._problem.occurred(str(error))
            self._closing.wait(_AGAIN_S)
            return NOTHING
        except RuntimeError:
            if not self._is_closed:
                raise
            return NOTHING  # a signal's handler closed it in the middle of this call
        self._problem.end()
        return batch

    def ack(self, lead: Lead) -> None:
        """The lead is done: it is not handed out again. Until then it comes again after a crash, or from another member of
        the group. It is committed within moments, while leads are asked for."""
        if self._closing.is_set():
            raise RuntimeError("acknowledged after `close`: this lead will come again")
        with self._changed:
            places = self._leads.finish(lead.place)
        for key, offset in places:
            self._reader.done(key, offset)

    def may_dial(self, lead: Lead) -> MayDial:
        """Whether a lead that was handed out may be called now. Ask just before the call. Acknowledge what was called, and
        `postpone` after a no with `not_before`. Every other no has taken the lead back: it is handed out again if it may be
        called later, and an acknowledgement would lose it."""
        with self._changed:
            is_known = self._has_seen() and not self._why_unsafe(self._proof.since([lead.place[0]]))
            return self._leads.may_dial(lead, datetime.now(UTC), is_known=is_known)

    def postpone(self, lead: Lead, not_before: datetime) -> None:
        """Hand the lead out again at that moment, which has a time zone. It stays open until then, and comes at once after
        a restart. Ignored for a lead that is not the caller's any more."""
        if not_before.utcoffset() is None:
            raise ValueError(
                "not_before has no time zone: give one, as in datetime.now(UTC) + timedelta(hours=1)"
            )
        with self._changed:
            self._leads.postpone(lead, not_before)

    def taken_back(self, wait_s: float = 0.0) -> list[TakenBack]:
        """The leads that were handed out, are not acknowledged, and must not be called any more, since the last call.
        Waits so long for one. Do not acknowledge them, unless the call was made."""
        with self._changed:
            self._changed.wait_for(lambda: self._back or self._closing.is_set(), wait_s)
            back = list(self._back)
            self._back.clear()
        return back

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many leads ended without a call, by cause: `recalled`, `past-until`, `too-old`, `other-channel`,
        `not-allowed`, `outside-hours` (after its last window), and `renewed`: it was done before its verdict was renewed."""
        with self._changed:
            return dict(self._leads.dropped)

    @property
    def uncommitted_s(self) -> float:
        """The age of the oldest acknowledgement that is not committed; 0 without one. After a crash its lead comes again: stop
        calling if it grows."""
        return self._reader.uncommitted_s

    def close(self) -> None:
        """Commit the acknowledged leads, and leave the group. Iterating ends. Any thread may call it, also again."""
        self._closing.set()
        self._follower.join()
        with self._polling:
            if not self._is_closed:
                self._is_closed = True
                self._close()

    def _close(self) -> None:
        self._recalls.close()
        if self._requests is not None:
            self._requests.__exit__()
        self._brokers.close()
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

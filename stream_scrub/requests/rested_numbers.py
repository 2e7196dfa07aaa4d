"""Numbers rest that were called too often, or refused: the publisher's part that reads `call.attempts`.

What rests follows from the attempts of the last weeks, which are read again at a start, so it is the same after any
crash. Published is what the register lacks. Where the law ends a consent with a refusal, the refusal is passed on as a
withdrawal, once: its offset is committed with it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stream_scrub.clock import Throttle, elapsed
from stream_scrub.config import Settings
from stream_scrub.errors import Migrated, Refused, Unavailable
from stream_scrub.index import as_bitmap
from stream_scrub.index.deltas import Delta, StatedEnds
from stream_scrub.kafka import clients
from stream_scrub.kafka.log_writer import TransactionExtras
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.kafka.polled_batch import NOTHING, PolledBatch
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import RESTED, Deadline, Logger, PartitionKey, RegisterKind, Request, scoped_name
from stream_scrub.numbering import e164
from stream_scrub.ops.log_lines import RecurringProblem
from stream_scrub.ops.loop_state import PublisherState
from stream_scrub.publisher.delta_publisher import DeltaPublisher, PendingDelta, close_in_background
from stream_scrub.requests.attempts import (
    NO_ID,
    AttemptCounts,
    AttemptReader,
    CallAttempt,
    decode,
    rested_until,
)
from stream_scrub.rules import Rulebook
from stream_scrub.rules.country import Attempts
from stream_scrub.scrub.facts import UNNAMED, campaigns_of

_RECORDS_A_STEP = 5_000
_STEP_S = 0.1  # opt-outs wait meanwhile
_PUBLISH_EVERY_S = 0.5
_BEGIN_S = 5.0
_AGAIN_S = 15.0
_MARGIN = timedelta(days=2)


class _Limit(NamedTuple):
    """The limit on attempts to the people of a region, with what its days are counted by."""

    attempts: Attempts
    zone: tzinfo
    more_days: int


class _Refusal(NamedTuple):
    """A record of a refusal that withdraws, and the moment of the refusal (epoch seconds)."""

    key: PartitionKey
    offset: int
    value: bytes
    number: int
    at: int


def withdrawals(refusal: _Refusal, now: datetime) -> Iterator[Request]:
    """The requests that withdraw the consents to the campaigns of a refusal; to every one if it names none."""
    record = decode(refusal.value)
    at = datetime.fromtimestamp(refusal.at, UTC).isoformat().replace("+00:00", "Z")
    number = e164(refusal.number)
    said = {
        "request": "withdrawal",
        "number": number,
        "at": at,
        "source": refusal.key[0],
        "attempt": record.id,
    }
    campaigns = [*campaigns_of(record.campaign)]
    for campaign in campaigns if campaigns and UNNAMED not in campaigns else [UNNAMED]:
        request = said if campaign == UNNAMED else {**said, "scope": campaign}
        yield Request(0, 0, int(now.timestamp() * 1000), number.encode(), msgspec.json.encode(request))


class RestedNumbers:
    """One thread. `step` raises as `DeltaPublisher`."""

    def __init__(
        self,
        settings: Settings,
        rulebook: Rulebook,
        publisher: DeltaPublisher,
        state: PublisherState,
        log: Logger,
        commit: Callable[[Sequence[PendingDelta]], None],
    ) -> None:
        """`commit` publishes deltas of one family."""
        self._settings, self._rulebook, self._commit = settings, rulebook, commit
        self._publisher, self._state, self._log = publisher, state, log
        self._topic = settings.topics.attempts
        self._counts = AttemptCounts(settings.lists.attempts_max)
        self._attempts = AttemptReader(settings.prospect.default_region, settings.prospect.professionals)
        self._who = ["", *sorted({*settings.prospect.professionals.values()})]
        self._wanted: dict[str, dict[int, int]] = {}  # by register: numbers with their ends
        self._reader: OutputReader | None = None
        self._id, self._upto = "", dict[PartitionKey, int]()
        self._waiting = NOTHING  # polled, and not taken yet
        self._withdrawn: dict[
            PartitionKey, int
        ] = {}  # up to which offset refusals were passed on as withdrawals
        self._refusals: list[_Refusal] = []  # to be passed on
        self._left_out: set[PartitionKey] = set()  # partitions that could not be read
        self._due = Throttle(_PUBLISH_EVERY_S)
        self._failed = Throttle(_AGAIN_S)
        self._problem = RecurringProblem(log, "attempts cannot be read", "attempts are read again")
        self._unreadable = Counter[str]()
        self._lost = 0

    def step(self, now: datetime) -> bool:
        """Read attempts, and publish what rests by them. Returns whether some came."""
        batch = self._waiting if len(self._waiting) else self._poll(now)
        if len(batch):
            _, self._waiting = batch.parted(self._take(batch, now))
        if (self._wanted or self._refusals) and self._due.is_due():
            self._publish(now)
        return bool(len(batch))

    def _poll(self, now: datetime) -> PolledBatch:
        """The next records. A topic that cannot be read keeps no opt-out waiting: it is opened again later."""
        if self._reader is None and self._failed.age_s < _AGAIN_S:
            return NOTHING
        try:
            batch = self._open(now).poll(_RECORDS_A_STEP, 0.0)
        except (Unavailable, Refused, Migrated) as error:
            self._problem.occurred(str(error))
            # One damaged partition keeps no other waiting. `look` tries it again.
            stopped = set() if self._reader is None else self._reader.stopped
            if not stopped:
                self._failed.restart()
            self._left_out |= stopped
            self.close()
            return NOTHING
        if len(batch) and not self._left_out:
            self._problem.end()
        return batch

    def _open(self, now: datetime) -> OutputReader:
        """The reader, at the first record of the time that counts, or where the last one ended."""
        if self._reader is not None:
            return self._reader
        deadline = Deadline.after(_BEGIN_S)
        group = self._settings.lists.requests_group
        self._reader = reader = clients.Brokers(self._settings, self._log).output_reader([self._topic], group)
        identity = reader.ids(deadline)[self._topic]
        if identity != self._id:
            self._id, self._upto = identity, {}
            self._refusals.clear()
        noted = reader.noted(deadline)
        # What another topic of that name had says nothing about this one.
        self._withdrawn = {
            key: place[0] for key, place in noted.items() if place is not None and place[1] == identity
        }
        self._refusals = [each for each in self._refusals if each.offset >= self._withdrawn.get(each.key, 0)]
        bounds = {key: reader.bounds(key, deadline) for key in noted}
        # Brokers date the records, and no attempt is later than its record: skipped attempts no longer count.
        since = reader.since([*bounds], now - self._window(now), deadline)
        begin = {key: since.get(key, high) for key, (_, high) in bounds.items()}
        known = {key: at for key, at in self._upto.items() if begin[key] <= at <= bounds[key][1]}
        offsets = begin | known
        reader.assign({key: offset for key, offset in offsets.items() if key not in self._left_out})
        return reader

    def _window(self, now: datetime) -> timedelta:
        """For how long an attempt may count."""
        limits = [rule.attempts for rule, _ in self._rulebook.in_force(now) if rule.attempts is not None]
        return timedelta(days=max((each.days for each in limits), default=1)) + _MARGIN

    def _take(self, batch: PolledBatch, now: datetime) -> int:
        """Count the attempts of the first records. Returns how many records were taken before the time was over."""
        began, taken = elapsed(), 0
        of_region: dict[str, _Limit | None] = {"": None}
        limits: defaultdict[int, set[_Limit]] = defaultdict(set)
        attempts: dict[tuple[int, int, int], int] = {}
        refusals: dict[tuple[int, int], int] = {}
        refused, lost, now_ms = self._unreadable.total(), self._lost, int(now.timestamp() * 1000)
        for message, value in zip(batch.messages, batch.values, strict=True):
            if taken and elapsed() - began > _STEP_S:
                break
            taken += 1
            written_ms = min(message.timestamp()[1], now_ms)  # a producer may set any
            read = self._attempts.read(value, written_ms)
            if isinstance(read, str):
                self._unreadable[read] += 1
                continue
            for region in (self._rulebook.region_of(read.number, read.region), read.residence):
                if region not in of_region:
                    of_region[region] = self._limit(region, now)
                if (limit := of_region[region]) is not None:
                    limits[read.number].add(limit)
            if read.number in limits:
                who = self._who.index(read.professional)
                # A refusal without an id is identified by its moment.
                id_ = read.at if read.id == NO_ID else read.id
                # The latest moment counts: a forged report of an old moment may come before the call.
                attempts[read.number, who, id_] = max(read.at, attempts.get((read.number, who, id_), 0))
                if read.refused:
                    refusals[read.number, who] = max(read.at, refusals.get((read.number, who), 0))
                    self._keep_refusal(message, value or b"", read, limits[read.number])
        if attempts:
            self._count(attempts, refusals, limits, now)
        refused = self._unreadable.total() - refused
        self._state.attempted(taken - refused, refused, self._lost - lost)
        return taken

    def _keep_refusal(
        self, message: Any, value: bytes, read: CallAttempt, limits: Collection[_Limit]
    ) -> None:
        """Keep a refusal to pass on, if it withdraws by one of the limits and was not passed on before."""
        if not any(limit.attempts.refusal_withdraws for limit in limits):
            return
        key, offset = (message.topic(), message.partition()), message.offset()
        if offset >= self._withdrawn.get(key, 0):
            self._refusals.append(_Refusal(key, offset, value, read.number, read.at))

    def _limit(self, region: str, now: datetime) -> _Limit | None:
        """The limit of today's rule for people of that region."""
        rule, country = self._rulebook.rule(region, now), self._rulebook.country(region)
        if rule is None or rule.attempts is None or country is None:
            return None
        return _Limit(rule.attempts, country.zone, int(region != country.regions[0]))

    def _count(
        self,
        attempts: Mapping[tuple[int, int, int], int],
        refusals: Mapping[tuple[int, int], int],
        limits: Mapping[int, Collection[_Limit]],
        now: datetime,
    ) -> None:
        number = np.array([n for n, _, _ in attempts], np.uint64)
        who = np.array([w for _, w, _ in attempts], np.uint16)
        ids = np.array([id_ for _, _, id_ in attempts], np.uint64)
        needed = int((now - self._window(now)).timestamp())
        self._lost += self._counts.add(number, who, np.array([*attempts.values()]), ids, needed)
        pairs = dict.fromkeys((n, w) for n, w, _ in attempts)
        unnamed = [n for n, w in pairs if not w] if self._who[1:] else []
        if unnamed:  # they may have been for each who called these numbers
            pairs |= dict.fromkeys(self._counts.named(np.array(unnamed, np.uint64)))
        asked = [(n, w, limit) for n, w in pairs for limit in limits[n]]
        nth = self._counts.nth_last(
            np.array([n for n, _, _ in asked], np.uint64),
            np.array([w for _, w, _ in asked], np.uint16),
            np.array([limit.attempts.most for _, _, limit in asked]),
            anybodys=True,
        ).tolist()
        for (n, w, limit), moment in zip(asked, nth, strict=True):
            end = rested_until(limit.attempts, moment, refusals.get((n, w), 0), limit.zone, limit.more_days)
            if end > now.timestamp():
                name = scoped_name(RESTED, self._who[w]) if w else RESTED
                wanted = self._wanted.setdefault(name, {})
                wanted[n] = max(end, wanted.get(n, 0))

    def _pass_on(self, now: datetime) -> None:
        """Publish the refusals as withdrawals on the topic of requests, each once: their offsets are committed in the
        same transaction."""
        if not self._refusals or self._reader is None:
            return
        upto = {each.key: each.offset + 1 for each in sorted(self._refusals)}
        extras = TransactionExtras(
            self._settings.topics.requests,
            [each for refusal in self._refusals for each in withdrawals(refusal, now)],
            self._reader.places({key: (offset, self._id) for key, offset in upto.items()}),
            self._reader.membership,
        )
        self._publisher.publish([], lambda _: extras)
        self._withdrawn |= upto
        self._refusals.clear()

    def _publish(self, now: datetime) -> None:
        self._pass_on(now)
        self._publisher.ready(RESTED)
        deltas = [self._delta(name, wanted, now) for name, wanted in sorted(self._wanted.items())]
        if due := [each for each in deltas if not each.delta.is_empty]:
            self._commit(due)
            self._log.debug("numbers rest", adds=sum(len(each.delta.adds) for each in due))
        self._wanted.clear()

    def _delta(self, name: str, wanted: Mapping[int, int], now: datetime) -> PendingDelta:
        """What the register lacks: numbers, and later ends of those that it holds."""
        base, known = self._publisher.base(name, RegisterKind.DENY), self._publisher.replay.known(name)
        numbers = np.array(sorted(wanted), np.uint64)
        ends, held = np.array([wanted[n] for n in sorted(wanted)], np.int64), base.holds(numbers)
        before = known.ends.of_each(numbers)
        lacking = ~held | ((before > 0) & (before < ends))  # without an end it rests for good
        delta = Delta(
            adds=as_bitmap(numbers[~held]),
            removes=as_bitmap(numbers[:0]),
            unchanged=len(base.numbers),
            ends=StatedEnds(numbers[lacking], ends[lacking]),
            reason="attempts",
        )
        source = DeltaSource(self._topic, sha256(base.chain.encode()).hexdigest())
        return PendingDelta(base, delta, base.effective_at if base.seq else now, source, known)

    def look(self) -> None:
        """Open the topic again if it was created again, has other partitions than before, or could not be read whole."""
        if self._left_out:
            self._left_out.clear()
            self.close()
        if self._reader is None:
            return
        deadline = Deadline.after(_BEGIN_S)
        try:
            self._reader.need_same(deadline)
            if self._reader.noted(deadline).keys() == self._reader.all_upto.keys():
                return
        except (Unavailable, Refused, Migrated) as error:
            self._problem.occurred(str(error))
        self.close()

    def sum_up(self) -> None:
        """Log the uncounted attempts since the last call."""
        if self._unreadable:
            members = dict(sorted(self._unreadable.items()))
            self._log.warning("attempts could not be read, and are not counted", members=members)
        if self._lost:
            rows = self._settings.lists.attempts_max
            self._log.error("attempts forgotten too early", attempts=self._lost, attempts_max=rows)
        self._unreadable.clear()
        self._lost = 0

    def again(self) -> None:
        """Read the attempts of the last weeks again, because the log lost publications."""
        self._upto, self._waiting = {}, NOTHING
        self._refusals.clear()

    def close(self) -> None:
        """Release the connections. What was counted is kept."""
        if self._reader is not None:
            self._upto |= self._reader.all_upto  # without partitions that were left out
            for message in reversed(self._waiting.messages):
                self._upto[message.topic() or "", message.partition() or 0] = message.offset() or 0
            self._waiting = NOTHING
            close_in_background(self._reader.close)
            self._reader = None

"""`stream-scrub expiring` and `rescrub`: the leads whose verdict ends soon, counted, or judged again before it ends.

A renewal is the lead's record once more, on its own partition, with a new stamp and the offset that it renews in a header.
So the allowed topic itself says what was renewed, and there is no other note: each run reads it to its end. A lead that may
no longer be called gets no renewal; `recall` takes it back.
"""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import msgspec
from pyroaring import BitMap64

from stream_scrub import clock
from stream_scrub.clock import utc_millis
from stream_scrub.config import Settings
from stream_scrub.config.settings import allowed_of
from stream_scrub.errors import Migrated, Refused, StaleIndex, Unavailable, Uncertain
from stream_scrub.kafka import clients
from stream_scrub.kafka.client.producer_calls import id_of_rescrub
from stream_scrub.kafka.cloud_events import events_of, without_event
from stream_scrub.kafka.headers import RENEWS_HEADER, renews
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.kafka.session import StandIn
from stream_scrub.log.follower import Follower
from stream_scrub.model import Deadline, Header, Logger, PartitionKey
from stream_scrub.ops import following, preflight
from stream_scrub.ops.clock_watch import ClockWatch
from stream_scrub.recall.leads import LeadReader
from stream_scrub.recall.record import PastRecalls
from stream_scrub.recall.restore import allowed_reader, leads_before, not_recalled, past_recalls, read_upto
from stream_scrub.registry.records import read_all, records
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.scrub.stamp import without_stamp
from stream_scrub.stamp import STAMP, header_in, stamp_on

_ASK_S = 10.0
_WAIT_S = 0.2
_FIRST_S = 60.0  # for the log to be read
_AGAIN_S = 1.0
_BATCH_RECORDS = 1000
_FAILURES_MAX = 20  # in a row; with each a new session


class ExpiringDay(msgspec.Struct, frozen=True):
    """How many leads of a country may be called for the last time on a day."""

    day: date
    country: str
    leads: int


class ExpiringReport(msgspec.Struct, frozen=True):
    """Every day of the next ones on which verdicts end."""

    days: list[ExpiringDay]


class RescrubOutcome(msgspec.Struct, frozen=True):
    """`renewed`: they have a later last day. `no-later`: judged again, they would end on the same day; renew their list.
    `blocked`: they may not be called any more, or their register is stale."""

    country: str
    outcome: str
    leads: int


class RescrubReport(msgspec.Struct, frozen=True):
    """What became of the leads that end soon."""

    outcomes: list[RescrubOutcome]


class _Ending(NamedTuple):
    last: date
    country: str


_Found = dict[PartitionKey, dict[_Ending, BitMap64]]  # offsets: two bytes each, for many millions of leads


def expiring(settings: Settings, log: Logger, days: int) -> ExpiringReport:
    """Count the leads that end within so many days. Raises StaleIndex, Unavailable, Refused."""
    found = _AllowedLeads(settings, log, days).ending()
    counts = Counter[_Ending]()
    for of_one in found.values():
        counts.update({ending: len(offsets) for ending, offsets in of_one.items() if offsets})
    return ExpiringReport([ExpiringDay(*each, count) for each, count in sorted(counts.items())])


def rescrub(settings: Settings, log: Logger, days: int) -> RescrubReport:
    """Judge the leads again that end within so many days, and emit those that may be called for longer. Raises Unavailable,
    Refused, Corrupt."""
    brokers = clients.Brokers(settings, log)
    with brokers.topics() as there:
        preflight.need(there, brokers, "rescrub")
    tally: Counter[tuple[str, str]] = Counter()
    failures = 0
    with following.following(settings, log) as follower:
        first = Deadline.after(_FIRST_S)
        while follower.lag_s is None and not first.passed:
            time.sleep(_WAIT_S)
        while True:
            again = _Rescrub(settings, log, days, follower)
            before = tally.total()
            try:
                again.run(tally)
            except (Migrated, Unavailable, Uncertain, StaleIndex) as error:
                failures = 1 if tally.total() > before else failures + 1
                if failures >= _FAILURES_MAX:
                    raise Refused(f"given up after {failures} failures in a row: {error}") from error
                time.sleep(_AGAIN_S)
            else:
                break
            finally:
                again.close()
    return RescrubReport([RescrubOutcome(*which, count) for which, count in sorted(tally.items())])


class _AllowedLeads:
    """What is on the allowed topics, and ends within so many days."""

    def __init__(self, settings: Settings, log: Logger, days: int) -> None:
        self.settings = settings
        self.brokers = clients.Brokers(settings, log)
        self.scrubber: Scrubber = scrubbing.scrubber(settings, hold=False)
        self.leads = LeadReader(
            self.scrubber, settings.recall.keep_days, records(settings, self.scrubber.terms.members, log)
        )
        self.topics = list(dict.fromkeys(allowed_of(self.brokers.routes())))
        self._days = timedelta(days)

    def ending(self) -> _Found:
        """The leads by partition and offset, without those that were recalled or renewed. Raises StaleIndex, Unavailable,
        Refused."""
        settings, now = self.settings, datetime.now(UTC)
        horizon = now.date() + self._days
        group = clients.side_group(settings, "recall")
        with closing(self.brokers.output_reader(self.topics, group)) as reader:
            deadline = Deadline.after(_ASK_S)
            # An open transaction may hide a renewal: read up to the end of what is written.
            ends = reader.written_ends(deadline)
            past = past_recalls(self.brokers, ends, now, lambda: True)
            assert past is not None, "it goes on"
            found: _Found = {key: {} for key in ends}
            for fetched in leads_before(settings, reader, ends, now):
                self._take(found, fetched, past, now, horizon)
        return found

    def _take(
        self, found: _Found, fetched: PolledBatch, past: PastRecalls, now: datetime, horizon: date
    ) -> None:
        leads = self.leads.read(fetched, now)
        _, _, keep = not_recalled(fetched, leads, past)
        ending: dict[int, _Ending] = {}
        recalled = {at for at, is_left in zip(leads.records, keep, strict=True) if not is_left}
        for at, last, kind in zip(leads.records, leads.lasts, leads.plain.kinds.tolist(), strict=True):
            if last <= horizon and at not in recalled:
                ending[at] = _Ending(last, self._country(leads.plain.pairs[kind][0].region))
        for at, message in enumerate(fetched.messages):
            of_one = found[fetched.topics[at], fetched.partitions[at]]
            if (before := renews(fetched.headers.each[at])) is not None:
                for offsets in of_one.values():
                    offsets.discard(before)
            if at in ending:
                of_one.setdefault(ending[at], BitMap64()).add(message.offset() or 0)

    def _country(self, region: str) -> str:
        country = self.scrubber.rulebook.country(region)
        return region if country is None else country.code


class _Rescrub(_AllowedLeads):
    """One try, with a session of its own. It begins at what the allowed topics say, whatever became of an earlier one."""

    def __init__(self, settings: Settings, log: Logger, days: int, follower: Follower) -> None:
        super().__init__(settings, log, days)
        self._follower = follower
        self._events = events_of(settings.prospect.cloudevents)
        name = id_of_rescrub(settings.worker.group_id)
        self._session = self.brokers.side_session(self.topics, name, stripped=(STAMP,))
        self._watch = ClockWatch(self.brokers.witnesses.now, self.topics, settings.rules.clock_skew_max_s)

    def run(self, tally: Counter[tuple[str, str]]) -> None:
        """Renew what can be renewed, and count. Raises Migrated, Unavailable, Uncertain, StaleIndex: try again."""
        self._session.open(Deadline.after(_ASK_S))
        self._watch.first_look()
        found = self.ending()
        leads = {
            key: offsets
            for key, each in found.items()
            if (offsets := BitMap64.union(BitMap64(), *each.values()))
        }
        ends = {key: offsets.max() + 1 for key, offsets in leads.items()}
        with closing(allowed_reader(self.brokers, leads)) as reader:
            reader.assign({key: offsets.min() for key, offsets in leads.items()})
            for fetched in read_upto(reader, ends, lambda: self._watch.at_most(_BATCH_RECORDS)):
                if fetched:
                    self._renew(reader, fetched, found, tally)

    def _renew(
        self, reader: OutputReader, fetched: PolledBatch, found: _Found, tally: Counter[tuple[str, str]]
    ) -> None:
        places = [
            (at, ending)
            for at, message in enumerate(fetched.messages)
            for ending, offsets in found[fetched.topics[at], fetched.partitions[at]].items()
            if (message.offset() or 0) in offsets
        ]
        self._watch.need_right()
        index = self._follower.usable(self.settings.rules.index_lag_max_s)
        known_at, now = clock.elapsed() - (self._follower.lag_s or 0.0), datetime.now(UTC)
        values, headers, members = fetched.values, fetched.headers.each, self.scrubber.terms.members
        own = [without_stamp(values[at], members, header_in(headers[at])) for at, _ in places]
        read = read_all(self.leads.records, own, [headers[at] for at, _ in places])
        emitted = None if read is own else own
        batch = self.scrubber.scrub(read, index, now, emitted=emitted)
        going, outcomes = [], []
        for (at, ending), allowed, value, header in zip(
            places, batch.allowed, batch.values, batch.stamps, strict=True
        ):
            stamp = stamp_on(header, value)
            outcome = "blocked"
            if allowed and stamp is not None:
                outcome = "renewed" if self.leads.last_day(stamp) > ending.last else "no-later"
            outcomes.append((ending.country, outcome))
            if outcome == "renewed":
                going.append((at, value, header))
        if going:
            self._emit(reader, fetched, going, known_at, now)
        tally.update(outcomes)

    def _emit(
        self,
        reader: OutputReader,
        fetched: PolledBatch,
        going: Sequence[tuple[int, bytes | None, bytes | None]],
        known_at: float,
        now: datetime,
    ) -> None:
        def need_fresh() -> None:
            self._watch.need_right()
            if clock.elapsed() - known_at > self.settings.rules.index_lag_max_s:
                raise Unavailable("the index became too old before the commit")

        # A record with an old timestamp might be deleted before the lead ends.
        now_ms = int(now.timestamp() * 1000)
        self._watch.begins()
        self._session.emit(
            [StandIn(fetched.messages[at].key(), now_ms) for at, _, _ in going],
            [fetched.partitions[at] for at, _, _ in going],
            [self._headers(fetched, at, value, now) for at, value, _ in going],
            [fetched.topics[at] for at, _, _ in going],
            [value for _, value, _ in going],
            [header for _, _, header in going],
        )
        self._session.commit([], reader.membership, Deadline.after(_ASK_S), need_fresh)
        self._watch.committed(lambda: ((fetched.topics[at], fetched.partitions[at]) for at, _, _ in going))

    def _headers(self, fetched: PolledBatch, at: int, value: bytes | None, now: datetime) -> list[Header]:
        """The lead's own headers, and the one that says that it is a renewal."""
        came, offset = fetched.headers.each[at] or (), fetched.messages[at].offset() or 0
        if self._events is None:
            own = without_event(came)
        else:  # with an id of its own: readers would take it for the lead's first event
            place = fetched.topics[at], fetched.partitions[at], offset
            stamped = value != fetched.values[at]
            own = self._events.headers(came, place, utc_millis(now).encode(), allowed=True, stamped=stamped)
        return [*(each for each in own if each[0] != RENEWS_HEADER), (RENEWS_HEADER, b"%d" % offset)]

    def close(self) -> None:
        """Release the connections."""
        self._session.close(Deadline.after(5.0))

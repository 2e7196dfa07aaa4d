"""What a member must know of partitions that it takes over: read again from the two topics, which are the only truth.

Outstanding is what is on the allowed topic before the committed offset, without what was recalled and what has ended.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from stream_scrub import clock
from stream_scrub.config import Settings
from stream_scrub.errors import StaleIndex, Unavailable
from stream_scrub.kafka import clients
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.kafka.polled_batch import NOTHING, PolledBatch
from stream_scrub.model import Deadline, PartitionKey
from stream_scrub.recall.leads import AllowedNumbers, LeadReader, add_leads
from stream_scrub.recall.member import Offsets
from stream_scrub.recall.outstanding import Outstanding
from stream_scrub.recall.record import PastRecalls, RecallsRead
from stream_scrub.recall_notice import WRITTEN_BEFORE
from stream_scrub.stamp import header_in, stamp_on

_ASK_S = 10.0
_WAIT_S = 0.2
_BATCH_RECORDS = 10_000
# A broker that was deposed and does not know it gives nothing new: then other clients, which may meet another one.
_SILENT_S = 30.0
_NEAR = 10_000  # records that are read rather than searched


def restore(
    brokers: clients.Brokers,
    leads: LeadReader,
    upto: Mapping[PartitionKey, int],
    now: datetime,
    goes_on: Callable[[], bool],
) -> tuple[Outstanding, PastRecalls] | None:
    """What is outstanding in these partitions before these offsets, not judged again yet; and what was recalled. None if `goes_on` says so, which is called after each batch.

    Raises StaleIndex if Kafka deleted leads before recall has read them; Unavailable, Refused.
    """
    past = past_recalls(brokers, upto, now, goes_on)
    if past is None:
        return None
    outstanding = Outstanding()
    for key in upto:
        outstanding.begin(key)
    with closing(allowed_reader(brokers, upto)) as reader:
        for fetched in leads_before(brokers.settings, reader, upto, now):
            hold_again(outstanding, fetched, leads.read(fetched, now), past, upto)
            if not goes_on():
                return None
    return outstanding, past


def past_recalls(
    brokers: clients.Brokers,
    keys: Collection[PartitionKey],
    now: datetime,
    goes_on: Callable[[], bool],
) -> PastRecalls | None:
    """What was recalled in these partitions of leads that may still be called; the rest is as for `restore`."""
    settings = brokers.settings
    topics = sorted({topic for topic, _ in keys})
    topic, group = settings.topics.recalled, clients.side_group(settings, "recall")
    # New witnesses confirm every id. Those of the process would not ask again about an id that they confirmed before.
    with closing(clients.Brokers(settings, brokers.log)) as fresh:
        ids = fresh.witnesses.ids([*topics, topic], Deadline.after(_ASK_S))
    with closing(brokers.output_reader([topic], group)) as reader:
        deadline = Deadline.after(_ASK_S)
        # A recall is committed with the offsets that were just looked up, but its marker may reach this topic later: read
        # up to the end of what is written, not of what can be read now.
        ends = reader.written_ends(deadline)
        past = PastRecalls(set(keys), ids, RecallsRead(ids[topic], ends, clock.elapsed()))
        # A partition without a record of that time is read from its beginning.
        lows = {key: reader.bounds(key, deadline)[0] for key in ends}
        reader.assign(lows | reader.since(ends, _oldest(settings, now), deadline))
        for fetched in read_upto(reader, ends):
            for message, value, headers in zip(
                fetched.messages, fetched.values, fetched.headers.each, strict=True
            ):
                past.take(message.key(), value, headers)
            if not goes_on():
                return None
    return past


def _oldest(settings: Settings, now: datetime) -> datetime:
    """The moment of the oldest verdict that may still be used, in any country and by any clock."""
    return now - timedelta(settings.recall.keep_days) - WRITTEN_BEFORE


def allowed_reader(brokers: clients.Brokers, keys: Collection[PartitionKey]) -> OutputReader:
    """A reader of the topics of these partitions. The caller closes it."""
    topics = sorted({topic for topic, _ in keys})
    return brokers.output_reader(topics, clients.side_group(brokers.settings, "recall"))


def leads_before(
    settings: Settings, reader: OutputReader, upto: Mapping[PartitionKey, int], now: datetime
) -> Iterator[PolledBatch]:
    """Yield what may still be called of these partitions before these offsets, and some older and later records; empty
    batches while nothing comes. Raises StaleIndex, Unavailable, Refused."""
    deadline = Deadline.after(_ASK_S)
    lows = {key: reader.bounds(key, deadline)[0] for key in upto}
    _need_all(lows, upto)
    search = StampSearch(lows, upto, _oldest(settings, now), _NEAR)
    while probes := search.probes():
        reader.assign(probes)
        for fetched in _polls(reader, lambda: search.is_answered(reader.all_upto)):
            stamps = map(stamp_on, map(header_in, fetched.headers.each), fetched.values)
            for topic, partition, stamp in zip(fetched.topics, fetched.partitions, stamps, strict=True):
                if stamp is not None:
                    search.take((topic, partition), stamp.at)
            yield NOTHING
    reader.assign(search.firsts)
    yield from read_upto(reader, upto)


class StampSearch:
    """For each partition, an offset before which every verdict was given before `moment`: by bisection, down to `near`
    records. Pure.

    It goes by the moments on the stamps, which workers wrote and which grow along a partition. A record's own timestamp is
    its producer's: with one of years ago, Kafka's time index would skip a lead that may still be called.
    """

    def __init__(self, lows: Offsets, upto: Offsets, moment: datetime, near: int) -> None:
        self.firsts = dict(lows)
        self._ends, self._moment, self._near = dict(upto), moment, near
        self._probes: dict[PartitionKey, int] = {}
        self._latest: dict[PartitionKey, datetime] = {}

    def probes(self) -> Mapping[PartitionKey, int]:
        """Halve each partition by what the last probes met, and return the offsets to read at next; empty at the end. A
        partition without a stamp there is read from before."""
        for key, probe in self._probes.items():
            side = self.firsts if key in self._latest and self._latest[key] < self._moment else self._ends
            side[key] = probe
        self._latest.clear()
        self._probes = {
            key: (first + self._ends[key]) // 2
            for key, first in self.firsts.items()
            if self._ends[key] - first > self._near
        }
        return self._probes

    def take(self, key: PartitionKey, at: datetime) -> None:
        """The moment of a stamp from a probe on."""
        self._latest[key] = max(at, self._latest.get(key, at))

    def is_answered(self, read_upto: Offsets) -> bool:
        """Whether each probe met a stamp, or nothing up to the partition's end."""
        return all(key in self._latest or read_upto[key] >= self._ends[key] for key in self._probes)


def read_upto(
    reader: OutputReader, ends: Offsets, at_most: Callable[[], int] = lambda: _BATCH_RECORDS
) -> Iterator[PolledBatch]:
    """Yield batches of at most so many records until these ends are read; empty ones while nothing comes. Raises
    Unavailable, Refused."""
    return _polls(reader, lambda: all(reader.read_upto(key) >= end for key, end in ends.items()), at_most)


def _polls(
    reader: OutputReader, is_over: Callable[[], bool], at_most: Callable[[], int] = lambda: _BATCH_RECORDS
) -> Iterator[PolledBatch]:
    silent = Deadline.after(_SILENT_S)
    while not is_over():
        fetched = reader.poll(at_most(), _WAIT_S)
        if fetched:
            silent = Deadline.after(_SILENT_S)
        elif silent.passed:
            raise Unavailable(
                "what was handed out or recalled cannot be read: no broker gives what is written"
            )
        yield fetched


def _need_all(lows: Mapping[PartitionKey, int], upto: Mapping[PartitionKey, int]) -> None:
    lost = [f"{key[0]}/{key[1]}" for key, low in lows.items() if low > upto[key]]
    if lost:
        raise StaleIndex(
            "leads-deleted",
            f"leads of {', '.join(sorted(lost))} were deleted before recall read them, and may still be called: see"
            " docs/runbook.md, Leads that recall never read",
        )


def hold_again(
    outstanding: Outstanding,
    fetched: PolledBatch,
    leads: AllowedNumbers,
    past: PastRecalls,
    upto: Offsets,
) -> None:
    """Add the leads before the offsets `upto` that no recall took back."""
    keys, offsets, keep = not_recalled(fetched, leads, past)
    is_before = offsets < np.array([upto[key] for key in keys], np.int64)
    add_leads(outstanding, leads, keys, (keep & is_before).tolist())


def not_recalled(
    fetched: PolledBatch, leads: AllowedNumbers, past: PastRecalls
) -> tuple[list[PartitionKey], NDArray[np.int64], NDArray[np.bool_]]:
    """For each number of the leads: its partition and offset, and whether no recall took it back."""
    keys = [(fetched.topics[at], fetched.partitions[at]) for at in leads.records]
    offsets = np.array([fetched.messages[at].offset() for at in leads.records], np.int64)
    keep = np.zeros(len(keys), np.bool_)
    places = {key: at for at, key in enumerate(dict.fromkeys(keys))}
    codes = np.array([places[key] for key in keys], np.int64)
    for key, code in places.items():
        of = codes == code
        keep[of] = past.is_left(key, leads.plain.numbers[of], offsets[of])
    return keys, offsets, keep

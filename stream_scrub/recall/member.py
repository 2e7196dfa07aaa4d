"""One member's decisions: what to recall of what is outstanding and of what has just come, and what it then holds. Pure.

The caller commits an `Emission` with the offsets that it names, and then calls `committed`. So what is outstanding here is
always what another member would read from the two topics.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pyroaring import BitMap64

from stream_scrub.clock import utc_millis
from stream_scrub.index import Index
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.model import Header, PartitionKey
from stream_scrub.numbering import e164
from stream_scrub.recall.leads import AllowedNumbers, LeadReader, add_leads
from stream_scrub.recall.outstanding import Outstanding, OutstandingWatch
from stream_scrub.recall.record import upto_headers
from stream_scrub.recall_notice import ONE_LOG_MS, RecallNotice, encode
from stream_scrub.registry.records import JSON, RecordReader
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.scrub.stamp import Outcome
from stream_scrub.stamp import header_in, stamp_on

Offsets = Mapping[PartitionKey, int]


class Emission(NamedTuple):
    """Recalls, and the leads to hold once these are committed."""

    recalls: dict[int, bytes]  # a record for each number
    headers: list[Header]  # of each record
    outcomes: Mapping[int, Outcome]
    held: Outstanding  # of the recalled numbers
    leads: AllowedNumbers | None = None
    partitions: Sequence[PartitionKey] = ()  # of the leads
    keep: Sequence[bool] = ()  # which of the leads


class Member:
    """`keep_days` and `records`: see `LeadReader`."""

    def __init__(self, scrubber: Scrubber, keep_days: int, records: RecordReader = JSON) -> None:
        self.leads = LeadReader(scrubber, keep_days, records)
        self.outstanding = Outstanding()
        self.watch = OutstandingWatch(self.outstanding, scrubber.rulebook, scrubber.terms.hash_keys)

    def due(
        self, index: Index, now: datetime, since: datetime, upto: Offsets, *, look: bool
    ) -> Iterator[Emission]:
        """What a delta or the time has made uncallable, as `OutstandingWatch.due`. `upto`: the committed offset of each partition.
        `since`: when the opposition was in force at the latest. Call `committed` before the next one."""
        for part in self.watch.due(index, now, look=look):
            recalls = self._recalls(part.outcomes, since, now)
            headers = upto_headers(part.outcomes, part.held.holders(), upto)
            yield Emission(recalls, headers, part.outcomes, part.held)

    def take(
        self, fetched: PolledBatch, leads: AllowedNumbers, now: datetime, since: datetime, upto: Offsets
    ) -> Emission:
        """What may not be called any more of leads that have just come: a worker may have judged them by an older index.
        `upto`: as for `due`, after these records."""
        partitions = [(fetched.topics[at], fetched.partitions[at]) for at in leads.records]
        found = self.watch.judge(leads.plain, now)
        places = {int(leads.plain.numbers[at]): at for at in found}  # the last lead of each number
        held = self.outstanding.among(BitMap64([*places]))
        holders = held.holders()
        for number, partition in zip(leads.plain.numbers.tolist(), partitions, strict=True):
            if number in places:
                holders[partition].add(number)
        outcomes = {number: found[at] for number, at in places.items()}
        recalls = {
            number: encode(
                self._notice(
                    e164(number), outcomes[number], since, **_of_lead(fetched, leads.records[at], now)
                )
            )
            for number, at in places.items()
        }
        headers = upto_headers(places, holders, upto)
        keep = [number not in places for number in leads.plain.numbers.tolist()]
        return Emission(recalls, headers, outcomes, held, leads, partitions, keep)

    def committed(self, emission: Emission) -> None:
        """The emission is committed."""
        self.outstanding.remove(emission.held)
        if emission.leads is not None:
            add_leads(self.outstanding, emission.leads, emission.partitions, emission.keep)

    def _recalls(self, outcomes: Mapping[int, Outcome], since: datetime, now: datetime) -> dict[int, bytes]:
        """The records. Those of one outcome differ in their numbers alone."""
        at = utc_millis(now)
        templates = {
            key: encode(self._notice("+%d", outcome, since, at=at))
            for key, outcome in {id(each): each for each in outcomes.values()}.items()
        }
        return {number: templates[id(outcome)] % number for number, outcome in outcomes.items()}

    def _notice(self, number: str, outcome: Outcome, since: datetime, **more: Any) -> RecallNotice:
        return RecallNotice(
            kind="recalled",
            number=number,
            reason=outcome.finding.reason,
            register=next(iter(outcome.finding.registers), ""),
            since=utc_millis(since),
            index=self.watch.position,
            rules=outcome.rules,
            **more,
        )


def _of_lead(fetched: PolledBatch, at: int, now: datetime) -> dict[str, str]:
    """The key of a record if it is a text, its partition and offset, and the moment of its recall."""
    message = fetched.messages[at]
    try:
        key = (message.key() or b"").decode()
    except UnicodeDecodeError:
        key = ""
    # At one position a dialler takes the later one of verdict and recall for the newer. The worker's clock may be ahead.
    stamp = stamp_on(header_in(fetched.headers.each[at]), fetched.values[at])
    judged = now if stamp is None else stamp.at
    moment = judged if now < judged <= now + timedelta(milliseconds=ONE_LOG_MS) else now
    return {"key": key, "origin": f"{message.partition()}/{message.offset()}", "at": utc_millis(moment)}

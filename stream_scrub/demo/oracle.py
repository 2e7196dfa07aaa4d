"""The demo's checker: compares every prospect that comes out with what the demo knows to be true.

Its truth is the integers that were drawn, the registers as plain sets, and the law as `demo_data` tells it: nothing
of it comes from the system's own reading, rules or index. One thread calls `take`; anyone may read the figures.
"""

import re
import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from stream_scrub.demo.leads import Claim, Lead
from stream_scrub.kafka.embedded.clients import Received

_ID = re.compile(rb'"id":(\d+)')
_ID_BYTES = 40  # an id stands at the very start of a value
_SPLICE = b'"scrub":'
_ALLOWING = frozenset({"clear", "consented", "contract"})


class EmittedStamp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stamp as a dialler reads it."""

    verdict: str
    reason: str
    index: int
    at: str
    number: str = ""
    registers: list[str] = []
    numbers: list[dict[str, Any]] = []
    rules: str = ""
    until: str = ""


class Expected(NamedTuple):
    """What a stamp must say, whatever its index, moment and rules."""

    verdict: str
    reason: str
    number: str
    registers: list[str]
    numbers: list[dict[str, Any]]


class Must(NamedTuple):
    """The truth about a lead: what its stamp must say, whether `internal` holds one of its numbers, and whether any
    register of opposition does."""

    says: Expected
    opposed_to_us: bool
    opposed: bool


class SentLeads:
    """What was sent: for each id, which lead. The sender appends before it sends; the checker reads."""

    def __init__(self, leads: Sequence[Lead]) -> None:
        self.leads = leads
        self.sent = array("I")


class Truth:
    """The registers before and after the delta, and the law. Nothing here is the system's."""

    def __init__(self, registers: Mapping[str, AbstractSet[int]], delta: AbstractSet[int]) -> None:
        self._registers = registers
        self._delta = delta

    def opposed(self, claim: Claim, *, after: bool) -> list[str]:
        """The deny registers that hold a number, `internal` first."""
        opposed_to_us = claim.number in self._registers["internal"] or (after and claim.number in self._delta)
        deny = claim.country.deny
        listed = bool(deny) and claim.number in self._registers[deny]
        return ["internal"] * opposed_to_us + [deny] * listed

    def changes(self, lead: Lead) -> bool:
        """Whether the delta holds a number of this lead."""
        return any(claim is not None and claim.number in self._delta for claim in lead.claims)

    def of(self, lead: Lead, *, after: bool) -> Must:
        """What a record of this lead must be like."""
        held = {
            name for claim in lead.claims if claim is not None for name in self.opposed(claim, after=after)
        }
        return Must(self.expected(lead, after=after), "internal" in held, bool(held))

    def expected(self, lead: Lead, *, after: bool) -> Expected:
        """What the stamp of this lead must say."""
        if not lead.readable:
            return Expected("blocked", "unreadable", "", [], [])
        found = [("invalid-number", []) if c is None else self._finding(c, lead, after) for c in lead.claims]
        if len(found) == 1:
            (reason, registers), claim = found[0], lead.claims[0]
            number = "" if claim is None else f"+{claim.number}"
            return Expected(_verdict(reason), reason, number, registers, [])
        reasons = [reason for reason, _ in found]
        blocking = [reason for reason in reasons if reason not in _ALLOWING]
        reason = "opposed" if "opposed" in blocking else [*blocking, *reasons][0]
        entries = [_entry(c, *each) for c, each in zip(lead.claims, found, strict=True)]
        return Expected(_verdict(reason), reason, "", [], entries)

    def _finding(self, claim: Claim, lead: Lead, after: bool) -> tuple[str, list[str]]:
        country, registers = claim.country, self.opposed(claim, after=after)
        if "internal" in registers:
            return "opposed", registers
        if not country.ruled:
            return "no-rule", []
        lifted = lead.contract and country.contract_lifts
        if lead.purpose in country.banned and not lifted:
            return "banned-purpose", []
        lacking = bool(country.consent) and claim.number not in self._registers[country.consent]
        if lifted and (registers or lacking):
            return "contract", []
        if registers:
            return "opposed", registers
        if lacking:
            return "no-consent", []
        return ("consented" if country.consent else "clear"), []


def _verdict(reason: str) -> str:
    return "allowed" if reason in _ALLOWING else "blocked"


def _entry(claim: Claim | None, reason: str, registers: list[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"verdict": _verdict(reason), "reason": reason}
    if claim is not None:
        entry["number"] = f"+{claim.number}"
    if registers:
        entry["registers"] = registers
    return entry


@dataclass(slots=True)
class _Lane:
    """One partition of one output topic: the last id and the last position that came out of it."""

    number: int = -1
    position: int = -1


class OutputCheck:
    """Takes records as they come out; `faults` counts what is wrong, by a short word, and should stay empty.

    `start` is the log's position before the delta. A stamp may bear the delta's position before the demo knows it:
    such records wait until `published` is called.
    """

    def __init__(self, sent_leads: SentLeads, truth: Truth, topics: Mapping[str, str], start: int) -> None:
        self._sent_leads = sent_leads
        self._truth = truth
        self._verdict_of_topic = {name: verdict for verdict, name in topics.items()}
        self._start = start
        self._delta: int | None = None
        self._waiting: list[tuple[Received, EmittedStamp, int]] = []
        self._seen = bytearray()
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._lane_of_key: dict[bytes, int] = {}
        self._must: dict[bool, dict[int, Must]] = {False: {}, True: {}}
        self._decode = msgspec.json.Decoder(EmittedStamp).decode
        self.faults: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.checked = 0
        self.judged_after = 0
        self.position = -1
        self.first_stamp_at: float | None = None
        self.first_block_at: float | None = None
        self.taken = 0
        self.latencies: Counter[int] = Counter()  # milliseconds from being sent to being read

    def take(self, records: Sequence[Received]) -> None:
        """Check what has come out, in the order of each partition."""
        now = time.time()
        missing = len(self._sent_leads.sent) - len(self._seen)
        self._seen.extend(bytes(missing))
        for record in records:
            self.latencies[max(0, int(now * 1000) - record.timestamp_ms)] += 1
            self._one(record, now)
        self.taken += len(records)

    def published(self, position: int) -> None:
        """The delta is on the log, sealed at this position. To be called from the thread that calls `take`."""
        self._delta = position
        waiting, self._waiting = self._waiting, []
        for record, stamp, number in waiting:
            self._judge(record, stamp, number)

    def finish(self) -> None:
        """The end: count what never came out, and what waits for a delta that was never published."""
        self.faults["unknown position"] += len(self._waiting)
        self.faults["lost"] += len(self._sent_leads.sent) - len(self._seen) + self._seen.count(0)
        self.faults = +self.faults

    def _one(self, record: Received, now: float) -> None:
        number = _number(record)
        if number is None or number >= len(self._seen):
            self.faults["never sent"] += 1
            return
        self.faults["twice"] += self._seen[number] > 0
        self._seen[number] = 1
        lead = self._sent_leads.leads[self._sent_leads.sent[number]]
        stamp = self._stamp(record, lead, number)
        self._in_order(record, lead, number, stamp)
        if stamp is None:
            return
        self.checked += 1
        self.reasons[stamp.reason] += 1
        self.position = max(self.position, stamp.index)
        if stamp.index > self._start:
            self._note_delta(stamp, number, now)
            if self._delta is None:
                self._waiting.append((record, stamp, number))
                return
        self._judge(record, stamp, number)

    def _stamp(self, record: Received, lead: Lead, number: int) -> EmittedStamp | None:
        """The stamp, when everything around it is as it was sent."""
        headers, value = list(record.headers), record.value
        if lead.readable:
            head = b"%b%d%b%b" % (lead.start, number, lead.head, _SPLICE)
            whole = value is not None and value.startswith(head) and value.endswith(lead.tail)
            bare = value[len(head) : -len(lead.tail)] if whole and value is not None else None
        else:
            whole = value == lead.value(number)
            name, bare = headers.pop() if headers else ("", None)
            whole = whole and name == "scrub"
        self.faults["bytes changed"] += not whole
        self.faults["key changed"] += record.key != lead.key
        self.faults["headers changed"] += headers != list(lead.arriving(number))
        try:
            return self._decode(bare) if whole and bare is not None else None
        except msgspec.MsgspecError:
            self.faults["stamp unreadable"] += 1
            return None

    def _in_order(self, record: Received, lead: Lead, number: int, stamp: EmittedStamp | None) -> None:
        """Ids were sent in ascending order, so they ascend in each output partition; so do positions."""
        lane = self._lanes.setdefault((record.topic, record.partition), _Lane())
        self.faults["out of order"] += number <= lane.number
        lane.number = max(lane.number, number)
        if stamp is not None:
            self.faults["position went back"] += stamp.index < lane.position
            lane.position = max(lane.position, stamp.index)
        if lead.key is not None:
            kept = self._lane_of_key.setdefault(lead.key, record.partition)
            self.faults["key in two partitions"] += kept != record.partition

    def _note_delta(self, stamp: EmittedStamp, number: int, now: float) -> None:
        """When the delta was first seen to be known, and to block whom the index before it allowed."""
        self.judged_after += 1
        if self.first_stamp_at is None:
            self.first_stamp_at = now
        if self.first_block_at is None and stamp.reason == "opposed":
            before = self._must_say(self._sent_leads.sent[number], after=False)
            if before.says.verdict == "allowed":
                self.first_block_at = now

    def _judge(self, record: Received, stamp: EmittedStamp, number: int) -> None:
        """The verdict and its evidence, and the topic, are what the truth at the stamp's position says."""
        self.faults["unknown position"] += stamp.index not in (self._start, self._delta)
        after = stamp.index == self._delta
        place = self._sent_leads.sent[number]
        must = self._must_say(place, after=after)
        numbers = stamp.numbers and [
            {k: v for k, v in each.items() if k not in ("rules", "until")} for each in stamp.numbers
        ]
        says = (stamp.verdict, stamp.reason, stamp.number, stamp.registers, numbers)
        topic = self._verdict_of_topic.get(record.topic)
        self.faults["wrong verdict"] += says != must.says
        self.faults["wrong topic"] += topic != stamp.verdict
        if "allowed" in (stamp.verdict, topic):
            self.faults["opposed but allowed"] += must.opposed_to_us or (
                must.opposed and stamp.reason != "contract"
            )

    def _must_say(self, place: int, *, after: bool) -> Must:
        """The truth about a lead, worked out once. After the delta it differs only for leads that the delta
        changes."""
        known = self._must[after]
        if (found := known.get(place)) is None:
            lead = self._sent_leads.leads[place]
            if after and not self._truth.changes(lead):
                found = self._must_say(place, after=False)
            else:
                found = self._truth.of(lead, after=after)
            known[place] = found
        return found


def _number(record: Received) -> int | None:
    """The id that a record bears: at the start of its value, or in the header `lead`."""
    if record.value:
        found = _ID.search(record.value, 0, _ID_BYTES)
        return int(found[1]) if found is not None else None
    named = dict(record.headers).get("lead")
    return int(named) if named is not None and named.isdigit() else None

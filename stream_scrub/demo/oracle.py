"""The demo's checker: compares every prospect that comes out with what the demo knows to be true.

Its truth is the group that each number was drawn for, and the law as `COUNTRIES` states it: nothing of it comes from
the system's own reading, rules or index.
"""

import re
import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from stream_scrub.demo.leads import ID_MEMBER, Claim, DemoLead
from stream_scrub.kafka.embedded import Received
from stream_scrub.stamp import Stamp, decode

_ID = re.compile(re.escape(ID_MEMBER) + rb"(\d+)")
_SPLICE = b',"scrub":'
_ALLOWING = frozenset({"clear", "consented", "contract"})


class Expected(NamedTuple):
    """What a stamp must say, whatever its index, moment and rules."""

    verdict: str
    reason: str
    number: str = ""
    registers: Sequence[str] = ()


def opposing(claim: Claim, *, after: bool) -> str:
    """The register that denies a call of a number, before or after the delta; empty without one."""
    if claim.group == "opposed" or (after and claim.group == "swing"):
        return "internal"
    return claim.country.law.deny if claim.group == "listed" and claim.country.law else ""


def expected(lead: DemoLead, *, after: bool) -> Expected:
    """What the stamp of this lead must say, before or after the delta."""
    if not lead.readable:
        return Expected("blocked", "unreadable")
    if lead.claim is None:
        return Expected("blocked", "invalid-number")
    reason, register = _judged(lead.claim, lead, after)
    verdict = "allowed" if reason in _ALLOWING else "blocked"
    return Expected(verdict, reason, f"+{lead.claim.number}", (register,) if register else ())


def _judged(claim: Claim, lead: DemoLead, after: bool) -> tuple[str, str]:
    law, register = claim.country.law, opposing(claim, after=after)
    if register == "internal":
        return "opposed", register
    if law is None:
        return "no-rule", ""
    lifted = bool(lead.facts.get("contract")) and law.contract_lifts
    if lead.facts.get("purpose") in law.banned and not lifted:
        return "banned-purpose", ""
    lacking = bool(law.consent or law.wash) and claim.group not in ("consented", "swing")
    if lifted and (register or lacking):
        return "contract", ""
    if register:
        return "opposed", register
    if lacking and law.wash:
        return "not-washed", law.wash
    return ("no-consent" if lacking else "consented" if law.consent else "clear"), ""


class HandedOut:
    """The allowed leads of people who opt out midway, and what took them back. A lead is a partition and an offset."""

    def __init__(self) -> None:
        self._leads: dict[int, set[tuple[int, int]]] = {}  # by number
        # By number, in their order: the offset in each partition before which leads are taken back.
        self._recalls: dict[int, list[dict[int, int]]] = {}
        self.leads = self.recalls = 0
        self.last_at: float | None = None  # when the last recall was read

    @property
    def people(self) -> int:
        """How many have a lead."""
        return len(self._leads)

    def allowed(self, number: int, partition: int, offset: int) -> None:
        """One of these leads came out allowed."""
        self._leads.setdefault(number, set()).add((partition, offset))
        self.leads += 1

    def taken_back(self, record: Received, now: float) -> bool:
        """A recall came out. Whether it has the form and the reason that it must have."""
        self.recalls, self.last_at = self.recalls + 1, now
        with suppress(ValueError, KeyError):
            notice = msgspec.json.decode(record.value or b"")
            places = (each.split("/") for each in (dict(record.headers)["upto"] or b"").decode().split())
            upto = {int(partition): int(offset) for _, partition, offset in places}
            self._recalls.setdefault(int(record.key or b""), []).append(upto)
            why = notice["kind"], notice["reason"], notice["register"], notice["number"].encode()
            return why == ("recalled", "opposed", "internal", record.key)
        return False

    def faults(self) -> Counter[str]:
        """Leads that nothing took back, and recalls that took nothing back."""
        faults: Counter[str] = Counter()
        for number in {*self._leads, *self._recalls}:
            outstanding = self._leads.get(number, set())
            for upto in self._recalls.get(number, ()):
                kept = {lead for lead in outstanding if lead[1] >= upto.get(lead[0], 0)}
                faults["taken back for nothing"] += kept == outstanding
                outstanding = kept
            faults["not taken back"] += len(outstanding)
        return +faults


class OutputCheck:
    """Checks records as they come out. `faults` counts the faults by a short name, and should stay empty. `sent` has for
    each id the place of its lead in `leads`: the sender appends before it sends.

    `start` is the log's position before the delta: a stamp with a later one must know the delta.
    """

    def __init__(self, leads: Sequence[DemoLead], topics: Mapping[str, str], start: int) -> None:
        self.leads = leads
        self.sent = array("I")
        self._verdict_of_topic = {name: verdict for verdict, name in topics.items()}
        self._start = start
        self._seen = bytearray()
        self._last: dict[tuple[str, int], tuple[int, int]] = {}  # by output partition: last id, last position
        self._partition_of_key: dict[bytes, int] = {}
        self._expected: dict[tuple[int, bool], Expected] = {}
        self._positions: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.taken = 0
        self.first_stamp_at: float | None = None  # of a stamp by the delta
        self.first_block_at: float | None = None  # of a block of a lead that the index before it allowed
        self.latencies: Counter[int] = Counter()  # milliseconds from being sent to being read
        self.handed_out = HandedOut()

    @property
    def checked(self) -> int:
        """How many stamps were compared with the truth."""
        return self._positions.total()

    @property
    def judged_after(self) -> int:
        """How many of them know the delta."""
        return sum(count for position, count in self._positions.items() if position > self._start)

    def take(self, records: Sequence[Received]) -> None:
        """Check the records, in the order of each partition."""
        now = time.time()
        self._seen.extend(bytes(len(self.sent) - len(self._seen)))
        for record in records:
            if record.topic not in self._verdict_of_topic:
                self.faults["wrong recall"] += not self.handed_out.taken_back(record, now)
                continue
            self.latencies[max(0, int(now * 1000) - record.timestamp_ms)] += 1
            self._check(record, now)
            self.taken += 1

    def finish(self, delta: int | None) -> None:
        """The end: count what never came out, and stamps by a position that is neither the first nor the delta's."""
        known = self._positions[self._start] + (self._positions[delta] if delta is not None else 0)
        self.faults["unknown position"] += self.checked - known
        self.faults["lost"] += len(self.sent) - len(self._seen) + self._seen.count(0)
        self.faults.update(self.handed_out.faults())
        self.faults = +self.faults

    def _check(self, record: Received, now: float) -> None:
        match = _ID.match(record.value or b"")
        number = -1 if match is None else int(match[1])
        if not 0 <= number < len(self._seen):
            self.faults["never sent"] += 1
            return
        self.faults["twice"] += self._seen[number] > 0
        self._seen[number] = 1
        lead_at = self.sent[number]
        lead = self.leads[lead_at]
        stamp = self._stamp(record, lead, number)
        self._check_order(record, lead, number, stamp)
        if stamp is None:
            return
        self._positions[stamp.index] += 1
        self.reasons[stamp.reason] += 1
        after = stamp.index > self._start
        self._judge(stamp, self._verdict_of_topic.get(record.topic), lead_at, after=after)
        if stamp.allowed and lead.claim is not None and lead.claim.group == "swing":
            self.handed_out.allowed(lead.claim.number, record.partition, record.offset)
        if after:
            self.first_stamp_at = self.first_stamp_at or now
            if self.first_block_at is None and stamp.reason == "opposed":
                before = self._must_say(lead_at, after=False)
                self.first_block_at = now if before.verdict == "allowed" else None

    def _stamp(self, record: Received, lead: DemoLead, number: int) -> Stamp | None:
        """The stamp, if everything around it is as it was sent."""
        headers, value = list(record.headers), record.value or b""
        if lead.readable:
            head = lead.value(number).removesuffix(b"}") + _SPLICE
            unchanged = value.startswith(head) and value.endswith(b"}")
            bare = value[len(head) : -1] if unchanged else None
        else:
            name, bare = headers.pop() if headers else ("", None)
            unchanged = value == lead.value(number) and name == "scrub"
        self.faults["bytes changed"] += not unchanged
        self.faults["key changed"] += record.key != lead.key
        self.faults["headers changed"] += headers != list(lead.headers)
        if not unchanged or bare is None:
            return None
        with suppress(ValueError):
            stamp = decode(bare)
            if msgspec.to_builtins(stamp) == msgspec.json.decode(bare):  # it has no other member
                return stamp
        self.faults["stamp unreadable"] += 1
        return None

    def _check_order(self, record: Received, lead: DemoLead, number: int, stamp: Stamp | None) -> None:
        """Ids were sent in ascending order, so they ascend in each output partition; so do positions."""
        place = record.topic, record.partition
        last, position = self._last.get(place, (-1, -1))
        index = position if stamp is None else stamp.index
        self.faults["out of order"] += number <= last
        self.faults["position went back"] += index < position
        self._last[place] = max(last, number), max(position, index)
        if lead.key is not None:
            partition = self._partition_of_key.setdefault(lead.key, record.partition)
            self.faults["key in two partitions"] += partition != record.partition

    def _judge(self, stamp: Stamp, topic: str | None, place: int, *, after: bool) -> None:
        """The verdict with its evidence, and that of the topic, are what the truth at the stamp's position says."""
        stamped = Expected(stamp.verdict, stamp.reason, stamp.number or "", tuple(stamp.registers))
        self.faults["wrong verdict"] += stamped != self._must_say(place, after=after)
        self.faults["wrong topic"] += topic != stamp.verdict
        if "allowed" in (stamp.verdict, topic):
            # Only a contract lifts a register, and never `internal`.
            claim = self.leads[place].claim
            denying = "" if claim is None else opposing(claim, after=after)
            lifted = denying != "internal" and stamp.reason == "contract"
            self.faults["opposed but allowed"] += denying != "" and not lifted

    def _must_say(self, place: int, *, after: bool) -> Expected:
        """The truth about a lead, worked out once."""
        if (place, after) not in self._expected:
            self._expected[place, after] = expected(self.leads[place], after=after)
        return self._expected[place, after]

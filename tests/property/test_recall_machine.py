"""Recall against plain lists: leads, opt-outs, consents, days, workers that lag, crashes and rebalances.

The model is the list of leads that were handed out. Whatever happens, a member recalls exactly the numbers of which it has
a lead that may no longer be called by its index, each once; and it holds what the two topics say.
"""

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stream_scrub.kafka.headers import Headers
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.model import RegisterKind
from stream_scrub.ops.batch_size import BatchSize
from stream_scrub.recall.member import Member
from stream_scrub.recall.outstanding import Outstanding
from stream_scrub.recall.record import PastRecalls
from stream_scrub.recall.restore import hold_again
from stream_scrub.recall_notice import decode
from tests.support.fakes import law
from tests.support.fakes.scrubbers import scrubber

KEEP_DAYS = 20
NUMBERS = [33_612_345_670 + n for n in range(4)]
CAMPAIGNS = ["", "acme", "zeta"]
REGISTERS = {
    "internal": RegisterKind.DENY,
    "internal@acme": RegisterKind.DENY,
    "list": RegisterKind.DENY,
    "consent": RegisterKind.ALLOW,
    "reassigned": RegisterKind.DENY,
}
LAW = """country = "FR"
regions = ["FR"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "a law made for the tests"
deny = ["list", "internal"]
require = ["consent"]
lifted_by = ["contract"]
reassigned = ["reassigned"]
max_age_days = { list = 30 }
"""
PARTITIONS = [("allowed", n) for n in range(3)]
MEMBERS = [0, 1]


class Record:
    """What a consumer returns."""

    def __init__(self, place, offset, key, value):
        self.place, self.at, self.own_key, self.own_value = place, offset, key, value

    def key(self):
        return self.own_key

    def partition(self):
        return self.place[1]

    def offset(self):
        return self.at


@dataclass
class Lead:
    """One lead that was handed out."""

    place: tuple
    offset: int
    number: int
    campaign: str
    contract: bool
    last: date
    taken_back: bool = False


def may_be_called(lead, registers, now):
    """The law of this test by plain sets: True, False, or None while a register is stale."""
    scopes = [f"internal@{lead.campaign}"] if lead.campaign else [n for n in registers if "@" in n]
    if any(lead.number in registers[name][0] for name in ("internal", *scopes) if name in registers):
        return False
    if "reassigned" in registers and lead.number in registers["reassigned"][0]:
        return False  # neither contract nor consent counts
    if lead.contract:
        return True
    (listed, effective), (consented, _) = registers["list"], registers["consent"]
    if lead.number not in consented:
        return False
    if now - effective > timedelta(days=30):
        return None
    return lead.number not in listed


def batch_of(records):
    return PolledBatch(
        records,
        [each.place[1] for each in records],
        Headers([None] * len(records), []),
        [each.own_value for each in records],
        [each.place[0] for each in records],
    )


class Recalling(RuleBasedStateMachine):
    """Two members, three partitions."""

    @initialize(part=st.sampled_from([1, 2, 20_000]))
    def begin(self, part):
        self.part = part  # recalls in one transaction
        self.scrubber = scrubber(LAW)
        self.now = law.NOW
        self.past = [{}]  # by position: what each register holds, and its list's moment
        self.indexes = [law.index(position=0)]
        self.topics = {place: [] for place in PARTITIONS}
        self.committed = dict.fromkeys(PARTITIONS, 0)
        self.floors = dict.fromkeys(PARTITIONS, 0)
        self.leads = []
        self.recalled = []  # (key, value, headers)
        self.owners = dict.fromkeys(PARTITIONS, 0)
        self.members = {each: self.member() for each in MEMBERS}
        self.positions = dict.fromkeys(MEMBERS, 0)
        self.changed("consent", set(NUMBERS))
        self.changed("list", set())

    def member(self):
        member = Member(self.scrubber, KEEP_DAYS)
        member.watch.size = BatchSize(self.part)
        return member

    # The log and the workers.

    def changed(self, name, numbers):
        registers = {**self.past[-1], name: (numbers, self.now)}
        self.past.append(registers)
        position = len(self.past) - 1
        made = law.register(name, numbers, kind=REGISTERS[name], position=position)
        made = type(made)(*(getattr(made, f) if f != "effective_at" else self.now for f in made.__slots__))
        self.indexes.append(self.indexes[-1].with_register(made))

    @rule(name=st.sampled_from(sorted(REGISTERS)), number=st.sampled_from(NUMBERS))
    def toggle(self, name, number):
        before = self.past[-1].get(name, (set(), None))[0]
        self.changed(name, before ^ {number})

    @rule()
    def renew_the_list(self):
        self.changed("list", self.past[-1]["list"][0])

    @rule(hours=st.sampled_from([1, 1, 7, 7, 30, 24 * 8, 24 * 31]))
    def time_passes(self, hours):
        self.now += timedelta(hours=hours)

    @rule(
        leads=st.lists(
            st.tuples(
                st.sampled_from(PARTITIONS),
                st.sampled_from(NUMBERS),
                st.sampled_from(CAMPAIGNS),
                st.booleans(),
                st.booleans(),
            ),
            min_size=1,
            max_size=6,
        ),
        lag=st.integers(0, 2),
        data=st.data(),
    )
    def hand_out(self, leads, lag, data):
        for lead in leads:
            self.hand_out_one(*lead, lag)
        self.turns(data, follows=data.draw(st.booleans()))

    def hand_out_one(self, place, number, campaign, contract, two, lag):
        index = self.indexes[max(0, len(self.indexes) - 1 - lag)]
        other = NUMBERS[(NUMBERS.index(number) + 1) % len(NUMBERS)]
        phones = [f"+{number}", f"+{other}"] if two else f"+{number}"
        value = {"phone": phones, "campaign": campaign, "contract": contract}
        judged = self.scrubber.scrub([json.dumps(value).encode()], index, self.now)
        if not judged.allowed[0]:
            return
        stamp = json.loads(judged.values[0])["scrub"]
        last = datetime.fromisoformat(stamp["at"]).date() + timedelta(KEEP_DAYS)
        last = min(last, date.fromisoformat(stamp.get("until", "9999-12-31")))
        topic = self.topics[place]
        for each in [number, other] if two else [number]:
            self.leads.append(Lead(place, len(topic), each, campaign, contract, last))
        topic.append(Record(place, len(topic), b"k", judged.values[0]))

    # The members.

    def own(self, who):
        return {place for place, owner in self.owners.items() if owner == who}

    @rule(place=st.sampled_from(PARTITIONS), who=st.sampled_from(MEMBERS))
    def rebalance(self, place, who):
        if self.owners[place] != who:
            self.members[self.owners[place]].outstanding.drop([place])
            self.owners[place] = who

    def crash(self, who):
        self.members[who] = self.member()

    def restored(self, who):
        member = self.members[who]
        missing = self.own(who) - member.outstanding.partitions
        if missing:
            past, restored = PastRecalls(missing, {}), Outstanding()
            for record in self.recalled:
                past.take(*record)
            for place in missing:
                restored.begin(place)
            records = [each for place in missing for each in self.topics[place]]
            fetched = batch_of(records)
            found = member.leads.read(fetched, self.now)
            hold_again(restored, fetched, found, past, self.committed)
            member.outstanding.join(restored)
            member.watch.forget()

    def is_due(self, who):
        return self.own(who) and all(self.floors[p] <= self.positions[who] for p in self.own(who))

    @rule(data=st.data(), follows=st.sampled_from([True, True, False]))
    def turns(self, data, follows):
        for who in MEMBERS:
            self.turn(who, data, follows=follows)

    @rule(data=st.data(), name=st.sampled_from(["internal", "internal@acme", "list", "consent"]))
    def change_a_number_that_was_handed_out(self, data, name):
        """And look at once, as most members do most of the time."""
        if self.leads:
            lead = data.draw(st.sampled_from(self.leads))
            self.toggle(name, lead.number)
        self.turns(data, follows=True)

    @rule(data=st.data(), who=st.sampled_from(MEMBERS))
    def crash_and_come_back(self, data, who):
        self.crash(who)
        self.turns(data, follows=True)

    def turn(self, who, data, *, follows):
        if follows:
            self.positions[who] = len(self.indexes) - 1
        if not self.is_due(who):
            return
        self.restored(who)
        member, position = self.members[who], self.positions[who]
        index = self.indexes[position]
        member.outstanding.expire(self.now)
        expected = self.uncallable(who, position, lambda lead: lead.offset < self.committed[lead.place])
        found = []
        for look in (False, True):
            for emission in member.due(index, self.now, self.now, self.committed, look=look):
                if data.draw(st.sampled_from([False] * 5 + [True])):
                    self.crash(who)
                    return
                self.commit(who, emission, {}, position)
                found += emission.recalls
        assert sorted(found) == sorted(expected), "recalled for a delta or the time"

        records = [each for place in self.own(who) for each in self.topics[place][self.committed[place] :]]
        fetched = batch_of(records[: data.draw(st.sampled_from([100, 100, 3, 1]))])
        leads = member.leads.read(fetched, self.now)
        if leads.position > position:
            return
        ends = {each.place: each.at + 1 for each in fetched.messages}
        places = {(each.place, each.at) for each in fetched.messages}
        expected = self.uncallable(who, position, lambda lead: (lead.place, lead.offset) in places)
        upto = self.committed | ends
        emission = member.take(fetched, leads, self.now, self.now, upto)
        assert sorted(emission.recalls) == sorted(expected), "on arrival"
        if data.draw(st.sampled_from([True, True, False])):
            self.commit(who, emission, ends, position)

    def uncallable(self, who, position, counts):
        today = (self.now - timedelta(hours=12)).date()
        return {
            lead.number
            for lead in self.leads
            if lead.place in self.own(who)
            and counts(lead)
            and not lead.taken_back
            and lead.last >= today
            and may_be_called(lead, self.past[position], self.now) is False
        }

    def commit(self, who, emission, ends, position):
        for (number, record), header in zip(emission.recalls.items(), emission.headers, strict=True):
            assert int(decode(record).number) == number
            self.recalled.append((b"+%d" % number, record, [header]))
        self.committed |= ends
        self.floors |= dict.fromkeys(self.own(who), position)
        self.members[who].committed(emission)
        for lead in self.leads:
            if (
                lead.place in self.own(who)
                and lead.offset < self.committed[lead.place]
                and lead.number in emission.recalls
            ):
                lead.taken_back = True

    @invariant()
    def what_is_held_is_what_the_topics_say(self):
        today = (self.now - timedelta(hours=12)).date()
        for who, member in self.members.items():
            member.outstanding.expire(self.now)
            assert bool(len(member.outstanding)) == any(member.outstanding.holders().values())
            for place in member.outstanding.partitions & self.own(who):
                assert {*member.outstanding.holders()[place]} == {
                    lead.number
                    for lead in self.leads
                    if lead.place == place
                    and lead.offset < self.committed[place]
                    and not lead.taken_back
                    and lead.last >= today
                }


TestRecalling = Recalling.TestCase
TestRecalling.settings = settings(stateful_step_count=50)

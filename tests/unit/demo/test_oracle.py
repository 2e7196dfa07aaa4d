"""The demo's checker: an honest worker passes, and each kind of wrong is noticed. One that cannot fail proves nothing."""

import msgspec
import numpy as np
import pytest

from stream_scrub.demo.countries import Crowd
from stream_scrub.demo.leads import Casting, Lead
from stream_scrub.demo.oracle import OutputCheck, SentLeads, Truth
from stream_scrub.kafka.embedded.clients import Received

TOPICS = {"allowed": "out.allowed", "blocked": "out.blocked"}
START, DELTA = 22, 25


class World:
    """Some leads with their truth, and a worker that plays honest."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.crowd = Crowd.draw(2_000, rng)
        self.leads = Casting(self.crowd, rng).make(2_000)
        registers = {
            name: frozenset(n for numbers in held.values() for n in numbers)
            for name, held in self.crowd.registers().items()
        }
        self.swing = frozenset(n for numbers in self.crowd.swing.values() for n in numbers)
        self.truth = Truth(registers, self.swing)

    def checker(self, sent) -> OutputCheck:
        sent_leads = SentLeads(self.leads)
        sent_leads.sent.extend(sent)
        return OutputCheck(sent_leads, self.truth, TOPICS, START)

    def find(self, wanted) -> int:
        return next(place for place, lead in enumerate(self.leads) if wanted(lead))

    def record(self, number: int, place: int, *, index: int = START, **changed) -> Received:
        """What an honest worker emits for this id; `stamp` changes members of its stamp, others those of the record."""
        lead: Lead = self.leads[place]
        must = self.truth.expected(lead, after=index >= DELTA)
        stamp = {name: value for name, value in must._asdict().items() if value}
        stamp |= {"index": index, "at": "2026-11-24T12:00:00.123Z"} | changed.pop("stamp", {})
        encoded = msgspec.json.encode(stamp)
        headers = lead.arriving(number)
        if lead.readable:
            value = b'%b%d%b"scrub":%b%b' % (lead.start, number, lead.head, encoded, lead.tail)
        else:
            value = lead.value(number)
            headers = (*headers, ("scrub", encoded))
        partition = sum(lead.key or b"") % 4
        made = Received(TOPICS[stamp["verdict"]], partition, lead.key, value, headers, 0)
        return made._replace(**{name: change(made) for name, change in changed.items()})


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def plain(verdict: str, world: World):
    """A lead with one number, a key and that verdict."""
    return lambda lead: (
        lead.readable
        and lead.key is not None
        and len(lead.claims) == 1
        and lead.claims[0] is not None
        and world.truth.expected(lead, after=False).verdict == verdict
        and world.truth.expected(lead, after=True).verdict == verdict
    )


def test_an_honest_worker_passes(world):
    """The demo would call a system broken that works."""
    checker = world.checker(range(len(world.leads)))
    checker.take([world.record(number, number) for number in range(len(world.leads))])
    checker.finish()

    assert checker.faults == {}
    assert checker.checked == checker.taken == checker.reasons.total() == len(world.leads)
    assert {"clear", "consented", "opposed", "no-consent", "unreadable", "invalid-number"} <= set(
        checker.reasons
    )


def test_a_lost_prospect_is_noticed(world):
    """A worker that loses leads would pass."""
    checker = world.checker(range(10))
    checker.take([world.record(number, number) for number in range(9)])
    checker.finish()

    assert checker.faults == {"lost": 1}


def test_a_lost_prospect_is_noticed_when_others_came_twice(world):
    """As many out as in would be taken for exactly once."""
    checker = world.checker(range(10))
    checker.take([world.record(number, number) for number in (0, 1, 2, 3, 4, 5, 6, 8, 9, 9)])
    checker.finish()

    assert (checker.faults["lost"], checker.faults["twice"]) == (1, 1)


def test_a_prospect_that_was_never_sent_is_noticed(world):
    """A worker that invents leads would pass."""
    checker = world.checker([0])
    checker.take([world.record(0, 0), world.record(1, 0)])
    checker.take(
        [Received("out.blocked", 0, None, b"{}", (), 0), Received("out.blocked", 0, None, None, (), 0)]
    )
    checker.finish()

    assert checker.faults == {"never sent": 3}


def forged(record: Received) -> tuple:
    return (*record.headers, ("scrub", b'{"verdict":"allowed"}'))


CHANGES = {
    "bytes changed": {"value": lambda r: (r.value or b"").replace(b'"email":"l', b'"email":"L')},
    "bytes changed, a stamp in the middle": {
        "value": lambda r: (r.value or b"").replace(b',"email"', b',"scrub":{},"email"')
    },
    "bytes changed, no stamp": {"value": lambda r: (r.value or b"").partition(b',"scrub"')[0] + b"}"},
    "bytes changed, no value": {"value": lambda r: None, "headers": lambda r: [("lead", b"0")]},
    "key changed": {"key": lambda r: b"other"},
    "key changed, none": {"key": lambda r: None},
    "headers changed": {"headers": lambda r: (*r.headers, ("more", b"1"))},
    "headers changed, a stamp smuggled": {"headers": forged},
    "wrong topic": {"topic": lambda r: "out.allowed" if r.topic == "out.blocked" else "out.blocked"},
    "wrong verdict": {"stamp": {"reason": "no-rule"}},
    "wrong verdict, another number": {"stamp": {"number": "+33600000000"}},
    "wrong verdict, registers": {"stamp": {"registers": ["bloctel"]}},
    "unknown position": {"stamp": {"index": START - 1}},
    "stamp unreadable": {"stamp": {"at": 5}},
    "stamp unreadable, a member more": {"stamp": {"phone": "+33600000000"}},
}


@pytest.mark.parametrize("verdict", ["allowed", "blocked"])
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_noticed(world, change, verdict):
    """A worker that does this to a prospect would pass."""
    place = world.find(plain(verdict, world))
    checker = world.checker([place])
    checker.take([world.record(0, place, **CHANGES[change])])
    checker.finish()

    assert checker.faults[change.partition(",")[0]] == 1, checker.faults


@pytest.mark.parametrize("change", ["value", "headers"])
def test_a_change_of_an_unreadable_prospect_is_noticed(world, change):
    """Bytes that nobody understands could be lost or altered unseen."""
    place = world.find(lambda lead: not lead.readable and lead.value(0))
    other = {"value": lambda r: r.value + b" ", "headers": lambda r: r.headers[:-1]}
    checker = world.checker([place])
    checker.take([world.record(0, place, **{change: other[change]})])
    checker.finish()

    assert checker.faults["bytes changed"] == 1


@pytest.mark.parametrize("group", ["opposed", "listed"])
def test_an_opposed_number_that_is_allowed_is_noticed(world, group):
    """The one mistake that costs 375 000 EUR would pass."""
    held = {n for numbers in getattr(world.crowd, group).values() for n in numbers}
    place = world.find(
        lambda lead: (
            plain("blocked", world)(lead)
            and lead.claims[0].number in held
            and world.truth.opposed(lead.claims[0], after=False)
        )
    )
    for stamp in ({"verdict": "allowed", "reason": "clear", "registers": []}, {"verdict": "allowed"}):
        checker = world.checker([place])
        checker.take([world.record(0, place, stamp=stamp)])
        checker.finish()
        assert checker.faults["opposed but allowed"] == checker.faults["wrong verdict"] == 1

    checker = world.checker([place])
    checker.take([world.record(0, place, topic=lambda r: "out.allowed")])
    assert checker.faults["opposed but allowed"] == checker.faults["wrong topic"] == 1


def test_order_and_positions_that_go_back_are_noticed(world):
    """A dialler would get a key's prospects in another order, or one judged by an older list after a newer one."""
    place = world.find(plain("blocked", world))
    checker = world.checker([place] * 5)
    checker.take([world.record(number, place) for number in (1, 0)])
    assert checker.faults["out of order"] == 1

    checker.published(DELTA)
    checker.take([world.record(2, place, index=DELTA), world.record(3, place, index=START)])
    assert checker.faults["position went back"] == 1

    checker.take([world.record(4, place, index=DELTA, partition=lambda r: r.partition + 1)])
    assert checker.faults["key in two partitions"] == 1


@pytest.fixture
def swinging(world) -> int:
    return world.find(
        lambda lead: (
            len(lead.claims) == 1
            and lead.claims[0] is not None
            and lead.claims[0].number in world.swing
            and world.truth.expected(lead, after=False).verdict == "allowed"
        )
    )


def test_the_delta_changes_what_must_be_said(world, swinging):
    """A worker that ignores the new opt-outs, or blocks by them before its stamp says so, would pass."""
    checker = world.checker([swinging] * 4)
    checker.published(DELTA)
    checker.take([world.record(0, swinging), world.record(1, swinging, index=DELTA)])
    assert +checker.faults == {}
    assert checker.first_block_at is not None and checker.judged_after == 1

    before = {"verdict": "allowed", "reason": "clear", "registers": []}
    checker.take([world.record(2, swinging, index=DELTA, stamp=before)])
    assert checker.faults["opposed but allowed"] == checker.faults["wrong verdict"] == 1

    early = {"verdict": "blocked", "reason": "opposed", "registers": ["internal"]}
    checker.take([world.record(3, swinging, stamp=early)])
    assert checker.faults["wrong verdict"] == 2


def test_verdicts_by_a_delta_not_yet_told_wait_for_it(world, swinging):
    """The demo would call the first verdicts by the delta wrong, or never look at them."""
    checker = world.checker([swinging] * 2)
    wrong = {"verdict": "allowed", "reason": "clear", "registers": []}
    checker.take(
        [world.record(0, swinging, index=DELTA), world.record(1, swinging, index=DELTA, stamp=wrong)]
    )
    assert checker.faults["wrong verdict"] == checker.faults["unknown position"] == 0

    checker.published(DELTA)
    checker.finish()
    assert checker.faults == {"wrong verdict": 1, "opposed but allowed": 1}


def test_a_position_that_never_was_published_is_noticed(world, swinging):
    """A worker that makes positions up would never be checked."""
    checker = world.checker([swinging])
    checker.take([world.record(0, swinging, index=DELTA)])
    checker.finish()

    assert checker.faults == {"unknown position": 1}

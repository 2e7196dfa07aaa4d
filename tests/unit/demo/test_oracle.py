"""The demo's checker: an honest worker passes, and each kind of wrong is noticed. One that cannot fail proves nothing."""

import random

import msgspec
import numpy as np
import pytest

from stream_scrub.demo.leads import Crowd, DemoLead, LeadMaker
from stream_scrub.demo.oracle import Expected, OutputCheck, expected, opposing
from stream_scrub.kafka.embedded import Received

TOPICS = {"allowed": "out.allowed", "blocked": "out.blocked"}
START, DELTA = 22, 25


def swings(lead: DemoLead) -> bool:
    """Whether its person may be called until she opts out midway."""
    claim = lead.claim
    return claim is not None and claim.group == "swing" and expected(lead, after=False).verdict == "allowed"


class World:
    """Some leads with their truth, and a worker that plays honest."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.crowd = Crowd.draw(2_000, rng)
        self.leads = LeadMaker(self.crowd, random.Random(5)).make(2_000)

    def checker(self, sent) -> OutputCheck:
        checker = OutputCheck(self.leads, TOPICS, START)
        checker.sent.extend(sent)
        return checker

    def taken_back(self) -> set[int]:
        """The numbers with a lead that is allowed, of those that opt out midway."""
        return {lead.claim.number for lead in self.leads if swings(lead)}

    def find(self, wanted) -> int:
        return next(place for place, lead in enumerate(self.leads) if wanted(lead))

    def record(self, number: int, place: int, *, index: int = START, **changed) -> Received:
        """What an honest worker emits for this id; `stamp` changes members of its stamp, others those of the record."""
        lead: DemoLead = self.leads[place]
        must = expected(lead, after=index >= DELTA)
        stamp = members(must)
        stamp |= {"index": index, "at": "2026-11-24T12:00:00.123Z"} | changed.pop("stamp", {})
        encoded = msgspec.json.encode(stamp)
        headers = lead.headers
        if lead.readable:
            value = b'%b,"scrub":%b}' % (lead.value(number)[:-1], encoded)
        else:
            value = lead.value(number)
            headers = (*headers, ("scrub", encoded))
        partition = sum(lead.key or b"") % 4
        made = Received(TOPICS[stamp["verdict"]], partition, lead.key, value, headers, 0, number)
        return made._replace(**{name: change(made) for name, change in changed.items()})


def members(must: Expected) -> dict:
    """The members that a stamp has for this."""
    return {name: value for name, value in must._asdict().items() if value}


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def plain(verdict: str, world: World):
    """A lead with one number, a key and that verdict."""
    return lambda lead: (
        lead.readable
        and lead.key is not None
        and lead.claim is not None
        and expected(lead, after=False).verdict == verdict
        and expected(lead, after=True).verdict == verdict
    )


def test_an_honest_worker_passes(world):
    """The demo would call a system broken that works."""
    checker = world.checker(range(len(world.leads)))
    checker.take([world.record(number, number) for number in range(len(world.leads))])
    checker.take([recall(number, len(world.leads), *range(4)) for number in sorted(world.taken_back())])
    checker.finish(DELTA)

    assert checker.faults == {}
    assert checker.handed_out.people == checker.handed_out.recalls > 10
    assert checker.checked == checker.taken == checker.reasons.total() == len(world.leads)
    assert {"clear", "consented", "opposed", "no-consent", "unreadable", "invalid-number"} <= set(
        checker.reasons
    )


def test_a_lost_prospect_is_noticed_when_others_came_twice(world):
    """As many out as in would be taken for exactly once."""
    checker = world.checker(range(10))
    checker.take([world.record(number, number) for number in (0, 1, 2, 3, 4, 5, 6, 8, 9, 9)])
    checker.finish(DELTA)

    assert (checker.faults["lost"], checker.faults["twice"]) == (1, 1)


def test_a_prospect_that_was_never_sent_is_noticed(world):
    """A worker that invents leads would pass."""
    checker = world.checker([0])
    checker.take([world.record(0, 0), world.record(1, 0)])
    checker.take(
        [Received("out.blocked", 0, None, b"{}", (), 0, 0), Received("out.blocked", 0, None, None, (), 0, 1)]
    )
    checker.finish(DELTA)

    assert checker.faults == {"never sent": 3}


def forged(record: Received) -> tuple:
    return (*record.headers, ("scrub", b'{"verdict":"allowed"}'))


CHANGES = {
    "bytes changed": {"value": lambda r: (r.value or b"").replace(b'"email":"l', b'"email":"L')},
    "bytes changed, a stamp in the middle": {
        "value": lambda r: (r.value or b"").replace(b',"email"', b',"scrub":{},"email"')
    },
    "bytes changed, no stamp": {"value": lambda r: (r.value or b"").partition(b',"scrub"')[0] + b"}"},
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


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_noticed(world, change):
    """A worker that does this to a prospect would pass."""
    place = world.find(plain("allowed", world))
    checker = world.checker([place])
    checker.take([world.record(0, place, **CHANGES[change])])
    checker.finish(DELTA)

    assert checker.faults[change.partition(",")[0]] == 1, checker.faults


@pytest.mark.parametrize("change", ["value", "headers"])
def test_a_change_of_an_unreadable_prospect_is_noticed(world, change):
    """Bytes that nobody understands could be lost or altered unseen."""
    place = world.find(lambda lead: not lead.readable and lead.value(0))
    other = {"value": lambda r: r.value + b" ", "headers": lambda r: r.headers[:-1]}
    checker = world.checker([place])
    checker.take([world.record(0, place, **{change: other[change]})])
    checker.finish(DELTA)

    assert checker.faults["bytes changed"] == 1


@pytest.mark.parametrize("group", ["opposed", "listed"])
def test_an_opposed_number_that_is_allowed_is_noticed(world, group):
    """The one mistake that costs 375 000 EUR would pass."""
    held = {n for numbers in getattr(world.crowd, group).values() for n in numbers}
    place = world.find(
        lambda lead: (
            plain("blocked", world)(lead) and lead.claim.number in held and opposing(lead.claim, after=False)
        )
    )
    for stamp in ({"verdict": "allowed", "reason": "clear", "registers": []}, {"verdict": "allowed"}):
        checker = world.checker([place])
        checker.take([world.record(0, place, stamp=stamp)])
        checker.finish(DELTA)
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

    checker.take([world.record(2, place, index=DELTA), world.record(3, place, index=START)])
    assert checker.faults["position went back"] == 1

    checker.take([world.record(4, place, index=DELTA, partition=lambda r: r.partition + 1)])
    assert checker.faults["key in two partitions"] == 1


@pytest.fixture
def swinging(world) -> int:
    return world.find(swings)


def test_the_delta_changes_what_must_be_said(world, swinging):
    """A worker that ignores the new opt-outs, or blocks by them before its stamp says so, would pass."""
    checker = world.checker([swinging] * 4)
    checker.take([world.record(0, swinging), world.record(1, swinging, index=DELTA)])
    assert +checker.faults == {}
    assert checker.first_block_at is not None and checker.judged_after == 1

    before = {"verdict": "allowed", "reason": "clear", "registers": []}
    checker.take([world.record(2, swinging, index=DELTA, stamp=before)])
    assert checker.faults["opposed but allowed"] == checker.faults["wrong verdict"] == 1

    early = {"verdict": "blocked", "reason": "opposed", "registers": ["internal"]}
    checker.take([world.record(3, swinging, stamp=early)])
    assert checker.faults["wrong verdict"] == 2


def test_a_position_that_never_was_published_is_noticed(world, swinging):
    """A worker that makes positions up would never be checked."""
    checker = world.checker([swinging])
    checker.take([world.record(0, swinging, index=DELTA)])
    checker.finish(None)

    assert checker.faults == {"unknown position": 1}


def recall(number: int, upto: int, *partitions: int, **changed) -> Received:
    """What takes back the leads of a number before that offset of some partitions, by default the first one."""
    said = {"kind": "recalled", "number": f"+{number}", "reason": "opposed", "register": "internal"} | changed
    places = b" ".join(b"out.allowed/%d/%d" % (partition, upto) for partition in partitions or (0,))
    headers = (("upto", places),)
    return Received("recalled", 0, b"+%d" % number, msgspec.json.encode(said), headers, 0, 0)


def handed_out(world, *recalls: Received):
    """What the checker finds after two leads of a person who opts out were allowed, at the offsets 3 and 7."""
    place = world.find(swings)
    checker = world.checker([place] * 2)
    number = world.leads[place].claim.number
    checker.take(
        [
            world.record(at, place)._replace(partition=0, offset=offset, timestamp_ms=0)
            for at, offset in ((0, 3), (1, 7))
        ]
    )
    checker.take([each(number) for each in recalls])
    checker.finish(DELTA)
    return checker.faults


@pytest.mark.parametrize(
    ("recalls", "faults"),
    [
        ((lambda n: recall(n, 8),), {}),
        ((lambda n: recall(n, 5), lambda n: recall(n, 8)), {}),
        ((), {"not taken back": 2}),
        ((lambda n: recall(n, 7),), {"not taken back": 1}),
        ((lambda n: recall(n, 8, 1),), {"not taken back": 2, "taken back for nothing": 1}),
        ((lambda n: recall(n, 8), lambda n: recall(n, 9)), {"taken back for nothing": 1}),
        ((lambda n: recall(n, 8), lambda n: recall(n + 1, 9)), {"taken back for nothing": 1}),
        ((lambda n: recall(n, 8, reason="no-consent"),), {"wrong recall": 1}),
        ((lambda n: recall(n, 8, kind="suspended"),), {"wrong recall": 1}),
    ],
)
def test_each_lead_of_a_person_who_opts_out_must_be_taken_back_once_and_no_other(world, recalls, faults):
    """The demo would say that recalls work while people who opted out stay with the dialler."""
    assert handed_out(world, *recalls) == faults

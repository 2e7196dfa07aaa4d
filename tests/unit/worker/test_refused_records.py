"""Which record of a batch is refused, by what the client says of its records: against a broker that is a few lines long."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.worker.outputs import BARE, OTHER, PLAIN, RecordReport, RefusedRecords, stamp_facts

NOW_MS = 1_800_000_000_000
MICROSECONDS = NOW_MS * 1000


def report(offset, code="", **more):
    usual = {"keyless": False, "timestamp_ms": NOW_MS, "nbytes": 300, "own_bytes": 200}
    usual |= {"topic": "allowed", "blocked": "blocked"}
    return RecordReport(("prospects", 0, offset), code=code, **usual | more)


@dataclass
class World:
    """A topic with prospects, a broker that refuses some of them, and a worker's loop."""

    records: list[RecordReport]
    refused: dict[int, str]
    names: bool = False  # the broker says which
    refusals: RefusedRecords = field(default_factory=RefusedRecords)
    out: dict[int, int] = field(default_factory=dict)  # by offset, the form that it came out in
    tries: int = 0
    now_s: float = 0.0

    def run(self, tries_max):
        while len(self.out) < len(self.records):
            self.tries += 1
            self.now_s += 0.01
            assert self.tries <= tries_max, self.out
            batch = self.records[len(self.out) :][:1000]
            count = self.refusals.together([each.place for each in batch])
            batch = batch if count is None else batch[:count]
            assert batch
            forms = {at: each.form for at, each in self.refusals.of(batch, self.now_s).items()}
            bad = [each for at, each in enumerate(batch) if at not in forms and each.place[2] in self.refused]
            if not bad:
                for at, each in enumerate(batch):
                    self.out[each.place[2]] = forms.get(at, 0)
                self.refusals.committed(each.place for each in batch)
                continue
            code = self.refused[bad[0].place[2]]
            said = [
                each._replace(code=code if not self.names or len(bad) == 1 or each in bad else OTHER)
                for each in batch
            ]
            self.refusals.failed(said, alone=len(batch) == 1, now_s=self.now_s, now_ms=NOW_MS)
        return self


@given(
    st.sets(st.integers(0, 399), max_size=4),
    st.sampled_from(["INVALID_RECORD", "INVALID_TIMESTAMP", "POLICY"]),
    st.booleans(),
)
def test_exactly_the_refused_ones_come_out_otherwise(bad, code, names):
    """Lawful prospects would come out blocked beside a bad one, or a bad one stop its partition for ever."""
    world = World([report(at) for at in range(400)], dict.fromkeys(bad, code), names).run(410)

    assert list(world.out) == list(range(400)), "in their order"
    assert {at for at, form in world.out.items() if form} == bad
    if names and len(bad) > 1:
        assert world.tries <= 2 + 4 * len(bad)


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("INVALID_RECORD", {"keyless": True}),
        ("INVALID_TIMESTAMP", {"timestamp_ms": MICROSECONDS}),
        ("INVALID_TIMESTAMP", {"timestamp_ms": NOW_MS // 1000}),
        ("MSG_SIZE_TOO_LARGE", {"nbytes": 2_000_000}),
    ],
)
def test_a_producer_that_always_does_it_costs_the_others_a_few_batches(code, bad):
    """Every one of its records would be looked for by itself, and all others wait for that."""
    records = [report(at, **(bad if at % 3 == 1 else {})) for at in range(3000)]
    world = World(records, {at: code for at in range(3000) if at % 3 == 1}).run(20)

    assert all((form == PLAIN) == (at % 3 == 1) for at, form in world.out.items())


@pytest.mark.parametrize(
    ("code", "bad", "lawful"),
    [
        ("INVALID_TIMESTAMP", {"keyless": True, "timestamp_ms": NOW_MS - 10**10}, {"keyless": True}),
        ("INVALID_TIMESTAMP", {"keyless": True, "timestamp_ms": MICROSECONDS}, {"keyless": True}),
        ("INVALID_RECORD", {"timestamp_ms": NOW_MS + 120_000}, {"timestamp_ms": NOW_MS + 120_000}),
    ],
)
def test_what_one_is_refused_for_is_held_against_no_other_that_is_lawful(code, bad, lawful):
    """One record with an odd timestamp and no key would have every keyless lead blocked for a minute, again and again."""
    records = [report(at, **(bad if at == 1 else lawful)) for at in range(3000)]
    world = World(records, {1: code}).run(1010)

    assert {at for at, form in world.out.items() if form} == {1}


def test_what_was_learnt_is_forgotten():
    """A topic whose settings were put right would still be given no keyless prospect."""
    refusals, keyless = RefusedRecords(), report(7, "INVALID_RECORD", keyless=True)
    refusals.failed([keyless], alone=True, now_s=0.0, now_ms=NOW_MS)
    other = [report(8, keyless=True)]
    assert refusals.of(other, 59.0)
    assert not refusals.of(other, 61.0)
    refusals.committed([("prospects", 0, 7)])
    assert not refusals.are_known


def test_what_one_topic_refuses_is_not_held_against_the_records_of_another():
    """One tenant's compacted output, or small limit, would have another tenant's lawful leads come out blocked, or bare."""
    refusals, odd = RefusedRecords(), {"keyless": True, "nbytes": 900, "own_bytes": 800}
    theirs = {"topic": "acme.allowed", "blocked": "acme.blocked"}
    for at, code in enumerate(["INVALID_RECORD", "MSG_SIZE_TOO_LARGE"]):
        for sent_to in theirs.values():
            named = report(at, code, **odd | theirs | {"topic": sent_to})
            refusals.failed([named], alone=True, now_s=0.0, now_ms=NOW_MS)
    assert refusals.of([report(7, **odd | theirs)], 1.0)[0].form == BARE
    assert not refusals.of([report(7, **odd)], 1.0)
    assert not refusals.of([report(7, **odd, topic="acme.all", blocked="acme.blocked")], 1.0), "tried first"


def test_what_is_refused_again_comes_out_without_its_bytes():
    """A record that no output takes in any form of its own would stop its partition for ever."""
    refusals, record = RefusedRecords(), report(7, "INVALID_RECORD")
    for form in (PLAIN, BARE):
        refusals.failed([record], alone=True, now_s=0.0, now_ms=NOW_MS)
        assert {at: each.form for at, each in refusals.of([record], 1.0).items()} == {0: form}
    says = stamp_facts(refusals.of([record], 1.0)[0], record, several=False)
    assert says == {"cause": "INVALID_RECORD", "from": "0/7", "timestamp": NOW_MS}
    says = stamp_facts(refusals.of([record], 1.0)[0], record, several=True)
    assert says["from"] == "prospects/0/7"


def test_records_that_are_too_large_for_any_form_are_not_looked_for_one_by_one():
    """Where nobody may ask for the topics' limit, each of them would cost several batches, and all others wait."""
    refusals = RefusedRecords()
    huge = [report(at, "MSG_SIZE_TOO_LARGE", nbytes=900, own_bytes=800) for at in range(3)]
    for _ in range(2):
        refusals.failed(huge[:1], alone=True, now_s=0.0, now_ms=NOW_MS)
    fits = report(9, nbytes=900, own_bytes=700)
    forms = {at: each.form for at, each in refusals.of([*huge, fits], 1.0).items()}
    assert forms == {0: BARE, 1: BARE, 2: BARE, 3: PLAIN}

"""Requests: any bytes come to an order or a refusal, and a batch that is cut off anywhere is applied once."""

import json
from collections import Counter
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from stream_scrub.model import Request
from stream_scrub.requests.lifts import Oppositions
from stream_scrub.requests.parse_request import ParsedRequest, RequestRefusal, read
from stream_scrub.requests.requests_to_delta import KnownScopes, in_order, take
from tests.simulation.publishing import NEVER, Crashed, publishing
from tests.support.fakes.publisher import as_dict
from tests.support.oracles.jsonish import VALUES, broken, prospects
from tests.support.oracles.requests import SCHEMA, TERMS, Model, requests

NUMBER = 33612345678
VALIDATOR = Draft202012Validator(SCHEMA)
WORDS = st.sampled_from(
    ["opt-out", "consent", "withdrawal", "correction", "internal", "consent@acme", "FR", "zz", ""]
)


@given(st.one_of(st.none(), st.binary(max_size=200), broken(), prospects().map(lambda made: made[0])))
def test_any_bytes_come_to_an_order_or_a_refusal(value):
    """One record on the topic would stop the publisher, and with it every opt-out behind it."""
    assert isinstance(read(value, TERMS), ParsedRequest | RequestRefusal)


MEMBERS = st.sampled_from(
    [
        "request",
        "number",
        "register",
        "scope",
        "region",
        "until",
        "after_opt_out",
        "remove_from",
        "reason",
        "x",
    ]
)
ANY = st.one_of(WORDS.map(json.dumps), VALUES)


@given(
    st.sampled_from(["opt-out", "consent", "withdrawal", "correction", "x"]), st.dictionaries(MEMBERS, ANY)
)
@example("opt-out", {"scope": '"33612345678"'})
def test_any_members_come_to_an_order_or_a_refusal(kind, members):
    """One oddly filled form would stop the publisher."""
    told = {"request": json.dumps(kind), "number": '"0612345678"', **members}
    text = "{" + ",".join(f'"{name}":{member}' for name, member in told.items()) + "}"
    value = text.encode("utf-8", "surrogatepass")
    order = read(value, TERMS)
    assert isinstance(order, ParsedRequest | RequestRefusal)
    wanted, turned, _ = take(
        [Request(0, 7, 0, None, value, may_lift=True)],
        TERMS,
        lambda _: None,
        Oppositions(),
        {},
        KnownScopes(),
    )
    assert bool(wanted) == isinstance(order, ParsedRequest)
    widened = any(each.reason is RequestRefusal.TOO_MANY_SCOPES for each in turned)
    assert len(turned) == (not wanted or order.refused > 0 or order.odd is not None or widened)
    assert all(asked.upto == {0: 8} and len(asked.lines) == 1 for asked in wanted.values())


@given(requests())
def test_what_is_taken_is_what_the_schema_describes(value):
    """Who writes requests by the schema would be refused, or rely on a member that means nothing."""
    order = read(value, TERMS)
    if isinstance(order, ParsedRequest):
        assert VALIDATOR.is_valid(json.loads(value))
    elif order in (
        RequestRefusal.UNREADABLE,
        RequestRefusal.UNKNOWN_REQUEST,
        RequestRefusal.NO_NUMBER,
        RequestRefusal.NO_REASON,
    ):
        assert not VALIDATOR.is_valid(json.loads(value))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=20))
def test_within_a_partition_the_order_is_that_of_offsets(placed):
    """A withdrawal would be undone by the consent that came before it."""
    made = [Request(p, at, moment, None, b"") for at, (p, moment) in enumerate(placed)]
    ordered = list(in_order(made))
    assert Counter(ordered) == Counter(made)
    for partition in range(3):
        offsets = [request.offset for request in ordered if request.partition == partition]
        assert all(a < b for a, b in pairwise(offsets))


@given(
    st.lists(st.tuples(st.integers(0, 1), requests()), max_size=25),
    st.lists(
        st.tuples(st.integers(1, 8), st.sampled_from([0, 1, 2, NEVER, NEVER, NEVER])), min_size=1, max_size=12
    ),
    st.booleans(),
    st.booleans(),
)
def test_requests_are_applied_once_whatever_is_cut_off(placed, rounds, forgets, may_lift):
    """An opt-out would be lost with the process that was killed over it, or a consent come back with the next one."""
    counts: Counter[int] = Counter()
    topic = []
    for partition, value in placed:
        topic.append(Request(partition, counts[partition], len(topic), b"", value, may_lift=may_lift))
        counts[partition] += 1
    model, doubting = Model(), Model(doubting=True)
    crashed = False
    rounds = iter([*rounds, *[(8, NEVER)] * 40])
    with publishing(house="") as office:
        while waiting := office.waiting(topic):
            size, crash = next(rounds)
            try:
                office.answer(waiting[:size], crash)
            except Crashed:
                office.restart()
                crashed = True
        turned = office.refused
        if forgets:
            office.forget_offsets()
            office.answer(topic)
    model.take(topic)
    doubting.take(topic)
    last = office.replay
    held = {name: set(register.numbers) for name, register in last.index.registers.items()}
    assert held.keys() == model.registers.keys()
    for name, numbers in model.registers.items():
        at_least = doubting.registers[name] if crashed else numbers
        assert at_least.keys() <= held[name] <= numbers.keys()
        assert as_dict(last.known(name).ends) == {
            n: end for n, end in numbers.items() if end and n in held[name]
        }
    lines = Counter(_evidence(office.log))
    older = Counter(model.older) + (Counter(doubting.older) if crashed else Counter())
    assert Counter(model.evidence) <= lines <= Counter(model.evidence) + older
    assert crashed or lines == Counter(model.evidence) + older
    # One that was applied before the crash may be told to be too late after it; that changes nothing.
    refused = [request for request, reason in turned if reason is not RequestRefusal.SUPERSEDED]
    assert sorted(refused) == sorted(model.refused)


def _evidence(log):
    for record in log:
        if dict(record.headers)["part"] == b"requests":
            for line in (record.value or b"").splitlines():
                said = json.loads(line)
                yield record.key.decode(), said["partition"], said["offset"]


def test_requests_of_a_topic_that_was_made_anew_are_not_taken_for_old_ones():
    """After a topic was deleted and made again, every opt-out up to the old offset would be skipped in silence."""
    with publishing() as office:
        for number in NUMBER, NUMBER + 1:
            office.answer([Request(0, 0, 0, b"", b'{"request":"opt-out","number":"+%d"}' % number)])
            office.recreate()
        assert set(office.replay.index.registers["internal"].numbers) == {NUMBER, NUMBER + 1}

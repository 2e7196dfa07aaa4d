"""What lifts an opposition counts only if it was said after it, whatever partition either is in."""

import json
import time
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stream_scrub import clock
from stream_scrub.errors import Unavailable
from stream_scrub.imports.consents import ConsentLaw
from stream_scrub.index import deltas
from stream_scrub.log.wire import request_line
from stream_scrub.model import Request, family
from stream_scrub.requests import lifts, parse_request
from stream_scrub.requests.lifts import Oppositions, recall
from stream_scrub.requests.parse_request import RequestRefusal
from stream_scrub.requests.requests_to_delta import KnownScopes, split_safely, take
from stream_scrub.rules import Rulebook
from tests.simulation.publishing import Crashed, publishing
from tests.support.fakes import law
from tests.support.fakes.log import Log
from tests.support.fakes.publisher import AT, Publisher, bitmap, renewed
from tests.support.golden.evidence import reader, timed
from tests.support.oracles.requests import TERMS

NUMBER = 33612345678
T = int(datetime(2026, 11, 24, 10, tzinfo=UTC).timestamp() * 1000)


def asked(request, partition=0, offset=0, ms=T, *, may_lift=True, **members):
    said = {"request": request, "number": f"+{NUMBER}", **members}
    if request == "consent":
        said.setdefault("after_opt_out", True)
    if request == "correction":
        said = {"remove_from": "internal", "reason": "typed wrong", **said}
    return Request(partition, offset, ms, b"", json.dumps(said).encode(), may_lift=may_lift)


def moment(ms):
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")


class Desk:
    """Takes batches one after the other, as the publisher does; registers as sets."""

    def __init__(self, numbers_max=1000, terms=TERMS):
        self.terms = terms
        self.said = Oppositions(numbers_max)
        self.scopes = KnownScopes(most=2)
        self.held = {}
        self.turned = []

    def take(self, *batch):
        kinds = {name: self.terms.kind_of(name) for name in self.held}
        registers = {name: law.register(name, held, kind=kinds[name]) for name, held in self.held.items()}
        index = law.index(*registers.values())
        terms = replace(self.terms, parts=index.parts())
        wanted, turned, _ = take(batch, terms, lambda _: None, self.said, registers, self.scopes)
        self.turned += [(each.reason, each.taken) for each in turned]
        for name, asks in wanted.items():
            assert asks.lines, "the evidence is kept, whatever comes of it"
            register = self.held.setdefault(name, set())
            for number, end in asks.numbers.items():
                (register.discard if end < 0 else register.add)(number)
        return self


@pytest.mark.parametrize(
    ("opposed", "lift", "is_lifted"),
    [
        (asked("opt-out", 1, 7, T), asked("consent", 0, 3, T + 1), True),
        # In one partition its order says so, though two producers' clocks differ.
        (asked("opt-out", 0, 7, T + 5), asked("consent", 0, 8, T), True),
        (asked("opt-out", 1, 7, T + 9000, at=moment(T)), asked("consent", 0, 3, T + 5000), True),
        (asked("opt-out", 1, 7, T, at="2026-11-22"), asked("consent", 0, 3, T, at=moment(T - 1)), True),
        (asked("opt-out", 0, 7, T), asked("consent", 0, 8, T + 9000, at=moment(T - 1)), False),
        # A draw goes to who opposed.
        (asked("opt-out", 0, 7, T), asked("consent", 1, 3, T + 9000, at=moment(T)), False),
        (asked("opt-out", 0, 7, T), asked("consent", 1, 3, T, at="2999-01-01T00:00:00Z"), False),
        (asked("opt-out", 0, 7, T), asked("consent", 1, 3, T + 9000, at="2026-11-24"), False),
        (asked("opt-out", 0, 7, T), asked("correction", 1, 3, T - 1, at="no moment"), False),
        # The same partition of another topic has no order with it.
        (asked("opt-out", 0, 3, T, may_lift=False), asked("correction", 0, 9, T), False),
        (asked("opt-out", 0, 9, T, may_lift=False), asked("correction", 0, 3, T + 1), True),
    ],
)
def test_what_lifts_counts_if_it_was_said_after_the_opposition_whatever_is_read_first(
    opposed, lift, is_lifted
):
    """A person who agreed again could never be called; or a consent of last week, uploaded tonight, would undo this morning's
    opt-out."""
    desk = Desk().take(opposed).take(lift)

    assert desk.held["internal"] == (set() if is_lifted else {NUMBER})
    assert desk.turned == ([] if is_lifted else [(RequestRefusal.SUPERSEDED, 0)])


def test_of_a_list_the_numbers_that_were_not_opposed_since_are_lifted():
    """One opposed number would keep ten thousand people's consents away, or come along with them."""
    desk = Desk().take(asked("opt-out", 1, 7, T + 5))
    desk.held["internal"].add(33612345679)

    desk.take(asked("consent", 0, 3, T, number=[f"+{NUMBER}", "+33612345679"]))

    assert desk.held["internal"] == {NUMBER} and 33612345679 in desk.held["consent"]
    assert desk.turned == [(RequestRefusal.SUPERSEDED, 1)]


def test_what_is_forgotten_is_lifted_by_nothing_from_before():
    """Memory would end, and from then on a late consent undo an opt-out again."""
    desk = Desk(numbers_max=3)
    desk.take(*(asked("opt-out", 1, i, T + i, number=f"+336123456{10 + i}") for i in range(9)))
    assert desk.said.floor_ms == T + 5, "three are remembered"

    desk.take(asked("consent", 0, 3, T + 4, number="+33612345610"))
    assert 33612345610 in desk.held["internal"] and desk.turned == [(RequestRefusal.SUPERSEDED, 0)]
    desk.take(asked("consent", 0, 4, T + 4, number="+33612345699"))  # nobody opposed it
    desk.take(asked("consent", 0, 5, T + 6, number="+33612345610"))
    assert 33612345610 not in desk.held["internal"] and len(desk.turned) == 1


def test_remembered_oppositions_share_their_register_and_partition():
    """A publisher under steady opt-outs would grow without bound: it remembers oppositions of 100,000 numbers by request."""
    numbers = range(33612000000, 33612003000)
    asked_for = [
        Request(number % 6, at, T + 20 * at, b"", b'{"request":"opt-out","number":"+%d"}' % number)
        for at, number in enumerate(numbers)
    ]
    parsed = [parse_request.read(request.value, TERMS) for request in asked_for]
    said = Oppositions(len(numbers))
    tracemalloc.start()
    try:
        for request, found in zip(asked_for, parsed, strict=True):
            said.add(request, found, T)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / len(numbers) < 200  # besides its number, moment and offset, which the requests here hold


@pytest.mark.parametrize("kept", [0, 2])
def test_on_a_log_whose_beginning_was_deleted_nobody_knows_who_opposed_when(kept):
    """A correction that comes late would take out who opposed after it, and a consent that was taken back count again."""
    records = told_log(4)
    records = records[len(records) - kept :]
    before = int(time.time() * 1000)
    desk = Desk()
    desk.held["internal"] = {NUMBER}
    desk.said = recall(reader(records, records[0].offset if records else 99), TERMS, 5.0)

    since = records[0].timestamp_ms if records else before
    assert desk.said.floor_ms >= since and desk.said.renewed_ms >= since
    for lift in (
        asked("correction", 0, 3, since - 1),
        asked("consent", 0, 4, since - 1, after_opt_out=False),
    ):
        desk.take(lift)
    assert desk.held["internal"] == {NUMBER} and not desk.held.get("consent")
    assert desk.turned == [(RequestRefusal.SUPERSEDED, 0)] * 2
    desk.take(asked("correction", 0, 5, since + 9_000_000))
    assert not desk.held["internal"], "one that was said since then counts"


def renewed_log(numbers, mark_at):
    """A log that a renewal began, with these numbers in `internal`. `mark_at` is the moment that its mark names."""
    old = Publisher(Log())
    old.put("internal", deltas.adding(old.base("internal").numbers, bitmap(numbers)))
    return renewed(old.replay, datetime.fromtimestamp(mark_at / 1000, UTC), AT)


@pytest.mark.parametrize("look_back", [lifts.LOOK_BACK, 2])
@pytest.mark.parametrize("lifting", [True, False])
def test_a_consent_from_before_a_renewal_counts_for_nothing_however_far_the_log_went_on(lifting, look_back):
    """A consent that was withdrawn, and that an outbox delivers again after the yearly cut, would count again."""
    log = renewed_log([NUMBER + 1], T)
    publisher = Publisher(log)
    publisher.import_list("tps", {NUMBER + 2: 0})
    desk = Desk()
    desk.said = recall(reader(timed(log, T)), TERMS, 5.0, look_back=look_back)

    desk.take(asked("consent", 0, 3, T - 1, after_opt_out=lifting, may_lift=lifting))
    desk.take(
        asked("consent", 0, 4, T + 9_000_000, at=moment(T - 1), after_opt_out=lifting, may_lift=lifting)
    )
    assert desk.held.get("consent", set()) == set() and desk.turned == [(RequestRefusal.SUPERSEDED, 0)] * 2
    desk.take(asked("withdrawal", 0, 5, T - 1, number=f"+{NUMBER + 3}"))
    assert NUMBER + 3 in desk.held["internal"], "what restricts counts, whenever it was said"
    desk.take(asked("consent", 0, 6, T + 3_600_000, after_opt_out=lifting, may_lift=lifting))
    assert desk.held["consent"] == {NUMBER}, "a consent of after the renewal counts"


def test_a_renewal_was_no_earlier_than_its_mark_says():
    """With a clock that is behind, a consent from before the last opt-out would count on the new log."""
    log = renewed_log([NUMBER], T + 600_000)
    found = recall(reader(timed(log, T)), TERMS, 5.0)
    assert found.renewed_ms == found.floor_ms == T + 600_000
    early = timed(renewed_log([NUMBER], T - 600_000), T)
    assert recall(reader(early), TERMS, 5.0).renewed_ms == early[-1].timestamp_ms
    assert recall(reader(told_log(2)), TERMS, 5.0, look_back=1).renewed_ms == 0


def told_log(count, numbers=5):
    """A log on which so many requests follow each other, each an opt-out of one of some numbers."""
    publisher = Publisher(Log())
    for at in range(count):
        number = 33612345610 + at % numbers
        request = asked("opt-out", 1, at, T + at, number=f"+{number}")
        delta = deltas.adding(publisher.base("internal").numbers, bitmap([number]))
        publisher.request("internal", delta, [request_line(1, at, T + at, request.value)])
    return timed(publisher.log, T)


def test_a_publisher_that_starts_again_forgets_no_opposition_that_it_can_remember():
    """A restart between an opt-out and the consent that is read late would let it be undone."""
    records = told_log(9, numbers=9)
    published = [each.timestamp_ms for each in records if dict(each.headers).get("part") == b"requests"]
    desk = Desk()
    desk.said = recall(reader(records), TERMS, 5.0)
    desk.held["internal"] = {33612345612}

    desk.take(asked("consent", 0, 0, T + 2, number="+33612345612"))
    assert desk.held["internal"] and desk.turned == [(RequestRefusal.SUPERSEDED, 0)]
    desk.take(asked("consent", 0, 1, T + 3, number="+33612345612"))
    assert not desk.held["internal"]
    # What was published before the first that is remembered was said before it.
    assert recall(reader(records), TERMS, 5.0, numbers_max=3).floor_ms == published[-3]
    part = recall(reader(records), TERMS, 5.0, look_back=records[-1].offset - records[5].offset + 2)
    assert part.floor_ms >= records[5].timestamp_ms


def test_a_log_that_takes_longer_to_read_than_a_publisher_waits_does_not_keep_it_from_beginning(monkeypatch):
    """After a CRM's million opt-outs a publisher that is restarted would try again for ever, and no opt-out be told."""
    now, heard = 0.0, []
    monkeypatch.setattr(clock, "elapsed", lambda: now)
    slow = reader(told_log(6))
    slow._at_once, read = 1, slow.read

    def slowly(timeout_s):
        nonlocal now
        now += 4.0
        return read(timeout_s)

    slow.read = slowly
    desk = Desk()
    desk.said = recall(slow, TERMS, 5.0, heard=lambda: heard.append(now))
    desk.take(asked("correction", 0, 0, T, number="+33612345610"))
    assert desk.turned == [(RequestRefusal.SUPERSEDED, 0)] and now > 20.0 and heard
    slow.read = lambda timeout_s: (slowly(timeout_s)[0][:0], False)
    with pytest.raises(Unavailable, match="no records arrive"):
        recall(slow, TERMS, 5.0)


@pytest.mark.parametrize(
    ("scope", "opposed", "turned"),
    [
        ("a", "internal@a", False),
        ("B ", "internal@b", False),
        ("c", "internal", True),  # two scopes may exist, and these exist
        ("x" * 101, "internal", True),
        # A prospect's number would stand on every page, stamp and panel.
        ("0612345678", "internal", True),
        ("acme-06.12.34.56.78", "internal", True),
    ],
)
def test_an_opposition_whose_scope_is_one_too_many_is_one_to_everybody(scope, opposed, turned):
    """Whoever writes requests would fill every worker's memory; or, at the bound, opt-outs would be lost."""
    desk = Desk().take(asked("opt-out", 0, 0, scope="a", number="+33612345610"))
    desk.take(asked("opt-out", 0, 1, scope="b", number="+33612345611"))
    desk.take(asked("opt-out", 0, 2, scope=scope))

    assert [name for name, numbers in desk.held.items() if NUMBER in numbers] == [opposed]
    assert desk.turned == ([(RequestRefusal.TOO_MANY_SCOPES, 1)] if turned else [])


def test_a_scope_may_hold_a_date():
    """The opt-outs of a campaign that is named by its day would count for every caller."""
    assert list(Desk().take(asked("opt-out", scope="acme-2026-11-24")).held) == ["internal@acme-2026-11-24"]


def test_what_a_scope_too_many_would_lift_is_not_lifted():
    """A consent to one caller would become one to all."""
    desk = Desk().take(asked("opt-out", scope="a"), asked("opt-out", 0, 1, scope="b"), asked("opt-out", 0, 2))
    before = {name: set(numbers) for name, numbers in desk.held.items()}

    desk.take(asked("consent", 0, 3, T + 9, scope="c"), asked("correction", 0, 4, T + 9, scope="x" * 101))
    assert desk.held == before and desk.turned == [(RequestRefusal.TOO_MANY_SCOPES, 0)] * 2
    desk.take(asked("withdrawal", 0, 5, T + 9, scope="c"))
    assert desk.held == before and desk.turned[2:] == [(RequestRefusal.TOO_MANY_SCOPES, 1)]
    desk.take(asked("consent", 0, 7, T + 9, scope="a"))
    assert desk.held["internal@a"] == set() and desk.held["consent@a"] == {NUMBER}


def test_an_opt_out_of_next_century_keeps_no_lift_away_for_longer_than_a_day():
    """Whoever may ask for protection could make it for ever impossible to put a mistake right, for everybody at once."""
    day = 24 * 3600 * 1000
    ahead = int(TERMS.now.timestamp() * 1000) + day
    far = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)
    desk = Desk(numbers_max=1).take(asked("opt-out", 0, 0, far, may_lift=False))
    desk.take(asked("correction", 0, 0, ahead))
    assert desk.held["internal"] == {NUMBER} and desk.turned == [(RequestRefusal.SUPERSEDED, 0)]
    desk.take(
        asked("opt-out", 0, 1, far, may_lift=False, number="+33612345679")
    )  # the first one is forgotten
    assert desk.said.floor_ms == ahead
    desk.take(asked("correction", 0, 1, ahead + 1))
    assert desk.held["internal"] == {33612345679}


def said_by(office, request, **members):
    """One request, answered. Gives the registers that hold the number then."""
    lifts = bool(members.get("after_opt_out"))
    offset = office.committed[lifts, 0]
    office.answer([asked(request, 0, offset, may_lift=lifts, **members)])
    return office.holding()(NUMBER)


def test_a_lift_that_was_cut_off_lifts_no_opposition_above_consents_that_came_in_between():
    """The publisher dies over a lift of nothing, hears an old consent and then the no to it, and takes the lift again."""
    lift = asked("consent", 0, 0, T + 9, after_opt_out=True)
    with publishing() as office:
        with suppress(Crashed):
            office.answer([lift], 1)
        consent = asked("consent", 0, 0, T, may_lift=False, after_opt_out=False, scope="acme")
        office.ask([consent, asked("opt-out", 0, 1, T + 5, may_lift=False)])
        office.restart()
        office.answer([lift])
        assert office.holding()(NUMBER) == {"consent", "consent@acme", "internal"}
        assert [reason for _, reason in office.refused] == [RequestRefusal.SUPERSEDED]
        assert said_by(office, "consent", after_opt_out=True, ms=T + 10) == {"consent"}


def test_what_opposes_a_number_is_in_no_part_with_its_consent_and_what_lifts():
    """The lift is published last: with it an opposition would come after the consent that it stands above."""
    other = "+33612345679"
    batch = [
        asked("opt-out", 0, 0),
        asked("correction", 0, 1, number=other),
        asked("consent", 0, 2, after_opt_out=False),
        asked("opt-out", 0, 3, number=other),
        asked("consent", 0, 4, number=other),
        asked("consent", 0, 5, after_opt_out=False, number=other),
        Request(0, 6, T, b"", b"no request", may_lift=True),
    ]
    parts = [[each.offset for each in part] for part in split_safely(batch, TERMS)]
    assert parts == [[0, 1], [2, 3], [4], [5, 6]]
    asks = [each._replace(may_lift=False) for each in batch]
    assert [*split_safely(asks, TERMS)] == [asks], "over the other topic nothing lifts"


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("scope", ["x" * 101, "one-too-many"])
def test_an_opposition_that_was_taken_as_one_to_everybody_is_remembered_so(scope, restarts):
    """After a restart a lift from before it would take the number out of the register that protects it."""
    with publishing(most=0) as office:
        assert said_by(office, "opt-out", scope=scope) == {"internal"}
        if restarts:
            office.restart()
        assert said_by(office, "consent", after_opt_out=True) >= {"internal"}
        assert [reason for _, reason in office.refused][1:] == [RequestRefusal.SUPERSEDED]


CHANNELS = replace(
    TERMS,
    registers=frozenset({"internal", "consent", "consent-sms"}),
    kinds=Rulebook.load().kinds,
    law=ConsentLaw(Rulebook.load()),
    house="house",
)


@pytest.mark.parametrize(
    ("consent", "no", "lift", "counts"),
    [
        ({"scope": "acme"}, {"scope": "beta"}, {"scope": "beta"}, True),
        ({}, {"scope": "house"}, {"scope": "house", "purpose": "telecom"}, False),
        ({}, {"scope": "beta"}, {"scope": "beta", "purpose": "telecom"}, False),
        ({"scope": "acme", "register": "consent-sms"}, {}, {}, False),
        (
            {"scope": "acme", "register": "consent-sms"},
            {"scope": "acme", "only_channel": "sms"},
            {"scope": "acme", "register": "consent-sms", "purpose": "telecom"},
            False,
        ),
        ({"scope": "acme"}, {"only_channel": "sms"}, {"register": "consent-sms"}, True),
    ],
)
def test_a_consent_that_is_read_after_the_lift_ends_if_the_no_was_to_its_channel(consent, no, lift, counts):
    """Who opposed everything and agreed to one caller would be called by whomever they agreed to before."""
    desk = Desk(terms=CHANNELS)
    desk.scopes = KnownScopes()
    desk.take(asked("opt-out", 0, 0, T + 1, may_lift=False, **no))
    desk.take(asked("consent", 0, 0, T + 2, at=moment(T + 2), **lift))
    opposed = {name for name, held in desk.held.items() if family(name) == "internal" and held}
    given = {**consent, "at": moment(T), "after_opt_out": False}
    desk.take(asked("consent", 1, 0, T, may_lift=False, **given))
    told = f"{consent.get('register', 'consent')}{'@acme' if 'scope' in consent else ''}"

    assert not opposed
    assert (NUMBER in desk.held[told]) is (counts or (lift == {} and told == "consent"))
    assert desk.turned == ([] if counts else [(RequestRefusal.SUPERSEDED, 0)])


def test_a_consent_beneath_an_opposition_counts_when_that_was_a_mistake():
    """A lead would be lost because somebody typed a wrong number, and had it corrected."""
    desk = Desk().take(asked("opt-out", 1, 0, T + 1)).take(asked("consent", 0, 0, T, after_opt_out=False))
    desk.take(asked("correction", 1, 1, T + 2))
    assert desk.held == {"internal": set(), "consent": {NUMBER}} and desk.turned == []


def test_a_batch_that_is_taken_again_after_a_lift_brings_back_no_consent_from_before_the_no():
    """The offset of a consent says that the no in its partition came later, though its register was told of that first."""
    desk = Desk().take(asked("opt-out", 0, 7, T, may_lift=False)).take(asked("consent", 0, 0, T + 1))
    desk.take(asked("consent", 0, 3, T, may_lift=False, scope="acme", after_opt_out=False))
    assert desk.held["consent@acme"] == set() and desk.turned == [(RequestRefusal.SUPERSEDED, 0)]
    desk.take(asked("consent", 0, 8, T, may_lift=False, scope="acme", after_opt_out=False))
    assert desk.held["consent@acme"] == {NUMBER}

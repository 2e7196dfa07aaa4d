"""Whoever said no last is not called: in whatever order, over whatever topics and partitions requests are read, and
wherever the publisher is killed. The oracle knows people's words and their moments, and nothing of registers."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from itertools import permutations, product
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.model import Request
from stream_scrub.requests.requests_to_delta import in_order
from tests.simulation.publishing import NEVER, Crashed, publishing

NUMBER = 33612345678
BASE = int(datetime(2026, 11, 24, 10, tzinfo=UTC).timestamp() * 1000)
CALLS = [
    (campaign, purpose) for campaign in ("acme", "beta", "house") for purpose in ("insurance", "telecom")
]


class Word(NamedTuple):
    """What a person says, `minute` by their own clock; `scope` "": to everybody, or a consent to nobody by name."""

    minute: int
    verb: str  # "lift" is a consent that says after_opt_out
    scope: str = ""
    purpose: str = ""

    @property
    def restricts(self):
        return self.verb in ("opt-out", "withdrawal")

    def about(self, campaign, purpose):
        """Whether it is about such a call. A consent to nobody by name counts for the operator's own campaign."""
        if self.restricts:
            return self.scope in ("", campaign)
        return (self.scope or "house") == campaign and self.purpose in ("", purpose)

    def request(self, partition, offset, *, number=NUMBER, arrives=None, topic=None):
        """As a record. With `arrives` its moment stands in `at`, and Kafka's own is later."""
        ms = BASE + self.minute * 60_000
        said = {"request": "consent" if self.verb == "lift" else self.verb, "number": f"+{number}"}
        said |= {name: value for name, value in (("scope", self.scope), ("purpose", self.purpose)) if value}
        said |= {"after_opt_out": True} if self.verb == "lift" else {}
        if arrives is not None:
            said["at"] = datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")
            ms = BASE + 3_600_000 + arrives * 1000
        lifts = self.verb == "lift" if topic is None else topic
        return Request(partition, offset, ms, b"", json.dumps(said).encode(), may_lift=lifts)


def may_call(words, campaign, purpose):
    """Whether the person agreed to such a call after the last no to it."""
    about = [word for word in words if word.about(campaign, purpose)]
    no = max((word.minute for word in about if word.restricts), default=-1)
    return any(word.minute > no for word in about if not word.restricts)


def called(office):
    """What tells the calls that the registers allow now, where the law asks for consent."""
    holding = office.holding()
    return lambda number: calls_of(holding(number))


def calls_of(held):
    return {
        (campaign, purpose)
        for campaign, purpose in CALLS
        if not held & {"internal", f"internal@{campaign}"}
        and held
        & {
            f"consent@{campaign}",
            f"consent@{campaign}+{purpose}",
            *(["consent"] if campaign == "house" else []),
        }
    }


CONSENTS = [Word(1, "consent", "acme"), Word(1, "consent", "acme", "insurance"), Word(1, "consent")]
NOES = [Word(2, verb, scope) for verb in ("opt-out", "withdrawal") for scope in ("", "acme", "house")]
LIFTS = [Word(3, "lift"), Word(3, "lift", "acme", "telecom"), Word(3, "lift", "house", "telecom")]
STORIES = list(product(CONSENTS, NOES, LIFTS))


def by_number(stories):
    """Each story with a number of its own."""
    return {NUMBER + at: story for at, story in enumerate(stories)}


def requests(office, words, partition=0, **more):
    """What people say now, by number."""
    ends, made = dict(office.committed), []
    for number, word in words.items():
        place = word.verb == "lift", partition
        made.append(word.request(partition, ends[place], number=number, **more))
        ends[place] += 1
    return made


@pytest.mark.parametrize("restarts", [False, True])
def test_what_was_agreed_to_before_a_no_counts_for_nothing_in_whatever_order_it_is_read(restarts):
    """A consent that a form delivers late would open a call that the person has refused since, for good."""
    people = by_number((story, order) for story in STORIES for order in permutations(story))
    with publishing() as office:
        for at in range(3):
            office.answer(requests(office, {number: order[at] for number, (_, order) in people.items()}, at))
            if restarts:
                office.restart()
            calls = called(office)
            for number, (_, order) in people.items():
                wrong = {call for call in calls(number) if not may_call(order[: at + 1], *call)}
                assert not wrong, (order[: at + 1], wrong)
    for number, (story, order) in people.items():
        if order == story and story[1].scope == story[2].scope:
            agreed = {call for call in CALLS if story[2].about(*call)}
            assert agreed <= calls(number), (story, "what is agreed to last is lost")


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("lifted", [False, True])
def test_what_was_ended_before_the_log_was_begun_anew_counts_for_nothing_when_it_comes_again(
    lifted, restarts
):
    """A form that delivers twice would open calls again, after the yearly cut, that the person has refused since."""
    people = by_number(STORIES)
    said = {number: story if lifted else story[:2] for number, story in people.items()}
    with publishing() as office:
        for at in range(3 if lifted else 2):
            office.answer(requests(office, {number: words[at] for number, words in said.items()}))
        stood = called(office)
        office.renew(BASE + 10 * 60_000)
        calls = called(office)
        assert [*map(calls, people)] == [*map(stood, people)], "a renewal changes nothing"
        for step, at in enumerate((0, 2, 1, 2, 0)):
            office.answer(
                requests(office, {number: story[at] for number, story in people.items()}, arrives=1)
            )
            if restarts:
                office.restart()
            calls = called(office)
            for number, story in people.items():
                known = story if step else said[number]
                wrong = {call for call in calls(number) if not may_call(known, *call)}
                assert not wrong, (known, at, wrong)
        last = {number: lift._replace(minute=11) for number, (_, _, lift) in people.items()}
        office.answer(requests(office, last))
        calls = called(office)
    for number, (_, no, lift) in people.items():
        agreed = {call for call in CALLS if lift.about(*call)}
        if lift.scope == no.scope:
            assert agreed <= calls(number), (said[number], "what is agreed to after the renewal is lost")


@pytest.mark.parametrize("crash", range(6))
def test_a_lift_that_is_cut_off_anywhere_opens_no_call_that_it_does_not_name(crash):
    """What was agreed to before the no would be in force for as long as the publisher is away."""
    people = by_number(STORIES)
    with publishing() as office:
        for at in (0, 1):
            office.answer(requests(office, {number: story[at] for number, story in people.items()}))
        lifts = requests(office, {number: story[2] for number, story in people.items()})
        with suppress(Crashed):
            office.answer(lifts, crash)
        for _ in range(2):
            calls = called(office)
            for number, story in people.items():
                wrong = {
                    each
                    for each in calls(number)
                    if not (may_call(story[:2], *each) or may_call(story, *each))
                }
                assert not wrong, (story, wrong)
            office.restart()
            office.answer(lifts)


@st.composite
def lives(draw):
    """What a person says, in the order of its moments, as records of both topics; each is read in its partition's order,
    which is that of its moments or, where a record says its own, any other."""
    verbs = draw(
        st.lists(
            st.sampled_from(["opt-out", "withdrawal", "consent", "consent", "lift", "lift"]),
            min_size=2,
            max_size=6,
        )
    )
    words = []
    for minute, verb in enumerate(verbs):
        scope = draw(st.sampled_from(["", "acme", "acme", "house"]))
        purpose = (
            draw(st.sampled_from(["", "insurance", "telecom"]))
            if scope and verb in ("consent", "lift")
            else ""
        )
        words.append(Word(minute, verb, scope, purpose))
    late = draw(st.booleans())
    sent = draw(st.permutations(words)) if late else words
    partitions = draw(st.integers(1, 2))
    records: dict[tuple[bool, int], list[tuple[Word, Request]]] = {}
    for at, word in enumerate(sent):
        lifts = word.verb == "lift" or draw(st.integers(0, 3)) == 0
        place = lifts, draw(st.integers(0, partitions - 1))
        before = records.setdefault(place, [])
        arrives = at if late else None
        before.append((word, word.request(place[1], len(before), arrives=arrives, topic=lifts)))
    return records


ROUND = st.tuples(
    st.booleans(), st.integers(0, 3), st.integers(0, 3), st.sampled_from([0, 1, 2, NEVER, NEVER, NEVER])
)


@given(lives(), st.lists(ROUND, max_size=12))
def test_nobody_is_called_whose_last_word_is_no_wherever_the_publisher_is_killed(records, rounds):
    """A publisher that dies in a batch, and stays away, would leave somebody callable who said no for as long."""
    words = {(r.may_lift, r.partition, r.offset): word for each in records.values() for word, r in each}
    read, begun = (
        set(),
        {False: [], True: []},
    )  # the requests that are committed; those that are on their way, by topic

    def right():
        """Each call is as it was before some request that is on its way, or after it."""
        ways = [[words[r.may_lift, r.partition, r.offset] for r in in_order(each)] for each in begun.values()]
        told = [
            [*(words[at] for at in read), *asks[:some], *lifts[:more]]
            for asks, lifts in [ways]
            for some, more in product(range(len(asks) + 1), range(len(lifts) + 1))
        ]
        wrong = {call for call in called(office)(NUMBER) if not any(may_call(some, *call) for some in told)}
        assert not wrong, (wrong, told)

    with publishing(seen=right) as office:
        for lifts, *sizes, crash in [*rounds, *[(False, 9, 9, NEVER), (True, 9, 9, NEVER)]]:
            batch = [
                request
                for (of_lifts, partition), each in sorted(records.items())
                if of_lifts is lifts
                for request in office.waiting([request for _, request in each])[: sizes[partition]]
            ]
            begun[lifts] += [request for request in in_order(batch) if request not in begun[lifts]]
            try:
                if batch:
                    office.answer(batch, crash)
            except Crashed:
                office.restart()
            read = {at for at in words if at[2] < office.committed.get(at[:2], 0)}
            begun[lifts] = office.waiting(begun[lifts])
            right()
    assert len(read) == len(words)

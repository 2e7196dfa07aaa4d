"""The ends behind a worker's lag: which of the brokers' answers count, and how old the last one is."""

import pytest

from stream_scrub.errors import Unavailable
from stream_scrub.kafka import witnesses
from stream_scrub.kafka.admin import confirmed_ends
from stream_scrub.kafka.admin.confirmed_ends import ConfirmedEnds
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.model import Deadline
from tests.support.fakes.leaders import Brokers
from tests.support.waiting import wait_until

ZERO, ONE = ("prospects", 0), ("prospects", 1)


@pytest.fixture
def ends(monkeypatch):
    """The ends that these brokers confirm, asked for without a pause."""

    def made(brokers):
        monkeypatch.setattr(confirmed_ends, "_EVERY_S", 0.0)
        monkeypatch.setattr(confirmed_ends, "_AGAIN_S", 0.01)
        monkeypatch.setattr(witnesses, "_PAUSE_S", 0.0)
        monkeypatch.setattr(witnesses, "AdminClient", brokers.client)
        return ConfirmedEnds(Witnesses({}))

    return made


def look(ends, times=8):
    """Look until that many questions are answered."""
    for _ in range(times):
        if ends._thread is not None:
            ends._thread.join()  # until then it is not asked again
        answers = ends._answers
        ends.look([ZERO, ONE])
        wait_until(lambda answers=answers: ends._answers is not answers, every=0.001)
    ends.look([ZERO, ONE])
    return {key: end.offset for key, end in ends.known.items()}


@pytest.mark.parametrize("deposed", [1, 2, 3])
def test_a_deposed_broker_does_not_hide_what_waits(ends, deposed):
    """The lag of its partitions would be 0 while leads wait, for as long as it hears nothing of the others."""
    new, third = deposed % 3 + 1, (deposed + 1) % 3 + 1
    names = {new: (new, third), third: (new, third), deposed: (deposed, third)}
    assert look(ends(Brokers(names, {deposed: 5, new: 9, third: 4}, by_chance=True))) == {ZERO: 9, ONE: 4}


@pytest.mark.parametrize(
    ("names", "unnamed"),
    [
        ({1: (1, 1), 2: None, 3: None}, ()),
        ({1: (1, 1), 2: (2, 2)}, ()),
        ({2: (1, 1), 3: (4, 4)}, ()),
        ({1: (1, 1), 2: None, 3: None}, (1,)),
    ],
    ids=["alone of three", "each itself", "they differ", "a deposed one behind a load balancer"],
)
def test_without_the_word_of_another_broker_no_end_is_confirmed(ends, names, unnamed):
    """A lag of 0 would look as sure as ever on the day when a broker is cut off from the others."""
    brokers = Brokers(names, dict.fromkeys(range(-1, 4), 5), by_chance=True)
    brokers.unnamed = {*unnamed}
    ends = ends(brokers)
    ends.look([ZERO, ONE])
    before = ends.known
    assert look(ends) == {ZERO: -1, ONE: -1}
    assert ends.known == before, "its age grows"


def test_who_must_read_all_is_given_no_end_of_a_deposed_broker(ends):
    """A member that starts would not see what was recalled meanwhile, and recall it again."""
    brokers = Brokers({1: (2, 2), 2: (2, 2), 3: (3, 3)}, {2: 9, 3: 4}, by_chance=True)
    for _ in range(5):
        assert ends(brokers).now([ZERO, ONE], Deadline.after(20)) == {ZERO: 9, ONE: 9}


def test_who_must_read_all_waits_while_no_other_broker_confirms_an_end(ends):
    """A member would start by the word of a broker that was deposed."""
    with pytest.raises(Unavailable, match="no second broker"):
        ends(Brokers({1: (1, 1), 2: None}, {1: 5}, by_chance=True)).now([ZERO], Deadline.after(0.2))


@pytest.mark.parametrize("unnamed", [set(), {1}], ids=["named", "behind a load balancer"])
def test_a_single_broker_is_believed(ends, unnamed):
    """Everybody who tries it on one broker would be warned of a lag that is right."""
    brokers = Brokers({1: (1, 1)}, {1: 7}, by_chance=True)
    brokers.unnamed = unnamed
    assert look(ends(brokers)) == {ZERO: 7, ONE: 7}


def test_an_outage_ages_what_was_known_and_ends(ends):
    """A figure from before the outage would count as news, or the age never go back to nothing."""
    brokers = Brokers({1: (2, 1), 2: (2, 1)}, {1: 3, 2: 7}, by_chance=True)
    ends = ends(brokers)
    look(ends)
    healthy, brokers.names = brokers.names, dict.fromkeys(brokers.names)
    assert look(ends) == {ZERO: 7, ONE: 3}
    aged = ends.known
    look(ends)
    assert ends.known == aged
    brokers.names, brokers.ends = healthy, {1: 4, 2: 8}
    assert look(ends) == {ZERO: 8, ONE: 4}
    assert all(ends.known[key].at > aged[key].at for key in aged)


def test_a_partition_that_comes_back_begins_with_an_age_of_nothing(ends):
    """Each rebalance would raise the alert for partitions that another worker had meanwhile."""
    ends = ends(Brokers({1: (2, 1), 2: (2, 1)}, {1: 3, 2: 7}, by_chance=True))
    look(ends)
    before = ends.known[ONE].at
    ends.look([ZERO])
    assert ONE not in ends.known
    ends.look([ZERO, ONE])
    assert ends.known[ONE].at > before


def test_clients_are_kept_and_slow_ones_waited_for(ends):
    """Each question would cost three connections; or, over TLS from far away, no end ever be confirmed."""
    brokers = Brokers({1: (2, 1), 2: (2, 1)}, {1: 3, 2: 7}, by_chance=True)
    brokers.connects_in = 2
    ends = ends(brokers)
    assert look(ends, 16) == {ZERO: 7, ONE: 3}
    made = brokers.clients
    look(ends)
    assert brokers.clients == made


def test_a_client_that_fails_is_replaced(ends):
    """The lag would stay as it was until the worker is started again, because one client no longer works."""
    brokers = Brokers({1: (2, 1), 2: (2, 1)}, {1: 3, 2: 7}, by_chance=True)
    ends = ends(brokers)
    look(ends)
    brokers.broken, brokers.ends = set(range(1, brokers.clients + 1)), {1: 4, 2: 8}
    assert look(ends) == {ZERO: 8, ONE: 4}

"""When oppositions end: after two looks, and by the brokers' clocks, whatever this machine's says."""

from datetime import UTC, datetime, timedelta

import pytest

from stream_scrub.model import RegisterKind
from tests.simulation.publishing import publishing
from tests.support.fakes.log import Log
from tests.support.fakes.publisher import Publisher
from tests.support.oracles.requests import NOW

PERSON = 33_612_345_678
END_S = 100
YEAR_S = 365 * 86_400


@pytest.fixture(params=[RegisterKind.DENY])
def office(request):
    """A publisher on a log that holds the person in a register until END_S from now on."""
    log = Log()
    end = int((NOW + timedelta(seconds=END_S)).timestamp())
    Publisher(log).import_list("list", {PERSON: end}, request.param)
    with publishing() as made:
        made.begin_on(log, int(datetime(2026, 11, 24, tzinfo=UTC).timestamp() * 1000))
        yield made


def held(office, seconds, **more):
    """Whether the register still holds the person when so many seconds have passed."""
    office.passes(seconds, **more)
    return "list" in office.holding()(PERSON)


def test_a_clock_that_is_ahead_for_two_seconds_ends_no_opposition(office):
    """Whoever opposed until next year would be called from now on, and nothing could take that back."""
    assert held(office, 2, ahead_s=YEAR_S)
    assert held(office, END_S - 5)


def test_a_clock_that_stays_ahead_ends_no_opposition_and_says_so(office):
    """As above; and the operator would hear of it from those who are called."""
    assert held(office, END_S - 5, ahead_s=86_400)
    assert office.state.ends_held
    assert not held(office, 200)
    assert not office.state.ends_held


def test_an_opposition_ends_when_two_looks_a_minute_apart_find_its_end(office):
    """Nobody who opposed for a time would ever be called again."""
    assert held(office, END_S + 55)
    assert not held(office, 15)


@pytest.mark.parametrize("office", [RegisterKind.ALLOW], indirect=True)
def test_a_consent_leaves_before_it_ends(office):
    """Somebody would be called for a moment after his consent has ended, or its register be stale at each end."""
    assert held(office, END_S - 65)
    assert not held(office, 10)

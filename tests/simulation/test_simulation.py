"""Histories on the model of Kafka: a few for every run of the suite, and whether the simulator would see a bug at all."""

import pytest

from tests.simulation.bugs import BUGS, planted
from tests.simulation.install import simulated
from tests.simulation.plans import SHAPES, planned
from tests.simulation.run import happens, shrunk, story, systematic

_HISTORIES, _PARTS = 1200, 12  # parts, so that they are shared by the test processes
_TRIES = 60
# Seeds of small plans: a worker whose list changes, one with `retry`, and one with requests.
_WORKER, _RETRY, _REQUESTS = 6, 18, 23


@pytest.fixture(autouse=True)
def model():
    with simulated():
        yield


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, _PARTS))]
)
def test_no_promise_is_broken_in_any_of_some_histories(part):
    """A prospect would be lost, doubled, or allowed that is opposed, at the next fault that nobody thought of."""
    found = {seed: wrong for seed in range(part, _HISTORIES, _PARTS) if (wrong := happens(planned(seed))[1])}
    assert found == {}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_no_single_fault_at_any_request_of_a_worker_breaks_a_promise(part):
    """One request of some kind, cut at the one moment that no seed has chosen, would lose a prospect."""
    every = systematic(_WORKER)[part::4]
    assert len(every) > 300
    assert _broken(_WORKER, every) == {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [_RETRY, _REQUESTS], ids=["retry", "requests"])
def test_single_faults_at_requests_of_longer_histories_break_no_promise(seed):
    """One request of some kind, cut at the one moment that no seed has chosen, would lose a prospect or an opt-out."""
    every = systematic(seed)[::20]
    assert len(every) > 100
    assert _broken(seed, every) == {}


def _broken(seed, every):
    return {str(faults[0]): wrong for faults in every if (wrong := happens(planned(seed, faults=faults))[1])}


def test_an_operators_offset_that_an_old_broker_still_answers_doubles_nothing():
    """A topic made anew, then a coordinator that was deposed: the leads since the operator's start would come out twice."""
    assert happens(planned(22563))[1] == []


def test_a_topic_made_anew_just_after_its_offsets_were_forgotten_is_read_on():
    """The worker would take an offset of the topic that is gone for an old coordinator's, and stand still until a restart."""
    assert happens(planned(50762))[1] == []


def test_a_seed_is_one_history():
    """A failing seed could not be looked at again."""
    schedules = [happens(planned(seed))[0].world.schedule for seed in (7, 8, 7)]
    assert schedules[0] == schedules[2] != schedules[1]


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name):
    """Nobody would know whether histories without a finding say anything of the product."""
    bug = BUGS[name]
    with planted(bug):
        assert any(happens(planned(bug.seed + tried * len(SHAPES)))[1] for tried in range(_TRIES))


def test_a_failing_history_is_told_with_what_it_needs_and_no_more():
    """Whoever mends a fault would read through forty prospects and three faults that have nothing to do with it."""
    bug = BUGS["an older index"]
    with planted(bug):
        plan = shrunk(planned(bug.seed))
        told = story(plan)
    assert not plan.faults and len(plan.prospects) < 4
    assert any(line.startswith("BROKEN: ") for line in told) and told[-1].startswith("schedule ")

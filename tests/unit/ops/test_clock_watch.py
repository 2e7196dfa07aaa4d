"""The wall clock beside the brokers', whose markers bound it from both sides."""

import pytest

from stream_scrub import clock
from stream_scrub.errors import StaleIndex
from stream_scrub.kafka.witnesses import LatestTimestamp
from stream_scrub.ops import clock_watch
from stream_scrub.ops.clock_watch import ClockWatch

TOPICS = ("blocked", "allowed")


class World:
    """A true time, our clock's error, and what is in the partitions: (topic, partition) to what a broker would show."""

    def __init__(self, monkeypatch):
        self.now, self.ours, self.theirs = 1_000_000.0, 0.0, {1: 0.0}
        self.future: dict[tuple[str, int], float] = {}
        self.written: dict[tuple[str, int], float] = {}
        monkeypatch.setattr(clock, "elapsed", lambda: self.now)
        monkeypatch.setattr(clock_watch.threading, "Thread", Inline)
        self.asked = 0
        self.watch = ClockWatch(self.ask, TOPICS, 60, lambda: self.now + self.ours)

    def leader(self, place):
        return sorted(self.theirs)[place[1] % len(self.theirs)]

    def ask(self, places):
        self.asked += 1
        seen = []
        for place in places:
            if place in self.written:
                marker, future = self.written[place], self.future.get(place, 0)
                seen.append(LatestTimestamp(self.leader(place), max(marker, future), marker > future))
        return seen

    def commit(self, allowed=(True, False, True), partitions=(0, 1, 2), *, after=6.0):
        """A batch, committed; its markers are there when the next one begins."""
        self.now += after
        self.watch.begins()
        places = [(TOPICS[ok], partition) for ok, partition in zip(allowed, partitions, strict=True)]
        for place in places:
            self.written[place] = self.now + self.theirs[self.leader(place)]
        self.watch.committed(lambda: places)

    def cause(self):
        try:
            self.watch.need_right()
        except StaleIndex as stale:
            return stale.cause, str(stale)
        return None


class Inline:
    """A thread that is over when it has begun."""

    def __init__(self, target, args, **_):
        self.start = lambda: target(*args)


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


@pytest.mark.parametrize("error", [0.0, 55.0, -55.0])
def test_a_clock_that_is_about_right_holds_nothing(world, error):
    """A worker would stand still for the seconds that clocks always differ by."""
    world.ours = error
    world.watch.first_look()
    for _ in range(5):
        world.commit()
        assert world.cause() is None


@pytest.mark.parametrize(("error", "word"), [(90.0, "ahead of"), (-90.0, "behind"), (86_400.0, "ahead of")])
def test_a_wrong_clock_holds_and_one_that_is_set_right_goes_on(world, error, word):
    """Prospects would be judged by yesterday's or tomorrow's law, or by a list that is older than it looks."""
    world.ours = error
    world.commit()
    world.commit()
    cause, why = world.cause()
    assert cause == "clock" and word in why
    world.ours = 0.0
    assert world.cause() is None


def test_a_clock_that_is_behind_holds_before_the_first_verdict(world):
    """A machine that starts with last year's time would judge until its second commit."""
    world.written["allowed", 0] = world.now - 5
    world.ours = -3600.0
    world.watch.first_look()
    assert world.cause()[0] == "clock"


def test_timestamps_from_the_future_stop_nobody(world):
    """Any producer could stop every worker with one record."""
    world.future = {(topic, partition): world.now + 3600 for topic in TOPICS for partition in range(3)}
    world.watch.first_look()
    for _ in range(5):
        world.commit()
        assert world.cause() is None


def test_they_hide_a_wrong_clock_on_their_own_partition_only(world):
    """One producer with a fast clock would disable the comparison for all."""
    world.future["allowed", 0] = world.now + 3600
    world.ours = 120.0
    world.commit()
    world.commit()
    assert world.cause()[0] == "clock"


def test_one_broker_of_three_with_a_wrong_clock_is_outvoted(world):
    """A single broker whose clock fails would stop the fleet."""
    world.theirs = {1: 0.0, 2: -7200.0, 3: 0.0}
    for _ in range(3):
        world.commit()
        assert world.cause() is None
    world.theirs = {1: 7200.0, 2: 7200.0, 3: 0.0}
    for _ in range(3):
        world.commit()
    assert world.cause()[0] == "clock"


def test_a_hold_for_what_brokers_said_long_ago_ends(world):
    """Brokers whose clocks were wrong and are set right would be held against the worker for ever."""
    world.ours = 90.0
    world.commit()
    world.commit()
    assert world.cause() is not None
    world.now += 601
    assert world.cause() is None
    assert world.watch.at_most(10_000) == 10, "and few are judged until it is known"


def test_batches_are_small_until_the_clock_was_compared(world):
    """Ten thousand prospects would be judged by a clock that nobody has looked at."""
    assert world.watch.at_most(10_000) == 10
    world.commit()
    assert world.watch.at_most(10_000) == 10
    world.commit()
    assert world.watch.at_most(10_000) == 10_000


def test_brokers_that_do_not_answer_slow_nothing_down_for_long(world, monkeypatch):
    """A worker would stand still, or crawl, for a question that is not answered."""
    monkeypatch.setattr(
        clock_watch.threading, "Thread", lambda **_: type("Hung", (), {"start": lambda _: None})()
    )
    world.commit()
    world.commit()
    world.now += 6
    assert world.watch.at_most(10_000) == 10_000


def test_brokers_are_asked_every_few_seconds_and_not_for_every_batch(world):
    """Each of fifty batches a second would cost the brokers three requests."""
    for _ in range(1000):
        world.commit(after=0.02)
    assert world.asked <= 5


@pytest.mark.parametrize(("before", "after"), [(90.0, 0.0), (-90.0, 0.0), (0.0, 90.0)])
def test_a_clock_that_is_set_between_a_commit_and_the_look_at_it_counts_as_it_is_now(world, before, after):
    """Ten minutes of leads would wait for a clock that is right, or be judged by tomorrow's law."""
    world.ours = before
    world.commit()
    world.ours = after
    world.commit()  # the brokers are asked about the one before

    assert (world.cause() is None) is (after == 0)

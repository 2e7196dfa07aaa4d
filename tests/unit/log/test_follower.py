"""The follower beside a worker: which index may be used now, and in which words it says that none may."""

import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from pyroaring import BitMap64

from stream_scrub import clock
from stream_scrub.errors import Refused, StaleIndex, Unavailable
from stream_scrub.index import Register, deltas
from stream_scrub.log import follower as follow
from stream_scrub.log.encode import publish, records_of
from stream_scrub.log.follower import Follower
from stream_scrub.log.scan import replay_to_end
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import Deadline, RegisterKind
from tests.support.fakes import law
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import Publisher
from tests.support.golden.evidence import keep_rules
from tests.support.waiting import wait_until

AT = datetime(2026, 11, 24, tzinfo=UTC)
SOURCE = DeltaSource("list.csv", "ab" * 32)
LAG = 5.0


def put(log, numbers, base=None):
    """Publish a delta; returns the register after it."""
    base = base or Register.empty("list", RegisterKind.DENY, AT)
    published = publish(Writer(log), base, deltas.full(base.numbers, BitMap64(numbers)), AT, SOURCE)
    index = replay_to_end(Reader(log), Deadline.after(60))
    assert index.position == published.position
    return index.registers["list"]


@pytest.fixture
def following():
    """Start followers that are stopped at the end."""
    started = []

    def start(reader, **told):
        follower = Follower(reader if callable(reader) else lambda: reader, **told)
        follower.start()
        started.append(follower)
        return follower

    yield start
    for follower in started:
        follower.stop()


def cause(follower, lag=LAG):
    try:
        follower.usable(lag)
    except StaleIndex as error:
        return error.cause
    return "usable"


def test_before_it_has_read_anything_no_index_is_usable():
    """A worker would allow everybody in its first second."""
    assert cause(Follower(lambda: Reader(Log()))) == "log-behind"


def test_no_snapshot_is_of_half_a_log(following):
    """Whoever scrubs a file by it would be allowed to call people whose opt-outs come later in the log; or nobody could tell a
    start that takes an hour from one that stands still."""
    log = Log()
    first = put(log, range(1, 100))
    put(log, range(1, 200), first)
    reader, offered = Reader(log, at_once=1), []

    def stop(*_):
        reader.silent = True

    snapshots = SimpleNamespace(
        begin=lambda *_: None,
        offer=lambda state: offered.append(state.index.position),
        stop=lambda: None,
    )
    follower = following(reader, on_swap=stop, snapshots=snapshots)
    wait_until(lambda: follower.index.position == first.position)
    with pytest.raises(StaleIndex, match=f"for the first time: offset {first.position} of {log.end}$"):
        follower.usable(LAG)
    reader.silent = False
    wait_until(lambda: offered)
    assert offered[0] == log.records[-1].offset


def test_a_machine_that_slept_does_not_take_its_old_index_for_fresh(following, monkeypatch):
    """A laptop or a virtual machine that wakes would allow whoever opposed while it slept, until it has looked at the log."""
    log = Log()
    put(log, [1, 2])
    reader = Reader(log)
    follower = following(reader)
    wait_until(lambda: cause(follower) == "usable")
    reader.silent = True
    wait_until(lambda: cause(follower, 0.02) == "log-behind")
    slept = clock.elapsed() + 3600
    monkeypatch.setattr(clock, "elapsed", lambda: slept)

    assert cause(follower) == "log-behind"


class Guard:
    """Accepts every index; notes how often the log had been asked for when it began to look."""

    def __init__(self, opened: list[str]) -> None:
        self._opened = opened
        self.began_at: list[int] = []

    def start(self) -> None:
        self.began_at.append(len(self._opened))

    def stop(self) -> None: ...

    def need(self, position: int, known_at: float) -> None: ...


def test_guards_do_not_look_before_there_is_a_log(following):
    """A server that waits for a deleted log would allow whoever had opted out on it, once an empty one has its name."""
    log, opened = Log(), []
    put(log, [1, 2])
    guard = Guard(opened)

    def open_log():
        opened.append("asked for")
        if len(opened) < 3:
            raise Unavailable("no such topic")
        return Reader(log)

    follower = following(open_log, guards=[guard])

    wait_until(lambda: cause(follower) == "usable")
    assert guard.began_at == [3]


def test_a_log_with_nothing_but_rules_is_no_list(following):
    """A publisher puts its rules on a new log before any list: a worker would be ready, and its operator believe that
    prospects are scrubbed.
    """
    publisher = Publisher(Log())
    keep_rules(publisher, law.OPT_IN)
    follower = following(Reader(publisher.log))

    wait_until(lambda: follower.lag_s is not None)
    assert cause(follower) == "no-seal"


def test_each_delta_gives_the_next_index(following):
    """An opt-out would never reach the workers, or change a batch in the middle."""
    log, swaps = Log.behind_aborted(7), []
    register = put(log, [1, 2])
    follower = following(Reader(log), on_swap=lambda index, *took: swaps.append((index.position, took)))
    wait_until(lambda: cause(follower) == "usable")
    first = follower.usable(LAG)

    put(log, [2, 3], register)
    wait_until(lambda: follower.index is not first)

    assert set(first.registers["list"].numbers) == {1, 2}
    assert set(follower.usable(LAG).registers["list"].numbers) == {2, 3}
    assert [position for position, _ in swaps] == [8, 12]
    assert all(0 <= seconds < 20 and 0 <= stall_s < 20 for _, (seconds, stall_s) in swaps)


def test_a_log_that_has_not_been_asked_for_too_long_is_stale(following):
    """A broker that cannot be asked would be taken for one that has no news."""
    log = Log()
    put(log, [1])
    reader = Reader(log)
    follower = following(reader)
    wait_until(lambda: cause(follower) == "usable")
    reader.silent = True

    wait_until(lambda: cause(follower, 0.02) == "log-behind")
    assert cause(follower, 5.0) == "usable"
    reader.silent = False
    wait_until(lambda: cause(follower, 0.02) == "usable")


def test_a_transaction_that_hangs_makes_the_index_stale(following):
    """A worker would go on with the list of the day on which a publisher was killed, and allow whoever opted out since."""
    log = Log()
    register = put(log, [1])
    follower = following(Reader(log))
    wait_until(lambda: cause(follower, 0.2) == "usable")

    log.open()
    publish(Writer(log), register, deltas.full(register.numbers, BitMap64([1, 2])), AT, SOURCE)
    wait_until(lambda: cause(follower, 0.1) == "log-open")
    with pytest.raises(StaleIndex, match="a transaction has been open on the opposition log for 0 s"):
        follower.usable(0.1)
    assert cause(follower, 5.0) == "usable", "a short one is everyday life"

    log.abort()
    wait_until(lambda: cause(follower, 0.1) == "usable")
    assert set(follower.index.registers["list"].numbers) == {1, 2}


def test_a_worker_does_not_begin_beside_a_transaction_that_hangs(following):
    """A worker restarted to get over a hanging log would allow whoever opted out since."""
    log = Log()
    put(log, [1])
    log.open()
    follower = following(Reader(log))

    wait_until(lambda: cause(follower) == "log-open")
    with pytest.raises(StaleIndex, match="a transaction is open on the opposition log"):
        follower.usable(LAG)
    log.abort()
    wait_until(lambda: cause(follower) == "usable")


def test_one_transaction_after_the_other_makes_nothing_stale(following):
    """Workers would hold on the busiest days, when there is never a moment without an open transaction."""
    written, log = Log(), Log()
    register = put(written, [1])
    for number in range(2, 40):
        register = put(written, range(number), register)
    log.open()
    follower = following(Reader(log))

    causes = []
    for record in written.records:
        log.append(record.key, record.value, record.headers)
        if dict(record.headers)["part"] == b"seal":
            log.skip()
            log.open_since = log.end  # the next one begins before anybody has looked
            log.skip()
            time.sleep(0.05)
            causes.append(cause(follower, 1.0))
    assert set(causes[10:]) == {"usable"}


def test_a_follower_that_has_ended_serves_no_index(following):
    """A fault in the follower would leave the workers with an old list for good."""
    reader = Reader(Log())
    follower = following(reader)
    wait_until(lambda: follower.lag_s is not None)
    follower.stop()

    assert reader.closed
    with pytest.raises(RuntimeError, match="ended"):
        follower.usable(LAG)


def test_an_unreachable_log_is_told_once_and_ends_by_itself(following, monkeypatch):
    """A broker's pause would flood the log, or stop the worker for good."""
    monkeypatch.setattr(follow, "_RETRY_S", 0.01)
    log, troubles = Log(), []
    put(log, [1])
    reader = Reader(log)
    reader.trouble = [Unavailable("cannot be asked")] * 5 + [Refused("no right to read")] * 2
    follower = following(reader, on_trouble=troubles.append, on_end=lambda: troubles.append("at its end"))

    wait_until(lambda: cause(follower) == "usable" and len(troubles) > 4)
    assert troubles[:2] == ["cannot be asked", "no right to read"]
    assert set(troubles[2:]) == {"at its end"}
    assert follower.trouble == ""


def test_while_the_log_is_unreachable_the_worker_is_told_why(following):
    """An operator would see a worker that holds, and no reason."""

    def unopened():
        raise Unavailable("no broker")

    follower = following(unopened)
    wait_until(lambda: follower.trouble)
    with pytest.raises(StaleIndex, match="no broker") as caught:
        follower.usable(LAG)
    assert caught.value.cause == "log-unreachable"


def test_a_corrupt_log_keeps_the_last_good_index_and_serves_none(following):
    """A worker would go on with a list that has a hole."""
    log, told = Log(), []
    put(log, [1, 2])
    follower = following(Reader(log), on_trouble=told.append)
    wait_until(lambda: cause(follower) == "usable")
    good = follower.index

    log.append(b"list", b"hello")
    wait_until(lambda: follower.corrupt is not None)

    with pytest.raises(StaleIndex, match="offset 3") as caught:
        follower.usable(LAG)
    assert caught.value.cause == "log-corrupt"
    assert follower.index is good
    wait_until(lambda: len(told) == 1)
    assert told == [str(follower.corrupt)]


def test_parts_are_held_until_their_seal_can_be_read(following):
    """Half a delta would be judged by, or stop a worker for good while another register is being published."""
    log = Log()
    register = put(log, [1, 2])
    records, _ = records_of(register, deltas.adding(register.numbers, BitMap64([9])), AT, SOURCE)
    offset = log.append(*records[0])
    follower = following(Reader(log))

    wait_until(lambda: cause(follower) == "log-unsealed")
    with pytest.raises(StaleIndex, match=f"offset {offset}.*lists verify"):
        follower.usable(LAG)
    assert follower.index.position == register.position
    log.append(*records[1])
    wait_until(lambda: cause(follower) == "usable")
    assert set(follower.index.registers["list"].numbers) == {1, 2, 9}


def test_more_numbers_than_there_is_room_for_are_held(following, monkeypatch):
    """Every worker would be killed by its memory limit, and again at each start."""
    monkeypatch.setattr(follow, "_LOOK_AGAIN_S", 0.01)
    publisher, told = Publisher(Log()), []
    publisher.import_list("list", dict.fromkeys(range(1000), 0))
    follower = following(Reader(publisher.log), max_numbers=3_000, on_trouble=told.append)
    wait_until(lambda: cause(follower) == "usable")
    good = follower.index

    publisher.import_list("list", dict.fromkeys(range(5_000), 0), adding=True)
    wait_until(lambda: cause(follower) == "too-many-numbers")
    assert follower.index is good and follower.corrupt is None
    assert "list would hold 5,000 numbers" in told[-1] and "lists.max_numbers" in told[-1]

    publisher.remove("list", range(1000, 5_000))  # which is no help to who cannot read what is before it
    publisher.full_every = 1
    for count in range(1001, 1101):  # by and by the register is stated anew, and where it begins
        publisher.import_list("list", dict.fromkeys(range(count), 0))
    wait_until(lambda: cause(follower) == "usable")
    wait_until(lambda: len(follower.usable(LAG).registers["list"].numbers) == 1100)


def test_a_seal_that_only_says_more_numbers_is_held_before_its_parts_are_opened(following):
    """A part of a hundred bytes can hold half a billion numbers."""
    log = Log()
    put(log, range(5_000))
    follower = following(Reader(log), max_numbers=100)

    wait_until(lambda: cause(follower) == "too-many-numbers")
    assert follower.index.position == -1


def lost(log, records):
    """The brokers are away for a moment, and then only the log's first records are left."""
    log.records, log.end = log.records[:records], log.records[records - 1].offset + 2


@pytest.mark.parametrize("more", [0, 3])
def test_a_log_that_lost_its_end_is_read_again(following, more):
    """A worker would go on by oppositions that are gone, and miss those that have come in their place, until somebody restarts
    it."""
    log = Log()
    first = put(log, [1, 2])
    kept = len(log.records)
    put(log, [1, 2, 3], first)
    reader = Reader(log)
    follower = following(reader)
    wait_until(
        lambda: cause(follower) == "usable" and set(follower.index.registers["list"].numbers) == {1, 2, 3}
    )
    lost(log, kept)
    register = first
    for at in range(more):
        register = put(log, [1, 2, 10 + at], register)
    reader.trouble.append(Unavailable("no broker answers"))
    wait_until(lambda: cause(follower) == "usable" and 3 not in follower.index.registers["list"].numbers)
    assert set(follower.index.registers["list"].numbers) == ({1, 2, 10 + more - 1} if more else {1, 2})


def test_a_new_leader_that_has_as_many_records_is_compared(following):
    """Who opted out after an unclean election would be called by a worker that heard of no outage."""
    log = Log()
    first = put(log, [1, 2])
    kept = len(log.records)
    put(log, [1, 2, 3], first)
    reader = Reader(log)
    follower = following(reader)
    wait_until(
        lambda: cause(follower) == "usable" and set(follower.index.registers["list"].numbers) == {1, 2, 3}
    )
    end, reader.silent = log.end, True
    lost(log, kept)
    put(log, [1, 2, 4], first)
    assert log.end == end
    reader.leader_epoch += 1
    reader.silent = False
    wait_until(
        lambda: cause(follower) == "usable" and set(follower.index.registers["list"].numbers) == {1, 2, 4}
    )


@pytest.mark.parametrize("leaders", [0, 1], ids=["an outage", "another leader"])
def test_a_log_that_is_as_it_was_is_not_read_again(following, leaders):
    """After each broker's restart all workers would hold while they read a log of years."""
    log = Log()
    register = put(log, [1, 2])
    reader = Reader(log)
    follower = following(reader)
    wait_until(lambda: cause(follower) == "usable")
    index, read = follower.index, len(reader.read_offsets)
    reader.leader_epoch += leaders
    reader.trouble.append(Unavailable("no broker answers"))
    wait_until(lambda: not reader.trouble and not follower.trouble)
    assert follower.index is index
    put(log, [1, 2, 3], register)
    wait_until(lambda: follower.index.position > index.position)
    assert len(reader.read_offsets) - read <= 3

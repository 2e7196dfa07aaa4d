"""What the daemon publishes from, on a log in memory: when a delta takes longer than its writers' transactions may."""

import threading
import time
from datetime import UTC, datetime

import pytest
import structlog
from pyroaring import BitMap64

from stream_scrub.config import Settings
from stream_scrub.errors import Unavailable
from stream_scrub.index import deltas
from stream_scrub.kafka.log_writer import TransactionExtras
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import RegisterKind
from stream_scrub.ops.loop_state import PublisherState
from stream_scrub.publisher import delta_publisher as module
from stream_scrub.publisher.delta_publisher import DeltaPublisher, PendingDelta
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import Publisher, bitmap

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SHORT = 3_000
MANY = [33_600_000_000 + 7919 * at for at in range(2_000)]


class Timed(Writer):
    """A writer that may take more than any ordinary one, or not."""

    @property
    def is_spent(self):
        return self.at_most > SHORT


@pytest.fixture
def log(monkeypatch):
    made = Log()
    made.opened, made.meanwhile = [], []

    def opened(brokers, register, also=(), nbytes=0, **_):
        writer = Timed(made, at_most=max(SHORT, nbytes))
        made.opened.append((register, nbytes, writer))
        if nbytes and made.meanwhile:
            made.meanwhile.pop(0)()
        return writer

    def taken_over(brokers, register, also=(), _deadline=None):
        return opened(brokers, register, also)

    monkeypatch.setattr(module.clients.Brokers, "log_writer", opened)
    monkeypatch.setattr(module.clients.Brokers, "taken_over", taken_over)
    monkeypatch.setattr(module.clients.Brokers, "log_reader", lambda *_: Reader(made))
    return made


def begun(desk):
    """It takes its own registers over, and reads the log."""
    desk.fence(["internal"], ["refused"])
    desk.read_on()
    return desk


def desk_of(*ask):
    return begun(
        DeltaPublisher(Settings(), PublisherState("", Settings(), 300), structlog.get_logger(), *ask)
    )


@pytest.fixture
def desk(log):
    return desk_of()


def until_ready(desk, name):
    while not desk.ready(name):
        time.sleep(0.001)


def made_of(desk, name, numbers):
    until_ready(desk, name)
    base = desk.base(name, RegisterKind.DENY)
    delta = deltas.adding(base.numbers, BitMap64(sorted(numbers)))
    return PendingDelta(base, delta, NOW, DeltaSource("l", "ab" * 32), desk.replay.known(name))


@pytest.mark.parametrize("name", ["internal", "bloctel"])
def test_a_large_delta_gets_a_longer_transaction_and_the_next_one_a_short_one(desk, log, name):
    """A large file could not be published; or a publisher killed in any later delta hide the log for minutes."""
    desk.publish([made_of(desk, name, MANY[:3])])
    opened = len(log.opened)
    ((seal, position),) = desk.publish([made_of(desk, name, MANY)])
    assert [nbytes > SHORT for _, nbytes, _ in log.opened[opened:]] == [True, False]
    desk.publish([made_of(desk, name, [1])])
    assert len(log.opened) == opened + 2
    desk.ready(name)
    assert set(desk.base(name, RegisterKind.DENY).numbers) == {*MANY, 1}
    assert seal.count == len(MANY) and position > 0
    live = [writer for register, _, writer in log.opened if register == name and not writer.closed]
    assert len(live) == 1, "every other one was closed"


def test_what_was_made_before_somebody_else_published_is_not_published(desk, log):
    """Two deltas would have one sequence number, and every worker find the log corrupt."""
    made = made_of(desk, "internal", MANY)
    log.meanwhile = [
        lambda: Publisher(log).put("internal", deltas.adding(BitMap64(), bitmap([33_612_345_678])))
    ]
    with pytest.raises(Unavailable, match="published by somebody else"):
        desk.publish([made])
    desk.publish([made_of(desk, "internal", MANY)])
    desk.ready("internal")
    assert set(desk.base("internal", RegisterKind.DENY).numbers) == {*MANY, 33_612_345_678}


@pytest.mark.parametrize(("name", "asked"), [("internal", 1), ("bloctel", 0)])
def test_whose_its_own_registers_are_is_asked_when_a_writer_was_replaced(log, name, asked):
    """A publisher that hung meanwhile would fence the newer one, and take requests again that this one has taken."""
    calls = []
    desk = desk_of(lambda: calls.append(name))
    desk.publish([made_of(desk, name, MANY[:3])])
    assert calls == []
    desk.publish([made_of(desk, name, MANY)])  # a writer for it, and another one for what comes
    assert len(calls) == 2 * asked


@pytest.fixture
def slow(log, monkeypatch):
    """Opening a writer of a register that is not the publisher's own waits until it is let go."""
    go, opened = threading.Event(), module.clients.Brokers.log_writer

    def held(*arguments, **more):
        go.wait(60)
        return opened(*arguments, **more)

    monkeypatch.setattr(module.clients.Brokers, "log_writer", held)
    yield go
    go.set()


def test_opt_outs_are_published_while_another_registers_writer_is_opened(desk, log, slow):
    """Each opt-out would wait a second for each list that is handed over meanwhile, and its number be called."""
    assert not desk.ready("bloctel")
    ((seal, _),) = desk.publish([made_of(desk, "internal", [33_612_345_678])])
    assert seal.count == 1 and not desk.ready("bloctel")
    slow.set()
    until_ready(desk, "bloctel")
    assert [register for register, _, _ in log.opened] == ["internal", "bloctel"], "it was opened once"


def test_a_writer_that_opens_after_it_was_given_up_is_closed(desk, log, slow):
    """A writer that nobody has any more would fence whoever imports that register."""
    assert not desk.ready("bloctel")
    desk.close()
    slow.set()
    until = time.monotonic() + 60
    while not [writer for register, _, writer in log.opened if register == "bloctel" and writer.closed]:
        assert time.monotonic() < until, "it is never closed"
        time.sleep(0.001)


def test_what_opening_a_writer_raises_is_raised_once_and_tried_again(desk, log, monkeypatch):
    """A broker that is away for a moment would keep a list out for as long as the publisher lives."""
    opened = module.clients.Brokers.log_writer

    def away(*_arguments, **_more):
        monkeypatch.setattr(module.clients.Brokers, "log_writer", opened)
        raise Unavailable("no broker answers")

    monkeypatch.setattr(module.clients.Brokers, "log_writer", away)
    with pytest.raises(Unavailable, match="no broker answers"):
        until_ready(desk, "bloctel")
    until_ready(desk, "bloctel")


def test_a_publisher_does_not_go_on_along_records_that_the_log_has_lost(desk, log):
    """Its next delta would follow one that nobody else has, and every worker find the log corrupt for good."""
    desk.publish([made_of(desk, "internal", MANY[:3])])
    kept, ended = len(log.records), log.end
    desk.publish([made_of(desk, "internal", MANY[3:5])])
    until_ready(desk, "internal")
    log.records, log.end = log.records[:kept], ended  # the brokers lost it
    desk.close()
    begun(desk).publish([made_of(desk, "internal", [1])])
    assert set(Publisher(log).base("internal").numbers) == {*MANY[:3], 1}


def test_a_seal_that_the_log_has_lost_is_missed(desk, log):
    """Opt-outs whose offsets are committed would never be in force, though they still lie on their topic."""
    kept, names = len(log.records), []

    def noted(name):
        names.append(name)
        return TransactionExtras()

    desk.publish([made_of(desk, "internal", MANY[:3])], noted)
    assert desk.ready("internal") and desk.holds(names[0]) and desk.holds("")
    desk.publish([made_of(desk, "internal", MANY[3:5])], noted)
    assert not desk.holds(names[1]), "it was not read yet"
    assert desk.ready("internal") and all(map(desk.holds, names))
    assert desk.holds(names[1].replace("opposition.log", "opposition.log.2")), "of a log before this one"
    log.records = log.records[:kept]
    desk.close()
    assert not any(map(begun(desk).holds, names))

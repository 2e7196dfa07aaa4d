"""What the daemon publishes from, on a log in memory: when a delta takes longer than its writers' transactions may."""

from datetime import UTC, datetime

import pytest
import structlog
from pyroaring import BitMap64

from stream_scrub.config import Settings
from stream_scrub.errors import Unavailable
from stream_scrub.lists import deltas
from stream_scrub.lists.log.wire import DeltaSource
from stream_scrub.model import RegisterKind
from stream_scrub.observability.counters import PublisherCounters
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

    def opened(_settings, register, _log, also=(), nbytes=0, **_):
        writer = Timed(made, at_most=max(SHORT, nbytes))
        made.opened.append((register, nbytes, writer))
        if nbytes and made.meanwhile:
            made.meanwhile.pop(0)()
        return writer

    def taken_over(settings, register, said, also=(), _deadline=None):
        writer = opened(settings, register, said, also)
        writer.wait_for_others = lambda _: None
        return writer

    monkeypatch.setattr(module.clients, "log_writer", opened)
    monkeypatch.setattr(module.clients, "taken_over", taken_over)
    monkeypatch.setattr(module.clients, "log_reader", lambda *_: Reader(made))
    return made


@pytest.fixture
def desk(log):
    made = DeltaPublisher(Settings(), PublisherCounters(), structlog.get_logger())
    made.fence(["internal"], ["refused"])
    made.read_on()
    return made


def made_of(desk, name, numbers):
    desk.ready(name)
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

"""When oppositions end: after two looks, and by the brokers' clocks, whatever this machine's says."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import structlog

from stream_scrub import clock
from stream_scrub.config import Settings
from stream_scrub.kafka.witnesses import LatestTimestamp
from stream_scrub.model import RegisterKind
from stream_scrub.ops.loop_state import PublisherState
from stream_scrub.publisher import delta_publisher as module
from stream_scrub.publisher.delta_publisher import DeltaPublisher
from stream_scrub.requests.ended_numbers import EndedNumbers
from tests.support.fakes import law
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import Publisher

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PERSON = 33_612_345_678


class Stage:
    """A publisher of a log in memory, whose brokers have a clock of their own. `passes` lets time pass for all."""

    def __init__(self, monkeypatch, kind):
        self.log, self.true, self.elapsed, self.markers = Log(), NOW, 0.0, []
        Publisher(self.log).import_list("list", {PERSON: int((NOW + timedelta(hours=1)).timestamp())}, kind)
        stage, settings = self, Settings()

        class Timed(Writer):
            is_spent = False

            def wait_for_others(self, _):
                """All can be read."""

            def leave_marker(self):
                stage.markers.append(stage.true.timestamp())

        class Times:
            def now(self, _):
                return [LatestTimestamp(1, at, is_brokers=True) for at in stage.markers[-1:]]

        brokers = SimpleNamespace(
            witnesses=Times(),
            log_reader=lambda: Reader(self.log),
            log_writer=lambda *_: Timed(self.log),
            taken_over=lambda *_: Timed(self.log),
        )
        monkeypatch.setattr(module.clients, "Brokers", lambda *_: brokers)
        monkeypatch.setattr(module, "_MARKER_S", 0.0)
        monkeypatch.setattr(clock, "elapsed", lambda: self.elapsed)
        self.state = PublisherState("", settings, 300)
        self.desk = DeltaPublisher(settings, self.state, structlog.get_logger())
        self.desk.fence(["list"], [])
        self.desk.read_on()
        self.ends = EndedNumbers(
            settings, law.rulebook(law.OPT_OUT), self.desk, self.state, structlog.get_logger()
        )

    def passes(self, seconds, ahead=timedelta()):
        self.true += timedelta(seconds=seconds)
        self.elapsed += seconds
        self.ends.publish(self.true + ahead)
        self.desk.ready("list")
        return PERSON in self.desk.registers["list"].numbers


@pytest.fixture
def stage(monkeypatch):
    return Stage(monkeypatch, RegisterKind.DENY)


def test_a_clock_that_is_ahead_for_two_seconds_ends_no_opposition(stage):
    """Whoever opposed until next year would be called from now on, and nothing could take that back."""
    year = timedelta(days=365)
    assert all(stage.passes(1, year) for _ in range(2))
    assert all(stage.passes(30) for _ in range(10))
    assert not stage.markers, "the brokers need not be asked: nothing is due"


def test_a_clock_that_stays_ahead_ends_no_opposition_and_says_so(stage):
    """As above; and the operator would hear of it from those who are called."""
    assert all(stage.passes(10, timedelta(days=1)) for _ in range(30))
    assert stage.state.ends_held and len(stage.markers) < 10
    stage.passes(3600)
    assert not stage.passes(61)
    assert not stage.state.ends_held


def test_an_opposition_ends_when_two_looks_a_minute_apart_find_its_end(stage):
    """Nobody who opposed for a time would ever be called again."""
    assert stage.passes(3599) and stage.passes(2) and stage.passes(59)
    assert not stage.passes(2)


def test_a_consent_leaves_before_it_ends(monkeypatch):
    """Somebody would be called for a moment after his consent has ended, or its register be stale at each end."""
    stage = Stage(monkeypatch, RegisterKind.ALLOW)
    assert stage.passes(3539)
    assert not stage.passes(1)

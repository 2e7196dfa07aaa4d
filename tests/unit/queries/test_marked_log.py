"""What the commands say of a log that a renewal has not put together yet, and of one that goes on as another."""

from datetime import UTC, datetime

import pytest

from stream_scrub.cli import lists as render
from stream_scrub.errors import StaleIndex
from stream_scrub.log.encode import marked
from stream_scrub.log.wire import MOVED, RENEWED, RENEWING, RULES, DeltaSource
from stream_scrub.model import Deadline
from stream_scrub.queries import export_registers, history
from stream_scrub.rules import Rulebook
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import AT, Publisher, followed

NUMBER = 33612345678
UNFINISHED = "has not put this log together yet"


def put(log, reason):
    """Put a mark on a log, or take it back."""
    replay = followed(log, keep_ends=True)
    source = DeltaSource("opposition.log.2", "cd" * 32)
    Writer(log).publish(marked(replay.rules, reason, source, AT, replay.known(RULES)))


def quiet(_what, _done, _of):
    pass


def exported(log, folder, **more):
    order = export_registers.ExportOptions((), folder, **more)
    return export_registers.run(order, Reader(log), "opposition.log", quiet, Deadline.after(15))


def told(log):
    return history.history(Reader(log), NUMBER, "FR", quiet, Deadline.after(15))


def told_at(log, position):
    return history.at(Reader(log), position, NUMBER, "FR", quiet, Deadline.after(15))


@pytest.fixture
def log():
    made = Log()
    Publisher(made).import_list("tps", {NUMBER: 0})
    return made


def test_of_a_log_that_is_not_put_together_nothing_is_told(log, tmp_path):
    """Half of the registers would be taken for all of them, by whoever imports an export or answers a person."""
    put(log, RENEWING)
    last = log.end - 1
    asks = (
        lambda: exported(log, tmp_path),
        lambda: exported(log, tmp_path, position=last),
        lambda: told(log),
        lambda: told_at(log, last),
    )
    for ask in asks:
        with pytest.raises(StaleIndex, match=UNFINISHED) as refused:
            ask()
        assert refused.value.cause == "log-unfinished" and not list(tmp_path.iterdir())
    put(log, RENEWED)
    with pytest.raises(StaleIndex, match=f"at position {last}: "):
        told_at(log, last)
    assert [each.register for each in told(log).registers] == ["tps"] and exported(log, tmp_path).registers


def test_a_log_that_goes_on_as_another_is_still_evidence(log, tmp_path):
    """The verdicts of before the renewal could not be proven."""
    put(log, MOVED)
    assert told(log).events and told_at(log, log.end).registers and exported(log, tmp_path).registers


@pytest.mark.parametrize(
    ("reason", "said"), [(RENEWING, UNFINISHED), (MOVED, "set topics.log to opposition.log.2"), (RENEWED, "")]
)
def test_the_status_says_what_keeps_everybody_from_the_log(log, capsys, reason, said):
    """An operator would look for the fault in registers that are all there."""
    put(log, reason)
    replay = followed(log, keep_ends=True)
    mark = replay.known("").log.mark
    render.show_status(history.status(replay.index, Rulebook([]), datetime.now(UTC), mark))
    shown = " ".join(capsys.readouterr().out.split())
    assert said in shown and "tps" in shown and ("renew" in shown) is bool(said)

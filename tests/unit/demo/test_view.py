"""The demo's summary and how it is shown: whatever the checker noticed stands there, and makes the demo fail."""

import inspect
import io
import re
from array import array
from collections import Counter
from types import SimpleNamespace

import pytest

from stream_scrub.demo import oracle, view
from stream_scrub.demo.daemons import DemoWorkerState
from stream_scrub.demo.leads import WrittenList
from stream_scrub.demo.oracle import OutputCheck
from stream_scrub.demo.play import Play, Publication, SendPlan
from stream_scrub.demo.view import DemoSummary, View, summary
from stream_scrub.imports.import_list import ImportEffect
from stream_scrub.model import Reason
from stream_scrub.terminal.console import People

SENT = 10


def effect(register: str, position: int, added: int, refused: int = 0) -> ImportEffect:
    return ImportEffect(
        register=register,
        kind="deny",
        added=added,
        removed=0,
        unchanged=0,
        refused=refused,
        refused_lines=[],
        duplicates=0,
        count=added,
        effective_at="2026-11-24T12:00:00Z",
        position=position,
        read_as="",
        took_s=0.1,
    )


def played() -> Play:
    """A performance in which all went well."""
    checker = OutputCheck([], {}, 22)
    checker.sent = array("I", range(SENT))
    checker.taken = SENT
    checker.reasons.update({"opposed": 6, "clear": 4})
    checker.latencies.update({80: 9, 120: 1})
    checker.handed_out.allowed(33612345678, 0, 3)
    checker.first_stamp_at = checker.first_block_at = 100.2
    said = SimpleNamespace(last=list)
    effects = [effect("internal", 22, 1000, 3)]
    play = Play(SimpleNamespace(), SendPlan(5, 100, 12), checker, SimpleNamespace(), said, effects)
    play.worker_state = DemoWorkerState(position=25, reasons=Counter({"opposed": 6, "clear": 4}))
    play.elapsed_s = 3.0
    play.published = Publication(effect("internal", 25, 50), 100.0)
    return play


LISTS = [WrittenList(None, 1000, 3), WrittenList(None, 50, 0)]


def summarised(play: Play, dropped: int = 0) -> DemoSummary:
    return summary(play, LISTS, {"prospects": 0, "prospects.allowed": dropped})


def test_a_good_performance_passes():
    """`make demo` would fail for everybody."""
    found = summarised(played())

    assert found.ok
    assert [check.name for check in found.checks if not check.ok] == []


FAULTS = sorted(set(re.findall(r'faults\["([a-z ]+)"\]', inspect.getsource(oracle))))


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_makes_the_demo_fail_and_is_named(fault):
    """The checker would notice a wrong, and the demo end well all the same."""
    assert len(FAULTS) > 10
    play = played()
    play.checker.faults[fault] = 3
    found = summarised(play)

    (check,) = (check for check in found.checks if not check.ok)
    assert f"3 {fault}" in check.found


def worker_counted_another_reason(play: Play) -> None:
    play.worker_state = DemoWorkerState(reasons=Counter({"opposed": 6, "clear": 3, "consented": 1}))


def enforced(at: float | None):
    def spoil(play: Play) -> None:
        play.checker.first_stamp_at = play.checker.first_block_at = at

    return spoil


def nothing_sent(play: Play) -> None:
    play.checker.sent = array("I")
    play.checker.taken = 0


SPOILT = {
    "one did not come out": lambda play: setattr(play.checker, "taken", SENT - 1),
    "some never reached the broker": lambda play: setattr(play, "undelivered", 2),
    "nothing was sent": nothing_sent,
    "the worker counted another reason": worker_counted_another_reason,
    "a list came in short": lambda play: setattr(play, "imports", [effect("internal", 22, 999, 3)]),
    "more lines were refused": lambda play: setattr(play, "imports", [effect("internal", 22, 1000, 4)]),
    "the delta came in short": lambda play: setattr(
        play, "published", Publication(effect("internal", 25, 49), 100.0)
    ),
    "the delta was slow": enforced(101.5),
    "the delta was never seen": enforced(None),
    "there was no delta": lambda play: setattr(play, "published", None),
}


@pytest.mark.parametrize("name", SPOILT)
def test_whatever_else_went_wrong_makes_the_demo_fail(name):
    """A demo that shows something broken would end with "every check holds"."""
    play = played()
    SPOILT[name](play)
    assert not summarised(play).ok
    assert not summarised(played(), dropped=7).ok, "what the broker dropped"


def late(waited_s: float) -> Play:
    """As `played`, but that it took 1.5 s until the delta was enforced, and threads waited so long for a processor."""
    play = played()
    SPOILT["the delta was slow"](play)
    play.waited_s = waited_s
    return play


def test_a_time_that_a_starved_machine_takes_is_a_warning_with_its_load():
    """A newcomer whose laptop compiles something would be told that the product breaks its promises."""
    found = summarised(late(0.51))

    assert found.ok
    (check,) = (check for check in found.checks if not check.ok)
    assert "the machine was busy" in check.excuse
    text = shown(found, late(0.51))
    assert "late" in text and "0.51 s for a processor" in text
    assert (
        "NOT" not in text and "every check holds" not in text and "every check of what is true holds" in text
    )


def test_a_time_that_the_machine_is_not_to_blame_for_fails():
    """A demo that is slow by itself would always find an excuse."""
    assert not summarised(late(0.49)).ok


def test_what_is_not_true_has_no_excuse():
    """A prospect lost on a busy machine would pass for a matter of time."""
    play = late(9)
    play.checker.faults["lost"] = 1

    assert not summarised(play).ok


def shown(made: DemoSummary, play: Play, *, width: int = 100, terminal: bool = False) -> str:
    out = io.StringIO()
    view = View(People(file=out, width=width, force_terminal=terminal, color_system=None))
    view.step("importing")
    view.imported(effect("internal", 22, 1000, 3))
    view.update(play)
    view.update(play)
    view.end(made)
    view.close()
    return out.getvalue()


def test_every_reason_is_explained():
    """A newcomer would read words that the demo does not explain."""
    assert set(view.REASONS) == set(Reason)


def test_a_failed_check_is_shown_with_what_the_worker_logged():
    """One would know that something is wrong and not what."""
    play = played()
    play.checker.faults["lost"] = 3
    play.log_lines.last = lambda: ["2026-11-24T12:00:00Z batch given up"]
    text = shown(summarised(play), play)

    assert "NOT ok" in text
    assert "3 lost" in text
    assert text.count("batch given up") == 2  # under the screen and under the summary
    assert "NOT every check holds" in text


def test_the_screen_shows_every_reason_that_occurred_in_eighty_columns():
    """A terminal of the usual width would show a heap of broken lines."""
    play = played()
    play.checker.faults["lost"] = 2
    text = shown(summarised(played()), play, width=80, terminal=True)

    for part in ("allowed", "clear", "blocked", "opposed", "60.0%", "position 25", "2 wrong", "p99 120 ms"):
        assert part in text
    assert "consented" not in text.partition("every check")[0]

"""The demo's summary and how it is shown: whatever the checker noticed stands there, and makes the demo fail."""

import inspect
import io
import json
import re
from array import array
from collections import Counter
from types import SimpleNamespace

import pytest

from stream_scrub.demo import oracle
from stream_scrub.demo.countries import WrittenList
from stream_scrub.demo.load import Load
from stream_scrub.demo.oracle import OutputCheck, SentLeads, Truth
from stream_scrub.demo.summary import DemoOutcome, summary
from stream_scrub.demo.threads import Play, Publication, SendPlan, percentile
from stream_scrub.demo.view import JsonView, LinesView, LiveFigures, ScreenView
from stream_scrub.demo.worker_process import LogLines, WorkerState
from stream_scrub.publisher.import_list import ImportEffect
from stream_scrub.terminal import People

SENT = 10
FAULTS = (
    *(
        "lost",
        "twice",
        "never sent",
        "opposed but allowed",
        "wrong verdict",
        "wrong topic",
        "unknown position",
    ),
    *("stamp unreadable", "bytes changed", "key changed", "headers changed", "out of order"),
    *("position went back", "key in two partitions"),
)


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
    sent_leads = SentLeads([])
    sent_leads.sent = array("I", range(SENT))
    checker = OutputCheck(sent_leads, Truth({}, frozenset()), {}, 22)
    checker.taken = checker.checked = SENT
    checker.reasons.update({"opposed": 6, "clear": 4})
    checker.first_stamp_at = checker.first_block_at = 100.2
    said = SimpleNamespace(last=list)
    play = Play(SimpleNamespace(), SendPlan(5, 100, 12), sent_leads, checker, SimpleNamespace(), said)
    play.worker_state = WorkerState(reasons=Counter({"opposed": 6, "clear": 4}))
    play.published = Publication(effect("internal", 25, 50), 100.0)
    return play


def outcome(**changed) -> DemoOutcome:
    made = {
        "seed": 1,
        "imports": [effect("internal", 22, 1000, 3)],
        "lists": [WrittenList(None, 1000, 3), WrittenList(None, 50, 0)],
        "dropped": {"prospects": 0},
    }
    return DemoOutcome(**made | changed)


def test_a_good_performance_passes():
    """`make demo` would fail for everybody."""
    found = summary(played(), outcome())

    assert found.ok
    assert [check.name for check in found.checks if not check.ok] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_makes_the_demo_fail_and_is_named(fault):
    """The checker would notice a wrong, and the demo end well all the same."""
    play = played()
    play.checker.faults[fault] = 3
    found = summary(play, outcome())

    (check,) = (check for check in found.checks if not check.ok)
    assert f"3 {fault}" in check.found


def test_the_checker_counts_no_fault_that_the_summary_does_not_know():
    """A new kind of wrong would be counted and never shown."""
    counted = set(re.findall(r'faults\["([a-z ]+)"\]', inspect.getsource(oracle)))

    assert counted == set(FAULTS)


def spoilt(name: str) -> tuple[Play, DemoOutcome]:
    play, known = played(), outcome()
    match name:
        case "one did not come out":
            play.checker.taken -= 1
        case "some never reached the broker":
            play.undelivered = 2
        case "nothing was sent":
            play.sent_leads.sent = array("I")
            play.checker.taken = 0
        case "the worker counted another reason":
            play.worker_state = WorkerState(reasons=Counter({"opposed": 6, "clear": 3, "consented": 1}))
        case "the broker dropped":
            known = outcome(dropped={"prospects": 0, "prospects.allowed": 7})
        case "a list came in short":
            known = outcome(imports=[effect("internal", 22, 999, 3)])
        case "more lines were refused":
            known = outcome(imports=[effect("internal", 22, 1000, 4)])
        case "the delta came in short":
            play.published = Publication(effect("internal", 25, 49), 100.0)
        case "the delta was slow":
            play.checker.first_stamp_at = play.checker.first_block_at = 101.5
        case "the delta was never seen":
            play.checker.first_stamp_at = None
        case "the delta blocked nobody":
            play.checker.first_block_at = None
        case "there was no delta":
            play.published = None
    return play, known


@pytest.mark.parametrize(
    "name",
    [
        *("one did not come out", "some never reached the broker", "nothing was sent"),
        *("the worker counted another reason", "the broker dropped", "a list came in short"),
        *("more lines were refused", "the delta came in short", "the delta was slow"),
        *("the delta was never seen", "the delta blocked nobody", "there was no delta"),
    ],
)
def test_whatever_else_went_wrong_makes_the_demo_fail(name):
    """A demo that shows something broken would end with "every check holds"."""
    assert not summary(*spoilt(name)).ok


def late(**load: float) -> Play:
    """As `played`, but that it took 1.5 s until the delta was enforced, on such a machine."""
    play, _ = spoilt("the delta was slow")
    made = {
        "seconds": 1.5,
        "processors": 2,
        "others": 1.6,
        "waited_s": 2.0,
        "throttled_s": 0.0,
        "average": 4.0,
    }
    play.load = Load(**made | load)
    return play


@pytest.mark.parametrize(
    "load", [{}, {"waited_s": 0.51, "others": 0.5}, {"waited_s": 0.0, "others": 0.0, "throttled_s": 0.6}]
)
def test_a_time_that_a_starved_machine_takes_is_a_warning_with_its_load(load):
    """A newcomer whose laptop compiles something would be told that the product breaks its promises."""
    found = summary(late(**load), outcome())

    assert found.ok
    (check,) = (check for check in found.checks if not check.ok)
    assert "other programs used" in check.excuse and "load average 4.0" in check.excuse
    text = shown(found)
    assert "late" in text and "other programs used" in text
    assert (
        "NOT" not in text and "every check holds" not in text and "every check of what is true holds" in text
    )


@pytest.mark.parametrize("load", [{"waited_s": 0.49}, {"others": 0.4}, {"waited_s": 0.0, "throttled_s": 0.4}])
def test_a_time_that_the_machine_is_not_to_blame_for_fails(load):
    """A demo that is slow by itself would always find an excuse."""
    assert not summary(late(**load), outcome()).ok


def test_what_is_not_true_has_no_excuse():
    """A prospect lost on a busy machine would pass for a matter of time."""
    play = late()
    play.checker.faults["lost"] = 1

    assert not summary(play, outcome()).ok


def test_stopped_before_the_delta_is_no_failure():
    """Whoever presses Ctrl-C early would be told that the product is broken."""
    play, known = spoilt("there was no delta")
    play.stopped_early = True

    assert summary(play, known).ok


def shown(made, *, width: int = 100, terminal: bool = False, show=LinesView) -> str:
    out = io.StringIO()
    view = show(People(file=out, width=width, force_terminal=terminal, color_system=None))
    figures = LiveFigures(
        elapsed_s=3.0,
        of_s=5,
        produced=1234,
        scrubbed=1200,
        per_s=400,
        reasons=played().checker.reasons,
        position=25,
        registers=(("internal", "deny", 1050),),
        p50_ms=80,
        p99_ms=120,
        faults=2,
        delta="50 opt-outs imported in 0.10 s, position 25",
        note="holding: nothing is emitted",
    )
    view.imported(effect("internal", 22, 1000, 3))
    view.update(figures)
    view.update(figures)
    view.end(made)
    view.close()
    return out.getvalue()


def test_lines_say_what_a_build_log_needs(capsys):
    """Without a terminal one would see nothing until the end, or the same line over and over."""
    text = shown(summary(played(), outcome()))

    assert text.count("produced 1,234") == 1
    for part in (
        "internal",
        "1,000 numbers",
        "3 lines refused",
        "WRONG 2",
        "index 25",
        "p99 120 ms",
        "50 opt-outs",
    ):
        assert part in text
    for part in ("every check holds", "make test", "stream-scrub worker", "BOOTSTRAP_SERVERS"):
        assert part in text
    assert "NOT" not in text


def test_a_failed_check_is_shown_with_what_the_worker_logged():
    """One would know that something is wrong and not what."""
    play = played()
    play.checker.faults["lost"] = 3
    play.said.last = lambda: ["2026-11-24T12:00:00Z batch given up"]
    text = shown(summary(play, outcome()))

    assert "NOT ok" in text
    assert "3 lost" in text
    assert "batch given up" in text
    assert "NOT every check holds" in text


def test_the_screen_shows_every_reason_that_occurred_in_eighty_columns():
    """A terminal of the usual width would show a heap of broken lines."""
    text = shown(summary(played(), outcome()), width=80, terminal=True, show=ScreenView)

    for part in ("allowed", "clear", "blocked", "opposed", "60.0%", "position 25", "2 wrong", "holding:"):
        assert part in text
    assert "consented" not in text.partition("every check")[0]


def test_for_machines_there_is_one_document(capsys):
    """A script that reads the demo's result could not parse it."""
    play = played()
    view = JsonView()
    view.imported(effect("internal", 22, 1000))
    view.update(LiveFigures())
    view.end(summary(play, outcome()))
    found = json.loads(capsys.readouterr().out)

    assert found["ok"] is True
    assert found["produced"] == found["scrubbed"] == SENT
    assert [check["ok"] for check in found["checks"]] == [True] * len(found["checks"])
    assert found["delta"]["first_blocked_s"] == pytest.approx(0.2)


def test_what_came_after_the_last_line_is_said_at_the_end():
    """On a slow machine the newcomer would never see that the opt-outs were imported."""
    out = io.StringIO()
    view = LinesView(People(file=out, width=100, force_terminal=False, color_system=None))
    view.update(LiveFigures(elapsed_s=3.0))
    view.update(LiveFigures(elapsed_s=3.5, scrubbed=77, delta="50 opt-outs imported"))
    view.end(summary(played(), outcome()))
    said = out.getvalue().partition("every prospect")[0]
    assert said.count("50 opt-outs imported") == 1 and "77" in said


def test_log_lines_are_kept_to_the_last_ones(tmp_path):
    """A worker that warns without end would fill the memory, or tear the view apart."""
    said = LogLines(tmp_path / "log")
    said.stream.write(b"of no interest\n")
    said.forget()
    assert said.last() == []
    for number in range(5000):
        said.stream.write(b"line %d\n" % number)

    assert said.last() == [f"line {number}" for number in range(4980, 5000)]
    said.close()


@pytest.mark.parametrize(("share", "wanted"), [(0.5, 20.0), (0.99, 300.0), (0.1, 10.0)])
def test_percentiles(share, wanted):
    """The latency shown would be better or worse than it is."""
    assert percentile(Counter({10: 40, 20: 50, 300: 10}), share) == wanted
    assert percentile(Counter(), share) == 0.0

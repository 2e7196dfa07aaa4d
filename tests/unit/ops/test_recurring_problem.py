"""What is wrong for long is said when it begins, now and then, and when it is over."""

import time

import pytest
import structlog

from stream_scrub.ops.log_lines import RecurringProblem


def lines(monkeypatch, moments):
    """What is logged of `(second, text)` told one after another; no text: it is over."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with structlog.testing.capture_logs() as captured:
        told = RecurringProblem(structlog.get_logger(), "it fails", "it works")
        for second, text in moments:
            clock[0] = 1000.0 + second
            if text:
                told.occurred(text)
            else:
                told.end()
    return [(line["event"], line.get("why", line.get("waited_s"))) for line in captured]


DENIED = [f"{doing}: no right (TOPIC_AUTHORIZATION_FAILED: denied)" for doing in ("consuming", "asking")]
GONE = "asking: nobody there (_TRANSPORT: gone)"


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        (
            [(second, f"try {second} failed") for second in range(130)] + [(130, "")],
            ["try 0 failed", "try 60 failed", "try 120 failed", 130.0],
        ),
        ([(n, ("no broker", "no right")[n % 2]) for n in range(20)], ["no broker", "no right"]),
        ([(0, DENIED[0]), (1, DENIED[1]), (2, GONE)], [DENIED[0], GONE]),
        ([(0, ""), (1, "no broker"), (2, ""), (3, ""), (4, "no broker")], ["no broker", 1.0, "no broker"]),
    ],
    ids=["once a minute", "another reason at once", "one error of two calls", "the next trouble"],
)
def test_a_trouble_is_said_when_it_begins_now_and_then_and_when_it_is_over(monkeypatch, moments, expected):
    """An hour's outage would fill the log, or a missing right behind it and the second outage of a minute be invisible."""
    told = [("it works" if isinstance(each, float) else "it fails", each) for each in expected]
    assert lines(monkeypatch, moments) == told

"""What is wrong for long is said when it begins, now and then, and when it is over."""

import time

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


def test_a_failure_a_second_is_a_line_a_minute(monkeypatch):
    """An hour's outage would fill the log, or leave it silent as if all were well."""
    moments = [(second, f"try {second} failed") for second in range(130)] + [(130, "")]
    assert lines(monkeypatch, moments) == [
        ("it fails", "try 0 failed"),
        ("it fails", "try 60 failed"),
        ("it fails", "try 120 failed"),
        ("it works", 130.0),
    ]


def test_another_reason_is_said_at_once_and_each_only_once(monkeypatch):
    """A missing right behind an outage would stay unknown for a minute, or two that take turns would be the flood."""
    moments = [(n, ("no broker", "no right")[n % 2]) for n in range(20)]
    assert lines(monkeypatch, moments) == [("it fails", "no broker"), ("it fails", "no right")]


def test_one_error_at_two_moments_is_one_reason(monkeypatch):
    """A missing right would be told once for the poll and once for what is asked after it."""
    denied = [f"{doing}: no right (TOPIC_AUTHORIZATION_FAILED: denied)" for doing in ("consuming", "asking")]
    moments = [(0, denied[0]), (1, denied[1]), (2, "asking: nobody there (_TRANSPORT: gone)")]
    assert [why for _, why in lines(monkeypatch, moments)] == [denied[0], moments[2][1]]


def test_the_next_trouble_is_news(monkeypatch):
    """The second outage of the minute would be invisible; and what was never wrong is not over."""
    moments = [(0, ""), (1, "no broker"), (2, ""), (3, ""), (4, "no broker")]
    assert lines(monkeypatch, moments) == [
        ("it fails", "no broker"),
        ("it works", 1.0),
        ("it fails", "no broker"),
    ]

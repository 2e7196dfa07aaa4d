"""The headers of an emitted prospect's event, by the text of CloudEvents 1.0."""

import pytest

from stream_scrub.kafka.cloud_events import CloudEvents

SOURCE, MOMENT = "https://leads.example.com/scrub", b"2026-11-24T12:00:00.123Z"
PLACE = ("prospects", 3, 1042)
EVENTS = CloudEvents(SOURCE)
OURS = [
    ("ce_specversion", b"1.0"),
    ("ce_source", SOURCE.encode()),
    ("ce_type", b"stream-scrub.prospect.allowed"),
    ("ce_id", b"prospects/3/1042"),
    ("ce_time", MOMENT),
]
JSON = ("content-type", b"application/json")


def headers(came, *, allowed=True, stamped=False, place=PLACE):
    return EVENTS.headers(came, place, MOMENT, allowed=allowed, stamped=stamped)


def test_an_event_has_what_the_specification_requires():
    """No reader of CloudEvents would know the record."""
    assert headers(None) == OURS
    assert headers(None, stamped=True) == [*OURS, JSON]
    assert dict(headers(None, allowed=False))["ce_type"] == b"stream-scrub.prospect.blocked"


@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title])
def test_a_producers_event_of_the_same_names_is_replaced(spelled):
    """A reader would take the producer's event for a verdict, or refuse two ids."""
    theirs = [(spelled(name), b"theirs") for name, _ in OURS]
    kept = [("ce_subject", b"lead-7"), ("trace", None), ("ce_traceparent", b"00-1"), ("ce_", b"")]
    assert headers([*theirs, *kept, *theirs]) == [*kept, *OURS]


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("name", ["content-type", "Content-Type"])
def test_a_content_type_is_true(name, stamped):
    """A reader would look for the event in a value that is a lead, or fail to read JSON."""
    for whole in (b"application/cloudevents+json", b"Application/CloudEvents; charset=utf-8"):
        assert headers([(name, whole)], stamped=stamped) == [*OURS, *([JSON] if stamped else [])]
    avro = (name, b"application/avro")
    assert headers([avro], stamped=stamped) == ([*OURS, JSON] if stamped else [avro, *OURS])
    assert headers([(name, None)]) == [(name, None), *OURS]


def test_the_room_of_an_event_is_known():
    """A record would be sent that its topic refuses, and its whole batch be aborted."""
    made = headers((), stamped=True, place=("t" * 249, 2**31 - 1, 2**63 - 1))
    assert sum(len(name) + len(value) for name, value in made) < EVENTS.nbytes < 600

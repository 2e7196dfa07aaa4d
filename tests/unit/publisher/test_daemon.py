"""What the publisher does with a batch beside its deltas."""

from stream_scrub.lists.intake.parse_request import RequestRefusal
from stream_scrub.lists.intake.requests_to_delta import RefusedRequest
from stream_scrub.model import Request
from stream_scrub.publisher import request_parts


def request(value, headers=()):
    return Request(3, 1042, 1_700_000_000_000, b"k", value, headers)


def test_a_refused_request_goes_out_as_it_came_with_its_reason():
    """Whoever must call the person back would not know what was asked, nor where it is."""
    came = request(b"nonsense", [("trace", b"1"), ("reason", b"mine")])
    told = request_parts.refused_record(RefusedRequest(came, RequestRefusal.UNREADABLE), "asked", slim=False)
    assert told[:5] == came[:5]
    assert told.headers == [
        ("trace", b"1"),
        ("reason", b"unreadable"),
        ("taken", b"0"),
        ("from", b"3/1042"),
        ("topic", b"asked"),
    ]
    assert (
        request_parts.refused_record(
            RefusedRequest(request(None), RequestRefusal.UNREADABLE), "asked", slim=True
        ).value
        is None
    )


def test_a_request_that_its_topic_does_not_take_goes_without_its_bytes():
    """The publisher would try the same batch for ever, and every opt-out behind it would wait."""
    large = RefusedRequest(request(b"x" * 70_000), RequestRefusal.TOO_LARGE, 5)
    assert request_parts.refused_record(large, "asked", slim=False).value == b"x" * 70_000
    told = request_parts.refused_record(large, "asked", slim=True)
    assert told.value is None and dict(told.headers)["omitted"] == b"70000"
    assert dict(told.headers)["taken"] == b"5"
    assert (
        request_parts.refused_record(
            RefusedRequest(request(b"x"), RequestRefusal.UNREADABLE), "asked", slim=True
        ).value
        == b"x"
    )


def test_a_batch_is_parted_by_its_size_and_nothing_is_left_out():
    """One batch of requests with thousands of numbers each would hold up all others for minutes."""
    sizes = [10, 2 << 20, 5, 1 << 20, 1 << 20, 1, 3 << 20]
    batch = [request(b"x" * size) for size in sizes]
    parts = list(request_parts.parted(batch))
    assert [each for part in parts for each in part] == batch
    assert all(len(part) == 1 or sum(len(r.value) for r in part) <= 2 << 20 for part in parts)
    assert len(parts) < len(batch) and list(request_parts.parted([])) == []

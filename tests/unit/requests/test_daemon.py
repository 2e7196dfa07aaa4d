"""What the publisher does with a batch beside its deltas."""

import pytest

from stream_scrub.model import Request
from stream_scrub.requests import daemon
from stream_scrub.requests.backlog import Backlog
from stream_scrub.requests.lifts import Oppositions
from stream_scrub.requests.parse_request import RequestRefusal, RequestTerms
from stream_scrub.requests.requests_to_delta import KnownScopes, RefusedRequest, take


def request(value, headers=(), *, partition=3, offset=1042):
    return Request(partition, offset, 1_700_000_000_000, b"k", value, headers)


def told(request, taken=0, reason=RequestRefusal.UNREADABLE, *, slim=False):
    return daemon.refused_record(RefusedRequest(request, reason, taken), "asked", "id", slim=slim)


def test_a_refused_request_goes_out_as_it_came_with_its_reason():
    """Whoever must call the person back would not know what was asked, nor where it is."""
    came = request(b"nonsense", [("trace", b"1"), ("reason", b"mine")])
    assert told(came)[:5] == came[:5]
    assert told(came).headers == [
        ("trace", b"1"),
        ("reason", b"unreadable"),
        ("taken", b"0"),
        ("from", b"3/1042"),
        ("topic", b"asked"),
    ]


@pytest.mark.parametrize(
    ("value", "slim", "shown", "omitted"),
    [
        (b"x" * 70_000, False, b"x" * 70_000, None),
        (b"x" * 70_000, True, None, b"70000"),
        (b"x", True, b"x", None),
        (None, True, None, None),
    ],
)
def test_a_request_that_its_topic_does_not_take_goes_without_its_bytes(value, slim, shown, omitted):
    """The publisher would try the same batch for ever, and every opt-out behind it would wait."""
    record = told(request(value), 5, RequestRefusal.TOO_LARGE, slim=slim)
    headers = dict(record.headers)
    assert (record.value, headers.get("omitted"), headers["taken"]) == (shown, omitted, b"5")


def test_a_batch_is_parted_by_its_size_and_nothing_is_left_out():
    """One batch of requests with thousands of numbers each would hold up all others for minutes."""
    sizes = [10, 2 << 20, 5, 1 << 20, 1 << 20, 1, 3 << 20, *[4_000] * 30]
    batch = [request(b"x" * size, offset=at) for at, size in enumerate(sizes)]
    backlog, parts = Backlog(), []
    backlog.add(batch)
    while backlog:
        parts.append(backlog.part(5000))
    assert [each for part in parts for each in part] == batch
    assert all(sum(len(r.value) for r in part[:-1]) < 2 << 20 for part in parts)
    assert len(parts) < len(batch) and backlog.part(5000) == [] and not backlog.full

    backlog.add(batch[-30:])
    assert [len(backlog.part(10)) for _ in range(4)] == [10, 10, 10, 0], "no more than a transaction takes"


def test_large_requests_of_one_partition_hold_up_no_other():
    """Somebody who sends thirty requests of a megabyte would keep every opt-out of the others from counting for minutes."""
    large = [request(b"x" * (1 << 20), offset=at) for at in range(30)]
    more = [request(b"x" * (1 << 20), offset=at, partition=2) for at in range(30)]
    backlog = Backlog()
    backlog.add([*large, *more])
    assert backlog.full == {2, 3}
    first = backlog.part(5000)
    assert [each.partition for each in first] == [3, 2], "they take turns"
    backlog.add([opt_out := request(b"{}", partition=1)])
    backlog.give_back(first[1:])
    second = backlog.part(5000)
    assert [(each.partition, each.offset) for each in second] == [(1, 1042), (2, 0), (3, 1)]
    assert opt_out in second


def test_a_turn_ends_by_the_time_it_takes():
    """A neighbour's costly requests would keep the opt-outs of all other partitions waiting, however few bytes they have."""
    small = [
        request(
            b'{"request":"opt-out","number":"061234%d"}' % (1000 * partition + at),
            partition=partition,
            offset=at,
        )
        for partition in range(1, 4)
        for at in range(4)
    ]
    large = request(b"x" * 70_000, partition=4, offset=0)
    backlog, numbers, turns = Backlog(), set(), 0
    backlog.add([*small, large])
    while backlog:
        part = backlog.part(5000)
        wanted, _, left = take(
            part, RequestTerms(), lambda _: None, Oppositions(), {}, KnownScopes(), turn_s=0.0
        )
        backlog.give_back(left)
        taken = [each for each in part if each not in left]
        assert len({each.partition for each in taken}) == len(taken), "one of each partition"
        assert all(each.offset == turns for each in taken if each.partition < 4), "in order"
        assert not any(each.partition == 4 for each in taken) or taken == [large] or turns, (
            "large ones give way"
        )
        numbers |= {*wanted["internal"].numbers} if wanted else set()
        turns += 1
    assert len(numbers) == 12 and turns <= 5

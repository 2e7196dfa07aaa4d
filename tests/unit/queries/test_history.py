"""What the history of a number says of requests: whose they were, word for word, and nobody else's number."""

import json

import pytest

from stream_scrub.clock import from_seconds, utc_seconds
from stream_scrub.errors import Corrupt
from stream_scrub.index import deltas
from stream_scrub.index.deltas import Delta
from stream_scrub.log import wire
from stream_scrub.log.scan import read_into
from stream_scrub.model import Deadline, RegisterKind
from stream_scrub.queries import history
from stream_scrub.queries.history import NumberHistory
from tests.support.fakes.log import Log
from tests.support.fakes.publisher import NOW, Publisher, bitmap, stated
from tests.support.golden.evidence import CONSENT, CONSENTING, DAY, OTHER, reader, small_log, timed


def events_of(log, number, region="FR"):
    past = NumberHistory([number], region)
    return [event for record in timed(log) for event in past.take(record).values()]


def requested(*values, name="internal", numbers=(OTHER,), kind=RegisterKind.DENY, ends=None):
    """The log of one delta that these requests asked for."""
    log = Log()
    publisher = Publisher(log)
    lines = [wire.request_line(1, i, NOW * 1000 + i, value) for i, value in enumerate(values)]
    delta = deltas.adding(publisher.base(name, kind).numbers, bitmap(numbers))
    made = Delta(delta.adds, delta.removes, 0, stated(ends or {}), "requests", lines)
    publisher.put(name, made, kind)
    return log, publisher


def test_a_consent_is_shown_with_its_proof_word_for_word():
    """A company could not show the text that a person agreed to."""
    (event, _) = events_of(small_log(), CONSENTING)

    assert (event.register, event.change, event.reason) == ("consent", "added", "requests")
    assert event.end == utc_seconds(from_seconds(NOW + 30 * DAY))
    (asked,) = event.requests
    assert bytes(asked.request) == CONSENT
    assert (asked.partition, asked.offset, asked.time, asked.others_left_out) == (
        3,
        17,
        history.millis(NOW * 1000),
        0,
    )


@pytest.mark.parametrize(
    ("members", "others"),
    [
        ({"number": ["+33633333333", "06 11 11 11 11", True, 7], "batch": "x"}, 3),
        ({"number": "06 33 33 33 33 / 06 11 11 11 11", "batch": "x"}, 1),
        ({"Msisdn": ["+33633333333", "06 11 11 11 11"], "tel": "+33611111111", "batch": "x"}, 2),
    ],
)
def test_other_peoples_numbers_are_left_out_of_a_request(members, others):
    """The file for one person's complaint would hold another person's number."""
    log, _ = requested(json.dumps({"request": "opt-out"} | members).encode(), numbers=[OTHER, 33611111111])

    (event,) = events_of(log, OTHER)

    (asked,) = event.requests
    shown = json.loads(bytes(asked.request))
    assert shown == {"request": "opt-out", "number": ["+33633333333"], "batch": "x"}
    assert asked.others_left_out == others


@pytest.mark.parametrize(
    ("value", "region", "named"),
    [
        (b'{"number":"0633333333"}', "FR", True),
        (b'{"number":"0633333333"}', "GB", False),
        (b'{"number":"0633333333","region":"fr"}', "GB", True),
        (b'{"number":"0633333333","region":"xx"}', "FR", True),
        (b'{"number":"0611111111 / 06 33 33 33 33"}', "FR", True),
        (b'{"number":"+33 6 33 33 33 33","region":7}', "GB", True),
        (b'{\r\n"number":"0633333333"}', "FR", True),
        (b'{"msisdn":"0633333333","country":"France"}', "GB", True),
        (b'{"request":"consent","number":"0633333333","country":"GB"}', "FR", True),
        (b'{"number":null}', "FR", False),
        (b'{"number":{"a":"0633333333"}}', "FR", False),
        (b"{}", "FR", False),
        (b"[1]", "FR", False),
        (b"\xff", "FR", False),
        (b"[" * 5000, "FR", False),
    ],
)
def test_a_request_is_found_however_it_spells_the_number(value, region, named):
    """The request that somebody complains about would not be found, or another's be shown in its place."""
    log, _ = requested(value)

    (event,) = events_of(log, OTHER, region)

    assert len(event.requests) == named
    if named and b"\r" in value:
        assert bytes(event.requests[0].request) == value


def test_a_request_that_changed_nothing_is_in_the_history():
    """Somebody who asked twice would be told that he asked once."""
    log, publisher = requested(b'{"request":"opt-out","number":"+33633333333"}')
    again = wire.request_line(1, 9, NOW * 1000, b'{"request":"opt-out","number":"0633333333"}')
    publisher.request("internal", deltas.adding(publisher.base("internal").numbers, bitmap([OTHER])), [again])
    publisher.request(
        "consent",
        deltas.removing(publisher.base("consent", RegisterKind.ALLOW).numbers, bitmap([OTHER])),
        [again],
    )

    assert [(event.register, event.change) for event in events_of(log, OTHER)] == [
        ("internal", "added"),
        ("internal", "renewed"),
        ("consent", "asked"),
    ]


def test_a_log_whose_beginning_is_deleted_says_so():
    """An operator would look for a disk fault where retention has deleted the evidence."""
    records = timed(small_log())[4:]

    with pytest.raises(Corrupt, match=r"begins at offset 6: .*deleted.*retention"):
        read_into(reader(records[8:], 6), NumberHistory([OTHER], "FR").take, Deadline.after(60))

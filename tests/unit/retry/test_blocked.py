"""A blocked prospect as it goes back."""

import json

import pytest

from stream_scrub.config import Topics
from stream_scrub.kafka.cloud_events import CloudEvents
from stream_scrub.kafka.headers import Headers
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.retry.blocked import RETRY_HEADER, blocked_prospects, origin
from stream_scrub.retry.resend import Cursors
from stream_scrub.scrub.decode import Members

MEMBERS = Members.of(("phone",), "country")
ONE = origin(Topics().inputs.among(()))
STALE = {"verdict": "blocked", "reason": "stale-register", "index": 7, "at": "2026-11-24T12:00:00Z"}


class Message:
    def __init__(self, key):
        self._key = key

    def key(self):
        return self._key

    def offset(self):
        return 12

    def timestamp(self):
        return (1, 5_000)


def parcel(value, headers=None, key=b"k", of=ONE):
    (made,) = blocked_prospects(
        PolledBatch([Message(key)], [3], Headers([headers], []), [value], ["prospects.blocked"]),
        MEMBERS,
        of,
        99,
    )
    return made


def stamped(own, **stamp):
    return own[:-1] + b',"scrub":' + json.dumps(STALE | stamp).encode() + b"}"


def test_what_goes_back_is_what_its_producer_sent():
    """A producer's own bytes, or its headers, would be changed by going round."""
    own = b'{"id":1, "phone":"x" }'
    made = parcel(stamped(own, registers=["tps@acme", "tps"]), [("own", b"1"), ("own", b"2")])
    assert (made.value, made.own_key, made.kind) == (own, b"k", "stale-register.tps")
    assert made.headers[:2] == [("own", b"1"), ("own", b"2")]
    assert json.loads(made.headers[2][1]) == {"tries": 1, "from": "prospects.blocked/3/12"}
    assert made.timestamp() == (0, 99)


def test_our_event_does_not_go_back_with_it_and_its_producers_does():
    """Readers of `prospects` would take a lead for one that was blocked."""
    theirs = [("ce_type", b"form.sent"), ("ce_id", b"7"), ("ce_subject", b"lead")]
    assert parcel(stamped(b'{"id":1}'), theirs).headers[:-1] == theirs
    ours = CloudEvents("urn:x").headers(
        theirs, ("prospects", 3, 7), b"2026-11-24T12:00:00.000Z", allowed=False, stamped=True
    )
    back = parcel(stamped(b'{"id":1}'), ours).headers[:-1]
    assert back == [("ce_subject", b"lead"), ("content-type", b"application/json")]


def test_tries_are_counted_and_the_last_origin_stands():
    """A prospect could go round for ever."""
    told = (RETRY_HEADER, b'{"tries":4,"from":"prospects.blocked/0/1"}')
    made = parcel(stamped(b'{"id":1}'), [told])
    assert made.tries == 4 and json.loads(made.headers[-1][1])["tries"] == 5 and len(made.headers) == 1
    assert parcel(stamped(b'{"id":1}'), [(RETRY_HEADER, b"nonsense")]).tries == 0


def test_an_unreadable_one_goes_back_as_it_is():
    """Bytes that nobody could read would be lost at the second try to read them."""
    stamp = json.dumps(STALE | {"reason": "unreadable"}).encode()
    made = parcel(b'{"phone":1,"phone":2}', [("scrub", stamp)])
    assert (made.value, made.kind, made.headers[0][0]) == (
        b'{"phone":1,"phone":2}',
        "unreadable",
        RETRY_HEADER,
    )
    assert parcel(b"\xff").kind == "unreadable", "one that had no room for its stamp"


@pytest.mark.parametrize("value", [b"{}", None])
def test_a_record_that_the_topic_refused_gets_its_own_key_again(value):
    """A key of ours would come back to a producer that sent none, and an empty record as if it were the prospect."""
    stamp = json.dumps(STALE | {"reason": "unreadable", "cause": "INVALID_RECORD", "from": "0/5"}).encode()
    made = parcel(value, [("scrub", stamp)], b"scrub/prospects/0/5")
    assert made.own_key is None and made.is_whole is (value is not None)


def test_the_registers_of_several_numbers_are_found():
    """A prospect with two numbers would wait for no register, and never come back."""
    entries = [
        {"verdict": "allowed", "reason": "clear"},
        {"verdict": "blocked", "reason": "stale-register", "registers": ["dncm"]},
    ]
    assert parcel(stamped(b'{"id":1}', numbers=entries)).kind == "stale-register.dncm"


def test_half_a_character_in_a_prospect_hides_no_stamp():
    """A lead whose name was cut in the middle of an emoji would never come back, however fresh its list is."""
    own = b'{"id":1,"name":"cut \\ud83d","phone":"x"}'
    made = parcel(stamped(own, registers=["tps"]))
    assert (made.value, made.kind) == (own, "stale-register.tps")


def test_each_kind_has_its_own_place():
    """What waits for one list would be passed over when another comes."""
    cursors = Cursors(5)
    cursors.passed(["stale-register.tps"], 90)
    assert (cursors.of("stale-register.tps"), cursors.of("no-rule"), cursors.furthest) == (90, 5, 90)
    again = Cursors.read(str(cursors))
    assert again == cursors and again.first(["no-rule", "stale-register.tps"]) == 5
    assert Cursors.read("index=1 log=x") is None

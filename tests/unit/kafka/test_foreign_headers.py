"""What becomes of a prospect's own headers."""

from types import SimpleNamespace

import pytest

from stream_scrub.kafka.headers import came_from, marked
from stream_scrub.kafka.session import _foreign

OURS = frozenset({"scrub", "scrub-from"})

OWN = [("trace", b"1"), ("scrubber", b"x"), ("trace", None)]


@pytest.mark.parametrize("theirs", ["scrub", "Scrub", "SCRUB"])
@pytest.mark.parametrize("stamp", [b"{}", None])
def test_no_incoming_stamp_survives_in_a_header_in_whatever_case(theirs, stamp):
    """A dialler whose client or bridge does not mind the case of headers would take the producer's verdict for ours."""
    kept = _foreign([(theirs, b"allowed"), *OWN, (theirs, None)], stamp, OURS)

    assert kept == [*OWN, *([("scrub", stamp)] if stamp is not None else [])]


@pytest.mark.parametrize("theirs", ["scrub-from", "Scrub-From"])
def test_no_producer_says_that_its_prospect_is_another_topics(theirs):
    """`retry` would put one producer's lead on the topic of another one."""
    message = SimpleNamespace(topic=lambda: "leads.fr", partition=lambda: 3, offset=lambda: 17)
    forged = [(theirs, b"leads.gb/0/0"), *OWN]
    assert _foreign(forged, None, OURS) == OWN
    made = marked([message, message], [forged, None])
    assert made == [[*OWN, ("scrub-from", b"leads.fr/3/17")], [("scrub-from", b"leads.fr/3/17")]]
    assert [came_from(each) for each in (*made, OWN, None)] == ["leads.fr", "leads.fr", "", ""]

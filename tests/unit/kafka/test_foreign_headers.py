"""What becomes of a prospect's own headers."""

import pytest

from stream_scrub.kafka.session import _foreign

OWN = [("trace", b"1"), ("scrubber", b"x"), ("trace", None)]


@pytest.mark.parametrize("theirs", ["scrub", "Scrub", "SCRUB"])
@pytest.mark.parametrize("stamp", [b"{}", None])
def test_no_incoming_stamp_survives_in_a_header_in_whatever_case(theirs, stamp):
    """A dialler whose client or bridge does not mind the case of headers would take the producer's verdict for ours."""
    kept = _foreign([(theirs, b"allowed"), *OWN, (theirs, None)], stamp)

    assert kept == [*OWN, *([("scrub", stamp)] if stamp is not None else [])]

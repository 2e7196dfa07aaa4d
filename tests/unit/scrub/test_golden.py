"""Old verdicts given again: the registers, the rule of a stamp's digest and the prospect give the same stamp."""

import re
from datetime import datetime

import pytest

from stream_scrub.scrub.batch import Scrubber
from tests.support.golden import files as golden
from tests.support.golden.stamps import archive, index, terms

pytestmark = pytest.mark.usefixtures("hand")


def test_an_old_prospect_gets_the_stamp_that_it_got():
    """Years later nobody could prove why somebody was called."""
    kept = archive()
    emitted = list(golden.lines("stamps/stamps.jsonl"))

    assert len(emitted) > 80
    for line in emitted:
        value, header = golden.unpacked(line["out"]), golden.unpacked(line["header"])
        digests = re.findall(rb'"fr@[0-9a-f]{6}"', (value or b"") + (header or b""))
        book = kept.book(digest.decode().strip('"') for digest in digests)
        batch = Scrubber(terms(line["mixed"], line["stamp"]), book).scrub(
            [golden.unpacked(line["in"])], index(), datetime.fromisoformat(line["now"])
        )
        assert batch.allowed == [line["allowed"]]
        assert (batch.values, batch.stamps) == ([value], [header])

"""Old verdicts given again: the log up to a stamp's position, the rules of its digest and the prospect say the same."""

from datetime import datetime

from stream_scrub.rules import Archive
from stream_scrub.scrub.batch import Scrubber, Terms
from tests.support.fakes.scrubbers import MEMBERS
from tests.support.golden import files as golden


def test_an_old_prospect_gets_the_stamp_that_it_got():
    """Years later nobody could prove why somebody was called."""
    index = golden.replayed("sound").index
    archive = Archive([(golden.GOLDEN / "stamps" / "fr.toml").read_bytes()])
    rulebook = archive.book(archive)
    told = list(golden.lines("stamps/stamps.jsonl"))

    assert len(told) > 80
    for line in told:
        terms = Terms(MEMBERS, mixed=line["mixed"], stamp=line["stamp"], stale="block")
        batch = Scrubber(terms, rulebook).scrub(
            [golden.unpacked(line["in"])], index, datetime.fromisoformat(line["now"])
        )
        assert batch.allowed == [line["allowed"]]
        assert batch.values == [golden.unpacked(line["out"])]
        assert batch.stamps == [golden.unpacked(line["header"])]

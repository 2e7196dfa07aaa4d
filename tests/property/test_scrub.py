"""One answer, by batch or one by one; and a stamp changes nothing but itself, whatever a producer sends."""

import json
import re
from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_scrub.scrub import backend
from stream_scrub.scrub.backend import Plain
from stream_scrub.scrub.batch import Scrubber
from tests.support.fakes import law
from tests.support.fakes.scrubbers import index, read, scrubber
from tests.support.machine.effort import examples
from tests.support.oracles.jsonish import broken, prospects

WHOLE = prospects().map(lambda made: made[0])
ANY = st.one_of(WHOLE, WHOLE, WHOLE, broken())
INDEX = index()


class NothingPlain:
    """A reader that leaves everything to the strict one."""

    def __init__(self, members, default_region, facts):
        pass

    def read(self, values):
        """As `Reader.read`."""
        return Plain(np.zeros(len(values), np.uint64), np.full(len(values), -1, np.int32), ())


NOTHING_PLAIN = replace(backend.PYTHON, reader=NothingPlain)


BOTH_PLACES = [scrubber(law.OPT_OUT), scrubber(law.OPT_IN, stamp="header", mixed="strip")]
STRICT = [Scrubber(each.terms, each.rulebook, NOTHING_PLAIN) for each in BOTH_PLACES]


@settings(max_examples=examples(60))
@given(st.lists(ANY, min_size=1, max_size=12))
def test_a_batch_of_anything_comes_out_as_by_the_strict_reader_alone(values):
    """The fast ways through a batch, or through the few values of a check, would allow what the careful one blocks."""
    for by, strict in zip(BOTH_PLACES, STRICT, strict=True):
        careful = strict.scrub(values, INDEX, law.NOW)
        assert by.scrub(values, INDEX, law.NOW) == careful
        assert by.scrub_each(values, by.context(INDEX, law.NOW)) == careful


def names(value):
    return [name for name, _ in json.loads(value, object_pairs_hook=lambda pairs: pairs, parse_int=str)]


SPACES = rb"[ \t\r\n]*"


@settings(max_examples=examples(250))
@given(prospects())
def test_a_stamp_changes_nothing_but_itself(made):
    """A producer's members would come out re-encoded, reordered or lost, or with a second verdict among them."""
    value, members = made
    batch = BOTH_PLACES[0].scrub([value], INDEX, law.NOW)
    (out,), (header,) = batch.values, batch.stamps
    if header is not None:
        assert out == value and read(header)["reason"] == "unreadable"
        return

    assert names(out).count("scrub") == 1 and names(out)[-1] == "scrub"
    kept = [member for member in members if names(b"{" + member + b"}")[0].lower() != "scrub"]
    stamp = out[out.rindex(b'"scrub":{"verdict"') :].rstrip(b" \t\r\n")[:-1]
    if len(kept) == len(members):
        assert out.count(stamp) == 1
        before, after = out.split(b"," + stamp)
        assert before + after == value
    spaced = (SPACES + b"," + SPACES).join(map(re.escape, [*kept, stamp]))
    assert re.fullmatch(SPACES + rb"\{" + SPACES + spaced + SPACES + rb"\}" + SPACES, out)


@settings(max_examples=examples(150))
@given(prospects(), st.integers(0, 10**6))
def test_stamping_again_changes_the_stamp_alone(made, position):
    """A prospect that goes through twice would grow, or keep a verdict that no longer holds."""
    by = BOTH_PLACES[0]
    once = by.scrub([made[0]], INDEX, law.NOW)
    again = by.scrub(once.values, INDEX, law.NOW)
    later = by.scrub(once.values, replace(INDEX, position=position), law.NOW)
    back = by.scrub(later.values, INDEX, law.NOW)

    assert again == once == back
    if once.stamps == [None]:
        assert read(later.values[0])["scrub"] == {**read(once.values[0])["scrub"], "index": position}


@settings(max_examples=examples(150))
@given(prospects())
@example((b'{"phone":"0612345678","sCrub":[]}', []))
def test_the_two_places_of_a_stamp_tell_the_same(made):
    """Diallers that read headers and diallers that read values would call different numbers."""
    value = made[0]
    inside, beside = scrubber(), scrubber(stamp="header")
    one, other = (by.scrub([value], INDEX, law.NOW) for by in (inside, beside))

    assert one.allowed == other.allowed and one.tally == other.tally
    if one.stamps[0] is None:
        stamp = read(one.values[0]).pop("scrub")
        assert read(other.stamps[0]) == stamp
        members = read(one.values[0])
        del members["scrub"]
        assert read(other.values[0]) == members
        assert b"scrub" in value.lower() or other.values[0] == value or b"\\u" in value
    else:
        assert one == other


@settings(max_examples=examples(60))
@given(st.lists(ANY, min_size=1, max_size=4), st.lists(ANY, max_size=4))
def test_a_prospects_verdict_does_not_hang_on_its_neighbours(values, others):
    """The same lead would be allowed in one batch and blocked in the next."""
    for by in BOTH_PLACES:
        alone = by.scrub(values, INDEX, law.NOW)
        among = by.scrub([*others, *values], INDEX, law.NOW)
        size = len(values)
        assert (alone.allowed, alone.values, alone.stamps) == (
            *(among.allowed[-size:], among.values[-size:], among.stamps[-size:]),
        )

"""Registers of hashes against the same registers in clear: every verdict, stamp and recall is the same."""

import json
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from stream_scrub.index import HashKeys
from stream_scrub.recall.outstanding import Outstanding, OutstandingWatch
from tests.support.fakes import law
from tests.support.fakes.hashes import KEY, hashed, hashing_of, keys_in
from tests.support.fakes.scrubbers import scrubber

FRENCH = [33_612_345_600 + n for n in range(300)]
OVERSEAS = [262_692_345_600 + n for n in range(20)]
CAMPAIGNS = ["", "acme", "zeta"]
# Where numbers are of one country only, the same register in clear has no others.
HASHINGS = st.one_of(
    st.tuples(st.sampled_from(["hmac-sha256", "sha256"]), st.sampled_from(["+", "", "00"]), st.just("")),
    st.tuples(st.sampled_from(["hmac-sha256", "sha256"]), st.sampled_from(["0", ""]), st.just("33")),
)


def folder_keys() -> HashKeys:
    return keys_in(Path(tempfile.mkdtemp()), b"another company's key", KEY)


KEYS = folder_keys()


def leads(numbers, campaigns):
    """Plain prospects, and some with several numbers, which go another way."""
    values = []
    for at, (number, campaign) in enumerate(zip(numbers, campaigns, strict=True)):
        said = {"phone": [f"+{number}", f"+{FRENCH[0]}"] if at % 7 == 3 else f"+{number}"}
        values.append(json.dumps(said | ({"campaign": campaign} if campaign else {})).encode())
    return values


@st.composite
def worlds(draw):
    """A way to hash, what is listed and opposed, and leads: few, or enough for filters."""
    hash_, lead, code = draw(HASHINGS)
    key = draw(st.sampled_from([KEY, b""])) if hash_ == "sha256" else KEY
    listable = [*FRENCH, *([] if code else OVERSEAS)]
    sets = st.sets(st.sampled_from(listable), max_size=40)
    asked = draw(st.lists(st.sampled_from([*FRENCH, *OVERSEAS]), min_size=1, max_size=8))
    asked = asked * draw(st.sampled_from([1, 40]))
    campaigns = [draw(st.sampled_from(CAMPAIGNS)) for _ in range(min(4, len(asked)))]
    return (
        hashing_of(hash_, lead, code, key),
        key,
        draw(sets),
        draw(sets),
        leads(asked, (campaigns * len(asked))[: len(asked)]),
    )


EVERYBODY = leads(
    FRENCH, [CAMPAIGNS[2]] * len(FRENCH)
)  # of a campaign without a register, so that no other has a scope


@example(world=(hashing_of("hmac-sha256", "+", "", KEY), KEY, {*FRENCH[:9]}, set(), EVERYBODY))
@given(world=worlds())
def test_a_hashed_register_gives_the_verdicts_and_the_stamps_of_the_same_register_in_clear(world):
    """A buyer who hands over hashes would have other people called than one who hands over numbers."""
    hashing, key, listed, opposed, values = world
    of_rule, of_campaign = law.register("list", listed), law.register("hashed@acme", opposed)
    clear = law.index(of_rule, of_campaign)
    hidden = law.index(hashed(of_rule, hashing, key), hashed(of_campaign, hashing, key))
    by = scrubber(hash_keys=KEYS)

    in_clear, by_hash = (by.scrub(values, index, law.NOW) for index in (clear, hidden))

    assert by_hash.values == in_clear.values
    assert by_hash.tally == in_clear.tally


def test_a_large_batch_may_meet_a_register_of_hashes_and_none_of_one_campaign():
    """No batch of more than a hundred leads would ever be judged, and the workers would end again and again."""
    key, listed = KEY, law.register("list", FRENCH[:150])
    by, values = scrubber(hash_keys=KEYS), leads(FRENCH, [""] * len(FRENCH))
    hidden = law.index(hashed(listed, hashing_of("hmac-sha256", "+", "", key), key))
    assert by.scrub(values, hidden, law.NOW).values == by.scrub(values, law.index(listed), law.NOW).values


@given(world=worlds())
def test_numbers_that_a_hashed_delta_opposes_are_recalled_as_those_of_one_in_clear(world):
    """A lead that was handed out would be called although the buyer's new list has it."""
    hashing, key, listed, opposed, values = world
    by = scrubber(hash_keys=KEYS)
    before = law.index(law.register("list"))
    plain = by.read(values)

    def recalled(*changed):
        outstanding = Outstanding()
        watch = OutstandingWatch(outstanding, by.rulebook, KEYS)
        outstanding.begin(("allowed", 0))
        for number, kind in zip(plain.numbers.tolist(), plain.kinds.tolist(), strict=True):
            if kind >= 0:
                outstanding.add(
                    ("allowed", 0), plain.pairs[kind], (law.NOW + timedelta(days=9)).date(), [number]
                )
        assert not [*watch.due(before, law.NOW, look=False)]
        after = before
        for register in changed:
            after = after.with_register(register)
        return sorted(number for part in watch.due(after, law.NOW, look=False) for number in part.outcomes)

    registers = [
        law.register(name, numbers, position=law.POSITION + 1)
        for name, numbers in (("list", listed), ("hashed@acme", opposed))
    ]
    assert recalled(*(hashed(each, hashing, key) for each in registers)) == recalled(*registers)

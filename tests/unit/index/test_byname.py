"""Values by name, shared between one mapping and the next."""

from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.index.index import ByName

NAMES = st.one_of(st.sampled_from("abc"), st.text(max_size=3))


@given(st.lists(st.tuples(NAMES, st.integers())))
def test_it_is_what_a_dictionary_would_be_and_no_older_one_changes(puts):
    """A verdict given by yesterday's index would change with today's delta."""
    model, made = {}, ByName()
    kept = []
    for name, value in puts:
        kept.append((dict(model), made))
        model[name] = value
        made = made.put(name, value)
    for expected, found in [*kept, (model, made), (model, ByName(model))]:
        assert dict(found) == expected == found and len(found) == len(expected)
        assert list(found) == sorted(expected) and all(name in found for name in expected)
    assert "absent" not in made and made.get("absent") is None

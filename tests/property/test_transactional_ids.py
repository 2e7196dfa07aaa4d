"""The names of transactional producers: which of them are one, and which must never be."""

from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.kafka.client.transactional_ids import former, of_publisher, of_retry, of_shadow, of_worker

PARTS = st.text("ab-.pw12", min_size=1, max_size=6) | st.sampled_from(
    ["publish", "publish-a", "stream-scrub"]
)


PRODUCERS = st.one_of(
    st.tuples(st.just(of_worker), PARTS, PARTS),
    st.tuples(st.just(of_publisher), PARTS, PARTS),
    st.tuples(st.just(of_retry), PARTS),
    st.tuples(st.just(of_shadow), PARTS),
)


@given(st.lists(PRODUCERS, min_size=2, max_size=2, unique=True))
def test_no_two_producers_have_one_name(both):
    """Two workers, or a worker and a publisher, a retry or a shadow, would put each other out of work for ever."""
    first, second = (name(*parts) for name, *parts in both)
    assert first != second


@given(PARTS, PARTS)
def test_a_name_begins_as_before_so_that_the_rights_to_it_hold(first, second):
    """An upgrade would need new rights, and leave open what the release before it left open."""
    assert of_worker(first, second).startswith(f"scrub-{first}-")
    assert of_retry(first).startswith("scrub-retry-") and of_shadow(first).startswith("scrub-shadow-")
    assert former(of_retry(first)) == former(of_shadow(first)) == ""
    assert former(of_worker(first, second)) == f"scrub-{first}-{second}"
    assert former(of_publisher(first, f"{second}@scope")) == f"scrub-publish-{first}-{second}"

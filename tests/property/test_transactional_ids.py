"""The names of transactional producers: which of them are one, and which must never be."""

from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.kafka.client.producer_calls import (
    id_of_fanout,
    id_of_publisher,
    id_of_recall,
    id_of_retry,
    id_of_shadow,
    id_of_worker,
)

PARTS = st.text("ab-.pw12", min_size=1, max_size=6) | st.sampled_from(
    ["publish", "publish-a", "stream-scrub"]
)


PRODUCERS = st.one_of(
    st.tuples(st.just(id_of_worker), PARTS, PARTS),
    st.tuples(st.just(id_of_publisher), PARTS, PARTS),
    st.tuples(st.just(id_of_recall), PARTS, PARTS),
    st.tuples(st.just(id_of_fanout), PARTS, PARTS),
    st.tuples(st.just(id_of_retry), PARTS),
    st.tuples(st.just(id_of_shadow), PARTS),
)


@given(st.lists(PRODUCERS, min_size=2, max_size=2, unique=True))
def test_no_two_producers_have_one_name(both):
    """Two workers, or a worker and a publisher, a retry or a shadow, would put each other out of work for ever."""
    first, second = (name(*parts) for name, *parts in both)
    assert first != second


@given(PARTS, PARTS)
def test_a_name_begins_as_the_rights_to_it_do(first, second):
    """The brokers would refuse a worker or a publisher whose rights are granted by prefix, as the pages say."""
    assert id_of_worker(first, second).startswith(f"scrub-{first}-{second}.")
    assert id_of_recall(first, second).startswith("scrub-recall-")
    assert id_of_fanout(first, second).startswith("scrub-fanout-")
    assert id_of_retry(first).startswith("scrub-retry-") and id_of_shadow(first).startswith("scrub-shadow-")
    assert id_of_publisher(first, f"{second}@scope").startswith(f"scrub-publish-{first}-")

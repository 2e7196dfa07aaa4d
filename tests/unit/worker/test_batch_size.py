"""How large the next batch may be, by what became of the ones before it."""

from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.ops.batch_size import QUICK_S, SLOW_S, BatchSize


def test_a_batch_that_fails_for_its_time_is_halved_until_it_goes_through():
    """Behind a slow link the same batch would be written and aborted for ever."""
    size = BatchSize(10_000)
    tried = []
    while size.records > 300:
        tried.append(size.records)
        size.failed(size.records)
    assert tried == [10_000, 5000, 2500, 1250, 625, 312]
    size.failed(1)
    assert size.records == 1


def test_what_was_in_the_batch_is_halved_and_not_what_might_have_been():
    """A batch of few and large prospects would have to fail ten times before anything is smaller."""
    size = BatchSize(10_000)
    size.failed(40)
    assert size.records == 20


def test_it_grows_again_while_all_is_well_and_not_beyond_what_is_set():
    """After one bad minute a worker would be slow for good, or outgrow its setting."""
    size = BatchSize(10_000)
    size.failed(2)
    for _ in range(20):
        size.committed(size.records, 0.1)
    assert size.records == 10_000


def test_a_batch_that_was_nearly_too_slow_is_a_warning():
    """It would grow until one fails, each time, and ten seconds of the link be lost with it."""
    size = BatchSize(1000)
    size.committed(1000, SLOW_S + 0.1)
    assert size.records == 500
    size.committed(500, QUICK_S + 0.1)
    assert size.records == 500
    size.committed(500, QUICK_S - 0.1)
    assert size.records == 1000


def test_a_small_batch_does_not_prove_that_a_large_one_is_quick():
    """After a calm hour the first burst would be written, given up and written again, ten seconds each time."""
    size = BatchSize(10_000)
    size.failed(1000)
    for _ in range(100):
        size.committed(3, 0.1)
    assert size.records == 500


@given(st.floats(1.0, 20_000.0), st.integers(1, 20_000))
def test_any_link_is_used_and_never_given_up(records_per_s, records_max):
    """Some link would make no progress, or next to none."""
    size, done, spent = BatchSize(records_max), 0, 0.0
    while spent < 600.0:
        took = 0.02 + size.records / records_per_s
        spent += min(took, 10.0)
        if took > 10.0:
            size.failed(size.records)
        else:
            done += size.records
            size.committed(size.records, took)
    assert done >= min(0.4 * records_per_s * 600.0, 0.4 * records_max / 0.02 * 600.0, 600.0)

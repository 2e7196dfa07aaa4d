"""The log as a whole: what each publisher had read of it, and how often registers are stated anew."""

from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.log import wire
from stream_scrub.log.delta import SealedDelta
from stream_scrub.log.ledger import _KEPT, LogLedger, Weights
from stream_scrub.log.wire import ReadPosition
from tests.support.fakes.publisher import seal_of


def delta(name, seq, offset, read=wire.NOTHING_READ):
    seal = seal_of(register=name, seq=seq, count=1, read=read, chain=f"{seq:064x}")
    return SealedDelta(name, offset, offset, seq, seal, b"", [])


def test_a_publisher_may_be_behind_and_is_checked_as_far_as_is_remembered():
    """A slow import beside a busy daemon would make a sound log look corrupt, or anything be believed of it."""
    ledger, reads = LogLedger(), [wire.NOTHING_READ]
    for seq in range(1, _KEPT + 10):
        ledger.add("a", delta("a", seq, 2 * seq))
        reads.append(ledger.read)
    end = 2 * _KEPT + 100
    for read in (*reads[-_KEPT:], *reads[:5], wire.NOTHING_READ):
        assert not ledger.missing(delta("b", 1, end, read))
    for read in reads[-_KEPT:]:
        assert "other seals" in ledger.missing(delta("b", 1, end, ReadPosition(read.upto, "ab" * 32)))
        wrong = ReadPosition(read.upto + 1, read.log_chain)
        assert "a delta is missing" in ledger.missing(delta("b", 1, end, wrong))
    assert "a seal at offset" in ledger.missing(delta("b", 1, end, ReadPosition(end, reads[-1].log_chain)))


COUNTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 10**9), min_size=1)


@given(st.lists(COUNTS, min_size=1, max_size=4), st.integers(0, 10**9))
def test_others_count_for_no_more_than_the_register_itself(changes, own):
    """A national list beside it would keep a small register from being stated anew for years."""
    weights, counts = Weights(), {}
    for change in [*changes, {"own": own}]:
        counts |= change
        for name, count in change.items():
            weights.put(name, count)
    least = sum(min(Weights.of(count), Weights.of(own)) for count in counts.values())

    assert least <= weights.restated_after(own) <= 2 * least


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300))
def test_what_is_restated_is_a_few_times_what_the_log_grows_by(counts):
    """With many tenants every opt-out would write its whole register again."""
    weights = Weights()
    for at, count in enumerate(counts):
        weights.put(str(at), count)
    # each register is stated anew once in so many records, with so many: a harmonic sum at worst
    share = sum(Weights.of(count) / weights.restated_after(count) for count in counts)

    assert share <= 1 + len(counts).bit_length()

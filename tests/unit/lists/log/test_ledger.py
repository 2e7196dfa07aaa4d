"""The log as a whole: what each publisher had read of it, and how often registers are stated anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from stream_scrub.lists.log import wire
from stream_scrub.lists.log.ledger import _KEPT, LogLedger, Weights
from stream_scrub.lists.log.wire import DeltaSource, ReadPosition, Seal, SealKind


def seal(name, seq, read=UNSET, count=1):
    return Seal(
        format=1,
        register=name,
        register_kind=SealKind.DENY,
        kind="delta",
        seq=seq,
        adds=0,
        removes=0,
        count=count,
        effective_at="",
        source=DeltaSource("", ""),
        parts=[],
        read=read,
        chain=f"{seq:064x}",
    )


def test_a_publisher_may_be_behind_and_is_checked_as_far_as_is_remembered():
    """A slow import beside a busy daemon would make a sound log look corrupt, or anything be believed of it."""
    ledger, reads = LogLedger(), [wire.NOTHING_READ]
    for seq in range(1, _KEPT + 10):
        ledger.add("a", seal("a", seq), 2 * seq, 2 if seq == 1 else None, None)
        reads.append(ledger.read)
    end = 2 * _KEPT + 100
    for read in (*reads[-_KEPT:], *reads[:5], wire.NOTHING_READ):
        ledger.check(seal("b", 1, read), end)
    for read in reads[-_KEPT:]:
        with pytest.raises(ValueError, match="other seals"):
            ledger.check(seal("b", 1, ReadPosition(read.upto, "ab" * 32)), end)
        with pytest.raises(ValueError, match="a delta is missing"):
            ledger.check(seal("b", 1, ReadPosition(read.upto + 1, read.log_chain)), end)
    with pytest.raises(ValueError, match="a seal at offset"):
        ledger.check(seal("b", 1, ReadPosition(end, reads[-1].log_chain)), end)


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

    assert least <= weights.beside(own) <= 2 * least


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300))
def test_what_is_restated_is_a_few_times_what_the_log_grows_by(counts):
    """With many tenants every opt-out would write its whole register again."""
    weights = Weights()
    for at, count in enumerate(counts):
        weights.put(str(at), count)
    # each register is stated anew once in so many records, with so many: a harmonic sum at worst
    share = sum(Weights.of(count) / weights.beside(count) for count in counts)

    assert share <= 1 + len(counts).bit_length()

"""Register, filter and index beside a plain set, through any history of deltas, at the edges of roaring's containers."""

from datetime import UTC, datetime

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from pyroaring import BitMap64

from stream_scrub.index import Index, Register
from stream_scrub.model import RegisterKind

AT = datetime(2026, 11, 24, tzinfo=UTC)
# Containers hold 2**16 numbers, and a 64-bit bitmap is cut at 2**32 (in some releases at 2**16 above it).
EDGES = st.builds(
    lambda block, near: max(0, block * 2**16 + near),
    st.sampled_from([0, 1, 2, 3, 2**16 - 1, 2**16, 2**16 + 1, 2**32, 512_695]),
    st.integers(-2, 2),
)
NUMBERS = st.one_of(EDGES, st.integers(33_600_000_000, 33_600_000_400), st.just(2**64 - 1))


def array(numbers):
    return np.array(sorted(numbers), dtype=np.uint64)


class IndexBesideSet(RuleBasedStateMachine):
    """Two registers change; every index ever given out is kept with what it held then."""

    given_out = Bundle("given_out")

    def __init__(self):
        super().__init__()
        self.index = Index.empty()
        self.model = {name: set() for name in ("list", "internal")}
        self.kept = []
        self.position = 0

    def change(self, name, adds, removes):
        register = self.index.registers.get(name) or Register.empty(name, RegisterKind.DENY, AT)
        adds, removes = adds - self.model[name], removes & self.model[name]
        numbers, filter_ = register.changed(BitMap64(sorted(adds)), BitMap64(sorted(removes)))
        self.position += 2
        next_ = Register(
            name, register.kind, numbers, register.seq + 1, register.chain, AT, self.position, "t", filter_
        )
        self.index = self.index.with_register(next_)
        self.model[name] = (self.model[name] | adds) - removes
        self.kept.append((self.index, {name: frozenset(held) for name, held in self.model.items()}))

    @rule(
        target=given_out,
        name=st.sampled_from(["list", "internal"]),
        adds=st.sets(NUMBERS, max_size=12),
        removes=st.sets(NUMBERS, max_size=6),
    )
    def delta(self, name, adds, removes):
        self.change(name, adds, removes)
        return multiple(*adds)

    @rule(name=st.sampled_from(["list", "internal"]), gone=given_out)
    def remove_what_was_given(self, name, gone):
        self.change(name, set(), {gone})

    @rule(
        name=st.sampled_from(["list", "internal"]), start=st.integers(0, 2**34), step=st.sampled_from([1, 3])
    )
    def many(self, name, start, step):
        self.change(name, set(range(start, start + 700 * step, step)), set())

    @invariant()
    def every_index_is_what_it_was(self):
        for index, held in self.kept[-4:]:
            for name, register in index.registers.items():
                assert set(register.numbers) == held[name]
                assert register.filter.perhaps(array(held[name])).all()
        assert self.index.position == (self.position or -1)


IndexBesideSet.TestCase.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)


class TestIndexBesideSet(IndexBesideSet.TestCase):
    """Were it to fail, a number added to a list could be called, or one removed from it never again."""

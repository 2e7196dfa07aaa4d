"""An index that is sent to a child process: the same numbers, and a filter that misses none of them."""

import multiprocessing
import threading
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.index import Filter, Index, Register
from stream_scrub.index.end_table import EndTable
from stream_scrub.index.index import as_bitmap, as_numbers
from stream_scrub.log import index_transfer
from stream_scrub.model import RegisterKind


@given(st.dictionaries(st.sampled_from("abcd"), st.sets(st.integers(0, 2**64 - 1), max_size=50)))
def test_what_is_sent_is_received(numbers):
    """Somebody who opposed would be allowed in a file, and blocked on the stream."""
    index = Index.empty()
    for place, (name, each) in enumerate(numbers.items()):
        held = np.array(sorted(each), np.uint64)
        register = Register.empty(name, RegisterKind.DENY, datetime.now(UTC))
        ends = EndTable.none().changed(held[:0], held[:9], np.full(len(held[:9]), 60))
        numbers_of = {"numbers": as_bitmap(held), "filter": Filter(held), "ends": ends}
        index = index.with_register(replace(register, position=place, areas=("212",), **numbers_of))
    receiving, sending = multiprocessing.Pipe(duplex=False)
    with receiving, sending:
        thread = threading.Thread(target=index_transfer.send, args=(index, sending))
        thread.start()
        found = index_transfer.receive(receiving)
        thread.join()
    assert found.position == index.position and list(found.registers) == sorted(numbers)
    for name, register in found.registers.items():
        sent = index.registers[name]
        assert register.numbers == sent.numbers and register.filter.perhaps(as_numbers(sent.numbers)).all()
        for each in ("kind", "seq", "chain", "effective_at", "position", "source", "next_end", "areas"):
            assert getattr(register, each) == getattr(sent, each)
        assert register.ends.arrays()[0].tolist() == sorted(numbers[name])[:9]
        assert register.ends.of_each(sent.ends.arrays()[0]).tolist() == [60] * len(sorted(numbers[name])[:9])

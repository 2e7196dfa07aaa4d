"""The log's bytes: what goes out comes in again, in parts that a broker takes, readable by anybody's roaring."""

import base64
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyroaring import BitMap64

from stream_scrub.index import as_bitmap
from stream_scrub.log import wire
from stream_scrub.log.wire import DeltaSource, Seal

NUMBERS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.builds(lambda block, near: max(0, block * 2**16 + near), st.integers(0, 2**20), st.integers(-2, 2)),
)
DIGITS = st.text("0123456789abcdef", min_size=64, max_size=64)
OFFSETS = st.integers(0, 2**53)
STARTS = st.dictionaries(
    st.one_of(st.text(max_size=4), st.just("chain")),
    st.tuples(OFFSETS, OFFSETS).map(lambda span: (min(span), max(span))),
    max_size=5,
)
SEALS = st.builds(
    Seal,
    format=st.just(wire.FORMAT),
    register=st.text(max_size=8),
    register_kind=st.sampled_from(wire.SealKind),
    kind=st.sampled_from(["delta", "full"]),
    seq=st.integers(1, 2**53),
    adds=st.integers(0, 2**53),
    removes=st.integers(0, 2**53),
    ends=st.integers(0, 2**53),
    requests=st.integers(0, 2**53),
    count=st.integers(0, 2**53),
    next_end=st.one_of(st.none(), st.text(max_size=20)),
    effective_at=st.text(max_size=20),
    reason=st.text(max_size=8),
    source=st.builds(DeltaSource, st.one_of(st.text(max_size=20), st.just(',"chain":"x"}')), DIGITS),
    parts=st.lists(DIGITS, max_size=3),
    stated=st.integers(0, 2**53),
    read=st.builds(wire.ReadPosition, OFFSETS, DIGITS, st.one_of(st.none(), st.tuples(OFFSETS, OFFSETS))),
    previous=DIGITS,
    chain=st.just(""),
)


@given(SEALS, DIGITS)
def test_a_seal_comes_in_as_it_went_out(seal, previous):
    """A follower would refuse a sound log, or read other counts than were sealed."""
    value, chain = wire.encode_seal(seal, previous)
    read, content = wire.decode_seal(value)

    assert {**json.loads(value)} == {**json.loads(value), "chain": chain}
    assert list(json.loads(value))[-1] == "chain"
    for name in Seal.__struct_fields__[:-1]:
        assert getattr(read, name) == getattr(seal, name)
    assert (read.chain, content) == (chain, value.rpartition(b',"chain":"')[0])


@given(st.binary(max_size=200))
def test_what_is_no_seal_is_refused_in_words(value):
    """A worker would end in a traceback instead of holding and saying why."""
    with pytest.raises(ValueError, match=r"seal|format"):
        wire.decode_seal(value)


@given(st.sets(NUMBERS, max_size=200))
def test_parts_hold_the_numbers_and_nothing_twice(numbers):
    """Numbers would be lost on the way to the log."""
    parts = [BitMap64.deserialize(part) for part in wire.split(BitMap64(sorted(numbers)))]

    assert set().union(*parts) == numbers
    assert sum(map(len, parts)) == len(numbers)


@pytest.mark.parametrize("spread", [2_000, 2**17])
def test_large_deltas_are_cut_into_parts_that_a_broker_takes(spread):
    """The first import of a national list would be refused by the broker."""
    gaps = np.random.default_rng(spread).integers(1, spread, 450_000, dtype=np.uint64)
    numbers = as_bitmap(np.uint64(33_600_000_000) + np.cumsum(gaps, dtype=np.uint64))

    parts = wire.split(numbers)

    assert len(parts) > 1
    assert max(map(len, parts)) <= wire.PART_BYTES_MAX == 768 * 1024
    read = [BitMap64.deserialize(part) for part in parts]
    assert BitMap64.union(*read) == numbers
    assert sum(map(len, read)) == len(numbers)
    assert all(a.max() < b.min() for a, b in pairwise(read))


@given(st.sets(NUMBERS, max_size=60), st.integers(1, 20), st.sampled_from([0, 2**33]))
@example({2**64 - 1, 2**64 - 2, 2**64 - 3}, 2, 2**33)
def test_pieces_are_the_numbers_in_order_and_no_larger_than_asked(numbers, size, narrow):
    """A snapshot would lose numbers, or hold the interpreter up for as long as a national list is large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "_NARROW", narrow)
        patch.setattr(wire, "_SOME", 3)
        pieces = list(wire.pieces(BitMap64(sorted(numbers)), size))

    assert [number for piece in pieces for number in piece] == sorted(numbers)
    assert all(len(piece) <= size for piece in pieces)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            JSON.map(lambda value: json.dumps(value).encode()),
            JSON.map(
                lambda value: json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "replace")
            ),
            st.sampled_from(
                [b'{"a":1,"a":2}', b' {"a" : 1 } ', b'{"a":"\xff"}', b'{"a":1}\n', b"{}{}", b'{"a":"\r"}']
            ),
        ),
        max_size=8,
    )
)
def test_a_request_is_kept_byte_for_byte(values):
    """What a person asked for would be on the log in other words, or the line after it be lost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "PART_BYTES_MAX", 400)
        lines = [wire.request_line(3, i, 1000 + i, value) for i, value in enumerate(values)]
        parts = wire.packed(lines)
        assert all(0 < len(part) <= 400 or part.count(b"\n") == 1 for part in parts)
    read = b"".join(parts).split(b"\n")

    assert read.pop() == b"" and len(read) == len(values)
    for i, (line, value) in enumerate(zip(read, values, strict=True)):
        said = json.loads(line)
        assert (said["partition"], said["offset"], said["timestamp"]) == (3, i, 1000 + i)
        if "bytes" in said:
            assert base64.b64decode(said["bytes"]) == value
        else:
            assert isinstance(said["request"], dict)
            assert line == b'{"partition":3,"offset":%d,"timestamp":%d,"request":%b}' % (i, 1000 + i, value)


def test_a_request_that_no_part_could_hold_is_refused():
    """The publisher would be stopped for good by one record."""
    with pytest.raises(ValueError, match="too large"):
        wire.request_line(0, 0, 0, b"x" * wire.PART_BYTES_MAX)


@given(STARTS, st.integers(40, 400))
def test_where_registers_begin_comes_in_as_it_went_out_in_parts_that_fit(starts, limit):
    """With many tenants the statement would be larger than a broker takes, and no follower could begin by it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "PART_BYTES_MAX", limit)
        parts = wire.encode_starts(starts)
    longest = max((len(json.dumps([name, *span])) + 1 for name, span in starts.items()), default=0)

    assert all(0 < len(part) <= max(limit, longest) for part in parts)
    assert wire.decode_starts(parts) == starts and list(wire.decode_starts(parts)) == sorted(starts)


@pytest.mark.parametrize(
    "value",
    [
        b'["a",1,2]',
        b'["b",1,2]\n["a",1,2]\n',
        b'["a",1,2]\n["a",1,2]\n',
        b'["a",2,1]\n',
        b'["a",-1,1]\n',
        b'["a",1]\n',
        b'["a",1,2,3]\n',
        b'{"a":[1,2]}\n',
        b"\n",
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_statement_of_starts_that_is_none_is_refused(value):
    """A follower would begin at half of a register."""
    with pytest.raises(ValueError, match="statement of starts"):
        wire.decode_starts([value])

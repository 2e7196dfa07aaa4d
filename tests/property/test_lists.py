"""What a publisher puts on the log, a follower reads as the same sets; and not one damaged byte of it gets through."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap64

from stream_scrub.errors import Corrupt
from stream_scrub.index import Register
from stream_scrub.index import deltas as diff
from stream_scrub.log import wire
from stream_scrub.log.encode import records_of
from stream_scrub.log.replay import Replay
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import LogRecord, RegisterKind
from tests.support.fakes.log import Log, Writer
from tests.support.fakes.publisher import seal_of

AT = datetime(2026, 11, 24, tzinfo=UTC)
SOURCE = DeltaSource("list.csv", "ab" * 32)
NUMBERS = st.one_of(st.integers(33_600_000_000, 33_600_000_030), st.integers(0, 2**50))
SETS = st.sets(NUMBERS, max_size=25)
KINDS = {
    "list": RegisterKind.DENY,
    "internal": RegisterKind.DENY,
    "internal@acme": RegisterKind.DENY,
    "consent": RegisterKind.ALLOW,
}
CHANGES = {"full": diff.full, "adding": diff.adding, "removing": diff.removing}
STEPS = st.lists(
    st.tuples(st.sampled_from(list(KINDS)), st.sampled_from(list(CHANGES)), SETS), min_size=1, max_size=10
)


def bitmap(numbers):
    return BitMap64(sorted(numbers))


def publish_steps(steps, log):
    """Each step through diff, publish and the log; yields the follower's index and the model after each."""
    replay, model = Replay(), {}
    writer = Writer(log)
    read = 0
    for hour, (name, change, listed) in enumerate(steps):
        at = AT + timedelta(hours=hour)
        base = replay.index.registers.get(name) or Register.empty(name, KINDS[name], at)
        delta = CHANGES[change](base.numbers, bitmap(listed))
        records, seal = records_of(base, delta, at, SOURCE)
        position = writer.publish(records)
        held = model.get(name, set())
        model[name] = {"full": listed, "adding": held | listed, "removing": held - listed}[change]
        for record in log.records[read:]:
            replay.take(record)
        read = len(log.records)
        assert replay.index.position == position
        assert replay.index.registers[name].chain == seal.chain
        yield replay.index, {name: frozenset(numbers) for name, numbers in model.items()}


@given(STEPS, st.integers(0, 500))
def test_what_is_published_is_what_is_followed(steps, start):
    """A worker would judge by another list than the one that was imported."""
    log = Log(start)
    seen = list(publish_steps(steps, log))

    for index, model in seen:  # also the older ones: a delta changes no index given out before
        assert {name: set(r.numbers) for name, r in index.registers.items()} == model
        assert {name: r.kind for name, r in index.registers.items()} == {name: KINDS[name] for name in model}
    last = seen[-1][0]
    again = Replay()
    for record in log.records:
        again.take(record)
    assert again.index.position == last.position and again.unsealed is None
    for name, register in last.registers.items():
        other = again.index.registers[name]
        for part in ("seq", "chain", "effective_at", "position", "source", "kind"):
            assert getattr(register, part) == getattr(other, part)


@given(STEPS, SETS)
def test_a_full_restatement_says_what_the_deltas_gave_or_is_corrupt(steps, other):
    """A list set back in the middle of the log would take numbers off a register unseen."""
    log = Log()
    index, model = list(publish_steps(steps, log))[-1]
    name, held = next(iter(model.items()))
    for listed in (held, frozenset(other)):
        replay = Replay()
        for record in log.records:
            replay.take(record)
        records = restated(index.registers[name], listed)
        for i, (key, value, headers) in enumerate(records[:-1]):
            assert replay.take(LogRecord(log.end + i, key, value, headers)) is None
        last = LogRecord(log.end + len(records), *records[-1])
        if listed == held:
            assert replay.take(last) is not None
            after = replay.index
            assert set(after.registers[name].numbers) == held
            assert after.registers[name].seq == index.registers[name].seq + 1
        else:
            with pytest.raises(Corrupt, match=f"offset {last.offset}: .*restatement"):
                replay.take(last)
            assert set(replay.index.registers[name].numbers) == held


def restated(base, listed):
    """The records of a full restatement of a register that is on the log already."""
    parts = wire.split(bitmap(listed))
    headers = [wire.part_headers("adds", base.name, base.seq + 1, i) for i in range(len(parts))]
    seal = seal_of(
        register=base.name,
        register_kind=base.kind,
        kind="full",
        seq=base.seq + 1,
        adds=len(listed),
        count=len(listed),
        parts=wire.digests(parts),
        previous=base.chain,
    )
    value, _ = wire.encode_seal(seal, base.chain)
    key = base.name.encode()
    made = [(key, part, head) for part, head in zip(parts, headers, strict=True)]
    return [*made, (key, value, wire.seal_headers(base.name, base.seq + 1))]


def sample_log():
    """Three registers, five deltas, among them one with adds and removes and one that only renews."""
    log, steps = (
        Log(100),
        [
            ("list", "full", {33612345678, 33611111111, 33600000001}),
            ("internal", "adding", {447400123456}),
            ("list", "full", {33612345678, 33622222222}),
            ("internal", "adding", {447400123456}),
            ("list", "removing", {33622222222}),
        ],
    )
    return log, list(publish_steps(steps, log))


LOG, SEEN = sample_log()
RECORDS = [
    record._replace(offset=2 * record.offset) for record in LOG.records
]  # odd offsets are for what is put in
PLACES = range(len(RECORDS))
# What each register held after each of its seals, by (name, seq); seq 0 is before the first.
STATES = {(name, r.seq): set(r.numbers) for index, _ in SEEN for name, r in index.registers.items()}
STATES |= {(name, 0): set() for name in ("list", "internal")}


def register_of(place):
    return RECORDS[place].key.decode()


def is_seal(place):
    return dict(RECORDS[place].headers)["part"] == b"seal"


def delta_of(place):
    """The places of all records of the delta that one belongs to."""
    seq = dict(RECORDS[place].headers)["seq"]
    return [
        p for p in PLACES if RECORDS[p].key == RECORDS[place].key and dict(RECORDS[p].headers)["seq"] == seq
    ]


def is_last_delta(place):
    return max(p for p in PLACES if RECORDS[p].key == RECORDS[place].key) in delta_of(place)


def follow(records):
    """Feed a damaged log to a follower: the follower, and the error if it met one."""
    replay, error = Replay(), None
    for record in records:
        before = replay.index
        try:
            replay.take(record)
        except Corrupt as caught:
            error = error or caught
            assert replay.index is before
    return replay, error


def refused(records, place, *, seals=None):
    """The damage at a place is refused, by an offset from its delta on, and no register holds anything of it."""
    replay, error = follow(records)
    assert error is not None, "the damage went through"
    assert int(str(error).partition("log offset ")[2].split(":")[0]) >= RECORDS[delta_of(place)[0]].offset
    for name, register in replay.index.registers.items():
        assert set(register.numbers) == STATES[name, register.seq]
    held = replay.index.registers.get(register_of(place))
    sealed = int(dict(RECORDS[place].headers)["seq"]) - 1 if seals is None else seals
    assert (held.seq if held is not None else 0) <= sealed
    return True


def changed(place, **fields):
    return [*RECORDS[:place], RECORDS[place]._replace(**fields), *RECORDS[place + 1 :]]


@pytest.mark.parametrize("place", PLACES)
def test_every_shortened_or_lengthened_value_is_refused(place):
    """Half a list would be taken for the whole."""
    value = RECORDS[place].value
    for other in (value[:-1], value[1:], b"", None, value + b"\0", value + b" ", value[: len(value) // 2]):
        assert refused(changed(place, value=other), place)


@pytest.mark.parametrize("place", PLACES)
def test_a_dropped_record_is_refused_as_soon_as_it_can_be_known(place):
    """A lost delta would leave its numbers callable, and all later deltas would hide it."""
    rest = [*RECORDS[:place], *RECORDS[place + 1 :]]
    if is_last_delta(place) and is_seal(place):  # nothing after it tells: what is left is a shorter log
        replay, error = follow(rest)
        parts = delta_of(place)[:-1]
        assert error is None
        assert replay.unsealed == (RECORDS[parts[0]].offset if parts else None)  # and parts alone are held
        assert replay.index.registers[register_of(place)].seq == int(dict(RECORDS[place].headers)["seq"]) - 1
    else:
        assert refused(rest, place)


def test_a_log_cut_after_any_delta_is_a_shorter_log():
    """A follower that has not read everything yet would call it corrupt."""
    for index, model in SEEN:
        replay, error = follow([record for record in RECORDS if record.offset <= 2 * index.position])
        assert error is None and replay.unsealed is None
        assert {name: frozenset(r.numbers) for name, r in replay.index.registers.items()} == model


@pytest.mark.parametrize("place", PLACES)
def test_a_doubled_record_is_refused(place):
    """A publisher's retry would be applied twice."""
    for at in range(place, len(RECORDS)):
        second = RECORDS[place]._replace(offset=RECORDS[at].offset + 1)
        again = [*RECORDS[: at + 1], second, *RECORDS[at + 1 :]]
        own = [p for p in range(at + 1) if is_seal(p) and RECORDS[p].key == second.key]
        replay, error = follow(again)
        if error is None:  # no later seal of this register tells: its parts alone are held
            assert not is_seal(place) and replay.unsealed == second.offset
        else:
            assert refused(again, place, seals=len(own))


@pytest.mark.parametrize("place", PLACES[:-1])
def test_records_in_another_order_are_refused(place):
    """A number removed and added again would end up the other way round."""
    one, other = RECORDS[place], RECORDS[place + 1]
    swapped = [
        *RECORDS[:place],
        other._replace(offset=one.offset),
        one._replace(offset=other.offset),
        *RECORDS[place + 2 :],
    ]
    if one.key == other.key:
        assert refused(swapped, place)
    else:  # registers are chains of their own: between them no order is promised
        replay, error = follow(swapped)
        assert error is None
        assert {n: frozenset(r.numbers) for n, r in replay.index.registers.items()} == SEEN[-1][1]


def header_changes(place):
    """Every header with every other value that a header of this log has, and some that none has."""
    headers = list(RECORDS[place].headers)
    values = {value for record in RECORDS for _, value in record.headers} | {
        b"",
        b"1 ",
        b"+1",
        b"01",
        b"-1",
        None,
    }
    for at, (name, value) in enumerate(headers):
        yield from ([*headers[:at], (name, other), *headers[at + 1 :]] for other in values - {value})
        yield headers[:at] + headers[at + 1 :]
        yield [*headers, (name, b"seal")]
        yield [(name, b"0"), *headers]
        yield [*headers[:at], (name.upper(), value), *headers[at + 1 :]]


@pytest.mark.parametrize("place", PLACES)
def test_every_changed_header_is_refused(place):
    """Two followers that read different headers would hold different lists."""
    for headers in header_changes(place):
        assert refused(changed(place, headers=headers), place)


@pytest.mark.parametrize("place", PLACES)
def test_a_header_of_somebody_elses_is_none_of_ours(place):
    """A tracing library in the publisher would stop every worker."""
    _, error = follow(changed(place, headers=[*RECORDS[place].headers, ("traceparent", b"00-1")]))

    assert error is None


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", [b"internal@x", b"", None, b"\xff", b"consent"])
def test_a_record_under_another_registers_key_is_refused(place, key):
    """One register's delta would be applied to another."""
    assert refused(changed(place, key=key), place)


@pytest.mark.parametrize("place", [0, 2, len(RECORDS)])
@pytest.mark.parametrize(
    "foreign",
    [
        (b"list", b"hello", ()),
        (None, b"{}", ()),
        (b"list", None, ()),
        (b"list", b"{}", (("part", b"seal"), ("register", b"list"), ("seq", b"2"))),
        (b"list", b"", (("part", b"adds"), ("register", b"list"))),
        (b"list", b"x", (("part", b"adds"), ("register", b"list"), ("seq", b"9"), ("i", b"x"))),
        (b"list", b"x", (("part", b"other"), ("register", b"list"), ("seq", b"2"), ("i", b"0"))),
        (b"", b"x", (("part", b"seal"), ("register", b""), ("seq", b"2"))),
    ],
)
def test_a_foreign_record_on_the_log_is_refused(place, foreign):
    """Whoever may write to the topic by mistake could change what workers take for the law."""
    offset = RECORDS[place].offset - 1 if place < len(RECORDS) else 2 * LOG.end + 1

    _, error = follow([*RECORDS[:place], LogRecord(offset, *foreign), *RECORDS[place:]])
    assert error is not None and f"log offset {offset}" in str(error)


def test_after_a_corrupt_record_nothing_more_is_taken():
    """A follower would skip what it cannot read and go on with lists that have a hole."""
    replay = Replay()
    replay.take(RECORDS[0])
    replay.take(RECORDS[1])
    good = replay.index
    with pytest.raises(Corrupt) as first:
        replay.take(RECORDS[0]._replace(headers=()))
    for record in RECORDS[2:]:
        with pytest.raises(Corrupt) as again:
            replay.take(record)
        assert str(again.value) == str(first.value)
    assert replay.index is good


SEALED_WRONG = {
    "a count of adds": {"adds": 3},
    "a count of removes": {"removes": 1},
    "a count": {"count": 9},
    "a gap in seq": {"seq": 3},
    "a seq again": {"seq": 1},
    "another register": {"register": "internal"},
    "another kind of register": {"register_kind": RegisterKind.ALLOW},
    "an unknown format": {"format": 2},
    "format zero": {"format": 0},
    "no such day": {"effective_at": "2026-13-01T00:00:00Z"},
    "a day without zone": {"effective_at": "2026-11-24T00:00:00"},
    "another part": {"parts": ["0" * 64]},
    "a part too few": {"parts": []},
}


@pytest.mark.parametrize("wrong", SEALED_WRONG.values(), ids=SEALED_WRONG)
def test_a_seal_that_is_wrong_though_its_chain_is_right_is_refused(wrong):
    """A publisher's bug would be sealed and believed."""
    base, records, seal = second_delta()
    seal = seal_with(seal, **wrong)
    value, _ = wire.encode_seal(seal, base.chain)
    sealing = LogRecord(12, b"list", value, wire.seal_headers("list", seal.seq))
    replay, error = follow([*first_delta(), *numbered(records[:-1], 10), sealing])

    place = 10 if wrong.get("parts") else 12  # a part that is not the sealed one is named itself
    assert error is not None and f"log offset {place}" in str(error)
    assert set(replay.index.registers["list"].numbers) == {1, 2}


@pytest.mark.parametrize(
    ("adds", "removes"), [({1}, set()), ({3}, {9}), ({1, 3}, {2}), ({5}, {5}), (set(), {1, 2, 3})]
)
def test_a_delta_that_does_not_fit_its_register_is_refused(adds, removes):
    """A delta made against another state of the register would be half applied."""
    base, _, _ = second_delta()
    records, _ = records_of(base, diff.Delta(bitmap(adds), bitmap(removes), 0), AT, SOURCE)
    replay, error = follow([*first_delta(), *numbered(records, 10)])

    assert error is not None
    assert set(replay.index.registers["list"].numbers) == {1, 2}


@pytest.mark.parametrize("part", [b"", b"garbage", b"\1\0\0\0\0\0\0\0", b"\xff" * 40, b"\0" * 7])
def test_a_sealed_part_that_is_no_bitmap_is_refused(part):
    """A publisher in another language with a faulty encoder would empty a register."""
    base, _, seal = second_delta()
    value, _ = wire.encode_seal(seal_with(seal, parts=wire.digests([part])), base.chain)
    records = [
        *first_delta(),
        LogRecord(10, b"list", part, wire.part_headers("adds", "list", 2, 0)),
        LogRecord(11, b"list", value, wire.seal_headers("list", 2)),
    ]

    replay, error = follow(records)
    assert error is not None and "log offset 11" in str(error)
    assert set(replay.index.registers["list"].numbers) == {1, 2}


def test_two_parts_that_hold_the_same_number_are_refused():
    """Counts would look right while a number is missing."""
    base, _, seal = second_delta()
    parts = [bitmap({3, 4}).serialize(), bitmap({4, 5}).serialize()]
    value, _ = wire.encode_seal(seal_with(seal, parts=wire.digests(parts), adds=4, count=6), base.chain)
    records = [
        *(
            LogRecord(10 + i, b"list", p, wire.part_headers("adds", "list", 2, i))
            for i, p in enumerate(parts)
        ),
        LogRecord(12, b"list", value, wire.seal_headers("list", 2)),
    ]

    _, error = follow([*first_delta(), *records])
    assert error is not None and "same number" in str(error)


def test_parts_without_seal_are_followed_by_no_others():
    """A half-written delta would be completed by the next one."""
    base, records, _ = second_delta()
    part = LogRecord(10, *records[0])
    later = LogRecord(11, b"list", records[0][1], wire.part_headers("adds", "list", 3, 0))

    _, error = follow([*first_delta(), part, later])
    assert error is not None and "log offset 10" in str(error) and "without their seal" in str(error)
    assert base.seq == 1


def unsealed_then(*deltas):
    """Parts that were never sealed, of the second delta, and then what else there is; the log, and the register."""
    base, torn, _ = second_delta()
    log = [*first_delta()]
    for records in (torn[:-1], *deltas):
        log += numbered(records, log[-1].offset + 1)
    return base, log


@pytest.mark.parametrize("adds", [set(), {5}])
def test_parts_without_seal_are_completed_or_replaced_by_nothing(adds):
    """A delta that lost its seal would be made whole with another's, or be forgotten."""
    base, _ = unsealed_then()
    records, _ = records_of(base, diff.Delta(bitmap(adds), BitMap64(), 0), AT, SOURCE)
    for rest in (records, records[-1:]):
        _, error = follow(unsealed_then(rest)[1])
        assert error is not None, rest


def numbered(records, start):
    return [LogRecord(start + i, *record) for i, record in enumerate(records)]


def first_delta():
    records, _ = records_of(
        Register.empty("list", RegisterKind.DENY, AT), diff.Delta(bitmap({1, 2}), BitMap64(), 0), AT, SOURCE
    )
    return numbered(records, 0)


def second_delta():
    """The register after its first delta, and the records and the seal of a second: {3, 4} added."""
    replay, _ = follow(first_delta())
    base = replay.index.registers["list"]
    records, seal = records_of(base, diff.Delta(bitmap({3, 4}), BitMap64(), 0), AT, SOURCE)
    return base, records, seal


def seal_with(seal, **fields):
    made = {name: getattr(seal, name) for name in seal.__struct_fields__}
    return wire.Seal(**{**made, **fields})

"""Whatever publishers wrote is sound to the audit; and not one flipped bit of a log's stored copy escapes it."""

from collections import deque

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stream_scrub.errors import Corrupt
from stream_scrub.log.audit import LogAudit
from stream_scrub.model import RegisterKind
from stream_scrub.queries.history import NumberHistory
from stream_scrub.rules import digest_of
from tests.support.fakes.law import OPT_IN, OPT_OUT
from tests.support.fakes.log import Log
from tests.support.fakes.publisher import NOW, Publisher
from tests.support.golden import files as golden
from tests.support.golden.evidence import OPPOSED, OTHER, keep_rules, taken
from tests.support.machine.effort import ALL, places

RECORDS = list(golden.log("evidence"))
PLACES = range(len(RECORDS))
ALL_KINDS = 18  # so many records hold every kind of part and seal; of the others each sixteenth byte is tried
# and at a desk a third of these, with one bit of each byte of a header
NUMBERS = st.integers(33_600_000_000, 33_600_000_009)
REGISTERS = {"list": RegisterKind.DENY, "internal": RegisterKind.DENY, "consent": RegisterKind.ALLOW}
STEP = st.tuples(
    st.sampled_from(list(REGISTERS)),
    st.dictionaries(NUMBERS, st.sampled_from([0, NOW + 100, NOW + 200]), max_size=5),
    st.sampled_from(["full", "adding", "ended", "behind", "rules"]),
)


def audited(records, **more):
    audit = LogAudit(digest_of, **more)
    for record in records:
        audit.take(record)
    audit.finish()
    return audit


def delta_of(place):
    """The places of the delta that one belongs to, and of its seal."""
    seq = dict(RECORDS[place].headers)["seq"]
    own = [
        p for p in PLACES if RECORDS[p].key == RECORDS[place].key and dict(RECORDS[p].headers)["seq"] == seq
    ]
    return own, own[-1]


def found(place, changed, *, followed=False):
    """A damage is told of this register, at an offset of its delta; nothing may be judged by what follows."""
    own, seal = delta_of(place)
    records = [*RECORDS[:place], changed, *RECORDS[place + 1 : seal + 1]]
    problems = audited(records).problems
    assert problems, "the damage went through"
    offsets = {RECORDS[p].offset for p in range(own[0], seal + 1)}
    assert problems[0].offset in offsets
    name = RECORDS[place].key.decode()
    assert (
        name in {problem.register for problem in problems}
        or changed.key != RECORDS[place].key
        or (
            own[0] == place  # the first record of a register is the only one that could tell its name
        )
    )
    if followed:  # what followers and evidence are drawn from stops there
        history = NumberHistory([OPPOSED, OTHER], "FR")
        with pytest.raises(Corrupt):
            deque(map(history.take, [*records, *RECORDS[seal + 1 :]]), maxlen=0)
        assert history.index.position < RECORDS[seal].offset
    return True


@pytest.mark.parametrize("place", PLACES)
def test_a_flipped_bit_in_every_byte_of_every_value_is_found(place):
    """A disk's fault, or somebody's hand, would change who may be called, and the proof would not show it."""
    value = RECORDS[place].value
    for at in places(len(value), first=place, step=1 if place < ALL_KINDS else 16):
        flipped = value[:at] + bytes([value[at] ^ 1 << (at * 5 + place) % 8]) + value[at + 1 :]
        assert found(place, RECORDS[place]._replace(value=flipped), followed=True)


@pytest.mark.parametrize("place", PLACES)
def test_every_flipped_bit_of_every_key_and_header_is_found(place):
    """A delta would be moved to another register by one bit."""
    record = RECORDS[place]
    bits = range(8) if ALL and place < ALL_KINDS else ()
    for at in range(len(record.key)):
        for bit in bits or ((at + place) % 8,):
            key = record.key[:at] + bytes([record.key[at] ^ 1 << bit]) + record.key[at + 1 :]
            assert found(place, record._replace(key=key), followed=bit == at % 8)
    for i, (name, value) in enumerate(record.headers):
        for at in range(len(value)):
            for bit in bits or ((at + place) % 8,):
                flipped = value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :]
                headers = (*record.headers[:i], (name, flipped), *record.headers[i + 1 :])
                assert found(place, record._replace(headers=headers), followed=bit == at % 8)
        for at in range(len(name)):
            flipped = name[:at] + chr(ord(name[at]) ^ 1 << at % 7) + name[at + 1 :]
            headers = (*record.headers[:i], (flipped, value), *record.headers[i + 1 :])
            assert found(place, record._replace(headers=headers))


def played(steps):
    """The log of publishers of which each may be behind the others; `behind` publishes without a look first."""
    log = Log()
    publishers = {name: Publisher(log, full_every=5) for name in REGISTERS}
    for name, numbers, what in steps:
        publisher = publishers[name]
        if what == "rules":
            keep_rules(publisher, OPT_IN if len(numbers) % 2 else OPT_OUT, full_every=5)
            continue
        if what != "behind":
            publisher.catch_up()
        if what == "ended":
            publisher.end(name, NOW + 150)
        else:
            publisher.import_list(name, numbers, REGISTERS[name], adding=what == "adding")
    return log


@given(st.lists(STEP, min_size=1, max_size=12))
def test_what_publishers_wrote_is_sound(steps):
    """An operator would be told that the evidence is false, and rebuild a log that was right."""
    log = played(steps)

    audit = audited(log.records)

    assert audit.problems == []
    replay = taken(log.records)
    for name, register in replay.index.registers.items():
        proven = audit.registers[name].register
        assert (proven.numbers, proven.chain, proven.next_end) == (
            register.numbers,
            register.chain,
            register.next_end,
        )


@given(st.lists(STEP, min_size=2, max_size=10), st.data())
def test_a_delta_that_was_taken_out_is_missed(steps, data):
    """An opposition could be taken off the log together with its seal, and nobody would see it."""
    log = played(steps)
    seals = [(r.key, dict(r.headers)["seq"]) for r in log.records if dict(r.headers)["part"] == b"seal"]
    assume(seals)
    gone = data.draw(st.sampled_from(seals))
    kept = [r for r in log.records if (r.key, dict(r.headers)["seq"]) != gone]
    at = next(r.offset for r in log.records if (r.key, dict(r.headers)["seq"]) == gone)

    problems = audited(kept).problems

    later = [r for r in kept if r.offset > at]
    same = [r for r in later if r.key == gone[0]]
    if same:
        assert any(problem.register == gone[0].decode() for problem in problems)
    for problem in problems:
        assert problem.offset > at


MUTATION = st.tuples(
    st.sampled_from(["drop", "double", "swap", "value", "seq", "key"]),
    st.integers(0, len(RECORDS) - 1),
    st.integers(0, 10**6),
)


def mutated(records, what, place, at):
    """One record changed, and the offsets kept ascending."""
    place %= len(records)
    record = records[place]
    if what == "drop":
        return [*records[:place], *records[place + 1 :]]
    if what == "double":
        return [*records[: place + 1], record._replace(offset=record.offset), *records[place + 1 :]]
    if what == "swap":
        other = records[(place + 1) % len(records)]
        made = list(records)
        made[place] = other._replace(offset=record.offset)
        made[(place + 1) % len(records)] = record._replace(offset=other.offset)
        return made
    changed = {
        "value": {"value": record.value[: at % (len(record.value) + 1)] + b"\0" + record.value[1:]},
        "key": {"key": records[at % len(records)].key},
        "seq": {"headers": [(name, b"%d" % (at % 4) if name == "seq" else v) for name, v in record.headers]},
    }
    return [*records[:place], record._replace(**changed[what]), *records[place + 1 :]]


@given(st.lists(MUTATION, min_size=1, max_size=4))
def test_whatever_followers_stop_at_is_no_sound_log(mutations):
    """Every worker would hold at a log that its own proof calls sound; or the proof itself would fail on it."""
    records = RECORDS
    for mutation in mutations:
        records = mutated(records, *mutation) if records else records
    history, refused = NumberHistory([OPPOSED], "FR"), False
    try:
        deque(map(history.take, records), maxlen=0)
    except Corrupt:
        refused = True

    audit = audited(records)

    assert not refused or audit.problems
    for each in audit.registers.values():
        assert audit.tallies[each.name].problems or each.name == "rules" or each.register is not None

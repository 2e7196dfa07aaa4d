"""The audit of a log: a sound one is sound, and what is wrong with another is told, where it is, and all of it."""

import dataclasses
from collections import deque

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from stream_scrub.errors import Corrupt
from stream_scrub.index import Filter, Register, deltas
from stream_scrub.log import wire
from stream_scrub.log.audit import LogAudit, compare
from stream_scrub.log.delta import LogProblem
from stream_scrub.log.encode import records_of
from stream_scrub.log.replay import Replay
from stream_scrub.model import LogRecord, RegisterKind
from stream_scrub.rules import digest_of
from tests.support.fakes.log import Log
from tests.support.fakes.publisher import AT, SOURCE, Publisher, bitmap
from tests.support.golden.evidence import CALLED, OPPOSED, OTHER, small_log, taken, timed

RECORDS = timed(small_log())
PLACES = range(len(RECORDS))


def audited(records, **more) -> LogAudit:
    audit = LogAudit(digest_of, **more)
    for record in records:
        audit.take(record)
    audit.finish()
    return audit


def part_of(place):
    return dict(RECORDS[place].headers)["part"].decode()


def seq_of(record):
    return int(dict(record.headers)["seq"])


def resealed(records, place, **changed):
    """The log with another seal there, and every later one sealed anew, so that all chains are right."""
    made, heads, chains = list(records), {}, {-1: wire.GENESIS}
    log = wire.GENESIS
    for at, record in enumerate(records):
        if dict(record.headers)["part"] != b"seal":
            continue
        seal, _ = wire.decode_seal(record.value)
        if at >= place:
            read = seal.read and replace(seal.read, log_chain=chains.get(seal.read.upto, seal.read.log_chain))
            seal = replace(seal, read=read, previous=heads.get(record.key, seal.previous))
            seal = replace(seal, **(changed if at == place else {}))
            value, chain = wire.encode_seal(seal, seal.previous)
            made[at], seal = record._replace(value=value), replace(seal, chain=chain)
        heads[record.key], log = seal.chain, wire.next_log_chain(log, seal.chain)
        chains[record.offset] = log
    return made


def test_a_sound_log_is_sound():
    """An operator would chase a fault that is none."""
    audit = audited(RECORDS)

    assert audit.problems == [] and audit.problems_left_out == 0 and not audit.unsealed
    assert {name: audit.tallies[name].restated for name in audit.registers} == {
        "rules": 1,
        "list": 2,
        "washed": 1,
        "consent": 0,
        "internal": 0,
    }
    replay = taken(RECORDS)
    for name, register in replay.index.registers.items():
        proven = audit.registers[name].register
        assert (set(proven.numbers), proven.chain) == (set(register.numbers), register.chain)
    assert audit.registers["rules"].rules.texts == replay.rules.texts


def test_a_dropped_delta_is_found_even_when_nothing_of_its_register_follows():
    """Whoever wants a number off a register would only have to drop the register's last delta."""
    last = [place for place in PLACES if RECORDS[place].key == b"internal"]

    problems = audited([record for place, record in enumerate(RECORDS) if place not in last]).problems

    assert f"a seal at offset {RECORDS[last[-1]].offset} that is not here" in problems[0].what
    assert any("internal begins" in problem.what for problem in problems[1:])  # a later statement names it
    assert problems[0].offset == next(
        r.offset for r in RECORDS[last[-1] + 1 :] if dict(r.headers)["part"] == b"seal"
    )


@pytest.mark.parametrize(
    "foreign",
    [
        LogRecord(2, b"+33612345678", b"{}", ()),
        LogRecord(2, None, b"{}", ()),
        LogRecord(2, b"list", None, (("part", b"adds"), ("register", b"list"), ("seq", b"1"), ("i", b"0"))),
        LogRecord(2, b"list", b"x", (("part", b"adds"), ("register", b"lost"), ("seq", b"1"), ("i", b"0"))),
        LogRecord(2, b"\xff", b"x", (("part", b"adds"), ("register", b"\xff"), ("seq", b"1"), ("i", b"+0"))),
        LogRecord(2, b"list", b"x", (("part", b"adds"), ("part", b"adds"), ("register", b"list"))),
        LogRecord(2, b"list", b"x", (("part", b"adds"), ("register", b"list"), ("seq", b"9" * 5000))),
    ],
)
def test_a_foreign_record_is_told_and_its_key_is_not_shown(foreign):
    """A prospect that somebody published to the log by mistake would have its phone number in a report."""
    (problem,) = audited([*RECORDS[:2], foreign, *RECORDS[2:]]).problems

    assert problem.offset == 2
    assert "33612345678" not in str(problem)


@pytest.mark.parametrize("name", ["internal@Acme", "Internal", "internal@acme+", "int ernal"])
def test_a_register_that_no_look_up_asks_for_is_refused(name):
    """A program that writes the log by our format would spell a campaign otherwise, and people who opposed be called."""
    records = [*RECORDS, *_delta_of(name, after=RECORDS)]
    follower = Replay()

    with pytest.raises(Corrupt, match="register's name"):
        deque(map(follower.take, records), maxlen=0)
    assert {problem.offset for problem in audited(records).problems} == {each.offset for each in records[-2:]}


def _delta_of(name, after):
    """A sound delta of a new register with that name, behind these records."""
    known = Replay()
    for record in after:
        known.take(record)
    base = Register.empty(name, RegisterKind.DENY, AT)
    delta = deltas.full(base.numbers, bitmap([33612345678]))
    records, _ = records_of(base, delta, AT, SOURCE, known=known.known(name), full_every=20)
    return [LogRecord(after[-1].offset + at, *record) for at, record in enumerate(records, 1)]


def test_every_damage_is_told_and_each_once():
    """An operator would repair one fault and find the next one tomorrow."""
    records = list(RECORDS)
    places = [
        next(p for p in PLACES[2:] if RECORDS[p].key == key and part_of(p) not in ("seal", "starts"))
        for key in (b"list", b"consent", b"rules")
    ]
    for place in places:
        value = bytearray(records[place].value)
        value[-1] ^= 1
        records[place] = records[place]._replace(value=bytes(value))

    problems = audited(records).problems

    assert [problem.offset for problem in problems] == [records[place].offset for place in places]
    assert [problem.register for problem in problems] == ["list", "consent", "rules"]


def test_after_a_damage_the_next_full_set_is_proven_again():
    """One flipped bit would leave a register unproven for ever."""
    records = list(RECORDS)
    records[2] = records[2]._replace(value=records[2].value[:-1] + b"\0")

    audit = audited(records)

    assert audit.registers["internal"].unknown == ()
    (span,) = audit.registers["list"].unknown
    full = next(r for r in RECORDS[4:] if r.key == b"list" and wire_kind(r) == "full")
    assert span == (records[2].offset, full.offset)
    assert set(audit.registers["list"].register.numbers) == set(
        taken(RECORDS).index.registers["list"].numbers
    )


def wire_kind(record):
    part = dict(record.headers)["part"]
    return wire.decode_seal(record.value)[0].kind if part == b"seal" else ""


@pytest.mark.parametrize("wrong", ["count", "seq"])
def test_a_figure_that_is_wrong_under_a_chain_that_is_right_is_found(wrong):
    """A program that writes the log by our format would leave a delta or a number out, and followers go on without it."""
    place = PLACES[-1]
    seal, _ = wire.decode_seal(RECORDS[place].value)
    records = resealed(RECORDS, place, **{wrong: getattr(seal, wrong) + 1})
    if wrong == "seq":
        records = [
            record._replace(
                headers=[(n, b"%d" % (seal.seq + 1) if n == "seq" else v) for n, v in record.headers]
            )
            if (record.key, seq_of(record)) == (RECORDS[place].key, seal.seq)
            else record
            for record in records
        ]

    assert audited(records).problems
    with pytest.raises(Corrupt):
        taken(records)


@pytest.mark.parametrize(
    "lists",
    [
        {"cd" * 32: "2026-11-24T00:00:00Z"},
        {"ab" * 32: "yesterday"},
        {f"{at:064x}": "2026-11-24T00:00:00Z" for at in range(33)},
    ],
    ids=["of another log", "without a moment", "too many"],
)
def test_a_restatement_of_other_lists_than_the_log_had_is_found(lists):
    """Yesterday's bytes under today's name would make a register young for those who read from the restatement."""
    restatements = [
        place
        for place in PLACES
        if part_of(place) == "seal"
        and RECORDS[place].key == b"list"
        and (seal := wire.decode_seal(RECORDS[place].value)[0]).kind == "full"
        and seal.seq > 1
    ]
    records = resealed(RECORDS, restatements[0], lists=lists)

    assert audited(records).problems[0].offset == RECORDS[restatements[0]].offset


def stating(place):
    """The statement of starts in the delta whose seal is there."""
    parts = [r for r in RECORDS if r.key == RECORDS[place].key and seq_of(r) == seq_of(RECORDS[place])]
    return wire.decode_starts(r.value for r in parts if dict(r.headers)["part"] == b"starts")


def restated(place, starts):
    """The log with another statement in that delta, sealed as if it were true."""
    (value,) = wire.encode_starts(starts)
    records = list(RECORDS)
    records[place - 1] = records[place - 1]._replace(value=value)
    parts = wire.decode_seal(RECORDS[place].value)[0].parts
    return resealed(records, place, parts=[*parts[:-1], *wire.digests([value])], stated=len(starts))


def test_starts_that_are_not_true_are_found():
    """A new follower would skip what it needs, and judge by registers with a hole."""
    places = [p for p in PLACES if part_of(p) == "seal" and wire.decode_seal(RECORDS[p].value)[0].stated > 2]
    assert len(places) > 2
    for place in places:
        true = stating(place)
        start, last = true["list"]
        wrong = [
            {**true, "list": (start + 1, last)},
            {**true, "list": (start, last - 1)},
            {**true, "list": (start, last + 1)},
            {**true, "other": (0, 1)},
            {name: span for name, span in true.items() if name != "list"},
            {name: (min(s for s, _ in true.values()), end) for name, (s, end) in true.items()},
        ]
        assert audited(restated(place, true)).problems == []
        for starts in wrong:
            if starts == true:
                continue
            records = restated(place, starts)
            problems = audited(records).problems
            assert problems and problems[0].offset == RECORDS[place].offset, starts
            with pytest.raises(Corrupt, match=f"offset {RECORDS[place].offset}:"):
                taken(records)


def test_a_statement_that_is_not_where_a_seal_says_is_found():
    """A new follower would begin at something else."""
    place = PLACES[-1]
    read = wire.decode_seal(RECORDS[place].value)[0].read
    first, last = read.stated
    for stated in ((first + 1, last), (first, last - 1), (first - 1, last)):
        problems = audited(resealed(RECORDS, place, read=replace(read, stated=stated))).problems
        assert [problem.offset for problem in problems] == [RECORDS[place].offset]


@pytest.mark.parametrize("upto", [5, 10**6])
def test_what_a_publisher_had_read_and_is_not_here_is_found(upto):
    """A log from which somebody took a seal would be proven."""
    place = PLACES[-1]
    read = wire.decode_seal(RECORDS[place].value)[0].read
    for wrong in (replace(read, upto=upto), replace(read, log_chain="ab" * 32)):
        records = resealed(RECORDS, place, read=wrong)
        problems = audited(records).problems
        assert [problem.offset for problem in problems] == [RECORDS[place].offset]
        with pytest.raises(Corrupt, match="a delta is missing"):
            taken(records)


def test_starts_are_true_while_another_publishers_parts_wait_for_their_seal():
    """Two publishers at once would make a sound log look false."""
    log = Log()
    one, other, third = (Publisher(log) for _ in range(3))
    one.import_list("list", {OPPOSED: 0})
    other.catch_up()
    for number in (OTHER, CALLED):
        one.catch_up()
        delta_records, _ = records_of(
            one.base("list"),
            deltas.adding(one.base("list").numbers, bitmap([number])),
            AT,
            SOURCE,
            known=one.replay.known("list"),
        )
        log.append(*delta_records[0])
        other.catch_up()
        assert other.replay.unsealed is not None
        other.import_list("internal", {number: 0}, adding=True)
        third.catch_up()
        third.import_list("consent", {number: 0}, RegisterKind.ALLOW, adding=True)
        log.append(*delta_records[1])
    third.catch_up()
    third.import_list("consent", {OPPOSED: 0}, RegisterKind.ALLOW)

    assert audited(log.records).problems == []


def test_a_full_set_that_is_not_what_the_deltas_gave_is_found():
    """Followers that begin there would hold another list than those that began before."""
    place = max(p for p in PLACES if wire_kind(RECORDS[p]) == "full" and RECORDS[p].key == b"list")
    value = wire.split(bitmap([OTHER]))[0]
    records = list(RECORDS)
    records[place - 1] = records[place - 1]._replace(value=value)
    records = resealed(records, place, adds=1, count=1, parts=wire.digests([value]))

    problems = audited(records).problems

    assert problems[0].offset == RECORDS[place].offset and "restatement" in problems[0].what


def test_a_log_whose_beginning_is_deleted_is_named_and_the_rest_is_proven():
    """Retention that deletes the evidence would look like a fault of the disk, or like nothing at all."""
    for place in PLACES[1:]:
        first = RECORDS[place].offset
        audit = audited(RECORDS[place:], first=first)

        assert audit.problems[0].offset == first and "retention" in audit.problems[0].what
        assert len(audit.problems) == 1, (place, audit.problems)
    audit = audited(RECORDS[4:], first=RECORDS[4].offset)
    assert set(audit.registers["list"].register.numbers) == set(
        taken(RECORDS).index.registers["list"].numbers
    )


def test_no_more_problems_are_kept_than_can_be_read_and_all_are_counted():
    """A log of garbage would fill the memory, or look less broken than it is."""
    garbage = [LogRecord(i, b"k%d" % i, b"v", ()) for i in range(1000)]

    audit = audited(garbage)

    assert len(audit.problems) == 100 and audit.problems_left_out == 900
    assert not audit.registers


def test_what_was_proven_at_a_position_is_what_a_follower_knew_there():
    """A sound snapshot would be called false, or a false one sound."""
    for position in range(-1, RECORDS[-1].offset + 2):
        seen = audited(RECORDS, watch=position).seen
        replay = taken(RECORDS, position)
        if replay.unsealed is not None:
            continue
        assert list(compare(replay.index.registers, seen)) == []
        assert seen.starts == replay.state.starts
        assert (seen.rules.seq, set(seen.rules.texts)) == (replay.rules.seq, set(replay.rules.texts))


def test_a_register_that_differs_from_the_log_is_named():
    """A worker's snapshot that somebody changed would be believed."""
    position = RECORDS[-1].offset
    seen = audited(RECORDS, watch=position).seen
    held = dict(taken(RECORDS).index.registers)
    register = held["list"]
    others = {
        "other numbers": dataclasses.replace(register, numbers=register.numbers - bitmap([OTHER])),
        "chain": dataclasses.replace(register, chain="0" * 64),
        "next_end": dataclasses.replace(register, next_end=AT),
        "filter": dataclasses.replace(register, filter=Filter(np.empty(0, np.uint64))),
    }
    for word, changed in others.items():
        (told,) = compare({**held, "list": changed}, seen)
        assert "register list" in told and word in told
    assert ["not in it"] == [
        told.rpartition("is ")[2] for told in compare({k: v for k, v in held.items() if k != "list"}, seen)
    ]
    assert any("not on the log" in told for told in compare({**held, "more": register}, seen))


def test_a_register_that_is_not_proven_cannot_be_compared():
    """A snapshot would be called right by a log that proves nothing."""
    records = list(RECORDS)
    place = next(p for p in PLACES if RECORDS[p].key == b"internal")
    records[place] = records[place]._replace(value=b"")

    seen = audited(records, watch=RECORDS[-1].offset).seen

    (told,) = compare(taken(RECORDS).index.registers, seen)
    assert "internal" in told and "not proven" in told


def test_a_log_that_was_written_anew_is_found_by_what_was_filed():
    """Whoever owns the broker could write another log whose every chain is right, and nothing would tell."""
    filed = {name: (each.seq, each.chain) for name, each in audited(RECORDS[:18]).registers.items()}
    assert audited(RECORDS, filed=filed).problems == []
    place = next(p for p in PLACES if RECORDS[p].key == b"list" and part_of(p) == "seal")
    anew = resealed(RECORDS, place, reason="tidied")
    assert audited(anew).problems == []

    problems = audited(anew, filed=filed).problems

    assert "list" in {problem.register for problem in problems}
    assert all("rewritten" in problem.what for problem in problems)


def test_a_log_that_is_shorter_than_what_was_filed_is_found():
    """The last oppositions could be cut off the log and nobody would miss them."""
    filed = {name: (each.seq, each.chain) for name, each in audited(RECORDS).registers.items()}
    last = [r.offset for r in RECORDS if dict(r.headers)["part"] == b"seal"][-2]
    shorter = [r for r in RECORDS if r.offset <= last]
    assert audited(shorter).problems == []

    (problem,) = audited(shorter, filed=filed).problems

    assert problem == LogProblem(
        last + 1,
        "list",
        f"sequence {filed['list'][0]} was filed, and the log does not reach it",
    )


def test_a_seal_that_goes_back_to_requests_that_were_told_is_found():
    """Requests would be applied again, and an old consent lift a new opposition."""
    places = [p for p in PLACES if RECORDS[p].key == b"list" and part_of(p) == "seal"]
    cursors = [
        wire.Cursor("requests", "x", {0: 5, 1: 2}),
        wire.Cursor("requests", "x", {0: 5, 1: 3, 2: 1}),
        wire.Cursor("requests", "another", {0: 1}),
        wire.Cursor("requests", "another", {0: 1}),
    ]

    def asked(*said):
        records = RECORDS
        for place, cursor in zip(places, said, strict=False):
            records = resealed(records, place, asked=cursor)
        return audited(records).problems

    on = [*cursors, cursors[-1], cursors[-1]]
    assert asked(*on) == []
    lifted = [
        msgspec.structs.replace(each, lifts=wire.Cursor("lifts", "y", {0: at})) for at, each in enumerate(on)
    ]
    assert asked(on[0], *lifted[1:]) == []
    back = (on[1], msgspec.structs.replace(on[1], lifts=wire.Cursor("lifts", "y", {})))
    for wrong in back:
        told = msgspec.structs.replace(on[0], lifts=wire.Cursor("lifts", "y", {0: 1}))
        (problem,) = asked(told, wrong, *lifted[2:])
        assert problem.offset == RECORDS[places[1]].offset and "goes back" in problem.what
    for wrong in (wire.Cursor("requests", "x", {0: 6}), msgspec.UNSET):
        (problem,) = asked(on[0], wrong, *on[2:])
        assert problem.offset == RECORDS[places[1]].offset and "goes back" in problem.what


def test_parts_without_their_seal_at_the_end_are_found():
    """The last opposition could be taken off the log by its seal alone, and nobody would miss it."""
    last = [r.offset for r in RECORDS if r.key == RECORDS[-1].key and seq_of(r) == seq_of(RECORDS[-1])]

    (problem,) = audited(RECORDS[:-1]).problems

    assert (problem.offset, problem.register) == (last[0], "list")
    assert "without their seal" in problem.what

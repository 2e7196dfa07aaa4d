"""The log with ends, evidence, rules and full sets: every way to read it comes to the same, and nothing damaged gets in."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.clock import utc_seconds
from stream_scrub.errors import Corrupt
from stream_scrub.index import deltas as diff
from stream_scrub.index import end_table
from stream_scrub.log import wire
from stream_scrub.log.encode import rules_records
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import begin, last_seal, replay_to_end
from stream_scrub.model import Deadline, RegisterKind
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import AT, NOW, SOURCE, Publisher, as_dict, bitmap, followed, stated
from tests.support.fakes.publisher import seal_of as seal_with
from tests.support.machine.effort import places

NUMBERS = st.one_of(st.integers(33_600_000_000, 33_600_000_015), st.integers(0, 2**50))
ENDS = st.dictionaries(NUMBERS, st.one_of(st.just(0), st.integers(NOW - 5, NOW + 5)), max_size=12)
KINDS = {
    "list": RegisterKind.DENY,
    "internal": RegisterKind.DENY,
    "consent": RegisterKind.ALLOW,
    "rested@acme": RegisterKind.DENY,
}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(list(KINDS)),
        st.sampled_from(["full", "adding", "removing", "end", "request", "rules", "abort"]),
        ENDS,
    ),
    min_size=1,
    max_size=12,
)
FULL_EVERY = st.sampled_from([1, 4, 1000])


def digest_of(text):
    return "fr@" + sha256(text).hexdigest()[:6]


def put_rules(publisher, texts):
    records, _ = rules_records(
        publisher.replay.rules,
        {digest_of(text): text for text in texts},
        AT,
        SOURCE,
        known=publisher.replay.known(wire.RULES),
        full_every=publisher.full_every,
    )
    publisher.writer.publish(records)
    publisher.catch_up()


def publish_steps(steps, full_every, log=None):
    """Publish them all; the log, the registers with their ends as dictionaries, and the rules' texts."""
    publisher = Publisher(log or Log.behind_aborted(5), full_every=full_every)
    publisher.replay.terms.digest_of = digest_of
    model, texts = {}, {}
    for name, step, listed in steps:
        held = model.get(name, {})
        if step in ("full", "adding"):
            publisher.import_list(name, listed, KINDS[name], adding=step == "adding")
            model[name] = {**(held if step == "adding" else {}), **listed}
        elif step == "removing" and name in model:
            publisher.remove(name, listed)
            model[name] = {number: end for number, end in held.items() if number not in listed}
        elif step == "end" and name in model:
            publisher.end(name, NOW)
            model[name] = {number: end for number, end in held.items() if not 0 < end <= NOW}
        elif step == "request" and name in model and listed:
            number = min(listed)
            line = wire.request_line(1, len(held), NOW, b'{"request":"opt-out","number":"+%d"}' % number)
            publisher.request(name, diff.adding(publisher.base(name).numbers, bitmap([number])), [line])
            model[name] = {number: 0, **held}
        elif step == "rules":
            added = [b"rule %d" % number for number in listed]
            put_rules(publisher, added)
            texts |= {digest_of(text): text for text in added}
        elif step == "abort":
            publisher.log.skip(3)
    return publisher, model, texts


def registers(replay):
    return {name: set(register.numbers) for name, register in replay.index.registers.items()}


def rests(replay):
    """The end of each number that rests, as a follower knows it."""
    register = replay.index.registers.get("rested@acme")
    numbers, minutes = ((), ()) if register is None else register.ends.arrays()
    assert register is None or register.ends.of_each(numbers).tolist() == [60 * at for at in minutes.tolist()]
    return dict(zip(map(int, numbers), map(int, minutes), strict=True))


def same(one, other):
    """Two followers that know the same."""
    assert one.index.position == other.index.position and one.unsealed is other.unsealed is None
    assert registers(one) == registers(other)
    assert rests(one) == rests(other)
    for name, register in one.index.registers.items():
        for part in ("kind", "seq", "chain", "effective_at", "position", "source", "next_end"):
            assert getattr(register, part) == getattr(other.index.registers[name], part)
    rules, others = one.state.rules, other.state.rules
    assert (rules.seq, rules.chain, rules.position) == (others.seq, others.chain, others.position)
    assert rules.texts.keys() == others.texts.keys()
    assert one.state.starts == other.state.starts


@pytest.fixture(params=[2, 10_000], scope="module")
def _later(request):
    """So many changes beside the ends' arrays: with few they are made anew all the time, with many never."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(end_table, "_LATER_MAX", request.param)
        yield


@pytest.mark.usefixtures("_later")
@given(STEPS, FULL_EVERY, st.integers(1, 4))
def test_every_way_to_read_the_log_comes_to_the_same(steps, full_every, at_once):
    """A worker started today would judge otherwise than one that has run for years."""
    publisher, model, texts = publish_steps(steps, full_every)
    log = publisher.log

    whole = followed(log, keep_ends=True, digest_of=digest_of, at_once=at_once)
    assert registers(whole) == {name: set(ends) for name, ends in model.items()}
    for name, ends in model.items():
        next_end = whole.index.registers[name].next_end
        assert (next_end and int(next_end.timestamp())) == min((e for e in ends.values() if e), default=None)
        assert as_dict(whole.known(name).ends) == {number: end for number, end in ends.items() if end}
        assert as_dict(publisher.replay.known(name).ends) == as_dict(whole.known(name).ends)
    assert rests(whole) == {n: -(-end // 60) for n, end in model.get("rested@acme", {}).items() if end}
    assert not any(each.ends for name, each in whole.index.registers.items() if name in ("list", "consent"))
    assert whole.rules.texts == texts and "rules" not in whole.index.registers
    same(whole, publisher.replay)
    same(whole, followed(log, at_once=at_once))
    for keep_ends in (False, True):
        late = followed(log, start="latest-full", keep_ends=keep_ends, digest_of=digest_of, at_once=at_once)
        same(whole, late)
        assert late.rules.texts == texts
        if keep_ends:
            assert all(as_dict(late.known(n).ends) == as_dict(whole.known(n).ends) for n in model)


@given(STEPS, FULL_EVERY)
def test_what_was_asked_for_is_on_the_log_as_it_came(steps, full_every):
    """The proof of an opt-out would be lost, or not be what the person sent."""
    publisher, _, _ = publish_steps(steps, full_every)
    lines = [
        json.loads(line)
        for record in publisher.log.records
        if dict(record.headers)["part"] == b"requests"
        for line in record.value.splitlines()
    ]
    sealed = [
        json.loads(record.value)
        for record in publisher.log.records
        if dict(record.headers)["part"] == b"seal"
    ]

    assert len(lines) == sum(seal["requests"] for seal in sealed)
    assert {seal["reason"] for seal in sealed if seal["requests"]} <= {"requests"}
    assert all(line["request"]["request"] == "opt-out" and line["partition"] == 1 for line in lines)


def sample():
    """A log with every kind of part, full sets, and a register that is hardly ever published."""
    steps = [
        ("consent", "full", {33_600_000_001: NOW - 1, 33_600_000_002: NOW + 9, 447_400_123_456: 0}),
        ("list", "full", {1: 0, 2: 0}),
        ("internal", "full", {7: 0}),
        ("internal", "request", {8: 0}),
        ("consent", "end", {}),
        ("internal", "rules", {3: 0}),
        ("internal", "adding", {9: NOW + 3}),
        ("internal", "removing", {9: 0}),
        ("list", "adding", {5: 0}),
    ]
    return publish_steps(steps, 6)[0].log


LOG = sample()
PLACES = range(len(LOG.records))


def damaged(place, **fields):
    log = Log()
    log.records = [*LOG.records[:place], LOG.records[place]._replace(**fields), *LOG.records[place + 1 :]]
    log.end = LOG.end
    return log


@pytest.mark.parametrize("place", PLACES)
def test_every_flipped_bit_is_refused_by_who_begins_at_the_full_sets_or_not_read(place):
    """A follower without the history would believe what one with it refuses."""
    sound = followed(LOG, start="latest-full")
    reader = Reader(LOG)
    value = LOG.records[place].value
    for at in places(len(value), first=place, step=3):
        flipped = value[:at] + bytes([value[at] ^ 1 << (at * 5 + place) % 8]) + value[at + 1 :]
        try:
            late = followed(damaged(place, value=flipped), start="latest-full")
        except Corrupt:
            continue
        same(sound, late)  # it lies before the register's latest full set
    assert last_seal(reader, 60).offset == LOG.records[-1].offset


@pytest.mark.parametrize("place", PLACES)
def test_a_dropped_record_is_missed_by_who_begins_at_the_full_sets(place):
    """A follower without the history would not notice that a register is gone."""
    sound = followed(LOG, start="latest-full")
    log = damaged(place)
    del log.records[place]
    try:
        late = followed(log, start="latest-full")
    except Corrupt:
        return
    if place == len(LOG.records) - 1:  # only a shorter log
        return
    assert registers(late) == registers(sound) or late.unsealed is not None


def resealed(name, base, parts, **fields):
    """A log on which somebody with the right to write sealed something that is wrong; `base` is published before."""
    publisher = Publisher(Log())
    publisher.import_list(name, base)
    register = publisher.base(name)
    records = []
    for i, (side, value) in enumerate(parts):
        records.append((name.encode(), value, wire.part_headers(side, name, 2, i)))
    digests = wire.digests([value for _, value in parts])
    plain = {"register": name, "seq": 2, "count": len(base), "parts": digests, "previous": register.chain}
    seal = seal_with(**{**plain, **fields})
    value, _ = wire.encode_seal(seal, register.chain)
    publisher.writer.publish([*records, (name.encode(), value, wire.seal_headers(name, 2))])
    return publisher.log


def utc(moment):
    return utc_seconds(AT.fromtimestamp(moment, AT.tzinfo))


ENDS_OF_1 = wire.encode_ends(stated({1: NOW + 5}))[0]
WRONG = {
    "an end of a number that is not held": {
        "parts": [("ends", wire.encode_ends(stated({3: NOW + 5}))[0])],
        "ends": 1,
        "next_end": utc(NOW + 5),
    },
    "an end of a number that is removed": {
        "parts": [("removes", bitmap([1]).serialize()), ("ends", ENDS_OF_1)],
        "removes": 1,
        "ends": 1,
        "count": 1,
        "next_end": utc(NOW + 5),
    },
    "another count of ends": {"parts": [("ends", ENDS_OF_1)], "ends": 2, "next_end": utc(NOW + 5)},
    "ends without next end": {"parts": [("ends", ENDS_OF_1)], "ends": 1},
    "a later next end": {"parts": [("ends", ENDS_OF_1)], "ends": 1, "next_end": utc(NOW + 6)},
    "an earlier next end": {"parts": [("ends", ENDS_OF_1)], "ends": 1, "next_end": utc(NOW + 4)},
    "a next end out of nothing": {"parts": [], "next_end": utc(NOW + 5)},
    "a next end without zone": {"parts": [("ends", ENDS_OF_1)], "ends": 1, "next_end": utc(NOW + 5)[:-1]},
    "a number that ends twice": {
        "parts": [("ends", ENDS_OF_1), ("ends", ENDS_OF_1)],
        "ends": 2,
        "next_end": utc(NOW + 5),
    },
    "another count of requests": {"parts": [("requests", b"{}\n")], "requests": 2},
    "rules in a register": {"parts": [("rules", b"text")]},
    "a restatement that removes": {
        "parts": [("adds", bitmap([1, 2]).serialize()), ("removes", bitmap([2]).serialize())],
        "kind": "full",
        "adds": 2,
        "removes": 1,
    },
    "a restatement of another size": {
        "parts": [("adds", bitmap([1, 2]).serialize())],
        "kind": "full",
        "adds": 2,
        "count": 3,
    },
    "a restatement of other numbers": {
        "parts": [("adds", bitmap([1, 3]).serialize())],
        "kind": "full",
        "adds": 2,
    },
    "another previous chain": {"parts": [], "previous": "0" * 64},
    "the kind of rules": {"parts": [], "register_kind": wire.SealKind.RULES},
    "a part of no kind": {"parts": [("other", b"")]},
}


@pytest.mark.parametrize("keep_ends", [False, True])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_delta_that_contradicts_itself_is_refused(wrong, keep_ends):
    """A publisher with a fault would change what every follower takes for true."""
    with pytest.raises(Corrupt):
        followed(resealed("list", {1: 0, 2: 0}, **WRONG[wrong]), keep_ends=keep_ends)


@pytest.mark.parametrize("next_end", [None, NOW + 2, NOW + 6])
def test_a_next_end_that_only_history_refutes_is_refused_by_who_keeps_it(next_end):
    """`lists verify` would call a log sound whose followers are told a wrong next end."""
    fields = {"parts": [("removes", bitmap([1]).serialize())], "removes": 1, "count": 2}
    told = {**fields, "next_end": next_end and utc(next_end)}
    log = resealed("list", {1: NOW + 1, 2: NOW + 4, 3: 0}, **told)

    with pytest.raises(Corrupt, match="next end"):
        followed(log, keep_ends=True)
    right = resealed("list", {1: NOW + 1, 2: NOW + 4, 3: 0}, **{**told, "next_end": utc(NOW + 4)})
    assert followed(right, keep_ends=True).index.registers["list"].next_end.timestamp() == NOW + 4


def rules_log(*texts):
    publisher = Publisher(Log())
    publisher.replay.terms.digest_of = digest_of
    for each in texts:
        put_rules(publisher, each)
    return publisher


def test_a_text_that_has_not_its_digest_is_refused():
    """A verdict would be explained by rules that it was not given by."""
    log = rules_log([b"one"]).log
    part = log.records[0]
    log.records[0] = part._replace(
        headers=[(n, b"fr@000000" if n == "digest" else v) for n, v in part.headers]
    )

    followed(log)  # who keeps no texts does not use the digest either
    with pytest.raises(Corrupt, match="digest"):
        followed(log, digest_of=digest_of)


def sealed_rules(*deltas, digest=digest_of):
    """A log of rules as whoever may write could have made it: for each delta its texts, kind and count."""
    log, chain = Log(), wire.GENESIS
    for seq, (texts, kind, count) in enumerate(deltas, 1):
        for i, text in enumerate(texts):
            log.append(b"rules", text, wire.part_headers("rules", "rules", seq, i, digest(text)))
        seal = seal_with(
            register="rules",
            register_kind=wire.SealKind.RULES,
            kind=kind,
            seq=seq,
            count=count,
            parts=wire.digests(texts),
            previous=chain,
        )
        value, chain = wire.encode_seal(seal, chain)
        log.append(b"rules", value, wire.seal_headers("rules", seq))
    return log


ONE, TWO = b"one", b"two"
RULES_LOGS = {
    "sound": ([([ONE], "full", 1), ([TWO], "delta", 2), ([ONE, TWO], "full", 2)], None),
    "a restatement that leaves one out": ([([ONE, TWO], "full", 2), ([ONE], "full", 2)], "restatement"),
    "a restatement that adds one": ([([ONE], "full", 1), ([ONE, TWO], "full", 2)], "restatement"),
    "one that is there already": ([([ONE], "full", 1), ([ONE], "delta", 1)], "already"),
    "another count": ([([ONE], "full", 2)], "2"),
    "the same one twice": ([([ONE, ONE], "full", 1)], "same rule"),
}


@pytest.mark.parametrize("name", RULES_LOGS)
def test_the_rules_on_the_log_are_as_their_seals_say(name):
    """The rules of an old verdict could be taken off the log, or be put there twice."""
    deltas, why = RULES_LOGS[name]
    for keep in (None, digest_of):
        if why is None:
            assert followed(sealed_rules(*deltas), digest_of=keep).rules.texts.keys() == {
                digest_of(ONE),
                digest_of(TWO),
            }
        else:
            with pytest.raises(Corrupt, match=why):
                followed(sealed_rules(*deltas), digest_of=keep)


def test_another_text_under_a_digest_that_is_taken_is_not_published():
    """Two rules would have one name on the stamps."""
    publisher = rules_log([b"one"])
    with pytest.raises(ValueError, match="another text"):
        rules_records(
            publisher.replay.rules,
            {digest_of(b"one"): b"other"},
            AT,
            SOURCE,
            known=publisher.replay.known(wire.RULES),
        )


def test_a_register_with_ends_is_not_published_by_who_does_not_know_them():
    """The seal would say a next end that is not, and every follower that keeps ends call the log corrupt."""
    publisher = Publisher(Log())
    publisher.import_list("consent", {1: NOW + 5}, RegisterKind.ALLOW)
    publisher.replay = followed(publisher.log)

    with pytest.raises(ValueError, match="ends are not known"):
        publisher.put("consent", diff.adding(publisher.base("consent").numbers, bitmap([2])))


def test_a_new_follower_reads_no_more_than_it_needs():
    """A worker would need minutes to start when the log is ten years old."""
    log = Log()
    publisher = Publisher(log, full_every=50)
    publisher.import_list("pacitel", {1: 0, 2: 0})
    for number in range(500):
        publisher.request("internal", diff.adding(publisher.base("internal").numbers, bitmap([number])), [])

    reader = Reader(log, at_once=100)
    replay = begin(reader, Deadline.after(60))
    replay_to_end(reader, Deadline.after(60), replay=replay)
    assert len(log.records) > 1_000
    assert len(reader.read_offsets) < 400
    same(followed(log), replay)


@pytest.mark.parametrize("start", ["latest-full", "beginning"])
@pytest.mark.parametrize("left", [0, 1])
def test_a_log_whose_first_records_were_deleted_is_not_followed(start, left):
    """Registers of which nothing is left would be taken for ones that never were: whoever had opted out would be called."""
    log = Log()
    Publisher(log).import_list("internal", {33_612_345_678: 0})
    log.records, log.start = [], log.end
    if left:  # a list that is imported into it, as into a new log
        emptied = Log.behind_aborted(log.end)
        Publisher(emptied).import_list("list", {33_612_345_679: 0})
        log.records, log.end = emptied.records, emptied.end
    with pytest.raises(Corrupt, match=r"offset 3.*were deleted"):
        followed(log, start=start)


def test_the_last_seal_is_found_behind_what_was_aborted():
    """A worker would read ten years because a publisher was killed."""
    publisher = Publisher(Log())
    publisher.import_list("list", {1: 0})
    sealed = publisher.log.records[-1].offset
    publisher.log.skip(5000)

    assert last_seal(Reader(publisher.log), 60).offset == sealed


def seal_of(log, place=-1):
    return wire.decode_seal([r for r in log.records if dict(r.headers)["part"] == b"seal"][place].value)[0]


def sealed_after(log, *, starts=None, stated=None):
    """One more delta of `list` by somebody with the right to write: it states these starts, or says that an earlier one
    stated them there. All that it says otherwise is right."""
    seals = [r for r in log.records if dict(r.headers)["part"] == b"seal"]
    before, log_chain = wire.decode_seal(seals[-1].value)[0], wire.GENESIS
    for record in seals:
        log_chain = wire.next_log_chain(log_chain, wire.decode_seal(record.value)[0].chain)
    seq, parts = before.seq + 1, wire.encode_starts(starts or {})
    seal = wire.Seal(
        **{
            **{name: getattr(before, name) for name in wire.Seal.__struct_fields__},
            "kind": "delta",
            "seq": seq,
            "adds": 0,
            "removes": 0,
            "stated": len(starts or {}),
            "parts": wire.digests(parts),
            "previous": before.chain,
            "read": wire.ReadPosition(seals[-1].offset, log_chain, stated),
        }
    )
    value, _ = wire.encode_seal(seal, before.chain)
    records = [(b"list", part, wire.part_headers("starts", "list", seq, i)) for i, part in enumerate(parts)]
    Writer(log).publish([*records, (b"list", value, wire.seal_headers("list", seq))])
    return log


def one_list():
    """A log with one list of one number: its part is at offset 0, its seal at 1."""
    publisher = Publisher(Log())
    publisher.import_list("list", {1: 0})
    return publisher.log


def test_a_statement_of_where_registers_begin_is_begun_by():
    """The tests below would refuse whatever they made."""
    log = sealed_after(sealed_after(one_list(), starts={"list": (0, 1)}), stated=(3, 4))

    same(followed(log), followed(log, start="latest-full"))


@pytest.mark.parametrize("stated", [(3, 99), (4, 3), (-1, 4), (2, 4), (0, 1)])
def test_a_statement_that_is_not_there_is_refused(stated):
    """A follower would begin at something that is none."""
    log = sealed_after(sealed_after(one_list(), starts={"list": (0, 1)}), stated=stated)
    with pytest.raises(Corrupt, match=r"statement of starts|begin|had read"):
        followed(log, start="latest-full")


@pytest.mark.parametrize(
    "starts",
    [{"list": (1, 1)}, {"other": (0, 1)}, {"list": (0, 1), "other": (0, 1)}, {"list": (0, 0)}],
)
def test_starts_where_no_full_set_begins_are_refused(starts):
    """A follower would begin in the middle of a register and hold half of it."""
    log = sealed_after(sealed_after(one_list(), starts=starts), stated=(3, 3 + 1))
    for start in ("latest-full", "beginning"):
        with pytest.raises(Corrupt):
            followed(log, start=start)


def test_a_start_that_is_an_ordinary_delta_is_refused():
    """A follower that begins there would miss the ends that the deltas before it stated."""
    publisher = Publisher(Log())
    publisher.import_list("list", {1: NOW + 5})
    publisher.import_list("list", {})
    publisher.import_list("list", {2: 0})
    third, seal = (record.offset for record in publisher.log.records[-2:])
    log = sealed_after(publisher.log, starts={"list": (third, seal)})
    sealed_after(log, stated=(log.records[-2].offset, log.records[-1].offset))

    for start in ("latest-full", "beginning"):
        with pytest.raises(Corrupt, match=r"full set|it states that list begins at offset"):
            followed(log, start=start)


def test_a_register_that_does_not_go_as_far_as_was_stated_is_missed():
    """The last opt-outs before a statement could be taken off the log, and a new worker would not notice."""
    log = sealed_after(sealed_after(one_list(), starts={"list": (0, 1)}), stated=(3, 4))
    del log.records[1]  # the seal
    with pytest.raises(Corrupt):
        followed(log, start="latest-full")
    publisher = Publisher(Log())
    publisher.import_list("list", {1: 0})
    publisher.import_list("internal", {1: 0})
    publisher.import_list("internal", {1: 0, 2: 0})
    publisher.full_every = 1
    publisher.import_list("list", {2: 0})
    publisher.import_list("list", {3: 0})
    late = seal_of(publisher.log).read.stated
    assert late is not None
    gone = [r for r in publisher.log.records if r.key == b"internal"][-2:]
    publisher.log.records = [r for r in publisher.log.records if r not in gone]
    for start, missed in (("latest-full", "register internal is said to go to"), ("beginning", "had read")):
        with pytest.raises(Corrupt, match=missed):
            followed(publisher.log, start=start)


def test_a_restatement_that_states_other_ends_is_refused():
    """A follower that begins at it would be told other ends than the history has."""
    ends = {1: NOW + 5, 2: NOW + 6}
    fields = {"kind": "full", "adds": 2, "ends": 2, "next_end": utc(NOW + 5)}
    for said, sound in ((ends, True), ({1: NOW + 5, 2: NOW + 7}, False), ({1: NOW + 5}, False)):
        parts = [("adds", bitmap(ends).serialize()), ("ends", wire.encode_ends(stated(said))[0])]
        log = resealed("list", ends, parts=parts, **{**fields, "ends": len(said)})
        if sound:
            assert as_dict(followed(log, keep_ends=True).known("list").ends) == ends
        else:
            with pytest.raises(Corrupt, match="restatement"):
                followed(log, keep_ends=True)


def test_a_delta_that_another_publisher_has_half_written_is_read_whole_by_who_begins_later():
    """A follower that starts at the wrong moment would call a sound log corrupt."""
    publisher = Publisher(Log(), full_every=1)
    publisher.import_list("list", {1: 0})
    log = publisher.log
    other = Publisher(Log())  # its records, taken apart below
    other.import_list("big", {5: 0, 6: NOW + 5})
    parts, seal = other.log.records[:-1], other.log.records[-1]
    for part in parts:
        log.append(part.key, part.value, part.headers)
    publisher.catch_up()  # it has read the parts, and not yet their seal
    publisher.import_list("list", {1: 0, 2: 0})
    assert seal_of(log).stated == 0  # else who begins by it would not read those parts
    log.append(seal.key, seal.value, seal.headers)
    counts = []
    for number in range(3):
        publisher.import_list("list", {1: 0, 3 + number: 0})
        counts.append(seal_of(log).stated)
    assert 2 in counts[:-1]

    late = followed(log, start="latest-full")
    assert registers(late)["list"] == {1, 5} and registers(late)["big"] == {5, 6}
    same(followed(log), late)


def test_a_replay_is_where_it_says():
    """A snapshot would be taken in the middle of a delta, and the worker that starts from it hold for ever."""
    publisher = Publisher(Log())
    publisher.import_list("list", {1: 0})
    replay = Replay()
    assert replay.state.index.position == -1
    part, seal = publisher.log.records
    replay.take(part)
    assert replay.state is None
    replay.take(seal)
    assert replay.state.starts == {"list": (part.offset, seal.offset)}


def test_a_restated_rule_with_another_text_of_the_same_digest_is_refused():
    """Of two rules whose short names collide, the later would explain the verdicts of the earlier."""

    def collide(_):
        return "fr@000000"

    log = sealed_rules(([ONE], "full", 1), ([TWO], "full", 1), digest=collide)
    with pytest.raises(Corrupt, match="restatement"):
        followed(log, digest_of=collide)


def test_a_large_register_is_restated_less_often():
    """A national list would be written to the log again for every few opt-outs."""
    publisher = Publisher(Log(), full_every=2)
    publisher.import_list("list", dict.fromkeys(range(128 * 12), 0))
    kinds = []
    for number in range(8):
        publisher.request("list", diff.adding(publisher.base("list").numbers, bitmap([10**6 + number])), [])
        kinds.append(publisher.published[-1].seal.kind)

    assert kinds == ["delta"] * 4 + ["full"] + ["delta"] * 3  # three offsets each, the marker among them

"""The bench's oracle finds every way of being wrong: a figure of a wrong contender would be worth nothing."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from bench.harness import data
from bench.offline import scrubber as offline
from bench.throughput import oracle
from bench.throughput.oracle import Out
from stream_scrub.rules import Rulebook

POSITION = 7
REGISTER = data.register_numbers(2_000)
PROSPECTS = data.prospects(500, REGISTER)
OPPOSED = int(PROSPECTS.denied.argmax())
CLEAR = int((~PROSPECTS.denied).argmax())
KINDS: tuple[oracle.Kind, ...] = ("bare", "value", "header", "peer")


def stamp(at: int) -> bytes:
    """What a right stamp looks like, by hand."""
    verdict = (
        b'"verdict":"blocked","reason":"opposed"'
        if PROSPECTS.denied[at]
        else b'"verdict":"allowed","reason":"clear"'
    )
    registers = b'"registers":["internal"],' if PROSPECTS.denied[at] else b""
    return b'{%s,"number":"+%d",%s"index":7,"rules":"fr@9c01f2","at":"2026-11-24T12:00:00.123Z"}' % (
        verdict,
        PROSPECTS.numbers[at],
        registers,
    )


def peer_stamp(at: int) -> bytes:
    """The least that a peer has to say."""
    reason = ("blocked", "opposed") if PROSPECTS.denied[at] else ("allowed", "clear")
    return b'{"verdict":"%s","reason":"%s","number":"+%d"}' % (
        *(word.encode() for word in reason),
        PROSPECTS.numbers[at],
    )


def right(kind: oracle.Kind) -> list[Out]:
    """What a right contender gives."""
    outs = []
    for at, value in enumerate(PROSPECTS.values):
        role = oracle.BLOCKED if PROSPECTS.denied[at] and kind != "bare" else oracle.ALLOWED
        headers = [("scrub", stamp(at))] if kind == "header" else None
        made = {"value": stamp(at), "peer": peer_stamp(at)}.get(kind)
        spliced = value if made is None else value[:-1] + b',"scrub":' + made + b"}"
        outs.append(Out(role, data.partition(at), data.key(at), spliced, PROSPECTS.timestamp(at), headers))
    return outs


def check(outs: list[Out], kind: oracle.Kind = "value") -> oracle.Found:
    return oracle.check(outs, PROSPECTS, kind, POSITION)


def replaced(at: int, kind: oracle.Kind = "value", **members: object) -> list[Out]:
    outs = right(kind)
    outs[at] = outs[at]._replace(**members)
    return outs


def changed(at: int, old: bytes, new: bytes, kind: oracle.Kind = "value") -> list[Out]:
    value = right(kind)[at].value
    assert value is not None and old in value
    return replaced(at, kind, value=value.replace(old, new))


def rewritten(at: int, **members: object) -> bytes:
    """A peer's value as a JSON library may write it: spaces, another order of members, other escapes."""
    value = json.loads(right("peer")[at].value or b"") | members
    return json.dumps(dict(reversed(value.items())), indent=1).replace('"+33', '"\\u002b33').encode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_output_is_right(kind: oracle.Kind) -> None:
    """Every record of a right contender passes, and is counted."""
    found = check(right(kind), kind)

    assert found.right, str(found)
    assert found.records == len(PROSPECTS)
    assert found.blocked == (0 if kind == "bare" else PROSPECTS.denied.sum())


WRONGS: dict[str, tuple[Callable[[], list[Out]], str]] = {
    "one clear prospect blocked": (lambda: replaced(CLEAR, role=oracle.BLOCKED), "wrong verdict or stamp"),
    "one opposed prospect in the allowed topic": (
        lambda: replaced(OPPOSED, role=oracle.ALLOWED),
        "wrong verdict or stamp",
    ),
    "another number": (lambda: changed(CLEAR, b'"number":"+33', b'"number":"+34'), "wrong verdict or stamp"),
    "another position": (lambda: changed(CLEAR, b'"index":7', b'"index":8'), "wrong verdict or stamp"),
    "a member changed": (lambda: changed(CLEAR, b'"FR"', b'"BE"'), "no stamp, or bytes or headers not kept"),
    "no stamp": (
        lambda: replaced(CLEAR, value=PROSPECTS.values[CLEAR]),
        "no stamp, or bytes or headers not kept",
    ),
    "a broken stamp": (
        lambda: changed(CLEAR, b'{"verdict"', b'{{"verdict"'),
        "wrong verdict or stamp",
    ),
    "a stamp that says both": (
        lambda: changed(CLEAR, b'"verdict":"allowed"', b'"verdict":"blocked","verdict":"allowed"'),
        "wrong verdict or stamp",
    ),
    "one of another input": (lambda: changed(CLEAR, b'{"id":', b'{"id":9000'), "from nowhere"),
    "no value": (lambda: replaced(CLEAR, value=None), "from nowhere"),
}


@pytest.mark.parametrize("name", WRONGS)
def test_anything_wrong_is_found(name: str) -> None:
    """One wrong record, or a wrong order, is enough."""
    make, what = WRONGS[name]

    found = check(make())

    assert found.wrong[what] >= 1, str(found)
    assert not found.right


def swapped(kind: oracle.Kind) -> list[Out]:
    """Two neighbours of one partition and topic the other way round."""
    outs = right(kind)
    place = (outs[0].role, outs[0].partition)
    other = next(at for at in range(1, len(outs)) if (outs[at].role, outs[at].partition) == place)
    outs[0], outs[other] = outs[other], outs[0]
    return outs


def misjudged(kind: oracle.Kind) -> list[Out]:
    """One opposed prospect allowed, in the topic and in the stamp."""
    out = right(kind)[OPPOSED]
    allowed = (b'"blocked","reason":"opposed"', b'"allowed","reason":"clear"')
    value = (out.value or b"").replace(*allowed).replace(b'"registers":["internal"],', b"")
    headers = [(name, text.replace(*allowed)) for name, text in out.headers] if out.headers else None
    return replaced(OPPOSED, kind, role=oracle.ALLOWED, value=value, headers=headers)


EVERYWHERE: dict[str, tuple[Callable[[oracle.Kind], list[Out]], str]] = {
    "lost": (lambda kind: right(kind)[:-1], "lost"),
    "twice": (lambda kind: [*right(kind), right(kind)[CLEAR]], "twice"),
    "reordered": (swapped, "order not kept"),
    "of another partition": (
        lambda kind: replaced(CLEAR, kind, partition=(data.partition(CLEAR) + 1) % data.PARTITIONS),
        "partition, key or timestamp not kept",
    ),
    "of another key": (lambda kind: replaced(CLEAR, kind, key=b"x"), "partition, key or timestamp not kept"),
    "of another time": (
        lambda kind: replaced(CLEAR, kind, timestamp=PROSPECTS.timestamp(CLEAR) + 1),
        "partition, key or timestamp not kept",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EVERYWHERE)
def test_no_kind_of_contender_is_exempt(kind: oracle.Kind, name: str) -> None:
    """A peer that loses, doubles or moves one record would be shown as fast as one that does its job."""
    make, what = EVERYWHERE[name]

    found = check(make(kind), kind)

    assert found.wrong[what] == 1, str(found)


@pytest.mark.parametrize("kind", ["value", "header", "peer"])
def test_one_wrong_verdict_is_found_in_every_kind(kind: oracle.Kind) -> None:
    """A contender that allows one opposed prospect would get a figure."""
    assert check(misjudged(kind), kind).wrong == {"wrong verdict or stamp": 1}


def test_a_peer_may_write_its_json_anew() -> None:
    """A peer would be called wrong for what every reader of JSON takes for the same."""
    first = PROSPECTS.first(100)
    outs = [out._replace(value=rewritten(at)) for at, out in enumerate(right("peer")[:100])]
    assert oracle.check(outs, first, "peer", POSITION).right


PEER_WRONGS: dict[str, Callable[[], list[Out]]] = {
    "another number": lambda: changed(CLEAR, b'"number":"+33', b'"number":"+34', "peer"),
    "no reason": lambda: changed(CLEAR, b'"reason":"clear",', b"", "peer"),
    "another reason": lambda: changed(CLEAR, b'"clear"', b'"consented"', "peer"),
    "a stamp twice": lambda: changed(CLEAR, b',"scrub"', b',"scrub":{},"scrub"', "peer"),
    "a member changed": lambda: replaced(CLEAR, "peer", value=rewritten(CLEAR, country="BE")),
    "a member more": lambda: replaced(CLEAR, "peer", value=rewritten(CLEAR, x=1)),
    "a member more at the end": lambda: changed(CLEAR, b'"}}', b'"},"x":1}', "peer"),
    "no stamp": lambda: replaced(CLEAR, "peer", value=PROSPECTS.values[CLEAR]),
    "no JSON": lambda: replaced(CLEAR, "peer", value=PROSPECTS.values[CLEAR][:-1]),
    "a header": lambda: replaced(CLEAR, "peer", headers=[("x", b"")]),
    "the wrong topic": lambda: replaced(CLEAR, "peer", role=oracle.BLOCKED),
}


@pytest.mark.parametrize("name", PEER_WRONGS)
def test_anything_wrong_of_a_peer_is_found(name: str) -> None:
    """A peer that does less than its job would be faster for it."""
    found = check(PEER_WRONGS[name](), "peer")

    assert found.wrong.total() == 1, str(found)


def test_what_is_told_of_a_wrong_record_has_no_number_in_it() -> None:
    """Made-up numbers may be somebody's: a failed bench would put them into a log of CI."""
    told = str(check(misjudged("value")))

    digits = str(PROSPECTS.numbers[OPPOSED])[2:]
    assert "wrong verdict or stamp x 1" in told
    assert digits not in told.replace(" ", "")


@pytest.mark.parametrize("kind", ["bare", "header"])
def test_foreign_headers_and_changed_bytes_are_found(kind: oracle.Kind) -> None:
    """Where the value must stay as it came, one byte more is wrong, and so is one header more."""
    for members in ({"value": PROSPECTS.values[0] + b" "}, {"headers": [("scrub", stamp(0)), ("x", b"")]}):
        outs = right(kind)
        outs[0] = outs[0]._replace(**members)

        assert check(outs, kind).wrong.total() == 1


@pytest.mark.parametrize("kind", ["value", "header"])
def test_the_product_passes(kind: oracle.Kind, tmp_path) -> None:
    """The scrubber under the bench's rule, without Kafka, gives what the oracle expects: the rule decides by the register."""
    scrubber = offline.make_scrubber(Rulebook.load(data.write_rules(tmp_path / "rules")), kind)

    batch = scrubber.scrub(PROSPECTS.values, offline.make_index(REGISTER), datetime.now(UTC))

    outs = [
        Out(
            oracle.ALLOWED if batch.allowed[at] else oracle.BLOCKED,
            data.partition(at),
            data.key(at),
            batch.values[at],
            PROSPECTS.timestamp(at),
            None if (made := batch.stamps[at]) is None else [("scrub", made)],
        )
        for at in range(len(PROSPECTS))
    ]
    found = check(outs, kind)
    assert found.right, str(found)

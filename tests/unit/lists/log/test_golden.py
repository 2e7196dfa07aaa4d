"""Logs that were written once: this release reads them as the one that wrote them did."""

from hashlib import sha256

import pytest

from stream_scrub.errors import Corrupt
from stream_scrub.lists.log.replay import Replay
from stream_scrub.lists.log.scan import replay_to_end
from stream_scrub.lists.log.start_point import begin
from stream_scrub.model import Deadline
from stream_scrub.rules.text import digest_of
from tests.support.fakes.publisher import as_dict
from tests.support.golden import files as golden
from tests.support.golden.evidence import reader

CORRUPT = golden.expected("log/corrupt.expected.json")


def take_all(replay, records):
    for record in records:
        replay.take(record)


def test_an_old_log_gives_the_registers_that_it_gave():
    """After an upgrade the evidence of years could not be read, or said something else."""
    index = golden.replayed("sound").index
    expected = golden.expected("log/sound.expected.json")

    assert index.position == expected["position"]
    assert set(index.registers) == set(expected["registers"])
    for name, register in index.registers.items():
        assert {
            "kind": register.kind,
            "seq": register.seq,
            "chain": register.chain,
            "position": register.position,
            "effective_at": register.effective_at.isoformat(),
            "source": register.source,
            "count": len(register.numbers),
            "numbers": sorted(register.numbers),
        } == expected["registers"][name]


def test_an_old_log_gives_the_ends_and_the_rules_that_it_gave():
    """After an upgrade a consent would end on another day, or an old verdict's rules be gone."""
    expected = golden.expected("log/ends.expected.json")
    whole = Replay(keep_ends=True, digest_of=digest_of)
    starts = {name: tuple(span) for name, span in expected["starts"].items()}
    for replay in (whole, Replay()):
        take_all(replay, golden.log("ends"))
        assert (replay.index.position, replay.state.starts) == (expected["position"], starts)
        assert replay.rules.texts.keys() == expected["rules"].keys()
        assert replay.rules.chain == expected["rules_chain"]
        assert replay.index.registers.keys() == expected["registers"].keys()
        for name, register in replay.index.registers.items():
            said = dict(expected["registers"][name])
            ends = {int(number): end for number, end in said.pop("ends").items()}
            assert {
                "kind": register.kind,
                "seq": register.seq,
                "chain": register.chain,
                "position": register.position,
                "effective_at": register.effective_at.isoformat(),
                "source": register.source,
                "next_end": register.next_end and register.next_end.isoformat(),
                "numbers": sorted(register.numbers),
            } == said
            assert as_dict(replay.known(name).ends) == (ends if replay is whole else {})
    assert {d: sha256(text).hexdigest() for d, text in whole.rules.texts.items()} == expected["rules"]


@pytest.mark.parametrize("start", ["beginning", "latest-full"])
def test_a_log_with_statements_of_starts_gives_what_it_gave(start):
    """After an upgrade a new worker would begin elsewhere, and judge by other registers."""
    expected = golden.expected("log/stated.expected.json")
    log = reader(list(golden.log("stated")))
    deadline = Deadline.after(5)

    replay = begin(log, deadline, start=start, keep_ends=True, digest_of=digest_of)
    replay_to_end(log, deadline, replay=replay)

    state = replay.state
    assert (state.index.position, dict(state.starts)) == (
        expected["position"],
        {name: tuple(span) for name, span in expected["starts"].items()},
    )
    assert (state.read.upto, state.read.log_chain) == (expected["position"], expected["log_chain"])
    assert list(state.read.stated) == expected["stated"]
    assert sorted(state.rules.texts) == expected["rules"]
    assert {
        name: {
            "seq": register.seq,
            "chain": register.chain,
            "numbers": sorted(register.numbers),
            "ends": {str(number): end for number, end in as_dict(replay.known(name).ends).items()},
        }
        for name, register in state.index.registers.items()
    } == expected["registers"]


@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_log_is_refused_at_the_same_offset(name):
    """After an upgrade a damaged log would be believed."""
    replay = Replay()

    with pytest.raises(Corrupt, match=f"log offset {CORRUPT[name]['offset']}:"):
        take_all(replay, golden.log(f"corrupt-{name}"))
    assert replay.index.position == CORRUPT[name]["position"]


def test_every_corrupt_log_is_expected_to_be():
    """A file would lie there that proves nothing."""
    names = {path.name for path in (golden.GOLDEN / "log").glob("corrupt-*.jsonl")}

    assert names == {f"corrupt-{name}.jsonl" for name in CORRUPT}

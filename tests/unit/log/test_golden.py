"""A log that was written once: every later release reads it as the one that wrote it did."""

from collections import deque

import pytest

from stream_scrub.errors import Corrupt
from stream_scrub.log.audit import LogAudit
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import begin, replay_to_end
from stream_scrub.model import Deadline
from stream_scrub.rules import digest_of
from tests.support.fakes.publisher import as_dict
from tests.support.golden import corrupt
from tests.support.golden import files as golden
from tests.support.golden.evidence import reader


@pytest.mark.parametrize("start", ["beginning", "latest-full"])
def test_an_old_log_gives_what_it_gave(start):
    """After an upgrade a worker would judge by other registers, or a consent would end on another day."""
    expected = golden.expected("log/stated.expected.json")
    log = reader(list(golden.log("stated")))
    deadline = Deadline.after(60)

    replay = begin(log, deadline, start=start, keep_ends=True)
    replay.terms.digest_of = digest_of
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


def problems_of(records):
    audit = LogAudit(digest_of)
    for record in records:
        audit.take(record)
    audit.finish()
    return audit.problems


@pytest.mark.parametrize("name", ["evidence", "stated"])
def test_an_old_log_is_sound(name):
    """After an upgrade the evidence of years would be called false."""
    assert problems_of(golden.log(name)) == []


@pytest.mark.parametrize("name", corrupt.CORRUPT)
def test_a_corrupt_log_is_refused_at_the_same_offset(name):
    """After an upgrade a damaged log would be believed, or one that holds every worker be called sound."""
    _, offset, position = corrupt.CORRUPT[name]
    replay = Replay()

    with pytest.raises(Corrupt, match=f"log offset {offset}:"):
        deque(map(replay.take, corrupt.log(name)), maxlen=0)
    assert replay.index.position == position
    assert min(problem.offset for problem in problems_of(corrupt.log(name))) <= offset

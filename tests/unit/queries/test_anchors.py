"""Timestamps of a third party on the log: who rewrites the past needs them anew, and they say when."""

import base64

import pytest

from stream_scrub.log.encode import anchored
from stream_scrub.log.wire import RULES, DeltaSource
from stream_scrub.model import Deadline
from stream_scrub.queries import verify_log
from stream_scrub.timestamps import Timestamps
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import AT, Publisher, followed
from tests.support.fakes.timestamp_server import TimestampServer
from tests.support.fakes.web import Web

pytestmark = pytest.mark.process

ONE, OTHER = 33612345678, 33612345679
SOURCE = DeltaSource("http://tsa.example", "cd" * 32)


@pytest.fixture
def server(tmp_path):
    return TimestampServer(tmp_path / "tsa")


@pytest.fixture
def stamp(server):
    with Web(server) as web:
        ours = Timestamps(web.url, str(server.ca))
        yield lambda head: base64.b64encode(ours.stamp(head.encode()).answer).decode()


def anchor(log, stamp):
    """Anchor a log's head; returns the timestamp."""
    replay = followed(log)
    known = replay.known(RULES)
    timestamp = stamp(known.log.read.log_chain)
    Writer(log).publish(anchored(replay.rules, timestamp, SOURCE, AT, known))
    return timestamp


def log_of(*numbers):
    log = Log()
    for number in numbers:
        Publisher(log).import_list("tps", {number: 0})
    return log


def verified(log, server):
    authorities = "" if server is None else str(server.ca)
    return verify_log.verify(Reader(log), lambda *_: None, Deadline.after(15), authorities=authorities)


def test_an_anchored_log_is_sound_and_goes_on(stamp, server):
    """A follower that stopped at a timestamp would hold every worker, each day again."""
    log = log_of(ONE)
    anchor(log, stamp)
    Publisher(log).import_list("tps", {ONE: 0, OTHER: 0})
    anchor(log, stamp)
    assert set(followed(log).index.registers["tps"].numbers) == {ONE, OTHER}
    proof = verified(log, server)
    assert proof.sound
    one, other = proof.anchors
    assert one.checked and other.checked and one.upto < one.position < other.upto < other.position
    assert one.at <= other.at
    unchecked = verified(log, None)
    assert unchecked.sound and not any(each.checked for each in unchecked.anchors)


def test_a_rewritten_past_has_no_timestamp_of_its_own(stamp, server):
    """An operator could take a forgotten opt-out into last year's log, and keep last year's timestamps."""
    timestamp = anchor(log_of(ONE), stamp)
    rewritten = log_of(OTHER)
    anchor(rewritten, lambda _: timestamp)
    proof = verified(rewritten, server)
    assert not proof.sound and not proof.anchors[0].checked
    assert proof.anchors[0].problem == "it is the timestamp of something else"


def test_timestamps_of_another_authority_or_none_are_told(stamp, server, tmp_path):
    """The operator's own server would state any time."""
    log = log_of(ONE)
    anchor(log, stamp)
    proof = verified(log, TimestampServer(tmp_path / "own"))
    assert not proof.sound and "cannot be confirmed" in proof.anchors[0].problem
    nothing = log_of(ONE)
    anchor(nothing, lambda _: "AAAA")
    assert [each.problem for each in verified(nothing, server).anchors] == ["it is not a timestamp"]

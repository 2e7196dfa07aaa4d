"""The publisher daemon on a real Kafka: killed, doubled, paused, and quick."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.support.network.left_open import unless_left_open
from tests.support.running.publisher import Asking, PublisherProcess, drop, evidence, lag, refused, replayed
from tests.support.running.worker import run_json
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos

KILLS = int(os.environ.get("STREAM_SCRUB_TEST_KILLS", "5"))  # more by hand: three seconds each


@pytest.mark.slow
def test_kills_of_publisher_and_broker_lose_and_double_nothing(own_kafka, stages):
    """The opt-outs of the second in which a publisher was killed would be lost, or a number that somebody had put back
    be removed once more."""
    unless_left_open(own_kafka.bootstrap, lambda: kills(own_kafka, stages))


def kills(own_kafka, stages):
    stage = stages(own_kafka.bootstrap, partitions=3)
    folder = stage.folder / f"drop-{stage.topics['log']}"
    folder.mkdir()
    asking = Asking(stage, folder, per_s=300, seed=11)
    publisher = PublisherProcess(stage, folder)
    rng = random.Random(12)
    asking.start()
    for round_ in range(KILLS):
        begun = _begun(publisher)
        publisher.start()
        if round_ % 5:  # else it is killed while it begins
            wait_until(lambda begun=begun: _begun(publisher) > begun, every=0.02)
        time.sleep(rng.uniform(0, 0.9))
        publisher.kill()
        for note in (folder / ".working").rglob(".*.tries"):  # no file is to blame for that
            note.unlink()
    with publisher:
        begun = _begun(publisher)
        wait_until(lambda: _begun(publisher) > begun)
        own_kafka.pause()
        time.sleep(rng.uniform(1, 3))
        own_kafka.resume()
        own_kafka.kill()
        own_kafka.start()
        asking.finish()
        # A transaction of one that was killed takes 60 s to end.
        wait_until(lambda: lag(publisher) == 0, every=0.5)
        wait_until(lambda: _all_done(folder, asking.files), every=0.3)
        wait_until(lambda: not _held_till_soon(publisher), every=0.5)
        code, _ = publisher.stop()
    assert code == 0, publisher.log_file.read_text()[-3000:]
    replay = replayed(publisher)
    held = {name: set(register.numbers) for name, register in replay.index.registers.items()}
    assert held == asking.registers
    told = evidence(stage)
    ended = {request for _, request in told} - {request for _, request in asking.told}
    assert {key: n for key, n in told.items() if key[1] not in ended} == dict(asking.told), (
        "each request once"
    )
    turned = refused(stage)
    # A consent that was taken again after the withdrawal behind it had been: what holds is the same.
    superseded = {name for name, reason in turned if reason == "superseded"}
    assert superseded <= {request for _, request in asking.told}
    others = [name for name, reason in turned if reason not in ("ended", "superseded")]
    assert sorted(others) == sorted(asking.refused)
    assert len(turned) == len(set(turned)), "each refusal once"


def _begun(publisher) -> int:
    return publisher.log_file.read_text().count('"publishing"') if publisher.log_file.exists() else 0


def _held_till_soon(publisher) -> bool:
    """Whether a consent that ends (`Asking`) is still held."""
    consents = replayed(publisher).index.registers["consent"].numbers
    return any(33_613_000_000 <= number < 33_614_000_000 for number in consents)


def _all_done(folder, files: int) -> bool:
    done = [path for path in folder.rglob("list-*.txt") if path.parent.name == "done"]
    return len(done) == files


@pytest.mark.slow
def test_a_publisher_taken_for_dead_is_fenced_and_ends_or_goes_on(kafka, stages):
    """A frozen machine that thaws would publish on what it knew before, and break the chain for every worker."""
    stage = stages(kafka.bootstrap, partitions=1)
    ask = Producer({"bootstrap.servers": kafka.bootstrap})

    def opt_out(number):
        said = {"id": f"r{number}", "request": "opt-out", "number": f"+{number}"}
        ask.produce(stage.topics["requests"], json.dumps(said).encode())
        assert ask.flush(10) == 0

    first = PublisherProcess(stage, None, "first")
    with first:
        wait_until(first.ready)
        opt_out(33612000001)
        wait_until(lambda: lag(first) == 0)
        first.send(signal.SIGSTOP)
        opt_out(33612000002)
        effect = run_json(
            ["lists", "import", str(stage.list_file([33612000003])), "-r", "internal", "--adds"], first.env
        )
        assert effect["count"] == 2, "the import found it silent, and took over"
        first.send(signal.SIGCONT)
        wait_until(lambda: lag(first) == 0)
        assert first.alive, "nobody else publishes: it goes on"
        first.send(signal.SIGSTOP)
        with PublisherProcess(stage, None, "second") as second:
            wait_until(second.ready)
            opt_out(33612000004)
            wait_until(lambda: lag(first) == 0)
            first.send(signal.SIGCONT)
            assert first.process.wait() == 1
            (line,) = [line for line in first.lines() if line["event"] == "cannot work"]
            assert f"process {second.process.pid} on" in line["why"]
            assert second.stop()[0] == 0
    index = replayed(first).index
    assert set(index.registers["internal"].numbers) == {33612000000 + n for n in (1, 2, 3, 4)}
    assert set(evidence(stage).values()) == {1}


def test_a_list_that_takes_its_reader_down_takes_nothing_else_down(kafka, stages):
    """One file would end the publisher, again at each start, and with it every opt-out."""
    stage = stages(kafka.bootstrap, partitions=1)
    folder = stage.folder / "drop"
    folder.mkdir()
    ask = Producer({"bootstrap.servers": kafka.bootstrap})
    drop(folder, "bloctel", "a.txt", range(33612000000, 33613000000))
    with PublisherProcess(stage, folder, lists__read_max_mb=16) as publisher:
        wait_until(lambda: list((folder / ".working").rglob(".a.txt.tries")), every=0.02)
        ask.produce(stage.topics["requests"], b'{"id":"r1","request":"opt-out","number":"+33612000001"}')
        assert ask.flush(10) == 0
        wait_until(lambda: publisher.logged("file refused", register="bloctel"))
        drop(folder, "partner/allow-change", os.fsdecode(b"liste_\xe9t\xe9.csv"), [33612000002])
        wait_until(lambda: publisher.logged("file published", register="partner"))
        wait_until(lambda: lag(publisher) == 0)
        assert publisher.stop()[0] == 0
    report = json.loads((folder / "bloctel/refused/a.txt.report.json").read_text())
    assert "lists.read_max_mb (16 MiB)" in report["why"]
    held = {name: set(each.numbers) for name, each in replayed(publisher).index.registers.items()}
    assert held == {"internal": {33612000001}, "partner": {33612000002}}


@pytest.mark.slow
def test_requests_that_follow_on_lost_ones_are_not_taken_for_them(own_kafka, stages):
    """A broker loses the last requests with its disk; the next ones have their offsets, and whoever wrote these would be
    called although he opted out."""
    stage = stages(own_kafka.bootstrap, partitions=1)
    producer = Producer({"bootstrap.servers": own_kafka.bootstrap})

    def ask(first: int, count: int) -> set[int]:
        numbers = set(range(first, first + count))
        for number in numbers:
            said = {"id": f"{number}", "request": "opt-out", "number": f"+{number}"}
            producer.produce(stage.topics["requests"], json.dumps(said).encode(), b"k")
            assert producer.flush(30) == 0  # a batch each
        return numbers

    def opposed(publisher) -> set[int]:
        found = replayed(publisher).index.registers.get("internal")
        return set(found.numbers) if found is not None else set()

    publisher = PublisherProcess(stage, None)
    asked = ask(33_612_000_000, 10)
    with publisher:
        wait_until(lambda: opposed(publisher) == asked, every=0.3)
        publisher.stop()
    own_kafka.stop()
    cut(own_kafka.folder, stage.topics["requests"], kept=4)
    own_kafka.start()
    asked |= ask(33_612_100_000, 12)  # more than were lost: nobody sees it by the length
    with publisher:
        wait_until(lambda: opposed(publisher) == asked, every=0.3)
    assert evidence(stage) == {("internal", f"{number}"): 1 for number in asked}


def cut(folder: Path, topic: str, kept: int) -> None:
    """Leave so many batches of a topic's one partition on the disk of a broker that is stopped."""
    (segment,) = folder.glob(f"node-1/log/{topic}-0/*.log")
    stored, at = segment.read_bytes(), 0
    for _ in range(kept):
        at += 12 + int.from_bytes(stored[at + 8 : at + 12], "big")
    assert at < len(stored)
    segment.write_bytes(stored[:at])
    for known in (*segment.parent.glob("*.*index"), *segment.parent.glob("*.snapshot")):
        known.unlink()
    (folder / "node-1/log/.kafka_cleanshutdown").unlink(missing_ok=True)  # so it looks at what is there

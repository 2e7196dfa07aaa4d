"""The kits' followers of the log, against ours: they prove that schemas/README.md suffices to write one."""

import base64
import json
import subprocess
import time
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from pyroaring import BitMap64

from stream_scrub.errors import Corrupt
from stream_scrub.index import REMOVED_AT, Hashing, Index, as_numbers, deltas
from stream_scrub.kafka.log_reader import record_of
from stream_scrub.log import wire
from stream_scrub.log.encode import marked, publish
from stream_scrub.log.replay import Replay
from stream_scrub.model import LogRecord
from tests.support.fakes.log import Log
from tests.support.fakes.publisher import AT, NOW, SOURCE, Publisher, bitmap, followed
from tests.support.golden import corrupt
from tests.support.golden import files as golden
from tests.support.kits import DRIVERS, KITS, Program, driver_of, go, java
from tests.support.running.outcome import read_all
from tests.support.running.publisher import Asking, PublisherProcess, lag
from tests.support.running.stage import Stage
from tests.support.running.worker import wait_until
from tests.support.texts.pages import blocks

pytestmark = pytest.mark.process

LOOK_UPS = 1_000_000
NUMBERS = np.arange(33_600_000_000, 33_603_000_000)


def digest_of(index: Index) -> str:
    """The index digest of schemas/README.md."""
    whole = sha256()
    for name, register in sorted(index.registers.items()):
        whole.update(f"{name}\n".encode() + len(register.numbers).to_bytes(8, "little"))
        whole.update(as_numbers(register.numbers).astype("<u8").tobytes())
    return whole.hexdigest()


def ours(records: Iterable[LogRecord]) -> dict[str, object]:
    """What a kit must say about this log."""
    replay, fault = Replay(), None
    try:
        for each in records:
            replay.take(each)
    except Corrupt as error:
        fault = error.offset
    return shown(replay, fault)


def shown(replay: Replay, fault: int | None = None) -> dict[str, object]:
    registers = replay.index.registers
    return {
        "position": replay.index.position,
        "log_chain": replay.known("").log.read.log_chain,
        "digest": digest_of(replay.index),
        "corrupt": fault,
        "registers": {name: [each.seq, each.chain, len(each.numbers)] for name, each in registers.items()},
    }


def keep(records: Iterable[LogRecord], path: Path) -> Path:
    """A log as the driver reads it."""
    with path.open("w") as file:
        for each in records:
            headers = [(name, (text or b"").decode()) for name, text in each.headers]
            key, value = (
                None if it is None else base64.b64encode(it).decode() for it in (each.key, each.value)
            )
            file.write(
                json.dumps({"offset": each.offset, "key": key, "value": value, "headers": headers}) + "\n"
            )
    return path


def test_it_gives_the_index_that_ours_gives_and_stops_where_ours_stops(driver, tmp_path):
    """A follower written by the documents would believe a damaged log, or hold other numbers than the workers."""
    logs = {name: list(golden.log(name)) for name in ("stated", "evidence")}
    logs |= {name: corrupt.log(name) for name in corrupt.CORRUPT}
    paths = [str(keep(records, tmp_path / f"{name}.jsonl")) for name, records in logs.items()]

    done = subprocess.run([*driver, "replay", *paths], capture_output=True, text=True, check=True)

    told = dict(zip(logs, map(json.loads, done.stdout.splitlines()), strict=True))
    assert told == {name: ours(records) for name, records in logs.items()}


def test_a_million_look_ups_answer_as_ours(driver, tmp_path):
    """A number that opposes calls would be missing in one container of another roaring library."""
    rng, log = np.random.default_rng(7), Log()
    publisher = Publisher(log)
    registers = ["internal", "list", "washed"]
    for name in registers:
        runs = (rng.choice(NUMBERS[::3000], 20)[:, None] + np.arange(3000)).ravel()
        sparse, dense = rng.choice(NUMBERS, 50_000), rng.choice(NUMBERS[:65_536], 30_000)
        publisher.import_list(name, dict.fromkeys(np.concatenate([runs, sparse, dense]).tolist(), 0))
        publisher.remove(name, set(sparse[:20_000].tolist()))
    publisher.import_list("internal", {1: 0, 2**63: NOW + 1, 2**64 - 1: 0, 2**32: 0}, adding=True)
    odd = np.array([1, 2**63, 2**64 - 1, 2**32], np.uint64)
    asked = np.concatenate([odd, rng.choice(NUMBERS, LOOK_UPS).astype(np.uint64)])
    held = {name: as_numbers(each.numbers) for name, each in followed(log).index.registers.items()}
    (tmp_path / "numbers").write_bytes(asked.astype("<u8").tobytes())

    command = [*driver, "look-up", str(keep(log.records, tmp_path / "log.jsonl")), str(tmp_path / "numbers")]
    done = subprocess.run([*command, *registers], capture_output=True, text=True, check=True)

    found = (
        np.isin(asked, held["internal"])
        + 2 * np.isin(asked, held["list"])
        + 4 * np.isin(asked, held["washed"])
    )
    words = [" ".join(name for at, name in enumerate(registers) if code >> at & 1) for code in range(8)]
    assert done.stdout.split("\n")[:-1] == [words[code] for code in found]
    assert {*found.tolist()} == {*range(8)}


def test_no_register_counts_as_free_of_a_number_that_it_cannot_be_asked_about(driver, tmp_path):
    """A person would be called whose register is missing, removed or hashed, or whose log goes on elsewhere."""
    log = Log()
    publisher = Publisher(log)
    for name in ("list", "gone"):
        publisher.import_list(name, {33612345678: 0})
    change = replace(deltas.removing(publisher.base("gone").numbers, bitmap([33612345678])), reason="removed")
    known = publisher.replay.known("gone")
    publish(publisher.writer, publisher.base("gone"), change, REMOVED_AT, SOURCE, known=known)
    publisher.catch_up()
    hashed = replace(deltas.adding(BitMap64(), bitmap([2**63])), hashed=Hashing("sha256", "+", "", ""))
    publisher.put("hashed", hashed)
    (tmp_path / "numbers").write_bytes((33612345678).to_bytes(8, "little"))

    def answer(*registers: str) -> str:
        path = str(keep(log.records, tmp_path / "log.jsonl"))
        command = [*driver, "look-up", path, str(tmp_path / "numbers"), *registers]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert answer("list") == "list"
    assert [answer("list", each) for each in ("gone", "hashed", "internal")] == ["error"] * 3
    known = publisher.replay.known(wire.RULES)
    moved = wire.DeltaSource("opposition.log-2", "ab" * 32)
    publisher.writer.publish(marked(publisher.replay.rules, wire.MOVED, moved, AT, known))
    assert answer("list") == "error"


def state(follower: Program) -> object:
    told = follower.ask("state")
    return told if told.startswith("error") else json.loads(told)


def test_it_holds_what_ours_holds_after_kills_of_followers_and_publishers(kafka, tmp_path):
    """A follower that was there when a publisher died in a transaction, or that died itself, would hold what was never
    published, or lack an opt-out."""
    stage = Stage(kafka.bootstrap, tmp_path, partitions=3)
    folder = tmp_path / "drop"
    folder.mkdir()
    arguments = ["follow", kafka.bootstrap, stage.topics["log"], "internal", "consent"]
    followers = [Program([*driver_of(kit, tmp_path), *arguments]) for kit in DRIVERS]
    asking, publisher = Asking(stage, folder, per_s=200, seed=5), PublisherProcess(stage, folder)
    asking.start()
    for round_ in range(2):
        with publisher:
            wait_until(lambda count=round_: publisher.log_file.read_text().count('"publishing"') > count)
            time.sleep(0.7)  # no state: killed at any moment
            publisher.kill()
        for each in followers[round_ % 2 :: 2]:
            each.kill()
            each.start()
    asking.finish()
    with publisher:
        wait_until(lambda: lag(publisher) == 0)
        publisher.stop()
    expected = ours(log_of(stage))
    assert expected["corrupt"] is None and expected["position"] > 100
    for each in followers:
        wait_until(lambda each=each: state(each) == expected, every=0.3)
    replay = Replay()
    for record in log_of(stage):
        replay.take(record)
    held = {name: replay.index.registers[name].numbers for name in ("internal", "consent")}
    for number in range(33_612_000_000, 33_612_000_400):
        answer = " ".join([str(expected["position"]), *(name for name in held if number in held[name])])
        assert [each.ask(number).rstrip() for each in followers] == [answer] * 2
    for each in followers:
        each.kill()
    for kit in DRIVERS:
        assert "internal" in readme_program(kit, stage, min(held["internal"]), tmp_path)
    stage.close()


def readme_program(kit: str, stage: Stage, number: int, folder: Path) -> str:
    """What the program on the kit's page prints, asked about this number."""
    (text,) = [block.text for block in blocks(KITS / kit / "README.md") if block.language == kit]
    text = text.replace("opposition.log", stage.topics["log"]).replace("localhost:9092", stage.bootstrap)
    text = text.replace("us-dnc", "consent").replace("33612345678", str(number))
    own = folder / f"readme-{kit}"
    own.mkdir()
    return subprocess.run({"go": go, "java": java}[kit](text, own), capture_output=True, text=True).stdout


def log_of(stage: Stage) -> list[LogRecord]:
    """What is committed on a stage's log."""
    return [record_of(each, each.headers()) for each in read_all(stage.bootstrap, stage.topics["log"])]

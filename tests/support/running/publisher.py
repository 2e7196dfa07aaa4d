"""Runs the publisher daemon as its users do, sends it requests and files, and knows what must be on the log in the
end."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Producer

from stream_scrub.config import load
from stream_scrub.kafka import clients
from stream_scrub.log.replay import Replay
from stream_scrub.model import RESTED, family
from stream_scrub.ops import logs, read_log
from tests.support.running.clients import Address, properties
from tests.support.running.outcome import read_all
from tests.support.running.stage import Stage
from tests.support.running.worker import SCRIPT, WorkerProcess

_FILES_MAX = 20  # on a busy machine each takes a second, after all that is done to the publisher


class PublisherProcess(WorkerProcess):
    """`stream-scrub lists publish`."""

    def __init__(
        self,
        stage: Stage,
        folder: Path | None,
        name: str = "publisher",
        *,
        client: Address | None = None,
        **settings: object,
    ) -> None:
        env = stage.env if client is None else stage.env_of(client)
        env = env | {f"STREAM_SCRUB_{key.upper()}": str(value) for key, value in settings.items()}
        super().__init__(env, name, stage.folder / f"{name}.log")
        self._command = [SCRIPT, "lists", "publish", *(["--folder", str(folder)] if folder else [])]
        self.env = env

    def ready(self) -> bool:
        return self.logged("publishing")


def replayed(publisher: PublisherProcess) -> Replay:
    """The log by the publisher's settings; every promise of its format checked."""
    settings = load(environ=publisher.env)
    return read_log.replayed(settings, logs.configure("error", "json"), start="beginning", keep_ends=True)


def lag(publisher: PublisherProcess) -> int:
    """How many requests and lifts no publisher has taken yet."""
    settings, log = load(environ=publisher.env), logs.configure("error", "json")
    total = 0
    for lifts in (False, True):
        with closing(clients.Brokers(settings, log).requests(lifts=lifts)) as requests:
            total += requests.lag()
    return total


def rested(publisher: PublisherProcess, name: str = RESTED) -> dict[int, int]:
    """The numbers that rest, with their ends."""
    return resting(replayed(publisher)).get(name, {})


def resting(replay: Replay) -> dict[str, dict[int, int]]:
    """The same of every register, by its name."""
    found = {}
    for name in filter(lambda name: family(name) == RESTED, replay.index.registers):
        stated = replay.known(name).ends.stated()
        ends = dict(zip(stated.numbers.tolist(), stated.ends.tolist(), strict=True))
        found[name] = {number: ends[number] for number in replay.index.registers[name].numbers}
    return found


def drop(folder: Path, where: str, name: str, numbers) -> None:
    """Hand a file over: write it under another name, then rename it."""
    target = folder / where
    target.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{name}"
    beside.write_text("".join(f"+{number}\n" for number in numbers))
    beside.rename(target / name)


class Asking(threading.Thread):
    """Sends random requests and files until it is stopped, and keeps in plain dicts what must come of them.

    Requests are keyed by their number, so the topic orders the requests about one number. Requests about odd numbers
    go over the topic of lifts. Those about even numbers go over the other topic, where nothing lifts. Files are about
    numbers of their own, so it does not matter when they are read. So are requests with a scope: what a request without
    one ends of other consents depends on what a killed publisher knew, and tests/property/test_requests.py bounds it.
    """

    def __init__(self, stage: Stage, folder: Path, per_s: float, seed: int) -> None:
        super().__init__(daemon=True)
        self._stage = stage
        self._folder = folder
        self._per_s = per_s
        self._rng = random.Random(seed)
        self._stopping = threading.Event()
        self.registers: dict[str, set[int]] = {"internal": set(), "consent": set(), "partner": set()}
        self.told: Counter[tuple[str, str]] = Counter()  # by register and request: how often it was told
        self.refused: list[str] = []
        self.files = 0
        self.sent = 0

    def run(self) -> None:
        producer = Producer(properties(self._stage.bootstrap) | {"linger.ms": 2, "enable.idempotence": True})
        next_file = time.monotonic() + 0.3
        while not self._stopping.is_set():
            for _ in range(max(1, round(self._per_s / 50))):
                key, value = self._request()
                role = "lifts" if int(key) % 2 else "requests"
                producer.produce(self._stage.topics[role], value, key)
                self.sent += 1
            producer.poll(0)
            if self.files < _FILES_MAX and time.monotonic() > next_file:
                self._drop()
                next_file = time.monotonic() + self._rng.uniform(0.5, 2)
            time.sleep(0.02)
        assert producer.flush(120) == 0

    def finish(self) -> None:
        self._stopping.set()
        self.join(130)
        assert not self.is_alive()

    def _request(self) -> tuple[bytes, bytes]:
        number = 33_612_000_000 + self._rng.randrange(400)
        kind = self._rng.choice(
            ["opt-out"] * 3 + ["consent"] * 3 + ["withdrawal", "correction", "ended", "nonsense"]
        )
        said = {"id": f"r{self.sent}", "request": kind, "number": f"+{number}"}
        if kind in ("consent", "ended"):
            said["at"] = datetime.now(UTC).isoformat()
        name, may_lift = said["id"], number % 2 == 1
        at = "@acme" if number // 2 % 4 == 3 else ""
        if at:
            said["scope"] = "acme"
        match kind:
            case "opt-out":
                self._say(name, f"internal{at}", number, holds=True)
            case "withdrawal":
                self._say(name, f"internal{at}", number, holds=True)
                self._say(name, f"consent{at}", number, holds=False)
            case "consent":
                lifts = self._rng.random() < 0.5
                said["after_opt_out"] = lifts
                if lifts and not may_lift:
                    self.refused.append(name)
                else:
                    self._say(name, f"consent{at}", number, holds=True)
                    if lifts:
                        self._say(name, f"internal{at}", number, holds=False)
            case "correction":
                said |= {"remove_from": "internal", "reason": "wrong number typed"}
                if may_lift:
                    self._say(name, f"internal{at}", number, holds=False)
                else:
                    self.refused.append(name)
            case "ended":  # about a number of its own: it was (a) taken and ended, or (b) refused, because it had already ended
                soon = time.gmtime(time.time() + 2)
                said |= {"request": "consent", "number": f"+{33_613_000_000 + self.sent}"}
                said["until"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", soon)
            case "nonsense":
                self.refused.append(name)
        return f"{number}".encode(), json.dumps(said).encode()

    def _say(self, name: str, register: str, number: int, *, holds: bool) -> None:
        held = self.registers.setdefault(register, set())
        self.told[register, name] += 1
        (held.add if holds else held.discard)(number)

    def _drop(self) -> None:
        self.files += 1
        name = f"list-{self.files:04}.txt"
        numbers = {33_614_000_000 + self._rng.randrange(300) for _ in range(30)}
        match self._rng.choice(["partner", "adds", "removes"]):
            case "partner":
                whole = {33_615_000_000 + self._rng.randrange(300) for _ in range(60)}
                drop(self._folder, "partner/allow-change", name, whole)
                self.registers["partner"] = whole
            case "adds":
                drop(self._folder, "internal/adds", name, numbers)
                self.registers["internal"] |= numbers
            case "removes":
                drop(self._folder, "internal/removes", name, numbers)
                self.registers["internal"] -= numbers
        time.sleep(0.002)  # so that no two files have the same moment


Place = tuple[int, int]  # partition and offset of a request


def evidence(stage: Stage) -> Counter[tuple[str, str]]:
    """By register and request: how often the register took the request, by what the log says."""
    return Counter((register, line["request"]["id"]) for register, line in _told(stage))


def evidence_by_place(stage: Stage) -> Counter[tuple[str, Place]]:
    """The same, by the request's place on its topic."""
    return Counter((register, (line["partition"], line["offset"])) for register, line in _told(stage))


def _told(stage: Stage) -> Iterator[tuple[str, dict]]:
    """For each line of evidence on the log: its register and the line."""
    for message in read_all(stage.bootstrap, stage.topics["log"]):
        if dict(message.headers())["part"] == b"requests":
            for line in message.value().splitlines():
                yield message.key().decode(), json.loads(line)


def requests(stage: Stage) -> list[tuple[Place, str]]:
    """Where each request stands on its topic, and its id."""
    return [
        ((m.partition(), m.offset()), json.loads(m.value())["id"])
        for m in read_all(stage.bootstrap, stage.topics["requests"])
    ]


def refused(stage: Stage) -> list[tuple[str, str]]:
    """The requests on the refused topic and their reasons."""
    return [
        (json.loads(m.value())["id"], dict(m.headers())["reason"].decode())
        for m in read_all(stage.bootstrap, stage.topics["refused"])
    ]

"""Who runs: the bare loop, the worker, and the peers; each a command that reads prospects and writes verdicts until SIGTERM.

A share is how much of the prospects a contender gets, the first ones: a slow one would take minutes for all of them.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench import build, oracle, report
from tests.support.worker import SCRIPT

ROOT = Path(__file__).resolve().parents[1]
FEWEST = 2_000  # prospects of the smallest share: fewer are gone before one has looked
# One stream thread: nothing is gained by a second collector thread, nor by a larger heap, which only costs memory (tried).
JVM = ("-Xms256m", "-Xmx256m", "-XX:+UseSerialGC")


@dataclass(frozen=True)
class Call:
    """What a contender is told for one run. `table` is the topic that holds the register, `folder` is for what it keeps."""

    bootstrap: str
    topics: dict[str, str]
    group: str
    register: Path
    table: str
    folder: Path


@dataclass(frozen=True)
class Contender:
    """`id` names it in a command, `name` in the table; `kind` is what its records look like.

    `build` makes it ready, once, and may raise build.Unavailable. One that is `lasting` keeps the register on disk under
    its group's name: it has one group for all runs, and is started once before. `members` is how many of the group it is.
    """

    id: str
    name: str
    kind: oracle.Kind
    command: Callable[[Call], list[str]]
    settings: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0
    build: Callable[[], object] | None = None
    lasting: bool = False
    members: int = 1

    def records(self, prospects: int) -> int:
        """How many of the prospects it gets."""
        return min(prospects, max(FEWEST, round(prospects * self.share)))


def _bare(call: Call) -> list[str]:
    # -P: the bench's modules stay out of its path
    script = str(ROOT / "bench/bare.py")
    topics = call.topics["prospects"], call.topics["allowed"]
    return [sys.executable, "-P", script, call.bootstrap, *topics, call.group]


def _worker(call: Call) -> list[str]:
    return [SCRIPT, "worker", "--id", call.group]


def _peer(call: Call, register: str) -> list[str]:
    topics = (call.topics[role] for role in ("prospects", "allowed", "blocked"))
    return [call.bootstrap, *topics, call.group, register]


def kstreams(call: Call, *flags: str) -> list[str]:
    """The command of the Kafka Streams application, in memory; see peers/kstreams for its flags."""
    return [*_java(call), *flags, *_peer(call, str(call.register))]


def _global_table(call: Call) -> list[str]:
    return [*_java(call), "--global-table", *_peer(call, call.table)]


def _java(call: Call) -> list[str]:
    made = build.kstreams()
    # Native libraries are unpacked into the temporary folder, and left there.
    own = (f"-Djava.io.tmpdir={call.folder}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
    classes = f"{made / 'kstreams.jar'}:{made / 'libs/*'}"
    return ["java", *JVM, *own, "-cp", classes, "peer.Main", f"--state={call.folder / 'state'}"]


def _python(peer: str, call: Call) -> list[str]:
    script = str(build.PEERS / peer / "app.py")
    return [str(build.python(peer)), "-P", script, *_peer(call, str(call.register))]


CONTENDERS = (
    Contender("bare", report.BARE, "bare", _bare),
    Contender("value", report.WORKER, "value", _worker, {"prospect__stamp": "value"}),
    Contender("header", "worker, header stamp", "header", _worker, {"prospect__stamp": "header"}),
    Contender(
        "processes",
        "worker, 2 processes",
        "value",
        _worker,
        # The first one hears of the second at its next heartbeat, and would have done most of the work by itself till then.
        {"worker__processes": 2, "kafka__consumer": '{"heartbeat.interval.ms":"200"}'},
        members=2,
    ),
    Contender("kstreams", "Kafka Streams, expert", "peer", kstreams, build=build.kstreams),
    Contender(
        "kstreams-tuned",
        "Kafka Streams, hand-tuned",
        "peer",
        lambda call: kstreams(call, "--hand-tuned"),
        build=build.kstreams,
    ),
    Contender(
        "kstreams-rocksdb",
        "Kafka Streams, RocksDB",
        "peer",
        _global_table,
        share=0.4,
        build=build.kstreams,
        lasting=True,
    ),
    Contender(
        "quix",
        "Quix Streams",
        "peer",
        partial(_python, "quix"),
        share=0.2,
        build=partial(build.python, "quix"),
    ),
    Contender(
        "faust", "Faust", "peer", partial(_python, "faust"), share=0.03, build=partial(build.python, "faust")
    ),
)

"""The commands of what is measured: the bare loop, the worker, the peers. Each reads prospects and writes verdicts until
SIGTERM.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.harness import build_peers
from bench.harness.paths import BARE_LOOP, PEERS
from tests.support.running.worker import SCRIPT

BARE = "bare loop"
WORKER = "worker, value stamp"
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


def bare(call: Call, batch_ms: int = 50) -> list[str]:
    """The bare loop, which waits for a batch for as long as the worker by default."""
    topics = call.topics["prospects"], call.topics["allowed"]
    # -P: the bench's modules stay out of its path
    return [sys.executable, "-P", str(BARE_LOOP), call.bootstrap, *topics, call.group, str(batch_ms)]


def worker(call: Call) -> list[str]:
    """The product."""
    return [SCRIPT, "worker", "--id", call.group]


def _peer(call: Call, register: str) -> list[str]:
    topics = (call.topics[role] for role in ("prospects", "allowed", "blocked"))
    return [call.bootstrap, *topics, call.group, register]


def kstreams(call: Call, *flags: str) -> list[str]:
    """The command of the Kafka Streams application, in memory; see peers/kstreams for its flags."""
    return [*_java(call), *flags, *_peer(call, str(call.register))]


def global_table(call: Call) -> list[str]:
    """The same with the register in a topic that it keeps on its disk."""
    return [*_java(call), "--global-table", *_peer(call, call.table)]


def _java(call: Call) -> list[str]:
    made = build_peers.kstreams()
    # Native libraries are unpacked into the temporary folder, and left there.
    own = (f"-Djava.io.tmpdir={call.folder}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
    classes = f"{made / 'kstreams.jar'}:{made / 'libs/*'}"
    return ["java", *JVM, *own, "-cp", classes, "peer.Main", f"--state={call.folder / 'state'}"]


def python(peer: str, call: Call) -> list[str]:
    """A peer in Python, by its folder's name, in its own virtual environment."""
    script = str(PEERS / peer / "app.py")
    return [str(build_peers.python(peer)), "-P", script, *_peer(call, str(call.register))]

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
# One thread: nothing is gained by a second collector thread, nor by a larger heap, which only costs memory (tried).
JVM = ("-XX:+UseSerialGC",)
STREAMS, FLINK = ("-Xms256m", "-Xmx256m"), ("-Xms1g", "-Xmx1g")


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
    """The command of the Kafka Streams application, in memory; see peers/java for its flags."""
    return [*_java(call, "Streams", *STREAMS), *flags, *_peer(call, str(call.register))]


def global_table(call: Call) -> list[str]:
    """The same with the register in a topic that it keeps on its disk."""
    return [*_java(call, "Streams", *STREAMS), "--global-table", *_peer(call, call.table)]


def flink(call: Call, *flags: str) -> list[str]:
    """The command of the Flink job, in one process."""
    return [*_java(call, "Flink", *FLINK), *flags, *_peer(call, str(call.register))]


def franz(call: Call, way: str) -> list[str]:
    """The command of the franz-go program, `expert` or `tuned`."""
    return [str(build_peers.franz()), way, *_peer(call, str(call.register))]


def _java(call: Call, main: str, *heap: str) -> list[str]:
    made = build_peers.java()
    # Native libraries are unpacked into the temporary folder, and left there.
    own = (f"-Djava.io.tmpdir={call.folder}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
    classes = f"{made / 'peers.jar'}:{made / main / '*'}"
    return ["java", *JVM, *heap, *own, "-cp", classes, f"peer.{main}", f"--state={call.folder / 'state'}"]


def quix(call: Call) -> list[str]:
    """The command of the Quix application."""
    script = str(PEERS / "quix/app.py")
    return [str(build_peers.quix()), "-P", script, *_peer(call, str(call.register))]

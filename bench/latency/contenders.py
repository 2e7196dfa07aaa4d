"""Who is measured for latency: the bare loop, the worker and Kafka Streams, each as configured by default and in a hurry.

Others come in by a row here: a command that reads prospects and writes verdicts until SIGTERM, exactly once, and keeps
keys (the number of a record is in its key).
"""

from functools import partial
from pathlib import Path

from bench.harness import contender_commands
from bench.harness.contender_commands import Call
from bench.latency.stage import Contender, Stage, Topics

REGISTER_FILE = "register.u64"  # in the stage's folder, as the peers read it


def _call(stage: Stage, topics: Topics, group: str) -> Call:
    register: Path = stage.folder / REGISTER_FILE
    return Call(stage.bootstrap, topics, group, register, "", stage.folder)


def _bare(batch_ms: int, stage: Stage, topics: Topics, group: str) -> list[str]:
    return contender_commands.bare(_call(stage, topics, group), batch_ms)


def _worker(stage: Stage, topics: Topics, group: str) -> list[str]:
    return contender_commands.worker(_call(stage, topics, group))


def _kstreams(flags: tuple[str, ...], stage: Stage, topics: Topics, group: str) -> list[str]:
    # The throughput bench lets it wait for 64 KiB a fetch; here it takes what there is.
    return contender_commands.kstreams(_call(stage, topics, group), "--fetch-min=1", *flags)


OURS = (
    Contender("bare", "bare loop, 50 ms", partial(_bare, 50), verdicts=False),
    Contender("worker", "worker, defaults (50 ms)", _worker),
    Contender("bare-10", "bare loop, 10 ms", partial(_bare, 10), verdicts=False),
    Contender("worker-10", "worker, batch_ms = 10", _worker, {"worker__batch_ms": 10}),
)
PEERS = (
    Contender("kstreams", "Kafka Streams, expert (100 ms)", partial(_kstreams, ("--linger-ms=5",))),
    Contender(
        "kstreams-10",
        "Kafka Streams, expert, 10 ms",
        partial(_kstreams, ("--commit-ms=10", "--linger-ms=5")),
    ),
)
ALL = (*OURS, *PEERS)

"""Who runs: the bare loop, the worker, and the peers; each a command that reads prospects and writes verdicts until SIGTERM.

A share is how much of the prospects a contender gets, the first ones: a slow one would take minutes for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.harness import build_peers, contender_commands, data
from bench.harness.contender_commands import BARE, WORKER, Call
from bench.throughput import oracle

FEWEST = 2_000  # prospects of the smallest share: fewer are gone before one has looked


@dataclass(frozen=True)
class Contender:
    """`id` names it in a command, `name` in the table; `kind` is what its records look like.

    `build` makes it ready, once, and may raise build_peers.Unavailable. One that is `lasting` keeps the register on disk under
    its group's name: it has one group for all runs, and is started once before. `members` is how many of the group it is; 0: of none,
    and it says "ready" instead. `format`: of its prospects.
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
    format: data.Format = "json"

    def records(self, prospects: int) -> int:
        """How many of the prospects it gets."""
        return min(prospects, max(FEWEST, round(prospects * self.share)))


CONTENDERS = (
    Contender("bare", BARE, "bare", contender_commands.bare),
    Contender("value", WORKER, "value", contender_commands.worker, {"prospect__stamp": "value"}),
    Contender(
        "header", "worker, header stamp", "header", contender_commands.worker, {"prospect__stamp": "header"}
    ),
    Contender(
        "events",
        "worker, CloudEvents",
        "events",
        contender_commands.worker,
        {"prospect__cloudevents": "https://leads.example.com/scrub"},
    ),
    Contender(
        "avro",
        "worker, Avro",
        "header",
        contender_commands.worker,
        {"prospect__stamp": "header", "prospect__format": "avro"},
        format="avro",
    ),
    Contender(
        "protobuf",
        "worker, Protobuf",
        "header",
        contender_commands.worker,
        {"prospect__stamp": "header", "prospect__format": "protobuf"},
        format="protobuf",
    ),
    Contender(
        "processes",
        "worker, 2 processes",
        "value",
        contender_commands.worker,
        # The first one hears of the second at its next heartbeat, and would have done most of the work by itself till then.
        {"worker__processes": 2, "kafka__consumer": '{"heartbeat.interval.ms":"200"}'},
        members=2,
    ),
    Contender(
        "franz",
        "franz-go, expert",
        "peer",
        lambda call: contender_commands.franz(call, "expert"),
        build=build_peers.franz,
    ),
    Contender(
        "franz-tuned",
        "franz-go, hand-tuned",
        "peer",
        lambda call: contender_commands.franz(call, "tuned"),
        build=build_peers.franz,
    ),
    Contender(
        "kstreams", "Kafka Streams, expert", "peer", contender_commands.kstreams, build=build_peers.java
    ),
    Contender(
        "kstreams-tuned",
        "Kafka Streams, hand-tuned",
        "peer",
        lambda call: contender_commands.kstreams(call, "--hand-tuned"),
        build=build_peers.java,
    ),
    Contender(
        "kstreams-rocksdb",
        "Kafka Streams, RocksDB",
        "peer",
        contender_commands.global_table,
        share=0.4,
        build=build_peers.java,
        lasting=True,
    ),
    Contender("flink", "Flink, expert", "peer", contender_commands.flink, build=build_peers.java, members=0),
    Contender(
        "flink-tuned",
        "Flink, hand-tuned",
        "peer",
        lambda call: contender_commands.flink(call, "--hand-tuned"),
        build=build_peers.java,
        members=0,
    ),
    Contender("quix", "Quix Streams", "peer", contender_commands.quix, share=0.2, build=build_peers.quix),
)

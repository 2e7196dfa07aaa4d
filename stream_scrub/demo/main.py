"""`demo`: the whole system on the embedded broker, with a checker beside it that knows what is true.

The worker with its follower, the imports and the log are the real ones. Only the broker is librdkafka's own mock, and
the lead producer and the dialler are played here.
"""

import secrets
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings, load
from stream_scrub.demo.countries import ASKED, BY_AREA, HOME, Crowd, WrittenList, write_list
from stream_scrub.demo.leads import Casting
from stream_scrub.demo.oracle import OutputCheck, SentLeads, Truth
from stream_scrub.demo.summary import DemoOutcome, summary
from stream_scrub.demo.threads import Play, SendPlan
from stream_scrub.demo.view import Show, show_for
from stream_scrub.demo.worker_process import LogLines, WorkerProcess
from stream_scrub.errors import ConfigError
from stream_scrub.kafka.embedded.broker import EmbeddedKafka
from stream_scrub.kafka.embedded.clients import FETCH_WAIT_MS
from stream_scrub.lists.intake import list_areas
from stream_scrub.lists.intake.list_to_delta import ImportMode
from stream_scrub.lists.intake.plan_import import ImportOrder
from stream_scrub.model import RegisterKind
from stream_scrub.observability import logs
from stream_scrub.publisher import import_list
from stream_scrub.publisher.import_list import ImportEffect
from stream_scrub.wiring import clients, garbage

_INTERNAL = 1_000_000
_LEADS = 30_000
# All of it stays in memory, 1 GiB of a million and a half, and the embedded broker slows down as its partitions grow.
_PROSPECTS_MAX = 1_500_000
# Of at most 400 bytes each with their stamp: under the 5 MiB that the broker keeps, compressed or not.
_PROSPECTS_A_PARTITION = 12_500
_PARTITIONS_MIN = 12
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def run(*, seconds: float, rate: int, as_json: bool, seed: int | None = None) -> int:
    """Run the demo. Returns 0 when every check held, 1 when one did not, 130 when it was stopped before there was
    anything to check. Ctrl-C ends the sending; what was sent is then checked.

    Raises ConfigError when it would take too much memory, and the errors of an import or of a worker.
    """
    if seconds * rate > _PROSPECTS_MAX:
        raise ConfigError(
            [
                (
                    f"--seconds {seconds:g} --rate {rate}: the embedded broker keeps everything in memory, so"
                    f" {_PROSPECTS_MAX:,} prospects are the most; lower one of the two"
                )
            ]
        )
    seed = secrets.randbits(32) if seed is None else seed
    show = show_for(as_json=as_json)
    try:
        with tempfile.TemporaryDirectory(prefix="stream-scrub-") as folder, EmbeddedKafka() as broker:
            stage = _Stage.built(broker, Path(folder), seconds, rate, show)
            try:
                return stage.perform(show, np.random.default_rng(seed), seed)
            finally:
                stage.strike()
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        show.close()


@dataclass(frozen=True, slots=True)
class _Stage:
    """What is ready before the first prospect: a broker with topics, settings, a folder for lists, a log file, and a
    worker that waits for a list.
    """

    broker: EmbeddedKafka
    folder: Path
    settings: Settings
    pace: SendPlan
    said: LogLines
    log: FilteringBoundLogger
    worker: WorkerProcess

    @classmethod
    def built(cls, broker: EmbeddedKafka, folder: Path, seconds: float, rate: int, show: Show) -> "_Stage":
        """Create the topics, with enough partitions that the broker never drops a record, and start the worker."""
        partitions = max(_PARTITIONS_MIN, round(seconds * rate / _PROSPECTS_A_PARTITION))
        flags = {
            **of_embedded(broker),
            "worker.id": "demo",
            "prospect.contract_shapes": ("C-#+",),
            "prospect.default_purpose": "other",  # of most of its leads nothing is said
            "prospect.default_campaign": "demo",
        }
        settings = load(flags=flags, environ={}, cwd=folder, extra_checks=[clients.refused_properties])
        topics = settings.topics
        broker.create_topic(topics.log, 1)
        for topic in topics.inputs.route(topics.inputs.names[0]):
            broker.create_topic(topic, partitions)
        show.done(f"an embedded Kafka, {partitions} partitions a topic (Kafka's own client library, no Java)")
        said = LogLines(folder / "log")
        log = logs.configure("warning", "console", said.stream)
        worker = WorkerProcess(settings, said.path)
        worker.start()
        return cls(broker, folder, settings, SendPlan(seconds, rate, partitions), said, log, worker)

    def strike(self) -> None:
        """Stop everything, however far the demo went."""
        self.worker.kill()
        self.said.close()

    def perform(self, show: Show, rng: np.random.Generator, seed: int) -> int:
        """Import, send, scrub, check; returns the exit code."""
        show.step(f"drawing {_INTERNAL:,} opposed numbers and {_LEADS:,} leads")
        crowd = Crowd.draw(_INTERNAL, rng)
        registers = crowd.registers()
        lists = {name: write_list(self.folder / f"{name}.csv", held) for name, held in registers.items()}
        delta = write_list(self.folder / "opt-outs.csv", crowd.swing)
        sent_leads = SentLeads(Casting(crowd, rng).make(_LEADS))
        show.done("lists, spelled in many ways, imported:")
        effects = [self._imported(name, made, show) for name, made in lists.items()]
        truth = Truth({name: _everyone(held) for name, held in registers.items()}, _everyone(crowd.swing))
        topics = self.settings.topics
        outputs = {"allowed": topics.allowed, "blocked": topics.blocked}
        start = max(effect.position or 0 for effect in effects)
        checker = OutputCheck(sent_leads, truth, outputs, start)
        play = Play(self.settings, self.pace, sent_leads, checker, self.worker, self.said)
        garbage.settle()  # millions of numbers stay as they are
        play.run(show, effects, lambda: self._import("internal", delta, "adds"), rng)
        kept = (*topics.inputs.names, *outputs.values(), topics.log)
        dropped = {topic: self.broker.dropped(topic) for topic in kept}
        outcome = DemoOutcome(seed, effects, [*lists.values(), delta], dropped)
        found = summary(play, outcome)
        show.end(found)
        return 0 if found.ok else 1

    def _imported(self, register: str, made: WrittenList, show: Show) -> ImportEffect:
        show.step(f"importing {register}: {made.numbers:,} numbers")
        effect = self._import(register, made, "full")
        show.imported(effect)
        return effect

    def _import(self, register: str, made: WrittenList, change: ImportMode) -> ImportEffect:
        """As `stream-scrub lists import` does it."""
        order = ImportOrder(
            file=made.path,
            register=register,
            change=change,
            kind=RegisterKind.ALLOW if register in ASKED else RegisterKind.DENY,
            effective_at=datetime.now(UTC),
            region=HOME,
            column="",
            max_bad=self.settings.lists.max_bad,
            dry_run=False,
            areas=(list_areas.ALL,) if register in BY_AREA else (),
        )
        # The embedded broker tells no settings of a topic, and this one was made a moment ago.
        return import_list.run(order, self.settings, self.log, lambda *_: None, lambda *_: None)


def _everyone(numbers: Mapping[str, Iterable[int]]) -> frozenset[int]:
    return frozenset(number for of_a_country in numbers.values() for number in of_a_country)


def of_embedded(broker: EmbeddedKafka) -> dict[str, Any]:
    """The settings by which clients use it."""
    return {
        "kafka.bootstrap_servers": broker.bootstrap,
        "kafka.group_protocol": "consumer",  # joins within a heartbeat on the embedded broker
        "kafka.consumer": {
            "check.crcs": "false",  # the embedded broker's transaction markers bear none
            "fetch.wait.max.ms": FETCH_WAIT_MS,
        },
    }

"""`demo`: the whole system on the embedded broker, with a checker that knows the right verdicts. And `serve --trial`.

The worker with its follower, the imports and the log are the real ones, and so is what the recall takes back. Only the
broker is librdkafka's own mock, and the lead producer and the dialler are played here.
"""

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stream_scrub.config import Check, Settings, load
from stream_scrub.demo import trial_publisher
from stream_scrub.demo.daemons import LogLines, WorkerProcess, recalling
from stream_scrub.demo.leads import BY_AREA, HOME, Crowd, LeadMaker, write_list
from stream_scrub.demo.oracle import OutputCheck
from stream_scrub.demo.play import Play, SendPlan
from stream_scrub.demo.view import View, summary
from stream_scrub.errors import ConfigError
from stream_scrub.extension import HOW_TO_BUILD, extension
from stream_scrub.imports import areas, import_list
from stream_scrub.imports.import_list import ImportEffect
from stream_scrub.imports.plan_import import ImportMode, ImportOptions
from stream_scrub.kafka import clients
from stream_scrub.kafka.embedded import FETCH_WAIT_MS, EmbeddedKafka
from stream_scrub.model import CONSENT, Logger
from stream_scrub.ops import daemon, logs
from stream_scrub.terminal.console import People

_INTERNAL = 1_000_000
_LEADS = 30_000
# All records stay in memory, 1 GiB for a million and a half, and the embedded broker slows down as its partitions grow.
_PROSPECTS_MAX = 1_500_000
# Of at most 400 bytes each with their stamp: under the 5 MiB that the broker keeps, compressed or not.
_PROSPECTS_A_PARTITION = 12_500
_PARTITIONS_MIN = 12
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
TRIAL_LISTS = {"internal": ["+33612345678"], "consent": ["+33612345678", "+33612345680"]}


def run(*, seconds: float, rate: int, as_json: bool) -> int:
    """Run the demo. Returns 0 when every check held, 1 when one did not, 130 when it was stopped.

    Raises ConfigError when it would take too much memory, and the errors of an import or of a worker.
    """
    if seconds * rate > _PROSPECTS_MAX:
        why = f"the embedded broker keeps everything in memory, so {_PROSPECTS_MAX:,} prospects are the most"
        raise ConfigError([f"--seconds {seconds:g} --rate {rate}: {why}; lower one of the two"])
    with closing(View(People(quiet=as_json), as_json=as_json)) as view:
        try:
            with tempfile.TemporaryDirectory(prefix="stream-scrub-") as folder, EmbeddedKafka() as broker:
                # So many partitions that the broker never drops a record.
                partitions = max(_PARTITIONS_MIN, round(seconds * rate / _PROSPECTS_A_PARTITION))
                return _perform(broker, Path(folder), SendPlan(seconds, rate, partitions), view)
        except KeyboardInterrupt:
            return _INTERRUPTED


def _perform(broker: EmbeddedKafka, folder: Path, plan: SendPlan, view: View) -> int:
    """Create the topics, start the worker, then import, send, scrub and check; returns the exit code."""
    flags = {
        **_embedded_flags(broker),
        "worker.id": "demo",
        "log.level": "warning",
        "log.format": "console",
        "prospect.contract_shapes": ("C-#+",),
        "prospect.default_purpose": "other",  # of most of its leads nothing is said
        "prospect.default_campaign": "demo",
    }
    settings = load(flags=flags, environ={}, cwd=folder, extra_checks=[clients.refused_properties])
    topics = settings.topics
    (prospects,) = topics.inputs.names
    outputs = {"allowed": topics.allowed, "blocked": topics.blocked}
    broker.create_topic(topics.log, 1)
    broker.create_topic(topics.recalled, 1)
    for topic in (prospects, *outputs.values()):
        broker.create_topic(topic, plan.partitions)
    view.done(
        f"an embedded Kafka, {plan.partitions} partitions a topic (Kafka's own client library, no Java)"
    )
    log_lines = LogLines(folder / "log")
    if extension() is None:
        view.done(f"no extension: prospects are read one by one, slower ({HOW_TO_BUILD})")
    with log_lines.stream:
        log = logs.configure(settings.log.level, settings.log.format, log_lines.stream)
        worker = WorkerProcess(settings, log_lines.path, log)
        try:
            rng = np.random.default_rng()
            view.step(f"drawing {_INTERNAL:,} opposed numbers and {_LEADS:,} leads")
            crowd = Crowd.draw(_INTERNAL, rng)
            registers = crowd.registers()
            today = datetime.now(UTC).date()
            lists = {
                name: write_list(folder / f"{name}.csv", numbers, today if name == CONSENT else None)
                for name, numbers in registers.items()
            }
            delta = write_list(folder / "opt-outs.csv", crowd.swing)
            maker = LeadMaker(crowd, random.Random())  # noqa: S311 - no secret
            leads = maker.make(_LEADS)
            view.done("lists, spelled in many ways, imported:")
            view.step(f"importing {', '.join(lists)}")
            effects = []
            for name, each in lists.items():
                effects.append(_import(settings, log, name, each.path))
                view.imported(effects[-1])
            checker = OutputCheck(leads, outputs, max(effect.position or 0 for effect in effects))
            play = Play(settings, plan, checker, worker, log_lines, effects)
            daemon.settle_garbage()  # millions of numbers stay as they are
            view.step("the worker joins its group and reads the lists")
            with recalling(settings, log_lines.path, log):
                play.run(view.update, partial(_import, settings, log, "internal", delta.path, "adds"), rng)
            kept = (prospects, *outputs.values(), topics.recalled, topics.log)
            dropped = {topic: broker.dropped(topic) for topic in kept}
            result = summary(play, [*lists.values(), delta], dropped)
            view.end(result)
            return 0 if result.ok else 1
        finally:
            worker.stop()


def _import(
    settings: Settings, log: Logger, register: str, file: Path, change: ImportMode = "full"
) -> ImportEffect:
    """As `stream-scrub lists import` does it."""
    options = ImportOptions(
        file=file,
        register=register,
        change=change,
        effective_at=datetime.now(UTC),
        region=HOME,
        is_region_named=True,
        max_bad=settings.lists.max_bad,
        areas=(areas.ALL,) if register in BY_AREA else (),
    )
    # The embedded broker gives no settings of a topic, and this one was made a moment ago.
    return import_list.run(options, settings, log, lambda *_: None, lambda *_: None)


def _embedded_flags(broker: EmbeddedKafka) -> dict[str, Any]:
    return {
        "kafka.bootstrap_servers": broker.bootstrap,
        "kafka.group_protocol": "consumer",  # joins within a heartbeat on the embedded broker
        "rules.request_lag_max_s": 0,  # the embedded broker forgets every offset that a transaction commits
        "kafka.consumer": {
            "check.crcs": "false",  # the embedded broker's transaction markers bear none
            "fetch.wait.max.ms": FETCH_WAIT_MS,
        },
    }


@contextmanager
def trial(
    flags: Mapping[str, Any], checks: Sequence[Check], greet: Callable[[Settings], None]
) -> Iterator[Settings]:
    """`serve --trial`, for a user without a Kafka: settings of an embedded one whose log holds two short lists, and a
    publisher of requests, for as long as the context lasts. No other settings count than `flags`. `greet` gets the
    settings before the lists are imported. Raises ConfigError."""
    with EmbeddedKafka() as broker, tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        # A consent that names no campaign counts for the default one.
        trial_flags = {"prospect.default_campaign": "trial", **flags, **_embedded_flags(broker)}
        settings = load(flags=trial_flags, environ={}, cwd=folder, extra_checks=checks)
        greet(settings)
        for topic in (settings.topics.log, settings.topics.requests):
            broker.create_topic(topic, 1)
        log = logs.configure("warning", settings.log.format)
        for register, numbers in TRIAL_LISTS.items():
            file = folder / f"{register}.csv"
            head, day = (
                ("phone,consented_on", f",{datetime.now(UTC).date()}")
                if register == CONSENT
                else ("phone", "")
            )
            file.write_text("\n".join([head, *(number + day for number in numbers)]) + "\n")
            _import(settings, log, register, file)
        with trial_publisher.publishing(settings, log):
            yield settings

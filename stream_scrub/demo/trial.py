"""`serve --trial`: something to serve for who has no Kafka yet. An embedded one in this process, and two short lists."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stream_scrub.config import Check, Settings, load
from stream_scrub.demo.main import of_embedded
from stream_scrub.kafka.embedded.broker import EmbeddedKafka
from stream_scrub.lists.intake.plan_import import ImportOrder
from stream_scrub.model import RegisterKind
from stream_scrub.observability import logs
from stream_scrub.publisher import import_list

LISTS = {"internal": ["+33612345678"], "consent": ["+33612345678", "+33612345680"]}


@contextmanager
def set_up(flags: Mapping[str, Any], checks: Sequence[Check]) -> Iterator[Settings]:
    """What to serve, for as long as the context lasts: settings by which the embedded Kafka is found, whose log has the
    lists. No other settings count than `flags`. Raises ConfigError."""
    with EmbeddedKafka() as broker, tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        # A consent that names no campaign counts for the default one.
        given = {"prospect.default_campaign": "trial", **flags, **of_embedded(broker)}
        settings = load(flags=given, environ={}, cwd=folder, extra_checks=checks)
        for topic in (settings.topics.log, settings.topics.requests):
            broker.create_topic(topic, 1)
        log = logs.configure("warning", settings.log.format)
        for register, numbers in LISTS.items():
            file = folder / f"{register}.csv"
            file.write_text("\n".join(numbers) + "\n")
            order = ImportOrder(
                file=file,
                register=register,
                change="full",
                kind=RegisterKind.ALLOW if register == "consent" else RegisterKind.DENY,
                effective_at=datetime.now(UTC),
                region="FR",
                column="",
                max_bad=0.0,
                dry_run=False,
            )
            import_list.run(order, settings, log, lambda *_: None, lambda *_: None)
        yield settings

"""`Leads`: prospects to their topic, each one that the scrubber can read, keyed by its number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from stream_scrub.config import Settings, load
from stream_scrub.errors import ConfigError
from stream_scrub.kafka import clients
from stream_scrub.kafka.requests_writer import Deliveries
from stream_scrub.model import Logger
from stream_scrub.numbering import e164, normalise
from stream_scrub.ops import logs
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.backend import Regions
from stream_scrub.scrub.batch import number_members, text_of
from stream_scrub.scrub.decode import read_strictly


class Leads:
    """Puts prospects on the topic that workers read, or on the one of these that `topic` names. Use it in one thread, and as
    a context: at its end everything is delivered.

    `settings` and `config`: as for `Checker`. Raises ConfigError; with prospects in Avro too, because it sends JSON.
    """

    def __init__(
        self,
        config: str | Path | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        topic: str = "",
    ) -> None:
        file = None if config is None else Path(config)
        loaded = load(flags=settings, config_file=file, extra_checks=[clients.refused_properties])
        self._terms = scrubbing.terms(loaded)
        self._regions = Regions(self._terms.default_region)
        self._deliveries = deliveries(loaded, logs.of_library(), topic_of(loaded, topic), "prospect")
        self._sent = 0

    def send(self, prospect: Mapping[str, Any] | bytes) -> None:
        """Send a prospect, given by its members or as the bytes of one JSON object. Its key is its first valid number, so that
        all prospects of a person stay in order.

        Raises ValueError for one that would come out blocked as `unreadable`; it is not sent. Raises what the brokers say to
        the first earlier prospect that they do not take.
        """
        value = prospect if isinstance(prospect, bytes) else msgspec.json.encode(prospect)
        key = self._key(value)
        self._sent += 1
        self._deliveries.send(self._sent, key, value)

    def _key(self, value: bytes) -> bytes | None:
        read = read_strictly(value, self._terms.members)
        region = self._regions.of(read.region)
        if not region:
            return None
        found = (normalise(text_of(each), region) for each in number_members(read.numbers))
        return next((e164(each[0]).encode() for each in found if each is not None), None)

    def flush(self) -> None:
        """Wait until everything is delivered. Raises what the brokers say to the first prospect that they do not take."""
        self._deliveries.wait()

    def close(self) -> None:
        """Wait as `flush`, and end the connections."""
        self.__exit__(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._deliveries.__exit__(kind)


def deliveries(settings: Settings, log: Logger, topic: str, unit: str) -> Deliveries:
    """What sends to a topic of prospects; `unit` is what errors count."""
    return Deliveries(clients.prospects_writer(settings, log, topic), unit)


def topic_of(settings: Settings, topic: str, *formats: str) -> str:
    """The topic to send JSON to, or another of `formats`; `topic` is empty for the only one that workers read. Raises
    ConfigError."""
    if settings.prospect.format not in ("json", *formats):
        raise ConfigError(
            [
                f"prospect.format: prospects are sent as {' or '.join(['json', *formats])}, not as {settings.prospect.format}"
            ]
        )
    inputs = settings.topics.inputs
    if inputs.pattern is None and topic not in ("", *inputs.names):
        raise ConfigError([f"topic {topic}: workers read {inputs}"])
    if inputs.pattern is not None and (not topic or not inputs.among([topic])):
        raise ConfigError([f"topic: name one that workers read: {inputs}"])
    if not topic and inputs.several:
        raise ConfigError([f"topic: name one of {inputs}"])
    return topic or inputs.names[0]

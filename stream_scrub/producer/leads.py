"""`Leads`: prospects to their topic, each one that the scrubber can read, keyed by its number."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from stream_scrub.config import Settings, load
from stream_scrub.errors import ConfigError
from stream_scrub.index import Index
from stream_scrub.kafka import clients
from stream_scrub.kafka.requests_writer import Deliveries
from stream_scrub.model import Logger, Reason, Why
from stream_scrub.numbering import e164, normalise
from stream_scrub.ops import logs
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.backend import Regions
from stream_scrub.scrub.batch import number_members, text_of
from stream_scrub.scrub.decode import Unreadable, read_strictly
from stream_scrub.stamp import decode

# By reason: what a producer can do. Another reason rests on the registers, or on the law alone.
_HINTS = {
    Reason.INVALID_NUMBER: "correct the number, or its country",
    Reason.UNKNOWN_COUNTRY: "name a country, as in FR",
    Reason.NOT_CALLABLE: "leave the number out: nobody may call numbers of its type",
    Reason.UNKNOWN_PURPOSE: "name a purpose that `stream-scrub purposes` lists, or pass the workers' prospect.default_purpose",
    Reason.NO_RULE: "the rules know no such country or channel: correct it, or pass the workers' rules.folder and"
    " rules.countries",
}


RECORD_LIMIT = 1_048_588  # bytes: Kafka's default `max.message.bytes` of a topic
_BATCH_HEADER = 61  # bytes of a record batch apart from its records


class WouldBlock(ValueError):
    """A prospect that would come out blocked, with the reason, and the fault and the member of the stamp, where known."""

    def __init__(self, reason: Reason, why: Why | None, member: str, hint: str) -> None:
        fault = f" ({why})" if why else ""
        where = f", member {member}" if member else ""
        super().__init__(f"not sent: it would come out blocked as {reason}{fault}{where}: {hint}")
        self.reason, self.why, self.member = reason, why, member


class OwnFault(NamedTuple):
    """Why a prospect would come out blocked whatever the registers hold: the reason, and the fault and the member of the
    stamp, where known."""

    reason: Reason
    why: Why | None
    member: str


class OwnFaults:
    """Judges prospects by empty registers: a register's block is not the prospect's fault. `limit`: the topic's record
    limit in bytes; None leaves it to the brokers, which refuse what is larger."""

    def __init__(self, settings: Settings, limit: int | None = None) -> None:
        self._value_max = sys.maxsize if limit is None else limit - _BATCH_HEADER
        self._scrubber = scrubbing.scrubber(settings, header=True, hold=False)
        self._context = self._scrubber.context(Index.empty(), datetime.now(UTC))

    def of(self, value: bytes) -> OwnFault | None:
        """The fault of a prospect; None if only registers or the law can block it."""
        if len(value) > self._value_max:
            return OwnFault(Reason.UNREADABLE, Why.TOO_LARGE, "")
        now = datetime.now(UTC)
        # A rule begins at a midnight, and the clock may be set back.
        if now.replace(second=0, microsecond=0) != self._context.now.replace(second=0, microsecond=0):
            self._context = self._scrubber.context(Index.empty(), now)
        (stamped,) = self._scrubber.scrub_each([value], self._context).stamps
        assert stamped is not None, "stamps go into headers here"
        stamp = decode(stamped)
        if stamp.reason is Reason.UNREADABLE:
            return OwnFault(stamp.reason, stamp.why, stamp.member)
        faulty = [verdict for verdict in stamp.each if verdict.reason in _HINTS]
        # By default one blocked number blocks the prospect.
        if faulty and (self._scrubber.terms.mixed == "block" or len(faulty) == len(stamp.each)):
            return OwnFault(faulty[0].reason, faulty[0].why, stamp.member)
        return None


class Leads:
    """Puts prospects on the topic that workers read, or on the one of these that `topic` names. Use it in one thread, and as
    a context: at its end everything is delivered.

    `settings` and `config`: as for `Checker`, those of the workers. `strict`: refuse prospects that must come out blocked
    for a fault of their own: number, country, purpose or channel. Raises ConfigError; with prospects in Avro too, because it sends JSON.
    """

    def __init__(
        self,
        config: str | Path | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        topic: str = "",
        strict: bool = True,
    ) -> None:
        file = None if config is None else Path(config)
        loaded = load(flags=settings, config_file=file, extra_checks=[clients.refused_properties])
        self._faults = OwnFaults(loaded) if strict else None
        self._terms = scrubbing.terms(loaded, header=True, hold=False)
        self._regions = Regions(self._terms.default_region)
        self._deliveries = deliveries(loaded, logs.of_library(), topic_of(loaded, topic), "prospect")
        self._sent = 0

    def send(self, prospect: Mapping[str, Any] | bytes) -> None:
        """Send a prospect, given by its members or as the bytes of one JSON object. Its key is its first valid number, so that
        all prospects of a person stay in order.

        Raises WouldBlock for one that would come out blocked as `unreadable`, or, if strict, for another fault of its own; it
        is not sent. Raises what the brokers say to the first earlier prospect that they do not take.
        """
        value = prospect if isinstance(prospect, bytes) else msgspec.json.encode(prospect)
        try:
            key = self._key(value)
        except Unreadable as error:
            raise WouldBlock(Reason.UNREADABLE, error.why, error.member, str(error)) from error
        if self._faults is not None and (fault := self._faults.of(value)) is not None:
            raise WouldBlock(*fault, _HINTS[fault.reason])
        self._sent += 1
        self._deliveries.send(self._sent, key, value)

    def _key(self, value: bytes) -> bytes | None:
        read = read_strictly(value, self._terms.members)
        region = self._regions.of(read.region)
        if not region:
            return None
        found = (normalise(text_of(number_member), region) for number_member in number_members(read.numbers))
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
    return Deliveries(clients.Brokers(settings, log).prospects_writer(topic), unit)


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

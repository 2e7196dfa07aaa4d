"""Turns records into the JSON that the Scrubber judges: by their schemas, each fetched once and compiled once.

A record that cannot be read becomes None, as unreadable as a tombstone. If the registry is away, only records whose schema
is not known yet have to wait.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Unavailable
from stream_scrub.extension import HOW_TO_BUILD, extension
from stream_scrub.model import Fault, Header, Logger, Why
from stream_scrub.registry.client import AVRO, NUMBER_BYTES, RegistryClient, Schema, shown
from stream_scrub.scrub.avro import program_of
from stream_scrub.scrub.decode import Members, Unreadable
from stream_scrub.scrub.protobuf import Arrays, Message, arrays_of, message_at
from stream_scrub.scrub.schemas import Indexes, Plan, SchemaId, UnusablePlan, framed, indexes

PLANS_MAX = 1000
_TOO_LARGE = b"\x80"  # the first of the numbers that are none of Java's int
_ABSENT_MAX = 10_000
_ASK_EVERY = 100  # records: those of a hostile schema take milliseconds each
_ABSENT_S = 5.0  # then an id that the registry did not have is asked for again
_PAUSE_S = 0.5  # between two requests to a registry that is away; each is twice as long as the last
_PAUSE_MAX_S = 10.0

Values = Sequence[bytes | None]
HeadersOf = Sequence[Sequence[Header] | None]


def _never() -> bool:
    return False


class RecordReader(Protocol):
    """Reads the values of records as JSON."""

    def read(self, values: Values, headers: HeadersOf, enough: Callable[[], bool] = _never) -> Values:
        """The JSON of as many of the first values as can be read now, at least one; None for an unreadable one. `enough` is
        called after each request to the registry, and now and then. Raises Unavailable if the first one cannot be read now."""
        ...

    def read_records(self, records: Any, enough: Callable[[], bool]) -> Any:
        """The same for records that the extension holds: as many of them, with their JSON as values."""
        ...

    def fault(self, value: bytes | None, headers: Sequence[Header] | None) -> Fault:
        """Why a record is unreadable. Raises Unavailable."""
        ...

    def close(self) -> None:
        """Release the connections."""
        ...


class JsonRecords:
    """RecordReader that are JSON."""

    def read(self, values: Values, headers: HeadersOf, enough: Callable[[], bool] = _never) -> Values:  # noqa: ARG002
        """As `RecordReader.read`: the values themselves."""
        return values

    def read_records(self, records: Any, enough: Callable[[], bool]) -> Any:  # noqa: ARG002
        """As `RecordReader.read_records`: the records themselves."""
        return records

    def fault(self, value: bytes | None, headers: Sequence[Header] | None) -> Fault:  # noqa: ARG002
        """As `RecordReader.fault`."""
        return Fault(Why.NULL)

    def close(self) -> None:
        """As `RecordReader.close`."""


class RegistryRecords:
    """RecordReader in Avro or Protobuf, by the extension. One thread uses it, so no schema is asked for twice at once. Raises
    ConfigError without the extension."""

    def __init__(
        self, registry: RegistryClient, kind: Literal["avro", "protobuf"], members: Members, log: Logger
    ) -> None:
        module = extension()
        if module is None:
            raise ConfigError([f'prospect.format = "{kind}" needs the extension: {HOW_TO_BUILD}'])
        if kind == "protobuf" and find_spec("grpc_tools") is None:
            raise ConfigError(
                ["prospect.format = \"protobuf\" needs protoc: pip install 'stream-scrub[protobuf]'"]
            )
        self._native = module
        self._registry, self._members, self._log = registry, members, log
        self._type, self._indexed = kind.upper(), kind == "protobuf"
        self._plans: dict[SchemaId, Plan] = {}
        self._messages: dict[SchemaId, dict[Indexes, Fault]] = {}  # in Protobuf, those that cannot be read
        self._absent: dict[SchemaId, float] = {}  # until when the registry is not asked again
        self._away_until, self._pause_s, self._away = 0.0, _PAUSE_S, ""

    def read(self, values: Values, headers: HeadersOf, enough: Callable[[], bool] = _never) -> Values:
        """As `RecordReader.read`."""
        plans, indexed, read = self._plans, self._indexed, list[bytes | None]()
        for value, each in zip(values, headers, strict=True):
            frame = framed(value, each, indexed=indexed) if value is not None else None
            if value is None or frame is None:
                read.append(None)
                continue
            which, data, start = frame
            plan, was_asked = plans.get(which), False
            if plan is None:
                if (found := self._found_at(which, len(read))) is None:
                    return read
                plan, was_asked = found
            read.append(plan(data, start))
            if (was_asked or not len(read) % _ASK_EVERY) and enough():
                return read
        return read

    def read_records(self, records: Any, enough: Callable[[], bool]) -> Any:
        """As `RecordReader.read_records`."""
        return self._native.read_by_schema(records, self._indexed, self._plans, self._found_at, enough)

    def fault(self, value: bytes | None, headers: Sequence[Header] | None) -> Fault:
        """As `RecordReader.fault`."""
        if value is None:
            return Fault(Why.NULL)
        frame = framed(value, headers, indexed=self._indexed)
        if frame is None:
            return Fault(Why.NO_SCHEMA_ID if value else Why.EMPTY)
        which, data, start = frame
        plan = self._plans.get(which)
        if plan is None:
            plan, _ = self._found(which)
            plan(data, start)  # its schema made room for others: learn again whether its message can be read
        if isinstance(plan, UnusablePlan):
            return plan.fault
        mismatch = Fault(Why.SCHEMA_MISMATCH, schema=shown(which))
        if not self._indexed:
            return mismatch
        try:
            message, _ = indexes(data, start)
        except (Unreadable, IndexError):
            return mismatch
        return self._messages.get(which, {}).get(message, mismatch)

    def _found_at(self, which: SchemaId, place: int) -> tuple[Plan, bool] | None:
        """As `_found`, for the record at that place; None if it and those behind it cannot be read now."""
        try:
            return self._found(which)
        except Unavailable:
            if place:
                return None
            raise

    def _found(self, which: SchemaId) -> tuple[Plan, bool]:
        """The plan for a schema, and whether the registry was asked. Raises Unavailable."""
        # Some registries answer such a number as nothing that they understand, again and again.
        if len(which) == NUMBER_BYTES and which >= _TOO_LARGE:
            return _unknown(which), False
        now = time.monotonic()
        if self._absent.get(which, 0.0) > now:
            return _unknown(which), False
        if now < self._away_until:
            raise Unavailable(self._away)
        try:
            schema = self._registry.schema(which)
        except Unavailable as error:
            self._away = str(error)
            self._away_until = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)
            raise
        self._pause_s = _PAUSE_S
        if schema is None:
            if len(self._absent) >= _ABSENT_MAX:
                self._absent.clear()
            self._absent[which] = time.monotonic() + _ABSENT_S
            return _unknown(which), True
        if len(self._plans) >= PLANS_MAX:
            # Any of them: where the oldest goes, one schema more than there is room for is asked for at each record.
            evicted = random.choice([*self._plans])  # noqa: S311
            del self._plans[evicted]
            self._messages.pop(evicted, None)
        self._absent.pop(which, None)
        plan = self._plans[which] = self._plan(which, schema)
        return plan, True

    def _plan(self, which: SchemaId, schema: Schema) -> Plan:
        try:
            plan = self._compiled(which, schema)
        except Unreadable as error:
            self._log.error(
                "schema unusable: its records come out blocked", schema=shown(which), why=str(error)
            )
            return UnusablePlan(Fault(error.why, error.member, shown(which)))
        self._log.info("schema known", schema=shown(which))
        return plan

    def _compiled(self, which: SchemaId, schema: Schema) -> Plan:
        if schema.type != self._type:
            raise Unreadable(f"of type {schema.type[:20]}, not {self._type}")
        if self._type == AVRO:
            texts = dict.fromkeys(
                reference.text for reference in schema.references
            )  # a schema may have several names
            return avro_plan(self._native, schema.text, list(texts), self._members)
        from stream_scrub.registry.protobuf import messages_of

        unusable = self._messages[which] = {}

        def refused(at: Indexes, error: Unreadable) -> None:
            unusable[at] = Fault(error.why, error.member, shown(which))
            self._log.error(
                "message unusable: its records come out blocked",
                schema=shown(which),
                message=list(at),
                why=str(error),
            )

        return protobuf_plan(self._native, messages_of(schema), self._members, refused)

    def close(self) -> None:
        """As `RecordReader.close`."""
        self._registry.close()


def _unknown(which: SchemaId) -> Plan:
    return UnusablePlan(Fault(Why.UNKNOWN_SCHEMA, schema=shown(which)))


def avro_plan(native: ModuleType, schema: str, references: Sequence[str], members: Members) -> Plan:
    """The plan for the records of a schema in Avro. Raises Unreadable."""
    program = program_of(schema, references, members)
    plan: Plan = native.AvroPlan(np.array(program.code, np.int32), list(program.texts))
    return plan


def protobuf_plan(
    native: ModuleType,
    messages: Sequence[Message],
    members: Members,
    refused: Callable[[Indexes, Unreadable], None],
) -> Plan:
    """The plan for the records of a schema in Protobuf. `refused` is called once for each message that cannot be read, with the cause."""
    unusable: set[Indexes] = set()

    def find(data: bytes) -> Arrays | None:
        at, _ = indexes(data, 0)
        message = message_at(messages, at)
        if message is None or at in unusable:
            return None
        try:
            return arrays_of(message, members)
        except Unreadable as error:
            unusable.add(at)
            refused(at, error)
            return None

    plan: Plan = native.ProtobufPlan(find)
    return plan


JSON = JsonRecords()


def records(settings: Settings, members: Members, log: Logger) -> RecordReader:
    """What reads records as configured. Raises ConfigError."""
    if settings.prospect.format == "json":
        return JSON
    return RegistryRecords(RegistryClient(settings.registry), settings.prospect.format, members, log)


def warn_if_away(settings: Settings, log: Logger) -> None:
    """At the start of a process, warn if no registry answers: the first record may be days away. Raises ConfigError."""
    if settings.prospect.format == "json":
        return
    with closing(RegistryClient(settings.registry)) as registry:
        try:
            registry.check()
        except Unavailable as error:
            log.warning(
                "schema registry cannot be asked", why=str(error), do="check registry.url and its secrets"
            )


def read_all(each: RecordReader, values: Values, headers: HeadersOf) -> Values:
    """As `RecordReader.read`, of all values. Raises Unavailable if one cannot be read now."""
    read = each.read(values, headers)
    while len(read) < len(values):
        read = [*read, *each.read(values[len(read) :], headers[len(read) :])]
    return read

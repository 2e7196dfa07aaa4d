"""Asks a schema registry by Confluent's HTTP API: for a schema by its id, and for `produce` the latest one of a subject."""

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx
import msgspec

from stream_scrub.config.registry import Registry
from stream_scrub.errors import ConfigError, Refused, Unavailable
from stream_scrub.model import Deadline
from stream_scrub.scrub.schemas import SchemaId
from stream_scrub.socket_cut import SocketCut

_ANSWER_MAX = 2 << 20  # bytes; also characters of all that a schema refers to
_REFERENCES_MAX = 100  # of one schema, with those of its references
_SECRET_MAX = 16_384  # bytes
NUMBER_BYTES = 4
_TOO_LARGE = "too large"  # as the type of a schema
AVRO = "AVRO"  # the type of a schema that states none
_NOT_FOUND_CODES = range(40_400, 40_500)  # of a schema, a subject or a version
_T = TypeVar("_T")


class Schema(NamedTuple):
    """A schema as it is registered. `references`: the schemas that it uses, each after those that it uses itself.
    `name`: that by which a schema in Protobuf imports this one; of one that another schema uses only."""

    type: str
    text: str
    references: "Sequence[Schema]" = ()
    name: str = ""


class _Reference(msgspec.Struct, frozen=True):
    subject: str
    version: int
    name: str = ""


class _Answer(msgspec.Struct, frozen=True):
    schema: str
    id: int = 0
    type: str | None = msgspec.field(default=None, name="schemaType")
    references: list[_Reference] | None = None


class _Registered(msgspec.Struct, frozen=True):
    id: int


class _ErrorAnswer(msgspec.Struct, frozen=True):
    error_code: int


def shown(schema_id: SchemaId) -> str:
    """An id as the registry writes it."""
    if len(schema_id) == NUMBER_BYTES:
        return str(int.from_bytes(schema_id, "big"))
    return str(UUID(bytes=schema_id))


_ANSWER = msgspec.json.Decoder(_Answer)
_REGISTERED = msgspec.json.Decoder(_Registered)
_ERROR_ANSWER = msgspec.json.Decoder(_ErrorAnswer)
_NAMES = msgspec.json.Decoder(list[str])


class RegistryClient:
    """A registry. Raises ConfigError for a CA that cannot be read."""

    def __init__(self, settings: Registry) -> None:
        self._settings = settings
        self._who = f"the schema registry {settings.url}"
        try:
            trusted: ssl.SSLContext | bool = (
                ssl.create_default_context(cafile=settings.ca) if settings.ca else True
            )
        except OSError as error:
            raise ConfigError([f"registry.ca cannot be read: {error.strerror}"]) from error
        self._cut = SocketCut()
        self._http = httpx.Client(trust_env=False, timeout=settings.timeout_s, verify=trusted)

    def check(self) -> None:
        """Check that a registry answers at the address. Blocks as `schema` does. Raises Unavailable."""
        self._need_registry(Deadline.after(self._settings.timeout_s))

    def schema(self, schema_id: SchemaId) -> Schema | None:
        """The schema of that id, with all that it refers to; None if the registry has none. Blocks for
        `registry.timeout_s`, or a little longer. Raises Unavailable."""
        until = Deadline.after(self._settings.timeout_s)
        by = "ids" if len(schema_id) == NUMBER_BYTES else "guids"
        answer = self._ask(f"/schemas/{by}/{shown(schema_id)}", until)
        return None if answer is None else self._whole(answer, until)

    def latest(self, subject: str) -> tuple[int, Schema] | None:
        """The number and the schema of a subject's latest version; None without one. As `schema`, and
        raises Refused if something that it refers to is missing, circular or too much."""
        until = Deadline.after(self._settings.timeout_s)
        answer = self._ask(f"/subjects/{quote(subject, safe='')}/versions/latest", until)
        if answer is None:
            return None
        if (schema := self._whole(answer, until)) is None:
            raise Refused(
                f"{self._who} has not all that the latest schema of {subject} refers to, or too much"
            )
        return answer.id, schema

    def register(self, subject: str, text: str) -> int:
        """Register a schema in Avro; its number. Raises Refused, Unavailable."""
        until = Deadline.after(self._settings.timeout_s)
        path = f"/subjects/{quote(subject, safe='')}/versions"
        status, body = self._send("POST", path, until, msgspec.json.encode({"schema": text}))
        if (registered := _read(body, _REGISTERED)) is None or status != httpx.codes.OK:
            raise Refused(f"{self._who} does not register a schema of {subject}: it answers {status}")
        return registered.id

    def _whole(self, answer: _Answer, until: Deadline) -> Schema | None:
        used: dict[_Reference, Schema] = {}
        if not self._refer(answer, used, frozenset(), until):
            return None
        return Schema(answer.type or AVRO, answer.schema, list(used.values()))

    def _refer(
        self,
        answer: _Answer,
        known: dict[_Reference, Schema],
        above: frozenset[_Reference],
        until: Deadline,
    ) -> bool:
        """Add what a schema refers to, depth first; False if something is missing, circular or too much."""
        for reference in answer.references or ():
            if reference in known:
                continue
            if reference in above or len(above) + len(known) >= _REFERENCES_MAX:
                return False
            used = self._ask(
                f"/subjects/{quote(reference.subject, safe='')}/versions/{reference.version}", until
            )
            if used is None or sum(len(one.text) for one in known.values()) + len(used.schema) > _ANSWER_MAX:
                return False
            if not self._refer(used, known, above | {reference}, until):
                return False
            known[reference] = Schema(used.type or AVRO, used.schema, name=reference.name)
        return True

    def _ask(self, path: str, until: Deadline) -> _Answer | None:
        status, body = self._send("GET", path, until)
        if status == httpx.codes.OK:
            if (answer := _read(body, _ANSWER)) is not None:
                return answer
            if len(body) > _ANSWER_MAX and body.startswith(b"{"):  # it is as large each time
                return _Answer("", type=_TOO_LARGE)
        # A proxy in front of the registry answers 404 too, in its own words, which says nothing about the schema. A registry that
        # does not know GUIDs has no words for it.
        if status == httpx.codes.NOT_FOUND:
            failure = _read(body, _ERROR_ANSWER)
            if failure is None or failure.error_code not in _NOT_FOUND_CODES:
                self._need_registry(until)
            return None
        raise self._foreign(status)

    def _need_registry(self, until: Deadline) -> None:
        status, body = self._send("GET", "/schemas/types", until)
        if status != httpx.codes.OK or _read(body, _NAMES) is None:
            raise self._foreign(status)

    def _foreign(self, status: int) -> Unavailable:
        return Unavailable(f"{self._who} answers {status}, not as a registry does")

    def _send(
        self, method: str, path: str, until: Deadline, content: bytes | None = None
    ) -> tuple[int, bytes]:
        body = b""
        try:
            with (
                self._cut.at(until),
                self._http.stream(
                    method,
                    self._settings.url.rstrip("/") + path,
                    content=content,
                    headers=self._headers(),
                    auth=self._auth(),
                    extensions={"trace": self._cut.note},
                ) as answer,
            ):
                if answer.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
                    # A few bytes, packed twice, would take all memory.
                    raise Unavailable(f"{self._who} packs its answers, though it is asked not to")
                for piece in answer.iter_raw():
                    body += piece
                    if len(body) > _ANSWER_MAX:
                        break
                    if until.passed:
                        raise Unavailable(f"{self._who} answers too slowly")
                return answer.status_code, body
        except (httpx.LocalProtocolError, ValueError) as error:  # its text quotes the header
            raise Unavailable(f"{self._who} cannot be asked: the secret is not valid in a header") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise Unavailable(f"{self._who} does not answer: {why}") from error

    def _headers(self) -> dict[str, str]:
        kind = "application/vnd.schemaregistry.v1+json"
        headers = {
            "accept": f"{kind}, application/json",
            "accept-encoding": "identity",
            "content-type": kind,
        }
        if self._settings.token_file:
            headers["authorization"] = f"Bearer {_secret(self._settings.token_file)}"
        return headers

    def _auth(self) -> tuple[str, str] | None:
        if not self._settings.user:
            return None
        return self._settings.user, _secret(self._settings.password_file)

    def close(self) -> None:
        """Release the connections."""
        self._http.close()


def _read(body: bytes, decoder: msgspec.json.Decoder[_T]) -> _T | None:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None


def _secret(path: str) -> str:
    """A secret, read each time: it may have been replaced. Raises Unavailable."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_SECRET_MAX).decode().strip()
    except (OSError, ValueError) as error:
        raise Unavailable(f"{path}: the secret for the schema registry cannot be read") from error

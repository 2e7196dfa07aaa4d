"""A schema registry, as Confluent's HTTP API documents it, for `Web`; and records as its serializers write them."""

import io
import json
import uuid
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import fastavro

from tests.support.fakes.web import Answer, Asked


class FakeRegistry:
    """Schemas by number, GUID and subject. `authorization`: what it asks for."""

    def __init__(self) -> None:
        self.authorization = ""
        self.knows_guids = True
        self._texts: dict[str, bytes] = {}

    def add(
        self, schema: object, *, subject: str = "prospects-value", kind: str = "", refers: Sequence[str] = ()
    ) -> int:
        """Register a schema, which refers to the only version of these subjects; its number."""
        number = 1 + sum(path.startswith("/schemas/ids/") for path in self._texts)
        answer: dict[str, Any] = {
            "id": number,
            "schema": schema if isinstance(schema, str) else json.dumps(schema),
        }
        answer |= {"schemaType": kind} if kind else {}
        answer |= {"references": [{"name": each, "subject": each, "version": 1} for each in refers]}
        text = json.dumps(answer).encode()
        guid = uuid.UUID(int=number)
        for path in (
            f"schemas/ids/{number}",
            f"schemas/guids/{guid}",
            f"subjects/{quote(subject, safe='')}/versions/1",
            f"subjects/{quote(subject, safe='')}/versions/latest",
        ):
            self._texts[f"/{path}"] = text
        return number

    def schema(self, number: int) -> Any:
        """A schema in Avro."""
        return json.loads(json.loads(self._texts[f"/schemas/ids/{number}"])["schema"])

    def __call__(self, asked: Asked) -> Answer:
        if self.authorization and asked.headers.get("authorization") != self.authorization:
            return 401, b'{"error_code":401,"message":"Unauthorized"}'
        if asked.path == "/schemas/types":
            return 200, b'["JSON","PROTOBUF","AVRO"]'
        if asked.path.startswith("/schemas/guids/") and not self.knows_guids:
            return 404, b""
        if asked.method == "POST":
            at = self.add(json.loads(asked.body)["schema"], subject=asked.path.split("/")[2])
            return 200, b'{"id":%d}' % at
        if asked.path in self._texts:
            return 200, self._texts[asked.path]
        return 404, b'{"error_code":40403,"message":"Schema not found"}'


def written(schema: object, record: object) -> bytes:
    """A record in Avro, by a library that shares no code with the product."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema))), record)
    return out.getvalue()


def numbered(number: int, record: bytes) -> bytes:
    """The value of a record whose schema has that number."""
    return b"\0" + number.to_bytes(4, "big") + record


def by_guid(number: int, record: bytes) -> bytes:
    """The same with the GUID of that schema."""
    return b"\1" + uuid.UUID(int=number).bytes + record

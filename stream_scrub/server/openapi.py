"""`/openapi.json`: the API in OpenAPI 3.1, made from the types that read and write its bodies, and from the problems."""

from typing import Any

import msgspec

from stream_scrub import __version__
from stream_scrub.model import Reason, Verdict
from stream_scrub.server.bodies import BODY_BYTES_MAX
from stream_scrub.server.check import PROSPECTS_MAX, AskedProspect
from stream_scrub.server.history import AskedNumber
from stream_scrub.server.problems import MEDIA_TYPE, Kind
from stream_scrub.server.requests import Accepted

_REF = "#/components/schemas/{name}"
_JSON = "application/json"


class NumberStamp(msgspec.Struct, kw_only=True):
    """The verdict on one number of several."""

    verdict: Verdict
    reason: Reason
    number: str | msgspec.UnsetType = msgspec.UNSET
    registers: list[str] | msgspec.UnsetType = msgspec.UNSET
    rules: str | msgspec.UnsetType = msgspec.UNSET
    until: str | msgspec.UnsetType = msgspec.UNSET


class Stamp(NumberStamp, kw_only=True):
    """A verdict with its evidence: docs/dialler.md has every member."""

    index: int
    at: str
    numbers: list[NumberStamp] | msgspec.UnsetType = msgspec.UNSET
    callable: list[str] | msgspec.UnsetType = msgspec.UNSET
    channel: str | msgspec.UnsetType = msgspec.UNSET


class Stamps(msgspec.Struct):
    """One stamp for each prospect, in order."""

    stamps: list[Stamp]


class Prospects(msgspec.Struct, forbid_unknown_fields=True):
    """Many prospects at once."""

    prospects: list[AskedProspect]


class AskedRequest(msgspec.Struct):
    """An opt-out, a consent or a withdrawal: docs/requests.md has every member. Others are kept as evidence."""

    request: str
    number: str | int | list[str | int]


class ProblemDetails(msgspec.Struct, kw_only=True):
    """A problem by RFC 9457. docs/check-api.md has the types and their further members."""

    type: str
    title: str
    status: int
    detail: str


_TYPES = (Stamp, Stamps, AskedProspect, Prospects, AskedNumber, AskedRequest, Accepted, ProblemDetails)
_COMMON = (Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.TOO_MANY_REQUESTS, Kind.FAULT)
_OF_BODIES = (*_COMMON, Kind.TOO_SLOW, Kind.TOO_LARGE, Kind.NOT_JSON, Kind.INVALID)


def document() -> dict[str, Any]:
    """The whole of it."""
    schemas, components = msgspec.json.schema_components(_TYPES, ref_template=_REF)
    of = {each.__name__: schema for each, schema in zip(_TYPES, schemas, strict=True)}
    components["Prospects"]["properties"]["prospects"]["maxItems"] = PROSPECTS_MAX
    question = {"oneOf": [of["AskedProspect"], of["Prospects"]]}
    answer = {"oneOf": [of["Stamp"], of["Stamps"]]}
    key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 128}}
    told = {"type": "object"}
    paths = {
        "/v1/check": {"post": _asks("Verdicts on prospects", question, 200, answer, Kind.STALE_INDEX)},
        "/v1/requests": {
            "post": _asks("Takes a request", of["AskedRequest"], 202, of["Accepted"], Kind.NOT_WRITTEN)
            | {"parameters": [key]}
        },
        "/v1/history": {"post": _asks("A number's history", of["AskedNumber"], 200, told, Kind.STALE_INDEX)},
        "/v1/registers": {"get": _tells("Every register", [])},
        "/v1/registers/{name}": {"get": _tells("One register", [_in_path("name")])},
        "/v1/rules/{country}": {
            "get": _tells(
                "The rule of a country or region on a day",
                [
                    _in_path("country"),
                    {"name": "on", "in": "query", "schema": {"type": "string", "format": "date"}},
                ],
            )
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "stream-scrub check API",
            "version": __version__,
            "description": f"Whether numbers may be called now. Bodies have at most {BODY_BYTES_MAX} bytes.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _asks(what: str, body: dict[str, Any], status: int, answer: dict[str, Any], kind: Kind) -> dict[str, Any]:
    content = {_JSON: {"schema": body}}
    answers = {str(status): {"description": what, "content": {_JSON: {"schema": answer}}}}
    return {
        "summary": what,
        "requestBody": {"required": True, "content": content},
        "responses": answers | _problems((*_OF_BODIES, kind)),
    }


def _tells(what: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    answers = {"200": {"description": what, "content": {_JSON: {"schema": {"type": "object"}}}}}
    kinds = (*_COMMON, *((Kind.NOT_FOUND, Kind.INVALID) if parameters else ()))
    return {"summary": what, "parameters": parameters, "responses": answers | _problems(kinds)}


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _problems(kinds: tuple[Kind, ...]) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="ProblemDetails")}}}
    return {str(kind.status): {"description": kind.value[1], "content": content} for kind in kinds}

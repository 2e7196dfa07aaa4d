"""`/openapi.json`: the API in OpenAPI 3.1, made from the types that read and write its bodies, and from the problems."""

import inspect
from typing import Any, get_type_hints

import msgspec

from stream_scrub import __version__
from stream_scrub.observability.process_status import Cause
from stream_scrub.server.bodies import BODY_BYTES_MAX
from stream_scrub.server.check import PROSPECTS_MAX, AskedProspect
from stream_scrub.server.described.shapes import AskedRequest, ProblemDetails, Stamp, Stamps
from stream_scrub.server.history import AskedNumber
from stream_scrub.server.problems import MEDIA_TYPE, Kind
from stream_scrub.server.questions import Questions
from stream_scrub.server.requests import Accepted

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_TYPES = (Stamp, Stamps, AskedProspect, AskedNumber, AskedRequest, Accepted, ProblemDetails, Cause)
_COMMON = (
    *(Kind.MALFORMED_REQUEST, Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.TOO_MANY_REQUESTS),
    *(Kind.HEADERS_TOO_LARGE, Kind.FAULT),
)
_OF_BODIES = (*_COMMON, Kind.TOO_SLOW, Kind.TOO_LARGE, Kind.NOT_JSON, Kind.INVALID)
_HEADERS = {
    Kind.UNAUTHORIZED: ("WWW-Authenticate", "how to say who asks"),
    Kind.TOO_MANY_REQUESTS: ("Retry-After", "seconds"),
    Kind.NOT_WRITTEN: ("Retry-After", "seconds"),
    Kind.STALE_INDEX: ("Retry-After", "seconds"),
}
_EXAMPLE = {"number": "06 12 34 56 78", "region": "FR", "purpose": "insurance"}

Schema = dict[str, Any]


def document(questions: Questions) -> Schema:
    """The whole of it."""
    told = {
        name: get_type_hints(getattr(questions, name))["return"] for name in ("registers", "rule", "history")
    }
    types = (*_TYPES, *told.values())
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    of = {each.__name__: schema for each, schema in zip(types, schemas, strict=True)}
    of.update((name, of[kind.__name__]) for name, kind in told.items())
    of["register"] = components[told["registers"].__name__]["properties"]["registers"]["items"]
    for schema in components.values():
        if "description" in schema:
            schema["description"] = " ".join(inspect.cleandoc(schema["description"]).split())
    components["Prospects"] = _prospects(of["AskedProspect"])
    country = components[told["rule"].__name__]
    del country["properties"]["where"]  # it is not told
    country["required"].remove("where")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "stream-scrub check API",
            "version": __version__,
            "description": f"Whether numbers may be called now. Bodies have at most {BODY_BYTES_MAX} bytes.",
        },
        "paths": _paths(of),
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _prospects(asked: Schema) -> Schema:
    return {
        "title": "Prospects",
        "description": "Many prospects at once.",
        "type": "object",
        "properties": {"prospects": {"type": "array", "items": asked, "maxItems": PROSPECTS_MAX}},
        "required": ["prospects"],
        "additionalProperties": False,
    }


def _paths(of: dict[str, Schema]) -> Schema:
    question = {"oneOf": [of["AskedProspect"], {"$ref": _REF.format(name="Prospects")}]}
    stamps = {"oneOf": [of["Stamp"], of["Stamps"]]}
    stale: Schema = {"type": "object", "properties": {"stale": {"anyOf": [of["Cause"], {"type": "null"}]}}}
    stale["required"] = ["stale"]
    registers, register = ({"allOf": [of[name], stale]} for name in ("registers", "register"))
    key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 128}}
    on = {"name": "on", "in": "query", "schema": {"type": "string", "format": "date"}}
    opt_out = {"request": "opt-out", "number": _EXAMPLE["number"], "source": "dialler-7"}
    return {
        "/v1/check": {
            "post": _asks("check", "Verdicts on prospects", question, 200, stamps, Kind.STALE_INDEX, _EXAMPLE)
        },
        "/v1/requests": {
            "post": _asks(
                "request",
                "Takes a request",
                of["AskedRequest"],
                202,
                of["Accepted"],
                Kind.NOT_WRITTEN,
                opt_out,
            )
            | {"parameters": [key]}
        },
        "/v1/history": {
            "post": _asks(
                "history",
                "A number's history",
                of["AskedNumber"],
                200,
                of["history"],
                Kind.STALE_INDEX,
                {"number": _EXAMPLE["number"]},
            )
        },
        "/v1/registers": {"get": _tells("registers", "Every register", [], registers)},
        "/v1/registers/{name}": {
            "get": _tells("register", "One register", [_in_path("name", "internal")], register)
        },
        "/v1/rules/{country}": {
            "get": _tells(
                "rule",
                "The rule of a country or region on a day",
                [_in_path("country", "FR"), on],
                of["rule"],
            )
        },
    }


def _asks(
    name: str, what: str, body: Schema, status: int, answer: Schema, kind: Kind, example: Schema
) -> Schema:
    content = {_JSON: {"schema": body, "example": example}}
    answers = {str(status): {"description": what, "content": {_JSON: {"schema": answer}}}}
    return {
        "operationId": name,
        "summary": what,
        "requestBody": {"required": True, "content": content},
        "responses": answers | _problems((*_OF_BODIES, kind)),
    }


def _tells(name: str, what: str, parameters: list[Schema], answer: Schema) -> Schema:
    answers = {"200": {"description": what, "content": {_JSON: {"schema": answer}}}}
    kinds = (*_COMMON, *((Kind.NOT_FOUND, Kind.INVALID) if parameters else ()))
    return {
        "operationId": name,
        "summary": what,
        "parameters": parameters,
        "responses": answers | _problems(kinds),
    }


def _in_path(name: str, example: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "example": example,
    }


def _problems(kinds: tuple[Kind, ...]) -> Schema:
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="ProblemDetails")}}}
    return {
        str(kind.status): {"description": kind.value[1], "content": content, **_with(kind)}
        for kind in sorted(kinds, key=lambda each: each.status)
    }


def _with(kind: Kind) -> Schema:
    if kind not in _HEADERS:
        return {}
    name, what = _HEADERS[kind]
    return {"headers": {name: {"description": what, "required": True, "schema": {"type": "string"}}}}

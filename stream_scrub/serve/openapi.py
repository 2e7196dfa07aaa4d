"""`/openapi.json` and `/docs`: the API in OpenAPI 3.1, made from the types of its bodies, and the same as a page.

The page is rendered here and needs no script, so nothing is loaded from elsewhere.
"""

import inspect
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
from markupsafe import Markup, escape

from stream_scrub import __version__
from stream_scrub.files.summary import REASONS
from stream_scrub.ops.health import Cause
from stream_scrub.serve import api_texts
from stream_scrub.serve.bodies import BODY_BYTES_MAX, MEDIA_TYPE, PROBLEM_TYPE, Kind
from stream_scrub.serve.check import PROSPECTS_MAX, CheckProspect
from stream_scrub.serve.endpoints import AcceptedRequest, HistoryQuestion, Queries
from stream_scrub.serve.evidence import VerifyQuestion
from stream_scrub.stamp import Stamp
from stream_scrub.terminal import pages


class StampList(msgspec.Struct):
    """One stamp per prospect, in order."""

    stamps: list[Stamp]


class RequestBody(msgspec.Struct):
    """An opt-out, a consent or a withdrawal: docs/requests.md lists the members. An attempt or a refusal: docs/dialler.md
    does. Others are kept as evidence."""

    request: str
    number: str | int | list[str | int]


class ProblemDetails(msgspec.Struct, kw_only=True):
    """An RFC 9457 problem: docs/check-api.md lists the types and their members."""

    type: str
    title: str
    status: int
    detail: str


_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_TYPES = (
    *(Stamp, StampList, CheckProspect, HistoryQuestion, VerifyQuestion),
    *(RequestBody, AcceptedRequest, ProblemDetails, Cause),
)
_COMMON = (
    *(Kind.MALFORMED_REQUEST, Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.TOO_MANY_REQUESTS),
    *(Kind.HEADERS_TOO_LARGE, Kind.FAULT),
)
_WITH_BODY = (*_COMMON, Kind.TOO_SLOW, Kind.TOO_LARGE, Kind.NOT_JSON, Kind.INVALID)
_NAMED = (Kind.NOT_FOUND, Kind.INVALID)  # of a path that names something
_HEADERS = {
    Kind.UNAUTHORIZED: ("WWW-Authenticate", "the authentication scheme"),
    Kind.TOO_MANY_REQUESTS: ("Retry-After", "seconds"),
    Kind.NOT_WRITTEN: ("Retry-After", "seconds"),
    Kind.STALE_INDEX: ("Retry-After", "seconds"),
}

Schema = dict[str, Any]


def document(queries: Queries, purposes: Sequence[str] = ()) -> Schema:
    """Return the OpenAPI document. `purposes` are the words for them that the rules know."""
    answers = {
        name: get_type_hints(getattr(queries, name))["return"]
        for name in ("registers", "rule", "history", "report", "verify")
    }
    types = (*_TYPES, *answers.values())
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    of = {each.__name__: schema for each, schema in zip(types, schemas, strict=True)}
    of.update((name, of[kind.__name__]) for name, kind in answers.items())
    of["register"] = components[answers["registers"].__name__]["properties"]["registers"]["items"]
    for schema in components.values():
        if "description" in schema:
            schema["description"] = " ".join(inspect.cleandoc(schema["description"]).split())
    for name in ("Stamp", "NumberStamp"):
        _leave_out_nothing(components[name])
    components["Prospects"] = _prospects(of["CheckProspect"])
    country = components[answers["rule"].__name__]
    del country["properties"]["where"]  # a path of this machine, which the API leaves out
    country["required"].remove("where")
    _describe(components, ", ".join(purposes))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "stream-scrub check API",
            "version": __version__,
            "description": f"{api_texts.ABOUT} A body has at most {BODY_BYTES_MAX >> 20} MiB.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(of),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": api_texts.TOKENS}
            },
        },
        "security": [{"token": []}, {}],
    }


def _describe(components: dict[str, Schema], purposes: str) -> None:
    """Add what each member means."""
    for name, members in api_texts.MEMBERS.items():
        for member, kind in components[name]["properties"].items():
            kind["description"] = members[member].format(purposes=purposes)
    words = [f"`{reason}` ({reason.verdict}: {text})" for reason, text in REASONS.items()]
    components["Reason"]["description"] += f" They are: {'; '.join(words)}."


def _leave_out_nothing(stamp: Schema) -> None:
    """A stamp has no member without a value: none is null, and none has a default."""
    for member in stamp["properties"].values():
        member.pop("default", None)
        if "anyOf" in member:
            (kind,) = [each for each in member.pop("anyOf") if each != {"type": "null"}]
            member.update(kind)


def _prospects(prospect: Schema) -> Schema:
    return {
        "title": "Prospects",
        "description": "A list of prospects.",
        "type": "object",
        "properties": {"prospects": {"type": "array", "items": prospect, "maxItems": PROSPECTS_MAX}},
        "required": ["prospects"],
        "additionalProperties": False,
    }


def _paths(of: dict[str, Schema]) -> Schema:
    question = {"oneOf": [of["CheckProspect"], {"$ref": _REF.format(name="Prospects")}]}
    stamps = {"oneOf": [of["Stamp"], of["StampList"]]}
    stale: Schema = {"type": "object", "properties": {"stale": {"anyOf": [of["Cause"], {"type": "null"}]}}}
    stale["required"] = ["stale"]
    registers, register = ({"allOf": [of[name], stale]} for name in ("registers", "register"))
    key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 128}}
    on = {"name": "on", "in": "query", "schema": {"type": "string", "format": "date"}}
    month = {"name": "month", "in": "query", "required": True, "example": "2026-10"}
    month["schema"] = {"type": "string", "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])$"}
    return {
        "/v1/check": {"post": _post("check", question, stamps, Kind.STALE_INDEX)},
        "/v1/requests": {
            "post": _post("request", of["RequestBody"], of["AcceptedRequest"], Kind.NOT_WRITTEN, key)
        },
        "/v1/history": {"post": _post("history", of["HistoryQuestion"], of["history"], Kind.STALE_INDEX)},
        "/v1/report": {"get": _get("report", [month], of["report"], Kind.INVALID, Kind.STALE_INDEX)},
        "/v1/verify": {"post": _post("verify", of["VerifyQuestion"], of["verify"], Kind.STALE_INDEX)},
        "/v1/registers": {"get": _get("registers", [], registers)},
        "/v1/registers/{name}": {"get": _get("register", [_in_path("name", "internal")], register, *_NAMED)},
        "/v1/rules/{country}": {"get": _get("rule", [_in_path("country", "FR"), on], of["rule"], *_NAMED)},
    }


def _post(name: str, body: Schema, answer: Schema, kind: Kind, *parameters: Schema) -> Schema:
    example = api_texts.ENDPOINTS[name].ask
    return {
        **_operation(name, parameters),
        "requestBody": {"required": True, "content": {_JSON: {"schema": body, "example": example}}},
        "responses": _responses(name, 202 if name == "request" else 200, answer, (*_WITH_BODY, kind)),
    }


def _get(name: str, parameters: Sequence[Schema], answer: Schema, *kinds: Kind) -> Schema:
    responses = _responses(name, 200, answer, (*_COMMON, *kinds))
    return {**_operation(name, parameters), "responses": responses}


def _operation(name: str, parameters: Sequence[Schema]) -> Schema:
    endpoint = api_texts.ENDPOINTS[name]
    described = [{**each, "description": api_texts.PARAMETERS[each["name"]]} for each in parameters]
    return {
        "operationId": name,
        "summary": endpoint.summary,
        "description": f"{endpoint.description} It needs the scope `{endpoint.scope}`.",
        **({"parameters": described} if described else {}),
    }


def _in_path(name: str, example: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": example}


def _responses(name: str, status: int, answer: Schema, kinds: tuple[Kind, ...]) -> Schema:
    endpoint = api_texts.ENDPOINTS[name]
    content: Schema = {_JSON: {"schema": answer, "example": endpoint.answer}}
    responses: Schema = {str(status): {"description": endpoint.summary, "content": content}}
    for kind in sorted(kinds, key=lambda each: each.status):
        schema = {"$ref": _REF.format(name="ProblemDetails")}
        problem = {"type": PROBLEM_TYPE + kind.slug, "title": kind.value[1], "status": kind.status}
        example = api_texts.PROBLEM if kind is Kind.INVALID else {**problem, "detail": api_texts.DO[kind]}
        response = responses[str(kind.status)] = {
            "description": f"{kind.value[1]}. {api_texts.DO[kind]}",
            "content": {MEDIA_TYPE: {"schema": schema, "example": example}},
        }
        if kind in _HEADERS:
            header, meaning = _HEADERS[kind]
            field = {"description": meaning, "required": True, "schema": {"type": "string"}}
            response["headers"] = {header: field}
    return responses


REFERENCE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
}
_TEMPLATES = pages(Path(__file__).parent / "page")


def _marked(text: str) -> Markup:
    """Return a text as HTML, with what stands between backticks as code."""
    parts = (
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)


_TEMPLATES.filters["marked"] = _marked
_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def reference_page(description: Schema, server: str, *, with_token: bool) -> str:
    """Render an OpenAPI document as HTML. `server` is its address, for the examples."""
    operations = [
        {
            "method": method.upper(),
            "path": path,
            "curl": _curl(path, operation, server, with_token),
            **operation,
        }
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    return _TEMPLATES.get_template("reference.html.j2").render(
        info=description["info"],
        tokens=description["components"]["securitySchemes"]["token"]["description"],
        operations=operations,
        problems=[(kind.status, kind.slug, f"{kind.value[1]}. {api_texts.DO[kind]}") for kind in Kind],
        schemas=description["components"]["schemas"],
        words=type_in_words,
        named=_named,
        pretty=lambda example: json.dumps(example, indent=2, ensure_ascii=False),
        pages=[{"path": "/", "name": "Status"}, {"path": "/docs", "name": "API"}],
        path="/docs",
    )


def _curl(path: str, operation: Schema, server: str, with_token: bool) -> str:
    """Return a command that asks the example."""
    for each in operation.get("parameters", ()):
        path = path.replace(f"{{{each['name']}}}", str(each.get("example", "")))
        if each["in"] == "query" and "example" in each:
            path += f"?{each['name']}={each['example']}"
    parts = [f"curl -s {shlex.quote(server + path)}"]
    if with_token:
        parts.append("-H 'Authorization: Bearer scrub_...'")
    if "requestBody" in operation:
        example = json.dumps(operation["requestBody"]["content"][_JSON]["example"], ensure_ascii=False)
        parts += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(example)}"]
    return " \\\n  ".join(parts)


def _named(schema: Schema) -> list[str]:
    """Return the named types that a type is, or is one of."""
    parts = [each for key in ("oneOf", "allOf") for each in schema.get(key, ())] or [schema]
    return [str(each["$ref"]).rpartition("/")[2] for each in parts if "$ref" in each]


def type_in_words(schema: Schema) -> str:
    """Return a type in words, as in "text, a list of text or null"."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for key, joined in (("anyOf", " or "), ("oneOf", " or "), ("allOf", " with ")):
        if key in schema:
            return joined.join(type_in_words(each) for each in schema[key])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    kind = schema.get("type", "")
    if "prefixItems" in schema:
        return f"a list of {' and '.join(map(type_in_words, schema['prefixItems']))}"
    if kind == "array":
        return f"a list of {type_in_words(schema.get('items', {}))}"
    if kind == "object":
        return (
            ", ".join(f"{name}: {type_in_words(each)}" for name, each in schema.get("properties", {}).items())
            or "an object"
        )
    return _WORDS.get(kind, kind or "anything")

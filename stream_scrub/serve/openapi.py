"""`/openapi.json` and `/docs`: the description of the API (schemas/openapi.json), as it is and as a page.

The page is rendered here and needs no script, so nothing is loaded from elsewhere.
"""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup, escape

from stream_scrub.languages import ENGLISH, pages_in

Schema = dict[str, Any]
_JSON, _PROBLEM_JSON = "application/json", "application/problem+json"
_PACKAGE = Path(__file__).parents[1]
_NAME = "schemas/openapi.json"


def document() -> bytes:
    """Return schemas/openapi.json, as OpenAPI 3.1: from the package, or from the checkout."""
    (path,) = [parent / _NAME for parent in (_PACKAGE, _PACKAGE.parent) if (parent / _NAME).is_file()]
    return path.read_bytes()


REFERENCE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
}
_TEMPLATES = pages_in(ENGLISH, Path(__file__).parent / "page")
_TEMPLATES.globals["page_language"] = ENGLISH


def _marked(text: str) -> Markup:
    """Return a text as HTML, with what stands between backticks as code."""
    parts = (
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)


_TEMPLATES.filters["marked"] = _marked
_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def reference_page(document: bytes, server: str, *, with_token: bool) -> str:
    """Render an OpenAPI document as HTML. `server` is its address, for the examples."""
    description: Schema = msgspec.json.decode(document)
    components = description["components"]
    operations = []
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            curl = _curl(path, operation, server, with_token)
            errors = [
                (status, _names([response])[0])
                for status, response in operation["responses"].items()
                if "$ref" in response
            ]
            shown = {"method": method.upper(), "path": path, "curl": curl, "errors": errors}
            operations.append({**operation, **shown})
    problems = [
        (slug, response["description"], response["content"][_PROBLEM_JSON]["example"])
        for slug, response in components["responses"].items()
    ]
    page: str = _TEMPLATES.get_template("reference.html.j2").render(
        info=description["info"],
        tokens=components["securitySchemes"]["token"]["description"],
        operations=operations,
        problems=problems,
        schemas=components["schemas"],
        words=type_in_words,
        named=_named,
        pretty=lambda example: json.dumps(example, indent=2, ensure_ascii=False),
        pages=[{"path": "/", "name": "Start page"}, {"path": "/docs", "name": "API"}],
        path="/docs",
    )
    return page


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
    return _names(schema.get("oneOf") or schema.get("allOf") or [schema])


def _names(references: Iterable[Schema]) -> list[str]:
    """Return the last part of each reference."""
    return [str(each["$ref"]).rpartition("/")[2] for each in references if "$ref" in each]


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

"""`/docs`: the description as a page. It is made here and needs no script, so nothing comes from outside."""

from pathlib import Path
from typing import Any

import jinja2

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
}
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}

Schema = dict[str, Any]


def page(description: Schema) -> str:
    """The page of an OpenAPI description."""
    operations = [
        {"method": method.upper(), "path": path, **told}
        for path, methods in description["paths"].items()
        for method, told in methods.items()
    ]
    return _TEMPLATES.get_template("reference.html.j2").render(
        info=description["info"],
        operations=operations,
        schemas=description["components"]["schemas"],
        words=words,
    )


def words(schema: Schema) -> str:
    """A type in words, as in "text, a list of text or null"."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for key, joined in (("anyOf", " or "), ("oneOf", " or "), ("allOf", " with ")):
        if key in schema:
            return joined.join(words(each) for each in schema[key])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    kind = schema.get("type", "")
    if kind == "array":
        return f"a list of {words(schema.get('items', {}))}"
    if kind == "object":
        return (
            ", ".join(f"{name}: {words(each)}" for name, each in schema.get("properties", {}).items())
            or "an object"
        )
    return _WORDS.get(kind, kind or "anything")

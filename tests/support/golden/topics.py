"""Writes docs/reference/topics.md from schemas/asyncapi.yaml: `python -m tests.support.golden.topics`."""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
SCHEMAS = ROOT / "schemas"
PAGE = ROOT / "docs" / "reference" / "topics.md"
HEAD = """# Topics

Every topic with its keys, headers and values. This page is generated from [asyncapi.yaml](../../schemas/asyncapi.yaml), an [AsyncAPI](https://www.asyncapi.com) 3.0 document.
"""
DIRECTIONS = {
    ("receive",): "You write it",
    ("send",): "stream_scrub writes it",
    ("receive", "send"): "You and stream_scrub write it",
}


def document() -> dict:
    """The description of all topics."""
    return yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text())


def found(reference: dict) -> dict:
    """What a reference leads to: a part of the document, or a schema's file."""
    path = reference["$ref"]
    if not path.startswith("#/"):
        return json.loads((SCHEMAS / path).read_text())
    part = document()
    for name in path[2:].split("/"):
        part = part[name]
    return part


def schema_of(part: dict) -> tuple[dict, str]:
    """A message's payload or headers: the schema, and its file's name if it has one."""
    reference = part.get("schema", {})
    return (found(reference), reference["$ref"]) if reference else (part, "")


def directions(of: dict) -> dict[str, tuple[str, ...]]:
    """For each channel what stream_scrub does with it."""
    actions: dict[str, set[str]] = {name: set() for name in of["channels"]}
    for operation in of["operations"].values():
        actions[operation["channel"]["$ref"].rpartition("/")[2]].add(operation["action"])
    return {name: tuple(sorted(each)) for name, each in actions.items()}


def message_lines(name: str, message: dict, above: dict[str, str]) -> list[str]:
    """A message's key, value and headers. Headers that an earlier table has are not repeated."""
    payload, file = schema_of(message["payload"])
    value = f"JSON, [{file}](../../schemas/{file})" if file else payload["description"]
    key = message["bindings"]["kafka"]["key"]["description"]
    lines = ["", f"| {name} | |", "|---|---|", f"| key | {key} |", f"| value | {value} |"]
    headers, _ = schema_of(message.get("headers", {}))
    if (shown := json.dumps(headers, sort_keys=True)) in above and headers.get("properties"):
        return [*lines, f"| headers | as in the table `{above[shown]}` above |"]
    above[shown] = name
    for header, each in headers.get("properties", {}).items():
        lines.append(f"| header `{header}` | {each['description']} |")
    return lines


def made() -> str:
    """The page."""
    of = document()
    lines = [HEAD]
    above: dict[str, str] = {}  # the name of the first table with these headers
    for name, doing in directions(of).items():
        channel = of["channels"][name]
        lines += [
            f"## {channel['title']}",
            "",
            f"`{channel['address']}` (`topics.{name}`). {DIRECTIONS[doing]}. {channel['description']}",
        ]
        for called, reference in channel["messages"].items():
            lines += message_lines(called, found(reference), above)
        lines.append("")
    return "\n".join(lines).rstrip().replace("README.md", "[README.md](../../schemas/README.md)") + "\n"


if __name__ == "__main__":
    PAGE.write_text(made())

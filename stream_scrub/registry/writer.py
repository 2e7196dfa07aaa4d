"""Rows of a file as records in Avro, for `produce`: by the latest schema of the topic's values, else by one of the rows' own."""

import io
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from stream_scrub.errors import ConfigError, Refused
from stream_scrub.registry.client import AVRO, RegistryClient, Schema
from stream_scrub.scrub.decode import fold

_MISSING = "rows in Avro need another library: pip install 'stream-scrub[avro]'"
_TEXT = ["null", "string"]
# A member that verdicts need may be a text, or what a cell stands for: true, several numbers, a relation.
_MEMBER = [*_TEXT, "boolean", {"type": "array", "items": "string"}, {"type": "map", "values": "string"}]
_NUMBERS: Mapping[str, Callable[[str], Any]] = {"int": int, "long": int, "float": float, "double": float}
_TRUTHS = {"true": True, "false": False}

Encode = Callable[[Mapping[str, Any], int], bytes]  # a row by its members' names, and its line


def encoder(
    registry: RegistryClient,
    topic: str,
    numbers: Collection[str],
    members: Collection[str],
    names: Sequence[str],
) -> Encode:
    """The function that writes rows as the values of records of that topic. `names`: the members of rows; `members`: all that
    verdicts may need; `numbers`: those of numbers. Raises ConfigError, Refused, Unavailable."""
    try:
        import fastavro
        import fastavro.validation
    except ImportError as error:
        raise ConfigError([_MISSING]) from error
    fields = _fields(names, members)
    subject = f"{topic}-value"
    latest = registry.latest(subject)
    if latest is None:
        own = _own_schema(fields, members)
        latest = registry.register(subject, own), Schema(AVRO, own, ())
    number, schema = latest
    parsed, types = _parsed(fastavro, schema)
    if missing := [name for name in numbers if name in fields and fields[name] not in types]:
        raise ConfigError([f"the latest schema of {subject} has no field {', '.join(missing)}"])
    head = b"\0" + number.to_bytes(4, "big")

    def encode(row: Mapping[str, Any], line: int) -> bytes:
        out = io.BytesIO()
        try:
            record = {
                field: _fitted(row[name], types[field])
                for name, field in fields.items()
                if name in row and field in types
            }
            # The writer would make a list of a text's characters, and knows no range of an int.
            fits = fastavro.validation.validate(record, parsed, raise_errors=False)
            if fits:
                fastavro.schemaless_writer(out, parsed, record)
        except (ValueError, TypeError, LookupError, OverflowError, AttributeError):
            fits = False
        if not fits:
            raise Refused(f"line {line} does not fit the latest schema of {subject}")
        return head + out.getvalue()

    return encode


def _fields(names: Sequence[str], members: Collection[str]) -> dict[str, str]:
    """The field of each name: Avro has no signs but letters, digits and _. No other field gets a name that verdicts look
    for, nor one twice."""
    used_titles, made = set(map(fold, members)), {}
    for name in names:
        field = plain = name if name in members else re.sub(r"^(?=[0-9])|[^A-Za-z0-9_]", "_", name)
        count = 1
        while name not in members and fold(field) in used_titles:
            count += 1
            field = f"{plain}_{count}"
        used_titles.add(fold(field))
        made[name] = field
    return made


def _own_schema(fields: Mapping[str, str], members: Collection[str]) -> str:
    made = [
        {"name": field, "type": _MEMBER if name in members else _TEXT, "default": None}
        for name, field in fields.items()
    ]
    return msgspec.json.encode({"type": "record", "name": "Prospect", "fields": made}).decode()


def _parsed(fastavro: Any, schema: Schema) -> tuple[Any, Mapping[str, Collection[str]]]:
    """The schema as the library takes it, and the simple types of each field. Raises ConfigError."""
    schemas: dict[str, Any] = {}
    try:
        for reference in schema.references:
            fastavro.parse_schema(msgspec.json.decode(reference.text), schemas)
        parsed = fastavro.parse_schema(msgspec.json.decode(schema.text), schemas)
        fields = {each["name"]: each["type"] for each in parsed["fields"]}
    except (fastavro.schema.SchemaParseException, ValueError, LookupError, TypeError) as error:
        raise ConfigError(["the latest schema in the registry is not that of a record in Avro"]) from error
    return parsed, {
        name: [each for each in (kind if isinstance(kind, list) else [kind]) if isinstance(each, str)]
        for name, kind in fields.items()
    }


def _fitted(member: Any, types: Collection[str]) -> Any:
    """A member as a field of these types takes it: a cell may stand for a number. Raises ValueError, KeyError."""
    if not isinstance(member, str) or "string" in types or not types:
        return member
    if not member.strip() and "null" in types:
        return None
    read = next((_NUMBERS[each] for each in types if each in _NUMBERS), None)
    if read is not None:
        return read(member)
    return _TRUTHS[member.strip().lower()] if "boolean" in types else member

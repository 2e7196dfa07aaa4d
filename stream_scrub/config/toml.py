"""TOML with the line that each key stands on, which tomllib does not tell."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

Key = tuple[str, ...]

# A statement that runs over more lines than this is no setting of ours: from there on keys have no line.
_STATEMENT_LINES_MAX = 400
_AT = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)


def parse(text: str) -> tuple[dict[str, Any], dict[Key, int], str]:
    """The tables, the line of each key, and what is wrong with the text ("3: Invalid value") or nothing."""
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        return {}, {}, "1: is nested too deeply"
    except ValueError as error:  # TOMLDecodeError, and what int() thinks of too many digits
        match = _AT.fullmatch(str(error))
        line, why = (match[2] or text.count("\n") + 1, match[1]) if match else (1, str(error))
        return {}, {}, f"{line}: is not TOML: {why}"
    return tables, _lines(text), ""


def _lines(text: str) -> dict[Key, int]:
    """Statements are parsed one at a time: a line that ends one tells where the next begins."""
    lines: dict[Key, int] = {}
    header, pending, start = "", "", 1
    for number, line in enumerate(text.split("\n"), 1):
        pending += line + "\n"
        is_header = pending.lstrip().startswith("[")
        try:
            parsed = tomllib.loads(pending if is_header else header + pending)
        except tomllib.TOMLDecodeError:
            if number - start > _STATEMENT_LINES_MAX:
                break
            continue
        if pending.strip():
            for path in _paths(parsed):
                lines.setdefault(path, start)
        header, pending, start = pending if is_header else header, "", number + 1
    return lines


def _paths(table: Mapping[str, Any], above: Key = ()) -> Iterator[Key]:
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))

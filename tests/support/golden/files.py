"""Logs, lists and stamps that were written once, as files: tests/golden."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stream_scrub.model import LogRecord

GOLDEN = Path(__file__).parents[2] / "golden"


def unpacked(text: str | None) -> bytes | None:
    """Bytes from base64; None from null."""
    return None if text is None else base64.b64decode(text, validate=True)


def expected(path: str) -> Any:
    """A JSON file of tests/golden."""
    return json.loads((GOLDEN / path).read_text())


def lines(path: str) -> Iterator[Any]:
    """The lines of a file of tests/golden, each of them JSON."""
    return map(json.loads, (GOLDEN / path).read_text().splitlines())


def log(name: str) -> Iterator[LogRecord]:
    """A log's records."""
    for line in lines(f"log/{name}.jsonl"):
        headers = [(header, text.encode()) for header, text in line["headers"]]
        key = None if line["key"] is None else line["key"].encode()
        yield LogRecord(line["offset"], key, unpacked(line["value"]), headers, line.get("timestamp"))

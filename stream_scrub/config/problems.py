"""The words of a problem: which key, what it should be, what it is, and what was probably meant."""

import difflib
import json
import re
from collections.abc import Sequence

from pydantic_core import ErrorDetails

_SHOWN_MAX = 60


def cut(text: str) -> str:
    """As much of a name or value as a line of problems should show."""
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "..."


def dotted(key: Sequence[str]) -> str:
    """A key as the file would name it. Signs that a terminal could obey are escaped."""
    parts = [part if re.fullmatch(r"[A-Za-z0-9_.-]+", part) else json.dumps(part) for part in key]
    return cut(".".join(parts))


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint with the nearest known name, compared (a) as a whole, else (b) by its last part; empty if none is
    near."""
    near = difflib.get_close_matches(cut(name), known, n=1, cutoff=0.8)
    if not near:
        last = {_last(each): each for each in known}
        near = [last[hit] for hit in difflib.get_close_matches(_last(cut(name)), list(last), n=1, cutoff=0.8)]
    return f" (did you mean {near[0]}?)" if near else ""


def reason(found: ErrorDetails, *, secret: bool) -> str:
    """What the model says, as the rest of a sentence that begins with the key. With `secret` the value is left
    out."""
    if found["type"] == "value_error":
        said = str(found["ctx"]["error"])
    else:
        said = re.sub(r"^(?:Input|String) should", "should", found["msg"]).replace("valid tuple", "list")
    value = found["input"]
    if secret or not isinstance(value, str | bool | int | float):
        return said
    try:
        return f"{said}, not {cut(json.dumps(value))}"
    except ValueError:  # an int of more digits than Python will print
        return said


def unreadable(error: OSError | ValueError) -> str:
    """Why a file cannot be read, as the rest of a sentence that begins with its name."""
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8"
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def _last(name: str) -> str:
    return re.split(r"\.|__", name)[-1]

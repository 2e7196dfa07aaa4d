"""The ledger of the files that a server scrubbed: one line for each, in `worker.state_dir`. It holds no number, and no name of a
file: a dossier says by it that a lead may have been released in a file."""

import hashlib
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import msgspec

from stream_scrub.clock import parse_zoned
from stream_scrub.errors import Unavailable

_LEDGER = "scrubbed-files.jsonl"


class ScrubbedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A scrub of a file. `by`: the name of the token. `sha256`: of the file that was uploaded, `proof`: of its `proof.json`.
    `position`: of the log. `until`: the last day on which every allowed row may be called; empty if nothing limits it."""

    at: str
    by: str
    sha256: str
    proof: str
    rows: int
    allowed: int
    position: int
    purpose: str
    until: str = ""


_SCRUBBED_FILE = msgspec.json.Decoder(ScrubbedFile)


class _Input(msgspec.Struct):
    sha256: str


class _Summary(msgspec.Struct):
    at: str
    input: _Input
    rows: int
    allowed: int
    index: int
    facts: dict[str, str]
    scrub_again_by: str | None = None


_SUMMARY = msgspec.json.Decoder(_Summary)


def note(state_dir: str, summary: Path, proof: Path, by: str) -> None:
    """Add the scrub that these results are of. Raises Unavailable: results that nobody noted must not be released."""
    try:
        made = _SUMMARY.decode(summary.read_bytes())
        line = ScrubbedFile(
            at=made.at,
            by=by,
            sha256=made.input.sha256,
            proof=hashlib.sha256(proof.read_bytes()).hexdigest(),
            rows=made.rows,
            allowed=made.allowed,
            position=made.index,
            purpose=made.facts.get("purpose", ""),
            until=made.scrub_again_by or "",
        )
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        ledger = os.open(Path(state_dir) / _LEDGER, flags, 0o600)
        try:
            os.write(ledger, msgspec.json.encode(line) + b"\n")
        finally:
            os.close(ledger)
    except (OSError, msgspec.MsgspecError) as error:
        why = error.strerror if isinstance(error, OSError) else "the summary cannot be read"
        raise Unavailable(
            f"the ledger of scrubbed files in worker.state_dir cannot be written: {why}"
        ) from error


def between(state_dir: str, first: date, last: date) -> list[ScrubbedFile] | None:
    """Return the scrubs of these days in UTC, oldest first; None if there is no ledger here."""
    try:
        content = (Path(state_dir) / _LEDGER).read_bytes()
    except OSError:
        return None
    found = [each for each in _lines(content) if first <= parse_zoned(each.at).date() <= last]
    return sorted(found, key=lambda each: parse_zoned(each.at))


def _lines(content: bytes) -> Iterator[ScrubbedFile]:
    for line in content.splitlines():
        try:
            scrubbed = _SCRUBBED_FILE.decode(line)
            parse_zoned(scrubbed.at)
        except (msgspec.MsgspecError, ValueError):  # a line that was cut off when the disk was full
            continue
        yield scrubbed

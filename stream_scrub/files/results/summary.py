"""What a run tells of itself: `summary.json` (schemas/file-summary.schema.json), which the page and the proof rest on. No
phone number is in it."""

from datetime import date, datetime

import msgspec

FORMAT = 1


class InputRead(msgspec.Struct, frozen=True, kw_only=True):
    """The file that was scrubbed. `kind` is "csv", "ndjson" or "spreadsheet", `written_as` says more of it for people."""

    name: str
    sha256: str
    bytes: int
    packing: str
    kind: str
    written_as: str
    columns: str
    titles: int


class RegisterUsed(msgspec.Struct, frozen=True, kw_only=True):
    """A register as the verdicts found it. `file` and `sha256` are of the list file, where the run was given one. `chain` is
    the head of its hash chain on the log."""

    register: str
    kind: str
    count: int
    effective_at: datetime
    age_days: int
    chain: str
    file: str = ""
    sha256: str = ""


class RuleUsed(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that decided for numbers of this file: its digest, its legal source, and what it asks, in words."""

    rules: str
    country: str
    source: str
    says: list[str]


class LineCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many numbers of one region and type of line stand in rows with each verdict."""

    region: str
    type: str
    allowed: int
    blocked: int


class StaleCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows are blocked because of a register that is missing or too old."""

    register: str
    rows: int
    missing: bool


class OutputWritten(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written. `rows` are the leads in it; None for what holds none."""

    name: str
    sha256: str
    bytes: int
    rows: int | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file's rows.

    `at` is the moment of the verdicts, `on` the day whose rules decided where the user named one. `index` is the log's
    position (or that of the list files), `source` "log", "snapshot" or "lists". `scrub_again_by` is the last day on
    which every allowed row may still be called; None if nothing limits it. `duplicates` are numbers that stood in an
    earlier row or column. `destroyed` are numbers whose digits a spreadsheet threw away. `invalid_lines` are the first
    lines without a readable number, `uneven` the rows with more or fewer cells than the others, `unclosed_lines` the
    first lines with a quote that is never closed.
    """

    format: int
    version: str
    input: InputRead
    at: datetime
    on: date | None
    source: str
    index: int
    registers: list[RegisterUsed]
    rules: list[RuleUsed]
    facts: dict[str, str]
    rows: int
    allowed: int
    blocked: int
    reasons: dict[str, int]
    lines: list[LineCount]
    stale: list[StaleCount]
    scrub_again_by: date | None
    duplicates: int
    destroyed: int
    invalid_lines: list[int]
    uneven: int
    unclosed_lines: list[int]
    outputs: list[OutputWritten]
    took_s: float


def encoded(made: Summary) -> bytes:
    """The summary as a JSON document."""
    return msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"

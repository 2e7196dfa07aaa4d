"""The Python API: verdicts on one number, on a whole column of numbers, on prospects as bytes, and on files.

`stream_scrub` offers these names and loads them on first use; `docs/python.md` shows how to use them. Every verdict
comes from the code that a worker runs: the same rules, plans, look-ups and stamps.
"""

from stream_scrub.api.checker import Checker
from stream_scrub.api.columns import Stamps
from stream_scrub.api.files import scrub_file
from stream_scrub.call import Call
from stream_scrub.errors import (
    BadFile,
    ConfigError,
    Corrupt,
    Refused,
    ScrubError,
    StaleIndex,
    TooMany,
    Unavailable,
)
from stream_scrub.files.summary import Summary
from stream_scrub.imports.index_sources import ListFile
from stream_scrub.imports.parsing.parsed_list import BadList
from stream_scrub.model import Reason, RegisterKind, Verdict
from stream_scrub.scrub.batch import Batch, Scrubber
from stream_scrub.stamp import Stamp, Unknown

__all__ = [
    "BadFile",
    "BadList",
    "Batch",
    "Call",
    "Checker",
    "ConfigError",
    "Corrupt",
    "ListFile",
    "Reason",
    "Refused",
    "RegisterKind",
    "ScrubError",
    "Scrubber",
    "StaleIndex",
    "Stamp",
    "Stamps",
    "Summary",
    "TooMany",
    "Unavailable",
    "Unknown",
    "Verdict",
    "scrub_file",
]

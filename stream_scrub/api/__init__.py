"""The Python API: verdicts on one number, on a whole column of numbers, on prospects as bytes, and on files.

`stream_scrub` offers these names and loads them on first use; `docs/python.md` shows how to use them. Every verdict
comes from the code that a worker runs: the same rules, plans, look-ups and stamps.
"""

from stream_scrub.api.checker import Checker
from stream_scrub.api.files import scrub_file
from stream_scrub.api.stamps import Stamp, Stamps
from stream_scrub.errors import (
    ConfigError,
    Corrupt,
    Refused,
    ScrubError,
    StaleIndex,
    TooMany,
    Unavailable,
)
from stream_scrub.files.results.summary import Summary
from stream_scrub.lists.parsing.parsed_list import BadList
from stream_scrub.model import Reason, RegisterKind, Verdict
from stream_scrub.scrub.batch import Batch, Scrubber
from stream_scrub.wiring.index_sources import ListFile

__all__ = [
    "BadList",
    "Batch",
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
    "Verdict",
    "scrub_file",
]

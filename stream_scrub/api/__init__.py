"""The Python API: verdicts on one number, on a whole column of numbers, and on prospects as bytes.

`stream_scrub` offers these names and loads them on first use; `docs/python.md` shows how to use them. Every verdict
comes from the code that a worker runs: the same rules, plans, look-ups and stamps.
"""

from stream_scrub.api.checker import Checker, ListFile
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
from stream_scrub.lists.parsing.parsed_list import BadList
from stream_scrub.model import Reason, RegisterKind, Verdict
from stream_scrub.scrub.batch import Batch, Scrubber

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
    "TooMany",
    "Unavailable",
    "Verdict",
]

"""stream_scrub: tests every prospect on a Kafka topic against registers of opposition and consent, exactly once.

For programs (docs/python.md): `Checker` gives verdicts on numbers, `Scrubber` on prospects as bytes, `scrub_file` on files. The names below
are the stable interface, and are loaded when first used. Every other module is the product's own and may change.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_scrub.api import *

__version__ = "0.1.0"
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
    "__version__",
    "scrub_file",
]


if not TYPE_CHECKING:  # a checker would take any name at all for a public one

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'stream_scrub' has no attribute {name!r}")
        from stream_scrub import api

        return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The optional extension `stream_scrub_native` (`native/` in the repository). Each thing it does has a reference in Python."""

from importlib import import_module
from types import ModuleType

VERSION = 8  # of its calls: an extension of another version is not used


def extension() -> ModuleType | None:
    """The extension, if it is installed and of this version."""
    try:
        module = import_module("stream_scrub_native")
    except ImportError:
        return None
    return module if getattr(module, "VERSION", None) == VERSION else None

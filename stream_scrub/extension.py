"""The optional extension `stream_scrub_native` (`native/` in the repository): the fast path, and the only reader of prospects in
Avro and Protobuf."""

from importlib import import_module
from types import ModuleType

VERSION = 12  # of its calls: an extension of another version is not used
HOW_TO_BUILD = "pip install 'stream-scrub[native]', or in a checkout: pip install ./native"


def extension() -> ModuleType | None:
    """The extension, if it is installed and of this version."""
    try:
        module = import_module("stream_scrub_native")
    except ImportError:
        return None
    return module if getattr(module, "VERSION", None) == VERSION else None

"""Log lines: one line of JSON, or of text on a terminal, on stderr. Set up once at the start and handed on by value.

No number may reach a log in the first place; `redact` is the second line of defence, for what a library or a mistake
lets through. It would rather mask a count in a sentence than show a phone number, so counts belong under the keys of
`COUNTS`.
"""

import logging
import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import date
from numbers import Integral, Real
from pathlib import PurePath
from types import TracebackType
from typing import Any, BinaryIO, Literal

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from stream_scrub.errors import ScrubError
from stream_scrub.redaction import MASK, masked
from stream_scrub.terminal import Patient, one_line

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]

# Keys whose values are never a phone number, however many digits they have. Add a new key here.
COUNTS = frozenset(
    """
    aborts adds allowed away_s batches blocked code count ended failures files files_refused held_s index lag
    offset partitions per_s port position prospects record_limit refused registers removes requests stall_ms
    took_ms tries waited_ms waited_s
    """.split()  # noqa: SIM905 - a word a line would say no more
)

# Keys whose text comes from the settings, never from a record: a host named ip-10-123-145-67 keeps its name.
NAMES = frozenset({"worker", "topic", "broker", "client", "group", "listen"})

_INT_MIN = 10**6  # the smallest integer of seven digits: no phone number is shorter
_DEPTH_MAX = 6
_TEXT_MAX = 4000


def configure(level: Level, format: Format, stream: BinaryIO | None = None) -> FilteringBoundLogger:  # noqa: A002
    """A logger that writes to `stream` (default stderr); the standard library's logging goes through it too."""
    out: Any = Patient(getattr(sys.stderr, "buffer", None) if stream is None else stream)
    console = format == "console" or (format == "auto" and out.isatty())
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.BytesLogger(out),
        processors=[
            _one_line_errors,
            redact,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_console(colours=out.isatty()) if console else [_json]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    ).bind()
    root = logging.getLogger()
    root.handlers[:] = [_Routed(logger)]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    return logger


def configured() -> FilteringBoundLogger | None:
    """The logger that this process has set up, if any."""
    return next((each.logger for each in logging.getLogger().handlers if isinstance(each, _Routed)), None)


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Mask whatever looks like a phone number, and turn every value into plain text, numbers, lists and dicts."""
    return {
        mask(key): one_line(value)
        if key in NAMES and isinstance(value, str)
        else _plain(value, known=key in COUNTS)
        for key, value in event_dict.items()
    }


def mask(text: str) -> str:
    """The text on one line, with its numbers masked and without control signs."""
    return one_line(masked(text[:_TEXT_MAX]))


def _plain(value: object, *, known: bool, depth: int = 0) -> Any:
    plain: Any
    match value:
        case None | bool():
            plain = value
        case Real():
            plain = _number(int(value) if isinstance(value, Integral) else float(value), known=known)
        case date():  # and its subclass datetime
            plain = value.isoformat()
        case bytes() | bytearray() | memoryview():
            plain = f"[{len(value)} bytes]"
        case Mapping() | list() | tuple() | AbstractSet() if depth == _DEPTH_MAX:
            plain = "..."
        case Mapping():
            plain = {
                mask(str(key)): _plain(inner, known=known or key in COUNTS, depth=depth + 1)
                for key, inner in value.items()
            }
        case list() | tuple() | AbstractSet():
            plain = [_plain(inner, known=known, depth=depth + 1) for inner in value]
        case BaseException():
            plain = described(value)
        case _:
            plain = mask(str(value))
    return plain


def _number(value: float, *, known: bool) -> float | str:
    shown = abs(value) < 1 << 63 and (known or abs(value) < _INT_MIN)
    return value if shown else MASK


def _one_line_errors(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Replace `exc_info` by one line: what, where, and what caused it; no locals, and a text only if it is ours."""
    found = event_dict.pop("exc_info", None)
    if isinstance(found, tuple):
        found = found[1]
    elif found and not isinstance(found, BaseException):
        found = sys.exc_info()[1]
    if found:
        event_dict["error"] = described(found)
    return event_dict


def described(error: BaseException) -> str:
    """An error in one line: what, where, and what caused it; its text only if it is ours."""
    chain: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(chain) < _DEPTH_MAX:
        seen.add(id(link))
        said = f": {link}" if isinstance(link, ScrubError) else ""
        chain.append(f"{type(link).__name__}{mask(said)}{_place(link.__traceback__)}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return ", caused by ".join(chain)


def _place(traceback: TracebackType | None) -> str:
    """Where the error was raised and, if that is in a library, the last place of ours that called it."""
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        parts = PurePath(code.co_filename).parts
        ours = "stream_scrub" in parts
        name = "/".join(parts[parts.index("stream_scrub") :] if ours else parts[-2:])
        places.append((f"{name}:{traceback.tb_lineno} in {code.co_name}", ours))
        traceback = traceback.tb_next
    if not places:
        return ""
    shown, ours = places[-1]
    via = "" if ours else next((f" from {place}" for place, is_ours in reversed(places) if is_ours), "")
    return f" at {shown}{via}"


def _json(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> bytes:
    first = {key: event_dict.pop(key) for key in ("timestamp", "level", "event") if key in event_dict}
    return msgspec.json.encode(first | dict(event_dict))


def _console(*, colours: bool) -> list[Any]:
    render = structlog.dev.ConsoleRenderer(
        colors=colours, exception_formatter=structlog.dev.plain_traceback, sort_keys=False, pad_event_to=0
    )

    def encoded(logger: WrappedLogger, method: str, event_dict: EventDict) -> bytes:
        return render(logger, method, event_dict).encode("utf-8", "backslashreplace")

    return [encoded]


class _Routed(logging.Handler):
    """Hands the standard library's records to our logger: libraries log the way we do."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__()
        self.logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a library's format string that does not fit its arguments
            text = str(record.msg)
        level = min(
            max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL
        )  # libraries invent levels
        self.logger.log(level, text, logger=record.name, exc_info=record.exc_info)


def of_library() -> FilteringBoundLogger:
    """A logger for programs that embed: its lines go, redacted, to the standard library's logger `stream_scrub`, whose
    handlers and level are the program's own. Nothing is configured, and without handlers nothing is written.
    """
    own = logging.getLogger("stream_scrub")
    if not own.handlers:
        own.addHandler(logging.NullHandler())
    logger: FilteringBoundLogger = structlog.wrap_logger(
        own,
        processors=[_one_line_errors, redact, structlog.processors.KeyValueRenderer(key_order=["event"])],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    ).bind()
    return logger

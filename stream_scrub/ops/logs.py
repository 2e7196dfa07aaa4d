"""Log lines: one line of JSON, or of text on a terminal, on stderr. Set up once at the start and passed on as a value.

No phone number may reach a log; `redact` is the second line of defence, for what a library or a mistake lets through. It
masks a count in a sentence rather than show a phone number, so counts belong under the keys of `COUNTS`.
"""

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from datetime import date
from numbers import Integral, Real
from pathlib import PurePath
from types import TracebackType
from typing import Any, BinaryIO, Literal

import msgspec

from stream_scrub.errors import ScrubError
from stream_scrub.model import Logger
from stream_scrub.terminal import NonblockingStdout, one_line
from stream_scrub.texts import MASK, masked, words

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]
Fields = MutableMapping[str, Any]  # one line's, on its way through structlog's processors

# Keys whose values are never a phone number, with any number of digits. Add a new key here.
COUNTS = words(
    """
    aborts adds allowed away_s batches blocked code count ended failures files files_refused held_s index judged
    lag offset outstanding partitions per_s port position prospects record_limit refused registers removes requests stall_ms
    took_ms tries waited_ms waited_s
    """
)

# Keys whose text comes from the settings, never from a record: a host named ip-10-123-145-67 keeps its name.
NAMES = words("worker server retry shadow fanout process topic broker client group listen")

_INT_MIN = 10**6  # the smallest integer of seven digits: no phone number is shorter
_DEPTH_MAX = 6
_TEXT_MAX = 4000


def configure(level: Level, format: Format, stream: BinaryIO | None = None) -> Logger:  # noqa: A002
    """A logger that writes to `stream` (default stderr); the standard library's logging goes through it too."""
    return _routed(_structured(level, format, stream), level)


def errors_only(format: Format) -> Logger:  # noqa: A002
    """The same for commands on a terminal. structlog takes long to load, so it is loaded with the first error."""
    logger: Any = _ErrorsOnly(lambda: _structured("error", format, None))
    return _routed(logger, "error")


def for_people(format: Format) -> bool:  # noqa: A002
    """Whether log lines on standard error are text for people."""
    return format == "console" or (format == "auto" and sys.stderr is not None and sys.stderr.isatty())


def _structured(level: Level, format: Format, stream: BinaryIO | None) -> Logger:  # noqa: A002
    import structlog

    out: Any = NonblockingStdout(getattr(sys.stderr, "buffer", None) if stream is None else stream)
    console = format == "console" or (format == "auto" and out.isatty())
    logger: Logger = structlog.wrap_logger(
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
    return logger


def _routed(logger: Logger, level: Level) -> Logger:
    root = logging.getLogger()
    root.handlers[:] = [_Routed(logger)]
    root.setLevel(level.upper())
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs the URL of each request
    logging.captureWarnings(capture=True)
    return logger


class _ErrorsOnly:
    def __init__(self, make: Callable[[], Logger]) -> None:
        self._make = make

    def bind(self, **fields: Any) -> "_ErrorsOnly":
        return _ErrorsOnly(lambda: self._make().bind(**fields))

    def __getattr__(self, method: str) -> Any:
        if method in ("debug", "info", "warning"):
            return lambda *_, **__: None
        return getattr(self._make(), method)


def configured() -> Logger | None:
    """The logger that this process has set up, if any."""
    return next((each.logger for each in logging.getLogger().handlers if isinstance(each, _Routed)), None)


def redact(_logger: Any, _method: str, event_dict: Fields) -> Fields:
    """Mask everything that looks like a phone number, and turn values into plain text, numbers, lists and dicts."""
    return {
        mask(key): one_line(value)
        if key in NAMES and isinstance(value, str)
        else _plain(value, known=key in COUNTS)
        for key, value in event_dict.items()
    }


def mask(text: str) -> str:
    """The text on one line, with its numbers masked and without control characters."""
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


def _one_line_errors(_logger: Any, _method: str, event_dict: Fields) -> Fields:
    """Replace `exc_info` by one line: what, where, and its cause; no locals, and only texts of our own."""
    error = event_dict.pop("exc_info", None)
    if isinstance(error, tuple):
        error = error[1]
    elif error and not isinstance(error, BaseException):
        error = sys.exc_info()[1]
    if error:
        event_dict["error"] = described(error)
    return event_dict


def described(error: BaseException) -> str:
    """An error in one line: what, where, and its cause; its text only if it is ours."""
    chain: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(chain) < _DEPTH_MAX:
        seen.add(id(link))
        text = f": {link}" if isinstance(link, ScrubError) else ""
        chain.append(f"{type(link).__name__}{mask(text)}{_place(link.__traceback__)}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return ", caused by ".join(chain)


def _place(traceback: TracebackType | None) -> str:
    """Where the error was raised and, if that is in a library, our last line that called it."""
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


def _json(_logger: Any, _method: str, event_dict: Fields) -> bytes:
    first = {key: event_dict.pop(key) for key in ("timestamp", "level", "event") if key in event_dict}
    return msgspec.json.encode(first | dict(event_dict))


def _console(*, colours: bool) -> list[Any]:
    import structlog

    render = structlog.dev.ConsoleRenderer(
        colors=colours, exception_formatter=structlog.dev.plain_traceback, sort_keys=False, pad_event_to=0
    )

    def encoded(logger: Any, method: str, event_dict: Fields) -> bytes:
        return render(logger, method, event_dict).encode("utf-8", "backslashreplace")

    return [encoded]


class _Routed(logging.Handler):
    """Passes the standard library's log records to our logger."""

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self.logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a library's format string that does not fit its arguments
            text = str(record.msg)
        # Libraries invent levels.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        self.logger.log(level, text, logger=record.name, exc_info=record.exc_info)


def of_library() -> Logger:
    """A logger for embedding programs: its redacted lines go to the standard library's logger `stream_scrub`, whose
    handlers and level the program sets. Without handlers nothing is written."""
    import structlog

    own = logging.getLogger("stream_scrub")
    if not own.handlers:
        own.addHandler(logging.NullHandler())
    logger: Logger = structlog.wrap_logger(
        own,
        processors=[_one_line_errors, redact, structlog.processors.KeyValueRenderer(key_order=["event"])],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    ).bind()
    return logger

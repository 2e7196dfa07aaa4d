"""The one place that makes text safe to show, and the one where commands write.

Others choose much of what we show: names of files, archive members, registers and campaigns, a broker's answers. So text
is never markup, and never takes more than its line. Characters that control a terminal or reverse a line are escaped. Text
that cannot be written (a closed pipe, a full disk, an encoding without the character) does not make the command fail: its
exit code says what was done, not what was seen of it.
"""

import io
import json
import os
import sys
import time
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

if TYPE_CHECKING:  # importing rich takes 0.1 s of CPU, and `--help` does without
    import jinja2
    from rich.text import Text

    from stream_scrub.terminal.console import People

# They turn around what stands behind them: a sentence would read as another one.
_TURNING = {
    ord(sign): sign.encode("unicode_escape").decode()
    for sign in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
}
_FULL_S = 5.0  # seconds that a non-blocking pipe may stay full


def one_line(text: str) -> str:
    """The text on one line: control, bidirectional and other invisible characters are escaped."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    return " " if unicodedata.category(sign) == "Zs" else sign.encode("unicode_escape").decode()


def styled(text: object, style: str) -> "Text":
    """A text in colour."""
    from rich.text import Text

    return Text(one_line(str(text)), style=style)


def people(*, stderr: bool = False) -> "People":
    """A console for people, on standard output or standard error."""
    from stream_scrub.terminal.console import People

    return People(stderr=stderr)


def pages(*folders: Path, **more: Any) -> "jinja2.Environment":
    """The page templates in these folders. All text in a page is escaped, and so are signs that turn a line around."""
    import jinja2

    loader = jinja2.FileSystemLoader(folders)
    return jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_turning_nothing,
        **more,
    )


def _turning_nothing(shown: Any) -> Any:
    return shown.translate(_TURNING) if isinstance(shown, str) else shown


def complain(text: str) -> None:
    """Write a line to standard error, with our name in front."""
    with suppress(AttributeError):  # there may be no standard error
        sys.stderr.write(f"stream-scrub: {one_line(text)}\n")


def machine(shown: Any) -> None:
    """Write one JSON document to standard output, in UTF-8 whatever the terminal uses."""
    raw(document(shown).encode() + b"\n")


def document(shown: Any) -> str:
    """A value as JSON."""
    try:
        return msgspec.json.encode(shown).decode()
    except UnicodeEncodeError:  # half of a character, from a name that is not UTF-8: an escape in JSON too
        text = json.dumps(msgspec.to_builtins(shown), ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace").decode()


def raw(content: bytes) -> None:
    """Write exactly these bytes to standard output."""
    if sys.stdout is not None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.flush()


class NonblockingStdout(io.RawIOBase):
    """Writes to `inner`, and drops what cannot be written; `lost` keeps the first reason. Our own: Python and rich raise
    BlockingIOError when a non-blocking pipe is full, and lose what they had begun to write."""

    def __init__(self, inner: BinaryIO | io.RawIOBase | None) -> None:
        super().__init__()
        self._inner = inner
        self.lost: OSError | ValueError | None = None

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Whether `inner` is a terminal."""
        return self._inner is not None and self._inner.isatty()

    def fileno(self) -> int:
        """The descriptor of `inner`. Raises OSError when it has none."""
        if self._inner is None:
            raise io.UnsupportedOperation("fileno")
        return self._inner.fileno()

    def write(self, content: Any, /) -> int:
        """Write the whole text, or drop the rest. Always returns the whole length."""
        left = memoryview(content).cast("B")
        size, until = len(left), time.monotonic() + _FULL_S
        try:
            while self._inner is not None and left:
                written = self._inner.write(left)
                left = left[written or 0 :]
                if not written:  # a full non-blocking pipe
                    if time.monotonic() > until:
                        raise BlockingIOError("the pipe stays full")
                    time.sleep(0.01)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self.lost = self.lost or error
        return size

    def flush(self) -> None:
        """Flush `inner`; an error is ignored."""
        if self._inner is not None:
            with suppress(OSError, ValueError):
                self._inner.flush()


def take_over() -> NonblockingStdout:
    """Put a `NonblockingStdout` in place of standard output, which is returned, and of standard error."""
    _keep_descriptors()
    out, err = (_nonblocking(stream) for stream in (sys.stdout, sys.stderr))
    sys.stdout, sys.stderr = (_text(*each) for each in (out, err))
    return out[0]


def _keep_descriptors() -> None:
    """Open descriptors 0 to 2 if they were closed when the process started. Otherwise a connection to a broker would get
    one of these numbers, and what a library writes to standard error would go to that broker."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free


def _nonblocking(stream: Any) -> tuple[NonblockingStdout, str]:
    if stream is None:  # closed when we were started
        return NonblockingStdout(None), "utf-8"
    stream.flush()
    return NonblockingStdout(getattr(stream.buffer, "raw", stream.buffer)), stream.encoding


def _text(inner: NonblockingStdout, encoding: str) -> io.TextIOWrapper:
    buffer: Any = inner
    return io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace", write_through=True)

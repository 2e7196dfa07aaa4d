"""The one place where text is made safe to show to people, and the one where commands write.

Much of what is shown was named by others: files, members of an archive, registers, campaigns, what a broker says. So
text is never markup, and never takes more than its line. Signs that a terminal would obey, or that turn the line
round, are written as escapes. Text that cannot be written (nobody reads any more, the disk is full, the encoding
lacks a sign) does not make the command fail: its exit code says what was done, not what was seen of it.
"""

import io
import json
import os
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

_FULL_S = 5.0  # seconds that a non-blocking pipe may stay full


def one_line(text: str) -> str:
    """The text on one line: control, bidirectional and other invisible signs as escapes."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    return " " if unicodedata.category(sign) == "Zs" else sign.encode("unicode_escape").decode()


def styled(text: object, style: str) -> Text:
    """A text in colour."""
    return Text(one_line(str(text)), style=style)


class People(Console):
    """A console that shows every text as it is, and never takes it for markup. `print` joins several parts."""

    def __init__(self, *, stderr: bool = False, **more: Any) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True, **more)

    def render_str(self, text: str, *, style: Any = "", **layout: Any) -> Text:
        """Any text as one line, also in a table's cell."""
        return Text(
            one_line(text), style=style, justify=layout.get("justify"), overflow=layout.get("overflow")
        )

    def rows(self, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table. A text wider than its column continues on the next line."""
        table = Table(box=None, pad_edge=False, show_header=any(head))
        for name in head:
            table.add_column(styled(name, ""), overflow="fold")
        for row in rows:
            table.add_row(*(each if isinstance(each, Text) else styled(each, "") for each in row))
        self.print(table, soft_wrap=False)


def complain(text: str) -> None:
    """Write a line on standard error, beginning with our name."""
    with suppress(AttributeError):  # there may be no standard error
        sys.stderr.write(f"stream-scrub: {one_line(text)}\n")


def machine(shown: Any) -> None:
    """Write one JSON document to standard output, in UTF-8 whatever the terminal uses."""
    raw(document(shown).encode() + b"\n")


def document(shown: Any) -> str:
    """A value as JSON."""
    try:
        return msgspec.json.encode(shown).decode()
    except UnicodeEncodeError:  # half of a sign, from a name that is not UTF-8
        return json.dumps(_whole(msgspec.to_builtins(shown)), ensure_ascii=False)


def _whole(shown: Any) -> Any:
    match shown:
        case str():
            return shown.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_whole(key): _whole(value) for key, value in shown.items()}
        case list():
            return [_whole(each) for each in shown]
    return shown


def raw(told: bytes) -> None:
    """Write exactly these bytes to standard output."""
    if sys.stdout is not None:
        sys.stdout.flush()
        sys.stdout.buffer.write(told)
        sys.stdout.flush()


class Patient(io.RawIOBase):
    """Writes to `inner` what can be written. What cannot be written is dropped; `lost` keeps the first reason."""

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

    def write(self, told: Any, /) -> int:
        """Write all of it, or drop the rest. Always returns the whole length."""
        left = memoryview(told).cast("B")
        size, until = len(left), time.monotonic() + _FULL_S
        try:
            while self._inner is not None and left:
                written = self._inner.write(left)
                left = left[written or 0 :]
                if not written:  # a full pipe that somebody set to non-blocking
                    if time.monotonic() > until:
                        raise BlockingIOError("nobody reads")
                    time.sleep(0.01)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self.lost = self.lost or error
        return size

    def flush(self) -> None:
        """Flush `inner`; an error is ignored."""
        if self._inner is not None:
            with suppress(OSError, ValueError):
                self._inner.flush()


def take_over() -> Patient:
    """Put a `Patient` in place of standard output and standard error of this process. Returns that of standard
    output."""
    _keep_descriptors()
    out, err = (_patient(stream) for stream in (sys.stdout, sys.stderr))
    sys.stdout, sys.stderr = (_text(*each) for each in (out, err))
    return out[0]


def _keep_descriptors() -> None:
    """Take descriptors 0 to 2 if they were closed when we were started. Otherwise a connection to a broker would get
    one of these numbers, and what a library writes to standard error would be sent to that broker."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free


def _patient(stream: Any) -> tuple[Patient, str]:
    if stream is None:  # closed when we were started
        return Patient(None), "utf-8"
    stream.flush()
    return Patient(getattr(stream.buffer, "raw", stream.buffer)), stream.encoding


def _text(inner: Patient, encoding: str) -> io.TextIOWrapper:
    buffer: Any = inner
    return io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace", write_through=True)

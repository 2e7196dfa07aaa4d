"""Opens the file to scrub, whatever it is packed in: plain, gzip, or a zip of one file; from a disk or a pipe.

What it is shows by its first bytes, whatever its name says. Its SHA-256 is of the bytes as they lie there, packed.
"""

import gzip
import io
import lzma
import stat
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, cast

from stream_scrub.errors import ConfigError, Refused
from stream_scrub.files.workbook import need_bounded, need_small
from stream_scrub.redaction import masked

HEAD_BYTES = 1 << 18
BLOCK_BYTES = 1 << 20
_ZIP, _GZIP, _OLE = b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0"
_OFFICE = ("[Content_Types].xml", "content.xml")
_SPOOLED = 64 << 20  # bytes of a pipe that are kept in memory before they go to a temporary file
_BROKEN = (
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


class InputFile:
    """The file, opened: `name` for people (`-` is `stdin`), `packing` ("", "gzip" or "zip"), and `inner`, the name of what is
    packed. `spreadsheet`: it is an office document; read it with `document`, else with `blocks`, once.
    """

    def __init__(self, name: str, raw: "_Counted", packing: str, inner: str, stream: IO[bytes]) -> None:
        self.name = name
        self.packing = packing
        self.inner = inner
        self.spreadsheet = False
        self._raw = raw
        self._stream = stream
        self.head = b""
        self.whole = False

    def peek(self) -> None:
        """Read the head. Raises Refused."""
        parts = []
        size = 0
        for block in self._read(HEAD_BYTES):
            parts.append(block)
            size += len(block)
            if size >= HEAD_BYTES:
                break
        self.head = b"".join(parts)
        self.whole = size < HEAD_BYTES

    def blocks(self) -> Iterator[bytes]:
        """All bytes, unpacked, in blocks. Raises Refused for a file that cannot be read to its end."""
        if self.head:
            yield self.head
        yield from self._read(BLOCK_BYTES)
        self._raw.drain()

    def document(self) -> IO[bytes]:
        """An office document's bytes, to be read anywhere in it."""
        return self._stream

    @property
    def sha256(self) -> str:
        """The SHA-256 (hex) of the file, once all of it was read."""
        return self._raw.digest.hexdigest()

    @property
    def size(self) -> int:
        """How many bytes were read of it, packed."""
        return self._raw.done

    def _read(self, size: int) -> Iterator[bytes]:
        try:
            while block := self._stream.read(size):
                yield block
        except (*_BROKEN, OSError) as error:
            raise _unreadable(self.name, error) from error


class _Counted(io.RawIOBase):
    """The bytes as they lie there, counted and digested in the order that they are read."""

    def __init__(self, file: IO[bytes], progress: Callable[[int], None]) -> None:
        super().__init__()
        self._file = file
        self._progress = progress
        self.done = 0
        self.digest = sha256()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read some bytes."""
        into = memoryview(cast(bytearray, buffer)).cast("B")
        block = self._file.read(len(into))
        into[: len(block)] = block
        self.digest.update(block)
        self.done += len(block)
        self._progress(self.done)
        return len(block)

    def drain(self) -> None:
        """Read what is left, for the digest."""
        while self.read(BLOCK_BYTES):
            pass


@contextmanager
def open_input(path: str, progress: Callable[[int], None] = lambda _: None) -> Iterator[InputFile]:
    """The file at a path; `-` is standard input. `progress` is told how many of its bytes were read.

    Raises ConfigError for what is no file, Refused for one that cannot be read.
    """
    with ExitStack() as stack:
        name = "stdin" if path == "-" else masked(Path(path).name)  # it is told wherever the file is
        try:
            file = sys.stdin.buffer if path == "-" else stack.enter_context(_opened(path))
        except OSError as error:
            raise ConfigError([f"{path}: {error.strerror or error}"]) from error
        if path == "-" and file.isatty():
            raise ConfigError(["-: nothing is piped in"])
        raw = _Counted(file, progress)
        buffered = io.BufferedReader(raw, BLOCK_BYTES)
        try:
            found = _unpacked(name, raw, buffered, stack)
        except (*_BROKEN, OSError) as error:
            raise _unreadable(name, error) from error
        if not found.spreadsheet:
            found.peek()
        yield found


def size_of(path: str) -> int:
    """The size of the file in bytes; 0 where nobody knows it."""
    try:
        held = Path(path).stat()
    except OSError:
        return 0
    return held.st_size if stat.S_ISREG(held.st_mode) else 0


def _opened(path: str) -> IO[bytes]:
    held = Path(path).stat()
    if stat.S_ISDIR(held.st_mode):
        raise ConfigError([f"{path}: this is a folder: name a file"])
    if not (stat.S_ISREG(held.st_mode) or stat.S_ISFIFO(held.st_mode)):
        raise ConfigError([f"{path}: this is a device: name a file"])
    return Path(path).open("rb", buffering=0)


def _unpacked(
    name: str, raw: _Counted, buffered: "io.BufferedReader[_Counted]", stack: ExitStack
) -> InputFile:
    magic = buffered.peek(4)[:4]
    if magic.startswith(_GZIP):
        inner = name[:-3] if name.lower().endswith(".gz") else name
        return InputFile(name, raw, "gzip", inner, cast(IO[bytes], gzip.GzipFile(fileobj=buffered)))
    if magic not in {_ZIP, _OLE}:
        return InputFile(name, raw, "", name, buffered)
    spooled = stack.enter_context(tempfile.SpooledTemporaryFile(_SPOOLED))  # noqa: SIM115 - the stack closes it
    while block := buffered.read(BLOCK_BYTES):
        spooled.write(block)
    spooled.seek(0)
    whole = cast(IO[bytes], spooled)
    if magic == _OLE:
        need_small(name, whole)
        return _document(InputFile(name, raw, "", name, whole))
    archive = stack.enter_context(zipfile.ZipFile(whole))
    held = [info for info in archive.infolist() if not info.is_dir() and not _is_left_behind(info.filename)]
    if any(info.filename in _OFFICE for info in held):
        need_bounded(name, archive)
        whole.seek(0)
        return _document(InputFile(name, raw, "", name, whole))
    if len(held) != 1:
        listed = ", ".join(masked(info.filename) for info in held[:10]) or "none"
        raise Refused(
            f"{name}: the zip holds {len(held)} files ({listed}): unpack it and scrub one after the other"
        )
    member = stack.enter_context(archive.open(held[0]))
    return InputFile(name, raw, "zip", Path(held[0].filename).name, member)


def _document(found: InputFile) -> InputFile:
    found.spreadsheet = True
    return found


def _is_left_behind(name: str) -> bool:
    """Whether a desktop puts it into archives by itself."""
    last = name.rpartition("/")[2]
    return (
        name.startswith("__MACOSX/")
        or last.startswith("._")
        or last in {".DS_Store", "Thumbs.db", "desktop.ini"}
    )


def _unreadable(name: str, error: Exception) -> Refused:
    if isinstance(error, OSError) and error.errno:
        return Refused(f"{name}: {error.strerror}")
    return Refused(f"{name}: a broken or locked archive ({type(error).__name__}): fetch the file again")

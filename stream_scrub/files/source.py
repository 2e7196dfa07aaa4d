"""Opens the file to scrub, whatever it is packed in: plain, gzip, or a zip of one file; from a disk or a pipe.

What it is shows by its first bytes, whatever its name says. Its SHA-256 is of the bytes as they lie there, packed.
"""

import gzip
import io
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, cast

from stream_scrub.errors import BadFile, ConfigError, code_of
from stream_scrub.imports.parsing.parsed_list import LOCKED, UNREADABLE
from stream_scrub.imports.parsing.unpack import BROKEN, is_content
from stream_scrub.imports.parsing.workbook import OLE, TABLES, ZIP, is_office
from stream_scrub.languages import by_door, say
from stream_scrub.texts import masked

HEAD_BYTES = 1 << 18
BLOCK_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_SPOOLED = 64 << 20  # bytes of a pipe that are kept in memory before they go to a temporary file


class InputFile:
    """The file, opened: `name` for people (`-` is `stdin`), `packing` ("", "gzip" or "zip"), and `inner`, the name of what is
    packed. `spreadsheet`: it is an office document, or a `table` ("Avro" or "Parquet"); read `stream`, else `blocks`, once. Of other files
    `head` is the beginning, and `whole` says whether that is all. Raises BadFile.
    """

    def __init__(
        self,
        name: str,
        raw: "_CountedReads",
        stream: IO[bytes],
        *,
        packing: str = "",
        inner: str = "",
        spreadsheet: bool = False,
        table: str = "",
    ) -> None:
        self.name = name
        self.packing = packing
        self.inner = inner or name
        self.spreadsheet = spreadsheet
        self.table = table
        self.stream = stream  # can be read anywhere
        self._raw = raw
        self.head = b""
        if not spreadsheet:
            blocks = self._read(HEAD_BYTES)
            while len(self.head) < HEAD_BYTES and (block := next(blocks, b"")):
                self.head += block
        self.whole = len(self.head) < HEAD_BYTES

    def blocks(self) -> Iterator[bytes]:
        """All bytes, unpacked, in blocks. Raises BadFile for a file that cannot be read to its end."""
        if self.head:
            yield self.head
        yield from self._read(BLOCK_BYTES)
        while self._raw.read(BLOCK_BYTES):  # what is left, for the digest
            pass

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
            while block := self.stream.read(size):
                yield block
        except BROKEN as error:
            raise _unreadable(self.name, error) from error


class _CountedReads(io.RawIOBase):
    """The bytes as they lie there, counted and digested in the order that they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self.done = 0
        self.digest = sha256()

    def readable(self) -> bool:
        """As every `RawIOBase`."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read some bytes."""
        into = memoryview(cast(bytearray, buffer)).cast("B")
        block = self._file.read(len(into))
        into[: len(block)] = block
        self.digest.update(block)
        self.done += len(block)
        return len(block)


@contextmanager
def open_input(path: str) -> Iterator[InputFile]:
    """The file at a path; `-` is standard input.

    Raises ConfigError for what is no file, BadFile for one that cannot be read.
    """
    with ExitStack() as stack:
        name = "stdin" if path == "-" else masked(Path(path).name)  # it is shown wherever the file is
        try:
            file = sys.stdin.buffer if path == "-" else stack.enter_context(_opened(path))
        except OSError as error:
            raise ConfigError([f"{path}: {error.strerror or error}"]) from error
        if path == "-" and file.isatty():
            raise ConfigError(["-: nothing is piped in"])
        raw = _CountedReads(file)
        buffered = io.BufferedReader(raw, BLOCK_BYTES)
        try:
            found = _unpacked(name, raw, buffered, stack)
        except BROKEN as error:
            raise _unreadable(name, error) from error
        yield found


def size_of(path: str) -> int:
    """The size of the file in bytes; 0 if unknown."""
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
    name: str, raw: _CountedReads, buffered: "io.BufferedReader[_CountedReads]", stack: ExitStack
) -> InputFile:
    magic = buffered.peek(4)[:4]
    if magic.startswith(_GZIP):
        inner = name[:-3] if name.lower().endswith(".gz") else name
        unzipped = cast(IO[bytes], gzip.GzipFile(fileobj=buffered))
        return InputFile(name, raw, unzipped, packing="gzip", inner=inner)
    if magic not in {ZIP, OLE, *TABLES}:
        return InputFile(name, raw, buffered)
    spooled = stack.enter_context(tempfile.SpooledTemporaryFile(_SPOOLED))  # noqa: SIM115 - the stack closes it
    while block := buffered.read(BLOCK_BYTES):
        spooled.write(block)
    spooled.seek(0)
    whole = cast(IO[bytes], spooled)
    if magic in {OLE, *TABLES}:
        return InputFile(name, raw, whole, spreadsheet=True, table=TABLES.get(magic, ""))
    archive = stack.enter_context(zipfile.ZipFile(whole))
    held = list(filter(is_content, archive.infolist()))
    if is_office(name, held):
        return InputFile(name, raw, whole, spreadsheet=True)
    if len(held) != 1:
        listed = ", ".join(masked(info.filename) for info in held[:10]) or "none"
        why = f"{name}: the zip holds {len(held)} files ({listed}): unpack it and scrub one after the other"
        page = say("the zip must hold one file. Unpack it, and upload its files: %(files)s", files=listed)
        raise BadFile(by_door(why, page))
    member = stack.enter_context(archive.open(held[0]))
    return InputFile(name, raw, member, packing="zip", inner=Path(held[0].filename).name)


def _unreadable(name: str, error: Exception) -> BadFile:
    if isinstance(error, OSError) and error.errno:
        page = say(UNREADABLE, code=code_of(error))
        return BadFile(by_door(f"{name}: {error.strerror}", page))
    why = f"{name}: a broken or locked archive ({type(error).__name__}): fetch the file again"
    return BadFile(by_door(why, say(LOCKED)))

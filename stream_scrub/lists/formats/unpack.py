"""Opens a list's file whatever it is packed in: plain, gzip, or a zip with one file; any text encoding in use."""

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, cast

from stream_scrub.lists.formats.reading import BadList

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BROKEN = (
    *(EOFError, OSError, zlib.error, lzma.LZMAError),
    *(
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
    ),  # the last two: a packing unknown here, a password
)


class _Counted(io.RawIOBase):
    """The file's own bytes, counted and digested as they are read once from start to end."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        self._file = path.open("rb")
        self._progress = progress

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: object) -> int:
        count = self._file.readinto(cast(bytearray, buffer))
        self._progress(self._file.tell())
        return count or 0

    def close(self) -> None:
        self._file.close()
        super().close()


def digest(path: Path) -> str:
    """The SHA-256 (hex) of a file. Raises BadList when it cannot be read."""
    made = sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                made.update(chunk)
    except OSError as error:
        raise BadList(f"{path}: {error.strerror or error}") from error
    return made.hexdigest()


@contextmanager
def open_list(path: Path, progress: Callable[[int], None] = lambda _: None) -> Iterator[tuple[IO[str], str]]:
    """The list as text lines, and what it was packed in ("gzip, UTF-8"). `progress` is told of file bytes read.

    Bytes that are not UTF-8 are kept as surrogates (PEP 383), so that no encoding of a name column stops a list of
    numbers. Raises BadList, also from within the block when the packing turns out broken.
    """
    try:
        raw = io.BufferedReader(_Counted(path, progress), 1 << 18)
    except OSError as error:
        raise BadList(f"{path}: {error.strerror or error}") from error
    try:
        with raw:
            magic = raw.peek(4)[:4]
            packing = "gzip, " if magic[:2] == b"\x1f\x8b" else "zip, " if magic[:4] == b"PK\x03\x04" else ""
            with _unpacked(raw, packing, path) as unpacked:
                head = unpacked.peek(1 << 16)
                encoding, name = _encoding(head)
                yield (
                    io.TextIOWrapper(unpacked, encoding, errors="surrogateescape", newline=None),
                    packing + name,
                )
    except UnicodeError as error:  # only UTF-16 has bytes that no reading is kept for
        raise BadList(
            f"{path}: it starts as UTF-16 does and does not go on so: fetch the file again, or save it as UTF-8"
        ) from error
    except _BROKEN as error:
        raise _broken(path, error) from error


@contextmanager
def _unpacked(raw: "io.BufferedReader[_Counted]", packing: str, path: Path) -> Iterator[io.BufferedReader]:
    if packing.startswith("gzip"):
        with gzip.open(raw) as file:
            yield io.BufferedReader(cast(io.RawIOBase, file), 1 << 18)
    elif packing.startswith("zip"):
        with _only_file(raw, path) as member:
            yield io.BufferedReader(cast(io.RawIOBase, member), 1 << 18)
    else:
        yield cast("io.BufferedReader", raw)


def _only_file(raw: IO[bytes], path: Path) -> IO[bytes]:
    """The one file of a zip, opened. Raises BadList, or one of _BROKEN."""
    try:
        archive = zipfile.ZipFile(raw)
        files = [info for info in archive.infolist() if not info.is_dir()]
        if len(files) == 1:
            return archive.open(files[0])
    except (ValueError, IndexError, struct.error) as error:  # a name that is no text, a size that cannot be
        raise _broken(path, error) from error
    raise BadList(f"{path}: the zip holds {len(files)} files; a list is one file: unpack it and choose")


def _broken(path: Path, error: Exception) -> BadList:
    return BadList(f"{path}: broken or locked archive ({type(error).__name__}): fetch the file again")


def _encoding(head: bytes) -> tuple[str, str]:
    """The codec to read with and its name for people, from the first bytes."""
    if head[:2] in _UTF16:
        return "utf-16", "UTF-16"
    if head[:3] == b"\xef\xbb\xbf":
        return "utf-8-sig", "UTF-8"
    try:
        head[: head.rfind(b"\n") + 1 or len(head)].decode("utf-8")
    except UnicodeDecodeError:
        return "utf-8", "Latin-1"
    return "utf-8", "UTF-8"

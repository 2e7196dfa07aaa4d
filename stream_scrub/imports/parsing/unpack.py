"""Opens a list, whatever it is packed in: plain, gzip or zip, in any of the usual encodings; or a workbook, Avro or
Parquet, whose rows become CSV.

A format sees none of that. It reads a `ListSource`: text, whole lines of bytes, or raw chunks.
"""

import codecs
import gzip
import io
import lzma
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, cast
from zipfile import ZipInfo

from stream_scrub.errors import BadFile, code_of
from stream_scrub.imports.parsing.parsed_list import DAMAGED, LOCKED, NOT_A_LIST, UNREADABLE, BadList
from stream_scrub.imports.parsing.workbook import (
    OLE,
    TABLES,
    ZIP,
    UnclearSheet,
    csv_blocks,
    is_office,
    read_sheet,
)
from stream_scrub.languages import by_door, say
from stream_scrub.texts import masked, shown

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

_MEMBERS_MAX = 2000
_DIRECTORY_BYTES_MAX: Final = 2 << 20  # of 2000 files, as many folders and what desktops add, with long names
_HEADER_BYTES: Final = 30  # before a member's name
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LEFT_BEHIND = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
BROKEN: Final = (
    *(EOFError, OSError, zlib.error, lzma.LZMAError),
    *(NotImplementedError, RuntimeError),  # a packing unknown here, a password
    # a name that is no text, a size that cannot be
    *(zipfile.BadZipFile, ValueError, IndexError, struct.error),
)


class _Directory(io.RawIOBase):
    """The archive's file for `zipfile`, which reads a directory of any size in one call."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        most = _DIRECTORY_BYTES_MAX + 1 if size < 0 else size
        found = self._file.read(min(most, _DIRECTORY_BYTES_MAX + 1))
        if len(found) > _DIRECTORY_BYTES_MAX:
            raise zipfile.BadZipFile("a directory of more than 2 MiB")
        return found


def _list_files(archive: zipfile.ZipFile) -> list[ZipInfo]:
    """A zip's files that may be of a list, in the order of names. Raises BadList for what is no zip of a list."""
    held = sorted(filter(is_content, archive.infolist()), key=lambda info: info.filename)
    if not 1 <= len(held) <= _MEMBERS_MAX:
        raise BadList(
            say(
                "the zip holds %(count)s files; a list is 1 to %(most)s",
                count=str(len(held)),
                most=str(_MEMBERS_MAX),
            )
        )
    if any(info.compress_type not in _PACKINGS for info in held):
        page = say(
            "the zip is packed in a way that the server cannot read: pack it again, or upload the list itself"
        )
        raise BadList(by_door("the zip is packed in an unknown way: pack it again with deflate", page))
    if len({info.filename for info in held}) < len(held) or _overlap(held):
        why = "the zip lists a file more than once, or files within each other: this is not a list"
        raise BadList(by_door(why, say(NOT_A_LIST)))
    return held


def _overlap(held: list[ZipInfo]) -> bool:
    """Whether any two share bytes of the archive: so a small one unpacks to as much as it lists."""
    end = 0
    for info in sorted(held, key=lambda info: info.header_offset):
        if info.header_offset < end:
            return True
        end = info.header_offset + _HEADER_BYTES + info.compress_size
    return False


def is_content(info: ZipInfo) -> bool:
    """Not a folder, nor what a desktop leaves in archives by itself."""
    parts = PurePosixPath(info.filename).parts
    return not (
        info.is_dir()
        or not parts
        or "__MACOSX" in parts
        or parts[-1] in _LEFT_BEHIND
        or parts[-1].startswith("._")
    )


HEAD_BYTES = 1 << 16
LINE_BYTES_MAX = 1 << 20  # of a format that has lines; far beyond any line with a number in it
_CHUNK_BYTES = 1 << 18
_EXPANSION_MAX = 100  # times its size that an archive may unpack to; lists pack 4 to 20 times smaller
_EXPANSION_FREE = 1 << 26  # bytes that are never too many
_SHEETS = (ZIP, OLE, *TABLES)
_SPOOLED = 1 << 20  # bytes of a file of a zip that stay in memory
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _Unpacked:
    """Counts the bytes that a list's file, of `size`, unpacks to, all its files together."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._most = max(_EXPANSION_FREE, _EXPANSION_MAX * size)
        self._total = 0

    def add(self, count: int, *, will_be: int = 0) -> None:
        """So many more, and `will_be` as a file says of itself. Raises BadList for too many."""
        self._total += count
        if self._total + will_be > self._most:
            why = f"it unpacks to more than {_EXPANSION_MAX} times its size: this is not a list"
            raise _bad(self._path, why, say(NOT_A_LIST))


class ListSource:
    """One file of a list, unpacked. Call one of `text`, `chunks` and `blocks`, once.

    Bytes are UTF-8, without a byte order mark, or whatever else the file is in that ASCII is a part of (Latin-1 and its
    kin); UTF-16 has become UTF-8. All three raise BadList while they are read, when the packing turns out broken.
    """

    def __init__(self, blocks: Callable[[int], Iterator[bytes]], member: str) -> None:
        self._blocks = blocks
        self.member = member

    def blocks(self, size: int = _CHUNK_BYTES) -> Iterator[bytes]:
        """The bytes as they come, at most `size` at a time, cut anywhere: for formats that have no lines."""
        return self._blocks(size)

    def chunks(self, size: int = _CHUNK_BYTES) -> Iterator[bytes]:
        r"""Whole lines, about `size` bytes of them at a time. Every line ends in `\n`, whatever it ended in (`\r\n`,
        `\r`, or nothing at the end of the file). Raises BadList for a line longer than LINE_BYTES_MAX.
        """
        rest = b""
        for block in self._blocks(size):
            rest += block
            if len(rest) < size // 2:  # short reads at the end of a compressed block
                continue
            end = rest.rfind(b"\n") + 1 or rest.rfind(b"\r", 0, -1) + 1
            if end:
                yield _lines(rest[:end])
                rest = rest[end:]
            if len(rest) > LINE_BYTES_MAX:
                why = f"a line is longer than {LINE_BYTES_MAX >> 20} MiB: this is not a list of lines; is it packed twice?"
                raise BadList(by_door(why, say(NOT_A_LIST)))
        if rest:
            yield _lines(rest).removesuffix(b"\n") + b"\n"

    def text(self) -> IO[str]:
        r"""The lines as text, each ending in `\n`, for `for line in ...` and csv.reader. Bytes that are not UTF-8 are
        kept as surrogates (PEP 383), so that no encoding of a name column stops a list of numbers.
        """
        return text_of(self.chunks(1 << 18))


def text_of(chunks: Iterator[bytes]) -> IO[str]:
    """What `ListSource.text` gives, of chunks that were begun."""
    raw = io.BufferedReader(_Chunked(chunks), 1 << 18)
    return io.TextIOWrapper(raw, "utf-8", errors="surrogateescape", newline="\n")


def _lines(content: bytes) -> bytes:
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return content


class _Chunked(io.RawIOBase):
    """Chunks as a stream, which io can decode and cut into lines faster than anything written in Python."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        into = memoryview(cast(bytearray, buffer))
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        count = min(len(into), len(self._rest))
        into[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _CountedFile(io.FileIO):
    """The bytes of a file, which it closes; `progress` is called with how far it was read, once `counting` is set."""

    def __init__(self, file: io.FileIO, progress: Callable[[int], None]) -> None:
        with file:
            super().__init__(os.dup(file.fileno()))
        self._progress = progress
        self.counting = False

    def readinto(self, buffer: "Buffer") -> int:
        count = super().readinto(buffer)
        if self.counting:
            self._progress(self.tell())
        return count or 0


@dataclass(frozen=True, slots=True)
class ListMember:
    """One file of a list: its name, its first bytes (64 KiB at most; less where there are many), and its encoding:
    "UTF-8", "Latin-1", "UTF-16", "workbook", "Avro" or "Parquet"."""

    name: str
    head: bytes
    whole: bool
    encoding: str
    source: ListSource


@dataclass(frozen=True, slots=True)
class PackedList:
    """A list's file, opened: what it is packed in ("", "gzip" or "zip") and the files in it, in the order of names."""

    packing: str
    members: tuple[ListMember, ...]

    @property
    def described(self) -> str:
        """For people: "gzip, UTF-8", "zip of 12, Latin-1"."""
        several = f" of {len(self.members)}" if len(self.members) > 1 else ""
        encodings = dict.fromkeys(member.encoding for member in self.members)
        return ", ".join(filter(None, (self.packing + several, " and ".join(encodings))))


def digest(path: Path) -> str:
    """The SHA-256 (hex) of a file. Raises BadList when it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            return digest_of(file)
    except OSError as error:
        raise _unreadable(path, error) from error


def digest_of(file: io.FileIO) -> str:
    """The SHA-256 (hex) of a file from where it stands to its end. Raises OSError."""
    return file_digest(file, "sha256").hexdigest()


@contextmanager
def open_list(
    path: Path, progress: Callable[[int], None] = lambda _: None, opened: io.FileIO | None = None
) -> Iterator[PackedList]:
    """A list's file, looked into; its members' sources can be read within the block. `progress` gets the file bytes
    read by them. `opened` is the file, where somebody has it open already: it is then closed here. Raises BadList, also
    while sources are read.
    """
    try:
        counted = _CountedFile(opened or path.open("rb", buffering=0), progress)
    except OSError as error:
        raise _unreadable(path, error) from error
    with counted, io.BufferedReader(counted, 1 << 18) as raw, ExitStack() as stack:
        try:
            size = raw.seek(0, io.SEEK_END)
            raw.seek(0)
            magic = raw.peek(4)[:4]
        except OSError as error:
            raise _unreadable(path, error) from error
        opener = _Opener(path, _Unpacked(path, size), stack)
        archive = opener.archive(cast(IO[bytes], raw)) if magic in (ZIP, b"PK\x05\x06") else None
        if archive is not None:
            packed = opener.zipped(archive)
        else:
            gzipped = magic.startswith(b"\x1f\x8b")
            member = opener.member(path.name, HEAD_BYTES, partial(_single, raw, gzipped=gzipped))
            packed = PackedList("gzip" if gzipped else "", (member,))
        counted.counting = True
        yield packed


@contextmanager
def _single(raw: "io.BufferedReader[_CountedFile]", *, gzipped: bool) -> Iterator[IO[bytes]]:
    raw.seek(0)
    if gzipped:
        with gzip.open(raw) as file:
            yield cast(IO[bytes], file)
    else:
        yield raw


class _Opener:
    """Opens the files of one list. `stack` closes what waits in temporary files."""

    def __init__(self, path: Path, unpacked: _Unpacked, stack: ExitStack) -> None:
        self._path = path
        self._unpacked = unpacked
        self._stack = stack

    def archive(self, file: IO[bytes]) -> zipfile.ZipFile | None:
        """A file as a zip; None if it is an office document. Raises BadList."""
        try:
            archive = zipfile.ZipFile(cast(IO[bytes], _Directory(file)))
            return None if is_office(masked(str(self._path)), archive.infolist()) else archive
        except BadFile as error:
            raise BadList(str(error)) from error
        except BROKEN as error:
            raise _broken(self._path, error) from error

    def zipped(self, archive: zipfile.ZipFile) -> PackedList:
        """Every file of a zip. Raises BadList."""
        try:
            held = _list_files(archive)
        except BadList as error:
            raise _bad(self._path, error, str(error)) from error
        self._unpacked.add(0, will_be=sum(info.file_size for info in held))
        head = HEAD_BYTES if len(held) <= 16 else HEAD_BYTES >> 4
        members = (self.member(each.filename, head, partial(archive.open, each)) for each in held)
        return PackedList("zip", tuple(members))

    def member(
        self, name: str, head_bytes: int, opened: Callable[[], AbstractContextManager[IO[bytes]]]
    ) -> ListMember:
        """One file, looked into. Raises BadList."""
        start = next(self._blocks(head_bytes, opened), b"")
        encoding = ""
        if start.startswith(_SHEETS):
            table = TABLES.get(start[:4], "")
            opened = self._sheet(name, table, opened)
            start, encoding = next(self._blocks(head_bytes, opened), b""), table or "workbook"
        wide = not encoding and start[:2] in _UTF16
        mark = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0

        def blocks(block: int) -> Iterator[bytes]:
            plain = self._blocks(block, opened)
            return _narrowed(self._path, plain) if wide else _without(mark, plain)

        head = next(blocks(head_bytes), b"")
        whole = len(start) < head_bytes
        encoding = encoding or ("UTF-16" if wide else _encoding(head, whole=whole))
        return ListMember(name, head, whole, encoding, ListSource(blocks, name))

    def _blocks(self, size: int, opened: Callable[[], AbstractContextManager[IO[bytes]]]) -> Iterator[bytes]:
        try:
            with opened() as file:
                while read := file.read(size):
                    self._unpacked.add(len(read))
                    yield read
        except BROKEN as error:
            raise _broken(self._path, error) from error

    def _sheet(
        self, name: str, table: str, opened: Callable[[], AbstractContextManager[IO[bytes]]]
    ) -> Callable[[], AbstractContextManager[IO[bytes]]]:
        """The only sheet with rows of a workbook, as CSV. Raises BadList."""
        file_name = masked(name)
        text = self._stack.enter_context(tempfile.SpooledTemporaryFile(_SPOOLED))  # noqa: SIM115 - the stack closes it
        try:
            # The process that reads it gets the descriptor, with its place: a buffer would have another one.
            with tempfile.TemporaryFile(buffering=0) as document:
                for block in self._blocks(_CHUNK_BYTES, opened):
                    document.write(block)
                document.seek(0)
                if document.read(4) == ZIP and self.archive(cast(IO[bytes], document)) is not None:
                    raise _bad(
                        Path(name),
                        "it is packed twice: unpack it once",
                        say("the file is packed twice: unpack it once"),
                    )
                _, rows = read_sheet(file_name, cast(IO[bytes], document), "", table)
            for block in csv_blocks(rows):
                self._unpacked.add(len(block))
                text.write(block)
        except UnclearSheet as error:
            sheets = ", ".join(map(shown, error.sheets))
            why = say("several sheets have rows (%(sheets)s): keep the one with the list", sheets=sheets)
            raise _bad(Path(name), why, why) from error
        except BadFile as error:
            raise BadList(str(error)) from error

        @contextmanager
        def written() -> Iterator[IO[bytes]]:
            text.seek(0)
            yield cast(IO[bytes], text)

        return written


def _without(mark: int, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks without a byte order mark of so many bytes."""
    first = next(blocks, b"")
    if first[mark:]:
        yield first[mark:]
    yield from blocks


def _narrowed(path: Path, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """UTF-16 as UTF-8. It is the one encoding whose bytes cannot be kept as they are."""
    decoder = codecs.getincrementaldecoder("utf-16")()
    try:
        for block in blocks:
            if text := decoder.decode(block):
                yield text.encode()
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        why = "it starts as UTF-16 does and does not go on so: fetch the file again, or save it as UTF-8"
        raise _bad(path, why, say(DAMAGED)) from error


def _encoding(head: bytes, *, whole: bool) -> str:
    """The encoding's name for people, from the first bytes."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=whole)
    except UnicodeDecodeError:
        return "Latin-1"
    return "UTF-8"


def _broken(path: Path, error: Exception) -> BadList:
    why = f"broken or locked archive ({type(error).__name__}): fetch the file again"
    return _bad(path, why, say(LOCKED))


def _unreadable(path: Path, error: OSError) -> BadList:
    return _bad(path, error.strerror or error, say(UNREADABLE, code=code_of(error)))


def _bad(path: Path, why: object, page: str) -> BadList:
    """What is wrong with a file, whose name may hold a phone number; a page shows it next to the name."""
    return BadList(by_door(f"{masked(str(path))}: {why}", page))

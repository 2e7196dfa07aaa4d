"""The files in a zip, looked up within bounds: nobody made this archive to please us.

Stored and deflate only: the other packings of a zip have no bound on what one call may give, and no list needs them.
"""

import io
import lzma
import struct
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import IO, Final, cast

from stream_scrub.lists.parsing.parsed_list import BadList

_MEMBERS_MAX = 2000
_DIRECTORY_BYTES_MAX: Final = 2 << 20  # of 2000 files, as many folders and what desktops add, with long names
_HEADER_BYTES: Final = 30  # before a member's name
DOCUMENT: Final = "a spreadsheet or another office document: save its sheet as CSV"
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LEFT_BEHIND = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
BROKEN: Final = (
    *(EOFError, OSError, zlib.error, lzma.LZMAError),
    *(NotImplementedError, RuntimeError),  # a packing unknown here, a password
    *(
        zipfile.BadZipFile,
        ValueError,
        IndexError,
        struct.error,
    ),  # a name that is no text, a size that cannot be
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


class ZippedList:
    """A zip's files that may be of a list, in the order of names: `held`."""

    def __init__(self, file: IO[bytes]) -> None:
        """Raises BadList for what is no zip of a list, and whatever is in BROKEN."""
        self._archive = zipfile.ZipFile(cast(IO[bytes], _Directory(file)))
        self.held = sorted(filter(_is_list, self._archive.infolist()), key=lambda info: info.filename)
        if any(info.filename == "[Content_Types].xml" for info in self.held):
            raise BadList(DOCUMENT)
        if not 1 <= len(self.held) <= _MEMBERS_MAX:
            raise BadList(f"the zip holds {len(self.held)} files; a list is 1 to {_MEMBERS_MAX}")
        if any(info.compress_type not in _PACKINGS for info in self.held):
            raise BadList("the zip is packed in a way that is not read here: make it anew with deflate")
        if len({info.filename for info in self.held}) < len(self.held) or _overlap(self.held):
            raise BadList("the zip lists a file more than once, or files within each other: this is no list")

    def open(self, info: zipfile.ZipInfo) -> IO[bytes]:
        """One of `held`, to be read once. Raises what is in BROKEN, also while it is read."""
        return self._archive.open(info)


def _overlap(held: list[zipfile.ZipInfo]) -> bool:
    """Whether any two share bytes of the archive: so a small one unpacks to as much as it lists."""
    end = 0
    for info in sorted(held, key=lambda info: info.header_offset):
        if info.header_offset < end:
            return True
        end = info.header_offset + _HEADER_BYTES + info.compress_size
    return False


def _is_list(info: zipfile.ZipInfo) -> bool:
    """Not a folder, nor what a desktop leaves in archives by itself."""
    parts = PurePosixPath(info.filename).parts
    return not (
        info.is_dir()
        or not parts
        or "__MACOSX" in parts
        or parts[-1] in _LEFT_BEHIND
        or parts[-1].startswith("._")
    )

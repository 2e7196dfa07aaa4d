"""File operations within a folder that others write in: always from an open folder to a name in it, and never through
a link.

A path is looked up again with each call, so whoever may rename one of its folders can redirect it in between. An open
folder stays the same folder.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TypeAlias

from stream_scrub.atomic_file import atomic_file

Within: TypeAlias = AbstractContextManager[int]
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # opening a named pipe must not block
_ASIDE_MAX = 1000


@contextmanager
def folder(base: int, *names: str, make: bool = False) -> Iterator[int]:
    """The folder at the end of these names, one within the other; with `make` those that are missing are created.
    Raises OSError, also for a link."""
    held = os.dup(base)
    try:
        for name in names:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=held)
            inner = os.open(name, _FOLDER, dir_fd=held)
            os.close(held)
            held = inner
        yield held
    finally:
        os.close(held)


def own_folder(base: int, name: str) -> int:
    """A folder that nobody else may read, opened. What has its name and is not ours is renamed. Raises OSError."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=base)
    if not _is_own(base, name, stat.S_ISDIR):
        _put_aside(base, name)
        os.mkdir(name, 0o700, dir_fd=base)
    held = os.open(name, _FOLDER, dir_fd=base)
    os.fchmod(held, 0o700)
    return held


def own_file(base: int, name: str) -> int:
    """A file of ours, opened for reading and writing. What has its name and is not ours, or has a second hard link,
    is renamed. Raises OSError."""
    if not _is_own(base, name, stat.S_ISREG):
        with suppress(FileNotFoundError):
            _put_aside(base, name)
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=base)


def _is_own(base: int, name: str, kind: object) -> bool:
    try:
        status = os.stat(name, dir_fd=base, follow_symlinks=False)
    except FileNotFoundError:
        return False
    assert callable(kind)
    single = status.st_nlink == 1 or stat.S_ISDIR(status.st_mode)
    return bool(kind(status.st_mode)) and single and status.st_uid == os.geteuid()


def _put_aside(base: int, name: str) -> None:
    for count in range(_ASIDE_MAX):
        aside = f"{name}.foreign-{count}"
        try:
            os.stat(aside, dir_fd=base, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, aside, src_dir_fd=base, dst_dir_fd=base)
            return
    raise FileExistsError(0, "too much stands where the publisher works")


def opened(within: int, name: str) -> io.FileIO:
    """A file, opened for reading. Raises OSError, also for a link or a special file."""
    held = os.open(name, _READ, dir_fd=within)
    if not stat.S_ISREG(os.fstat(held).st_mode):
        os.close(held)
        raise OSError(0, "it is not a regular file")
    return io.FileIO(held, closefd=True)


@contextmanager
def created(within: int, name: str, mode: int = 0o600) -> Iterator[io.BufferedWriter]:
    """A new file with that mode, whatever the umask. It takes its name only once it is complete and on the disk;
    otherwise nothing of it is left. Raises OSError."""
    beside = f".{name}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(beside, dir_fd=within)
    with atomic_file(within, beside, mode) as file:
        yield file.out
        file.keep(name)


def write(within: int, name: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file with that content and mode: complete or not at all. Raises OSError."""
    with created(within, name, mode) as file:
        file.write(content)


def free(within: int, name: str) -> str:
    """A name that is free, by adding .2, .3 and so on: lists come under the same name every day."""
    wanted, count = name, 1
    while True:
        try:
            os.stat(wanted, dir_fd=within, follow_symlinks=False)
        except FileNotFoundError:
            return wanted
        count += 1
        wanted = f"{name}.{count}"


def folders(within: int) -> list[str]:
    """The folders in it by name, hidden ones left out."""
    return [entry.name for entry in _entries(within) if entry.is_dir(follow_symlinks=False)]


def links(within: int) -> list[str]:
    """The links in it by name, hidden ones left out."""
    return [entry.name for entry in _entries(within) if entry.is_symlink()]


def _entries(within: int) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(within) as found:
            return sorted(
                (entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name
            )
    except OSError:
        return []


def remove_older(within: int, before_s: float, most: int) -> int:
    """Delete files whose last change is before `before_s` (seconds since 1970), at most `most`; returns how many. The
    change is that of the inode (ctime), a time that no user can set. Raises OSError.
    """
    count = 0
    with os.scandir(within) as found:
        entries = [entry for entry in found if entry.is_file(follow_symlinks=False)]
    for entry in entries:
        with suppress(FileNotFoundError):  # taken away meanwhile
            status = os.stat(entry.name, dir_fd=within, follow_symlinks=False)
            if count < most and status.st_ctime < before_s:
                os.unlink(entry.name, dir_fd=within)
                count += 1
    return count


def files(base: int, *names: str) -> Iterator[tuple[str, int]]:
    """The files in the folder of these names, if it is there, and when each was written, in nanoseconds since 1970."""
    try:
        with folder(base, *names) as within, os.scandir(within) as found:
            for entry in found:
                with suppress(OSError):  # taken away meanwhile
                    if entry.is_file(follow_symlinks=False):
                        yield entry.name, entry.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return

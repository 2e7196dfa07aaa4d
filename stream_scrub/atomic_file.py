"""A file that is whole or not there, also after a crash: written under another name, synced, renamed. And a file as a lock,
which ends with its process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path
from typing import IO

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class AtomicFile:
    """A file under a temporary name. `out` takes its bytes. Without `keep` nothing is left of it."""

    def __init__(self, within: int, temporary: str, mode: int) -> None:
        self._within = within
        self._temporary = temporary
        self._mode = mode
        held = os.open(temporary, _CREATE, 0o600, dir_fd=within)
        self.out: BufferedWriter = os.fdopen(held, "wb")
        os.fchmod(held, mode)

    def keep(self, name: str, *, new: bool = False) -> None:
        """Sync it and give it its name. A file that had this name is replaced. `new`: no file may have it.

        Raises OSError; FileExistsError for a `new` name that is taken.
        """
        self.out.flush()
        os.fsync(self.out.fileno())
        if new:  # take the name first: a rename alone would overwrite a file that came there meanwhile
            os.close(os.open(name, _CREATE, self._mode, dir_fd=self._within))
        os.rename(self._temporary, name, src_dir_fd=self._within, dst_dir_fd=self._within)
        os.fsync(self._within)


@contextmanager
def atomic_file(folder: Path | int, temporary: str, mode: int = 0o600) -> Iterator[AtomicFile]:
    """A new file in a folder (a path, or a descriptor of an open folder). It is called `temporary` until it is kept. It
    gets exactly this mode, whatever the umask. Raises OSError; FileExistsError if `temporary` is there already.
    """
    within = os.dup(folder) if isinstance(folder, int) else os.open(folder, _FOLDER)
    try:
        file = AtomicFile(within, temporary, mode)
        try:
            with file.out:
                yield file
        finally:
            with suppress(FileNotFoundError):  # it was kept, and has its name
                os.unlink(temporary, dir_fd=within)
    finally:
        os.close(within)


def try_lock(path: Path) -> IO[bytes] | None:
    """Lock the file, which is made if it is missing, until it is closed; None if another process has it. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file

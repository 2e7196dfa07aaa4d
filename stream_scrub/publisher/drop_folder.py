"""The drop folder. Whole files come in by rename; the same files go out to `done` or `refused`, each with a report
beside it.

    FOLDER/bloctel/list.csv               the full list of bloctel
    FOLDER/bloctel/allow-change/list.csv  the same, and it may change as much of the register as it does
    FOLDER/bloctel/allow-older/list.csv   the same, and it may be from before what the register holds
    FOLDER/internal/adds/list.csv         numbers to add; as many as they are in adds/allow-change
    FOLDER/internal/removes/list.csv      numbers to remove
    FOLDER/internal@acme/list.csv         ... of a scoped register
    FOLDER/bloctel/done/list.csv          what was published, and list.csv.report.json
    FOLDER/bloctel/refused/list.csv       what was not, and why

Names that begin with a dot or end in .part or .tmp are ignored: such files are not complete yet. A file that is
worked on moves to FOLDER/.working, so that another file of its name cannot replace it, and is copied, since its
writer may still have it open. Beside it stand (a) the number of tries, since a file that kills its publisher would
kill the next one too, and (b) before it is published, a note. After a crash the publisher looks on the log whether
the file of the note was published: removing its numbers a second time might remove what was added in between. The
note says which log that is: a log that was renewed meanwhile tells nothing of it.
"""

import errno
import fcntl
import io
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from stream_scrub.errors import Refused
from stream_scrub.lists.intake.list_to_delta import ImportMode
from stream_scrub.lists.log.wire import RULES
from stream_scrub.model import RegisterName
from stream_scrub.publisher import openat

_ANY_CHANGE, _ANY_AGE = "allow-change", "allow-older"
_WAYS: Mapping[str, ImportMode] = {
    "": "full",
    _ANY_CHANGE: "full",
    _ANY_AGE: "full",
    "adds": "adds",
    f"adds/{_ANY_CHANGE}": "adds",
    "removes": "removes",
}
DONE, REFUSED = "done", "refused"
_NOT_YET = (".part", ".tmp")
_REPORT = ".report.json"
_WORKING = ".working"
_LOCK = ".lock"
_MODE_MASK = 0o060  # of a list that was handed over: numbers are nobody else's
_REPORT_MODE = 0o640  # for whoever handed the list over
_NAME_BYTES_MAX = 200  # with what stands beside it, within the 255 that a file system takes


class DroppedFile(NamedTuple):
    """A file in the folder: its register, the sub-folder (`way`) in which it lies, and when it was written
    (nanoseconds since 1970)."""

    path: Path
    register: str
    way: str
    written_ns: int

    @property
    def change(self) -> ImportMode:
        """Whether the file is the full list, or numbers to add or to remove."""
        return _WAYS[self.way]

    @property
    def any_change(self) -> bool:
        """Whether it may change any share of its register."""
        return self.way.endswith(_ANY_CHANGE)

    @property
    def any_age(self) -> bool:
        """Whether it may be older than the list that its register holds."""
        return self.way == _ANY_AGE


class PublicationNote(NamedTuple):
    """What is written down before a file is published: its SHA-256 (hex), the last offset of the log that was known
    then, and which log that is: the topic's name, and its id, since a name can be used twice."""

    sha256: str
    after: int
    log: str
    log_id: str


# For a note that is damaged, or was written by a version that named no log: the file may be on any log.
_OF_NO_LOG = PublicationNote("", -1, "", "")


class DropFolder:
    """One drop folder, used by one process at a time, which holds a lock as long as it lives. Raises Refused when
    another process has the lock, or when nothing can be written in the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._working = openat.own_folder(self._root, _WORKING)
            self._lock = openat.own_file(self._root, _LOCK)
        except OSError as error:
            raise Refused(f"the folder {path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            who = os.pread(self._lock, 200, 0).decode("utf-8", "replace").strip()
            self.close()
            raise Refused(f"another publisher ({who}) watches the folder {path}") from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def waiting(self) -> list[DroppedFile]:
        """The files that wait, the oldest first."""
        return _dropped(self._root, self._path)

    def left(self) -> list[DroppedFile]:
        """The files that an earlier publisher had begun to work on and did not finish."""
        return _dropped(self._working, self._path / _WORKING)

    def ignored(self) -> list[str]:
        """Sub-folders whose names are no register's."""
        return [name for name in openat.folders(self._root) if not _is_register(name)]

    def links(self) -> list[str]:
        """Links that have a register's name. Nothing behind them is read."""
        return [name for name in openat.links(self._root) if _is_register(name)]

    def claim(self, dropped: DroppedFile) -> DroppedFile:
        """Move a file to where nobody can replace it, under a name that a report can hold. Raises OSError."""
        ways = (dropped.register, *PurePosixPath(dropped.way).parts)
        name = speakable(dropped.path.name)
        claimed = dropped._replace(path=self._path / _WORKING / Path(*ways) / name)
        with openat.folder(self._root, *ways) as source, openat.folder(self._working, *ways, make=True) as to:
            _forget(to, name)  # of an earlier file, whose publisher was killed at its very end
            os.rename(dropped.path.name, name, src_dir_fd=source, dst_dir_fd=to)
        return claimed

    def take_in(self, claimed: DroppedFile) -> str:
        """Copy the file, so that nobody can write in it any more; returns the SHA-256 (hex) of the copy. Takes time
        in proportion to the file's length; may run in any thread. Raises OSError, also for a link or a special file.
        """
        made, name = sha256(), claimed.path.name
        with self._of(claimed) as within, openat.opened(within, name) as file:
            status = os.fstat(file.fileno())
            room = os.fstatvfs(within)
            if (left := status.st_size) > room.f_bavail * room.f_frsize:
                raise OSError(errno.ENOSPC, "there is no room for a copy of it")
            mode = 0o600 | (status.st_mode & _MODE_MASK)
            with openat.created(within, name, mode) as own:
                while chunk := file.read(1 << 20):
                    if (left := left - len(chunk)) < 0:
                        raise OSError(errno.EBUSY, "it is still written to")
                    made.update(chunk)
                    own.write(chunk)
                own.flush()
                os.utime(
                    own.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns)
                )  # the day that a full list speaks of
        return made.hexdigest()

    def open(self, claimed: DroppedFile) -> io.FileIO:
        """The file, opened for reading. The caller closes it. Raises OSError, also for a link or a special file."""
        with self._of(claimed) as within:
            return openat.opened(within, claimed.path.name)

    def note_tries(self, claimed: DroppedFile, tries: int) -> None:
        """Write down how often this file was tried; it is on the disk when this returns. Raises OSError."""
        with self._of(claimed) as within:
            openat.write(within, _tries_of(claimed.path.name), b"%d" % tries)

    def tries(self, claimed: DroppedFile) -> int:
        """How often this file was tried; 0 when nothing is written down."""
        try:
            with self._of(claimed) as within, openat.opened(within, _tries_of(claimed.path.name)) as file:
                return int(file.read(20))
        except (OSError, ValueError):
            return 0

    def begin(self, claimed: DroppedFile, note: PublicationNote) -> None:
        """Write down that this file is about to be published. Raises OSError."""
        with self._of(claimed) as within:
            openat.write(within, _note_of(claimed.path.name), json.dumps(note._asdict()).encode())

    def begun(self, claimed: DroppedFile) -> PublicationNote | None:
        """The note of this file, if there is one. Of one that cannot be read every field is empty."""
        try:
            with self._of(claimed) as within, openat.opened(within, _note_of(claimed.path.name)) as file:
                said = json.loads(file.read())
            return PublicationNote(
                str(said["sha256"]), int(said["after"]), str(said["log"]), str(said["log_id"])
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return _OF_NO_LOG

    def finish(self, claimed: DroppedFile, where: str, report: Mapping[str, Any]) -> Path:
        """Move the file to `done` or `refused` with its report; returns its new path. Raises OSError."""
        with self._of(claimed) as within, openat.folder(self._root, claimed.register, where, make=True) as to:
            name = openat.free(to, claimed.path.name)
            openat.write(to, name + _REPORT, json.dumps(report, indent=1).encode() + b"\n", _REPORT_MODE)
            os.rename(claimed.path.name, name, src_dir_fd=within, dst_dir_fd=to)
            _forget(within, claimed.path.name)
        return self._path / claimed.register / where / name

    def forget_older(self, before_s: float, most: int) -> int:
        """Delete files that came to `done` or `refused` before `before_s` (seconds since 1970), at most `most`;
        returns how many."""
        count = 0
        for register in filter(_is_register, openat.folders(self._root)):
            for where in (DONE, REFUSED):
                with suppress(OSError), openat.folder(self._root, register, where) as within:
                    count += openat.remove_older(within, before_s, most - count)
        return count

    def close(self) -> None:
        """Release the folder for another process."""
        for held in (self._lock, self._working, self._root):
            os.close(held)

    def _of(self, claimed: DroppedFile) -> openat.Within:
        return openat.folder(self._working, claimed.register, *PurePosixPath(claimed.way).parts)


def _dropped(root: int, path: Path) -> list[DroppedFile]:
    found = [
        DroppedFile(path / register / way / name, register, way, written_ns)
        for register in openat.folders(root)
        if _is_register(register)
        for way in _WAYS
        for name, written_ns in _files(root, register, *PurePosixPath(way).parts)
    ]
    return sorted(found, key=lambda each: (each.written_ns, each.path.name))


def _is_register(name: str) -> bool:
    register = RegisterName.parse(name)
    return register is not None and name != RULES and not register.looks_like_number


def _files(root: int, *ways: str) -> Iterator[tuple[str, int]]:
    """The complete files in a folder, if it exists, and when each was written."""
    for name, written_ns in openat.files(root, *ways):
        if not (name.startswith(".") or name.lower().endswith(_NOT_YET)):
            yield name, written_ns


def _note_of(name: str) -> str:
    return f".{name}.note"


def _tries_of(name: str) -> str:
    return f".{name}.tries"


def _forget(within: int, name: str) -> None:
    """Delete the notes about a file that is not there any more."""
    for beside in (_note_of(name), _tries_of(name)):
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=within)


def speakable(name: str) -> str:
    """The name as valid UTF-8 that a seal and a report can hold, short enough that the names of its note and report
    fit too."""
    text = os.fsencode(name).decode("utf-8", "replace")
    if len(text.encode()) <= _NAME_BYTES_MAX:
        return text
    return (
        text.encode()[: _NAME_BYTES_MAX - 20].decode("utf-8", "ignore")
        + f"...{sha256(os.fsencode(name)).hexdigest()[:16]}"
    )

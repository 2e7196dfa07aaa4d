"""The drop folder. Whole files come in by rename; the same files go out to `done` or `refused`, each with a
report.

    FOLDER/tps/list.csv               the full list of tps
    FOLDER/tps/allow-change/list.csv  the same, and it may change as much of the register as it does
    FOLDER/tps/allow-older/list.csv   the same, and it may be from before what the register holds
    FOLDER/consent/all-consented/list.csv the same, and all of its persons consented; also adds/all-consented
    FOLDER/internal/allow-ends/list.csv   the same, and its expiry dates end oppositions; also adds/allow-ends
    FOLDER/internal/adds/list.csv         numbers to add; as many as they are in adds/allow-change
    FOLDER/internal/removes/list.csv      numbers to remove
    FOLDER/internal@acme/list.csv         ... of a scoped register
    FOLDER/tps/done/list.csv          what was published, and list.csv.report.json
    FOLDER/tps/refused/list.csv       what was not, and why

Names that begin with a dot or end in .part or .tmp are ignored: such files are not complete yet. A file that is
worked on moves to FOLDER/.working, so that another file of its name cannot replace it, and is copied, since its
writer may still have it open. Next to it are (a) the number of tries, since a file that kills its publisher would
kill the next one too, and (b) before it is published, a note. After a crash the publisher looks on the log whether
the file of the note was published: removing its numbers a second time might remove what was added in between. The
note says which log that is: a log that was renewed meanwhile says nothing of it.

Others write in the folder, and a program that may rename one of its folders can redirect a path between two calls. So all
operations go from an open folder to a name in it, and never through a link.
"""

import errno
import fcntl
import io
import json
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from stream_scrub.atomic_file import atomic_file
from stream_scrub.errors import Refused
from stream_scrub.imports.plan_import import ImportMode
from stream_scrub.log.wire import RULES
from stream_scrub.model import RegisterName

_ANY_CHANGE, _ANY_AGE, _ENDS = "allow-change", "allow-older", "allow-ends"
ALL_CONSENTED = "all-consented"
_WAYS: Mapping[str, ImportMode] = {
    "": "full",
    _ANY_CHANGE: "full",
    _ANY_AGE: "full",
    _ENDS: "full",
    ALL_CONSENTED: "full",
    "adds": "adds",
    f"adds/{_ANY_CHANGE}": "adds",
    f"adds/{_ENDS}": "adds",
    f"adds/{ALL_CONSENTED}": "adds",
    "removes": "removes",
}
DONE, REFUSED = "done", "refused"
_NOT_YET = (".part", ".tmp")
_REPORT = ".report.json"
_WORKING = ".working"
_LOCK = ".lock"
_NOTE, _TRIES, _ORDER = ".{}.note", ".{}.tries", ".{}.order"  # of a file with this name
_ORDER_BYTES_MAX = 65_536
_MODE_MASK = 0o060  # of a list that was handed over: other users may not read numbers
_REPORT_MODE = 0o640  # for the person who handed the list over
_HANDED_MODE = 0o640  # the publisher may be another user of the group
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # opening a named pipe must not block
_ASIDE_MAX = 1000
_NAME_BYTES_MAX = 200  # with the names of its note and report, within the 255 that a file system takes


class DroppedFile(NamedTuple):
    """A file in the drop folder: its register's folder, the sub-folder (`way`) in which it lies, and when it was written
    (nanoseconds since 1970)."""

    path: Path
    folder: str
    way: str
    written_ns: int

    @property
    def register(self) -> str:
        """The register's name. The folder may spell its campaign in another way."""
        return str(RegisterName.read(self.folder))

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

    @property
    def all_consented(self) -> bool:
        """Whether every person in it consented, whatever its columns say."""
        return self.way.endswith(ALL_CONSENTED)

    @property
    def ends(self) -> bool:
        """Whether its expiry dates count in `internal` as well."""
        return self.way.endswith(_ENDS)


class PublicationNote(NamedTuple):
    """What is written down before a file is published: its SHA-256 (hex), the last offset of the log that was known
    then, and which log that is: the topic's name, and its id, since a name can be used twice."""

    sha256: str
    after: int
    log: str
    log_id: str


class HandedOrder(NamedTuple):
    """How a sender says to read a file: as `--columns` and `--no-into`. It counts for the file with this SHA-256 alone."""

    sha256: str
    columns: str
    no_into: str


# For a note that is damaged: the file may be on any log.
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
            self._working = _own_folder(self._root, _WORKING)
            self._lock = _own_file(self._root, _LOCK)
        except OSError as error:
            raise Refused(f"the drop folder {path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            who = os.pread(self._lock, 200, 0).decode("utf-8", "replace").strip()
            self.close()
            raise Refused(f"another publisher ({who}) watches the drop folder {path}") from error
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
        return [name for name in _folders(self._root) if not _is_register(name)]

    def links(self) -> list[str]:
        """Links that have a register's name. Nothing behind them is read."""
        return [each.name for each in _entries(self._root) if each.is_symlink() and _is_register(each.name)]

    def claim(self, dropped: DroppedFile) -> DroppedFile:
        """Move a file to where no one can replace it, under a name that a report can hold. Raises OSError."""
        ways = (dropped.folder, *PurePosixPath(dropped.way).parts)
        name = speakable(dropped.path.name)
        claimed = dropped._replace(path=self._path / _WORKING / Path(*ways) / name)
        with _folder(self._root, *ways) as source, _folder(self._working, *ways, make=True) as to:
            # Another file may get this name in the folder at any time, so this one leaves it before work begins.
            _forget(to, name)  # of an earlier file, whose publisher was killed at its very end
            os.rename(dropped.path.name, name, src_dir_fd=source, dst_dir_fd=to)
            if name == dropped.path.name:  # `hand_in` gives no other name an order
                order = _ORDER.format(name)
                with suppress(FileNotFoundError):
                    os.rename(order, order, src_dir_fd=source, dst_dir_fd=to)
        return claimed

    def take_in(self, claimed: DroppedFile) -> str:
        """Copy the file, so that no one can write to it any more; returns the SHA-256 (hex) of the copy. Takes time
        in proportion to the file's length; may run in any thread. Raises OSError, also for a link or a special file.
        """
        # The sender may still have the file open.
        made, name = sha256(), claimed.path.name
        with self._of(claimed) as within, _opened(within, name) as file:
            status = os.fstat(file.fileno())
            room = os.fstatvfs(within)
            if (left := status.st_size) > room.f_bavail * room.f_frsize:
                raise OSError(errno.ENOSPC, "there is no room for a copy of it")
            mode = 0o600 | (status.st_mode & _MODE_MASK)
            with _created(within, name, mode) as own:
                while chunk := file.read(1 << 20):
                    if (left := left - len(chunk)) < 0:
                        raise OSError(errno.EBUSY, "it is still written to")
                    made.update(chunk)
                    own.write(chunk)
                own.flush()
                # the day that a full list speaks of
                os.utime(own.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        return made.hexdigest()

    def open(self, claimed: DroppedFile) -> io.FileIO:
        """The file, opened for reading. The caller closes it. Raises OSError, also for a link or a special file."""
        with self._of(claimed) as within:
            return _opened(within, claimed.path.name)

    def order(self, claimed: DroppedFile) -> HandedOrder | None:
        """How its sender says to read this file; None if there is no readable order."""
        try:
            with self._of(claimed) as within, _opened(within, _ORDER.format(claimed.path.name)) as file:
                said = json.loads(file.read(_ORDER_BYTES_MAX))
            return HandedOrder(str(said["sha256"]), str(said["columns"]), str(said["no_into"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def note_tries(self, claimed: DroppedFile, tries: int) -> None:
        """Write down how often this file was tried; it is on the disk when this returns. Raises OSError."""
        with self._of(claimed) as within:
            _write(within, _TRIES.format(claimed.path.name), b"%d" % tries)

    def tries(self, claimed: DroppedFile) -> int:
        """How often this file was tried; 0 when nothing is written down."""
        try:
            with self._of(claimed) as within, _opened(within, _TRIES.format(claimed.path.name)) as file:
                return int(file.read(20))
        except (OSError, ValueError):
            return 0

    def begin(self, claimed: DroppedFile, note: PublicationNote) -> None:
        """Write down that this file is about to be published. Raises OSError."""
        with self._of(claimed) as within:
            # Before the publication: a second removal might remove what was added in between.
            _write(within, _NOTE.format(claimed.path.name), json.dumps(note._asdict()).encode())

    def begun(self, claimed: DroppedFile) -> PublicationNote | None:
        """The note of this file, if there is one. Of one that cannot be read every field is empty."""
        try:
            with self._of(claimed) as within, _opened(within, _NOTE.format(claimed.path.name)) as file:
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
        with self._of(claimed) as within, _folder(self._root, claimed.folder, where, make=True) as to:
            name = _free(to, claimed.path.name)
            _write(to, name + _REPORT, json.dumps(report, indent=1).encode() + b"\n", _REPORT_MODE)
            os.rename(claimed.path.name, name, src_dir_fd=within, dst_dir_fd=to)
            _forget(within, claimed.path.name)
        return self._path / claimed.folder / where / name

    def forget_older(self, before_s: float, most: int) -> int:
        """Delete files that came to `done` or `refused` before `before_s` (seconds since 1970), at most `most`;
        returns how many."""
        count = 0
        for register in filter(_is_register, _folders(self._root)):
            for where in (DONE, REFUSED):
                with suppress(OSError), _folder(self._root, register, where) as within:
                    count += _remove_older(within, before_s, most - count)
        return count

    def close(self) -> None:
        """Release the folder for another process."""
        for held in (self._lock, self._working, self._root):
            os.close(held)

    def _of(self, claimed: DroppedFile) -> AbstractContextManager[int]:
        return _folder(self._working, claimed.folder, *PurePosixPath(claimed.way).parts)


def hand_in(
    path: Path,
    ways: Sequence[str],
    name: str,
    source: IO[bytes],
    written_s: float | None = None,
    order: HandedOrder | None = None,
) -> None:
    """Put a file into the drop folder at `path` as a sender does: complete or not at all, and never through a link. A file
    of its name that waits there stays. `ways`: the register's folder and those in it. `written_s`: the file's time (seconds
    since 1970). `order`: how to read it. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    with (
        _root(path) as root,
        _folder(root, *ways, make=True) as within,
        atomic_file(within, f".{secrets.token_hex(8)}.tmp", _HANDED_MODE) as own,
    ):
        shutil.copyfileobj(source, own.out)
        own.out.flush()
        if written_s is not None:
            os.utime(own.out.fileno(), (written_s, written_s))
        named = speakable(name)
        # A name that says that a file is not complete yet would keep it from being read.
        kept = _free(within, f"{named}.list" if named.lower().endswith(_NOT_YET) else named)
        if order is not None:
            _write(within, _ORDER.format(kept), json.dumps(order._asdict()).encode(), _HANDED_MODE)
        own.keep(kept)


def reports(path: Path, register: str) -> set[tuple[str, str]]:
    """The reports about files of a register: in which of `done` and `refused`, and the name. Raises OSError."""
    found = set[tuple[str, str]]()
    for where in (DONE, REFUSED):
        with suppress(FileNotFoundError), _root(path) as root, _folder(root, register, where) as within:
            found.update((where, each.name) for each in _entries(within) if each.name.endswith(_REPORT))
    return found


def report(path: Path, register: str, where: str, name: str) -> dict[str, Any]:
    """One of the reports. Raises OSError, also for a link or a special file; ValueError if it is none."""
    with _root(path) as root, _folder(root, register, where) as within, _opened(within, name) as file:
        said: dict[str, Any] = json.loads(file.read())
        return said


@contextmanager
def _root(path: Path) -> Iterator[int]:
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield held
    finally:
        os.close(held)


def _dropped(root: int, path: Path) -> list[DroppedFile]:
    found = [
        DroppedFile(path / register / way / name, register, way, written_ns)
        for register in _folders(root)
        if _is_register(register)
        for way in _WAYS
        for name, written_ns in _files(root, register, *PurePosixPath(way).parts)
    ]
    return sorted(found, key=lambda each: (each.written_ns, each.path.name))


def _is_register(name: str) -> bool:
    register = RegisterName.read(name)
    return register is not None and name != RULES and not register.looks_like_number


def _files(root: int, *ways: str) -> Iterator[tuple[str, int]]:
    """The complete files in a folder, if it exists, and when each was written, in nanoseconds since 1970."""
    with suppress(OSError), _folder(root, *ways) as within, os.scandir(within) as found:
        for entry in found:
            if not (entry.name.startswith(".") or entry.name.lower().endswith(_NOT_YET)):
                with suppress(OSError):  # taken away meanwhile
                    if entry.is_file(follow_symlinks=False):
                        yield entry.name, entry.stat(follow_symlinks=False).st_mtime_ns


def _forget(within: int, name: str) -> None:
    """Delete the notes about a file that is not there any more."""
    for note in (_NOTE, _TRIES, _ORDER):
        with suppress(FileNotFoundError):
            os.unlink(note.format(name), dir_fd=within)


def speakable(name: str) -> str:
    """The name as valid UTF-8 that a seal and a report can hold, short enough that the names of its note and report
    fit too."""
    text = os.fsencode(name).decode("utf-8", "replace")
    if len(text.encode()) <= _NAME_BYTES_MAX:
        return text
    start = text.encode()[: _NAME_BYTES_MAX - 20].decode("utf-8", "ignore")
    return f"{start}...{sha256(os.fsencode(name)).hexdigest()[:16]}"


@contextmanager
def _folder(base: int, *names: str, make: bool = False) -> Iterator[int]:
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


def _own_folder(base: int, name: str) -> int:
    """Open a folder that no other user may read. Anything else of that name is renamed. Raises OSError."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=base)
    if not _is_own(base, name, stat.S_ISDIR):
        _put_aside(base, name)
        os.mkdir(name, 0o700, dir_fd=base)
    held = os.open(name, _FOLDER, dir_fd=base)
    os.fchmod(held, 0o700)
    return held


def _own_file(base: int, name: str) -> int:
    """A file of ours, opened for reading and writing. What has its name and is not ours, or has a second hard link,
    is renamed. Raises OSError."""
    if not _is_own(base, name, stat.S_ISREG):
        with suppress(FileNotFoundError):
            _put_aside(base, name)
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=base)


def _is_own(base: int, name: str, kind: Callable[[int], bool]) -> bool:
    try:
        status = os.stat(name, dir_fd=base, follow_symlinks=False)
    except FileNotFoundError:
        return False
    single = status.st_nlink == 1 or stat.S_ISDIR(status.st_mode)
    return kind(status.st_mode) and single and status.st_uid == os.geteuid()


def _put_aside(base: int, name: str) -> None:
    for count in range(_ASIDE_MAX):
        if not _exists(base, aside := f"{name}.foreign-{count}"):
            os.rename(name, aside, src_dir_fd=base, dst_dir_fd=base)
            return
    raise FileExistsError(0, "too much stands where the publisher works")


def _exists(within: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=within, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _opened(within: int, name: str) -> io.FileIO:
    """A file, opened for reading. Raises OSError, also for a link or a special file."""
    held = os.open(name, _READ, dir_fd=within)
    if not stat.S_ISREG(os.fstat(held).st_mode):
        os.close(held)
        raise OSError(0, "it is not a regular file")
    return io.FileIO(held, closefd=True)


@contextmanager
def _created(within: int, name: str, mode: int = 0o600) -> Iterator[io.BufferedWriter]:
    """A new file with that mode, whatever the umask. It takes its name only once it is complete and on the disk;
    otherwise nothing of it is left. Raises OSError."""
    temporary = f".{name}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=within)
    with atomic_file(within, temporary, mode) as file:
        yield file.out
        file.keep(name)


def _write(within: int, name: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file with that content and mode: complete or not at all. Raises OSError."""
    with _created(within, name, mode) as file:
        file.write(content)


def _free(within: int, name: str) -> str:
    """A name that is free, by adding .2, .3 and so on: lists come under the same name every day."""
    wanted, count = name, 1
    while _exists(within, wanted):
        count += 1
        wanted = f"{name}.{count}"
    return wanted


def _folders(within: int) -> list[str]:
    """The folders in it by name, hidden ones left out."""
    return [entry.name for entry in _entries(within) if entry.is_dir(follow_symlinks=False)]


def _entries(within: int) -> list["os.DirEntry[str]"]:
    """What is in a folder by name, hidden ones left out."""
    with suppress(OSError), os.scandir(within) as found:
        return sorted((e for e in found if not e.name.startswith(".")), key=lambda entry: entry.name)
    return []


def _remove_older(within: int, before_s: float, most: int) -> int:
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

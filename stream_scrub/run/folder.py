"""The drop folder: whole files in, by rename; the same files out, in `done` or `refused`, a report beside each.

    FOLDER/bloctel/list.csv               the full list of bloctel
    FOLDER/bloctel/allow-change/list.csv  the same, and it may change as much of the register as it does
    FOLDER/bloctel/allow-older/list.csv   the same, and it may be from before what the register holds
    FOLDER/internal/adds/list.csv         numbers to add; as many as they are in adds/allow-change
    FOLDER/internal/removes/list.csv      numbers to remove
    FOLDER/internal@acme/list.csv         ... of a scoped register
    FOLDER/bloctel/done/list.csv          what was published, and list.csv.report.json
    FOLDER/bloctel/refused/list.csv       what was not, and why

Names that begin with a dot or end in .part or .tmp are not there yet. A file that is worked on is under
FOLDER/.working, out of the reach of whoever would hand over another one of its name; before it is published, a note
beside it says so. A publisher that was killed then looks on the log whether it did it: to remove numbers a second
time might remove what was added in between.
"""

import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from stream_scrub.errors import Refused
from stream_scrub.lists.listed import Change
from stream_scrub.lists.wire import RULES

_REGISTER = re.compile(r"[a-z0-9][a-z0-9-]*+(@[a-z0-9][a-z0-9._-]*+)?")
_ANY_CHANGE, _ANY_AGE = "allow-change", "allow-older"
_WAYS: Mapping[str, Change] = {
    "": "full",
    _ANY_CHANGE: "full",
    _ANY_AGE: "full",
    "adds": "adds",
    f"adds/{_ANY_CHANGE}": "adds",
    "removes": "removes",
}
_NOT_YET = (".part", ".tmp")
_REPORT = ".report.json"
_WORKING = ".working"
_LOCK = ".lock"


class Dropped(NamedTuple):
    """A file that was handed over: for which register, in which sub-folder of it, and when it was written."""

    path: Path
    register: str
    way: str
    written_ns: int

    @property
    def change(self) -> Change:
        """What it is to its register."""
        return _WAYS[self.way]

    @property
    def any_change(self) -> bool:
        """Whether it may change any share of its register."""
        return self.way.endswith(_ANY_CHANGE)

    @property
    def any_age(self) -> bool:
        """Whether it may be from before what its register holds."""
        return self.way == _ANY_AGE


class Note(NamedTuple):
    """What was said before a file was published: its digest, and the log's last offset that was known then."""

    sha256: str
    after: int


class Folder:
    """One drop folder. One process at a time, which holds its lock as long as it lives. Raises Refused at the start
    when another one has it, or when nothing can be written in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._working = path / _WORKING
        try:
            self._working.mkdir(parents=True, exist_ok=True)
            self._lock: BinaryIO = (path / _LOCK).open("ab")
        except OSError as error:
            raise Refused(f"the folder {path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            who = (path / _LOCK).read_text("utf-8", "replace").strip()
            raise Refused(f"another publisher ({who}) watches the folder {path}") from error
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self._lock.flush()

    def waiting(self) -> list[Dropped]:
        """What was handed over, the oldest first."""
        return _dropped(self._path)

    def left(self) -> list[Dropped]:
        """What somebody worked on who did not come to its end."""
        return _dropped(self._working)

    def ignored(self) -> list[str]:
        """Sub-folders whose names are no register's."""
        return [each.name for each in _folders(self._path) if not _is_register(each.name)]

    def claim(self, dropped: Dropped) -> Dropped:
        """The file, where nobody replaces it any more. Raises OSError."""
        target = self._working / dropped.register / dropped.way / dropped.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        claimed = dropped._replace(path=target)
        _note_of(claimed).unlink(
            missing_ok=True
        )  # of an earlier file, whose publisher was killed at its very end
        dropped.path.replace(target)
        return claimed

    @staticmethod
    def begin(claimed: Dropped, note: Note) -> None:
        """Say that this file is about to be published. Raises OSError."""
        _write(_note_of(claimed), json.dumps(note._asdict()).encode())

    @staticmethod
    def begun(claimed: Dropped) -> Note | None:
        """What was said of this file, if anything was."""
        try:
            said = json.loads(_note_of(claimed).read_bytes())
            return Note(str(said["sha256"]), int(said["after"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def finish(self, claimed: Dropped, where: str, report: Mapping[str, Any]) -> Path:
        """Move the file to `done` or `refused` with its report; returns where it is now. Raises OSError."""
        target = _free(self._path / claimed.register / where, claimed.path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target.with_name(target.name + _REPORT), json.dumps(report, indent=1).encode() + b"\n")
        claimed.path.replace(target)
        _note_of(claimed).unlink(missing_ok=True)
        return target

    def close(self) -> None:
        """Let another process have it."""
        self._lock.close()


def _dropped(root: Path) -> list[Dropped]:
    found = [
        Dropped(file, register.name, way, written_ns)
        for register in _folders(root)
        if _is_register(register.name)
        for way in _WAYS
        for file, written_ns in _files(register / way)
    ]
    return sorted(found, key=lambda each: (each.written_ns, each.path.name))


def _is_register(name: str) -> bool:
    return _REGISTER.fullmatch(name) is not None and name != RULES


def _folders(path: Path) -> list[Path]:
    try:
        entries = sorted(path.iterdir())
    except OSError:
        return []
    return [each for each in entries if not each.name.startswith(".") and each.is_dir()]


def _files(path: Path) -> Iterator[tuple[Path, int]]:
    """The files that have been handed over in a folder, if it is there, and when each was written."""
    try:
        entries = list(os.scandir(path))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower().endswith(_NOT_YET):
            continue
        try:
            if entry.is_file(follow_symlinks=False):
                yield Path(entry.path), entry.stat(follow_symlinks=False).st_mtime_ns
        except OSError:  # taken away meanwhile
            continue


def _note_of(claimed: Dropped) -> Path:
    return claimed.path.with_name(f".{claimed.path.name}.note")


def _free(folder: Path, name: str) -> Path:
    """A name in the folder that no file has: lists come under the same name every day."""
    target, count = folder / name, 1
    while target.exists():
        count += 1
        target = folder / f"{name}.{count}"
    return target


def _write(path: Path, content: bytes) -> None:
    """Beside, to the disk, and renamed: whole or not there."""
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)

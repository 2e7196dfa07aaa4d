"""Lists that were dropped on the page and are not published yet: in a folder of their own, for a quarter of an hour.

They hold people's numbers. So nobody but this user may read them, and they go when they are published, when another one
of the same person comes, when their time is over, and when the process ends that took them. Whatever was killed before it
could delete its own, the next look does: at every start, and each minute.
"""

import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

STAGED_S = 900.0
STAGED_MAX = 8
_FOLDER = "dropped"
_SAID = "said.json"
_ID = re.compile(r"[0-9a-f]{32}")


class StagedList(msgspec.Struct):
    """One list: what was said of it, by whom, and where its file is."""

    id: str
    who: str
    file: str
    said: Mapping[str, str]


class Busy(Exception):
    """Another list is being taken or read."""


class Full(Exception):
    """As many lists wait to be published as there is room for."""


class Staged:
    """The folder. Processes of one server share it, so that any of them may get the second click: it is in
    `worker.state_dir`, else among the temporary files, under a name that stays the same."""

    def __init__(self, state_dir: str) -> None:
        made = Path(state_dir) / _FOLDER if state_dir else None
        self._folder = made or Path(tempfile.gettempdir()) / f"stream-scrub-dropped-{os.geteuid()}"
        self._ours: set[str] = set()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Among all processes of this server, one at a time: reading a list takes memory. Ends with the process. Raises
        Busy, OSError."""
        opened = os.open(self._made(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Busy from error
            yield
        finally:
            os.close(opened)

    @contextmanager
    def taking(self, who: str) -> Iterator[Path]:
        """A new folder for one list, in the place of the one that they dropped before; gone again if the block fails.
        Raises Full, OSError."""
        folder = self._made()
        self.forget_old()
        for each in self._all():
            if (before := self._said(each.name)) is not None and before.who == who:
                self.forget(each.name)
        if len(self._all()) >= STAGED_MAX:
            raise Full
        made = folder / secrets.token_hex(16)
        made.mkdir(mode=0o700)
        self._ours.add(made.name)
        taken = False
        try:
            yield made
            taken = True
        finally:
            if not taken:
                self.forget(made.name)

    def keep(self, made: Path, who: str, file: str, said: Mapping[str, str]) -> StagedList:
        """Note what belongs to a list that was taken. Raises OSError."""
        staged = StagedList(made.name, who, str((made / file).resolve()), dict(said))
        (made / _SAID).write_bytes(msgspec.json.encode(staged))
        return staged

    def renew(self, id_: str, more_s: float) -> None:
        """Its time begins anew so many seconds from now: while it is read, nobody deletes it."""
        ends = time.time() + more_s
        with suppress(OSError):
            os.utime(self._folder / id_, (ends, ends))

    def find(self, id_: str, who: str) -> StagedList | None:
        """The list of that id, if it is still here and is theirs."""
        if _ID.fullmatch(id_) is None or self._is_over(self._folder / id_):
            return None
        found = self._said(id_)
        return found if found is not None and found.who == who else None

    def forget(self, id_: str) -> None:
        """Delete one."""
        self._ours.discard(id_)
        shutil.rmtree(self._folder / id_, ignore_errors=True)

    def forget_old(self) -> None:
        """Delete those whose time is over, also of processes that were killed."""
        for each in self._all():
            if self._is_over(each):
                self.forget(each.name)

    def close(self) -> None:
        """Delete what this process took."""
        for id_ in tuple(self._ours):
            self.forget(id_)

    def _all(self) -> list[Path]:
        with suppress(OSError):
            if self._is_ours():
                return [each for each in self._folder.iterdir() if _ID.fullmatch(each.name)]
        return []

    def _said(self, id_: str) -> StagedList | None:
        try:
            return msgspec.json.decode((self._folder / id_ / _SAID).read_bytes(), type=StagedList)
        except (OSError, msgspec.MsgspecError):
            return None

    @staticmethod
    def _is_over(made: Path) -> bool:
        try:
            return time.time() - made.stat().st_mtime > STAGED_S
        except OSError:
            return True

    def _made(self) -> Path:
        """The folder. Raises OSError, also when somebody else has put one there."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if not self._is_ours():
            raise PermissionError(0, f"{_FOLDER}: the folder is another user's")
        self._folder.chmod(0o700)  # a volume that is mounted anew may have given it to a group
        return self._folder

    def _is_ours(self) -> bool:
        found = self._folder.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()

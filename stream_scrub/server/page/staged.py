"""Lists that were dropped on the page and are not published yet: in a folder of their own, for a quarter of an hour.

They hold people's numbers. So nobody but this user may read them, and they go when they are published, when their time
is over, and when the process ends that took them.
"""

import asyncio
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

STAGED_S = 900.0
_FOLDER = "dropped"
_SAID = "said.json"
_ID = re.compile(r"[0-9a-f]{32}")


class StagedList(msgspec.Struct):
    """One list: what was said of it, by whom, and where its file is."""

    id: str
    who: str
    file: str
    said: Mapping[str, str]


class Staged:
    """The folder. Processes of one server share it where they have a `worker.state_dir`, so that any of them may get
    the second click."""

    def __init__(self, state_dir: str) -> None:
        self._shared = Path(state_dir) / _FOLDER if state_dir else None
        self._own: Path | None = None
        self._ours: set[str] = set()

    @contextmanager
    def taking(self) -> Iterator[Path]:
        """A new folder for one list; gone again if the block fails. Raises OSError."""
        folder = self._folder()
        self.forget_old()
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
        """Note what belongs to a list that was taken, and forget it in time. Raises OSError."""
        staged = StagedList(made.name, who, str((made / file).resolve()), dict(said))
        (made / _SAID).write_bytes(msgspec.json.encode(staged))
        asyncio.get_running_loop().call_later(STAGED_S, self.forget, made.name)
        return staged

    def find(self, id_: str, who: str) -> StagedList | None:
        """The list of that id, if it is still here and is theirs."""
        if _ID.fullmatch(id_) is None:
            return None
        try:
            found = msgspec.json.decode((self._folder() / id_ / _SAID).read_bytes(), type=StagedList)
        except (OSError, msgspec.MsgspecError):
            return None
        return found if found.who == who else None

    def forget(self, id_: str) -> None:
        """Delete one."""
        self._ours.discard(id_)
        shutil.rmtree(self._folder() / id_, ignore_errors=True)

    def forget_old(self) -> None:
        """Delete those whose time is over, also of processes that were killed."""
        with suppress(OSError):
            for each in self._folder().iterdir():
                if _ID.fullmatch(each.name) and time.time() - each.stat().st_mtime > STAGED_S:
                    self.forget(each.name)

    def close(self) -> None:
        """Delete what this process took."""
        for id_ in tuple(self._ours):
            self.forget(id_)
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def _folder(self) -> Path:
        if self._shared is not None:
            self._shared.mkdir(mode=0o700, exist_ok=True)
            return self._shared
        if self._own is None:
            self._own = Path(tempfile.mkdtemp(prefix="stream-scrub-dropped-"))
        return self._own

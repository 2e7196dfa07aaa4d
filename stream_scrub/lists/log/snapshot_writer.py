"""Keeps the snapshot of a follower: uses it at the start when it is good, writes it again now and then.

Writing has a thread of its own, so that no delta waits for a disk. Processes that share a folder share the snapshot:
whoever holds its lock writes, all may read.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from stream_scrub.lists.log import snapshot
from stream_scrub.lists.log.replay import Replay, ReplayState
from stream_scrub.lists.log.start_point import check_seals
from stream_scrub.model import Deadline, LogReader

SNAPSHOT_EVERY_S = 60.0
# Writing is to take a twentieth of the time at most, however large the registers are.
_REST = 20
_LOCK = "stream-scrub-snapshot.lock"


class SnapshotWriter:
    """The snapshot of one log in one folder. `offer` never blocks; `on_trouble(text)` is told of each new trouble."""

    def __init__(
        self,
        folder: Path,
        log: str,
        *,
        on_trouble: Callable[[str], None] = lambda _: None,
        every_s: float = SNAPSHOT_EVERY_S,
    ) -> None:
        self._folder = folder
        self._log = log
        self._on_trouble = on_trouble
        self._every_s = every_s
        self._offered: ReplayState | None = None
        self._written = -1
        self._trouble = ""
        self._lock: IO[bytes] | None = None
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)

    def begin(self, reader: LogReader, deadline: Deadline) -> Replay | None:
        """What the snapshot knows, and the reader where it goes on; None when there is no good one.

        Raises Unavailable, Corrupt, Refused.
        """
        try:
            state = snapshot.load(self._folder, self._log)
            if state is None:
                return None
            check_seals(reader, snapshot.heads(state), deadline)
        except (ValueError, OSError) as error:
            self._report(f"the snapshot is not used, the log is replayed: {_why(error)}")
            with suppress(OSError):  # else the parts of it that are still right would be kept, and are not
                (self._folder / snapshot.MANIFEST).unlink(missing_ok=True)
            return None
        reader.seek(state.index.position + 1)
        self._written = state.index.position
        return Replay.resuming(state)

    def offer(self, state: ReplayState) -> None:
        """A state that may be written, now or later or never."""
        self._offered = state
        if not self._thread.is_alive() and not self._stopping.is_set():
            self._thread.start()
        self._news.set()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Write what was offered last, and end."""
        self._stopping.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            stopping = self._stopping.is_set()
            started = time.monotonic()
            state = self._offered
            if state is not None and state.index.position > self._written and self._locked():
                self._write(state)
            if stopping:
                break
            took = time.monotonic() - started
            self._stopping.wait(max(self._every_s, _REST * took))
        if self._lock is not None:
            self._lock.close()

    def _write(self, state: ReplayState) -> None:
        try:
            snapshot.save(self._folder, self._log, state)
        except OSError as error:
            self._report(f"no snapshot could be written: {_why(error)}")
        else:
            self._written = state.index.position
            self._trouble = ""

    def _locked(self) -> bool:
        """Whether this process is the one that writes. The lock ends with its process, however that ends."""
        if self._lock is not None:
            return True
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            lock = os.fdopen(held, "wb")
        except OSError as error:
            self._report(f"no snapshot could be written: {_why(error)}")
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process has it
            lock.close()
            return False
        self._lock = lock
        return True

    def _report(self, text: str) -> None:
        if text != self._trouble:
            self._trouble = text
            self._on_trouble(text)


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)

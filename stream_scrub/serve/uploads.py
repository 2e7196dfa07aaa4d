"""Files that people upload on the page: their private folder, who may see them, how many there are, how long they stay.

Each upload has a folder of its own. The processes of a server share all of them, since any of them may get the next
request. An upload belongs to the token that sent it and is found by an id that cannot be guessed. The process that received
it locks its folder until it ends, however that ends. So a folder without a lock is what a killed process left, and is deleted.
"""

import fcntl
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_scrub.languages import say
from stream_scrub.serve.bodies import Kind, Problem, too_many

_UPLOAD, _JOB = "upload", "job.json"
_ID = re.compile(r"[0-9a-f]{32}")
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SWEEP_S = 5.0


class UploadLimits(NamedTuple):
    """What uploads may take: bytes of one as it is sent, of one owner's and of all; how many one owner may have, and all
    together; and how many are worked on at once."""

    file_bytes: int
    owner_bytes: int
    all_bytes: int
    owner_max: int
    all_max: int
    at_once: int


class Job(msgspec.Struct, frozen=True):
    """An upload: its owner, since when it is kept (seconds since 1970) and for how long, how many bytes it may have while it
    is received, the file's name, and the fields of its form."""

    id: str
    owner: str
    at: float
    keep_s: float
    most: int = 0
    file: str = ""
    choices: dict[str, str] = {}


_decode_job = msgspec.json.Decoder(Job).decode


class Uploads:
    """The folder: in `worker.state_dir`, else in the temporary folder under a fixed name. `is_gone`: what to say of an
    upload that is not there (any more)."""

    def __init__(self, name: str, state_dir: str, keep_s: float, limits: UploadLimits, is_gone: str) -> None:
        fallback = Path(tempfile.gettempdir()) / f"stream-scrub-{name}-{os.geteuid()}"
        self.folder = Path(state_dir) / name if state_dir else fallback
        self.keep_s = keep_s
        self.limits = limits
        self._is_gone = is_gone
        self._locks: dict[str, int] = {}
        self._stopping = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name=name, daemon=True)

    def start(self) -> None:
        """Delete what killed processes left, and from now on what is too old."""
        self.delete_old()
        self._sweeper.start()

    def stop(self) -> None:
        """Delete the files that this process received."""
        self._stopping.set()
        self._sweeper.join()  # nothing writes into the folders any more
        for id_ in tuple(self._locks):
            self.delete(id_)

    def new(self, owner: str) -> Job:
        """Create an upload that waits for its file. Raises Problem (429, 503)."""
        with storing(), self._alone():
            self._delete_old()
            self._need_place(owner)
            most = min(self.limits.file_bytes, self.room(owner))
            if most <= 0:
                raise busy(say("there is no room for your file: delete others of yours, or try again later"))
            job = Job(secrets.token_hex(16), owner, time.time(), self.keep_s, most)
            folder = self.folder / job.id
            folder.mkdir(mode=0o700)
            lock = self._locks[job.id] = os.open(folder, _OPEN)
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.upload(job).mkdir(mode=0o700)
            self._prepare(job)
            write(folder / _JOB, job)
        return job

    def _prepare(self, job: Job) -> None:
        """Create what else a new upload has. Raises OSError."""

    def _need_place(self, owner: str) -> None:
        """Raises Problem (429)."""
        if len(self.of(owner)) >= self.limits.owner_max:
            raise busy(say("you have %(most)s here, the maximum: delete one", most=self.limits.owner_max))
        if len(self._all()) >= self.limits.all_max:
            raise busy(say("the server has no room for another file: try again later"))

    def keep(self, job: Job) -> None:
        """Store what is said of an upload anew. Raises Problem (503)."""
        with storing():
            write(self.folder / job.id / _JOB, job)

    def kept_ns(self, id_: str) -> int:
        """Return when `keep` stored an upload last, in nanoseconds since 1970; 0 if it is gone."""
        with suppress(OSError):
            return (self.folder / id_ / _JOB).stat().st_mtime_ns
        return 0

    def find(self, id_: str, owner: str) -> Job:
        """Return the upload. Raises Problem (404) if it is gone, or belongs to another token."""
        job = self._read(id_) if _ID.fullmatch(id_) else None
        if job is None or job.owner != owner or _is_over(job):
            raise Problem(Kind.NOT_FOUND, say(self._is_gone, minutes=round(self.keep_s / 60)))
        return job

    def of(self, owner: str) -> list[Job]:
        """Return the owner's uploads, the newest first."""
        own = [job for job in self._all() if job.owner == owner and not _is_over(job)]
        return sorted(own, key=lambda job: -job.at)

    def upload(self, job: Job) -> Path:
        """Return the folder of the uploaded file."""
        return self.folder / job.id / _UPLOAD

    def is_here(self, job: Job) -> bool:
        """Whether it was neither deleted nor became too old."""
        return (self.folder / job.id / _JOB).exists() and not _is_over(job)

    def room(self, owner: str) -> int:
        """Return the bytes that the owner may add; negative if there are too many. A file that is being received counts as
        the largest that it may be."""
        jobs = self._all()
        sizes = [max(_size(self.folder / job.id), job.most) for job in jobs]
        own = sum(size for job, size in zip(jobs, sizes, strict=True) if job.owner == owner)
        return min(self.limits.owner_bytes - own, self.limits.all_bytes - sum(sizes))

    def delete(self, id_: str) -> None:
        """Delete an upload, and end the work on it. What that still writes is deleted by the next `delete_old`."""
        with suppress(OSError):
            (self.folder / id_ / _JOB).unlink()
        shutil.rmtree(self.folder / id_, ignore_errors=True)
        if (lock := self._locks.pop(id_, None)) is not None:
            os.close(lock)

    def delete_old(self) -> None:
        """Delete the uploads whose time is over, and what killed processes left."""
        with suppress(OSError):
            if self.folder.exists():
                with self._alone():
                    self._delete_old()

    def _delete_old(self) -> None:
        for id_ in tuple(self._locks):
            if not (self.folder / id_).exists():  # another process has deleted it
                self.delete(id_)
        for path in self._paths():
            job = self._read(path.name)
            is_deleted = not (path / _JOB).exists()  # by another process, but for what ours still wrote
            is_ours = path.name in self._locks
            if is_deleted or (job is not None and _is_over(job)) or (not is_ours and _is_left(path)):
                self.delete(path.name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Create the folder if needed, and lock it for a moment against the server's other processes: an upload that is being
        created has no lock of its own yet. Raises OSError, also if another user owns the folder."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self.folder, _OPEN)
        try:
            if os.fstat(lock).st_uid != os.geteuid():
                raise PermissionError(0, f"{self.folder.name}: another user owns the folder")
            os.fchmod(lock, 0o700)  # Kubernetes' fsGroup may have changed it when it mounted the volume
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def slot(self) -> Iterator[bool]:
        """Take one of the server's places for working on an upload, if one is free; yields whether. Raises OSError."""
        with self._alone():  # which creates the folder
            pass
        for place in range(self.limits.at_once):
            lock = os.open(self.folder / f"slot-{place}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            try:
                yield True
            finally:
                os.close(lock)
            return
        yield False

    def _sweep(self) -> None:
        while not self._stopping.wait(_SWEEP_S):
            self.delete_old()

    def _paths(self) -> list[Path]:
        with suppress(OSError):
            return [each for each in self.folder.iterdir() if _ID.fullmatch(each.name)]
        return []

    def _all(self) -> list[Job]:
        return [job for path in self._paths() if (job := self._read(path.name)) is not None]

    def _read(self, id_: str) -> Job | None:
        try:
            return _decode_job((self.folder / id_ / _JOB).read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None


def busy(why: str) -> Problem:
    """Return the 429 of a file that is not read."""
    return too_many(why, 30, is_read=False)


@contextmanager
def storing() -> Iterator[None]:
    """Raises Problem (503) for an OSError of the block."""
    try:
        yield
    except OSError as error:
        why = say("the server cannot store the file (%(why)s)", why=error.strerror or "")
        raise Problem(Kind.NOT_WRITTEN, why) from error


def write(path: Path, what: msgspec.Struct) -> None:
    """Replace a file as a whole, for its readers in other processes. Raises OSError."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    new.write_bytes(msgspec.json.encode(what))
    new.replace(path)


def _is_over(job: Job) -> bool:
    return not 0 <= time.time() - job.at < job.keep_s


def _is_left(path: Path) -> bool:
    """Whether no process has the folder locked."""
    try:
        lock = os.open(path, _OPEN)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(lock)


def _size(folder: Path) -> int:
    size = 0
    with suppress(OSError):
        for each in folder.rglob("*"):
            with suppress(OSError):
                size += each.lstat().st_size
    return size

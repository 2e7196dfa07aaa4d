"""A follower's state in local files, for a quick start. Files are written next to the old ones, renamed, and checked.

Each register's numbers and filter are files named by their SHA-256. The manifest names them, ends with its own SHA-256
and is renamed last. So a reader finds a whole snapshot or none. If anything is wrong in it, the log is replayed. The
filter could be derived, but building it is most of the work of a start.

No digest binds the numbers to the log: hashing each number takes longer than reading the log. So a user who can write
these files decides who is opposed, and a snapshot is used only if no other user can
(docs/decisions.md, The log).
"""

import hashlib
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from hashlib import sha256
from io import BufferedReader
from pathlib import Path
from secrets import token_hex
from struct import Struct
from typing import IO, Literal

import msgspec
import numpy as np
from pyroaring import BitMap64

from stream_scrub.atomic_file import atomic_file, try_lock
from stream_scrub.index import Filter, Hashing, Index, Register
from stream_scrub.index.end_table import EndTable
from stream_scrub.index.index import STATED, ByName
from stream_scrub.log import wire
from stream_scrub.log.apply import LogRules
from stream_scrub.log.replay import Replay, ReplayState
from stream_scrub.log.scan import SealHead, check_seals
from stream_scrub.model import Deadline, LogReader, RegisterKind

FORMAT = 1
MANIFEST = "stream-scrub-snapshot.json"
_SHA = b',"sha256":"'
_OURS = re.compile(r"[0-9a-f]{64}\.(numbers|filter|ends)|snapshot-[^/]{0,200}\.part")
_LENGTH = Struct("<Q")  # of the bitmap that follows; 0 after the last one
# Numbers that are serialised, and words that are written, in one call: a call holds the interpreter for 2 ms.
_PIECE = 500_000
_WORDS = 131_072
_TRIES = 5
_END_BYTES = 12  # a number and its end
SNAPSHOT_EVERY_S = 60.0
# Writing takes at most a twentieth of the time, however large the registers are.
_REST = 20
_LOCK = "stream-scrub-snapshot.lock"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
SnapshotTrust = Literal["own", "any"]


class Blob(msgspec.Struct, frozen=True):
    """A file of the snapshot, which is named by its SHA-256 (hex)."""

    file: str
    sha256: str
    nbytes: int


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    kind: RegisterKind
    seq: int
    chain: str
    effective_at: datetime
    position: int
    source: str
    next_end: datetime | None
    areas: tuple[str, ...] | None
    hashed: Hashing | None
    count: int
    numbers: Blob
    filter: Blob
    filter_left: int
    ends: Blob | None  # None for a register without them


class _SavedRules(msgspec.Struct, frozen=True):
    seq: int
    chain: str
    position: int
    digests: list[str]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a snapshot. `log` names the log. `filters` changes with the way filters are built."""

    format: int
    log: str
    position: int
    filters: str
    registers: list[_Saved]
    starts: dict[str, tuple[int, int]]
    read: wire.ReadPosition
    rules: _SavedRules
    sha256: str = ""


_MANIFEST = msgspec.json.Decoder(Manifest)


def save(folder: Path, log: str, state: ReplayState) -> None:
    """Replace the snapshot. Files of the previous one that are still right are kept.

    One process at a time. Raises OSError; then the snapshot before is still there.
    """
    kept = _kept(folder, log)
    registers = [
        kept.get((register.name, register.chain)) or _saved(folder, register)
        for register in state.index.registers.values()
    ]
    rules = state.rules
    manifest = Manifest(
        format=FORMAT,
        log=log,
        position=state.index.position,
        filters=_filters(),
        registers=registers,
        starts=dict(state.starts),
        read=state.read,
        rules=_SavedRules(rules.seq, rules.chain, rules.position, list(rules.texts)),
    )
    encoded = msgspec.json.encode(manifest)
    content = encoded[: encoded.rindex(_SHA)]
    digest = sha256(content).hexdigest()
    with atomic_file(folder, _part_name()) as file:
        file.out.write(content + _SHA + digest.encode() + b'"}')
        file.keep(MANIFEST)
    named = {name for saved in registers for name in _files(saved)}
    for path in folder.iterdir():  # files of earlier snapshots, and of writers that were killed
        if _OURS.fullmatch(path.name) and path.name not in named:
            path.unlink(missing_ok=True)


def load(folder: Path, log: str, whose: SnapshotTrust = "own") -> ReplayState | None:
    """The snapshot of that log; None when there is none. `own`: it will be served, so only this user may have written
    it; `any`: it will only be compared with the log. Raises ValueError with what is wrong in it, OSError."""
    tried = ""
    for _ in range(_TRIES):
        manifest = _manifest(folder, log, whose)
        if manifest is None:
            return None
        try:
            registers = {saved.name: _restored(folder, saved, whose) for saved in manifest.registers}
        except FileNotFoundError as error:  # another process has replaced the snapshot, or the file is lost
            if tried == manifest.sha256:
                raise ValueError("a file that it names is missing") from error
            tried = manifest.sha256
            continue
        rules = manifest.rules
        return ReplayState(
            Index(ByName(registers), manifest.position),
            ByName(manifest.starts),
            LogRules(rules.seq, rules.chain, rules.position, dict.fromkeys(rules.digests)),
            manifest.read,
        )
    raise ValueError("another process keeps replacing it while it is read")


def _kept(folder: Path, log: str) -> dict[tuple[str, str], _Saved]:
    """The registers of the snapshot in the folder whose files are there, by name and chain."""
    try:
        manifest = _manifest(folder, log, "own")
    except (ValueError, OSError):
        return {}
    there = {path.name for path in folder.iterdir()}
    registers = [] if manifest is None else manifest.registers
    return {(r.name, r.chain): r for r in registers if _files(r) <= there}


def _files(saved: _Saved) -> set[str]:
    return {blob.file for blob in (saved.numbers, saved.filter, saved.ends) if blob is not None}


def heads(state: ReplayState) -> dict[int, SealHead]:
    """What the last seal of each register, and of the rules, must say, by its offset. Raises ValueError when none of
    them is at the state's position."""
    by_offset = {
        register.position: SealHead(register.chain, len(register.numbers))
        for register in state.index.registers.values()
    }
    if state.rules.seq:
        by_offset[state.rules.position] = SealHead(state.rules.chain, None)
    if max(by_offset, default=-1) != state.index.position:
        raise ValueError("its position is not that of its last seal")
    return by_offset


def opened(path: Path, whose: SnapshotTrust) -> BufferedReader:
    """A file of the snapshot, open for reading. Raises ValueError, OSError."""
    # The file itself shows who wrote it. Its folder does not: it may be a shared volume.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    # No link: another process has replaced the file since it was opened. Two: another user may have made one of them.
    own = status.st_uid == os.geteuid() and status.st_nlink <= 1 and not status.st_mode & _OTHERS_WRITE
    if not stat.S_ISREG(status.st_mode) or (whose == "own" and not own):
        os.close(descriptor)
        raise ValueError(
            "a file of it may have been written by others: only this user may own it or write to it"
        )
    return os.fdopen(descriptor, "rb")


def _manifest(folder: Path, log: str, whose: SnapshotTrust) -> Manifest | None:
    try:
        with opened(folder / MANIFEST, whose) as file:
            value = file.read()
    except FileNotFoundError:
        return None
    content, separator, rest = value.rpartition(_SHA)
    if not separator or rest != sha256(content).hexdigest().encode() + b'"}':
        raise ValueError("its manifest is damaged")
    try:
        version = wire.FORMAT_VERSION.decode(value).format
        if version != FORMAT:
            raise ValueError(f"it is of format version {version}")
        manifest = _MANIFEST.decode(value)
    except msgspec.MsgspecError as error:
        raise ValueError("its manifest cannot be read") from error
    if manifest.log != log:
        raise ValueError("it is of another log")
    if manifest.filters != _filters():
        raise ValueError("its filters are built in another way")
    return manifest


def _filters() -> str:
    """A digest of the way filters are built: after a change, older filters would miss numbers."""
    numbers = np.arange(33_600_000_000, 33_600_000_500, dtype=np.uint64)
    return sha256(Filter(numbers).words.tobytes()).hexdigest()[:16]


def _saved(folder: Path, register: Register) -> _Saved:
    # The follower may add numbers to the filter meanwhile. Then the file has them too, and still misses none of these.
    words = register.filter.words
    pieces = (words[at : at + _WORDS].tobytes() for at in range(0, len(words), _WORDS))
    return _Saved(
        **{member: getattr(register, member) for member in STATED},
        count=len(register.numbers),
        numbers=_write(folder, "numbers", _serialised(register.numbers)),
        filter=_write(folder, "filter", pieces),
        filter_left=register.filter.left,
        ends=_write(folder, "ends", _pieces_of(register.ends)) if register.ends else None,
    )


def _serialised(numbers: BitMap64) -> Iterator[bytes]:
    for piece in wire.pieces(numbers, _PIECE):
        value: bytes = piece.serialize()
        yield _LENGTH.pack(len(value))
        yield value
    yield _LENGTH.pack(0)


def _pieces_of(ends: EndTable) -> Iterator[bytes]:
    for each in ends.arrays():
        for at in range(0, len(each), _WORDS):
            yield each[at : at + _WORDS].tobytes()


def _write(folder: Path, suffix: str, pieces: Iterable[bytes]) -> Blob:
    """Write one file of the snapshot, under its digest."""
    digest, nbytes = sha256(), 0
    with atomic_file(folder, _part_name()) as file:
        for piece in pieces:
            file.out.write(piece)
            digest.update(piece)
            nbytes += len(piece)
        name = f"{digest.hexdigest()}.{suffix}"
        file.keep(name)
    return Blob(name, digest.hexdigest(), nbytes)


def _restored(folder: Path, saved: _Saved, whose: SnapshotTrust) -> Register:
    with _checked(folder, saved.numbers, whose) as file:
        numbers = BitMap64()
        while length := _LENGTH.unpack(file.read(_LENGTH.size))[0]:
            numbers |= wire.bitmap_of(file.read(length))
    ends = EndTable.none()
    if saved.ends is not None:
        with _checked(folder, saved.ends, whose) as file:
            count = saved.ends.nbytes // _END_BYTES
            ends = EndTable(np.fromfile(file, np.uint64, count), np.fromfile(file, np.uint32, count), {})
    with opened(folder / saved.filter.file, whose) as file:
        words = np.fromfile(file, np.uint64)
        nbytes = os.fstat(file.fileno()).st_size
    if nbytes != words.nbytes or sha256(words.data).hexdigest() != saved.filter.sha256:
        raise ValueError("a file of it is damaged")
    if len(numbers) != saved.count:
        raise ValueError("a register of it has another size than it should")
    return Register(
        **{member: getattr(saved, member) for member in STATED},
        numbers=numbers,
        filter=Filter.restored(words, saved.filter_left),
        ends=ends,
    )


def _checked(folder: Path, blob: Blob, whose: SnapshotTrust) -> BufferedReader:
    """A file of the snapshot, open at its start. Raises ValueError if it is not the one that was written."""
    file = opened(folder / blob.file, whose)
    if hashlib.file_digest(file, "sha256").hexdigest() != blob.sha256:
        file.close()
        raise ValueError("a file of it is damaged")
    file.seek(0)
    return file


def _part_name() -> str:
    return f"snapshot-{token_hex(8)}.part"


@dataclass(eq=False)
class SnapshotWriter:
    """The snapshot of one log in one folder: used at the start if it is good, and written again every minute or so.

    A thread of its own writes, so that no delta waits for a disk. Processes that share a folder share the snapshot: the
    process that holds the lock writes, all may read. `on_unused(why)` is called for a snapshot that is not used, and
    `on_write(why)` after each try to write one: why it failed, or "".
    """

    folder: Path
    log: str
    _: KW_ONLY
    on_unused: Callable[[str], None] = lambda _: None
    on_write: Callable[[str], None] = lambda _: None
    every_s: float = SNAPSHOT_EVERY_S
    _offered: ReplayState | None = field(default=None, init=False)
    _written: int = field(default=-1, init=False)
    _lock: IO[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._stopping, self._news = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)

    def begin(self, reader: LogReader, deadline: Deadline) -> Replay | None:
        """A replay that continues from the snapshot, with the reader at its next record; None without a good snapshot.

        Raises Unavailable, Corrupt, Refused.
        """
        try:
            state = load(self.folder, self.log)
            if state is None:
                return None
            check_seals(reader, heads(state), deadline)
        except (ValueError, OSError) as error:
            self.on_unused(f"the log is replayed instead: {_why(error)}")
            with suppress(OSError):  # `save` must keep no file of it
                (self.folder / MANIFEST).unlink(missing_ok=True)
            return None
        reader.seek(state.index.position + 1)
        self._written = state.index.position
        return Replay.resuming(state)

    def offer(self, state: ReplayState) -> None:
        """Offer a state to be written: now, later or never. Never blocks."""
        self._offered = state
        if not self._thread.is_alive() and not self._stopping.is_set():
            self._thread.start()
        self._news.set()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Write the last state that was offered, and end the thread."""
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
            self._stopping.wait(max(self.every_s, _REST * took))
        if self._lock is not None:
            self._lock.close()

    def _write(self, state: ReplayState) -> None:
        try:
            save(self.folder, self.log, state)
        except OSError as error:
            self.on_write(_why(error))
        else:
            self._written = state.index.position
            self.on_write("")

    def _locked(self) -> bool:
        """Whether this process is the one that writes. The kernel ends the lock with its process."""
        if self._lock is not None:
            return True
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = try_lock(self.folder / _LOCK)
        except OSError as error:
            self.on_write(_why(error))
        return self._lock is not None


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)

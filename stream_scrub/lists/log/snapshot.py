"""A follower's state in local files, for a quick start: written beside, renamed, and checked to the last byte.

Each register's numbers and filter are files named by their SHA-256; the manifest names them, ends with the SHA-256 of
itself and is renamed last. So a reader finds a whole snapshot or none, and whatever is wrong in it means that the log
is replayed. The filter is derived, but making it is most of the work of a start.

No digest binds the numbers to the log: one over a whole register would have to be made with each delta of it, and to
hash each number at a start takes longer than to read the log. So whoever can write these files decides what is opposed,
and a snapshot is used only when nobody else can (docs/decisions/0013-what-a-snapshot-is-trusted-for.md).
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from io import BufferedReader
from pathlib import Path
from secrets import token_hex
from struct import Struct
from typing import Literal

import msgspec
import numpy as np
from pyroaring import BitMap64

from stream_scrub.atomic_file import AtomicFile, atomic_file
from stream_scrub.byname import ByName
from stream_scrub.index import Filter, Index, Register
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.replay import LogRules, ReplayState
from stream_scrub.lists.log.start_point import SealHead
from stream_scrub.model import RegisterKind

FORMAT = 3
MANIFEST = "stream-scrub-snapshot.json"
_SHA = b',"sha256":"'
_OURS = re.compile(r"[0-9a-f]{64}\.(numbers|filter)|snapshot-[^/]{0,200}\.part")
_LENGTH = Struct("<Q")  # of the bitmap that follows; 0 after the last one
# Numbers that are serialised, and words that are written, in one call: it holds the interpreter for 2 ms.
_PIECE = 500_000
_WORDS = 131_072
_TRIES = 5
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
    count: int
    numbers: Blob
    filter: Blob
    filter_left: int


class _SavedRules(msgspec.Struct, frozen=True):
    seq: int
    chain: str
    position: int
    digests: list[str]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot holds. `log` names the log; `filters` tells whether filters are still made in the same way."""

    format: int
    log: str
    position: int
    filters: str
    registers: list[_Saved]
    starts: dict[str, tuple[int, int]]
    read: wire.ReadPosition
    rules: _SavedRules
    sha256: str = ""


class _ManifestVersion(msgspec.Struct):
    format: int


def save(folder: Path, log: str, state: ReplayState) -> None:
    """Write a snapshot, and take the one before away; files of it that are still right are kept.

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
    named = {blob.file for saved in registers for blob in (saved.numbers, saved.filter)}
    for path in folder.iterdir():  # what earlier snapshots, or writers that were killed, have left
        if _OURS.fullmatch(path.name) and path.name not in named:
            path.unlink(missing_ok=True)


def load(folder: Path, log: str, whose: SnapshotTrust = "own") -> ReplayState | None:
    """The snapshot of that log; None when there is none. `own`: it is to be served, and nobody but this user may have
    written it; `any`: it is to be held against the log. Raises ValueError with what is wrong in it, OSError.
    """
    tried = ""
    for _ in range(_TRIES):
        manifest = _manifest(folder, log, whose)
        if manifest is None:
            return None
        try:
            registers = {saved.name: _restored(folder, saved, whose) for saved in manifest.registers}
        except FileNotFoundError as error:  # replaced meanwhile by another process, or lost
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
    raise ValueError("it is replaced again and again while it is read")


def _kept(folder: Path, log: str) -> dict[tuple[str, str], _Saved]:
    """The registers of the snapshot that is there, by name and chain, as far as their files are."""
    try:
        manifest = _manifest(folder, log, "own")
    except (ValueError, OSError):
        return {}
    there = {path.name for path in folder.iterdir()}
    registers = [] if manifest is None else manifest.registers
    return {(r.name, r.chain): r for r in registers if {r.numbers.file, r.filter.file} <= there}


def heads(state: ReplayState) -> dict[int, SealHead]:
    """What the last seal of each register, and of the rules, must say, by its offset. Raises ValueError when none of
    them is at the state's position."""
    found = {
        register.position: SealHead(register.chain, len(register.numbers))
        for register in state.index.registers.values()
    }
    if state.rules.seq:
        found[state.rules.position] = SealHead(state.rules.chain, None)
    if max(found, default=-1) != state.index.position:
        raise ValueError("its position is not that of its last seal")
    return found


def _opened(path: Path, whose: SnapshotTrust) -> BufferedReader:
    """A file of the snapshot, open for reading.

    The file itself says who wrote it, not its folder, which may be a volume for everybody: a file that this user owns
    and nobody else may write was written by this user alone. Raises ValueError, OSError.
    """
    held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(held)
    own = status.st_uid == os.geteuid() and status.st_nlink == 1 and not status.st_mode & _OTHERS_WRITE
    if not stat.S_ISREG(status.st_mode) or (whose == "own" and not own):
        os.close(held)
        raise ValueError(
            "a file of it may have been written by others: it must be this user's, and no one else's"
        )
    return os.fdopen(held, "rb")


def _manifest(folder: Path, log: str, whose: SnapshotTrust) -> Manifest | None:
    try:
        with _opened(folder / MANIFEST, whose) as file:
            value = file.read()
    except FileNotFoundError:
        return None
    content, found, rest = value.rpartition(_SHA)
    if not found or rest != sha256(content).hexdigest().encode() + b'"}':
        raise ValueError("its manifest is damaged")
    try:
        version = msgspec.json.decode(value, type=_ManifestVersion).format
        if version != FORMAT:
            raise ValueError(f"it is of format version {version}")
        manifest = msgspec.json.decode(value, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ValueError("its manifest is none") from error
    if manifest.log != log:
        raise ValueError("it is of another log")
    if manifest.filters != _filters():
        raise ValueError("its filters are made in another way")
    return manifest


def _filters() -> str:
    """Changes when filters are made in another way: old ones would then miss numbers."""
    numbers = np.arange(33_600_000_000, 33_600_000_500, dtype=np.uint64)
    return sha256(Filter(numbers).words.tobytes()).hexdigest()[:16]


def _saved(folder: Path, register: Register) -> _Saved:
    with _part(folder) as file:
        for piece in wire.pieces(register.numbers, _PIECE):
            value: bytes = piece.serialize()
            file.write(_LENGTH.pack(len(value)))
            file.write(value)
        file.write(_LENGTH.pack(0))
        numbers = file.named("numbers")
    # Numbers may be added to the filter meanwhile: what is written then hits more of them, and misses none of these.
    words = register.filter.words
    with _part(folder) as file:
        for at in range(0, len(words), _WORDS):
            file.write(words[at : at + _WORDS].tobytes())
        filter_ = file.named("filter")
    return _Saved(
        name=register.name,
        kind=register.kind,
        seq=register.seq,
        chain=register.chain,
        effective_at=register.effective_at,
        position=register.position,
        source=register.source,
        next_end=register.next_end,
        areas=register.areas,
        count=len(register.numbers),
        numbers=numbers,
        filter=filter_,
        filter_left=register.filter.left,
    )


def _restored(folder: Path, saved: _Saved, whose: SnapshotTrust) -> Register:
    with _opened(folder / saved.numbers.file, whose) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != saved.numbers.sha256:
            raise ValueError("a file of it is damaged")
        file.seek(0)
        numbers = BitMap64()
        while length := _LENGTH.unpack(file.read(_LENGTH.size))[0]:
            numbers |= wire.bitmap_of(file.read(length))
    with _opened(folder / saved.filter.file, whose) as file:
        words = np.fromfile(file, np.uint64)
        nbytes = os.fstat(file.fileno()).st_size
    if nbytes != words.nbytes or sha256(words.data).hexdigest() != saved.filter.sha256:
        raise ValueError("a file of it is damaged")
    if len(numbers) != saved.count:
        raise ValueError("a register of it has another size than it should")
    return Register(
        saved.name,
        saved.kind,
        numbers,
        saved.seq,
        saved.chain,
        saved.effective_at,
        saved.position,
        saved.source,
        Filter.restored(words, saved.filter_left),
        saved.next_end,
        saved.areas,
    )


def _part_name() -> str:
    return f"snapshot-{token_hex(8)}.part"


@contextmanager
def _part(folder: Path) -> Iterator["_BlobWriter"]:
    with atomic_file(folder, _part_name()) as file:
        yield _BlobWriter(file)


class _BlobWriter:
    """A file of the snapshot that is being written."""

    def __init__(self, file: AtomicFile) -> None:
        self._file = file
        self._digest = sha256()
        self._nbytes = 0

    def write(self, value: bytes) -> None:
        self._file.out.write(value)
        self._digest.update(value)
        self._nbytes += len(value)

    def named(self, suffix: str) -> Blob:
        """Keep it under its digest."""
        digest = self._digest.hexdigest()
        self._file.keep(f"{digest}.{suffix}")
        return Blob(f"{digest}.{suffix}", digest, self._nbytes)

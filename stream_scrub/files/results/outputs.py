"""What is written, whole or not at all: every file under a temporary name until all are done, the proof renamed last."""

import errno
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from stream_scrub.atomic_file import AtomicFile, atomic_file
from stream_scrub.errors import ConfigError, Refused

PROOF = "proof.json"
_MODE = 0o600  # leads are personal data: their owner alone reads them
# What runs write: one of them may not lie beside the results of another.
_RESULTS = re.compile(r"(?:allowed|blocked|annotated)\.(?:csv|tsv|txt|tab|psv|xlsx|ndjson)")
_PARTS = re.compile(r"\.scrub-[0-9a-f]{16}\.part")


class WrittenFile(NamedTuple):
    """A file that was written: its name, its SHA-256 (hex) and its size in bytes."""

    name: str
    sha256: str
    bytes: int


class Sink(Protocol):
    """What bytes can be written to."""

    def write(self, content: bytes) -> int:
        """Add bytes at its end; gives their number, as libraries want it."""
        ...

    def flush(self) -> None:
        """For libraries that ask for it."""
        ...


class Nowhere:
    """A sink that keeps nothing: for runs that want only to know."""

    def write(self, content: bytes) -> int:
        """Drop the bytes."""
        return len(content)

    def flush(self) -> None:
        """Nothing is kept."""


@dataclass(slots=True)
class OutputFile:
    """One file on its way. `write` may raise OSError."""

    name: str
    file: AtomicFile
    size: int = 0
    _digest: Any = field(default_factory=sha256)

    def write(self, content: bytes) -> int:
        """Add bytes at its end; gives their number, as libraries want it."""
        if content:
            self._digest.update(content)
            self.size += len(content)
            self.file.out.write(content)
        return len(content)

    def flush(self) -> None:
        """For libraries that ask for it."""

    @property
    def written(self) -> WrittenFile:
        """What it is by now."""
        return WrittenFile(self.name, self._digest.hexdigest(), self.size)


class OutputFolder:
    """The files of one run. Nothing has its final name before `keep`."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self._stack = stack
        self._files: list[OutputFile] = []

    def open(self, name: str) -> OutputFile:
        """A new file, which will get that name."""
        file = OutputFile(name, self._stack.enter_context(atomic_file(self.path, _beside(), _MODE)))
        self._files.append(file)
        return file

    def scratch(self) -> Path:
        """A folder for what a library keeps on disk meanwhile, for its owner alone. It is gone with the run."""
        path = self.path / _beside()
        path.mkdir(mode=0o700)
        self._stack.callback(shutil.rmtree, path, ignore_errors=True)
        return path

    def put(self, name: str, content: bytes) -> WrittenFile:
        """A whole file at once."""
        file = self.open(name)
        file.write(content)
        return file.written

    def keep(self) -> None:
        """Give every file its name. An older proof goes first and the new one comes last, so a folder with a proof is
        whole. The older results go with their proof: nobody may call by them any more."""
        made = {file.name for file in self._files}
        if PROOF in made:
            (self.path / PROOF).unlink(missing_ok=True)
            for each in self.path.iterdir():
                if _RESULTS.fullmatch(each.name) and each.name not in made:
                    each.unlink()
        for file in sorted(self._files, key=lambda file: file.name == PROOF):
            file.file.keep(file.name)


def _beside() -> str:
    """A temporary name."""
    return f".scrub-{secrets.token_hex(8)}.part"


def need_apart(path: str, folder: Path) -> None:
    """Raises ConfigError for an input that a run into this folder would replace, or remove."""
    read = Path(path).resolve()
    if read.parent == folder.resolve() and _RESULTS.fullmatch(read.name):
        raise ConfigError([f"{folder}: the input would be replaced by what comes of it: name another folder"])


@contextmanager
def output_folder(path: Path, *, force: bool) -> Iterator[OutputFolder]:
    """The folder for one run's files, made if it is missing. What a run that was killed left there is removed.

    Raises ConfigError for a folder that holds something, unless `force`, and Refused where nothing can be written,
    also within the block.
    """
    made = False
    try:
        made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        held = list(path.iterdir())
        for each in held:
            if _PARTS.fullmatch(each.name):
                shutil.rmtree(each) if each.is_dir() else each.unlink(missing_ok=True)
        if not force and any(not _PARTS.fullmatch(each.name) for each in held):
            raise ConfigError(
                [f"{path} is not empty: name another folder, or say --force to replace what is there"]
            )
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with ExitStack() as stack:
            yield OutputFolder(path, stack)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if made and not any(path.iterdir()):
            path.rmdir()


def _unwritable(path: Path, error: OSError) -> Refused:
    why = "the disk is full" if error.errno in {errno.ENOSPC, errno.EDQUOT} else error.strerror or str(error)
    return Refused(f"{path}: {why}; nothing was written there")

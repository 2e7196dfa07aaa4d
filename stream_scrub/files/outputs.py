"""What is written, whole or not at all: every file under a temporary name until all are done, the proof renamed last."""

import errno
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from stream_scrub.atomic_file import AtomicFile, atomic_file
from stream_scrub.errors import ConfigError, Refused, code_of
from stream_scrub.languages import by_door, say
from stream_scrub.texts import masked

PROOF = "proof.json"
SUMS = "SHA256SUMS"  # as coreutils write and check them
OUTPUT_MODE = 0o600  # leads are personal data: their owner alone reads them
# What runs write: one of them may not lie next to the results of another.
_RESULTS = re.compile(
    r"(?:allowed|blocked|annotated)\.(?:csv|tsv|txt|tab|psv|xlsx|ndjson)|unreadable-numbers\.csv|proof\.json\.tsr|SHA256SUMS"
)
BAD_NUMBERS = "unreadable-numbers.csv"
_REPLACED = re.compile(rf"{_RESULTS.pattern}|wash-.+\.csv|(?:summary|proof)\.json|report\.html")
_PARTS = re.compile(r"\.scrub-[0-9a-f]{16}\.part")


class Nowhere:
    """A sink that keeps nothing: for runs that want only to know."""

    def write(self, content: bytes) -> int:
        """Drop the bytes."""
        return len(content)

    def flush(self) -> None:
        """Nothing is kept."""


@dataclass(slots=True)
class OutputFile:
    """One file on its way, with its size in bytes. `write` may raise OSError."""

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
    def sha256(self) -> str:
        """The SHA-256 (hex) of what was written by now."""
        return str(self._digest.hexdigest())


Sink: TypeAlias = OutputFile | Nowhere


class OutputFolder:
    """The files of one run. Nothing has its final name before `keep`."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self._stack = stack
        self._files: list[OutputFile] = []

    def open(self, name: str) -> OutputFile:
        """A new file, which will get that name."""
        file = OutputFile(
            name, self._stack.enter_context(atomic_file(self.path, _temporary_name(), OUTPUT_MODE))
        )
        self._files.append(file)
        return file

    def scratch(self) -> Path:
        """A folder for what a library keeps on disk meanwhile, for its owner alone. It is gone with the run."""
        path = self.path / _temporary_name()
        path.mkdir(mode=0o700)
        self._stack.callback(shutil.rmtree, path, ignore_errors=True)
        return path

    def put(self, name: str, content: bytes) -> OutputFile:
        """A whole file at once."""
        file = self.open(name)
        file.write(content)
        return file

    def put_sums(self) -> None:
        """Write `SHA256SUMS` of all files so far, for `sha256sum --check`."""
        self.put(SUMS, "".join(f"{file.sha256}  {file.name}\n" for file in self._files).encode())

    def keep(self) -> None:
        """Give every file its name. An older proof goes first and the new one comes last, so a folder with a proof is
        whole. The older results go with their proof: they may not be used any more."""
        made = {file.name for file in self._files}
        if PROOF in made:
            (self.path / PROOF).unlink(missing_ok=True)
            for each in self.path.iterdir():
                if _RESULTS.fullmatch(each.name) and each.name not in made:
                    each.unlink()
        for file in sorted(self._files, key=lambda file: file.name == PROOF):
            file.file.keep(file.name)


def _temporary_name() -> str:
    return f".scrub-{secrets.token_hex(8)}.part"


def need_apart(inputs: Iterable[str | Path], folder: Path) -> None:
    """Raises ConfigError for an input, or a link to one, that a run into this folder would replace or remove."""
    there = folder.resolve()
    for path in map(Path, inputs):
        for read in (path.resolve(), path.parent.resolve() / path.name):
            if read.parent == there and _REPLACED.fullmatch(read.name):
                raise ConfigError(
                    [
                        f"{folder}: the run would replace or remove {masked(read.name)}, which it reads: name another folder"
                    ]
                )


@contextmanager
def output_folder(path: Path, *, force: bool) -> Iterator[OutputFolder]:
    """The folder for one run's files, made if it is missing. What a run that was killed left there is removed.

    Raises ConfigError for a folder that holds something, unless `force`, and Refused where nothing can be written,
    also within the block.
    """
    made = False
    try:
        missing = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        made = missing
        held = list(path.iterdir())
        for each in held:
            if _PARTS.fullmatch(each.name):
                shutil.rmtree(each) if each.is_dir() else each.unlink(missing_ok=True)
        if not force and any(not _PARTS.fullmatch(each.name) for each in held):
            raise ConfigError(
                [f"{path} is not empty: name another folder, or pass --force to replace its files"]
            )
        with ExitStack() as stack:
            yield OutputFolder(path, stack)
    except OSError as error:
        why = (
            "the disk is full"
            if error.errno in {errno.ENOSPC, errno.EDQUOT}
            else error.strerror or str(error)
        )
        page = say("the server cannot store the results (%(code)s): tell your operator", code=code_of(error))
        raise Refused(by_door(f"{path}: {why}; nothing was written there", page)) from error
    finally:
        if made and not any(path.iterdir()):
            path.rmdir()

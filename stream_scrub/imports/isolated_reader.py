"""Reads a dropped list in a process of its own: whatever the list does to its reader, the publisher goes on.

A new process (`main` below) is started for each file. It has no broker, no settings and no folder: only the open list, an
unnamed file in memory for the result, and a `ReadTask` on standard input. It bounds its own memory and time before it
looks into the list, and it ends with its parent, also when that is killed. `lists import` needs no such process: it runs
for one person and one file.

The result is plain data, and checked: a process that reads a hostile file is not to be trusted. Numbers go piece by
piece, so that no call holds the interpreter for long while requests are waiting.
"""

import errno
import json
import os
import subprocess
import sys
import threading
import traceback
from dataclasses import fields
from io import FileIO
from pathlib import Path
from struct import Struct
from typing import IO, Literal, TypeVar, get_type_hints

import msgspec
import numpy as np

from stream_scrub import bounded_process
from stream_scrub.errors import TooMany
from stream_scrub.imports.formats import FORMATS, BadList, ListOptions, ParsedList, open_list
from stream_scrub.imports.parsing.format import read_list
from stream_scrub.log import wire

T = TypeVar("T")
FACTS_BYTES_MAX = 1 << 20
_LENGTH = Struct("<Q")  # of what follows; of a bitmap 0 after its last piece
_PIECE = 500_000  # numbers: about a megabyte, and two milliseconds
_FACTS = [each.name for each in fields(ParsedList) if each.init]
_Facts = msgspec.defstruct(
    "_Facts", [(name, get_type_hints(ParsedList)[name]) for name in _FACTS], frozen=True
)


class ReadTask(msgspec.Struct, frozen=True):
    """What to read and how: the file's name for messages, at most `max_mb` MiB and `max_s` seconds."""

    file: str
    options: ListOptions
    max_mb: int
    max_s: float


class ReadReport(msgspec.Struct, frozen=True):
    """The outcome: `read`, and the list follows; or why it could not be read."""

    outcome: Literal["read", "bad", "memory", "fault"]
    why: str = ""


# Lays the type out: two threads that do so at once, in `convert`, crash the process.
msgspec.json.Decoder(ReadReport)


class ReaderFault(Exception):
    """The file could not be read because of a fault of ours. The text says where it happened and quotes nothing of
    the list."""


class IsolatedReader:
    """The reading of one list. `read` blocks; `stop` may be called from any thread, and ends it."""

    def __init__(self, max_mb: int, max_s: float) -> None:
        self._max_mb = max_mb
        self._max_s = max_s
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def read(self, file: FileIO, name: Path, options: ListOptions) -> ParsedList:
        """The list that is open in `file`, which is closed. Raises BadList, ReaderFault, OSError."""
        with file, os.fdopen(os.memfd_create("list"), "w+b") as result:
            code = self._run(file, name, options, result)
            left = os.fstat(result.fileno()).st_size
            result.seek(0)
            try:
                report = decoded(Taken(result, left).take(FACTS_BYTES_MAX), ReadReport)
                if code == 0 and report.outcome == "read":
                    return read(result, left - result.tell(), options.max_numbers)
            except ValueError:
                report = ReadReport("fault", f"its process ended with {code}")
            except TooMany as error:
                raise BadList(str(error)) from error
        if report.outcome == "bad":
            raise BadList(report.why)
        if code < 0 or report.outcome == "memory":
            why = f"reading it takes more memory than lists.read_max_mb ({self._max_mb:,} MiB) allows"
            killed = f"the process that read it was killed (signal {-code}); if for its memory: "
            raise BadList(killed + why if code else why)
        raise ReaderFault(report.why)

    def stop(self) -> None:
        """Kill the process, and let no other one begin."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def _run(self, file: FileIO, name: Path, options: ListOptions, result: IO[bytes]) -> int:
        """The exit code, below 0 for a signal. Raises BadList when it takes too long, OSError."""
        from stream_scrub.config import library_environment  # the process that reads has no settings

        numbers = (file.fileno(), result.fileno())
        with self._lock:
            if self._stopped:
                raise BadList("its reading was stopped")
            self._process = process = subprocess.Popen(  # noqa: S603  # of nothing that comes from a file
                # -P: a module that somebody put into the working folder is none of ours
                [sys.executable, "-P", "-m", "stream_scrub.imports.isolated_reader", *map(str, numbers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=numbers,
                env=library_environment(),
                start_new_session=True,  # Ctrl-C is for the publisher
            )
        try:
            task = ReadTask(str(name), options, self._max_mb, self._max_s)
            process.communicate(encoded(task), timeout=self._max_s)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise BadList(
                f"reading it takes longer than lists.read_max_s ({self._max_s:g} s) allows: it is not a list, or the"
                " limit is too low for it"
            ) from error
        finally:
            process.wait()
        return process.returncode


def write(reading: ParsedList, file: IO[bytes]) -> None:
    """All of a list. Raises OSError."""
    put(file, encoded({name: getattr(reading, name) for name in _FACTS}))
    gathered = reading.gathered()
    for numbers in (gathered.endless, gathered.removed):
        for piece in wire.pieces(numbers, _PIECE):
            put(file, piece.serialize())
        put(file, b"")
    for array in (gathered.ending, gathered.ending_at):
        put(file, array.tobytes())


def read(file: IO[bytes], left: int, max_numbers: float) -> ParsedList:
    """What `write` wrote, of `left` bytes at most. Raises ValueError for anything else, TooMany."""
    source = Taken(file, left)
    facts = decoded(source.take(FACTS_BYTES_MAX), _Facts)
    reading = ParsedList(**msgspec.structs.asdict(facts), max_numbers=max_numbers)
    gathered = reading.gathered()
    for into in (gathered.endless, gathered.removed):
        while piece := source.take():
            into.update(wire.bitmap_of(piece))
    ending, ends = np.frombuffer(source.take(), np.uint64), np.frombuffer(source.take(), np.int64)
    if len(ending) != len(ends) or not (ending[1:] > ending[:-1]).all():
        raise ValueError("ends and their numbers do not fit")
    gathered.ending, gathered.ending_at = ending, ends
    gathered.need_room()
    return reading


def encoded(value: object) -> bytes:
    """Plain data between the two processes. The standard library's JSON also takes a file's name that is no valid text."""
    return json.dumps(msgspec.to_builtins(value)).encode()


def decoded(value: bytes, kind: type[T]) -> T:
    """What `encoded` made. Raises ValueError for anything else."""
    return msgspec.convert(json.loads(value), kind)


def put(file: IO[bytes], value: bytes) -> None:
    """Bytes with their length before them. Raises OSError."""
    file.write(_LENGTH.pack(len(value)))
    file.write(value)


class Taken:
    """What `put` wrote, taken again from a file that holds `left` bytes more."""

    def __init__(self, file: IO[bytes], left: int) -> None:
        self._file = file
        self._left = left

    def take(self, most: float = float("inf")) -> bytes:
        """The next bytes. Raises ValueError when they are cut off, or more than `most`."""
        head = self._file.read(_LENGTH.size)
        self._left -= _LENGTH.size
        length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else -1
        if not 0 <= length <= min(most, self._left):
            raise ValueError("cut off, or not what it should be")
        self._left -= length
        return self._file.read(length)


def work(task: ReadTask, file: FileIO, result: int) -> None:
    """Read the list, and write the outcome into the file with that descriptor."""
    try:
        with open_list(Path(task.file), opened=file) as packed:
            reading = read_list(FORMATS, packed, task.options)
        with os.fdopen(result, "wb", closefd=False) as into:
            put(into, encoded(ReadReport("read")))
            write(reading, into)
    except BadList as error:
        report = ReadReport("bad", str(error))
    except MemoryError:
        report = ReadReport("memory")
    except Exception as error:  # noqa: BLE001 - reported with its place, and the file is refused
        too_large = getattr(error, "errno", 0) == errno.EFBIG
        report = ReadReport("memory") if too_large else ReadReport("fault", _place(error))
    else:
        return
    bounded_process.unbound_memory()
    os.ftruncate(result, 0)
    os.lseek(result, 0, os.SEEK_SET)
    with os.fdopen(result, "wb", closefd=False) as into:
        put(into, encoded(report))


def _place(error: Exception) -> str:
    """The error's type and place, without its text, which may hold a line of the list."""
    steps = traceback.extract_tb(error.__traceback__)[-4:]
    places = " < ".join(f"{Path(step.filename).name}:{step.lineno} {step.name}" for step in reversed(steps))
    return f"{type(error).__name__} in {places}"


def main(arguments: list[str]) -> int:
    """The process that reads. Returns the exit code: 0 when the outcome was written."""
    bounded_process.end_with_parent()
    number, result = map(int, arguments)
    task = decoded(sys.stdin.buffer.read(), ReadTask)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # from here on a traceback could hold lines of the list
    bounded_process.bound(task.max_mb << 20, task.max_s)
    work(task, FileIO(number), result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The process that reads one dropped list. It has nothing else: no broker, no settings, no folder.

`python -m stream_scrub.publisher.reader_process FILE RESULT`, both open already, what to do on standard input. It
bounds its own memory and time before it opens the list, and reports the outcome in one word (`ReadOutcome`). It ends
with whoever started it, also when that is killed.
"""

import ctypes
import errno
import math
import os
import resource
import signal
import sys
import traceback
from contextlib import suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Literal

import msgspec

from stream_scrub.lists.formats import FORMATS, BadList, ListOptions, open_list
from stream_scrub.lists.parsing import serialised_list
from stream_scrub.lists.parsing.detect_format import read_list

ReadOutcome = Literal["read", "bad", "memory", "fault"]
_GRACE_S = 5  # after which a process whose parent did not end it ends by itself
_SELF = Path("/proc/self")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ReadTask(msgspec.Struct, frozen=True):
    """What to read and how: the file's name for messages, and `ListOptions`. `max_mb` MiB and `max_s` seconds."""

    file: str
    format: str
    region: str
    now: datetime
    column: str
    columns: dict[str, str]
    max_numbers: int | None  # None: any
    max_mb: int
    max_s: float

    def options(self) -> ListOptions:
        """For the formats."""
        most = math.inf if self.max_numbers is None else self.max_numbers
        return ListOptions(self.region, self.now, self.column, self.columns, most)


class ReadReport(msgspec.Struct, frozen=True):
    """The outcome: `read`, and the list follows; or why it could not be read."""

    outcome: ReadOutcome
    why: str = ""


def end_with_parent() -> None:
    """From now on the kernel kills this process when the thread that started it is gone: it would read for minutes, in
    memory that a successor needs, what nobody asks for any more."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def bound(task: ReadTask) -> None:
    """Bound this process: at most `max_mb` MiB more memory than now, at most `max_s` seconds.

    The bound is on address space, which the kernel refuses before it is used; resident memory is only known
    afterwards. The interpreter and its libraries reserve a different amount on each machine, so that amount is
    measured and added.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever stops the publisher: it ends us when it is time
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.alarm(math.ceil(task.max_s) + _GRACE_S)
    most = task.max_mb << 20
    reserved = int((_SELF / "statm").read_text().split()[0]) * resource.getpagesize()
    for what, limit in ((resource.RLIMIT_AS, reserved + most), (resource.RLIMIT_FSIZE, most)):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    with suppress(OSError):  # if somebody must be killed for memory, then not who answers requests
        (_SELF / "oom_score_adj").write_text("1000")


def work(task: ReadTask, file: FileIO, result: int) -> None:
    """Read the list, and write the outcome into the file with that descriptor."""
    try:
        with open_list(Path(task.file), opened=file) as packed:
            reading = read_list(FORMATS, packed, task.options(), task.format)
        with os.fdopen(result, "wb", closefd=False) as into:
            serialised_list.put(into, serialised_list.encoded(ReadReport("read")))
            serialised_list.write(reading, into)
    except BadList as error:
        report = ReadReport("bad", str(error))
    except MemoryError:
        report = ReadReport("memory")
    except Exception as error:  # noqa: BLE001 - reported with its place, and the file is refused
        report = (
            ReadReport("memory")
            if getattr(error, "errno", 0) == errno.EFBIG
            else ReadReport("fault", _place(error))
        )
    else:
        return
    with suppress(ValueError):  # the report needs little memory
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    os.ftruncate(result, 0)
    os.lseek(result, 0, os.SEEK_SET)
    with os.fdopen(result, "wb", closefd=False) as into:
        serialised_list.put(into, serialised_list.encoded(report))


def _place(error: Exception) -> str:
    """The error's type and place, without its text, which may hold a line of the list."""
    steps = traceback.extract_tb(error.__traceback__)[-4:]
    places = " < ".join(f"{Path(step.filename).name}:{step.lineno} {step.name}" for step in reversed(steps))
    return f"{type(error).__name__} in {places}"


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 when the outcome was written."""
    end_with_parent()
    number, result = map(int, arguments)
    task = serialised_list.decoded(sys.stdin.buffer.read(), ReadTask)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # from here on a traceback could hold lines of the list
    bound(task)
    work(task, FileIO(number), result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

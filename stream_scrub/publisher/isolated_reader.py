"""Reads a dropped list in a process of its own: whatever the list does to its reader, the publisher goes on.

A new process is started for each file, with bounds on memory and time. The list comes back as plain data in an
unnamed file in memory. `lists import` needs no such process: it runs for one person and one file.
"""

import math
import os
import subprocess
import sys
import threading
from io import FileIO
from pathlib import Path
from typing import IO

from stream_scrub.config import library_environment
from stream_scrub.errors import TooMany
from stream_scrub.lists.formats import BadList, ListOptions, ParsedList
from stream_scrub.lists.parsing import serialised_list
from stream_scrub.lists.parsing.detect_format import AUTO
from stream_scrub.publisher.reader_process import ReadReport, ReadTask


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
        """The list that is open in `file`, which is closed. Raises BadList, Fault, OSError."""
        with file, os.fdopen(os.memfd_create("list"), "w+b") as result:
            code = self._run(file, name, options, result)
            left = os.fstat(result.fileno()).st_size
            result.seek(0)
            try:
                report = serialised_list.decoded(
                    serialised_list.Taken(result, left).take(serialised_list.FACTS_BYTES_MAX), ReadReport
                )
                if code == 0 and report.outcome == "read":
                    return serialised_list.read(result, left - result.tell(), options.max_numbers)
            except ValueError:
                report = ReadReport("fault", f"its process ended with {code}")
            except TooMany as error:
                raise BadList(str(error)) from error
        if report.outcome == "bad":
            raise BadList(report.why)
        if code < 0 or report.outcome == "memory":
            raise BadList(self._died(-code))
        raise ReaderFault(report.why)

    def stop(self) -> None:
        """Kill the process, and let no other one begin."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def _run(self, file: FileIO, name: Path, options: ListOptions, result: IO[bytes]) -> int:
        """The exit code, below 0 for a signal. Raises BadList when it takes too long, OSError."""
        task = ReadTask(
            str(name),
            AUTO,
            options.region,
            options.now,
            options.column,
            dict(options.columns),
            None if math.isinf(options.max_numbers) else int(options.max_numbers),
            self._max_mb,
            self._max_s,
        )
        numbers = (file.fileno(), result.fileno())
        with self._lock:
            if self._stopped:
                raise BadList("its reading was stopped")
            self._process = process = subprocess.Popen(  # noqa: S603  # of nothing that comes from a file
                # -P: a module that somebody put into the working folder is none of ours
                [sys.executable, "-P", "-m", "stream_scrub.publisher.reader_process", *map(str, numbers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=numbers,
                env=library_environment(),
                start_new_session=True,  # whoever presses Ctrl-C means the publisher
            )
        try:
            process.communicate(serialised_list.encoded(task), timeout=self._max_s)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise BadList(
                f"reading it takes longer than lists.read_max_s ({self._max_s:g} s) allows: it is no list, or the"
                " limit is too low for it"
            ) from error
        finally:
            process.wait()
        return process.returncode

    def _died(self, number: int) -> str:
        why = f"reading it takes more memory than lists.read_max_mb ({self._max_mb:,} MiB) allows"
        return (
            why
            if number == 0
            else f"the process that read it was killed (signal {number}); if for its memory: {why}"
        )

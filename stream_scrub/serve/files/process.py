"""Scrubs an uploaded file in a child process, as `stream-scrub file` does it: a stranger's file harms this process alone.

The child gets the server's index through a pipe, then bounds its memory and time, and only then opens the file. It ends
when the server does, when the job is cancelled, and when its results take too much room.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal, NoReturn

import msgspec

from stream_scrub import bounded_process
from stream_scrub.call import Call
from stream_scrub.config import Settings
from stream_scrub.errors import BadFile, ConfigError, Refused, ScrubError
from stream_scrub.files.columns import shown
from stream_scrub.files.ndjson import NdjsonFile
from stream_scrub.files.options import MAX_BAD, Asked, FileOptions
from stream_scrub.files.rows import Duplicates, Judging
from stream_scrub.files.scrub_file import leads_of, scrub_file
from stream_scrub.files.source import open_input
from stream_scrub.files.summary import REASONS
from stream_scrub.imports.index_sources import IndexUsed
from stream_scrub.index import Index
from stream_scrub.log import index_transfer
from stream_scrub.model import Logger, Reason
from stream_scrub.ops import crash_report, logs, processes
from stream_scrub.scrub import scrubbing

MEMORY_BYTES_MAX = 2 << 30  # apart from the index; also the size of a result
SCRUB_S_MAX = 900
_NICE = 10  # below the server's own work
_STEP_S = 0.25  # between two reports of progress
_COLUMNS_MAX = 100  # that are offered
_TITLES = re.compile(r"[0-9]{1,3}")


class State(msgspec.Struct, frozen=True):
    """What has become of a job. `why` says what is unclear, went wrong, or is being done. `columns` are the titles in a
    file, in order, if other choices may help. `allowed` and `rows` are the result of a file."""

    stage: Literal["receiving", "waiting", "working", "unclear", "done", "failed"]
    share: float = 0.0  # of the work that is done
    why: str = ""
    columns: list[str] = []
    allowed: int = 0
    rows: int = 0

    @property
    def is_unfinished(self) -> bool:
        """Whether the work goes on."""
        return self.stage in {"receiving", "waiting", "working"}

    @property
    def asks(self) -> bool:
        """Whether other choices may help."""
        return self.stage == "unclear" or (self.stage == "done" and not self.allowed)


def run(
    settings: Settings,
    usable: Callable[[], Index],
    options: FileOptions,
    seen: Callable[[State], None],
    why_end: Callable[[], str],
) -> State:
    """Scrub a file in a child process by the `usable` index. `seen` gets the progress. `why_end` is asked several times a
    second, and gives the reason to end, or "". Blocks; raises what `usable` does."""
    limit = SCRUB_S_MAX, f"the file takes more than {SCRUB_S_MAX} s: split it"
    child = processes.one_child(_child, settings, options, name="scrub")
    # The index is sent and forgotten: it may be replaced meanwhile.
    return followed(child, limit, seen, why_end, lambda ours: index_transfer.send(usable(), ours))


def followed(
    child: AbstractContextManager[tuple[Connection, SpawnProcess]],
    limit: tuple[float, str],
    seen: Callable[[State], None],
    why_end: Callable[[], str],
    begin: Callable[[Connection], None] = lambda _: None,
) -> State:
    """Return the last state that a child sends; `seen` gets those before. `limit`: the seconds that it may take, and what to
    say if it takes longer. `begin` gets the pipe to the child. Blocks."""
    seconds, too_long = limit
    ends = time.monotonic() + seconds
    with child as (ours, process):
        try:
            begin(ours)
            while True:
                if why := processes.until_sent(ours, ends, too_long, why_end):
                    return State("failed", why=why)
                outcome = msgspec.msgpack.decode(ours.recv_bytes(), type=State)
                if outcome.stage != "working":
                    return outcome
                seen(outcome)
        except (EOFError, OSError, msgspec.MsgspecError):
            process.join()
            why = f"the process that did the work ended with code {process.exitcode}: the file is damaged, or it takes too much memory"
            return State("failed", why=why)


def _child(settings: Settings, options: FileOptions, parent: Connection, alive: Connection) -> None:
    processes.begin_child(alive)
    bounded_process.end_first()
    logs.configure(settings.log.level, settings.log.format)
    index = index_transfer.receive(parent)
    tempfile.tempdir = str(options.output.parent)  # what libraries keep on disk stays in the private folder
    max_bytes = bounded_process.affordable(MEMORY_BYTES_MAX)
    bounded_process.bound(max_bytes, SCRUB_S_MAX)

    send_outcome(parent, lambda: _outcome(settings, index, options, SentProgress(parent), max_bytes))


def begin_reading(settings: Settings, alive: Connection) -> Logger:
    """In a child that reads whole topics: begin as a child that yields the processors to checks."""
    processes.begin_child(alive)
    bounded_process.end_first()
    os.nice(_NICE)
    return logs.configure(settings.log.level, settings.log.format)


def send_outcome(parent: Connection, work: Callable[[], msgspec.Struct]) -> NoReturn:
    """In a child: send what `work` returns to the parent, and end."""

    def sent() -> int:
        parent.send_bytes(msgspec.msgpack.encode(work()))
        return 0

    sys.exit(crash_report.coded(sent))


class SentProgress:
    """Sends the share of the work that is done to the parent, a few times a second. `named`: with the step of the work."""

    def __init__(self, parent: Connection, *, named: bool = False) -> None:
        self._parent, self._named = parent, named
        self._at = 0.0

    def __call__(self, what: str, done: int, of: int | None) -> None:
        """As `model.Progress`."""
        if time.monotonic() - self._at >= _STEP_S:
            self._at = time.monotonic()
            share = min(1.0, done / of) if of else 0.0
            state = State("working", share, what if self._named else "")
            self._parent.send_bytes(msgspec.msgpack.encode(state))


def _outcome(
    settings: Settings,
    index: Index,
    options: FileOptions,
    progress: Callable[[str, int, int | None], None],
    max_bytes: int,
) -> State:
    try:
        summary = scrub_file(options, settings, IndexUsed(index, "log"), progress)
        if summary.allowed:
            return State("done", allowed=summary.allowed, rows=summary.rows)
        reason, rows = max(summary.reasons.items(), key=lambda each: each[1])
        why = "; ".join([f"{rows:,} rows are blocked as {reason}: {REASONS[Reason(reason)]}", *summary.notes])
        return State("done", why=why, columns=_columns(settings, index, options), rows=summary.rows)
    except (BadFile, ConfigError, Refused) as error:
        why = _without_paths(str(error).replace("\n", "; "), options)
        return State("unclear", why=why, columns=_columns(settings, index, options))
    except ScrubError as error:
        return State("failed", why=_without_paths(str(error), options))
    except MemoryError:
        bounded_process.unbound_memory()
        return State("failed", why=f"the file takes more than {max_bytes >> 20:,} MiB of memory: split it")


def _without_paths(why: str, options: FileOptions) -> str:
    """A reason without the server's folders, the file's name and a text that may be a number."""
    why = why.removeprefix(f"{Path(options.input).name}: ")
    for path in (options.input, str(options.output)):
        why = why.replace(path, Path(path).name)
    return logs.mask(why)


def _columns(settings: Settings, index: Index, options: FileOptions) -> list[str]:
    """The titles in the file, in order; empty if it has none that can be read."""
    asked = Asked(numbers=("1",), titles=options.columns.titles)
    judging = Judging(settings, scrubbing.scrubber(settings, hold=False), index, datetime.now(UTC))
    try:
        with (
            tempfile.TemporaryFile() as scratch,
            tempfile.TemporaryDirectory() as folder,
            open_input(options.input) as file,
        ):
            leads = leads_of(
                file, replace(options, columns=asked), judging, Duplicates(scratch), lambda: Path(folder)
            )
    except (ScrubError, OSError):
        return []
    if isinstance(leads, NdjsonFile):
        return []
    names = leads.columns.names[:_COLUMNS_MAX]
    return [shown(name.strip()) or f"column {place}" for place, name in enumerate(names, 1)]


def options_of(upload: Path, results: Path, choices: Mapping[str, str]) -> FileOptions:
    """Return the options for the choices of the page's form."""
    columns = sorted(int(name.partition("-")[2]) for name in choices if name.startswith("column-"))
    facts = {
        fact: choices[f"{fact}_column"]
        for fact in ("region", "purpose", "campaign")
        if f"{fact}_column" in choices
    }
    titles = choices.get("titles", "")
    return FileOptions(
        input=str(upload),
        output=results,
        columns=Asked(tuple(map(str, columns)), facts, int(titles) if _TITLES.fullmatch(titles) else None),
        region=choices.get("region"),
        call=Call(purpose=choices.get("purpose"), campaign=choices.get("campaign")),
        sheet=choices.get("sheet", ""),
        max_bad=1.0 if "bad" in choices else MAX_BAD,
        language=choices.get("language", "en"),
        token=choices.get("token", ""),
        force=True,  # results of earlier choices
    )

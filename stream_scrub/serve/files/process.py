"""Scrubs an uploaded file in a child process, as `stream-scrub file` does it: a stranger's file harms this process alone.

The child gets the server's index through a pipe, then bounds its memory and time, and only then opens the file. It ends
when the server does, when the job is cancelled, and when its results take too much room.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal, NoReturn

import msgspec

from stream_scrub import bounded_process
from stream_scrub.call import FACTS, Call
from stream_scrub.config import Settings
from stream_scrub.errors import BadFile, ConfigError, Refused, ScrubError, TooMany
from stream_scrub.files.options import MAX_BAD, REGION, Asked, FileOptions
from stream_scrub.files.scrub_file import scrub_file
from stream_scrub.imports.formats import BadList
from stream_scrub.imports.guards import UnstatedConsents
from stream_scrub.imports.index_sources import IndexUsed
from stream_scrub.imports.parsing.list_columns import suggested_places
from stream_scrub.index import Index
from stream_scrub.log import index_transfer
from stream_scrub.model import Logger
from stream_scrub.ops import crash_report, logs, processes
from stream_scrub.serve.files.own_lists import OwnList, as_text, with_list
from stream_scrub.serve.files.preview import PHONE, Preview, PreviewColumn, list_rows, preview_of
from stream_scrub.terminal import one_line

MEMORY_BYTES_MAX = 2 << 30  # apart from the index; also the size of a result
SCRUB_S_MAX = 900
_NICE = 10  # below the server's own work
_STEP_S = 0.25  # between two reports of progress
COLUMN = "column-"  # and its number: a field of the form that says what a column holds
ROLES = (REGION, *FACTS)
_TITLES = re.compile(r"[0-9]{1,3}")


class State(msgspec.Struct, frozen=True):
    """What has become of a job. `why` says what is unclear, went wrong, or is being done. `preview` is what a file of leads
    looks like; `Jobs.preview` keeps it. `about`: the field of the own list that `why` is about; `consents`: what a list of
    consents looks like whose columns must be named. `allowed` and `rows` are the result of a file."""

    stage: Literal["receiving", "waiting", "working", "unclear", "done", "failed"]
    share: float = 0.0  # of the work that is done
    why: str = ""
    preview: Preview | None = None
    about: str = ""
    consents: Preview | None = None
    allowed: int = 0
    rows: int = 0

    @property
    def is_unfinished(self) -> bool:
        """Whether the work goes on."""
        return self.stage in {"receiving", "waiting", "working"}

    @property
    def asks(self) -> bool:
        """Whether the file can be scrubbed, or scrubbed again."""
        return self.stage in {"unclear", "done"}


def look(settings: Settings, options: FileOptions, why_end: Callable[[], str]) -> State:
    """Look into a file in a child process: what its columns seem to hold. Blocks."""
    limit = SCRUB_S_MAX, f"the file takes more than {SCRUB_S_MAX} s: split it"
    child = processes.one_child(_looking_child, settings, options, name="look")
    return followed(child, limit, lambda _: None, why_end)


def _looking_child(settings: Settings, options: FileOptions, parent: Connection, alive: Connection) -> None:
    processes.begin_child(alive)
    max_bytes = _begin_bounded(settings, options)
    send_outcome(parent, lambda: looked(settings, options, max_bytes))


def looked(settings: Settings, options: FileOptions, max_bytes: int) -> State:
    """Look into a file, in this process."""
    try:
        return State("unclear", preview=preview_of(options, settings))
    except ConfigError as error:
        return State("unclear", why=_without_paths(str(error).replace("\n", "; "), options))
    except BadFile as error:
        return State("failed", why=_without_paths(str(error), options))
    except MemoryError:
        bounded_process.unbound_memory()
        return State("failed", why=f"the file takes more than {max_bytes >> 20:,} MiB of memory: split it")


def run(
    settings: Settings,
    usable: Callable[[], Index],
    options: FileOptions,
    lists: Sequence[OwnList],
    seen: Callable[[State], object],
    why_end: Callable[[], str],
) -> State:
    """Scrub a file in a child process by the `usable` index and the own `lists`. `seen` gets the progress. `why_end` is asked several times a
    second, and gives the reason to end, or "". Blocks; raises what `usable` does."""
    limit = SCRUB_S_MAX, f"the file takes more than {SCRUB_S_MAX} s: split it"
    child = processes.one_child(_child, settings, options, lists, name="scrub")
    # The index is sent and forgotten: it may be replaced meanwhile.
    return followed(child, limit, seen, why_end, lambda ours: index_transfer.send(usable(), ours))


def followed(
    child: AbstractContextManager[tuple[Connection, SpawnProcess]],
    limit: tuple[float, str],
    seen: Callable[[State], object],
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


def _child(
    settings: Settings,
    options: FileOptions,
    lists: Sequence[OwnList],
    parent: Connection,
    alive: Connection,
) -> None:
    processes.begin_child(alive)
    index = index_transfer.receive(parent)
    max_bytes = _begin_bounded(settings, options)
    send_outcome(parent, lambda: _outcome(settings, index, options, lists, SentProgress(parent), max_bytes))


def _begin_bounded(settings: Settings, options: FileOptions) -> int:
    """In a child that reads an uploaded file: bound its time, and its memory from now on. Returns the bytes of memory."""
    bounded_process.end_first()
    logs.configure(settings.log.level, settings.log.format)
    tempfile.tempdir = str(options.output.parent)  # what libraries keep on disk stays in the private folder
    max_bytes = bounded_process.affordable(MEMORY_BYTES_MAX)
    bounded_process.bound(max_bytes, SCRUB_S_MAX)
    return max_bytes


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
    lists: Sequence[OwnList],
    progress: Callable[[str, int, int | None], None],
    max_bytes: int,
) -> State:
    reading = ""  # the own list that is being read
    try:
        used = IndexUsed(index, "log")
        for own in lists:
            reading = own.field
            used = with_list(used, own, options.region, settings)
        reading = ""
        summary = scrub_file(options, settings, used, progress)
        return State("done", allowed=summary.allowed, rows=summary.rows)
    except UnstatedConsents as error:
        roles = {place: role for role, place in suggested_places(error.columns).items()}
        columns = [
            PreviewColumn(column.title or f"column {column.place}", roles.get(column.place, ""), True)
            for column in error.columns
        ]
        with tempfile.TemporaryDirectory() as folder:
            rows = list_rows(as_text(own.path, Path(folder)))
        return State("unclear", about=reading, consents=Preview(columns, rows))
    except BadList as error:
        return State("unclear", why=one_line(error.shown), about=reading)
    except (BadFile, ConfigError, Refused, TooMany) as error:
        return State("unclear", why=_without_paths(str(error).replace("\n", "; "), options), about=reading)
    except ScrubError as error:
        return State("failed", why=_without_paths(str(error), options))
    except OSError as error:
        return State("failed", why=f"the server cannot store the list ({error.strerror})")
    except MemoryError:
        bounded_process.unbound_memory()
        return State("failed", why=f"the file takes more than {max_bytes >> 20:,} MiB of memory: split it")


def _without_paths(why: str, options: FileOptions) -> str:
    """A reason without the server's folders, the file's name and a text that may be a number."""
    why = why.removeprefix(f"{Path(options.input).name}: ")
    for path in (options.input, str(options.output)):
        why = why.replace(path, Path(path).name)
    return logs.mask(why)


def options_of(upload: Path, results: Path, choices: Mapping[str, str]) -> FileOptions:
    """Return the options for the choices of the page's form. Raises ConfigError: two columns have one role, or a relation has
    no day."""
    roles: dict[str, list[str]] = {}
    for name, role in choices.items():
        if name.startswith(COLUMN):
            roles.setdefault(role, []).append(name.removeprefix(COLUMN))
    numbers = roles.pop(PHONE, [])
    facts = {role: places[0] for role, places in roles.items() if role in ROLES}
    doubled = [role for role in facts if len(roles[role]) > 1]
    if doubled:
        raise ConfigError([f"columns {' and '.join(roles[doubled[0]])} have one role: choose one of them"])
    titles = choices.get("titles", "")
    said = {name: choices.get(name, "") for name in FACTS if name not in facts}
    if said.get("relation"):
        said["relation"] += f":{choices.get('since', '')}"
    return FileOptions(
        input=str(upload),
        output=results,
        columns=Asked(
            tuple(numbers), facts, int(titles) if _TITLES.fullmatch(titles) else None, exact=bool(numbers)
        ),
        region=choices.get("region"),
        call=Call.of_options({**dict.fromkeys(FACTS, ""), **said, "contract": "contract" in choices}),
        sheet=choices.get("sheet", ""),
        max_bad=1.0 if "bad" in choices else MAX_BAD,
        language=choices.get("language", "en"),
        token=choices.get("token", ""),
        force=True,  # results of earlier choices
    )

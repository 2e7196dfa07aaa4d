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
from datetime import UTC
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal, NoReturn

import msgspec

from stream_scrub import bounded_process
from stream_scrub.call import FACTS, Call
from stream_scrub.config import Settings
from stream_scrub.errors import BadFile, ConfigError, Refused, ScrubError, TooMany, code_of
from stream_scrub.files.options import MAX_BAD, REGION, Asked, FileOptions
from stream_scrub.files.scrub_file import FewNumbers, scrub_with_notes
from stream_scrub.imports.formats import BadList
from stream_scrub.imports.guards import UnstatedConsents
from stream_scrub.imports.index_sources import IndexUsed
from stream_scrub.imports.parsing.list_columns import suggested_places
from stream_scrub.index import Index
from stream_scrub.languages import read_in, say, translatable
from stream_scrub.log import index_transfer
from stream_scrub.model import Logger
from stream_scrub.ops import crash_report, logs, processes
from stream_scrub.scrub import scrubbing
from stream_scrub.serve.files.own_lists import OwnList, UnclearList, with_list
from stream_scrub.serve.files.preview import PHONE, Preview, PreviewColumn, list_rows, preview_of
from stream_scrub.terminal import one_line

MEMORY_BYTES_MAX = 2 << 30  # apart from the index; also the size of a result
SCRUB_S_MAX = 900
_NICE = 10  # below the server's own work
_STEP_S = 0.25  # between two reports of progress
COLUMN = "column-"  # and its number: a field of the form that says what a column holds
ROLES = (REGION, *FACTS)
ANYWAY = "bad"  # a field of the form: scrub a file although many of its rows have no number
UNSTORED = translatable("the server cannot store your list (%(code)s): tell your operator")
_TITLES = re.compile(r"[0-9]{1,3}")
# What is said of a choice that cannot be understood.
_UNFIT = {
    "relation": translatable("enter the day of the last purchase or inquiry"),
    "purpose": scrubbing.UNKNOWN_PURPOSE,
}
_ODD_FORM = translatable("the form has an unknown choice: reload the page")


class State(msgspec.Struct, frozen=True):
    """What has become of a job. `why` says what is unclear, went wrong, or is being done. `preview` is what a file of leads
    looks like; `Jobs.preview` keeps it. `about`: the field of the own list that `why` is about; `go_on`: the choice that
    leaves out the lines that it is about, of `UnclearList`; `consents`: what a list of consents looks like whose columns must
    be named. `allowed` and `rows` are the result of a file, `notes` what would make it more."""

    stage: Literal["receiving", "waiting", "working", "unclear", "done", "failed"]
    share: float = 0.0  # of the work that is done
    why: str = ""
    preview: Preview | None = None
    about: str = ""
    go_on: str = ""
    consents: Preview | None = None
    allowed: int = 0
    rows: int = 0
    notes: list[str] = []

    @property
    def is_unfinished(self) -> bool:
        """Whether the work goes on."""
        return self.stage in {"receiving", "waiting", "working"}

    @property
    def asks(self) -> bool:
        """Whether the file can be scrubbed, or scrubbed again."""
        return self.stage in {"unclear", "done"}


_STATE = msgspec.msgpack.Decoder(State)


def look(settings: Settings, options: FileOptions, why_end: Callable[[], str]) -> State:
    """Look into a file in a child process: what its columns seem to hold. Blocks."""
    limit = SCRUB_S_MAX, _too_long()
    child = processes.one_child(_looking_child, settings, options, name="look")
    return followed(child, limit, lambda _: None, why_end)


def _looking_child(settings: Settings, options: FileOptions, parent: Connection, alive: Connection) -> None:
    processes.begin_child(alive)
    max_bytes = _begin_bounded(settings, options)
    with read_in(options.language, UTC, on_page=True):
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
        return State("failed", why=_too_much(max_bytes))


def _too_long() -> str:
    return say("the file takes more than %(seconds)s s: split it", seconds=SCRUB_S_MAX)


def _too_much(max_bytes: int) -> str:
    return say("the file takes more than %(most)s MiB of memory: split it", most=max_bytes >> 20)


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
    limit = SCRUB_S_MAX, _too_long()
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

    def is_progress(state: State) -> bool:
        if state.stage != "working":
            return False
        seen(state)
        return True

    try:
        return processes.answer(child, _STATE, limit, why_end, begin=begin, is_progress=is_progress)
    except processes.NoAnswer as error:
        why = say("the file is damaged, or it takes too much memory (code %(code)s)", code=str(error.code))
        return State("failed", why=str(error) or why)


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
    with read_in(options.language, UTC, on_page=True):
        send_outcome(
            parent, lambda: _outcome(settings, index, options, lists, SentProgress(parent), max_bytes)
        )


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
        summary, notes = scrub_with_notes(options, settings, used, progress)
        return State("done", allowed=summary.allowed, rows=summary.rows, notes=notes)
    except UnstatedConsents as error:
        roles = {place: role for role, place in suggested_places(error.columns).items()}
        columns = [PreviewColumn(column.title, roles.get(column.place, ""), True) for column in error.columns]
        return State("unclear", about=reading, consents=Preview(columns, list_rows(own.path)))
    except UnclearList as error:
        return State("unclear", why=one_line(error.shown), about=reading, go_on=error.go_on)
    except BadList as error:
        return State("unclear", why=one_line(error.shown), about=reading)
    except FewNumbers as error:
        return State("unclear", why=_without_paths(str(error), options), about=ANYWAY)
    except (BadFile, ConfigError, Refused, TooMany) as error:
        return State("unclear", why=_without_paths(str(error).replace("\n", "; "), options), about=reading)
    except ScrubError as error:
        return State("failed", why=_without_paths(str(error), options))
    except OSError as error:
        return State("failed", why=say(UNSTORED, code=code_of(error)))
    except MemoryError:
        bounded_process.unbound_memory()
        return State("failed", why=_too_much(max_bytes))


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
        columns = ", ".join(roles[doubled[0]])
        raise ConfigError(
            [say("these columns hold the same: %(columns)s. Choose one of them", columns=columns)]
        )
    titles = choices.get("titles", "")
    said = {name: choices.get(name, "") for name in FACTS if name not in facts}
    if said.get("relation"):
        said["relation"] += f":{choices.get('since', '')}"
    for name, word in said.items():
        if word and FACTS[name].parse(word) is None:
            raise ConfigError([say(_UNFIT.get(name, _ODD_FORM), word=word)])
    return FileOptions(
        input=str(upload),
        output=results,
        columns=Asked(
            tuple(numbers), facts, int(titles) if _TITLES.fullmatch(titles) else None, exact=bool(numbers)
        ),
        region=choices.get("region"),
        call=Call.of_options({**dict.fromkeys(FACTS, ""), **said, "contract": "contract" in choices}),
        sheet=choices.get("sheet", ""),
        max_bad=1.0 if ANYWAY in choices else MAX_BAD,
        language=choices.get("language", "en"),
        token=choices.get("token", ""),
        force=True,  # results of earlier choices
    )

"""`lists import`, as the page has it done: in a process of its own, so that checks go on while a list is read and compared,
and a list that kills its reader kills nothing else. It ends with the server, however that ends: nobody would be told what
it published."""

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, Literal

import msgspec

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Refused, ScrubError, TooMany
from stream_scrub.lists.formats import BadList
from stream_scrub.observability import crash_report, logs
from stream_scrub.server.questions import Questions
from stream_scrub.wiring import process_family

_BEYOND_READING_S = 300.0  # for the log, the dry run's prospects, and the transaction
_LOOK_S = 0.25

Outcome = Literal["done", "refused", "unavailable", "ended"]


class Import(msgspec.Struct, frozen=True):
    """What became of it: `effect` (as `lists import --json`) when it was `done`, else `why`. `ended` is a process that
    died, took too long, or was ended with the server: whether it published is not known."""

    outcome: Outcome
    why: str = ""
    effect: dict[str, Any] = {}


class ImportAsked(msgspec.Struct, frozen=True):
    """A list as the page's form asks for it: where its file is, and what was said of it."""

    file: str
    said: Mapping[str, str]
    dry_run: bool


def longest_s(settings: Settings) -> float:
    """Seconds that one may take."""
    return settings.lists.read_max_s + _BEYOND_READING_S


def run(settings: Settings, questions: Questions, asked: ImportAsked, stopping: Callable[[], bool]) -> Import:
    """Import one list, or see what that would do. Blocks; raises nothing."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    alive, held = context.Pipe(duplex=False)
    given = (settings, questions, asked, theirs, alive)
    process = context.Process(target=_child, args=given, name="import", daemon=True)
    process.start()
    theirs.close()
    alive.close()
    ends = time.monotonic() + longest_s(settings)
    try:
        while not ours.poll(_LOOK_S):
            if stopping():
                return Import("ended", "this server was told to stop")
            if time.monotonic() > ends:
                return Import("ended", "it took too long")
        return msgspec.msgpack.decode(ours.recv_bytes(), type=Import)
    except (EOFError, OSError, msgspec.MsgspecError):
        process.join()
        return Import("ended", f"its process ended with {process.exitcode}, and the log says why")
    finally:
        process.kill()
        process.join()
        ours.close()
        held.close()


def _child(
    settings: Settings, questions: Questions, asked: ImportAsked, parent: Connection, alive: Connection
) -> None:
    process_family.end_with(alive)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever presses Ctrl-C means the server, which ends us
    crash_report.watch()
    log = logs.configure(settings.log.level, settings.log.format)

    def work() -> int:
        found = _outcome(lambda: questions.import_list(settings, log, asked.file, asked.said, asked.dry_run))
        parent.send_bytes(msgspec.msgpack.encode(found))
        return 0

    sys.exit(crash_report.coded(work))


def _outcome(work: Callable[[], dict[str, Any]]) -> Import:
    try:
        return Import("done", effect=work())
    except ConfigError as error:
        return Import("refused", logs.mask("; ".join(each.removeprefix("--") for each in error.problems)))
    except (BadList, Refused, TooMany) as error:
        return Import("refused", logs.mask(str(error)))
    except ScrubError as error:
        return Import("unavailable", logs.mask(str(error)))

"""Reports an unexpected exception of any thread: one line with its type, its place and what to do.

Never a traceback: it would show names of files and texts of exceptions, which may hold a phone number. Nor a core dump: it
would hold every number and token in memory.
"""

import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from stream_scrub import terminal

with suppress(ImportError):  # Windows
    import resource

_DO = "this is a bug: report it with this line and the version. What is committed stays, and you may start it again"


def report(error: BaseException, where: str) -> None:
    """Write the line to the log, or to standard error if no log is set up."""
    from stream_scrub.ops import logs

    log = logs.configured()
    if log is not None:
        log.error("ended by a fault", thread=where, exc_info=error, do=_DO)
    else:
        terminal.complain(f"ended by a fault: {logs.described(error)}: {_DO}")


def coded(run: Callable[[], int]) -> int:
    """The exit code that `run` returns; 1, after a report, for an unexpected exception."""
    try:
        return run()
    except Exception as error:  # noqa: BLE001 - reported, and the exit code is not 0
        report(error, threading.current_thread().name)
        return 1


def watch() -> None:
    """From now on, report every exception that ends this process or one of its threads, or that a destructor raises. This
    process and its children leave no core dump."""
    with suppress(NameError):  # Windows
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.raiseExceptions = False  # a log line that cannot be written is dropped

    def uncaught(_type: type[BaseException], error: BaseException, _traceback: object) -> None:
        report(error, "main")

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            report(args.exc_value, "?" if args.thread is None else args.thread.name)

    def unraisable(args: "sys.UnraisableHookArgs") -> None:
        if args.exc_value is not None:
            report(args.exc_value, "?")

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, unraisable

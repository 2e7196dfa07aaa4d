"""Reports an exception that nobody foresaw, in any thread: one line with its type, its place and what to do, and
never a traceback.

A traceback would show names of files and texts of exceptions, which may hold somebody's number.
"""

import logging
import sys
import threading
from collections.abc import Callable

from stream_scrub import terminal

_DO = "this is a fault of ours: report it with this line and the version; what was committed stays, and it may be started again"


def tell(error: BaseException, where: str) -> None:
    """Write the line to the log, or to standard error where no log is set up."""
    from stream_scrub.observability import logs

    log = logs.configured()
    if log is not None:
        log.error("ended by a fault", thread=where, exc_info=error, do=_DO)
    else:
        terminal.complain(f"ended by a fault: {logs.described(error)}: {_DO}")


def coded(run: Callable[[], int]) -> int:
    """The exit code that `run` returns; 1, after a report, for an exception that nobody foresaw."""
    try:
        return run()
    except Exception as error:  # noqa: BLE001 - reported, and the exit code is not 0
        tell(error, threading.current_thread().name)
        return 1


def watch() -> None:
    """From now on, report every exception that ends this process or a thread of it, or that a destructor raises."""
    logging.raiseExceptions = False  # a log line that cannot be written is dropped

    def uncaught(_type: type[BaseException], error: BaseException, _traceback: object) -> None:
        tell(error, "main")

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            tell(args.exc_value, "?" if args.thread is None else args.thread.name)

    def unraisable(args: "sys.UnraisableHookArgs") -> None:
        if args.exc_value is not None:
            tell(args.exc_value, "?")

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, unraisable

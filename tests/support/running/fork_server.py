"""Run as a program by `forked.py`, never imported: a process that has imported all of the product and forks at request.

It never starts a thread nor opens a Kafka client, so that what it forks is like a process that has just started.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress

_REQUEST_BYTES = 1 << 20
_LAZY = ("uvicorn.protocols.http.httptools_impl", "uvicorn.loops.uvloop", "uvicorn.lifespan.on", "readline")


def load() -> None:
    """Import every module of the product but programs, and what others import when they first run."""
    import stream_scrub  # noqa: PLC0415 - the checkout may not be importable

    for each in pkgutil.walk_packages(stream_scrub.__path__, "stream_scrub."):
        if each.name.rpartition(".")[2] not in ("__main__", "generate"):
            with suppress(ImportError):  # an extra that is not installed
                importlib.import_module(each.name)
    for name in _LAZY:
        with suppress(ImportError):
            importlib.import_module(name)


def serve(requests: socket.socket) -> dict:
    """Answer each request with the process id of a new process; it returns in that process, with its request.

    The process is nobody's child then: the one that asked has made itself the reaper of orphans.
    """
    pid_in, pid_out = os.pipe()
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 3)
        if not message:
            os._exit(0)
        between = os.fork()
        if between == 0:
            pid = os.fork()
            if pid:
                os.write(pid_out, struct.pack("i", pid))
                os._exit(0)
            for each in (pid_in, pid_out):
                os.close(each)
            requests.close()
            return json.loads(message) | {"descriptors": descriptors}
        os.waitpid(between, 0)
        for each in descriptors:
            os.close(each)
        requests.send(os.read(pid_in, 4))


def become(request: dict) -> None:
    """Take that directory, environment, command line and standard streams."""
    if request["new_session"]:
        os.setsid()
    for target, source in enumerate(request["descriptors"]):
        os.dup2(source, target)
    os.closerange(3, max(request["descriptors"]) + 1)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["args"]
    sys.path[0] = os.path.dirname(sys.argv[0])  # noqa: PTH120 - as Python writes it
    sys.modules["__main__"].__file__ = sys.argv[0]  # what multiprocessing runs in a process that it spawns
    old = (sys.stdin, sys.stdout, sys.stderr)
    for name, stream in zip(("stdin", "stdout", "stderr"), old, strict=True):
        at, mode = stream.fileno(), "r" if name == "stdin" else "w"
        new = open(at, mode, encoding=stream.encoding, errors=stream.errors, closefd=False)
        if name == "stderr" or new.isatty():
            new.reconfigure(line_buffering=True)
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def end(code: int) -> None:
    """End as an interpreter does, but do not take everything apart, which takes longer than most commands."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest and the commands
    load()
    gc.collect()
    gc.freeze()
    become(serve(socket.socket(fileno=int(sys.argv[1]))))
    signal.signal(signal.SIGINT, interrupted)
    try:
        sys.modules["stream_scrub.cli.app"].main()
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        end(ended.code)

"""`Popen` and `run` as in `subprocess`, for the console script: it is forked from a process that has imported everything
already, which takes a tenth of the processor time. It has a process id, signals, an exit code, streams, a directory and
an environment of its own, as any other process. Every other command is started as ever.
"""

import ctypes
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

SCRIPT = str(Path(sys.executable).with_name("stream-scrub"))
_ROOT = Path(__file__).parents[3]
_SET_CHILD_SUBREAPER = 36
# What Python or a library reads while it starts: a process with another value of these cannot be forked.
_READ_AT_START = re.compile("(PYTHON|LC_|LANG|LD_|MALLOC_|OPENBLAS|OMP_|TZ|GLIBC_)")


class _Server:
    """The process that forks, one for each process of pytest. It ends when pytest does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: socket.socket | None = None
        self._at_start = _read_at_start(os.environ)
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl

    def can_start(self, env: dict[str, str]) -> bool:
        return _read_at_start(env) == self._at_start

    def start(self, request: dict[str, Any], descriptors: list[int]) -> int:
        """Returns the process id of a new child of this process."""
        with self._lock:
            if self._requests is None:
                self._requests = self._begin()
            self._prctl(_SET_CHILD_SUBREAPER, 1)
            try:
                socket.send_fds(self._requests, [json.dumps(request).encode()], descriptors)
                answer = self._requests.recv(4)
            finally:
                self._prctl(_SET_CHILD_SUBREAPER, 0)
            if not answer:
                self._errors.seek(0)
                raise RuntimeError(f"the fork server ended: {self._errors.read()[-2000:].decode()}")
            return struct.unpack("i", answer)[0]

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._errors = tempfile.TemporaryFile()
        env = {k: v for k, v in os.environ.items() if not k.startswith("STREAM_SCRUB_")}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("fork_server.py")), str(theirs.fileno())],
                env=env | {"OPENBLAS_NUM_THREADS": "1"},  # no threads of numpy's
                cwd=_ROOT,
                stderr=self._errors,
                pass_fds=[theirs.fileno()],
            )
        return ours


def _read_at_start(env: Any) -> dict[str, str]:
    return {name: value for name, value in env.items() if _READ_AT_START.match(name)}


_server = _Server()


class Popen(subprocess.Popen):
    """As `subprocess.Popen`; a command whose first word is SCRIPT is forked, if nothing stands against it."""

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest) -> None:
        names = (
            "startupinfo",
            "creationflags",
            "shell",
            "p2cread",
            "p2cwrite",
            "c2pread",
            "c2pwrite",
            "errread",
        )
        names += ("errwrite", "restore_signals", "gid", "gids", "uid", "umask", "start_new_session")
        told = dict(zip(names, rest, strict=False))
        environment = {**(os.environ if env is None else env)}
        as_it_comes = (executable, preexec_fn, told["gid"], told["gids"], told["uid"]) == (None,) * 5
        if (
            isinstance(args, str)
            or str(args[0]) != SCRIPT
            or pass_fds
            or not as_it_comes
            or told["umask"] >= 0
            or not _server.can_start(environment)
        ):
            super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest)
            return
        request = {
            "args": [str(each) for each in args],
            "env": environment,
            "cwd": str(Path(cwd or ".").absolute()),
            "new_session": bool(told["start_new_session"]),
        }
        wanted = (told["p2cread"], told["c2pwrite"], told["errwrite"])
        descriptors = [ours if given == -1 else given for ours, given in enumerate(wanted)]
        try:
            self.pid = _server.start(request, descriptors)
            self._child_created = True
        finally:
            self._close_pipe_fds(*(told[each] for each in names[3:9]))


def run(
    command: list[str],
    *,
    input: Any = None,  # noqa: A002 - as there
    timeout: float | None = None,
    check: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess:
    """As `subprocess.run`."""
    if options.pop("capture_output", False):
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        options["stdin"] = subprocess.PIPE
    with Popen(command, **options) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(command, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done

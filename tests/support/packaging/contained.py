"""Runs a program of the image as a container runtime does: process 1 of its own process table, the image's user, variables
and working folder, a root that nobody may write to, no new privileges. The network is the machine's.

What else a runtime does (seccomp, cgroups, dropping capabilities, of which a user other than root has none) is not
here.
"""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.packaging.builder import Image
from tests.support.running.worker import catches, status_of
from tests.support.waiting import wait_until

# The program has namespaces of its own, so that nothing of it outlives it. Its own folders are mounted before the
# root is made read-only, and stay writable. Each step replaces itself with the next (exec): the program is process 1,
# as in a container.
SCRIPT = """
set -e
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
for pair in $MOUNTS; do mount --bind "${pair%%:*}" "$ROOT${pair#*:}"; done
mount -o remount,bind,ro "$ROOT"
exec setpriv --no-new-privs chroot --userspec="$AS" --groups="${AS#*:}" "$ROOT" \
    env --ignore-environment --chdir="$FOLDER" "$@"
"""
STATE = "/var/lib/stream-scrub"


class Contained:
    """A program in the image; without `program` the image's own entry point. `mounts` are writable, by their place inside.

    There is nothing else to write to, not even /tmp.
    """

    def __init__(
        self,
        image: Image,
        arguments: list[str],
        log_file: Path,
        *,
        program: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        mounts: dict[str, Path] | None = None,
    ) -> None:
        inside = dict(pair.split("=", 1) for pair in image.config["Env"]) | (env or {})
        self._command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SCRIPT, "sh"]
        self._command += [f"{name}={value}" for name, value in inside.items()]
        self._command += [*(program or image.config["Entrypoint"]), *arguments]
        self._env = os.environ | {
            "ROOT": str(image.root),
            "AS": image.config["User"],
            "FOLDER": image.config["WorkingDir"],
            "MOUNTS": " ".join(f"{path}:{place}" for place, path in (mounts or {}).items()),
        }
        self.log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()  # with --kill-child this also kills what it started
        self._process.wait()

    @property
    def said(self) -> str:
        """What it has printed so far, on both streams."""
        return self.log_file.read_text(errors="replace")

    def wait(self, timeout: float = 240) -> int:
        """Its exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    def stop(self, timeout: float = 240) -> tuple[int, float]:
        """Send SIGTERM, as an orchestrator does, once the program has a handler for it. Returns the exit code and how
        long it took."""
        wait_until(lambda: self._catches(signal.SIGTERM) or self._ended, every=0.01)
        assert not self._ended, self.said
        started = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        return self.wait(timeout), time.monotonic() - started

    @property
    def pid(self) -> int:
        """The machine's number for the container's process 1; 0 when there is none yet."""
        assert self._process is not None
        own = self._process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        return int(children[0]) if children else 0

    def status(self, field: str) -> str:
        """A line of the status of its process 1, from the kernel."""
        return status_of(self.pid, field)

    @property
    def _ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None

    def _catches(self, number: signal.Signals) -> bool:
        return self.pid != 0 and catches(self.pid, number)


def output(image: Image, arguments: list[str], log_file: Path, **options: object) -> str:
    """What a program of the image prints. It must end with exit code 0."""
    with Contained(image, arguments, log_file, **options) as running:
        code = running.wait()
    assert code == 0, f"{shlex.join(arguments)}\n{running.said[-4000:]}"
    return running.said

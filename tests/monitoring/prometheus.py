"""Where the tests' promtool and prometheus come from: the path, or Debian's package `prometheus`.

The package is unpacked and not installed: installing it would start a server.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[2] / ".cache" / "prometheus"
UNPACKED = HERE / "usr" / "bin"
HOW = "install Prometheus with its promtool (Debian: apt-get install prometheus)"


class NoPrometheus(RuntimeError):
    """There is none here and it cannot be fetched; the text says why and what would help."""


def find(tool: str) -> str:
    """The path of `promtool` or `prometheus`, fetched once a checkout where there is apt-get. Raises NoPrometheus."""
    found = shutil.which(tool)
    if found is not None:
        return found
    HERE.mkdir(parents=True, exist_ok=True)
    with (HERE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process fetches, others wait for it
        if not (UNPACKED / tool).is_file():
            _fetch()
    return str(UNPACKED / tool)


def _fetch() -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise NoPrometheus(HOW)
    print("fetching Debian's package prometheus: there is none here", file=sys.stderr)
    try:
        _run("apt-get", "download", "-qq", "prometheus")
    except NoPrometheus:
        if os.geteuid() != 0:
            raise
        _run("apt-get", "update", "-qq")
        _run("apt-get", "download", "-qq", "prometheus")
    (package,) = HERE.glob("prometheus_*.deb")
    _run("dpkg-deb", "-x", str(package), str(HERE))
    package.unlink()


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise NoPrometheus(f"{' '.join(command[:2])} failed: {done.stderr.strip()[-400:]}; {HOW}")

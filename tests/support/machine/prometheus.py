"""A real Prometheus on loopback. Its binaries come from the path, or from Debian's package `prometheus`.

The package is unpacked, not installed: installing it would start a server.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kafka.broker import free_ports
from tests.support.machine.absent import absent, tell

HERE = Path(__file__).parents[3] / ".cache" / "prometheus"
UNPACKED = HERE / "usr" / "bin"
NONE_HERE = "no Prometheus"
HOW = "install Prometheus with its promtool (Debian: apt-get install prometheus)"


CHOSEN = {"$__rate_interval": "15s", "$namespace": ".*", "$worker": ".+"}


class NoPrometheus(RuntimeError):
    """There is none here and it cannot be fetched; the text says why and what would help."""


def found(tool: str) -> str:
    """The path of `promtool` or `prometheus`. Without one the test is skipped, or fails where real parts are required."""
    try:
        return find(tool)
    except NoPrometheus as error:
        absent(f"{NONE_HERE}: {error}")


def tell_skipped(reporter: pytest.TerminalReporter) -> None:
    """At the end of a run, as `absent.tell`."""
    tell(reporter, "Prometheus", NONE_HERE, HOW)


def find(tool: str) -> str:
    """The path, fetched once a checkout where there is apt-get. Raises NoPrometheus."""
    there = shutil.which(tool)
    if there is not None:
        return there
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


class Prometheus:
    """A server on loopback that scrapes these ports each second, and evaluates these files of rules as often."""

    def __init__(self, binary: str, folder: Path, ports: Sequence[int], rules: Sequence[Path]) -> None:
        (port,) = free_ports(1)
        self.address = f"http://127.0.0.1:{port}"
        every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        targets = [{"targets": [f"127.0.0.1:{each}" for each in ports], "labels": {"namespace": "s"}}]
        scrape = [{"job_name": "stream-scrub", "static_configs": targets}]
        config = folder / "prometheus.yaml"
        config.write_text(
            yaml.safe_dump({"global": every, "rule_files": [*map(str, rules)], "scrape_configs": scrape})
        )
        command = [binary, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
        with (folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)

    def ask(self, path: str, **query: str) -> Any:
        """What its API answers; None while it does not answer."""
        try:
            with urllib.request.urlopen(
                f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
            ) as page:
                return json.load(page)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it listens, and is still starting
                return None
            raise AssertionError(error.read()) from error
        except urllib.error.URLError:
            return None

    def rows(self, expression: str) -> list[dict]:
        """The series that an expression gives now."""
        for variable, value in CHOSEN.items():
            expression = expression.replace(variable, value)
        found = self.ask("query", query=expression)
        return [] if found is None else found["result"]

    def stop(self) -> None:
        """SIGTERM, waited for."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

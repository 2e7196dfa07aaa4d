"""The file of a bench's figures. It names machine and versions, but neither host nor path."""

import json
import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import confluent_kafka

from bench.harness import build_peers
from tests.kafka.jars import KAFKA_JAR

_LIBRARIES = (
    "stream-scrub",
    "stream-scrub-native",
    "confluent-kafka",
    "msgspec",
    "numpy",
    "phonenumbers",
    "pyroaring",
)


def machine() -> dict[str, Any]:
    """What the figures depend on, without saying whose machine it is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def cpu_model() -> str:
    """The model as the kernel tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def versions(*, own_broker: bool) -> dict[str, Any]:
    """Of all that works in a run; the peers' own by peer."""
    return {
        **{name: _version(name) for name in _LIBRARIES},
        "librdkafka": confluent_kafka.libversion()[0],
        "kafka": KAFKA_JAR.removesuffix(".jar").rpartition("-")[2] if own_broker else "given",
        "java": _first_line(["java", "-version"]),
        "peers": build_peers.versions(),
        "commit": _first_line(["git", "describe", "--always", "--dirty"]),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return "" if done.returncode else (done.stdout or done.stderr).partition("\n")[0]


def save(suffix: str, content: dict[str, Any], folder: Path, *, own_broker: bool) -> Path:
    """`<date>-<cpu><suffix>.json`, with the machine and all versions; returns the file, which never replaces another."""
    now = datetime.now(UTC)
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", cpu_model().lower())).strip("-")
    whole = {
        "at": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(own_broker=own_broker),
        **content,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for again in range(1, 1000):
        file = folder / f"{now:%Y-%m-%d}-{slug}{suffix}{f'-{again}' if again > 1 else ''}.json"
        if not file.exists():
            file.write_text(text(whole) + "\n")
            return file
    raise FileExistsError(f"a thousand results of one day in {folder.name}")


def text(found: Any, indent: str = "") -> str:
    """As JSON for people and `git diff`: what holds single figures only stands on one line, a histogram too."""
    if isinstance(found, dict) and any(isinstance(each, dict | list | tuple) for each in found.values()):
        rows = [f"{json.dumps(name)}: {text(each, indent + '  ')}" for name, each in found.items()]
        return _block("{", rows, "}", indent)
    if isinstance(found, list | tuple) and any(isinstance(each, dict) for each in found):
        return _block("[", [text(each, indent + "  ") for each in found], "]", indent)
    return json.dumps(found)


def _block(begin: str, rows: list[str], end: str, indent: str) -> str:
    return f"{begin}\n" + ",\n".join(f"{indent}  {row}" for row in rows) + f"\n{indent}{end}"

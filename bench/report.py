"""From runs to figures to a table and a file. The file names machine and versions, but neither host nor path."""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import confluent_kafka
from rich.console import Console
from rich.table import Table

from bench.runner import Figures
from tests.kafka.jars import KAFKA_JAR

BARE = "bare loop"
_LIBRARIES = ("stream-scrub", "confluent-kafka", "msgspec", "numpy", "phonenumbers", "pyroaring")


@dataclass(frozen=True)
class Run:
    """One contender's run in one round; only runs that the oracle found right become one."""

    contender: str
    round: int
    figures: Figures


def spread(figures: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": round(median(figures), 3), "min": round(min(figures), 3), "max": round(max(figures), 3)}


def ratios(runs: Sequence[Run], contender: str, figure: Callable[[Figures], float]) -> list[float]:
    """A contender's figure by the bare loop's of the same round, round by round."""
    bare = {run.round: figure(run.figures) for run in runs if run.contender == BARE}
    return [figure(run.figures) / bare[run.round] for run in runs if run.contender == contender]


def summary(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """By contender. `cpu_ratio` is the one that the budgets speak of; see README.md."""
    found: dict[str, dict[str, Any]] = {}
    for contender in dict.fromkeys(run.contender for run in runs):
        figures = [run.figures for run in runs if run.contender == contender]
        found[contender] = {
            "records_per_s": spread([each.records_per_s for each in figures]),
            "cpu_us_a_record": spread([each.work_us for each in figures]),
            "cpu_ratio": spread(ratios(runs, contender, lambda f: f.work_us)),
            "cpu_us_a_record_whole_life": spread([each.life_us for each in figures]),
            "cpu_ratio_whole_life": spread(ratios(runs, contender, lambda f: f.life_us)),
            "startup_cpu_s": spread([each.startup_cpu_s for each in figures]),
            "startup_s": spread([each.startup_s for each in figures]),
            "peak_mb": spread([each.peak_mb for each in figures]),
        }
    return found


def show(runs: Sequence[Run], console: Console) -> None:
    """The table, and what to know about it."""
    table = Table(
        title="Median \\[least-most] of each contender's runs", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("contender", no_wrap=True)
    for name in (
        "records/s",
        "CPU us\na record",
        "\nx bare",
        "whole life\nCPU us",
        "\nx bare",
        "start-up\nCPU s",
        "start-up\ns",
        "peak\nMB",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for contender, found in summary(runs).items():
        table.add_row(
            contender,
            _cell(found["records_per_s"], "{:,.0f}"),
            _cell(found["cpu_us_a_record"], "{:.2f}"),
            f"[bold]{_cell(found['cpu_ratio'], '{:.2f}')}[/]",
            _cell(found["cpu_us_a_record_whole_life"], "{:.2f}"),
            _cell(found["cpu_ratio_whole_life"], "{:.2f}"),
            _cell(found["startup_cpu_s"], "{:.2f}"),
            _cell(found["startup_s"], "{:.1f}"),
            _cell(found["peak_mb"], "{:,.0f}"),
        )
    console.print(table)
    console.print(
        "CPU is user+sys of the whole process with all its threads. The first two columns of it count from the moment that it"
        "\nhas its partitions to its last commit; their ratio, in bold, is the budgets' one. Whole life counts from exec to exit,"
        "\nwith the start-up (imports; for a worker the replay of the register too), which a longer run dilutes."
        "\nA ratio is the median of the rounds' own ratios.",
        soft_wrap=True,
    )
    noisy = [run for run in runs if _noise(run.figures) > 0.1]
    if noisy:
        worst = max(noisy, key=lambda run: _noise(run.figures))
        console.print(
            f"[yellow]Not alone on the machine: in {len(noisy)} of {len(runs)} runs other processes or a hypervisor took"
            f"\nmore than 10 % of a core (at most {_noise(worst.figures):.0%}). Repeat on an idle machine.[/]",
            soft_wrap=True,
        )


def _cell(found: dict[str, float], form: str) -> str:
    middle, least, most = (form.format(found[name]) for name in ("median", "min", "max"))
    return f"{middle}\n[dim]\\[{least}-{most}][/]"


def _noise(figures: Figures) -> float:
    """Cores that others took while the contender worked."""
    return (figures.others_cpu_s + figures.stolen_s) / max(figures.work_s, 0.2)


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


def versions(*, own_broker: bool) -> dict[str, str]:
    """Of all that works in a run."""
    return {
        **{name: version(name) for name in _LIBRARIES},
        "librdkafka": confluent_kafka.libversion()[0],
        "kafka": KAFKA_JAR.removesuffix(".jar").rpartition("-")[2] if own_broker else "given",
        "java": _first_line(["java", "-version"]) if own_broker else "given",
        "commit": _first_line(["git", "describe", "--always", "--dirty"]),
    }


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return "" if done.returncode else (done.stdout or done.stderr).partition("\n")[0]


def write(
    runs: Sequence[Run], settings: dict[str, Any], folder: Path, *, own_broker: bool, usual: bool
) -> Path:
    """All of it as JSON; returns the file, which never replaces another."""
    now = datetime.now(UTC)
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", cpu_model().lower())).strip("-")
    size = "" if usual else f"-{settings['prospects']}-{settings['numbers']}"
    content = {
        "at": now.isoformat(timespec="seconds"),
        "settings": settings,
        "machine": machine(),
        "versions": versions(own_broker=own_broker),
        "summary": summary(runs),
        "runs": [{"contender": r.contender, "round": r.round, **r.figures.as_json()} for r in runs],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for again in range(1, 1000):
        file = folder / f"{now:%Y-%m-%d}-{slug}{size}{f'-{again}' if again > 1 else ''}.json"
        if not file.exists():
            file.write_text(json.dumps(content, indent=2) + "\n")
            return file
    raise FileExistsError(f"a thousand results of one day in {folder.name}")

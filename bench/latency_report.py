"""Files and notes of the latency and swap benches: JSON with machine and versions beside the throughput bench's own."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.report import cpu_model, machine, versions

NOISE_CORES = 0.1


def write(kind: str, content: dict[str, Any], folder: Path, *, own_broker: bool) -> Path:
    """`<date>-<cpu>-<kind>.json`; returns the file, which never replaces another."""
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
        file = folder / f"{now:%Y-%m-%d}-{slug}-{kind}{f'-{again}' if again > 1 else ''}.json"
        if not file.exists():
            file.write_text(json.dumps(whole, indent=1) + "\n")
            return file
    raise FileExistsError(f"a thousand results of one day in {folder.name}")


def noise(runs: list[dict[str, Any]], console: Console) -> None:
    """Say so when the machine was not ours alone."""
    noisy = [run for run in runs if run["others_cores"] > NOISE_CORES]
    if noisy:
        worst = max(run["others_cores"] for run in noisy)
        console.print(
            f"[yellow]Not alone on the machine: in {len(noisy)} of {len(runs)} runs other processes or a hypervisor took"
            f"\nmore than {NOISE_CORES:.0%} of a core (at most {worst:.0%}): waits are longer than they need be."
            " Repeat on an idle machine.[/]",
            soft_wrap=True,
        )

"""From runs to figures to a table and a file."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.harness import results
from bench.harness.contender_commands import BARE, WORKER
from bench.harness.runner import Figures

Spread = dict[str, float] | None


@dataclass(frozen=True)
class Run:
    """One contender's run in one round; only runs that the oracle found right become one."""

    contender: str
    round: int
    figures: Figures


def spread(figures: Sequence[float]) -> Spread:
    """Median, least and most; None of nothing."""
    if not figures:
        return None
    return {"median": round(median(figures), 3), "min": round(min(figures), 3), "max": round(max(figures), 3)}


def ratios(
    runs: Sequence[Run], contender: str, figure: Callable[[Figures], float], base: str = BARE
) -> list[float]:
    """A contender's figure by the base's of the same round, for every round in which both have one."""
    bases = {run.round: figure(run.figures) for run in runs if run.contender == base}
    own = {run.round: figure(run.figures) for run in runs if run.contender == contender}
    return [own[each] / bases[each] for each in own if own[each] and bases.get(each)]


def summary(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """By contender. `cpu_ratio` is the one that the budgets speak of; see README.md. None: there is no such figure."""
    found: dict[str, dict[str, Any]] = {}
    for contender in dict.fromkeys(run.contender for run in runs):
        figures = [run.figures for run in runs if run.contender == contender]
        found[contender] = {
            "prospects": figures[0].records,
            "records_per_s": spread([each.records_per_s for each in figures if each.records_per_s]),
            "cpu_us_a_record": spread([each.work_us for each in figures]),
            "cpu_ratio": spread(ratios(runs, contender, _work)),
            "cpu_ratio_to_worker": spread(ratios(runs, contender, _work, WORKER)),
            "cpu_us_a_record_late": spread([each.late_us for each in figures if each.late_us]),
            "cpu_ratio_late": spread(ratios(runs, contender, _late)),
            "cpu_ratio_late_to_worker": spread(ratios(runs, contender, _late, WORKER)),
            "cpu_us_a_record_whole_life": spread([each.life_us for each in figures]),
            "cpu_ratio_whole_life": spread(ratios(runs, contender, lambda f: f.life_us)),
            "startup_cpu_s": spread([each.startup_cpu_s for each in figures]),
            "startup_s": spread([each.startup_s for each in figures]),
            "peak_mb": spread([each.peak_mb for each in figures]),
        }
    return found


def _work(figures: Figures) -> float:
    return figures.work_us


def _late(figures: Figures) -> float:
    return figures.late_us


# Heading, key in the summary, what to divide by.
_COLUMNS = (
    ("1000\nrecords/s", "records_per_s", 1000),
    ("CPU us\na record", "cpu_us_a_record", 1),
    ("\n[bold]x bare[/]", "cpu_ratio", 1),
    ("\n[bold]x worker[/]", "cpu_ratio_to_worker", 1),
    ("2nd half\nCPU us", "cpu_us_a_record_late", 1),
    ("\nx worker", "cpu_ratio_late_to_worker", 1),
    ("whole life\nCPU us", "cpu_us_a_record_whole_life", 1),
    ("start-up\nCPU s", "startup_cpu_s", 1),
    ("\ns", "startup_s", 1),
    ("peak\nMB", "peak_mb", 1),
)


def show(runs: Sequence[Run], console: Console) -> None:
    """The table, and what to know about it."""
    table = Table(
        title="Median (and least-most) of each contender's runs",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("\ncontender", no_wrap=True)
    for heading, _, _ in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for contender, found in summary(runs).items():
        table.add_row(
            f"{contender}\n[dim]{found['prospects']:,} prospects[/]",
            *(_cell(found[key], by) for _, key, by in _COLUMNS),
        )
    console.print(table)
    console.print(
        "CPU is user+sys of the whole process with all its threads. CPU us a record counts from the moment that it has its"
        "\npartitions to its last commit; then its ratio to the bare loop (the budgets' one) and to the worker with the value"
        "\nstamp. 2nd half: the same from the commit at half of its records on, when a JIT compiler is warm. Whole life counts"
        "\nfrom exec to exit, with the start-up (imports, the JVM; for a worker the replay of the register too), which a longer"
        "\nrun dilutes. A ratio is the median of the rounds' own ratios.",
        soft_wrap=True,
        highlight=False,
    )
    noisy = [run for run in runs if _noise(run.figures) > 0.1]
    if noisy:
        worst = max(noisy, key=lambda run: _noise(run.figures))
        console.print(
            f"[yellow]Not alone on the machine: in {len(noisy)} of {len(runs)} runs other processes or a hypervisor took"
            f"\nmore than 10 % of a core (at most {_noise(worst.figures):.0%}). Repeat on an idle machine.[/]",
            soft_wrap=True,
        )


def caption(settings: dict[str, Any]) -> str:
    """What the chart has to say below its bars."""
    return (
        f"{settings['prospects']:,} prospects of {settings['bytes_a_prospect']:.0f} bytes (slow contenders: the first of them),"
        f" {settings['numbers']:,} opposed numbers, exactly-once, lz4; median of {settings['rounds']} rounds\n"
        f"every output checked; Kafka on the same machine, {len(os.sched_getaffinity(0))} cores, {results.cpu_model()}"
    )


def _cell(found: Spread, by: float) -> str:
    if found is None:
        return "-"
    middle, least, most = (significant(found[name] / by) for name in ("median", "min", "max"))
    return f"[bold]{middle}[/]\n[dim]{least}-{most}[/]"


def significant(figure: float) -> str:
    """Three digits: more would be noise."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def _noise(figures: Figures) -> float:
    """Cores that others took while the contender worked."""
    return (figures.others_cpu_s + figures.stolen_s) / max(figures.work_s, 0.2)


def write(
    runs: Sequence[Run],
    settings: dict[str, Any],
    folder: Path,
    *,
    absent: dict[str, list[str]],
    own_broker: bool,
    usual: bool,
    part: str = "",
) -> Path:
    """All of it, with the names of those that were skipped or failed; `part` says in the file's name who ran."""
    size = "" if usual else f"-{settings['prospects']}-{settings['numbers']}"
    content = {
        "settings": settings,
        **absent,
        "summary": summary(runs),
        "runs": [{"contender": r.contender, "round": r.round, **r.figures.as_json()} for r in runs],
    }
    return results.save(f"{size}{part}", content, folder, own_broker=own_broker)

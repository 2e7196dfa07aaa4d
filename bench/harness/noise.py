"""What a bench says about the machine that it ran on."""

from typing import Any

from rich.console import Console

NOISE_CORES = 0.1


def tell(runs: list[dict[str, Any]], console: Console) -> None:
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

"""Runs histories, and prints the first one that breaks a promise as a story, with as few faults as break it.

`make simulate SEEDS=1000`, or `python -m tests.simulation --seeds 1000 --from 0`.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

from tests.simulation.adversary import FATES, KINDS, Fault
from tests.simulation.checker import broken
from tests.simulation.history import REGISTERS, History, Plan, planned
from tests.simulation.install import simulated
from tests.simulation.world import Stuck

_TELL_S = 10.0


def happens(plan: Plan, *, told: bool = False) -> tuple[History, list[str]]:
    """A plan as it happened, and what it broke."""
    history = History(plan, told=told)
    try:
        history.run()
    except Stuck as error:
        return history, [f"live: {error}"]
    return history, broken(history)


def shrunk(plan: Plan) -> Plan:
    """A plan cut down as long as it still breaks the same promise: 1. faults, 2. prospects, 3. changes, except the
    first change of each register, without which there is no verdict."""
    rule = happens(plan)[1][0].split(":")[0]
    for name in ("faults", "prospects", "changes"):
        size = max(1, len(getattr(plan, name)) // 2)
        while size:
            at = 0
            while at < len(held := getattr(plan, name)):
                less = replace(plan, **{name: [*held[:at], *held[at + size :]]})
                begun = {change.register for change in less.changes if change.at == 0.0}
                wrong = happens(less)[1] if begun == set(REGISTERS) else []
                if any(each.startswith(rule) for each in wrong):
                    plan = less
                else:
                    at += size
            size //= 2
    return plan


def story(plan: Plan) -> list[str]:
    """What happened, line by line, and what it broke."""
    history, wrong = happens(plan, told=True)
    return [
        f"seed {plan.seed}: {plan.workers} workers, {plan.partitions} partitions, {len(plan.prospects)} prospects, "
        f"{len(plan.changes)} changes, requests are {'counted' if plan.exact else 'timed'}",
        *(f"fault: {fault}" for fault in plan.faults),
        *(f"{at - 1000:9.3f} s  {what}" for at, what in history.world.story),
        *(f"BROKEN: {what}" for what in wrong),
        f"schedule {history.world.schedule:016x}",
    ]


def systematic(seed: int, seconds: float = 2.0) -> list[list[Fault]]:
    """One fault list for each request of a short history and each kind of fault."""
    history, _ = happens(planned(seed, faults=()))
    return [
        [Fault(who, api, at, kind, seconds)]
        for (who, api), count in sorted(history.adversary.counts.items(), key=str)
        for at in range(1, min(count, 25) + 1)
        for kind in (*FATES, *KINDS)
    ]


def run(plans: Sequence[Plan]) -> int:
    """Run the plans until one breaks a promise. Returns how many did, which is 0 or 1."""
    begun = told = time.monotonic()
    for count, plan in enumerate(plans, 1):
        wrong = happens(plan)[1]
        now = time.monotonic()
        if now - told > _TELL_S or count == len(plans):
            told = now
            print(f"{count} of {len(plans)} histories, {count / (now - begun):.0f} a second", flush=True)
        if wrong:
            print(f"seed {plan.seed} breaks a promise: {'; '.join(wrong[:3])}", flush=True)
            print("\n".join(story(shrunk(plan))), flush=True)
            return 1
    print("no promise was broken")
    return 0


def main() -> int:
    """As the command line says."""
    parser = argparse.ArgumentParser(prog="simulate")
    parser.add_argument("--seeds", type=int, default=1000, help="how many histories")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument(
        "--every-fault", action="store_true", help="of that one seed: every fault at every request"
    )
    asked = parser.parse_args()
    with simulated():
        if asked.every_fault:
            plans = [planned(asked.first, faults=faults) for faults in systematic(asked.first)]
        else:
            plans = [planned(seed) for seed in range(asked.first, asked.first + asked.seeds)]
        return run(plans)

"""Runs histories, and prints the first one that breaks a promise as a story, with as few faults as break it.

`make simulate SEEDS=1000`, or `python -m tests.simulation --seeds 1000 --from 0`.
"""

import argparse
import math
import multiprocessing
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from multiprocessing.pool import Pool

from tests.simulation.adversary import FATES, KINDS, Fault
from tests.simulation.checker import broken
from tests.simulation.history import History
from tests.simulation.install import simulated
from tests.simulation.plans import Plan, planned
from tests.simulation.world import Stuck

_TELL_S = 10.0
_CHUNK = 50
_LASTS = 1.2  # of a session, so that a member whose process stops is thrown out


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
                wrong = happens(less)[1] if begun == set(less.registers) else []
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
        *(f"BROKEN: {what}" for what in wrong[:10]),
        f"schedule {history.world.schedule:016x}",
    ]


def systematic(seed: int) -> list[list[Fault]]:
    """One fault list for each request of a seed's history and each kind of fault."""
    plan = planned(seed, faults=())
    history, _ = happens(plan)
    return [
        [Fault(who, api, at, kind, _LASTS * plan.times.session_s)]
        for (who, api), count in sorted(history.adversary.counts.items(), key=str)
        for at in range(1, min(count, 25) + 1)
        for kind in (*FATES, *KINDS)
    ]


# A history to run: a seed's with its own faults, or with these.
Job = int | tuple[int, list[Fault]]


def _plan(job: Job) -> Plan:
    return planned(job) if isinstance(job, int) else planned(job[0], faults=job[1])


def _some(jobs: Sequence[Job]) -> tuple[int, list[tuple[Job, list[str]]]]:
    """How many histories were run, and those that broke a promise."""
    return len(jobs), [(job, wrong) for job in jobs if (wrong := happens(_plan(job))[1])]


def _pool(processes: int) -> AbstractContextManager[Pool | None]:
    """None for one process: it is this one."""
    return multiprocessing.get_context("fork").Pool(processes) if processes > 1 else nullcontext()


def run(jobs: Sequence[Job], processes: int, *, go_on: bool, seconds: float = math.inf) -> int:
    """Run histories until one breaks a promise, or with `go_on` all of them, but none after so many seconds. Returns
    how many did."""
    begun = told = time.monotonic()
    count = broke = 0
    chunks = [jobs[at : at + _CHUNK] for at in range(0, len(jobs), _CHUNK)]
    with _pool(processes) as pool:
        for some, found in pool.imap_unordered(_some, chunks) if pool is not None else map(_some, chunks):
            count += some
            now = time.monotonic()
            over = now - begun > seconds or count == len(jobs)
            if now - told > _TELL_S or over:
                told = now
                print(f"{count} of {len(jobs)} histories, {count / (now - begun):.0f} a second", flush=True)
            for job, wrong in found:
                broke += 1
                plan = _plan(job)
                print(f"seed {plan.seed} breaks a promise: {'; '.join(wrong[:3])}", flush=True)
                if not go_on:
                    if pool is not None:
                        pool.terminate()
                    print("\n".join(story(shrunk(plan))), flush=True)
                    return broke
            if over:
                break
    print(f"{broke} of {count} broke a promise" if broke else "no promise was broken")
    return broke


def main() -> int:
    """As the command line says."""
    parser = argparse.ArgumentParser(prog="simulate")
    parser.add_argument("--seeds", type=int, default=1000, help="how many histories")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--go-on", action="store_true", help="list all seeds that break a promise")
    parser.add_argument(
        "--every-fault", action="store_true", help="of that one seed: every fault at every request"
    )
    parser.add_argument("--seconds", type=float, default=math.inf, help="no more histories after that time")
    asked = parser.parse_args()
    with simulated():
        if asked.every_fault:
            jobs: Sequence[Job] = [(asked.first, faults) for faults in systematic(asked.first)]
        else:
            jobs = range(asked.first, asked.first + asked.seeds)
        return min(1, run(jobs, asked.processes, go_on=asked.go_on, seconds=asked.seconds))

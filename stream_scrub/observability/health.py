"""Whether a loop is alive, whether it does its work, and if not why: for probes and for people. Pure.

Liveness follows from the heartbeat alone and never from a broker: an outage must not restart the fleet. Readiness
says whether work is done: while a worker holds, or waits for a broker, it is alive and not ready.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from stream_scrub.errors import StaleIndex
from stream_scrub.observability.logs import mask
from stream_scrub.observability.process_status import Cause, Health, ProcessStatus

FAILING = 3  # batches given up in a row; fewer are most likely a rebalance
FAILING_S = 60.0  # the age from which a failure says nothing any more: a recovery takes less

# What to do, by cause; for the holds as in docs/operator.md.
DO = {
    "starting": "wait",
    "broker": "see that the brokers of kafka.bootstrap_servers run and can be reached from here; it goes on by itself",
    "session": "see that the brokers run; it goes on by itself",
    "no-seal": "import a list with `stream-scrub lists import`",
    "log-behind": "wait; if it lasts, look at the brokers",
    "log-unreachable": "repair the brokers, or the rights; it goes on by itself",
    "log-open": "find whose transaction it is and end it (docs/operator.md, An open transaction)",
    "log-unsealed": "find out how parts without their seal came there, then `stream-scrub lists mend` (docs/runbook.md)",
    "log-moved": "set topics.log to the new log's name (docs/privacy.md)",
    "log-unfinished": "wait for `lists renew`; if it was cut off, see docs/privacy.md",
    "too-many-numbers": "raise lists.max_numbers and the memory, or state the register anew (docs/runbook.md)",
    "log-corrupt": "find out who wrote to the log, then begin a new one",
    "clock": "see that this machine's clock is kept right (NTP), and the brokers'; it goes on by itself",
    "no-offsets": "choose where they begin (docs/runbook.md, Committed offsets that are gone)",
    "register": "import a fresh list of it, or see that its publisher runs",
    "joining": "wait; if it lasts, look at the brokers and at the group's other members",
    "failing": "read the reason; it tries again by itself",
    "owner": "wait; if it lasts, look for another publisher of the same registers",
    "process": "wait, it is started anew; if it lasts, read the log",
    "stopping": "nothing, it was told to stop",
    "stuck": "keep its log, then restart it",
    "fault": "keep its log and report it",
}


class Condition(NamedTuple):
    """What a loop's readiness follows from. `waiting` and `holding` are a cause and a sentence, or None; `failing`
    says what fails again and again, or is empty.
    """

    stopping: bool = False
    waiting: tuple[str, str] | None = None
    holding: tuple[str, str] | None = None
    stale: StaleIndex | None = None
    assigned: int = 0
    member: bool = False
    failing: str = ""


def cause(word: str, why: str) -> Cause:
    """A cause with what to do about it. A reason holds no number in the first place; the mask is a second line of
    defence."""
    return Cause(word, mask(why), DO[word])


def causes_of(condition: Condition) -> tuple[Cause, ...]:
    """Why a worker is not ready. Empty when its index is usable, it does not hold, and it has partitions or is a
    member that waits for some."""
    if condition.stopping:
        return (cause("stopping", "it was told to stop"),)
    if condition.waiting is not None:
        return (cause(*condition.waiting),)
    found = []
    if condition.holding is not None:
        found.append(cause(*condition.holding))
    elif condition.stale is not None:
        found.append(cause(condition.stale.cause, str(condition.stale)))
    if not condition.assigned and not condition.member:
        found.append(cause("joining", "it is no member of its group at the moment"))
    if condition.failing:
        found.append(cause("failing", condition.failing))
    return tuple(found)


class ProbeAnswer(NamedTuple):
    """The answer to a probe: whether all is well, and a page for people."""

    ok: bool
    page: dict[str, Any]


def livez(statuses: Sequence[ProcessStatus]) -> ProbeAnswer:
    """Whether every loop is alive."""
    return _answer(
        statuses,
        lambda health: health.is_alive,
        lambda health: (
            cause(
                "stuck",
                f"the loop has not said for {health.heartbeat_age_s:.0f} s that it goes on; "
                f"it may take {health.limit_s:.0f} s",
            ),
        ),
    )


def readyz(statuses: Sequence[ProcessStatus]) -> ProbeAnswer:
    """Whether every loop does its work, or stands by for partitions."""
    return _answer(statuses, lambda health: health.is_ready, lambda health: health.causes)


def startupz(statuses: Sequence[ProcessStatus]) -> ProbeAnswer:
    """Whether every loop was ever ready to work."""
    return _answer(statuses, lambda health: health.begun, lambda health: health.causes)


def _answer(
    statuses: Sequence[ProcessStatus],
    is_well: Callable[[Health], bool],
    why: Callable[[Health], tuple[Cause, ...]],
) -> ProbeAnswer:
    parts = [_part(each, ok=is_well(each.health), causes=why(each.health)) for each in statuses]
    ok = all(part["ok"] for part in parts)
    return ProbeAnswer(ok, {"ok": ok, "loops": parts})


def _part(each: ProcessStatus, *, ok: bool, causes: tuple[Cause, ...]) -> dict[str, Any]:
    name = {"worker": each.who} if each.who else {}
    part: dict[str, Any] = {**name, "ok": ok, "heartbeat_age_s": round(each.health.heartbeat_age_s, 1)}
    if not ok:
        part["causes"] = causes
    if each.health.degraded:
        part["degraded"] = each.health.degraded
    return part


def missing(age_s: float, limit_s: float, *, begun: bool) -> Health:
    """The health of a process that has sent nothing yet, or that has ended."""
    why = cause("process", "its process has ended, or has not reported yet")
    return Health(age_s, limit_s, begun, causes=(why,))

"""Whether a daemon's loop is alive, whether it does its work, and if not why: for probes and for people. Pure.

Liveness follows from the heartbeat alone, never from a broker: an outage must not restart the fleet. A worker that holds
or waits for a broker is alive and not ready.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from stream_scrub.ops.logs import mask

if TYPE_CHECKING:  # it imports this module
    from stream_scrub.ops.metrics import ProcessStatus


class Cause(msgspec.Struct, frozen=True):
    """Why something is wrong: a short word, a sentence, and what to do."""

    cause: str
    why: str
    do: str


class Health(msgspec.Struct, frozen=True):
    """The health of a loop."""

    heartbeat_age_s: float
    limit_s: float  # how old a heartbeat may be
    begun: bool  # whether it was ever ready
    causes: tuple[Cause, ...] = ()  # why it is not ready; empty while it is
    degraded: tuple[Cause, ...] = ()  # what it does only in part, although it is ready
    transport: str = ""  # how a worker takes and emits records: "bulk" or "python"

    @property
    def is_ready(self) -> bool:
        """Whether it does its work, or stands by for it."""
        return not self.causes

    @property
    def is_alive(self) -> bool:
        """Whether the last heartbeat is within its limit."""
        return self.heartbeat_age_s <= self.limit_s

    def older(self, seconds: float, *, begun: bool) -> "Health":
        """The health after some seconds without news."""
        return msgspec.structs.replace(self, heartbeat_age_s=self.heartbeat_age_s + seconds, begun=begun)


FAILING = 3  # batches given up in a row; fewer are probably a rebalance
FAILING_S = 60.0  # older failures do not count: a recovery takes less

# What to do, by cause; for the holds as in docs/operator.md.
DO = {
    "starting": "wait",
    "broker": "check that the brokers of kafka.bootstrap_servers run and can be reached from here; it continues by itself",
    "session": "check that the brokers run; it continues by itself",
    "no-seal": "import a list with `stream-scrub lists import`",
    "log-behind": "wait; if it lasts, check the brokers, and if a later position or another log is named, see"
    " docs/runbook.md, Restoring a log",
    "log-unreachable": "repair the brokers, or the rights; it continues by itself",
    "log-open": "find the owner of the transaction and end it (docs/operator.md, An open transaction)",
    "requests-waiting": "start the publisher, or find out why it does not publish (docs/runbook.md, Requests wait)",
    "log-unsealed": "wait; if it lasts, see docs/runbook.md, A delta without its seal",
    "log-moved": "set topics.log to the new log's name, and restart",
    "log-unfinished": "wait for `lists renew`; if it was interrupted, see docs/privacy.md, Erasure on a log that never forgets",
    "too-many-numbers": "raise lists.max_numbers and the memory, or publish the register again in full (docs/runbook.md,"
    " More numbers than there is room for)",
    "log-corrupt": "find out who wrote to the log, then start a new log (docs/runbook.md, The log is corrupt)",
    "clock": "synchronise this machine's clock and the brokers' (docs/operator.md, A wrong clock); it continues by itself",
    "no-offsets": "choose where to start (docs/runbook.md, Committed offsets that are gone)",
    "restoring": "wait; it reads what was handed out (docs/sizing.md)",
    "leads-deleted": "see docs/runbook.md, Leads that recall never read",
    "register": "import a current list of it, or check its publisher",
    "registry": "check the schema registry of registry.url, and the rights there (docs/runbook.md, The schema registry is"
    " away); it continues by itself",
    "hash-key": "put the key's file into lists.hash_keys (docs/privacy.md, Lists of hashes); it continues by itself",
    "partitions": "give both output topics as many partitions as the input (`stream-scrub topics --check`); it goes on by itself",
    "joining": "wait; if it lasts, check the brokers and the group's other members",
    "failing": "read the reason; it retries by itself",
    "target": "repair the target, its address or our secrets; what it lacks is delivered when it answers (docs/fanout.md)",
    "owner": "wait; if it lasts, find the other publisher of the same registers",
    "process": "wait, it restarts; if it lasts, read the log",
    "stopping": "nothing, it is shutting down",
    "stuck": "keep its log, then restart it",
    "fault": "keep its log and report it",
}


def cause(word: str, why: str) -> Cause:
    """A cause with what to do about it. A reason has no phone number; the mask is a second line of defence."""
    return Cause(word, mask(why), DO[word])


class ProbeAnswer(NamedTuple):
    """The answer to a probe: whether all is well, and a page for people."""

    ok: bool
    page: dict[str, Any]


def _stuck(health: Health) -> tuple[Cause, ...]:
    age_s, limit_s = health.heartbeat_age_s, health.limit_s
    return (cause("stuck", f"no heartbeat of the loop for {age_s:.0f} s; the limit is {limit_s:.0f} s"),)


# By path: what every loop must be, and why one is not.
PROBES: Mapping[str, tuple[Callable[[Health], bool], Callable[[Health], tuple[Cause, ...]]]] = {
    "/livez": (attrgetter("is_alive"), _stuck),
    "/readyz": (attrgetter("is_ready"), attrgetter("causes")),
    "/startupz": (attrgetter("begun"), attrgetter("causes")),
}


def probed(path: str, statuses: "Sequence[ProcessStatus]") -> ProbeAnswer:
    """The answer to one of the probes."""
    is_well, why = PROBES[path]
    parts = []
    for each in statuses:
        health, ok = each.health, is_well(each.health)
        part: dict[str, Any] = {"worker": each.who} if each.who else {}
        part |= {"ok": ok, "heartbeat_age_s": round(health.heartbeat_age_s, 1)}
        part |= {"transport": health.transport} if health.transport else {}
        part |= {} if ok else {"causes": why(health)}
        part |= {"degraded": health.degraded} if health.degraded else {}
        parts.append(part)
    ok = all(part["ok"] for part in parts)
    return ProbeAnswer(ok, {"ok": ok, "loops": parts})


def missing(age_s: float, limit_s: float, *, begun: bool) -> Health:
    """The health of a process that has reported nothing yet, or has ended."""
    why = cause("process", "the process has ended, or has not reported yet")
    return Health(age_s, limit_s, begun, causes=(why,))

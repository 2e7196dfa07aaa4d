"""Checks whether a history kept the promises. It knows these (DESIGN.md: Promises) and the topics' format, nothing of
the code.

A rule is a function of a history that yields what is broken, in words; `RULES` names them all.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator

from stream_scrub.dialler.allowed import SEEN_S
from tests.simulation.adversary import GROUP, KINDS
from tests.simulation.evidence import (
    Spot,
    answered,
    brought_back,
    deleted_requests,
    forbidden,
    held_up,
    imported_opposition,
    in_the_end,
    inputs,
    new_requests,
    outputs,
    recalled,
    sealed,
    to_recall,
    topic_id,
    tries,
    waiting,
)
from tests.simulation.history import BOUND_S, History
from tests.simulation.lives import ALLOWED, BLOCKED, LOG, SKEW_S
from tests.simulation.wire import Api, Fate
from tests.simulation.world import FOREVER

# A commit may arrive later than it was asked for: by the length of a fault, but at most by what a transaction may
# last (transaction.timeout.ms, and the coordinator's round).
SOON_S, LATE_S = 1.0, 17.0
STOPS = frozenset(kind for kind in KINDS if not kind.startswith("it cannot read the log"))
ENDS = frozenset({Api.ADD_OFFSETS, Api.OFFSETS, Api.END})  # sent after the last look at the index


def _arrived(history: History) -> dict[tuple[int, int], list[Spot]]:
    """The spots on the topics of prospects, by id and by how often that one was brought back before."""
    found: dict[tuple[int, int], list[Spot]] = {}
    for name, number, partition in inputs(history):
        for offset, record in partition.committed():
            which = json.loads(record.value)["id"], tries(record)
            found.setdefault(which, []).append((name, number, offset))
    return found


def exactly_once(history: History) -> Iterator[str]:
    """Every prospect comes out once under read_committed, each time that it comes. What was deleted before it was read
    need not."""
    came = Counter((out.id, out.tries) for out in outputs(history))
    deleted = set(history.deleted)
    for (id_, again), spots in _arrived(history).items():
        count = came[id_, again]
        which = f"prospect {id_}" + (f", brought back {again} times," if again else "")
        if count > len(spots):
            yield f"{which} came out {count} times"
        if count < len([spot for spot in spots if spot not in deleted]) and history.done_at is not None:
            yield f"{which} is lost"


def in_order(history: History) -> Iterator[str]:
    """Prospects of one key come out in the order in which they came."""
    order = {which: spots[0] for which, spots in _arrived(history).items()}
    before: dict[tuple[str, str, int, bytes], int] = {}
    for out in outputs(history):
        if (
            out.stamp["reason"] == "unreadable"
        ):  # the topic refused the record, so it came out with another key
            continue
        topic, partition, offset = order[out.id, out.tries]
        lane = (topic, out.topic, out.partition, out.record.key)
        if partition != out.partition:
            yield f"prospect {out.id} of partition {partition} is in {out.partition}"
        if before.get(lane, -1) > offset:
            yield f"prospect {out.id} of partition {partition} comes behind a later one of its key"
        before[lane] = offset


def brought_back_once(history: History) -> Iterator[str]:
    """What was blocked for want of a register comes back, each once, and nothing else does."""
    blocked = held_up(history)
    topics = {each.id: each.topic for each in history.plan.prospects}
    for (id_, again), spots in _arrived(history).items():
        if again and {spot[0].partition(" ")[0] for spot in spots} != {topics[id_]}:
            yield f"prospect {id_} of {topics[id_]} was brought back to {', '.join(spot[0] for spot in spots)}"
    for spot, count in brought_back(history).items():
        if spot not in blocked:
            yield f"{spot} was brought back, and did not wait for a register"
        if count > 1:
            yield f"prospect {blocked.get(spot)} at {spot} was brought back {count} times"
    if history.done_at is not None and history.plan.retry:
        left = waiting(history)
        yield from (f"prospect {id_} at {spot} was never brought back" for spot, id_ in left.items())


def recalled_once(history: History) -> Iterator[str]:
    """Whoever was handed out and may no longer be called is recalled once, and nobody else. A recall holds when the log was
    cut, until a person has looked."""
    if not history.plan.recalls:
        return
    found, must = recalled(history), to_recall(history)
    yield from (f"+{number} was recalled {count} times" for number, count in found.items() if count > 1)
    yield from (f"+{number} was recalled, and may be called" for number in found.keys() - must)
    if history.done_at is not None and not history.is_cut:
        yield from (f"+{number} was never recalled" for number in must - found.keys())


def each_request_once(history: History) -> Iterator[str]:
    """Every request is taken once, or refused once."""
    asked = history.plan.requests
    if asked is None:
        return
    kept, refused = answered(history)
    lost, new = deleted_requests(history), new_requests(history)
    for (register, id_), count in kept.items():
        if count > 1 and id_ not in new:
            yield f"request {id_} was taken {count} times into {register}"
    yield from (
        f"request {id_} was refused {count} times"
        for id_, count in refused.items()
        if count > 1 and id_ not in new
    )
    if history.done_at is None:
        return
    for each in [each for each in asked if each.id not in lost]:
        if each.what in ("opt-out", "withdrawal") and not kept["internal", each.id]:
            yield f"request {each.id} ({each.what}) is lost"
        if each.what == "broken" and not refused[each.id]:
            yield f"request {each.id}, which asks for nothing, was not refused"


def one_position(history: History) -> Iterator[str]:
    """All prospects of a transaction are judged by one index."""
    positions: dict[int, set[int]] = {}
    for out in outputs(history):
        positions.setdefault(out.record.txn.number, set()).add(out.stamp["index"])
    for found in positions.values():
        if len(found) > 1:
            yield f"one transaction was judged by the positions {sorted(found)}"


def never_back(history: History) -> Iterator[str]:
    """In a partition neither the position on stamps nor the committed offset ever goes back."""
    before: dict[tuple[str, int], int] = {}
    came_from = {which: spots[0][0] for which, spots in _arrived(history).items()}
    outs = sorted(outputs(history), key=lambda out: (out.record.ended_at, out.offset))
    for out in outs:
        place = came_from[out.id, out.tries], out.partition
        if before.get(place, -1) > out.stamp["index"]:
            yield f"{place[0]} [{place[1]}] was judged by {before[place]}, and then by {out.stamp['index']}"
        before[place] = out.stamp["index"]
    for (name, number), (once, noted), (then, note) in history.broker.group(GROUP).went_back:
        if topic_id(noted) == topic_id(note):  # else the topic was made anew
            yield f"committed offsets went back: {name} [{number}] from {once} to {then}"


def _late_s(history: History) -> float:
    """By how much a commit may be later than it was asked for."""
    late_s = SOON_S + sum(
        max(fault.seconds, history.plan.times.socket_s if fault.kind == Fate.LOST.value else 0.0)
        for who, fault in history.adversary.fired
        if not who.startswith("publisher") and (fault.kind in STOPS or fault.api in ENDS)
    )
    return min(late_s, LATE_S)


def heeded(history: History) -> Iterator[str]:
    """Once a request that forbids it was accepted, and so much time has passed, (a) no worker allows a number, (b) no
    server says that it may be called, (c) no dialler is handed its lead or told that it may call."""
    times = history.plan.times
    requested = forbidden(history)
    # Without an offset of the workers from before nobody knows that there was another log. A publisher takes the requests
    # again, but an import must be repeated (docs/runbook.md, Restoring a log).
    nobody_knows = history.is_log_lost and (not history.was_log_noted or bool(history.adversary.forgotten))
    imported = () if nobody_knows else imported_opposition(history)
    accepted = dict.fromkeys(imported, history.begun) | requested
    if not accepted:
        return
    for out in [each for each in outputs(history) if each.topic == ALLOWED]:
        late_s = out.record.txn.ended_at - accepted.get(int(out.stamp["number"][1:]), FOREVER)
        if late_s > times.request_lag_s + _late_s(history):
            yield f"prospect {out.id} was allowed {late_s:.1f} s after a request that forbids it"
    for at, index in history.answered:
        for number, accepted_at in accepted.items():
            late_s = at - accepted_at
            opposed = index.registers.get("internal")
            if late_s > times.request_lag_s and (opposed is None or number not in opposed.numbers):
                yield f"a server allowed +{number} {late_s:.1f} s after a request that forbids it"
    for each in history.dialled:
        for number in each.lead.numbers:
            late_s = each.at - accepted.get(int(number[1:]), FOREVER)
            if late_s > times.request_lag_s + times.recall_lag_s + SEEN_S:
                yield f"{each.who} was handed {number} {late_s:.1f} s after a request that forbids it"


def restated(history: History) -> Iterator[str]:
    """The log that is made after one was lost has every request again, unless its beginning was deleted: a publisher takes
    nothing then, and says why."""
    if not history.is_log_lost or history.broker.partition((LOG, 0)).low > 0:
        return
    log, wrong = sealed(history)
    yield from wrong
    opposed = log[-1].opposed if log else frozenset()
    yield from (f"+{number} is not opposed on the new log" for number in forbidden(history).keys() - opposed)


def never_opposed(history: History) -> Iterator[str]:
    """No prospect is allowed whose number was opposed (a) at the position on its stamp, or (b) at a later position
    that could be read for longer than an index may be old."""
    log, _ = sealed(history)
    by_position = {each.position: each.opposed for each in log}
    old_s = history.plan.times.lag_s + _late_s(history)
    for out in outputs(history):
        position = out.stamp["index"]
        if out.stamp["reason"] in {"unreadable", "stale-register"} and out.topic == BLOCKED:
            continue  # the second: its register was not on the log at that position yet
        number = int(out.stamp["number"][1:])
        if position not in by_position:
            yield f"prospect {out.id} was judged by position {position}, which is none"
            continue
        opposed = number in by_position[position]
        if opposed != (out.topic == BLOCKED):
            yield f"prospect {out.id} is in {out.topic}, and at position {position} opposed: {opposed}"
        ended_at = out.record.txn.ended_at
        must = [each.position for each in log if each.at < ended_at - old_s]
        if must and position < must[-1]:
            yield f"prospect {out.id} was judged by position {position}, long after {must[-1]} was the log's end"


def sound_log(history: History) -> Iterator[str]:
    """Every delta is on the log with its parts, once and in its place, and the registers end as the plan says."""
    log, wrong = sealed(history)
    yield from wrong
    if history.done_at is not None and log:
        if log[-1].opposed != in_the_end(history):
            yield "the registers are not what they were to become"


def none_too_early(history: History) -> Iterator[str]:
    """No opposition ends before its end, whatever a publisher's clock says."""
    ends: dict[int, float] = {}
    for change in history.plan.changes:
        for number in change.numbers if change.end is not None else ():
            ends[number] = min(ends.get(number, change.end), change.end)
    for each in sealed(history)[0]:
        for number in each.ended:
            early_s = history.begun + ends[number] - each.at
            if early_s > SKEW_S:
                yield f"+{number} was ended {early_s:.1f} s too early"


def live(history: History) -> Iterator[str]:
    """Every process is alive, and everything comes out within a bound once the faults are over."""
    yield from (f"a thread ended: {type(error).__name__}: {error}" for error in history.world.faults)
    if history.world.faults:
        return
    after = f"{BOUND_S:.0f} s after the faults"
    if history.is_cut:
        return  # held, for good
    if history.done_at is None:
        came = len({out.id for out in outputs(history)})
        of = len(history.plan.prospects)
        yield f"{came} of {of} prospects are out, and {sum(history.published.values())} changes published, {after}"
    elif held := history.open():
        yield f"transactions are open on {', '.join(held)}, {after}"


RULES: tuple[Callable[[History], Iterator[str]], ...] = (
    exactly_once,
    in_order,
    brought_back_once,
    recalled_once,
    each_request_once,
    one_position,
    never_back,
    never_opposed,
    heeded,
    restated,
    sound_log,
    none_too_early,
    live,
)


def broken(history: History) -> list[str]:
    """What this history broke, each with its rule. Where the log was lost, nothing else is as planned."""
    rules = (exactly_once, in_order, one_position, heeded, restated) if history.is_log_lost else RULES
    return [f"{rule.__name__}: {what}" for rule in rules for what in rule(history)]

"""The demo's summary: makes checks out of figures. Each check says what must hold, whether it does, and by which
figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream_scrub.demo.countries import WrittenList
from stream_scrub.demo.threads import Play, percentile
from stream_scrub.demo.view import Check, DemoSummary
from stream_scrub.publisher.import_list import ImportEffect

_ENFORCED_S = 1.0  # the design's promise: a delta is enforced by every worker within a second


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """What is known besides the play: the imports, the lists that they came from, and what the broker dropped."""

    seed: int
    imports: Sequence[ImportEffect]
    lists: Sequence[WrittenList]
    dropped: Mapping[str, int]


def summary(play: Play, outcome: DemoOutcome) -> DemoSummary:
    """Make the summary of the whole demo."""
    delta = play.published.effect if play.published is not None else None
    imports = [*outcome.imports, *([delta] if delta is not None else [])]
    checks = (
        _once(play),
        *_by_faults(play),
        _counted(play),
        _lists(imports, outcome.lists),
        _enforced(play),
        _kept(outcome.dropped),
    )
    return DemoSummary(checks, _figures(play, outcome, imports), tuple(play.said.last()))


def _once(play: Play) -> Check:
    faults, sent = play.checker.faults, len(play.sent_leads.sent)
    wrong = {name: faults[name] for name in ("lost", "twice", "never sent")}
    aborts = play.worker_state.aborts
    found = f"{sent:,} sent, {play.checker.taken:,} came out{_listed(wrong)}"
    if play.undelivered:
        found += f"; {play.undelivered:,} never reached the broker"
    if aborts:
        found += f" (the worker gave up {aborts} batches, whose records this broker shows all the same)"
    ok = (
        (sent > 0 or play.stopped_early)
        and sent == play.checker.taken
        and not any(wrong.values())
        and not play.undelivered
    )
    return Check("every prospect came out exactly once", ok, found)


def _by_faults(play: Play) -> list[Check]:
    checker, faults = play.checker, play.checker.faults
    opposed = checker.reasons["opposed"]
    groups = (
        ("no opposed number was allowed", f"{opposed:,} blocked as opposed", ("opposed but allowed",)),
        (
            "every verdict is the right one",
            f"{checker.checked:,} held against the lists at their stamp's position",
            ("wrong verdict", "wrong topic", "unknown position", "stamp unreadable"),
        ),
        (
            "nothing else was changed",
            "bytes around the stamp, keys, headers",
            ("bytes changed", "key changed", "headers changed"),
        ),
        (
            "order was kept",
            "ids and positions only ascend in each output partition",
            ("out of order", "position went back", "key in two partitions"),
        ),
    )
    return [
        Check(name, not any(faults[f] for f in members), found + _listed({f: faults[f] for f in members}))
        for name, found, members in groups
    ]


def _counted(play: Play) -> Check:
    """The worker's own counters and the checker's say the same of each reason."""
    counted = play.worker_state.reasons
    differing = [
        name for name in counted | play.checker.reasons if counted[name] != play.checker.reasons[name]
    ]
    found = f"{counted.total():,} by the worker's counters, {play.checker.reasons.total():,} read, by reason alike"
    if differing:
        found = f"the worker's counters differ for {', '.join(sorted(differing))}"
    return Check("the counts add up", not differing, found)


def _lists(imports: Sequence[ImportEffect], lists: Sequence[WrittenList]) -> Check:
    pairs = list(zip(imports, lists, strict=False))
    wrong = [e.register for e, made in pairs if (e.added, e.refused) != (made.numbers, made.bad)]
    found = f"{sum(e.added for e in imports):,} numbers in {len(imports)} imports"
    return Check(
        "the registers hold what the lists hold", not wrong, found if not wrong else ", ".join(wrong)
    )


def _enforced(play: Play) -> Check:
    name = "the delta was enforced within a second"
    if play.published is None:
        return Check(
            name, play.stopped_early, "there was none: stopped before" if play.stopped_early else "none"
        )
    first, blocked = play.delays()
    if first is None or blocked is None:
        return Check(
            name, play.stopped_early, "not seen: stopped before" if play.stopped_early else "not seen"
        )
    found = (
        f"first verdict by it {first:.2f} s after the import, first block {blocked:.2f} s;"
        f" {play.checker.judged_after:,} judged by it"
    )
    excess_s, load = first - _ENFORCED_S, play.load
    late = excess_s > 0 and load is not None and load.excuses(excess_s)
    return Check(name, excess_s <= 0, found, f"the machine had no processor for it: {load}" if late else "")


def _kept(dropped: Mapping[str, int]) -> Check:
    """Without this check, "nothing lost" might only mean that the broker had dropped it."""
    total = sum(dropped.values())
    return Check("the broker kept everything", total == 0, f"{total:,} records dropped by its retention")


def _listed(faults: Mapping[str, int]) -> str:
    return "".join(f"; {count:,} {name}" for name, count in faults.items() if count)


def _figures(play: Play, outcome: DemoOutcome, imports: Sequence[ImportEffect]) -> dict[str, Any]:
    """For `--json`."""
    first, blocked = play.delays()
    reasons = play.checker.reasons
    return {
        "seed": outcome.seed,
        "seconds": round(play.sent_s, 1),
        "produced": len(play.sent_leads.sent),
        "scrubbed": play.checker.taken,
        "per_s": round(len(play.sent_leads.sent) / play.sent_s) if play.sent_s else 0,
        "reasons": dict(sorted(reasons.items())),
        "faults": dict(play.checker.faults),
        "latency_ms": {
            "p50": percentile(play.checker.latencies, 0.5),
            "p99": percentile(play.checker.latencies, 0.99),
        },
        "index": play.worker_state.position,
        "imports": [effect.as_json() for effect in imports],
        "delta": {
            "first_verdict_s": first,
            "first_blocked_s": blocked,
            "judged_by_it": play.checker.judged_after,
        },
    }

"""The soak's oracle: every prospect once, in its key's order, with the verdict that the log gives at its position."""

import json
from bisect import bisect_right
from collections import defaultdict

from bench.harness.failure import Failed
from tests.support.running.outcome import read_all
from tests.support.running.stage import Stage


def check(stage: Stage, sent: int, opposed: set[int], headers: list[tuple[str, bytes]]) -> int:
    """That every prospect came out once, in its key's order, with the log's verdict; how many deltas there were.

    Raises Failed.
    """
    changes, deltas = _changes(stage)
    seen = bytearray(sent)
    wrong: dict[str, int] = defaultdict(int)
    for topic in stage.outputs:
        latest: dict[bytes, int] = {}
        for message in read_all(stage.bootstrap, topic):
            lead = json.loads(message.value())
            stamp, at = lead["scrub"], lead["id"]
            if at >= sent or seen[at]:
                wrong["twice or from nowhere"] += 1
                continue
            seen[at] = 1
            wrong["key order"] += latest.get(message.key(), -1) >= at
            latest[message.key()] = at
            wrong["headers"] += list(message.headers() or ()) != headers
            number = int(stamp["number"][1:])
            positions = changes.get(number, ([], []))
            known = bisect_right(positions[0], stamp["index"])
            blocked = positions[1][known - 1] if known else number in opposed
            wrong["verdict"] += blocked is (stamp["verdict"] == "allowed")
            wrong["topic"] += (topic == stage.topics["allowed"]) is not (stamp["verdict"] == "allowed")
    wrong["lost"] += sent - sum(seen)
    if any(wrong.values()):
        raise Failed(f"of {sent:,} prospects: {dict(wrong)}")
    return deltas


def _changes(stage: Stage) -> tuple[dict[int, tuple[list[int], list[bool]]], int]:
    """By number, the positions at which it was opposed or taken back, and which; from the requests that the seals of
    `internal` were told. And the number of those seals that were told any."""
    found: dict[int, tuple[list[int], list[bool]]] = defaultdict(lambda: ([], []))
    told: dict[int, bool] = {}
    deltas = 0
    for message in read_all(stage.bootstrap, stage.topics["log"]):
        part = dict(message.headers())["part"]
        if part == b"requests" and message.key() == b"internal":
            for line in message.value().splitlines():
                said = json.loads(line)["request"]
                told[int(said["number"][1:])] = said["request"] == "opt-out"
        elif part == b"seal" and message.key() == b"internal" and told:
            deltas += 1
            for number, holds in told.items():
                found[number][0].append(message.offset())
                found[number][1].append(holds)
            told = {}
    return found, deltas

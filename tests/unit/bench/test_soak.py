"""What the soak calls growth, and what its oracle calls wrong."""

import json
from types import SimpleNamespace

import pytest

from bench.harness.failure import Failed
from bench.under_load import soak, soak_oracle
from bench.under_load.soak import GROWTH_FILES, GROWTH_MB, Sample, grown, too_much

HEADERS = [("source", b"form")]


def samples(memory, files=lambda at: 20) -> list[Sample]:
    return [Sample(float(at), memory(at), files(at), 9) for at in range(600)]


def test_what_is_flat_after_its_first_minutes_is_flat():
    """Queues and arenas that reach their size in the first minutes would be called a leak, and a real one be missed."""
    flat = grown(samples(lambda at: 100 + min(at, 120) / 2 + at % 3))
    assert too_much({"worker": flat}) == []
    assert len(flat["minutes"]) == 10 and flat["peak_mb"] == 162


def test_a_slow_leak_fails_the_soak():
    """A worker that grows by a megabyte a minute would be killed by its memory limit once a day."""
    leak = grown(samples(lambda at: 100 + at * 2 * GROWTH_MB / 600))
    assert leak["memory_grown_mb"] == pytest.approx(1.2 * GROWTH_MB, rel=0.01)
    (told,) = too_much({"worker": leak})
    assert "memory grew" in told


def test_file_descriptors_that_are_never_closed_fail_it_too():
    """A worker would stop at its limit of open files after weeks."""
    leak = grown(samples(lambda at: 100.0, lambda at: 20 + at * (GROWTH_FILES + 6) // 600))
    assert [line.split(":")[0] for line in too_much({"publisher": leak})] == ["publisher"]


def message(at: int, key: bytes, verdict: str, index: int, number: int, headers=HEADERS):
    stamp = {"verdict": verdict, "index": index, "number": f"+{number}"}
    value = json.dumps({"id": at, "scrub": stamp}).encode()
    return SimpleNamespace(value=lambda: value, key=lambda: key, headers=lambda: headers)


RIGHT = {
    "allowed": [message(0, b"a", "allowed", 9, 33), message(3, b"a", "allowed", 21, 33)],
    "blocked": [message(1, b"a", "blocked", 10, 33), message(2, b"b", "blocked", 5, 44)],
}


def checked(monkeypatch, outputs) -> int:
    """What the oracle says of outputs, where 33 was opposed at position 10 and taken back at 20."""
    told = ({33: ([10, 20], [True, False])}, 2)
    monkeypatch.setattr(soak_oracle, "_changes", lambda stage: told)
    monkeypatch.setattr(soak_oracle, "read_all", lambda bootstrap, topic: outputs[topic])
    stage = SimpleNamespace(bootstrap="", outputs=list(outputs), topics={"allowed": "allowed"})
    return soak_oracle.check(stage, 4, {44}, HEADERS)


def test_the_oracle_accepts_what_is_right(monkeypatch):
    """It would cry wolf, and be switched off."""
    assert checked(monkeypatch, RIGHT) == 2


@pytest.mark.parametrize(
    ("verdict", "wrong", "what"),
    [
        ("allowed", message(0, b"a", "allowed", 10, 33), "verdict"),
        ("allowed", message(0, b"a", "blocked", 10, 33), "topic"),
        ("allowed", message(3, b"a", "allowed", 9, 33), "twice"),
        ("allowed", message(0, b"a", "allowed", 9, 33, []), "headers"),
        ("blocked", message(2, b"a", "blocked", 10, 44), "twice"),
    ],
)
def test_the_oracle_finds_what_is_wrong(monkeypatch, verdict, wrong, what):
    """Ten minutes without growth would hide that prospects were lost, doubled or judged by another list."""
    outputs = {**RIGHT, verdict: [wrong, *RIGHT[verdict][1:]]}
    with pytest.raises(Failed, match=what):
        checked(monkeypatch, outputs)


def test_the_oracle_finds_a_broken_key_order_and_a_loss(monkeypatch):
    """The same, for the order of a lead's two versions, and for one that never came."""
    with pytest.raises(Failed, match="key order"):
        checked(monkeypatch, {**RIGHT, "allowed": RIGHT["allowed"][::-1]})
    with pytest.raises(Failed, match="'lost': 1"):
        checked(monkeypatch, {**RIGHT, "blocked": RIGHT["blocked"][:1]})


def test_a_process_that_is_gone_is_said():
    """The figures of a dead worker are flat."""
    with pytest.raises(Failed, match="gone"):
        soak.Sample.of(2**22 + 1, 0.0)

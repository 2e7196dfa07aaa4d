"""Workers that keep a snapshot: back after a kill with what the log says now, whatever became of the files."""

import json

import pytest

from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

OPPOSED, LATER, *FREE = french_mobiles(60, seed=21)
MANIFEST = "stream-scrub-snapshot.json"


def position(folder) -> int:
    """That of the snapshot; -1 when there is none."""
    try:
        return json.loads((folder / MANIFEST).read_bytes())["position"]
    except FileNotFoundError:
        return -1


def test_workers_start_from_a_snapshot_and_from_none_that_is_damaged(kafka, stages, tmp_path):
    """A restarted worker would judge by what was true when the files were written, or by a damaged list."""
    folder = tmp_path / "state"
    stage = stages(
        kafka.bootstrap, partitions=2, worker__state_dir=folder, kafka__consumer__session_timeout_ms=6000
    )
    stage.load("internal", [OPPOSED])
    known = stage.load("consent", [LATER, *FREE], "--kind", "allow")["position"]
    sent = 0

    def send(numbers):
        nonlocal sent
        leads = [(b"k", prospect(sent + n, spell(number, n))) for n, number in enumerate(numbers)]
        produce(kafka.bootstrap, stage.topics["prospects"], iter(leads))
        sent += len(leads)
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == sent)

    with stage.worker("w1", "--processes", "2") as worker:
        send(FREE[:20])
        wait_until(lambda: position(folder) == known)
        worker.kill()
    now = stage.load("internal", [LATER], "--adds")["position"]
    with stage.worker("w2", "--processes", "2") as worker:
        send([LATER, OPPOSED, *FREE[20:30]])
        assert not worker.logged("snapshot not used")
        assert worker.stop()[0] == 0
    assert position(folder) == now
    for path in folder.glob("*.numbers"):
        path.write_bytes(path.read_bytes()[:-9] + b"\xff" * 9)
    with stage.worker("w3") as worker:
        send([LATER, *FREE[30:]])
        assert worker.logged("snapshot not used")
        assert worker.stop()[0] == 0

    blocked = [json.loads(m.value())["scrub"] for m in read_all(kafka.bootstrap, stage.topics["blocked"])]
    assert sorted(stamp["number"] for stamp in blocked) == sorted([f"+{OPPOSED}", f"+{LATER}", f"+{LATER}"])
    assert {stamp["index"] for stamp in blocked} == {now}

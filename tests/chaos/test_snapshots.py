"""Workers that keep a snapshot: back after a kill with what the log says now, whatever became of the files."""

import json
import resource

import pytest

from tests.support.running.outcome import count, read_all, read_recalls
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.worker import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

OPPOSED, LATER, *FREE = french_mobiles(60, seed=21)
MANIFEST = "stream-scrub-snapshot.json"
FULL_BYTES = 50_000


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


@pytest.mark.slow
def test_a_full_state_folder_stops_nothing_and_is_used_again_once_it_has_room(kafka, stages, tmp_path):
    """A worker would stop for its own cache, or never write it again, and each start read the whole log."""
    stage = stages(kafka.bootstrap, partitions=1)
    stage.load("consent", [LATER, *FREE], "--kind", "allow")
    # What a snapshot holds of them is larger than a file may be. They are nobody's in this test.
    stage.load("internal", [OPPOSED, *french_mobiles(50_000, seed=22)])
    folders = {name: tmp_path / name for name in ("w1", "r1")}
    worker = stage.worker("w1", worker__state_dir=folders["w1"])
    recall = stage.recall("r1", worker__state_dir=folders["r1"])
    with worker, recall:
        for process in (worker, recall):
            limit_files(process, FULL_BYTES)
        for process in (worker, recall):
            wait_until(lambda process=process: process.logged("snapshot not written"))
        leads = [(b"k", prospect(at, spell(number, 0))) for at, number in enumerate([OPPOSED, *FREE[:9]])]
        produce(kafka.bootstrap, stage.topics["prospects"], iter(leads))
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 10)
        now = stage.load("internal", FREE[:1], "--adds")["position"]
        wait_until(lambda: len(list(read_recalls(kafka.bootstrap, stage.topics["recalled"]))) == 1)
        assert {position(folder) for folder in folders.values()} == {-1}
        for process in (worker, recall):
            limit_files(process, resource.RLIM_INFINITY)
        for process in (worker, recall):
            wait_until(lambda process=process: process.logged("snapshot written"))
        assert {position(folder) for folder in folders.values()} == {now}
        assert worker.stop()[0] == 0 and recall.stop()[0] == 0
    blocked = [json.loads(m.value())["scrub"] for m in read_all(kafka.bootstrap, stage.topics["blocked"])]
    assert [stamp["number"] for stamp in blocked] == [f"+{OPPOSED}"]


def limit_files(process, nbytes) -> None:
    """Let no file of a process grow larger, as on a full disk."""
    _, hard = resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (nbytes, hard))

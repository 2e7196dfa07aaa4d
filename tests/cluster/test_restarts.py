"""Three brokers that are restarted one after another while workers come and go, and brokers whose disk is full."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import started
from tests.kafka.broker import Kafka
from tests.kafka.node import Node
from tests.support.machine.absent import absent
from tests.support.running.load import Load, OptOuts
from tests.support.running.outcome import compare, count, ends
from tests.support.running.prospects import french_mobiles, true_number
from tests.support.running.publisher import PublisherProcess, evidence_by_place, requests
from tests.support.running.stage import TO_EVERYBODY, expected_by
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.chaos,
]

NUMBERS = french_mobiles(500, seed=51)
OPPOSED, CONSENTED = set(NUMBERS[:100]), set(NUMBERS)
PER_S = 40
OPT_OUTS_PER_S, FIRST_OPT_OUT = 5, 33_699_000_000  # of nobody in the load: its verdicts stay what they are
DISK_MB = 64


@pytest.fixture(scope="module")
def brokers() -> Iterator[Kafka]:
    """Three that keep everything three times."""
    private = started(own=True, brokers=3)
    yield private
    private.__exit__(None, None, None)


class Scene:
    """A stage with a load on it."""

    def __init__(self, kafka: Kafka, stages, **settings) -> None:
        self.kafka = kafka
        self.stage = stages(kafka.bootstrap, partitions=6, worker__batch_ms=250, **settings)
        self.stage.judge_by(TO_EVERYBODY)
        self.stage.load("internal", sorted(OPPOSED))
        self.stage.load("consent", NUMBERS, "--kind", "allow")
        self.load = Load(kafka.bootstrap, self.stage.topics["prospects"], NUMBERS, PER_S)

    def worker(self, name: str):
        return self.stage.worker(name).start()

    def goes_on(self) -> None:
        """Wait until more comes out than before."""
        before = ends(self.kafka.bootstrap, self.stage.outputs)
        wait_until(lambda: ends(self.kafka.bootstrap, self.stage.outputs) > before + PER_S, every=0.5)

    def check(self) -> None:
        """Every prospect came out once, with its verdict."""
        sent = self.load.finish()
        topic = self.stage.topics["prospects"]
        # The load's own client may write a record twice when a broker dies under it (librdkafka 4953).
        arrived = count(self.kafka.bootstrap, [topic])
        assert arrived >= sent
        wait_until(lambda: ends(self.kafka.bootstrap, self.stage.outputs) >= arrived, every=0.5)
        wait_until(lambda: count(self.kafka.bootstrap, self.stage.outputs) >= arrived, every=1)
        expected = expected_by(OPPOSED, CONSENTED, true_number)
        found = compare(self.kafka.bootstrap, topic, *self.stage.outputs, expected)
        assert not found.wrong, (found.wrong, found.first)
        assert found.total == arrived


def assigned(worker) -> None:
    wait_until(lambda: worker.logged("partitions assigned"))


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_brokers_are_restarted_while_workers_scale(brokers, stages, protocol):
    """An upgrade of the brokers on a day whose load comes and goes would lose leads, hand some out twice, or end a worker."""
    settings = {"kafka__consumer__session_timeout_ms": 6000} if protocol == "classic" else {}
    scene = Scene(brokers, stages, kafka__group_protocol=protocol, **settings)
    workers = [scene.worker("w1")]
    assigned(workers[0])
    scene.load.start()
    scene.goes_on()
    for at, node in enumerate(brokers.nodes):
        node.stop()
        if at == 0:
            workers += [scene.worker(f"w{number}") for number in (2, 3, 4)]
            for worker in workers:
                assigned(worker)
        if at == 1:
            assert [worker.stop()[0] for worker in workers[2:]] == [0, 0]
        scene.goes_on()
        brokers.start()
        brokers.settle()
    scene.goes_on()
    scene.check()
    assert [worker.alive for worker in workers] == [True, True, False, False]
    assert [worker.stop()[0] for worker in workers[:2]] == [0, 0]
    lines = [line for worker in workers for line in worker.lines()]
    assert not any("Traceback" in str(line) or line.get("level") == "error" for line in lines)


class Disk:
    """A small disk under the data of a broker."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._filler = node.log_file.parent / "log" / "filler"

    def fill(self) -> None:
        """Let somebody else's file take all that is left, until the broker ends."""

        def is_down() -> bool:
            with self._filler.open("ab", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    return self.node.pid is None

        wait_until(is_down)

    def clear(self) -> None:
        self._filler.unlink()


@contextmanager
def small_disks(nodes: list[Node]) -> Iterator[list[Disk]]:
    folders = [node.log_file.parent / "log" for node in nodes]
    for node, folder in zip(nodes, folders, strict=True):
        node.stop()
        kept = folder.rename(folder.with_name("kept"))
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
        if (done := subprocess.run(mount, capture_output=True, text=True)).returncode != 0:
            absent(f"no small disk can be mounted: {done.stderr}")
        subprocess.run(["cp", "-a", "--sparse=always", f"{kept}/.", str(folder)], check=True)
    try:
        yield [Disk(node) for node in nodes]
    finally:
        for node, folder in zip(nodes, folders, strict=True):
            node.kill()
            subprocess.run(["umount", str(folder)], check=True)


def test_brokers_whose_disk_is_full_delay_leads_and_opt_outs_and_lose_none(brokers, stages):
    """Leads or accepted opt-outs would be gone, or workers stay down after somebody has made room."""
    scene = Scene(brokers, stages, kafka__consumer__session_timeout_ms=6000)
    stage = scene.stage
    with small_disks(brokers.nodes[:2]) as disks, PublisherProcess(stage, None) as publisher:
        brokers.start()
        brokers.settle()
        workers = [scene.worker(name) for name in ("w1", "w2")]
        for worker in workers:
            assigned(worker)
        wait_until(publisher.ready)
        opt_outs = OptOuts(brokers.bootstrap, stage.topics["requests"], FIRST_OPT_OUT, OPT_OUTS_PER_S)
        scene.load.start()
        opt_outs.start()
        scene.goes_on()
        disks[0].fill()
        scene.goes_on()
        disks[1].fill()
        for worker in workers:
            wait_until(lambda worker=worker: worker.logged("holding: nothing is emitted"))
        for disk in disks:
            disk.clear()
        brokers.start()
        brokers.settle()
        scene.goes_on()
        asked = opt_outs.finish()
        scene.check()
        wait_until(lambda: len(evidence_by_place(stage)) >= len(requests(stage)), every=1)
        assert {name for _, name in requests(stage)} == {f"o{at}" for at in range(asked)}
        assert evidence_by_place(stage) == {("internal", place): 1 for place, _ in requests(stage)}
        assert all(process.alive for process in (*workers, publisher))

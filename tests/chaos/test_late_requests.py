"""Requests that come late: each kind that a transaction sends is held back, its connection broken, and let through in
the middle of the next transaction. Its client has sent it again by then, and forgotten the first copy."""

from collections.abc import Iterator

import pytest

from stream_scrub.kafka.client.producer_calls import id_of_publisher, id_of_worker
from tests.support.network.proxy import Api, Held, Proxy, matching
from tests.support.running.load import Load, OptOuts
from tests.support.running.outcome import compare, count, ends
from tests.support.running.prospects import french_mobiles, true_number
from tests.support.running.publisher import PublisherProcess, evidence, lag, replayed
from tests.support.running.stage import Stage, expected_by
from tests.support.running.worker import WorkerProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

NUMBERS = french_mobiles(2_000, seed=71)
OPPOSED = set(NUMBERS[:400])
FENCED = (47, 90)  # INVALID_PRODUCER_EPOCH, PRODUCER_FENCED
# What is held back, and at which request of the next transaction it does most harm: (kind, place, place that is still of
# its own transaction).
LATE = [
    (Api.ADD_PARTITIONS_TO_TXN, Api.ADD_OFFSETS_TO_TXN, 1),
    (Api.ADD_OFFSETS_TO_TXN, Api.TXN_OFFSET_COMMIT, 1),
    (Api.TXN_OFFSET_COMMIT, Api.END_TXN, 1),
    (Api.END_TXN, Api.TXN_OFFSET_COMMIT, 0),
]


@pytest.fixture(params=["exact", pytest.param("timed", marks=pytest.mark.slow)])
def way(request, tmp_path, monkeypatch) -> str:
    """With the extension, and without: processes find one that cannot be imported."""
    if request.param == "timed":
        (tmp_path / "stream_scrub_native.py").write_text("raise ImportError\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return str(request.param)


@pytest.fixture(scope="module")
def stage(before_proxy, tmp_path_factory) -> Iterator[Stage]:
    """Both lists are there, and whoever is started with `client=proxy.bootstrap` feels the network."""
    settings = {"kafka__consumer__session_timeout_ms": 6000, "worker__batch_records": 200}
    made = Stage(before_proxy.bootstrap, tmp_path_factory.mktemp("late"), **settings)
    made.load("internal", NUMBERS[:400])
    made.load("consent", NUMBERS, "--kind", "allow")
    yield made
    made.close()


def transactional_id(stage: Stage, identity: str) -> str:
    return id_of_worker(stage.env["STREAM_SCRUB_WORKER__GROUP_ID"], identity)


def emitted(stage: Stage) -> int:
    return ends(stage.bootstrap, stage.outputs)


def let_through_late(proxy: Proxy, late: Held, middle: Held, mine: str) -> None:
    """The late one comes while the next transaction waits in its middle; returns when that one has ended, and before
    another has begun."""
    late.wait()
    middle.wait()
    late.release()
    another = proxy.hold(matching(Api.ADD_PARTITIONS_TO_TXN, of=mine))
    middle.release()
    another.wait()


def killed_and_started_again(worker: WorkerProcess) -> None:
    """Another life, which goes on from what is committed."""
    worker.kill()
    worker.start()


class Leads:
    """Prospects that go in while it all happens, and must have come out once, and right, in the end."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._before = count(stage.bootstrap, stage.outputs)
        self._load = Load(stage.bootstrap, stage.topics["prospects"], NUMBERS, per_s=200)

    def __enter__(self) -> None:
        self._load.start()

    def __exit__(self, kind: object, *_: object) -> None:
        sent = self._load.finish() + self._before
        if kind is not None:
            return
        stage = self._stage
        wait_until(lambda: ends(stage.bootstrap, stage.outputs) >= sent, every=0.5)
        wait_until(lambda: count(stage.bootstrap, stage.outputs) >= sent, every=2)
        expected = expected_by(OPPOSED, set(NUMBERS), true_number)
        found = compare(stage.bootstrap, stage.topics["prospects"], *stage.outputs, expected)
        assert not found.wrong and found.total == sent, (found.wrong, found.first)


def test_no_late_request_of_a_worker_loses_or_doubles_a_prospect(proxy, stage, way):
    """A network that keeps one packet for half a second costs hundreds of leads, or calls as many people twice."""
    name = f"w-{way}"
    mine = transactional_id(stage, name)
    with stage.worker(name, client=proxy.bootstrap) as worker:
        with Leads(stage):
            for kind, place, skip in LATE:
                before = emitted(stage)
                wait_until(lambda before=before: emitted(stage) > before)
                such = matching(kind, of=mine, commits=True if kind == Api.END_TXN else None)
                late = proxy.hold(such, cut=True)
                middle = proxy.hold(matching(place, of=mine), skip=skip, after=late)
                let_through_late(proxy, late, middle, mine)
                # A partition too many in a transaction does no harm: the clock does not see to it.
                assert late.error in FENCED or (way, kind) == ("timed", Api.ADD_PARTITIONS_TO_TXN)
                killed_and_started_again(worker)
        assert worker.stop()[0] == 0


# What a transaction leaves in doubt is told by the same code as a worker's: with the extension is enough.
@pytest.mark.slow
def test_no_late_request_of_a_publisher_tears_or_doubles_a_delta(proxy, stage):
    """Parts without their seal would break the log for good, or a number put back be taken out once more."""
    mine = id_of_publisher(stage.topics["log"], "internal")
    asking = OptOuts(stage.bootstrap, stage.topics["requests"], 33_640_000_000, per_s=100)
    with PublisherProcess(stage, None, client=proxy.bootstrap) as publisher:
        wait_until(publisher.ready)
        asking.start()
        for kind, place, skip in LATE:
            late = proxy.hold(
                matching(kind, of=mine, commits=True if kind == Api.END_TXN else None), cut=True
            )
            middle = proxy.hold(matching(place, of=mine), skip=skip, after=late)
            let_through_late(proxy, late, middle, mine)
            assert late.error in FENCED
            killed_and_started_again(publisher)
        asking.finish()
        wait_until(lambda: lag(publisher) == 0, every=0.5)
        assert publisher.stop()[0] == 0
    told = evidence(stage)
    assert len(told) == asking.sent and set(told.values()) == {1}, "each request once"
    assert replayed(publisher).unsealed is None
    assert asking.numbers <= set(replayed(publisher).index.registers["internal"].numbers)

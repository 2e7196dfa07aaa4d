"""What an operator sees of a worker and a publisher from outside, on a real Kafka: figures, probes, causes."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.fakes.lists import consents
from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.publisher import PublisherProcess, drop
from tests.support.running.watch import LISTEN, Watched
from tests.support.running.worker import run_json
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

# A member that was killed keeps its partitions, and all others waiting, for as long as its session lasts.
SESSION = {"kafka__consumer__session_timeout_ms": 6000}
OPPOSED, *FREE = french_mobiles(300, seed=61)
LEADS = 3000


def leads(first: int, number: int = LEADS):
    for at in range(first, first + number):
        phone = "061" if at % 10 == 0 else spell(OPPOSED if at % 10 == 1 else FREE[at % 299], at)
        yield b"%d" % (at % 50), prospect(at, phone)


def reasons(stage) -> Counter:
    """What came out, by verdict and reason."""
    stamps = [
        json.loads(m.value())["scrub"] for topic in stage.outputs for m in read_all(stage.bootstrap, topic)
    ]
    return Counter((stamp["verdict"], stamp["reason"]) for stamp in stamps)


def counted(page) -> Counter:
    """The same, by the metrics."""
    found: Counter = Counter()
    for sample in page.samples:
        if sample.name == "stream_scrub_prospects_total":
            found[sample.labels["verdict"], sample.labels["reason"]] += int(sample.value)
    return +found


@pytest.mark.slow
def test_a_worker_of_two_processes_is_seen_as_it_is(kafka, stages):
    """An operator would act on figures that are not what happened, or be told that all is well while nothing is emitted."""
    hold = {"rules__stale_by_register": '{"dncm": "hold"}'}
    stage = stages(kafka.bootstrap, partitions=4, http__listen=LISTEN, **SESSION, **hold)
    with stage.worker("w", "--processes", "2") as worker:
        seen = Watched(worker)
        wait_until(lambda: seen.held_for("no-seal"))
        assert seen.status("/livez") == 200 and seen.status("/startupz") == 503
        wait_until(lambda: seen.metrics().sum("stream_scrub_holding", cause="no-seal") == 2)

        stage.load("internal", [OPPOSED])
        ends = stage.folder / "ends.csv"
        ends.write_text(consents(f"+{number}" for number in FREE))
        run_json(["lists", "import", str(ends), "--register", "consent", "--kind", "allow"], stage.env)
        wait_until(lambda: seen.status("/readyz") == 200)
        assert seen.status("/startupz") == 200
        wait_until(lambda: seen.metrics().sum("stream_scrub_partitions_assigned") == 4)
        produce(kafka.bootstrap, stage.topics["prospects"], leads(0))
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == LEADS, every=0.5)
        wait_until(lambda: counted(seen.metrics()).total() == LEADS)
        _figures_are_what_happened(stage, seen)
        _a_hold_is_seen_with_its_cause(kafka, stage, seen)
        _a_dead_process_is_seen(worker, seen)
        assert worker.stop()[0] == 0
    assert not worker.logged("page failed")


def _figures_are_what_happened(stage, seen) -> None:
    # Each process looks once a second: at all four partitions when both have looked.
    wait_until(lambda: seen.metrics().found("stream_scrub_partition_lag_records") == [0.0] * 4)
    page = seen.metrics()
    assert counted(page) == reasons(stage)
    assert page.sum("stream_scrub_prospects_read_total") == LEADS
    assert page.sum("stream_scrub_batch_records_sum") == LEADS
    for name in (
        "batch_records",
        "batch_seconds",
        "commit_seconds",
        "send_offsets_seconds",
        "prospect_age_seconds",
    ):
        assert page.sum(f"stream_scrub_{name}_count") == page.sum("stream_scrub_batches_total") > 0
    assert page.sum("stream_scrub_commit_seconds_sum") < page.sum("stream_scrub_batch_seconds_sum")
    assert page.sum("stream_scrub_aborts_total", cause="uncertain") == 0
    status = run_json(["lists", "status"], stage.env)
    held = {each["register"]: each["count"] for each in status["registers"]}
    for worker in ("w-0", "w-1"):
        assert page.value("stream_scrub_index_position", worker=worker) == status["position"]
        assert page.value("stream_scrub_ready", worker=worker) == 1
        assert page.value("process_resident_memory_bytes", worker=worker) > 10e6
        for register, numbers in held.items():
            assert page.value("stream_scrub_register_numbers", worker=worker, register=register) == numbers


def _a_hold_is_seen_with_its_cause(kafka, stage, seen) -> None:
    """A Belgian prospect, whose register the log has never held."""
    belgian = [(b"k", prospect(at, "+32470123457", country="BE")) for at in range(5)]
    produce(kafka.bootstrap, stage.topics["prospects"], iter(belgian))
    wait_until(lambda: seen.held_for("register"))
    assert any("dncm" in cause["why"] for cause in seen.causes())
    assert seen.status("/livez") == 200 and seen.status("/startupz") == 200
    produce(kafka.bootstrap, stage.topics["prospects"], leads(LEADS, 40), partition=_partition(kafka, stage))
    wait_until(lambda: seen.metrics().sum("stream_scrub_partition_lag_records") >= 45)
    before = seen.metrics().sum("stream_scrub_seal_to_enforcement_seconds_count")
    stage.load("dncm", [32_470_123_456], "--effective-at", time.strftime("%Y-%m-%d", time.gmtime()))
    wait_until(lambda: seen.status("/readyz") == 200)
    page = seen.metrics()
    assert page.sum("stream_scrub_holding") == 0
    assert page.sum("stream_scrub_held_seconds_total", cause="register") > 0
    assert page.sum("stream_scrub_seal_to_enforcement_seconds_count") > before
    assert set(page.found("stream_scrub_register_max_age_seconds", register="dncm")) == {5 * 86_400}
    wait_until(lambda: seen.metrics().sum("stream_scrub_partition_lag_records") == 0)


def _partition(kafka, stage) -> int:
    """Where the Belgian prospects are."""
    found = {
        m.partition() for m in read_all(kafka.bootstrap, stage.topics["prospects"]) if b'"BE"' in m.value()
    }
    (partition,) = found
    return partition


def _a_dead_process_is_seen(worker, seen) -> None:
    children = _children(worker.process.pid)
    assert len(children) >= 2
    os.kill(children[-1], signal.SIGKILL)
    wait_until(lambda: seen.held_for("process"), every=0.02)
    ready = {
        sample.labels["worker"]: sample.value
        for sample in seen.metrics().samples
        if sample.name == "stream_scrub_ready"
    }
    assert sorted(ready) == ["w-0", "w-1"] and 0 in ready.values()
    assert seen.status("/livez") == 200 and seen.status("/startupz") == 200
    wait_until(lambda: seen.status("/readyz") == 200)


def _children(pid: int) -> list[int]:
    """The worker processes of a parent, in the order of their start; multiprocessing's tracker is another child."""
    found = (Path(f"/proc/{pid}/task/{pid}/children").read_text()).split()
    return [int(each) for each in found if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


@pytest.mark.slow
def test_an_outage_is_seen_and_restarts_nobody(own_kafka, stages):
    """Kubernetes would restart every worker while the brokers are away, and Prometheus would not know why."""
    bootstrap = own_kafka.bootstrap
    stage = stages(bootstrap, partitions=1, http__listen=LISTEN, rules__index_lag_max_s=3, **SESSION)
    stage.load("internal", [OPPOSED])
    with stage.worker("w1") as worker:
        seen = Watched(worker)
        wait_until(lambda: seen.status("/readyz") == 200)
        own_kafka.kill()
        with stage.worker("w2") as late:
            waiting = Watched(late)
            wait_until(lambda: waiting.held_for("broker"))
            assert (waiting.status("/livez"), waiting.status("/startupz")) == (200, 503)
            # Where the brokers went during its first commit, the worker is not ready at once, and holds after that.
            holding = "stream_scrub_holding"
            wait_until(lambda: seen.metrics().value(holding, cause="log-unreachable") == 1)
            assert seen.held_for("log-unreachable")
            assert seen.status("/livez") == 200 == waiting.status("/livez")
            page = seen.metrics()
            assert page.value(holding, cause="log-unreachable") == 1
            assert page.value("stream_scrub_log_lag_seconds") > 3
            assert page.value("stream_scrub_heartbeat_age_seconds") < 30
            own_kafka.start()
            for each in (seen, waiting):
                wait_until(lambda each=each: each.status("/readyz") == 200)
            assert waiting.status("/startupz") == 200
            assert late.stop()[0] == 0
        assert worker.stop()[0] == 0


def test_a_publisher_is_seen_as_it_is(kafka, stages):
    """Opt-outs could wait for hours behind a publisher that looks well."""
    stage = stages(kafka.bootstrap, partitions=2)
    folder = stage.folder / "drop"
    folder.mkdir()
    with PublisherProcess(stage, folder, http__listen=LISTEN, lists__folder=folder) as publisher:
        seen = Watched(publisher)
        wait_until(lambda: seen.status("/readyz") == 200)
        assert seen.status("/livez") == 200 and seen.status("/startupz") == 200
        said = [b'{"request":"opt-out","number":"+%d"}' % number for number in FREE[:20]]
        # Ahead when the request is read: one that has ended is refused.
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 15))
        today = time.strftime("%Y-%m-%d", time.gmtime())
        said += [
            b'{"request":"consent","number":"+%d","at":"%s","until":"%s"}'
            % (FREE[30], today.encode(), soon.encode()),
            b"nonsense",
        ]
        said += [
            b'{"request":"consent","number":"+%d","at":"%s","until":"2030-01-01"}'
            % (FREE[31], today.encode())
        ]
        produce(kafka.bootstrap, stage.topics["requests"], ((b"k", line) for line in said))
        drop(folder, "dncm", time.strftime("list-%Y-%m-%d.txt", time.gmtime()), [32_470_123_456])
        drop(folder, "tps", "bad.txt", [1])
        wait_until(lambda: seen.metrics().sum("stream_scrub_requests_total") == 23)
        wait_until(lambda: seen.metrics().sum("stream_scrub_files_total") == 2)
        wait_until(lambda: seen.metrics().sum("stream_scrub_numbers_ended_total") == 1)
        wait_until(lambda: seen.metrics().sum("stream_scrub_requests_lag_records") == 0)
        page = seen.metrics()
        assert page.value("stream_scrub_requests_total", outcome="refused") == 1
        assert page.value("stream_scrub_request_age_seconds_count") == 23
        assert page.value("stream_scrub_files_total", outcome="refused") == 1
        assert page.value("stream_scrub_register_numbers", register="internal") == 20
        assert page.value("stream_scrub_deltas_published_total", register="dncm") == 1
        assert page.value("stream_scrub_owner") == 1 == page.value("stream_scrub_ready")
        assert publisher.stop()[0] == 0

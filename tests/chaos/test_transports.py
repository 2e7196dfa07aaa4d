"""The two ways of records through a worker, the client's own and the extension's, on a real Kafka.

STREAM_SCRUB_TEST_RECORDS=1000000 compares as many records.
"""

import os
import random
import re
from collections import defaultdict, deque

import pytest
from confluent_kafka import Producer

from tests.support.machine.effort import examples
from tests.support.network import raw_headers
from tests.support.oracles import mutated_prospects
from tests.support.running.clients import properties
from tests.support.running.outcome import count, ends, read_all
from tests.support.waiting import WAIT_S, wait_until

native = pytest.importorskip("stream_scrub_native")
RECORDS = int(os.environ.get("STREAM_SCRUB_TEST_RECORDS", examples(30_000)))
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900 + RECORDS // 500), pytest.mark.slow]

PARTITIONS = 3
MOMENT = re.compile(rb'"at":"[^"]*"')  # when it was judged


def came(bootstrap, outputs):
    """All that a dialler could see: of each record, in order, its output with its partition, and what it is."""
    for name, topic in zip(("allowed", "blocked"), outputs, strict=True):
        for m in read_all(bootstrap, topic):
            seen = (m.key(), m.timestamp(), without_moment(m.value()), headers_of(m))
            yield (name, m.partition()), seen


def without_moment(value):
    return None if value is None else MOMENT.sub(b"", value)


def headers_of(message):
    return [
        (name, b"" if name == "ce_time" else without_moment(value)) for name, value in message.headers() or ()
    ]


@pytest.fixture
def changed(tmp_path):
    """Make an extension that is the installed one but for the class given as text; returns its PYTHONPATH."""

    def make(text):
        (tmp_path / "stream_scrub_native.py").write_text(
            f"""
import importlib.util
_spec = importlib.util.spec_from_file_location("stream_scrub_native", {native.__file__!r})
_whole = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_whole)
globals().update(vars(_whole))
{text}"""
        )
        return os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    return make


COUNTING = """
class Outlet(_whole.Outlet):
    def emit(self, records, begin, *rest):
        place, code = super().emit(records, begin, *rest)
        with open({file!r}, "a") as counts:
            print(place - begin, file=counts)
        return place, code
"""


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param({"stamp": "value"}, id="value"),
        pytest.param(
            {"stamp": "header", "cloudevents": "urn:example:scrub"}, id="headers", marks=pytest.mark.slow
        ),
    ],
)
def test_the_same_bytes_come_out_by_the_extension_and_without_it(kafka, stages, changed, tmp_path, mode):
    """Where the extension cannot be built, or another version of the client came, diallers would get other records."""
    chance, total = random.Random(f"transports {mode}"), RECORDS
    sizes = {"partitions": PARTITIONS, "worker__batch_records": 500}
    sizes |= {f"prospect__{key}": value for key, value in mode.items()}
    bulk, plain = stages(kafka.bootstrap, **sizes), stages(kafka.bootstrap, **sizes)
    for stage in (bulk, plain):
        stage.load("internal", mutated_prospects.HELD[::2])
        stage.load("consent", mutated_prospects.HELD, "--kind", "allow")
        stage.env["STREAM_SCRUB_TOPICS__PROSPECTS"] = bulk.topics["prospects"]
    producer = Producer({**properties(kafka.bootstrap), "linger.ms": 50})
    for at in range(total):
        # One name that is no ASCII sends its whole batch by the client's own way.
        value, key, headers = mutated_prospects.record(chance, all_names=at > total * 0.9)
        producer.produce(
            bulk.topics["prospects"],
            value,
            key,
            at % PARTITIONS,
            timestamp=1_700_000_000_000 + at,
            headers=headers,
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    lost = [(b'{"phone":"0612345678"}', [(b"\xff", b"1")] if at % 3 else []) for at in range(20)]
    raw_headers.produce_all(
        kafka.bootstrap, bulk.topics["prospects"], lost, b"raw", timestamp=1_700_000_000_000
    )
    total += len(lost)
    counts = tmp_path / "counts"
    bulk.env["PYTHONPATH"] = changed(COUNTING.format(file=str(counts)))
    for stage, transport in ((bulk, "bulk"), (plain, "python")):
        with stage.worker(transport, extension=stage is bulk) as worker:
            # The ends are cheap to get, and count the transactions' markers too.
            wait_until(
                lambda stage=stage: ends(kafka.bootstrap, stage.outputs) >= total, WAIT_S + total // 1000
            )
            wait_until(lambda stage=stage: count(kafka.bootstrap, stage.outputs) == total)
            assert worker.stop()[0] == 0
            assert worker.logged("started", transport=transport)
    emitted = sum(map(int, counts.read_text().split())) if counts.exists() else 0
    assert emitted > total // 2, "the extension emitted next to nothing"
    expected = defaultdict(deque)
    for place, seen in came(kafka.bootstrap, bulk.outputs):
        expected[place].append(seen)
    assert sum(map(len, expected.values())) == total
    windows = (b'"call":{"zones":["Europe/Paris"]', b'"windows":[')
    stamped = [str(seen).encode() for found in expected.values() for seen in found]
    assert any(all(each in stamp for each in windows) for stamp in stamped), "no stamp has hours"
    for place, seen in came(kafka.bootstrap, plain.outputs):
        assert expected[place].popleft() == seen
    assert not any(expected.values())

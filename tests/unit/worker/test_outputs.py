"""In which form a record goes out that its topic does not take as it is."""

from types import SimpleNamespace

import numpy as np
import pytest

from stream_scrub.config import Topics
from stream_scrub.errors import TooLarge
from stream_scrub.kafka.cloud_events import CloudEvents
from stream_scrub.kafka.headers import Headers
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.ops.logs import configure
from stream_scrub.registry.records import JSON
from stream_scrub.scrub.batch import Batch
from stream_scrub.worker.outputs import Outputs, ReadyRecords

KEY_MAX = 4096


class Message:
    """A record, as the client gives it."""

    def __init__(self, key, offset=7):
        self._key, self._offset = key, offset

    def key(self):
        return self._key

    def offset(self):
        return self._offset

    def topic(self):
        return "prospects"

    def timestamp(self):
        return 1, 1_800_000_000_000


def scrub(values, _index, _now, *, spoilt, **_):
    return Batch([not spoilt] * len(values), list(values), [None] * len(values))


@pytest.mark.parametrize("key", [b"k" * KEY_MAX, b"k" * (KEY_MAX + 1)], ids=["a key", "a huge key"])
def test_a_record_that_nothing_takes_for_its_key_goes_out_without_it(key):
    """A key of 20 MB packs to some KB, passes the topic of prospects, and would stop its partition for ever."""
    outputs = Outputs(
        SimpleNamespace(batch_bytes=524_288),
        Topics().inputs,
        SimpleNamespace(scrub=scrub),
        JSON,
        configure("info", "json"),
        1_000_000,
        lambda: 1_000_000,
    )
    fetched = PolledBatch([Message(key)], [3], Headers([None], []), [b"{}"])
    for _ in range(2):
        error = TooLarge("refused")
        error.reports = {0: "MSG_SIZE_TOO_LARGE"}
        outputs.failed(outputs.judge(fetched, None, lambda: False), error)
    ready = outputs.judge(fetched, None, lambda: False)

    assert ready.batch.values == [None]
    assert ready.records[0].key() == (key if len(key) <= KEY_MAX else b"scrub/prospects/3/7")


def test_only_partitions_that_a_batch_was_written_to_are_named():
    """The brokers' clock would be read from a partition that nothing was written to for a minute, and the worker hold
    because its own seems to be ahead."""
    records = SimpleNamespace(partition=[3, 3, 5].__getitem__)
    out = SimpleNamespace(topics=["blocked", "allowed"], routes=np.array([0, 1, 1], np.int32))
    ready = ReadyRecords(SimpleNamespace(records=records), None, out, None)
    assert set(ready.places()) == {("blocked", 3), ("allowed", 3), ("allowed", 5)}


def test_an_event_tells_what_became_of_the_record_and_is_measured_with_it():
    """A blocked prospect would be announced as allowed, or a record be sent that is too large by its event alone."""
    asked = {}

    def scrub(values, _index, _now, *, overhead, **_):
        asked.update({at: overhead(at) for at in range(len(values))})
        return Batch([True, False, False], [b'{"scrub":1}', b"\xff", None], [None, b"{}", b"{}"])

    def outputs(events):
        known = SimpleNamespace(batch_bytes=1)
        log = configure("info", "json")
        arguments = (known, Topics().inputs, SimpleNamespace(scrub=scrub), JSON, log, None, lambda: None)
        return Outputs(*arguments, events)

    fetched = PolledBatch(
        [Message(b"k", offset) for offset in (7, 8, 9)],
        [3, 3, 3],
        Headers([[("own", b"1")], [("CE_ID", b"theirs")], None], []),
        [b"{}", b"\xff", None],
    )
    plain = outputs(None).judge(fetched, None, lambda: False)
    before = dict(asked)
    events = CloudEvents("urn:x")
    ready = outputs(events).judge(fetched, None, lambda: False)

    assert list(plain.headers) == fetched.headers.each
    assert {at: asked[at] - before[at] for at in asked} == dict.fromkeys(range(3), events.nbytes)
    assert ready.headers[0][0] == ("own", b"1")
    told = [dict(each) for each in ready.headers]
    assert [each["ce_id"] for each in told] == [b"prospects/3/7", b"prospects/3/8", b"prospects/3/9"]
    assert [each["ce_type"].rpartition(b".")[2] for each in told] == [b"allowed", b"blocked", b"blocked"]
    assert ["content-type" in each for each in told] == [True, False, False]
    assert not any("CE_ID" in each for each in told)

"""In which form a record goes out that its topic does not take as it is."""

from types import SimpleNamespace

import pytest

from stream_scrub.config import Topics
from stream_scrub.errors import TooLarge
from stream_scrub.kafka.fetched import Fetched
from stream_scrub.kafka.headers import Headers
from stream_scrub.observability.logs import configure
from stream_scrub.scrub.batch import Batch
from stream_scrub.worker.outputs import Outputs

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
        configure("info", "json"),
        1_000_000,
        lambda: 1_000_000,
    )
    fetched = Fetched([Message(key)], [3], Headers([None], []), [b"{}"])
    for _ in range(2):
        error = TooLarge("refused")
        error.reports = {0: "MSG_SIZE_TOO_LARGE"}
        outputs.failed(outputs.judge(fetched, None, lambda: False), error)
    ready = outputs.judge(fetched, None, lambda: False)

    assert ready.batch.values == [None]
    assert ready.records[0].key() == (key if len(key) <= KEY_MAX else b"scrub/prospects/3/7")

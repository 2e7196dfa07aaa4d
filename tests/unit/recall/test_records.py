"""What is on the allowed topic, or on that of the recalls, and is of somebody else, or of an earlier topic."""

import json
from datetime import timedelta

import numpy as np
import pytest

from stream_scrub.clock import utc_millis
from stream_scrub.config.registry import Registry
from stream_scrub.dialler.recalls import Recalls
from stream_scrub.errors import StaleIndex
from stream_scrub.extension import extension
from stream_scrub.kafka.headers import Headers
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.ops.logs import configure
from stream_scrub.recall.leads import LeadReader
from stream_scrub.recall.member import Member
from stream_scrub.recall.record import PastRecalls, topics_header, upto_headers
from stream_scrub.recall_notice import RecallNotice, decode, encode
from stream_scrub.registry.client import RegistryClient
from stream_scrub.registry.records import RegistryRecords
from stream_scrub.stamp import stamp_on
from tests.support.fakes import law
from tests.support.fakes.registry import FakeRegistry, numbered, written
from tests.support.fakes.scrubbers import MEMBERS, scrubber
from tests.support.fakes.web import Web

PLACE = ("allowed", 0)
NUMBER = 33_612_345_680
STAMP = {
    "verdict": "allowed",
    "reason": "clear",
    "number": f"+{NUMBER}",
    "index": 5,
    "at": law.NOW.isoformat(),
}
RECALL = encode(RecallNotice(kind="recalled", number=f"+{NUMBER}", index=6, at=law.NOW.isoformat()))
ENTRY = {"verdict": "allowed", "reason": "clear"}


class Emitted:
    """A record of the allowed topic, as a consumer returns it."""

    def key(self):
        return b"k"

    def partition(self):
        return 0

    offset = partition


class Record:
    """What a consumer returns, as far as a reader of leads asks."""

    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize(
    "forged",
    [
        {"number": "+abc"},
        {"number": ""},
        {"number": "+" + "9" * 5000},
        {"number": None, "callable": ["+33612345680", "+-5"]},
        {"number": None, "numbers": [ENTRY | {"number": "zz"}]},
        {"at": "9999-12-31T23:59:59Z"},
        {"index": 2**64},
    ],
)
def test_a_stamp_that_no_worker_wrote_stops_no_recall_of_others(forged):
    """One record would stop every recall for ever: each member that reads it would end."""
    stamps = [STAMP | forged, STAMP]
    values = [json.dumps({"phone": f"+{NUMBER}", "scrub": each}).encode() for each in stamps]
    records = [Record(each) for each in values]
    batch = PolledBatch(records, [0, 0], Headers([None] * 2, []), values, ["allowed"] * 2)

    leads = LeadReader(scrubber(), 20).read(batch, law.NOW)

    assert leads.records[-1] == 1
    assert leads.plain.numbers[-1] == NUMBER


@pytest.mark.parametrize("said", [{}, {"callable": [f"+{NUMBER}"]}])
def test_what_is_outstanding_are_the_numbers_that_were_allowed_whatever_the_settings_are_now(said):
    """After another default region, or another name for the phone, nobody of earlier leads would be taken back, and somebody
    else would be."""
    lead = {"phone": "0612345680", "mobile": "0611111111", "scrub": STAMP | said}
    value = json.dumps(lead, separators=(",", ":")).encode()
    batch = PolledBatch([Record(value)], [0], Headers([None], []), [value], ["allowed"])
    for now in ({"default_region": "BE"}, {"default_region": "DE"}, {"numbers": ("mobile",)}):
        assert LeadReader(scrubber(**now), 20).read(batch, law.NOW).plain.numbers.tolist() == [NUMBER], now


@pytest.mark.parametrize("number", ["+abc", "", "0612345680", "+33612345680\n", "+" + "9" * 20])
def test_a_stamp_without_a_number_in_its_form_is_none(number):
    """A dialler would stop at it, each time it starts, and hand out nobody who is behind it."""
    for forged in ({"number": number}, {"callable": [number]}, {"numbers": [ENTRY | {"number": number}]}):
        assert stamp_on(json.dumps(STAMP | forged).encode(), None) is None


@pytest.mark.parametrize(
    ("key", "value", "upto"),
    [
        (None, None, b""),
        (b"+33612345680", None, b""),
        (b"tps", b"no JSON", b""),
        (b"tps", b"[" * 100_000, b""),
        (b"\xff", b'{"kind":"suspended","index":1,"at":""}', b""),
        (b"+33612345680", b"{}", b"\xff"),
        (b"+33612345680", b"{}", b"allowed/0"),
        (b"+33612345680", b"{}", b"allowed/0/9223372036854775808"),
        (b"+x", b"{}", b"allowed/0/9"),
        (b"+" + b"9" * 30, b"{}", b"allowed/0/9"),
    ],
)
def test_a_record_that_is_no_recall_stops_no_member_that_starts(key, value, upto):
    """One record would keep recall from starting, until Kafka deletes it after months."""
    past = PastRecalls({PLACE}, {})

    past.take(key, value, [("upto", upto)])
    past.take(b"+33612345680", RECALL, [("upto", b"allowed/0/2")])

    offsets = np.array([1, 2], np.int64)
    assert past.is_left(PLACE, np.array([NUMBER] * 2, np.uint64), offsets).tolist() == [False, True]


def test_a_register_is_as_it_was_said_last_whichever_partition_is_read_first():
    """After the topic got more partitions a register would never be resumed, and diallers would call nobody under its rule."""
    past = PastRecalls({PLACE}, {})
    for kind, second in (("suspended", 2), ("resumed", 1)):
        at = utc_millis(law.NOW + timedelta(seconds=second))
        past.take(b"tps", encode(RecallNotice(kind=kind, register="tps", index=1, at=at)), [])
    assert past.suspended == {"tps"}


def test_a_lead_that_a_worker_with_a_clock_ahead_allowed_is_stopped_by_its_recall():
    """During an upgrade of the rules a dialler would call somebody whose lead was taken back a moment after its verdict."""
    judging = scrubber()
    member, now = Member(judging, 20), law.NOW
    for _ in member.due(law.index(law.register("internal", [NUMBER]), position=5), now, now, {}, look=True):
        pass
    ahead = STAMP | {"at": utc_millis(now + timedelta(seconds=2))}
    value = json.dumps({"phone": f"+{NUMBER}", "scrub": ahead}).encode()
    fetched = PolledBatch([Emitted()], [0], Headers([None], []), [value], ["allowed"])
    emission = member.take(fetched, member.leads.read(fetched, now), now, now, {PLACE: 1})
    recall = decode(emission.recalls[NUMBER])
    recalls = Recalls(judging.rulebook)
    recalls.take(recall)
    assert recalls.stop(f"+{NUMBER}", stamp_on(None, value))


@pytest.mark.parametrize(("now", "is_left"), [("anId", False), ("another", True), ("", False)])
def test_a_recall_takes_back_no_lead_of_a_topic_that_was_created_again(now, is_left):
    """After the allowed topic was made anew, nobody who objects would be taken back who had been once."""
    past = PastRecalls({PLACE}, {"allowed": now})

    past.take(
        b"+33612345680",
        RECALL,
        [*upto_headers([1], {PLACE: [1]}, {PLACE: 1000}), topics_header({"allowed": "anId", "b": ""})],
    )

    offsets = np.array([1], np.int64)
    assert past.is_left(PLACE, np.array([NUMBER], np.uint64), offsets).tolist() == [is_left]


@pytest.mark.skipif(extension() is None, reason="the extension is not installed")
def test_a_lead_in_avro_is_outstanding_once_its_schema_is_known():
    """Nothing in Avro would ever be taken back, or a member would take it for handed in while the registry is away."""
    registry = FakeRegistry()
    schema = {"type": "record", "name": "Lead", "fields": [{"name": "phone", "type": "string"}]}
    value = numbered(registry.add(schema), written(schema, {"phone": f"+{NUMBER}"}))
    headers = Headers([[("scrub", json.dumps(STAMP).encode())]], [])
    batch = PolledBatch([Record(value)], [0], headers, [value], ["allowed"])
    with Web(lambda _: (503, b"")) as web:
        client = RegistryClient(Registry(url=web.url))
        with pytest.raises(StaleIndex, match="503"):
            LeadReader(
                scrubber(), 20, RegistryRecords(client, "avro", MEMBERS, configure("info", "json"))
            ).read(batch, law.NOW)
        web.answer = registry
        leads = LeadReader(
            scrubber(), 20, RegistryRecords(client, "avro", MEMBERS, configure("info", "json"))
        ).read(batch, law.NOW)
    assert leads.plain.numbers.tolist() == [NUMBER]

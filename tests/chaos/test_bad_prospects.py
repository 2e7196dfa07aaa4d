"""What no producer should send and every producer will, through a whole worker on a real Kafka."""

import json

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from tests.support.network import raw_headers
from tests.support.running.outcome import count, ends, read_all
from tests.support.running.prospects import french_mobiles, ordinary_producer, prospect, spell
from tests.support.running.worker import run
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos

OPPOSED, FREE = french_mobiles(2, seed=30)
PHONE = spell(FREE, 0)

UNREADABLE = {
    "null": None,
    "empty": b"",
    "not UTF-8": b'{"name":"\xff","phone":"' + PHONE.encode() + b'"}',
    "not JSON": b"phone=0612345678",
    "truncated": b'{"phone":"' + PHONE.encode() + b'"',
    "trailing": b'{"phone":"' + PHONE.encode() + b'"} {}',
    "array": b'["' + PHONE.encode() + b'"]',
    "scalar": b"42",
    "deep": b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b',"phone":"' + PHONE.encode() + b'"}',
    "byte-order mark": b'\xef\xbb\xbf{"phone":"' + PHONE.encode() + b'"}',
    "twice": b'{"phone":"' + spell(OPPOSED, 0).encode() + b'","phone":"' + PHONE.encode() + b'"}',
    "twice, escaped": b'{"phone":"'
    + spell(OPPOSED, 0).encode()
    + b'","ph\\u006fne":"'
    + PHONE.encode()
    + b'"}',
}
INVALID = {
    "absent": b'{"id":1}',
    "no member": b"{}",
    "null number": b'{"phone":null}',
    "empty number": b'{"phone":""}',
    "empty list": b'{"phone":[]}',
    "object": b'{"phone":{"home":"' + PHONE.encode() + b'"}}',
    "300 digits": b'{"phone":"' + b"6" * 300 + b'"}',
    "lone surrogate": b'{"phone":"\\ud800"}',
}
GOOD = {
    "plain": b'{"phone":"' + PHONE.encode() + b'"}',
    "integer": b'{"phone":' + str(FREE).encode() + b"}",
    "stamped": b'{"scrub":{"verdict":"blocked"},"phone":"' + PHONE.encode() + b'","x":1}',
}
SMUGGLED = {
    "verdict": b'{"phone":"'
    + spell(OPPOSED, 0).encode()
    + b'","scrub":{"verdict":"allowed","reason":"clear"}}',
    "escaped": b'{"phone":"' + spell(OPPOSED, 0).encode() + b'","scr\\u0075b":{"verdict":"allowed"}}',
}


def at_the_limit(bootstrap, topic):
    """Publish the largest prospect that the broker takes; its value."""
    producer, failed = ordinary_producer(bootstrap), []
    head = prospect(1, PHONE)[:-1] + b',"blob":"'
    blob = bytes(65 + (i * 7919 >> 3) % 26 for i in range(1_048_588))
    for size in range(1_048_588, 1_048_000, -4):
        value = head + blob[: size - len(head) - 2] + b'"}'
        failed.clear()
        producer.produce(
            topic, value, b"limit", on_delivery=lambda error, _: failed.append(error) if error else None
        )
        assert producer.flush(30) == 0
        if not failed:
            return value
    raise AssertionError("no size was taken")


def test_every_bad_prospect_comes_out_once_with_its_bytes(kafka, stages):
    """No producer's mistake may stop the stream, be lost, or be called."""
    stage = stages(kafka.bootstrap, partitions=1)
    stage.load("internal", [OPPOSED])
    stage.load("consent", [OPPOSED, FREE], "--kind", "allow")
    cases = {**UNREADABLE, **INVALID, **GOOD, **SMUGGLED}
    reasons = dict.fromkeys(UNREADABLE, "unreadable") | dict.fromkeys(INVALID, "invalid-number")
    reasons |= dict.fromkeys(GOOD, "consented") | dict.fromkeys(SMUGGLED, "opposed")
    producer = ordinary_producer(kafka.bootstrap)
    headers = [("scrub", b'{"verdict":"allowed"}'), ("trace", b"1"), ("scrub", b"again")]
    for name, value in cases.items():
        producer.produce(
            stage.topics["prospects"], value, name.encode(), headers=headers, timestamp=1_700_000_000_000
        )
    assert producer.flush(30) == 0
    with stage.worker("w1") as worker:
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) >= len(cases))
        assert worker.stop()[0] == 0
    came = {
        m.key().decode(): (verdict, m)
        for verdict, topic in zip(("allowed", "blocked"), stage.outputs, strict=True)
        for m in read_all(kafka.bootstrap, topic)
    }
    assert set(came) == set(cases)
    for name, value in cases.items():
        verdict, message = came[name]
        kept = dict(message.headers())
        assert kept["trace"] == b"1" and message.timestamp()[1] == 1_700_000_000_000
        assert b"again" not in [v for _, v in message.headers()], "an incoming header survived"
        assert ("scrub" in kept) == (name in UNREADABLE)
        if name in UNREADABLE:
            assert message.value() == value, name
            stamp = json.loads(kept["scrub"])
        else:
            stamp = json.loads(message.value())["scrub"]
        assert (stamp["reason"], stamp["verdict"]) == (reasons[name], verdict), name
    assert not any(
        str(FREE)[2:] in line or PHONE in line for line in worker.log_file.read_text().splitlines()
    )


@pytest.mark.slow
def test_a_prospect_at_the_brokers_limit_is_stamped_and_comes_out(kafka, stages):
    """The stamp must not make the largest prospect unpublishable."""
    stage = stages(kafka.bootstrap, partitions=1)
    stage.load("internal", [OPPOSED])
    stage.load("consent", [FREE], "--kind", "allow")
    value = at_the_limit(kafka.bootstrap, stage.topics["prospects"])
    with stage.worker("w1") as worker:
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) >= 1)
        assert worker.stop()[0] == 0
    (message,) = read_all(kafka.bootstrap, stage.topics["allowed"])
    assert message.value()[: len(value) - 1] == value[:-1]
    assert json.loads(message.value())["scrub"]["reason"] == "consented"


@pytest.mark.slow
def test_outputs_that_are_too_tight_lose_nothing(kafka, stages):
    """Where the output topics take no more than the input's, the largest prospect comes out blocked, unchanged, and
    those behind it are not held up."""
    stage = stages(kafka.bootstrap, partitions=1)
    stage.load("internal", [OPPOSED])
    stage.load("consent", [FREE], "--kind", "allow")
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for topic in stage.outputs:
        entry = ConfigEntry("max.message.bytes", "1048588", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource("topic", topic, incremental_configs=[entry])
        for future in admin.incremental_alter_configs([resource]).values():
            try:
                future.result()
            except KafkaException as error:
                raise AssertionError(error) from error
    value = at_the_limit(kafka.bootstrap, stage.topics["prospects"])
    producer = ordinary_producer(kafka.bootstrap)
    producer.produce(stage.topics["prospects"], prospect(2, PHONE), b"behind")
    assert producer.flush(30) == 0
    with stage.worker("w1") as worker:
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) >= 2)
        assert worker.stop()[0] == 0
    (large,) = read_all(kafka.bootstrap, stage.topics["blocked"])
    assert large.value() == value
    (behind,) = read_all(kafka.bootstrap, stage.topics["allowed"])
    assert behind.key() == b"behind"


@pytest.mark.slow
def test_a_header_whose_name_is_no_utf_8_comes_out_blocked(kafka, stages):
    """One such record of a C, Go or Java producer would kill every worker at every start, and its partition would never
    be read again."""
    stage = stages(kafka.bootstrap, partitions=1)
    stage.load("internal", [OPPOSED])
    stage.load("consent", [FREE], "--kind", "allow")
    value, moment = b'{"phone":"' + PHONE.encode() + b'"}', 1_700_000_000_000
    headers = [(b"trace", b"1"), (b"h\xff", b"2"), (b"scrub", b'{"verdict":"allowed"}')]
    topic = stage.topics["prospects"]
    for key, given in ((b"before", headers[:1]), (b"odd", headers), (b"behind", headers[:1])):
        raw_headers.produce(kafka.bootstrap, topic, value, key, given, timestamp=moment)
    with stage.worker("w1") as worker:
        wait_until(lambda: not worker.alive or count(kafka.bootstrap, stage.outputs) >= 3)
        assert worker.alive, worker.log_file.read_text()[-2000:]
        assert worker.stop()[0] == 0
    (odd,) = read_all(kafka.bootstrap, stage.topics["blocked"])
    assert (odd.key(), odd.value(), odd.timestamp()[1]) == (b"odd", value, moment)
    ((name, stamp),) = odd.headers()
    told = {"verdict": "blocked", "reason": "unreadable", "cause": "headers"}
    assert name == "scrub" and told.items() <= json.loads(stamp).items()
    others = list(read_all(kafka.bootstrap, stage.topics["allowed"]))
    assert [m.key() for m in others] == [b"before", b"behind"]
    assert all(dict(m.headers())["trace"] == b"1" for m in others)
    explained = run(
        ["explain", "--topic", "blocked", "--partition", "0", "--offset", str(odd.offset())], stage.env
    )
    assert explained.returncode == 0, explained.stdout + explained.stderr


@pytest.mark.slow
def test_prospects_that_are_made_to_cost_much_hold_nobody_up(kafka, stages):
    """25 prospects of a megabyte with tens of thousands of numbers each would be judged for minutes: nobody else is
    scrubbed meanwhile, and what is then committed was judged by an index of minutes ago.
    """
    stage = stages(kafka.bootstrap, partitions=1)
    stage.load("consent", [FREE], "--kind", "allow")
    junk = b",".join(b'"06 12 ?? %05d"' % at for at in range(50_000))
    hostile = b'{"phone":[' + junk + b"]}"
    producer = ordinary_producer(kafka.bootstrap)
    for at in range(25):
        producer.produce(stage.topics["prospects"], hostile, b"%d" % at)
    producer.produce(stage.topics["prospects"], prospect(2, PHONE), b"behind")
    assert producer.flush(60) == 0
    with stage.worker("w1") as worker:
        wait_until(lambda: ends(kafka.bootstrap, stage.outputs) >= 26)
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) >= 26)
        assert worker.stop()[0] == 0
    assert [m.key() for m in read_all(kafka.bootstrap, stage.topics["allowed"])] == [b"behind"]
    reasons = {
        json.loads(m.value()[-400:].rpartition(b'"scrub":')[2][:-1])["reason"]
        for m in read_all(kafka.bootstrap, stage.topics["blocked"])
    }
    assert reasons == {"invalid-number"}

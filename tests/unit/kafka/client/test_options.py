"""Client properties: what we choose, what a user may choose, and what is refused with its reason."""

import shutil
import subprocess

import pytest
import structlog
from confluent_kafka import KafkaException, Producer

from stream_scrub.config import Kafka
from stream_scrub.kafka.client import allowed_properties, options
from stream_scrub.kafka.client.client_log import ClientLog
from stream_scrub.kafka.client.options import Role, client_options, refusals


def made_of(role, own):
    """The properties of a client without any of a user's."""
    return client_options(Kafka(), role, None, own)


@pytest.fixture
def logs():
    return ClientLog(structlog.get_logger(), "test")


def test_the_properties_that_promises_rest_on_are_those_we_promise():
    """Aborted prospects would be judged, offsets committed before their outputs, or a truncated log go unnoticed."""
    member = made_of(Role.MEMBER, {"group.id": "g"})
    reader = made_of(Role.LOG_READER, {"group.id": "g"})
    worker = made_of(Role.WORKER, {"transactional.id": "t"})

    for made in (member, reader):
        assert made["isolation.level"] == "read_committed"
        assert made["enable.auto.commit"] is False
        assert made["enable.auto.offset.store"] is False
        assert made["fetch.queue.backoff.ms"] <= 20
    assert (member["auto.offset.reset"], member["group.id"]) == ("earliest", "g")
    assert (reader["auto.offset.reset"], reader["enable.partition.eof"]) == ("error", True)
    assert worker["transactional.id"] == "t"
    assert worker["enable.idempotence"] is True
    assert worker["transaction.timeout.ms"] == 15_000
    assert worker["queue.buffering.max.messages"] >= 2 * 10_000


def test_a_batch_of_the_client_fits_the_topics_that_it_goes_to():
    """A broker refuses every record of a batch that is larger than its topic takes: all prospects would come out blocked."""
    sizes = {
        (limit, own): client_options(
            Kafka(producer={"batch.size": own} if own else {}), Role.WORKER, None, max_bytes=limit
        )["batch.size"]
        for limit in (None, 20_000, 2_000_000)
        for own in ("", "100000", "1000")
    }
    assert [sizes[20_000, own] for own in ("", "100000", "1000")] == [20_000, 20_000, 1000]
    assert [int(sizes[2_000_000, own]) for own in ("", "100000")] == [1_000_000, 100_000]
    assert sizes[None, ""] == 1_000_000


@pytest.mark.parametrize(
    ("own", "size"),
    [
        ({}, 2_000_000),
        ({"compression.type": "zstd"}, 2_000_000),
        ({"compression.type": "none"}, 1_000_000),
        ({"compression.codec": "none"}, 1_000_000),
        ({"batch.size": "3000000"}, 2_097_152),
        ({"batch.size": "100000"}, 100_000),
    ],
)
def test_a_worker_s_batches_may_be_twice_the_limit_before_they_are_packed(own, size):
    """A partition's share of a batch would go in two requests, and the client's thread would spin until the first is answered."""
    made = client_options(Kafka(producer=own), Role.WORKER, None, max_bytes=1_048_576, refits=True)
    assert int(made["batch.size"]) == size


def test_a_user_s_own_properties_reach_the_clients_they_are_meant_for(logs):
    """Credentials or a tuned buffer would be accepted and do nothing."""
    client = {"security.protocol": "sasl_ssl", "statistics.interval.ms": "60000", "client.id": "mine"}
    kafka = Kafka(
        client=client,
        consumer={"fetch.wait.max.ms": "5", "group.instance.id": "pod-0"},
        producer={"linger.ms": "0", "compression.type": "zstd"},
    )
    member, worker, reader = (
        client_options(kafka, role, logs) for role in (Role.MEMBER, Role.WORKER, Role.LOG_READER)
    )

    for made in (member, worker, reader):
        assert client.items() <= made.items()
    assert member["group.instance.id"] == "pod-0"
    assert "group.instance.id" not in reader
    assert (worker["linger.ms"], worker["compression.type"]) == ("0", "zstd")


REFUSED = [
    ("consumer", "enable.auto.commit", "true"),
    ("consumer", "enable.auto.offset.store", "true"),
    ("consumer", "isolation.level", "read_uncommitted"),
    ("consumer", "auto.offset.reset", "latest"),
    ("consumer", "group.id", "other"),
    ("consumer", "group.protocol", "consumer"),
    ("consumer", "partition.assignment.strategy", "range"),
    ("producer", "enable.idempotence", "false"),
    ("producer", "acks", "1"),
    ("producer", "request.required.acks", "1"),
    ("producer", "transactional.id", "mine"),
    ("producer", "transaction.timeout.ms", "900000"),
    ("producer", "message.timeout.ms", "900000"),
    ("producer", "delivery.timeout.ms", "900000"),
    ("producer", "max.in.flight", "10"),
    ("producer", "max.in.flight.requests.per.connection", "10"),
    ("client", "bootstrap.servers", "elsewhere:9092"),
    ("client", "metadata.broker.list", "elsewhere:9092"),
    ("client", "test.mock.num.brokers", "3"),
    ("client", "retry.backoff.ms", "20"),
    ("producer", "retry.backoff.max.ms", "50"),
    ("client", "plugin.library.paths", "/tmp/mine.so"),
    ("client", "ssl.engine.location", "/tmp/mine.so"),
    ("client", "ssl.providers", "mine"),
    ("client", "interceptors", "mine"),
    ("client", "sasl.kerberos.kinit.cmd", "touch /tmp/mine"),
    ("client", "sasl.kerberos.principal", "me; touch /tmp/mine"),
    ("client", "sasl.kerberos.keytab", '/k"; touch /tmp/mine; "'),
    ("client", "opaque", "1"),
    ("consumer", "offset.store.path", "/tmp/mine"),
    ("producer", "dr_msg_cb", "1"),
]


@pytest.mark.parametrize(("section", "name", "value"), REFUSED)
def test_a_property_that_a_promise_rests_on_is_refused_with_its_reason(section, name, value):
    """A copied properties file would quietly turn exactly-once into at-least-once."""
    given = {"client": {}, "consumer": {}, "producer": {}} | {section: {name: value}}

    (problem,) = refusals(**given)

    assert problem.startswith(f"kafka.{section}: {name} cannot be ")
    assert len(problem.split(": ", 2)[2]) > 10


def test_every_listed_property_exists():
    """A misspelt refusal or permission would do nothing."""
    for name in (*options._REFUSED, *allowed_properties.ALLOWED):
        with pytest.raises(KafkaException) as caught:
            Producer({name: "x", "no.such.property": "x"})
        assert f'No such configuration property: "{name}"' not in str(caught.value)


@pytest.mark.parametrize("name", ["plugin.library.paths", "ssl.engine.location", "ssl.providers"])
def test_nothing_is_loaded_while_properties_are_looked_at(name, tmp_path):
    """Whoever may drop a file would run code in the publisher, and even `stream-scrub config` would run it."""
    source, library, mark = tmp_path / "mine.c", tmp_path / "mine.so", tmp_path / "ran"
    source.write_text(
        "#include <stdio.h>\n__attribute__((constructor)) static void run(void)"
        f' {{ FILE *f = fopen("{mark}", "w"); if (f) fclose(f); }}\n'
    )
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        library.write_bytes(b"\x7fELF")
    else:
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)

    assert refusals({name: str(library)}, {}, {})
    assert not mark.exists()


def test_all_problems_are_listed_at_once():
    """The user would correct one property, start, and learn of the next."""
    problems = refusals(
        {"acsk": "1", "linger.ms": "5"}, {"compression.type": "lz4"}, {"acks": "1", "on_delivery": "x"}
    )

    for problem, names in zip(
        problems,
        (
            ("kafka.client: acsk cannot be set", "did you mean acks?"),
            ("kafka.client: linger.ms would do nothing", "set it in [kafka.producer]"),
            ("kafka.consumer: compression.type would do nothing", "set it in [kafka.producer]"),
            ("kafka.producer: acks cannot be changed", "may be lost"),
            ("kafka.producer: on_delivery cannot be set", "docs/reference/settings.md"),
        ),
        strict=True,
    ):
        assert all(name in problem for name in names), problem
    assert refusals({}, {"fetch.wait.max.ms": "soon"}, {}) == [
        'kafka.consumer: Invalid value for configuration property "fetch.wait.max.ms"'
    ]


def test_properties_that_contradict_each_other_or_name_a_missing_file_are_told():
    """The worker would end with a trace instead of a list of what to change."""
    assert refusals({"security.protocol": "ssl", "ssl.ca.location": "/nowhere/ca.pem"}, {}, {})[0].startswith(
        "kafka.client: Failed to create producer: ssl.ca.location failed"
    )
    (problem,) = refusals({}, {"max.poll.interval.ms": "1000"}, {})
    assert problem.startswith("kafka.consumer:")
    assert "session.timeout.ms" in problem


@pytest.mark.parametrize(("name", "value"), [("debug", "nonsense"), ("log_level", "99")])
def test_a_bad_value_of_what_the_client_logs_is_told(name, value, capfd):
    """The worker would end with "this is a bug" instead of the property to correct."""
    for section in ("client", "consumer", "producer"):
        given = {"client": {}, "consumer": {}, "producer": {}} | {section: {name: value}}
        (problem,) = refusals(**given)

        assert problem.startswith(f"kafka.{section}: ")
        assert name in problem
    assert refusals({"debug": "all", "log_level": "7"}, {}, {}) == []
    assert capfd.readouterr().err == "", "librdkafka wrote to stderr by itself"


def test_the_broker_s_own_protocol_refuses_what_the_broker_chooses():
    """The consumer would not be made, and the client's own words do not say which setting to change."""
    own = {"session.timeout.ms": "30000"}

    assert refusals({}, own, {}) == []
    (problem,) = refusals({}, own, {}, protocol="consumer")
    assert "group_protocol" in problem


def test_good_properties_are_not_refused():
    """A user with a secured cluster could not run it at all, nor one with static members where they are safe."""
    client = {"security.protocol": "sasl_ssl", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "u"}
    client |= {"sasl.password": "p", "debug": "security", "client.rack": "a"}

    assert refusals(client, {}, {"partitioner": "murmur2_random"}) == []
    assert refusals(client, {"group.instance.id": "w0"}, {}, protocol="consumer") == []


def test_a_place_of_its_own_is_refused_where_it_loses_partitions():
    """A worker that ends in the midst of a rebalance would leave a partition to nobody, and its leads would wait for
    ever."""
    (problem,) = refusals({}, {"group.instance.id": "w0"}, {})
    assert "group_protocol" in problem


def test_no_secret_is_in_a_problem():
    """A password would end in the log of the start that failed."""
    problems = refusals(
        {"sasl.passwrod": "hunter2", "ssl.key.password": "hunter2"}, {}, {"sasl.password": "hunter2"}
    )

    assert problems
    assert "hunter2" not in " ".join(problems)


def test_a_publishers_transaction_may_last_longer_the_more_it_publishes():
    """A list of 250 million numbers would be given up half-way, again at each try; or a killed publisher of a few
    numbers hide the log from everybody for a quarter of an hour."""
    timeout_ms = options.publish_timeout_ms

    assert timeout_ms(0) == timeout_ms(10_000_000) == options.PUBLISH_TIMEOUT_MS == 10_000
    assert 60_000 < timeout_ms(500_000_000) < 200_000, "ten times what half a gigabyte took"
    assert timeout_ms(10**12) == 900_000, "a broker refuses more"

"""A secured Kafka (TLS, SCRAM and client certificates, access control on): every role does its part with exactly the
rights of its KafkaUser, nobody does another's, and whoever is turned away says so in one line that names what is wrong.
"""

import os
import re
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AclBindingFilter, AdminClient

from stream_scrub.dialler import Allowed
from stream_scrub.errors import Refused
from stream_scrub.kafka.admin.acls import RequiredRights
from stream_scrub.kafka.admin.topics import TopicAdmin
from stream_scrub.model import Deadline
from tests.conftest import started
from tests.kafka.broker import Kafka
from tests.kafka.security import LAPSED, MTLS, Right, add_user, in_force, password_of
from tests.support.running.clients import Address
from tests.support.running.outcome import count, ends
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.publisher import PublisherProcess
from tests.support.running.stage import Stage
from tests.support.running.users import (
    AUTOSCALER,
    DIALLER,
    IMPORTER,
    LIFTER,
    PRODUCER,
    PUBLISHER,
    RECALL,
    RETRY,
    SERVER,
    WORKER,
    kafka_users,
)
from tests.support.running.worker import WorkerProcess, run
from tests.support.texts.pages import ROOT, blocks
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

OPPOSED, *FREE = french_mobiles(40, seed=30)
USERS = kafka_users()
TOPICS = {
    "prospects", "prospects.allowed", "prospects.blocked", "prospects.recalled",
    "opposition.log", "opposition.requests", "opposition.lifts", "opposition.refused",
    "call.attempts",
}  # fmt: skip
READS = {
    SERVER: {"opposition.log", "opposition.refused", "prospects.recalled"},
    WORKER: {"prospects", "opposition.log"},
    PUBLISHER: {
        "opposition.log",
        "opposition.requests",
        "opposition.lifts",
        "opposition.refused",
        "call.attempts",
    },
    IMPORTER: {"opposition.log"},
    RETRY: {"prospects.blocked", "opposition.log"},
    RECALL: {"prospects.allowed", "prospects.recalled", "opposition.log"},
    DIALLER: {"prospects.allowed", "prospects.recalled"},
    LIFTER: set(),
    PRODUCER: set(),
    AUTOSCALER: set(),
}
WRITES = {
    SERVER: {"opposition.requests", "call.attempts"},
    WORKER: {"prospects.allowed", "prospects.blocked"},
    PUBLISHER: {"opposition.log", "opposition.requests", "opposition.refused"},
    IMPORTER: {"opposition.log"},
    DIALLER: {"opposition.requests", "call.attempts"},
    LIFTER: {"opposition.lifts"},
    RETRY: {"prospects"},
    RECALL: {"prospects.recalled"},
    PRODUCER: {"prospects"},
    AUTOSCALER: set(),
}
# Of whom, by prefix: nobody begins a transaction of somebody else. Publishers and imports share the registers.
SESSIONS = {
    WORKER: "scrub-stream-scrub-w1.w12",
    PUBLISHER: "scrub-publish-opposition.log-internal.p14",
    IMPORTER: "scrub-publish-opposition.log-bloctel.p14",
    RETRY: "scrub-retry-stream-scrub.r12",
    RECALL: "scrub-recall-stream-scrub.c12",
}
PUBLISHES = {PUBLISHER, IMPORTER}
PUBLISHER_GROUP = {"lists__requests_group": "stream-scrub-publisher"}


@pytest.fixture(scope="module")
def secured() -> Iterator[Kafka]:
    """A secured Kafka of this module's own."""
    private = started(secured=True)
    yield private
    private.__exit__(None, None, None)


@pytest.fixture(scope="module")
def house(secured: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The topics and users of the manifests, two lists imported by the importer, and prospects by a producer."""
    short = {"kafka__consumer__session_timeout_ms": 6000}
    folder = tmp_path_factory.mktemp("secured")
    stage = Stage(secured.admin, folder, partitions=2, product_names=True, **short)
    for user, rights in USERS.items():
        add_user(secured.admin, user, rights)
    stage.load("internal", [OPPOSED], client=secured.user(IMPORTER))
    stage.load("consent", [OPPOSED, *FREE], "--kind", "allow", client=secured.user(IMPORTER))
    yield stage
    stage.close()


def send(secured: Kafka, first: int, numbers: list[int]) -> None:
    leads = ((b"k%d" % at, prospect(at, spell(number, at))) for at, number in enumerate(numbers, first))
    produce(secured.user(PRODUCER), "prospects", leads)


def loud(process: WorkerProcess) -> list[dict]:
    """The lines that somebody would be woken by."""
    return [line for line in process.lines() if line.get("level", "error") in {"warning", "error"}]


def one(process: WorkerProcess) -> dict:
    """The only one of them."""
    found = loud(process)
    assert len(found) == 1, "\n".join(map(str, process.lines()))
    return found[0]


def called(secured: Kafka, numbers: int) -> list[int]:
    """What a dialler may call by now."""
    client = dict(secured.user(DIALLER))
    chosen = {"kafka.bootstrap_servers": client.pop("bootstrap.servers"), "kafka.client": client}
    found: list[int] = []
    with Allowed("dialler-north", settings=chosen, recall="none", start="beginning") as leads:
        for _, lead in zip(range(numbers), leads, strict=False):
            found.append(int(lead.numbers[0][1:]))
            leads.ack(lead)
    return sorted(found)


def test_every_role_does_its_part_with_the_rights_of_its_user(secured, house):
    """Somebody who applies the manifests would find a role that is turned away, and widen its rights in despair."""
    send(secured, 0, [OPPOSED, *FREE[:9]])
    with (
        house.worker("w1", client=secured.user(WORKER)) as worker,
        PublisherProcess(house, None, client=secured.user(PUBLISHER), **PUBLISHER_GROUP) as publisher,
    ):
        assert called(secured, 9) == sorted(FREE[:9])
        wait_until(lambda: publisher.logged("publishing"))
        # Whoever was called and wants no more calls is on the log by the publisher's hand, and blocked next time.
        asked = b'{"request":"opt-out","number":"+%d"}' % FREE[0]
        produce(secured.user(DIALLER), "opposition.requests", iter([(b"k", asked), (b"k", b"nonsense")]))
        wait_until(lambda: ends(secured.admin, ["opposition.refused"]) > 0)
        sealed = ends(secured.admin, ["opposition.log"])
        wait_until(lambda: any(line.get("position", -1) >= sealed - 2 for line in worker.lines()))
        send(secured, 100, [FREE[0], FREE[10]])
        assert called(secured, 1) == [FREE[10]]
        behind = Consumer({**secured.user(AUTOSCALER), "group.id": "stream-scrub"})
        wait_until(lambda: committed(behind) == ends(secured.admin, ["prospects"]))
        behind.close()
        assert (publisher.stop()[0], worker.stop()[0]) == (0, 0)
    # The publisher counts the request that it could not read, if it lives until its next summary.
    unexpected = [line for line in loud(publisher) if "could not be read" not in line["event"]]
    assert (loud(worker), unexpected) == ([], [])


def committed(consumer: Consumer) -> int:
    asked = [TopicPartition("prospects", partition) for partition in range(2)]
    return sum(max(0, each.offset) for each in consumer.committed(asked, timeout=60))


def test_a_client_certificate_does_as_well(secured, house):
    """Who gives out certificates instead of passwords would find that only passwords were ever tried."""
    identity = secured.security.identity(WORKER)
    by_certificate = {"bootstrap.servers": secured.at(MTLS)} | secured.security.mtls(identity)
    before = count(secured.admin, house.outputs)
    send(secured, 200, FREE[:3])
    with house.worker("w2", client=by_certificate) as worker:
        wait_until(lambda: count(secured.admin, house.outputs) == before + 3)
        assert worker.stop()[0] == 0
    assert loud(worker) == []


@pytest.mark.parametrize("first", ["# A user with a password", "# A user with a certificate"])
def test_the_settings_on_the_page_do(secured, house, tmp_path, first):
    """An operator who copies the page's settings would be turned away."""
    text = next(block.text for block in blocks(ROOT / "docs" / "operator.md") if block.text.startswith(first))
    identity = secured.security.identity(WORKER)
    by_password = "password" in first
    servers = re.search(r'bootstrap_servers = "(.+)"', text)
    assert servers is not None
    places = {servers[1]: secured.bootstrap if by_password else secured.at(MTLS)}
    places |= {"/etc/stream-scrub/ca.crt": str(secured.security.ca_file)}
    places |= {
        "/etc/stream-scrub/user.crt": str(identity.certificate),
        "/etc/stream-scrub/user.key": str(identity.key),
    }
    for told, real in places.items():
        text = text.replace(told, real)
    (tmp_path / "stream-scrub.toml").write_text(text)
    env = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_SCRUB_")}
    if by_password:
        (variable,) = re.findall(r"STREAM_SCRUB_\w+_FILE", text)
        (tmp_path / "password").write_text(password_of(WORKER) + "\n")
        env[variable] = str(tmp_path / "password")
    done = run(["lists", "status", "--config", str(tmp_path / "stream-scrub.toml")], env)
    assert done.returncode == 0, done.stderr
    assert "internal" in done.stdout


def unreadable(client: Address, topics: set[str]) -> set[str]:
    """Those that this client is not let read, asked for without any group."""
    consumer = Consumer(
        {**client, "group.id": "dialler-elsewhere", "enable.auto.commit": False, "enable.partition.eof": True}
    )
    denied = {
        topic
        for topic in topics
        if consumer.list_topics(topic, timeout=60).topics[topic].error is not None  # he may not even see it
    }
    consumer.assign([TopicPartition(topic, 0, 0) for topic in topics - denied])
    seen: set[str] = set()
    until = time.monotonic() + 60
    while denied | seen < topics and time.monotonic() < until:
        for message in consumer.consume(100, 0.2):
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                seen.add(message.topic())
            elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                denied.add(message.topic())
    consumer.close()
    return denied - seen


def unwritable(client: Address, topics: set[str]) -> set[str]:
    """Those that this client is not let write to."""
    denied: set[str] = set()

    def report(error, message):
        if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            denied.add(message.topic())

    producer = Producer({**client, "message.timeout.ms": 60_000, "log_level": 0})
    for topic in topics:
        producer.produce(topic, b"not for me", on_delivery=report)
    producer.flush(60)
    return denied


@pytest.mark.parametrize("user", USERS)
def test_nobody_reads_or_writes_what_is_not_his(secured, house, user):
    """A dialler's stolen password would give away every lead, or put a number that is opposed among the allowed."""
    client = secured.user(user)
    others = TOPICS - READS[user]
    assert unreadable(client, others) == others
    others = TOPICS - WRITES[user]
    assert unwritable(client, others) == others


@pytest.mark.parametrize("user", USERS)
def test_nobody_begins_another_s_transaction(secured, house, user):
    """Who may use a worker's or a publisher's id can put it out of work, or end its transaction."""
    others = [each for owner, each in SESSIONS.items() if owner != user and not {owner, user} <= PUBLISHES]
    for session in others:
        producer = Producer({**secured.user(user), "transactional.id": session, "log_level": 0})
        with pytest.raises(KafkaException) as raised:
            producer.init_transactions(60)
        assert raised.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


@pytest.mark.parametrize("user", sorted({*USERS} - {WORKER, PUBLISHER, IMPORTER, RETRY, RECALL, SERVER}))
def test_nobody_joins_the_workers_group(secured, house, user):
    """A member that does not scrub would take partitions away from those who do."""
    consumer = Consumer({**secured.user(user), "group.id": "stream-scrub", "log_level": 0})
    consumer.subscribe(["prospects"])
    codes = set()
    until = time.monotonic() + 60
    while time.monotonic() < until and KafkaError.GROUP_AUTHORIZATION_FAILED not in codes:
        codes |= {message.error().code() for message in consumer.consume(10, 0.2) if message.error()}
        assert consumer.assignment() == []
    consumer.close()
    assert KafkaError.GROUP_AUTHORIZATION_FAILED in codes


# -- Turned away: who says it, by what client, and the words that the one line must have.
def turned_away(secured: Kafka) -> dict[str, tuple[Address, str]]:
    security, scram, mtls = secured.security, secured.bootstrap, {"bootstrap.servers": secured.at(MTLS)}
    other_ca = security.foreign_ca()
    lapsed, foreign = security.identity(WORKER, lapsed=True), security.identity(WORKER, foreign=True)
    return {
        "wrong password": (secured.user(WORKER, "wrong"), rf"credentials.*{WORKER}|{WORKER}.*credentials"),
        "lapsed server certificate": (
            secured.user(WORKER) | {"bootstrap.servers": secured.at(LAPSED)},
            "broker's certificate.*expired",
        ),
        "unknown CA": (
            {"bootstrap.servers": scram} | security.scram(WORKER, ca=other_ca),
            r"broker's certificate.*ssl\.ca\.location",
        ),
        "lapsed client certificate": (mtls | security.mtls(lapsed), r"own certificate.*ssl\.certificate\.location.*expired"),
        "client certificate of a foreign CA": (
            mtls | security.mtls(foreign),
            r"own certificate.*ssl\.certificate\.location",
        ),
    }  # fmt: skip


CASES = (
    "wrong password",
    "lapsed server certificate",
    "unknown CA",
    "lapsed client certificate",
    "client certificate of a foreign CA",
)


@pytest.mark.parametrize("case", CASES)
def test_who_is_turned_away_says_why_in_one_line(secured, house, case):
    """A lapsed certificate at three in the morning would look like a broker that is away."""
    client, words = turned_away(secured)[case]
    with house.worker(f"away-{CASES.index(case)}", client=client) as worker:
        wait_until(lambda: not worker.alive)
    line = one(worker)
    assert worker.process is not None and worker.process.returncode == 1
    assert line["event"] == "cannot work" and re.search(words, line["why"]), line
    assert "wrong" not in line["why"] or case != "wrong password", "a password is nobody's business"


@pytest.mark.slow
def test_a_client_without_tls_is_told_what_it_tried(secured, house):
    """Whoever forgot security.protocol would look for a broker that is down."""
    with house.worker("plain", client={"bootstrap.servers": secured.bootstrap}) as worker:
        wait_until(lambda: bool(loud(worker)))
        assert worker.alive, "a broker that restarts looks the same"
        assert worker.stop()[0] == 0
    line = one(worker)
    assert line["event"] == "no broker answers, trying again"
    assert "security.protocol = plaintext" in line["why"] and secured.bootstrap in line["why"]


def test_all_missing_rights_are_named_at_once(secured, house, capfd):
    """An operator would grant one right after another, with a restart for each, or create topics that are there."""
    add_user(secured.admin, "nobody", [])
    nobody = TopicAdmin(secured.user("nobody"))
    needed = RequiredRights(["prospects"], [], ["g"], transactional_prefix="scrub-g-")

    assert nobody.lacking(needed, Deadline.after(120)) == [
        "to READ topic prospects",
        "to READ group g",
        "to WRITE to transactional ids scrub-g- (prefix)",
    ]
    with pytest.raises(Refused, match="DESCRIBE"):
        nobody.describe(["prospects"], Deadline.after(120))
    assert "FATAL" not in capfd.readouterr().err


# -- A right that is missing: everybody has all of his role's but one.
MISSING = [
    (WORKER, "topic", "prospects", "Read"),
    (WORKER, "topic", "prospects.allowed", "Write"),
    (WORKER, "topic", "prospects.blocked", "Write"),
    (WORKER, "topic", "opposition.log", "Read"),
    (WORKER, "topic", "opposition.requests", "Describe"),
    (WORKER, "topic", "opposition.lifts", "Describe"),
    (WORKER, "group", "stream-scrub", "Read"),
    (WORKER, "group", "stream-scrub-publisher", "Describe"),
    (WORKER, "transactionalId", "scrub-stream-scrub-", "Write"),
    (PUBLISHER, "topic", "opposition.log", "Read"),
    (PUBLISHER, "topic", "opposition.log", "Write"),
    (PUBLISHER, "topic", "opposition.requests", "Read"),
    (PUBLISHER, "topic", "opposition.requests", "Write"),
    (PUBLISHER, "topic", "opposition.lifts", "Read"),
    (PUBLISHER, "topic", "call.attempts", "Read"),
    (PUBLISHER, "topic", "opposition.refused", "Read"),
    (PUBLISHER, "topic", "opposition.refused", "Write"),
    (PUBLISHER, "group", "stream-scrub", "Read"),
    (PUBLISHER, "group", "stream-scrub-publisher", "Read"),
    (PUBLISHER, "transactionalId", "scrub-publish-", "Write"),
]


def less(secured: Kafka, user: str, kind: str, name: str, operation: str) -> str:
    """A user with all rights of that one, but this."""
    rights = USERS[user]
    (gone,) = [each for each in rights if (each.kind, each.name, each.operation) == (kind, name, operation)]
    made = f"{user}-less-{MISSING.index((user, kind, name, operation))}"
    add_user(secured.admin, made, [each for each in rights if each != gone])
    return made


def names(line: str, user: str, kind: str, name: str, operation: str) -> bool:
    """Whether a line says who lacks what."""
    return operation.upper() in line and name in line and (user in line or kind == "transactionalId")


def test_every_right_is_one_of_those_that_are_taken_away():
    """A right that nobody misses need not be given; one that was never taken away would fail in some other way."""
    needed = {(user, *right[:2], right[3]) for user in (WORKER, PUBLISHER) for right in USERS[user]}
    assert {each for each in needed if each[3] != "DescribeConfigs"} == set(MISSING)


@pytest.mark.parametrize("missing", MISSING, ids=lambda each: "-".join(each[1:]))
def test_a_missing_right_is_named_in_one_line(secured, house, missing):
    """An operator would be told that something failed, and try one right after another."""
    user = less(secured, *missing)
    if missing[0] == WORKER:
        made = house.worker(f"w{MISSING.index(missing)}", client=secured.user(user))
    else:
        made = PublisherProcess(house, None, user, client=secured.user(user), **PUBLISHER_GROUP)
    with made as process:
        wait_until(lambda: not process.alive)
    assert process.process is not None and process.process.returncode == 1
    line = one(process)
    assert line["event"] == "cannot work" and names(line["why"], user, *missing[1:]), line


def revoke(secured: Kafka, user: str, right: Right) -> None:
    of = right.binding(user)
    gone = AclBindingFilter(
        of.restype, of.name, of.resource_pattern_type, of.principal, of.host, of.operation, of.permission_type
    )
    admin = AdminClient({**secured.admin, "log_level": "0"})
    for done in admin.delete_acls([gone]).values():
        assert done.result(), "nothing was taken away"
    in_force(admin, {of}, gone=True)


@pytest.mark.parametrize(("topic", "operation"), [("prospects.allowed", "Write"), ("prospects", "Read")])
def test_a_right_taken_away_from_a_worker_at_work(secured, house, topic, operation):
    """One mistyped ACL would lose or double leads, fill the log, or need a restart when it is put right."""
    user = f"worker-loses-{operation.lower()}"
    add_user(secured.admin, user, USERS[WORKER])
    lost = Right("topic", topic, prefix=False, operation=operation)
    before = count(secured.admin, house.outputs)
    send(secured, 300, FREE[:5])
    with house.worker(f"w-{operation}", client=secured.user(user)) as worker:
        wait_until(lambda: count(secured.admin, house.outputs) == before + 5)
        revoke(secured, user, lost)
        send(secured, 400, FREE[5:15])
        wait_until(lambda: bool(loud(worker)))
        time.sleep(5)
        assert count(secured.admin, house.outputs) == before + 5, "it went on emitting"
        line = one(worker)
        assert names(line["why"], "", "transactionalId", topic, operation), line
        add_user(secured.admin, user, [lost])
        wait_until(lambda: count(secured.admin, house.outputs) == before + 15)
        wait_until(lambda: worker.logged("batches succeed again"))
        assert worker.stop()[0] == 0
    assert len(loud(worker)) == 1, "\n".join(map(str, loud(worker)))
    assert count(secured.admin, house.outputs) == before + 15, "something came out twice"

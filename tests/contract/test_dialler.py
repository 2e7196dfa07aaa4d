"""`Allowed` on real clients: what a dialler is given while recalls come, processes die and partitions move."""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from stream_scrub.config import load
from stream_scrub.dialler import Allowed, Lead
from stream_scrub.errors import Refused
from stream_scrub.kafka import clients
from stream_scrub.kafka.dialler import allowed_reader
from stream_scrub.model import BeginAt
from stream_scrub.ops import logs
from tests.conftest import until_known
from tests.support.names import unique_name
from tests.support.network.faulty_kafka import Api, FaultyKafka
from tests.support.running.dialler import lead, recall, settings, write
from tests.support.texts.pages import ROOT
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def embedded() -> Iterator[FaultyKafka]:
    with FaultyKafka() as broker:
        broker.set_session_timeout(5_000)
        yield broker


@pytest.fixture(params=["embedded", "real"])
def place(request) -> Iterator[tuple[str, str, str]]:
    """A broker's address, and two topics there: of leads, and of recalls."""
    if request.param == "real":
        topic = request.getfixturevalue("topic")
        kafka = request.getfixturevalue("kafka")
        yield kafka.bootstrap, topic("allowed", partitions=3), topic("recalled", partitions=2)
        return
    broker, names = request.getfixturevalue("embedded"), [unique_name() for _ in range(2)]
    for name, partitions in zip(names, (3, 2), strict=True):
        broker.create_topic(name, partitions)
    yield broker.bootstrap, *names


def dialler(
    place: tuple[str, str, str],
    group: str = "",
    protocol: str = "consumer",
    start: BeginAt | None = "beginning",
) -> Allowed:
    chosen = settings(*place) | {"kafka.group_protocol": protocol}
    if protocol == "consumer":
        del chosen["kafka.consumer"]
    return Allowed(group or unique_name(), settings=chosen, recall="none", start=start)


def topics_of(embedded) -> tuple[str, str, str]:
    """An embedded broker's address, with new topics of leads and of recalls."""
    allowed, recalled = unique_name(), unique_name()
    embedded.create_topic(allowed)
    embedded.create_topic(recalled)
    return embedded.bootstrap, allowed, recalled


def given(leads: Allowed, count: int) -> list[Lead]:
    return [lead for _, lead in zip(range(count), leads, strict=False)]


def ids(leads: list[Lead]) -> list[int]:
    """The ids of leads, by their numbers."""
    return sorted(int(lead.numbers[0][4:]) - 12_000_000 for lead in leads)


def test_whom_a_recall_names_is_not_handed_out_though_the_lead_was_there_first(place):
    """The most expensive call: to a person who objected after the lead had left."""
    bootstrap, allowed, recalled = place
    write(bootstrap, recalled, recall(1), recall(2, index=4))
    write(bootstrap, allowed, *map(lead, range(4)))

    with dialler(place) as leads:
        found = given(leads, 3)
        assert ids(found) == [0, 2, 3]
        assert {lead.key for lead in found} == {b"0", b"2", b"3"}
        assert all(b'"scrub"' in lead.value and leads.may_dial(lead).allowed for lead in found)


def test_it_begins_where_recalls_may_still_matter_and_not_years_ago(kafka, topic):
    """With recalls kept as evidence for five years, no lead would be called for minutes after each start."""
    bootstrap, allowed, recalled = kafka.bootstrap, topic("allowed"), topic("recalled", partitions=2)
    days_ago = [int((time.time() - days * 86_400) * 1000) for days in (40, 31)]
    write(bootstrap, recalled, b"from years ago", partition=0, timestamp=days_ago[0])
    write(bootstrap, recalled, recall(1), partition=0, timestamp=days_ago[1])
    write(bootstrap, allowed, *map(lead, range(3)))

    with dialler((bootstrap, allowed, recalled)) as leads:
        assert ids(given(leads, 2)) == [0, 2]


def test_a_dialler_that_is_closed_in_its_block_ends_in_peace(place):
    """A campaign that is stopped by a signal would end in an error, and somebody look for what was lost."""
    bootstrap, allowed, _ = place
    write(bootstrap, allowed, *map(lead, range(3)))

    with dialler(place) as leads:
        closing = threading.Thread(target=leads.close)
        for each in given(leads, 3):
            leads.ack(each)
        closing.start()
        assert list(leads) == []
    closing.join(60)
    leads.close()


@pytest.mark.slow
def test_a_renewed_lead_is_the_same_lead_and_comes_no_more_once_it_is_done(place):
    """A person would be called again whenever a list is renewed."""
    bootstrap, allowed, _ = place
    write(bootstrap, allowed, *map(lead, range(3)), partition=0)
    group = unique_name()
    with dialler(place, group) as leads:
        found = {ids([each])[0]: each for each in given(leads, 3)}
        leads.ack(found[0])
    offsets = {at: found[at].offset for at in found}
    for at in (0, 1):
        renews = [("scrub-renews", b"%d" % offsets[at])]
        write(bootstrap, allowed, lead(at, until="2099-01-01"), partition=0, headers=renews)
    write(bootstrap, allowed, lead(7), partition=0)

    with dialler(place, group) as leads:
        again = given(leads, 3)
        assert ids(again) == [1, 2, 7], "0 was done before it was renewed"
        renewed = next(each for each in again if ids([each]) == [1])
        assert (renewed.offset, leads.skipped) == (offsets[1], {"renewed": 1})
        for each in again:
            leads.ack(each)
    write(bootstrap, allowed, lead(8), partition=0)
    with dialler(place, group) as leads:
        (last,) = given(leads, 1)
        assert ids([last]) == [8], "a renewal is done with its lead"
        leads.ack(last)
    renews = [("scrub-renews", b"%d" % last.offset)]
    write(bootstrap, allowed, lead(8, until="2099-01-01"), partition=0, headers=renews)
    write(bootstrap, allowed, lead(9), partition=0)
    with dialler(place, group) as leads:
        assert ids(given(leads, 1)) == [9], "nothing was open before the restart"


@pytest.mark.slow
def test_acknowledgements_that_cannot_be_committed_are_logged_and_seen(embedded, caplog):
    """A dialler would go on for days, and after its next restart everybody would be called a second time."""
    at = topics_of(embedded)
    write(at[0], at[1], lead(0), lead(1))
    with caplog.at_level("INFO", "stream_scrub"), dialler(at, protocol="classic") as leads:
        found = given(leads, 2)
        assert leads.uncommitted_s == 0
        asking = threading.Thread(target=lambda: next(leads, None))
        asking.start()
        embedded.push_errors(Api.OFFSET_COMMIT, [KafkaError.GROUP_AUTHORIZATION_FAILED] * 5)
        leads.ack(found[0])
        wait_until(lambda: "acknowledgements cannot be committed" in caplog.text)
        assert "GROUP_AUTHORIZATION_FAILED" in caplog.text
        wait_until(lambda: "acknowledgements are committed again" in caplog.text)
        assert leads.uncommitted_s == 0
        write(at[0], at[1], lead(2))
        asking.join(30)


@pytest.mark.slow
def test_a_dialler_that_the_group_turned_away_for_good_comes_back(embedded):
    """A dialler would live, and never be given a lead again."""
    at = topics_of(embedded)
    write(at[0], at[1], lead(0), lead(1))
    with dialler(at) as leads:
        found = given(leads, 2)
        embedded.push_errors(Api.CONSUMER_GROUP_HEARTBEAT, [KafkaError.INVALID_REQUEST])
        again = given(leads, 2)

        assert ids(again) == [0, 1]
        assert leads.taken_back() == [(each, "moved") for each in found]


@pytest.mark.slow
def test_a_new_partition_of_recalls_is_read(kafka, topic):
    """After the topic was widened a share of all recalls would never be seen."""
    allowed, recalled = topic("allowed"), topic("recalled", partitions=2)
    write(kafka.bootstrap, allowed, lead(1))
    with dialler((kafka.bootstrap, allowed, recalled)) as leads:
        (found,) = given(leads, 1)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        admin.create_partitions([NewPartitions(recalled, 3)])[recalled].result()
        write(kafka.bootstrap, recalled, recall(1), partition=2)
        assert [each.lead for each in leads.taken_back(120)] == [found]


def test_without_the_topic_of_recalls_nobody_is_dialled(place):
    """A dialler whose topic is misspelt would run without any recall. The embedded broker creates topics on demand."""
    bootstrap, allowed, _ = place
    write(bootstrap, allowed, lead(0))
    with (
        dialler((bootstrap, allowed, "no-such-topic")) as leads,
        pytest.raises(Refused, match=r"no-such-topic: .*stream-scrub topics"),
    ):
        next(leads)
    assert "no-such-topic" not in AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=60).topics


def transaction(bootstrap: str, topic: str, value: bytes) -> Producer:
    """A producer with an open transaction, in which this record is written."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": unique_name(), "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, value, partition=0)
    producer.flush(30)
    return producer


def test_while_an_open_transaction_hides_recalls_nobody_is_dialled(kafka, topic):
    """A recall that is committed behind an open transaction cannot be read yet, and its person would be called."""
    allowed, recalled = topic("allowed"), topic("recalled")
    hidden = transaction(kafka.bootstrap, recalled, recall(0))
    write(kafka.bootstrap, recalled, recall(1))
    write(kafka.bootstrap, allowed, lead(0), lead(1), lead(2))
    with dialler((kafka.bootstrap, allowed, recalled)) as leads:
        found: list[Lead] = []
        thread = threading.Thread(target=lambda: found.append(next(leads)))
        thread.start()
        thread.join(3)
        assert found == []

        hidden.abort_transaction(30)
        thread.join(30)
        assert ids(found + given(leads, 1)) == [0, 2]


@pytest.mark.slow
def test_where_more_is_open_than_can_be_noted_some_come_again_and_none_is_lost(kafka, topic):
    """A dialler with tens of thousands of open leads would lose some at a restart, or be unable to commit."""
    at, group = (kafka.bootstrap, topic("allowed"), topic("recalled")), unique_name()
    write(at[0], at[1], *map(lead, range(40_000)))
    rng = random.Random(1)
    with dialler(at, group) as leads:
        kept = {each.offset for each in given(leads, 40_000) if rng.random() < 0.5 or leads.ack(each)}

    again: set[int] = set()
    with dialler(at, group) as leads:
        while not kept <= again:
            again.add(next(leads).offset)
    assert len(again - kept) < 20_000 - 5_000


def test_a_member_that_reads_little_keeps_the_note_of_what_is_done(kafka, topic):
    """Partitions move twice in a moment while diallers are replaced, and everybody would be called a second time."""
    at, group = (kafka.bootstrap, topic("allowed"), topic("recalled")), unique_name()
    write(at[0], at[1], *map(lead, range(40)))
    with dialler(at, group) as leads:
        for each in given(leads, 40):
            if each.offset not in (0, 19):
                leads.ack(each)
    reader = clients.Brokers(load(flags=settings(*at)), logs.of_library()).allowed_reader(group)
    wait_until(lambda: reader.poll(1, 0.1))
    reader.done((at[1], 0), 0)
    reader.close()
    write(at[0], at[1], lead(40))

    with dialler(at, group) as leads:
        assert ids(given(leads, 2)) == [19, 40]


@pytest.mark.slow
def test_the_leads_of_a_topic_that_was_created_again_are_handed_out(kafka, topic):
    """What was acknowledged of the old topic would be taken for acknowledged in the new one, and never be called."""
    at, group = (kafka.bootstrap, topic("allowed"), topic("recalled")), unique_name()
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    write(at[0], at[1], *map(lead, range(20)))
    with dialler(at, group) as leads:
        for each in given(leads, 20)[1:]:
            leads.ack(each)
    held = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group}).committed(
        [TopicPartition(at[1], 0)], 20
    )
    admin.delete_topics([at[1]])[at[1]].result()
    wait_until(lambda: at[1] not in admin.list_topics(timeout=60).topics)
    admin.create_topics([NewTopic(at[1], 1)])[at[1]].result()
    until_known(admin, at[1])
    assert held[0].metadata
    Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group}).commit(
        offsets=held, asynchronous=False
    )
    write(at[0], at[1], *map(lead, range(5)))

    with dialler(at, group) as leads:
        assert ids(given(leads, 5)) == [0, 1, 2, 3, 4]


def next_of(leads: Allowed) -> tuple[threading.Thread, list[Lead]]:
    """Ask for a lead in a thread."""
    found: list[Lead] = []
    asking = threading.Thread(target=lambda: found.extend(given(leads, 1)))
    asking.start()
    return asking, found


def forget(bootstrap: str, group: str) -> None:
    """Delete a group with its offsets, once its last member has left."""
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def is_deleted() -> bool:
        try:
            admin.delete_consumer_groups([group])[group].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NON_EMPTY_GROUP:
                raise
            return False
        return True

    wait_until(is_deleted)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_leads_that_were_acknowledged_do_not_come_again_when_kafka_forgot_the_offsets(
    kafka, topic, caplog, protocol
):
    """After a campaign's pause of a week everybody would be called a second time, without a word."""
    caplog.set_level("INFO", "stream_scrub")
    at, group = (kafka.bootstrap, topic("allowed", partitions=2), topic("recalled")), unique_name()
    write(at[0], at[1], *map(lead, range(20)))
    with dialler(at, group, protocol) as leads:
        for each in given(leads, 20):
            leads.ack(each)
    forget(at[0], group)

    for _ in range(2):  # a start that holds decides nothing for the next one
        caplog.clear()
        with dialler(at, group, protocol, start=None) as leads:
            asking, found = next_of(leads)
            wait_until(lambda: found or f"{at[1]}/0, {at[1]}/1" in caplog.text)
            assert found == [], "an acknowledged lead came again"
            assert 'start="end"' in caplog.text and "expired its offsets" in caplog.text
            leads.close()
            asking.join(60)
            assert found == []
    committed = Consumer({"bootstrap.servers": at[0], "group.id": group, "log_level": 0})
    places = [TopicPartition(at[1], each) for each in range(2)]
    with closing(committed), dialler(at, group, protocol, start="end") as leads:
        asking, found = next_of(leads)
        wait_until(lambda: all(each.offset >= 0 for each in committed.committed(places, 20)))
        write(at[0], at[1], lead(20))
        asking.join()
        assert ids(found) == [20]
        asking, _ = next_of(leads)
        leads.ack(found[0])
        wait_until(lambda: sum(each.offset for each in committed.committed(places, 20)) == 21)
        leads.close()
        asking.join()
    write(at[0], at[1], *map(lead, range(21, 30)))
    with dialler(at, group, protocol, start=None) as leads:
        assert ids(given(leads, 9)) == [*range(21, 30)]


def test_an_empty_topic_needs_no_choice_where_to_start(place):
    """A new dialler would stand still until somebody read its log, though nothing can come twice."""
    bootstrap, allowed, _ = place
    group = unique_name()
    asking = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0})
    places = [TopicPartition(allowed, each) for each in range(3)]
    with closing(asking), dialler(place, group, start=None) as leads:
        waiting, found = next_of(leads)
        wait_until(lambda: all(each.offset == 0 for each in asking.committed(places, 20)))
        write(bootstrap, allowed, *map(lead, range(6)))
        waiting.join(60)
        leads.ack(found[0])
        assert ids(found + given(leads, 5)) == [*range(6)]


@pytest.mark.slow
def test_leads_that_brokers_lost_stop_the_next_dialler_too(kafka, topic, caplog):
    """New leads at the offsets of lost ones would be taken for done by the next process, and never be called."""
    caplog.set_level("INFO", "stream_scrub")
    at, group = (kafka.bootstrap, topic("allowed"), topic("recalled")), unique_name()
    write(at[0], at[1], *map(lead, range(10)))
    committed = [TopicPartition(at[1], 0, 15)]  # as if brokers had lost five leads
    with closing(Consumer({"bootstrap.servers": at[0], "group.id": group})) as consumer:
        consumer.commit(offsets=committed, asynchronous=False)

    for first in (10, 20):  # the second time the end is beyond the committed offset
        caplog.clear()
        with dialler(at, group, start=None) as leads:
            asking, found = next_of(leads)
            wait_until(lambda: "brokers lost leads there" in caplog.text)
            leads.close()
            asking.join(60)
            assert found == []
        write(at[0], at[1], *map(lead, range(first, first + 10)))
    with dialler(at, group, start="beginning") as leads:
        for each in given(leads, 30):
            leads.ack(each)
    write(at[0], at[1], lead(30))
    with dialler(at, group, start=None) as leads:
        assert ids(given(leads, 1)) == [30]


@pytest.mark.parametrize(
    "note",
    [
        f"upto={10**30} first=-1 begun=0 open=eNpjAAAAAQAB",
        "upto=500 first=-1 begun=0 open=eJwDAAAAAAE=",
        f"upto={'9' * 4000} first=-1 begun=0 open=",
    ],
)
def test_a_note_of_another_program_skips_no_lead(embedded, note):
    """A program that shares the group's name could keep every lead from being called, for ever."""
    at, group = topics_of(embedded), unique_name()
    write(at[0], at[1], *map(lead, range(5)))
    with closing(Consumer({"bootstrap.servers": at[0], "group.id": group})) as consumer:
        consumer.commit(offsets=[TopicPartition(at[1], 0, 0, note)], asynchronous=False)

    with dialler(at, group, "classic", start=None) as leads:
        assert ids(given(leads, 5)) == [*range(5)]


class AnswersLate(Consumer):
    """Its first question for committed offsets times out."""

    has_failed = False

    def committed(self, *args, **more):
        if not self.has_failed:
            self.has_failed = True
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return super().committed(*args, **more)


@pytest.mark.slow
def test_acknowledged_leads_do_not_come_again_when_the_coordinator_answers_late(embedded, monkeypatch):
    """After one slow answer everybody who was called meanwhile would be called a second time."""
    at, group = topics_of(embedded), unique_name()
    write(at[0], at[1], *map(lead, range(5)))
    with dialler(at, group, "classic") as leads:
        for each in given(leads, 5):
            if each.offset:
                leads.ack(each)
    write(at[0], at[1], lead(5))

    monkeypatch.setattr(allowed_reader, "Consumer", AnswersLate)
    with dialler(at, group, "classic", start=None) as leads:
        assert ids(given(leads, 2)) == [0, 5]


def test_the_choice_of_a_start_is_for_the_start_alone(kafka, topic, caplog):
    """A dialler that runs for weeks would call everybody again when brokers lose the last leads."""
    caplog.set_level("INFO", "stream_scrub")
    at, group = (kafka.bootstrap, topic("allowed"), topic("recalled")), unique_name()
    write(at[0], at[1], *map(lead, range(10)))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    with dialler(at, group, start="beginning") as leads:
        for each in given(leads, 10):
            leads.ack(each)
        asking, found = next_of(leads)
        with closing(Consumer({"bootstrap.servers": at[0], "group.id": group})) as member:
            wait_until(lambda: member.committed([TopicPartition(at[1], 0)], 20)[0].offset == 10)
        admin.delete_topics([at[1]])[at[1]].result()
        wait_until(lambda: at[1] not in admin.list_topics(timeout=60).topics)
        admin.create_topics([NewTopic(at[1], 1)])[at[1]].result()
        until_known(admin, at[1])
        write(at[0], at[1], *map(lead, range(5)))
        wait_until(lambda: "holding: partitions are not read" in caplog.text)
        leads.close()
        asking.join(60)
        assert found == []


@pytest.mark.slow
def test_a_dialler_goes_on_when_kafka_has_deleted_leads_that_it_did_not_read(kafka, topic):
    """After a long pause a dialler would stand still, though the leads that are left are all new."""
    at, group = (kafka.bootstrap, topic("allowed"), topic("recalled")), unique_name()
    write(at[0], at[1], *map(lead, range(10)))
    with dialler(at, group) as leads:
        for each in given(leads, 10):
            leads.ack(each)
    write(at[0], at[1], *map(lead, range(10, 20)))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for answer in admin.delete_records([TopicPartition(at[1], 0, 15)]).values():
        answer.result()

    with dialler(at, group, start=None) as leads:
        assert ids(given(leads, 5)) == [*range(15, 20)]


def started(place: tuple[str, str, str], group: str, notes: Path, acks: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "tests.support.running.dialler",
        *place,
        group,
        str(notes),
        acks,
    ]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def noted(notes: Path, word: str) -> list[str]:
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [line.split()[1] for line in lines if line.startswith(word) and len(line.split()) == 2]


def test_a_killed_dialler_loses_no_lead_and_repeats_what_was_not_acknowledged(kafka, topic, tmp_path):
    """A lead in a process that dies would never be called; what was done long before would be called again."""
    at, group = (kafka.bootstrap, topic("allowed", partitions=3), topic("recalled")), unique_name()
    write(at[0], at[1], *map(lead, range(300)))
    first, second, third = (tmp_path / f"life-{life}" for life in range(3))

    process = started(at, group, first, "even")
    wait_until(lambda: len(noted(first, "given")) == 300)
    asking = Consumer({"bootstrap.servers": at[0], "group.id": group})
    looks = [[]]

    def all_are_committed() -> bool:
        found = asking.committed([TopicPartition(at[1], each) for each in range(3)], 60)
        looks.append([(each.offset, each.metadata) for each in found])
        return looks[-1] == looks[-2]

    wait_until(all_are_committed, every=5)  # it commits several times a second
    asking.close()
    process.kill()
    process.wait()
    process = started(at, group, second, "even")
    wait_until(lambda: len(noted(second, "given")) >= 50)
    process.kill()
    process.wait()
    process = started(at, group, third, "every")
    settled = {*noted(first, "acked"), *noted(second, "acked")}
    wait_until(lambda: len(settled | {*noted(third, "acked")}) == 300)
    process.kill()
    process.wait()

    assert not {*noted(first, "acked")} & {*noted(second, "given"), *noted(third, "given")}

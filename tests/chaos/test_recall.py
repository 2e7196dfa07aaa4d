"""Leads that were handed out are taken back, each once, on a real Kafka."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from msgspec import convert

from stream_scrub.config import load
from stream_scrub.dialler.recalls import Recalls
from stream_scrub.recall_notice import RecallNotice
from stream_scrub.scrub import scrubbing
from stream_scrub.stamp import stamp_on
from tests.support.names import unique_name
from tests.support.running.load import Load, OptOuts
from tests.support.running.outcome import count, ends, read_all, read_recalls
from tests.support.running.prospects import french_mobiles, ordinary_producer, produce, prospect, spell
from tests.support.running.publisher import PublisherProcess
from tests.support.running.stage import TO_EVERYBODY
from tests.support.running.watch import LISTEN, Watched
from tests.support.running.worker import run, run_json
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos

NUMBERS = french_mobiles(400, seed=29)
# A member that was killed keeps its partitions until its session ends.
SOON = {"kafka__consumer__session_timeout_ms": 6000}


def send(stage, ids):
    leads = ((b"k%d" % at, prospect(at, spell(NUMBERS[at], at))) for at in ids)
    produce(stage.bootstrap, stage.topics["prospects"], leads)


def recalls(stage):
    """What is on the recalled topic, in the order of its partitions."""
    found = sorted(
        read_recalls(stage.bootstrap, stage.topics["recalled"]), key=lambda m: (m.partition(), m.offset())
    )
    return [(m.key().decode(), json.loads(m.value())) for m in found]


def test_a_lead_is_taken_back_once_its_number_is_opposed_or_its_consent_withdrawn(kafka, stages):
    """The most expensive call goes to a person who objected after the lead had left."""
    stage = stages(kafka.bootstrap, partitions=3)
    stage.judge_by(TO_EVERYBODY)
    stage.load("consent", NUMBERS[:200], "--kind", "allow")
    with stage.worker("w1") as worker, stage.recall("r1") as recall:
        send(stage, range(200))
        wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) == 200)
        stage.load("internal", NUMBERS[:20])
        wait_until(lambda: len(recalls(stage)) == 20)
        stage.load("consent", NUMBERS[:150], "--kind", "allow", "--allow-change")
        wait_until(lambda: len(recalls(stage)) == 70)
        assert recall.stop()[0] == 0 and worker.stop()[0] == 0
    found = recalls(stage)
    assert sorted(key for key, _ in found) == sorted(f"+{n}" for n in (*NUMBERS[:20], *NUMBERS[150:200]))
    assert all(key == each["number"] and each["kind"] == "recalled" for key, each in found)
    assert {each["reason"] for key, each in found if int(key[1:]) in NUMBERS[:20]} == {"opposed"}
    assert {each["reason"] for key, each in found if int(key[1:]) in NUMBERS[150:]} == {"no-consent"}


def recalled_once(stage, numbers):
    """Whether exactly these were recalled, each once."""
    found = [key for key, each in recalls(stage) if each["kind"] == "recalled"]
    assert len(found) == len(set(found)), "recalled twice"
    return sorted(found) == sorted(f"+{number}" for number in numbers)


def read_numbers(stage, *topics):
    """The numbers of the leads that were handed out."""
    for topic in topics or [stage.topics["allowed"]]:
        for message in read_all(stage.bootstrap, topic):
            yield int(json.loads(message.value())["scrub"]["number"][1:])


FIRST = 33_622_000_000
LATE = 100_000  # the first number of the late input comes so far behind; no test sends as many leads


class Leads(Load):
    """Leads, each of a number of its own."""

    first = 0

    def record(self, at):
        return b"k%d" % (at % 31), prospect(self.first + at, f"+{FIRST + self.first + at}")


class Objections(OptOuts):
    """Opt-outs and withdrawals by turns, each of another lead's number: some before it comes, most after."""

    def record(self, at):
        number = f"+{self.number(at)}"
        said = {"request": ("opt-out", "withdrawal")[at % 2], "number": number, "id": f"o{at}"}
        return number.encode(), json.dumps(said).encode()

    def number(self, at):
        return FIRST + at * 3 // 2 + LATE * (at % 4 == 3)

    @property
    def numbers(self):
        return {self.number(at) for at in range(self.sent)}


@pytest.mark.slow
def test_members_that_come_and_go_under_load_neither_miss_nor_repeat_a_recall(kafka, stages):
    """A crash or a deploy of ours would let a dialler call who objected, or take the same lead back twice."""
    scene = Scene(kafka.bootstrap, stages)
    with scene:
        for round_ in range(6):
            scene.go_on()
            leaving = scene.members[1:3] if round_ == 5 else [scene.members[1 + round_ % 2]]
            for each in leaving:
                if round_ % 3 == 2:
                    assert each.stop()[0] == 0
                else:
                    each.kill()
            for each in leaving:
                each.start()
        scene.finish()


class Scene:
    """A worker, two recall members and a publisher, under leads and objections. The inputs are a pattern, and the second
    input comes late."""

    def __init__(self, bootstrap, stages):
        unique = unique_name()
        self.bootstrap, self.inputs = bootstrap, [f"leads-{unique}.fr", f"leads-{unique}.late"]
        self.outputs = [f"{name}.{verdict}" for name in self.inputs for verdict in ("allowed", "blocked")]
        create(bootstrap, self.inputs[0])
        self.stage = stages(
            bootstrap,
            partitions=2,
            kafka__client__topic_metadata_refresh_interval_ms=500,
            topics__prospects=f"^leads-{unique}\\.[a-z]+$",
            topics__allowed="{input}.allowed",
            topics__blocked="{input}.blocked",
            **SOON,
        )
        self.stage.env["STREAM_SCRUB_LISTS__REQUESTS_GROUP"] = f"publisher-{self.stage.topics['log']}"
        self.stage.judge_by(TO_EVERYBODY)
        self.stage.load("consent", range(FIRST, FIRST + 2 * LATE), "--kind", "allow")

    def __enter__(self):
        stage = self.stage
        self.publisher = PublisherProcess(stage, None)
        self.members = [stage.worker("w1"), stage.recall("r1"), stage.recall("r2"), self.publisher]
        for each in self.members:
            each.start()
        recalls = self.members[1:3]
        wait_until(lambda: any(each.logged("partitions restored") for each in recalls))
        create(self.bootstrap, self.inputs[1])
        assert run(["topics"], self.stage.env).returncode == 0
        self.loads = [Leads(self.bootstrap, name, [], 80) for name in self.inputs]
        self.loads[1].first = LATE
        self.asking = Objections(self.bootstrap, self.stage.topics["requests"], 0, 40)
        for each in (*self.loads, self.asking):
            each.start()
        return self

    def __exit__(self, *_):
        for each in self.members:
            each.__exit__()

    def go_on(self):
        """Wait until more is recalled."""
        recalled = [self.stage.topics["recalled"]]
        before = ends(self.bootstrap, recalled)
        wait_until(lambda: ends(self.bootstrap, recalled) > before + 20, every=0.3)

    def finish(self):
        """Everybody who objected after their lead was handed out is recalled once, and nobody else."""
        sent = sum(each.finish() for each in self.loads)
        self.asking.finish()
        wait_until(
            lambda: (
                ends(self.bootstrap, self.outputs) >= sent and count(self.bootstrap, self.outputs) == sent
            ),
            every=1,
        )
        objected = set(read_numbers(self.stage, *self.outputs[::2])) & self.asking.numbers
        wait_until(lambda: recalled_once(self.stage, objected), every=1)
        assert all(each.stop()[0] == 0 for each in self.members)
        assert recalled_once(self.stage, objected)
        dialler = Recalls(scrubbing.rulebook(load(environ=self.stage.env)))
        for _, notice in recalls(self.stage):
            dialler.take(convert(notice, RecallNotice))
        for topic in self.outputs[::2]:
            for stamp in (stamp_on(None, each.value()) for each in read_all(self.bootstrap, topic)):
                is_over = int(stamp.number[1:]) in objected
                assert dialler.stop(stamp.number, stamp) == is_over, "a dialler misses a recall, or a lead"
        late = set(read_numbers(self.stage, self.outputs[2])) & objected
        assert late, "nothing of the late input was recalled: proves nothing"


def create(bootstrap, topic):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 2)])[topic].result()


@pytest.mark.slow
def test_what_happened_while_none_ran_is_made_good(kafka, stages):
    """Whoever objected during an outage of ours would be called."""
    stage = stages(kafka.bootstrap, partitions=2, **SOON)
    stage.judge_by(TO_EVERYBODY)
    stage.load("consent", NUMBERS, "--kind", "allow")
    with stage.worker("w1") as worker:
        send(stage, range(300))
        wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) == 300)
        with stage.recall("r1") as recall:
            wait_until(lambda: recall.logged("partitions restored"))
            stage.load("internal", NUMBERS[:10])
            wait_until(lambda: recalled_once(stage, NUMBERS[:10]))
            recall.kill()
            send(stage, range(300, 400))
            wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) == 400)
            stage.load("internal", NUMBERS[:30], "--allow-change")
            recall.start()
            wait_until(lambda: recalled_once(stage, NUMBERS[:30]))
            stage.load("internal", [*NUMBERS[:30], *NUMBERS[300:]], "--allow-change")
            wait_until(lambda: recalled_once(stage, [*NUMBERS[:30], *NUMBERS[300:]]))
            assert recall.stop()[0] == 0
        assert worker.stop()[0] == 0


@pytest.mark.slow
def test_a_lead_that_its_producer_dated_years_back_is_recalled_after_a_restart(kafka, stages):
    """A producer's wrong clock would keep the people of its leads from ever being taken back."""
    stage = stages(kafka.bootstrap, partitions=1, recall__keep_days=90, **SOON)
    stage.judge_by(TO_EVERYBODY)
    stage.load("consent", NUMBERS[:2], "--kind", "allow")
    with stage.worker("w1") as worker:
        producer = ordinary_producer(stage.bootstrap)
        for at, moment in enumerate((datetime(2001, 9, 9, tzinfo=UTC), datetime.now(UTC))):
            value, sent_ms = prospect(at, spell(NUMBERS[at], at)), int(moment.timestamp() * 1000)
            producer.produce(stage.topics["prospects"], value, b"k", timestamp=sent_ms)
        assert producer.flush(30) == 0
        wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) == 2)
        assert worker.stop()[0] == 0
    with stage.recall("r1") as recall:
        wait_until(lambda: recall.logged("partitions restored"))
        assert recall.stop()[0] == 0  # it has read them, and knows them no more
    with stage.recall("r2") as recall:
        wait_until(lambda: recall.logged("partitions restored"))
        stage.load("internal", NUMBERS[:2])
        wait_until(lambda: recalled_once(stage, NUMBERS[:2]))
        assert recall.stop()[0] == 0


@pytest.mark.slow
def test_a_member_whose_clock_is_days_behind_holds(kafka, stages):
    """Diallers would take its recalls for older than the verdicts that they take back, and call."""
    stage = stages(kafka.bootstrap, partitions=1)
    stage.judge_by(TO_EVERYBODY)
    stage.load("consent", NUMBERS[:2], "--kind", "allow")
    with stage.worker("w1") as worker:
        send(stage, range(2))
        wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) == 2)
        assert worker.stop()[0] == 0
    stage.load("internal", NUMBERS[:2])
    with stage.recall("r1", slow_clock=True) as recall:
        wait_until(lambda: recall.logged("holding: nothing is recalled", cause="clock"))
        assert recall.stop()[0] == 0
    assert recalls(stage) == []


@pytest.mark.slow
def test_another_log_takes_back_what_was_handed_out_by_the_first_and_resumes_no_list_that_it_lacks(
    kafka, stages
):
    """After a log was made anew, whoever objects would be called, and leads whose list is not on it yet."""
    stage = stages(kafka.bootstrap, partitions=2, **SOON)
    stage.judge_by(TO_EVERYBODY)
    old, today = (f"{datetime.now(UTC) - timedelta(days):%Y-%m-%d}" for days in (200, 0))
    stage.load("dncm", [32_470_100_000], "--effective-at", old)
    stage.load("consent", NUMBERS[:5], "--kind", "allow")
    with stage.worker("w1") as worker:
        send(stage, range(5))
        wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) == 5)
        assert worker.stop()[0] == 0
    with stage.recall("r1") as recall:
        wait_until(lambda: [each["kind"] for _, each in recalls(stage)] == ["suspended"])
        assert recall.stop()[0] == 0

    stage.env["STREAM_SCRUB_TOPICS__LOG"] = f"{stage.topics['log']}-anew"
    assert run(["topics", "--partitions", "2"], stage.env).returncode == 0
    stage.load("consent", NUMBERS[:5], "--kind", "allow")
    with stage.recall("r2") as recall:
        wait_until(lambda: recall.logged("partitions restored"))
        stage.load("internal", NUMBERS[:2])
        wait_until(lambda: recalled_once(stage, NUMBERS[:2]))
        assert "resumed" not in [each["kind"] for _, each in recalls(stage)]
        stage.load("dncm", [32_470_100_000], "--effective-at", today)
        wait_until(lambda: "resumed" in [each["kind"] for _, each in recalls(stage)])
        assert recall.stop()[0] == 0


@pytest.mark.slow
def test_leads_that_were_deleted_before_they_were_read_stop_a_recall(kafka, stages):
    """A member would go on as if nobody could be called whom it never saw."""
    stage = stages(kafka.bootstrap, partitions=1, **SOON)
    stage.judge_by(TO_EVERYBODY)
    stage.load("consent", NUMBERS, "--kind", "allow")
    with stage.worker("w1") as worker, stage.recall("r1") as recall:
        wait_until(lambda: recall.logged("partitions restored"))
        recall.kill()
        send(stage, range(50))
        wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) == 50)
        delete_before(stage, 20)
        recall.start()
        wait_until(lambda: recall.logged("holding", cause="leads-deleted"))
        assert recall.stop()[0] == 0 and worker.stop()[0] == 0


def delete_before(stage, offset):
    """Delete the allowed prospects before that offset, as retention would."""
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    (future,) = admin.delete_records([TopicPartition(stage.topics["allowed"], 0, offset)]).values()
    future.result()


@pytest.mark.slow
def test_an_operator_sees_what_is_outstanding_and_what_was_recalled_today(kafka, stages):
    """Nobody could say how many people may still be called, until when, or why leads were taken back today."""
    stage = stages(kafka.bootstrap, partitions=2, http__listen=LISTEN)
    stage.judge_by(TO_EVERYBODY)
    stage.load("consent", NUMBERS[:60], "--kind", "allow")
    with stage.worker("w1") as worker, stage.recall("r1") as recall, stage.recall("r2") as other:
        watch = json.dumps([f"127.0.0.1:{Watched(each).port}" for each in (recall, other, worker)])
        asked = ["status", "--set", f"http.watch={watch}"]
        send(stage, range(50))
        wait_until(lambda: count(stage.bootstrap, [stage.topics["allowed"]]) == 50)
        stage.load("internal", NUMBERS[:7])

        def shown():
            told = run_json(asked, stage.env)
            return sum(each["numbers"] for each in told["outstanding"]), told["recalled_today"]

        recalled = {"kind": "recalled", "reason": "opposed", "register": "internal", "count": 7}
        wait_until(lambda: shown() == (43, [recalled]), every=1)
        (row,) = run_json(asked, stage.env)["outstanding"]
        assert row["country"] == "FR" and row["last_day"] > f"{datetime.now(UTC):%Y-%m-%d}"
        other.kill()
        done = run(asked, stage.env)
        assert done.returncode == 1 and "did not answer" in done.stdout
        assert recall.stop()[0] == 0 and worker.stop()[0] == 0
    done = run(["status"], stage.env)
    assert done.returncode == 2 and "http.watch" in done.stderr

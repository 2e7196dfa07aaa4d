"""A synthetic opt-out goes through everything, on a real Kafka; a path that fails in silence is found."""

import json
import os
import signal
import subprocess
import sys

import pytest

from stream_scrub.dialler import Allowed
from stream_scrub.drill.main import DRAMA
from tests.support.fakes.web import Web
from tests.support.running.outcome import read_all
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.publisher import PublisherProcess
from tests.support.running.stage import Stage
from tests.support.running.watch import LISTEN, Watched
from tests.support.running.worker import run, run_json
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

FRENCH = french_mobiles(1, seed=7)[0]


@pytest.fixture
def stage(kafka, tmp_path):
    """With an input of its own for drills."""
    unique = tmp_path.name[-30:].replace("[", "").replace("]", "")
    names = [f"leads.{unique}", f"drill.{unique}"]
    made = Stage(
        kafka.bootstrap,
        tmp_path,
        2,
        topics__prospects=",".join(names),
        topics__allowed="{input}.allowed",
        topics__blocked="{input}.blocked",
        topics__drill=names[1],
        http__listen=LISTEN,
    )
    made.names = names
    try:
        yield made
    finally:
        made.close()


def drill(stage, publisher, watch, *more, **env):
    """What a drill says of its stations, and its exit code. On a busy machine it may take its time."""
    watched = json.dumps([f"127.0.0.1:{Watched(each).port}" for each in watch])
    asked = ["drill", "--contract", "--set", f"http.watch={watched}", "--json", *more]
    done = run(asked, publisher.env | env)
    assert done.returncode in (0, 1) and not done.stderr, done.stderr
    report = json.loads(done.stdout)
    return done.returncode, {each["station"]: each for each in report["stations"]}


def held(stage):
    """How many numbers may not be called."""
    registers = run_json(["lists", "status"], stage.env)["registers"]
    return sum(each["count"] for each in registers if each["register"] == "internal")


def test_an_opt_out_reaches_every_station_harms_nobody_and_is_gone_afterwards(stage):
    """Nobody would know that opt-outs get lost until somebody complains, or the drill itself would have somebody called."""
    stage.load("internal", [FRENCH + 1])
    with (
        PublisherProcess(stage, None) as publisher,
        stage.worker("w1") as worker,
        stage.recall("r1") as recall,
        Web(lambda _: (200, b"")) as gateway,
    ):
        wait_until(publisher.ready)
        wait_until(lambda: recall.logged("partitions restored"))
        push = ["--within", "60", "--push", gateway.url]
        code, stations = drill(stage, publisher, [worker, recall], *push)
        assert code == 0, stations
        assert list(stations) == [
            "lead allowed before",
            "request accepted",
            "log sealed",
            "index of recall r1",
            "index of worker w1",
            "lead blocked after",
            "number recalled",
            "opt-out lifted",
        ]
        assert held(stage) == 1, "the drill's number stayed opposed"
        (pushed,) = gateway.asked
        assert pushed.path.startswith("/metrics/job/stream_scrub_drill/drill/group-")
        assert b"stream_scrub_drill_success_timestamp_seconds" in pushed.body
        assert b',station="number recalled"}' in pushed.body

        leads = prospect(1, spell(FRENCH, 0))[:-1] + b',"contract":true}'
        produce(stage.bootstrap, stage.names[0], iter([(b"real", leads)]))
        settings = {"topics.prospects": ",".join(stage.names), "topics.drill": stage.names[1]}
        settings |= {"topics.allowed": "{input}.allowed", "topics.blocked": "{input}.blocked"}
        settings |= {f"topics.{role}": stage.topics[role] for role in ("log", "recalled")}
        settings |= {"kafka.bootstrap_servers": stage.bootstrap, "recall.keep_days": 10_000}
        with Allowed("dialler", settings=settings, start="beginning") as dialler:
            lead = next(dialler)
        assert lead.key == b"real" and lead.topic == f"{stage.names[0]}.allowed"
        drilled = list(read_all(stage.bootstrap, f"{stage.names[1]}.allowed"))
        assert drilled, "the drill's lead was not where a dialler could have met it: proves nothing"
        first, count = DRAMA["FR"]
        numbers = [json.loads(each.value())["phone"] for each in drilled]
        assert all(first <= int(number[1:]) < first + count for number in numbers)
        assert recall.stop()[0] == 0 and worker.stop()[0] == 0 and publisher.stop()[0] == 0


def test_a_recall_or_a_publisher_that_does_nothing_fails_the_drill(stage):
    """A silent failure of the opt-out path would be found by a regulator."""
    stage.load("internal", [FRENCH + 1])
    with (
        PublisherProcess(stage, None) as publisher,
        stage.worker("w1") as worker,
        Web(lambda _: (200, b"")) as gateway,
    ):
        wait_until(publisher.ready)
        wait_until(lambda: worker.logged("partitions assigned"))
        code, stations = drill(stage, publisher, [worker], "--within", "40", "--push", gateway.url)
        assert code == 1
        missed = [name for name, each in stations.items() if not each["in_time"]]
        assert missed == ["number recalled"] and "no recall" in stations["number recalled"]["why"]
        (pushed,) = gateway.asked
        assert b"success" not in pushed.body
        assert b"stream_scrub_drill_end_timestamp_seconds" in pushed.body
        assert held(stage) == 1, "the drill's number stayed opposed"

        publisher.kill()
        code, stations = drill(stage, publisher, [worker], "--within", "5")
        assert (
            code == 1 and not stations["log sealed"]["in_time"] and not stations["opt-out lifted"]["in_time"]
        )

        code, stations = drill(stage, publisher, [worker], "--region", "GB", "--within", "40")
        assert code == 1 and list(stations) == ["lead allowed before"]
        assert "blocked as stale-register" in stations["lead allowed before"]["why"]


def test_a_system_that_was_not_told_fails_the_drill(stage):
    """A target that is told nothing any more would be found by the person whom it calls."""
    stage.load("internal", [FRENCH + 1])
    folder = {"connector": "folder", "lists": {"internal": "all"}, "settings": {"path": str(stage.folder)}}
    targets = {"files": folder, "silent": folder, "of-a-list": folder | {"lists": {"dncm": "all"}}}
    env = {"STREAM_SCRUB_FANOUT__TARGETS": json.dumps(targets)}
    with (
        PublisherProcess(stage, None) as publisher,
        stage.worker("w1") as worker,
        stage.recall("r1") as recall,
        stage.fanout({"files": folder}) as fanout,
    ):
        wait_until(publisher.ready)
        wait_until(lambda: recall.logged("partitions restored") and fanout.logged("fan-out started"))
        wait_until(lambda: worker.logged("partitions assigned"))
        code, stations = drill(stage, publisher, [worker], "--within", "40", **env)
    missed = {name: each["why"] for name, each in stations.items() if not each["in_time"]}
    assert code == 1 and missed == {"receipt of silent": "no receipt came"}
    assert "receipt of files" in stations and "receipt of of-a-list" not in stations


def test_a_drill_that_is_stopped_lifts_its_opt_out_and_the_next_one_that_of_a_killed_one(stage):
    """Each drill that takes too long for its job would leave a number opposed, until its region has none left."""
    stage.load("internal", [FRENCH + 1])
    with PublisherProcess(stage, None) as publisher, stage.worker("w1") as worker:
        wait_until(publisher.ready)
        wait_until(lambda: worker.logged("partitions assigned"))
        command = [sys.executable, "-m", "stream_scrub", "drill", "--contract", "--within", "120"]
        for stopped, code, left in (
            (signal.SIGTERM, 128 + signal.SIGTERM, 1),
            (signal.SIGKILL, -signal.SIGKILL, 2),
        ):
            env = os.environ | publisher.env
            with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
                wait_until(lambda: held(stage) == 2)  # no recall runs: the drill waits for it
                process.send_signal(stopped)
                assert process.wait() == code
            assert held(stage) == left
        with stage.recall("r1") as recall:
            wait_until(lambda: recall.logged("partitions restored"))
            code, stations = drill(stage, publisher, [worker, recall], "--within", "60")
        assert code == 0 and next(iter(stations)) == "earlier opt-out lifted", stations
        assert held(stage) == 1, "the killed drill's number stayed opposed"


def test_a_drill_without_its_topic_or_of_a_country_without_such_numbers_says_so(stage):
    """An operator would drill on the topic that the diallers read, or have a real person opted out."""
    done = run(["drill", "--set", "topics.drill="], stage.env)
    assert done.returncode == 2 and "topics.drill" in done.stderr
    done = run(["drill", "--region", "IT"], stage.env)
    assert done.returncode == 2 and "FR, GB, DE, US" in done.stderr
    shared = ["--set", "topics.allowed=all.allowed"]
    done = run(["drill", *shared], stage.env)
    assert done.returncode == 2 and "topics.drill" in done.stderr and "should fit" in done.stderr

"""`lists renew` and `lists remove` on a real Kafka, while others publish, stand still, or are left behind, and killed."""

import json
import signal
import subprocess

import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from stream_scrub.kafka.client.producer_calls import id_of_publisher
from tests.kafka.broker import free_ports
from tests.support.network.proxy import Api, matching
from tests.support.running import forked
from tests.support.running.outcome import read_all
from tests.support.running.prospects import produce, prospect
from tests.support.running.publisher import PublisherProcess, lag
from tests.support.running.server import ServerProcess
from tests.support.running.stage import TO_EVERYBODY
from tests.support.running.worker import SCRIPT, run, run_json
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

N, M, K = 33612345678, 33612345679, 33612345680
WHO_OPT_OUT = range(33612346000, 33612346003)
GROUP = "STREAM_SCRUB_LISTS__REQUESTS_GROUP"


@pytest.fixture
def stage(before_proxy, stages):
    """Everybody has consented, and one has opposed."""
    made = stages(before_proxy.bootstrap, partitions=1)
    made.judge_by(TO_EVERYBODY)
    made.env = made.env | {GROUP: f"publisher-{made.topics['log']}"}
    made.load("consent", [N, M, K], "--kind", "allow")
    made.load("partner", [K])
    return made


def counts(env):
    """How many numbers each register holds."""
    return {each["register"]: each["count"] for each in run_json(["lists", "status"], env)["registers"]}


def new_log(stage):
    """The new log's name, and how the commands see it."""
    topic = f"{stage.topics['log']}.2027"
    return topic, stage.env | {"STREAM_SCRUB_TOPICS__LOG": topic}


def renewal(topic, cut):
    return ["lists", "renew", topic, "--cut", str(cut)]


def importing_of(file):
    return ["lists", "import", str(file), "--register", "partner", "--adds", "--register-unknown"]


def started(stage, proxy, *arguments):
    """A command that reaches the brokers through the proxy."""
    env = stage.env | {
        name: value
        for name, value in stage.env_of(proxy.bootstrap).items()
        if name.endswith("BOOTSTRAP_SERVERS")
    }
    return forked.Popen(
        [SCRIPT, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_nothing_lies_behind_an_open_transaction_and_nobody_goes_on_by_the_old_log(stage, tmp_path, proxy):
    """An opt-out behind somebody's open transaction would be lost with the old log, and a publisher or a worker that
    was left on it would take the next ones there, or not know of them."""
    topic, env = new_log(stage)
    hold = proxy.hold(matching(Api.END_TXN, of=id_of_publisher(stage.topics["log"], "partner")))
    with PublisherProcess(stage, None) as publisher, stage.worker("w1") as worker:
        wait_until(publisher.ready)
        file = stage.list_file([N], "more.txt")
        importing = started(stage, proxy, *importing_of(file))
        hold.wait()
        said = {"request": "opt-out", "number": f"+{N}"}
        produce(stage.bootstrap, stage.topics["requests"], [(b"k", json.dumps(said).encode())])
        wait_until(lambda: lag(publisher) == 0)
        publisher.send(signal.SIGSTOP)

        done = run(renewal(topic, tmp_path / "cut.json"), stage.env)

        assert done.returncode == 0, done.stdout + done.stderr
        assert counts(env) == {"internal": 1, "consent": 3, "partner": 1} == counts(stage.env)
        hold.release()
        importing.communicate()
        assert importing.returncode != 0, "it is fenced"
        publisher.send(signal.SIGCONT)
        wait_until(lambda: not publisher.alive)
        assert "was renewed as" in publisher.lines()[-1]["why"]
        wait_until(lambda: worker.logged("holding", cause="log-moved"))
        produce(stage.bootstrap, stage.topics["prospects"], [(b"k", prospect(1, f"+{M}"))])
        late = run(importing_of(file), stage.env)
        asked = run(["check", f"+{M}"], stage.env)
        assert not [each for name in stage.outputs for each in read_all(stage.bootstrap, name)]
    assert late.returncode == asked.returncode == 1
    assert all(f"renewed as {topic}" in each.stdout + each.stderr for each in (late, asked))


def test_the_first_list_of_an_unnamed_register_is_not_lost_with_the_old_log(stage, tmp_path, proxy):
    """A partner's list that somebody was told is published would be on a log that nobody reads and that is deleted."""
    topic, env = new_log(stage)
    hold = proxy.hold(matching(Api.ADD_PARTITIONS_TO_TXN, of=id_of_publisher(stage.topics["log"], "tps2")))
    file = stage.list_file([M], "more.txt")
    importing = started(
        stage, proxy, "lists", "import", str(file), "--register", "tps2", "--register-unknown"
    )
    hold.wait()
    renewed = run(renewal(topic, tmp_path / "cut.json"), stage.env)
    hold.release()
    said, _ = importing.communicate()

    assert (renewed.returncode, importing.returncode) == (0, 1), renewed.stdout + renewed.stderr + said
    # Where the renewal takes longer than the list's transaction may, its end is unknown.
    assert f"set topics.log to {topic}. The list came too late for this log" in said or "is unknown" in said
    again = run(["lists", "import", str(file), "--register", "tps2", "--register-unknown"], env)
    assert again.returncode == 0, again.stdout + again.stderr
    assert counts(env)["tps2"] == 1


def mark_of(log, skip=0):
    """The commit of a mark on a log, after `skip` others."""
    return matching(Api.END_TXN, of=id_of_publisher(log, "rules"), commits=True), skip


def stating(register):
    return lambda _, new: (matching(Api.END_TXN, of=id_of_publisher(new, register), commits=True), 0)


# Requests by which a renewal writes something, or that follow a write, in their order, by the names of the old log and the
# new one.
STEPS = {
    "the new topic": lambda *_: (matching(Api.CREATE_TOPICS), 0),
    "the proof's file": lambda _, new: (matching(Api.INIT_PRODUCER_ID, of=id_of_publisher(new, "rules")), 0),
    "the new log's mark": lambda _, new: mark_of(new),
    "the oppositions": stating("internal"),
    "the consents": stating("consent"),
    "the old log's mark": lambda old, _: mark_of(old),
    "the requests' note": lambda *_: (matching(Api.OFFSET_COMMIT), 0),
    "the end of the new log's mark": lambda _, new: mark_of(new, 1),
    "the rules": lambda _, new: mark_of(new, 2),
}


def kill_at(hold, stage, proxy, *arguments):
    """Kill a command at a request of it that is held, and is then lost."""
    running = started(stage, proxy, *arguments)
    wait_until(lambda: hold.arrived or running.poll() is not None, every=0.01)
    running.kill()
    said, _ = running.communicate()
    assert hold.arrived, f"no such request: proves nothing. It said: {said}"
    proxy.cut_all()
    hold.forsake()
    proxy.heal()


def verdict(env, number):
    """What a check says of a number, or why there is no verdict."""
    asked = run(["check", f"+{number}", "--json"], env)
    return json.loads(asked.stdout)["verdict"] if asked.returncode == 0 else asked.stderr


class Renewing:
    """A renewal that is killed again and again, while people opt out."""

    def __init__(self, stage, proxy, folder) -> None:
        self.stage, self.proxy = stage, proxy
        self.topic, self.env = new_log(stage)
        self.cut = folder / "cut.json"
        self.opposed: list[int] = []
        stage.load("consent", WHO_OPT_OUT, "--kind", "allow", "--adds", "--allow-change")
        ports = free_ports(2)
        self.old_server = ServerProcess(stage, f"127.0.0.1:{ports[0]}", "old")
        self.new_server = ServerProcess(stage, f"127.0.0.1:{ports[1]}", "new", topics__log=self.topic)
        new_group = f"new-{stage.topics['prospects']}"
        self.worker = stage.worker("w2", topics__log=self.topic, worker__group_id=new_group)

    def opt_out(self) -> None:
        """Somebody opts out, and the old log's publisher takes it as long as it may."""
        number = WHO_OPT_OUT[len(self.opposed)]
        self.opposed.append(number)
        said = {"request": "opt-out", "number": f"+{number}"}
        produce(self.stage.bootstrap, self.stage.topics["requests"], [(b"k", json.dumps(said).encode())])
        with PublisherProcess(self.stage, None, f"publisher {len(self.opposed)}") as publisher:
            wait_until(lambda: not publisher.alive or (publisher.ready() and lag(publisher) == 0))
            assert publisher.stop()[0] == 0 or "was renewed as" in publisher.lines()[-1]["why"]
        wait_until(lambda: answer(self.old_server, number) != "allowed")
        produce(self.stage.bootstrap, self.stage.topics["prospects"], [(b"k", prospect(1, f"+{number}"))])

    def kill_at(self, step) -> None:
        """Kill it before it writes this. What it wrote last is applied, so that no state is left out."""
        matches, skip = STEPS[step](self.stage.topics["log"], self.topic)
        hold = self.proxy.hold(matches, skip=skip)
        kill_at(hold, self.stage, self.proxy, *renewal(self.topic, self.cut))
        lost = hold.request.transactional_id
        if self.topic in lost:
            for number in self.opposed:
                assert answer(self.new_server, number) != "allowed"
            # The broker ends the transaction after a minute. That of the old log stays open for the next run.
            Producer({"bootstrap.servers": self.stage.bootstrap, "transactional.id": lost}).init_transactions(
                60
            )

    def none_is_allowed(self) -> None:
        """Nobody who opted out may be called, by either log, a server or a worker."""
        assert verdict(self.env, self.opposed[-1]) != "allowed"
        for number in self.opposed:
            assert answer(self.old_server, number) != "allowed"
            assert answer(self.new_server, number) != "allowed"
        assert not [*read_all(self.stage.bootstrap, self.stage.topics["allowed"])]

    def clear(self) -> bool:
        """Do as docs/privacy.md says after an interruption. False if the new log is whole."""
        verified = run(["lists", "verify"], self.env)
        if "not put this log together" in verified.stdout + verified.stderr:
            admin = AdminClient({"bootstrap.servers": self.stage.bootstrap})
            admin.delete_topics([self.topic])[self.topic].result()
            wait_until(lambda: self.topic not in admin.list_topics(timeout=60).topics)
            self.cut.unlink()
        elif verified.returncode == 0 and counts(self.env):
            return False
        elif self.cut.exists():
            self.cut = self.cut.with_name(f"another-{self.cut.name}")
        return True

    def finish(self) -> None:
        """Renew the log, unless it is whole, and go on by the new one."""
        if self.clear():
            done = run(renewal(self.topic, self.cut), self.stage.env)
            assert done.returncode == 0, done.stdout + done.stderr
        with PublisherProcess(self.stage, None, "new publisher", topics__log=self.topic) as publisher:
            wait_until(publisher.ready)
            wait_until(lambda: counts(self.env).get("internal") == len(self.opposed))
            assert publisher.stop()[0] == 0
        assert counts(self.env) == {"internal": len(self.opposed), "consent": 6, "partner": 1}
        assert run_json(["rules", "publish"], self.env)["added"] == []
        for env in (self.env, self.stage.env):
            verified = run(["lists", "verify"], env)
            assert verified.returncode == 0, verified.stdout + verified.stderr
        for process in (self.new_server, self.worker):
            process.kill()
            process.start()
        produce(self.stage.bootstrap, self.stage.topics["prospects"], [(b"k", prospect(1, f"+{M}"))])
        wait_until(lambda: answer(self.new_server, M) == "allowed")
        wait_until(lambda: [*read_all(self.stage.bootstrap, self.stage.topics["allowed"])])


def answer(server, number):
    """What a server says of a number: a verdict, or why there is none."""
    try:
        asked = httpx.post(f"{server.url}/v1/check", json={"number": f"+{number}"}, timeout=60)
    except httpx.TransportError as error:  # it has not begun, or ended
        return str(error)
    return asked.json()["verdict"] if asked.status_code == 200 else asked.text


def test_a_renewal_that_is_killed_at_each_step_is_finished_by_another(stage, tmp_path, proxy):
    """A crash in the yearly renewal would leave no log that can be used, lose an opt-out, or have its person called."""
    scene = Renewing(stage, proxy, tmp_path)
    with scene.old_server, scene.new_server:
        wait_until(lambda: answer(scene.old_server, M) == "allowed")
        scene.opt_out()
        for step in STEPS:
            scene.kill_at(step)
            scene.none_is_allowed()
            if step == "the new log's mark":
                scene.worker.start()
            if step in ("the oppositions", "the requests' note"):
                scene.opt_out()
                scene.none_is_allowed()
            assert scene.clear() == (step != "the rules")
        scene.finish()
        leads = [*read_all(stage.bootstrap, stage.topics["allowed"])]
        assert [json.loads(lead.value())["scrub"]["number"] for lead in leads] == [f"+{M}"]
        for number in scene.opposed:
            assert answer(scene.new_server, number) == "blocked" == verdict(scene.env, number)


def test_a_removal_that_is_killed_is_ended_by_another(stage, proxy):
    """A register would be left half removed, or the log be corrupt for whoever follows it."""
    hold = proxy.hold(matching(Api.END_TXN, of=id_of_publisher(stage.topics["log"], "partner"), commits=True))
    with stage.worker("w1") as worker:
        wait_until(lambda: worker.logged("partitions assigned"))
        kill_at(hold, stage, proxy, "lists", "remove", "partner")
        again = run(["lists", "remove", "partner"], stage.env)
        assert again.returncode == 0, again.stdout + again.stderr
        produce(stage.bootstrap, stage.topics["prospects"], [(b"k", prospect(1, f"+{M}"))])
        wait_until(lambda: len([*read_all(stage.bootstrap, stage.topics["allowed"])]) == 1)
    assert run(["lists", "verify"], stage.env).returncode == 0
    assert counts(stage.env) == {"consent": 3}
    stage.load("partner", [K])
    assert counts(stage.env) == {"consent": 3, "partner": 1}

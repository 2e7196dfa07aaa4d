"""`lists renew` on a real Kafka, while others publish, stand still, or are left behind."""

import json
import signal
import subprocess

import pytest

from stream_scrub.kafka.client.transactional_ids import of_publisher
from tests.chaos.test_publisher import lag
from tests.support.network.proxy import Api, matching
from tests.support.running.outcome import read_all
from tests.support.running.prospects import produce, prospect
from tests.support.running.publisher import PublisherProcess
from tests.support.running.stage import TO_EVERYBODY
from tests.support.running.worker import SCRIPT, run, run_json, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

N, M, K = 33612345678, 33612345679, 33612345680
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
    return ["lists", "import", str(file), "--register", "partner", "--adds"]


def started(stage, proxy, *arguments):
    """A command that reaches the brokers through the proxy."""
    env = stage.env | {
        name: value
        for name, value in stage.env_of(proxy.bootstrap).items()
        if name.endswith("BOOTSTRAP_SERVERS")
    }
    return subprocess.Popen(
        [SCRIPT, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_nothing_lies_behind_an_open_transaction_and_nobody_goes_on_by_the_old_log(stage, tmp_path, proxy):
    """An opt-out behind somebody's open transaction would be lost with the old log, and a publisher or a worker that
    was left on it would take the next ones there, or not know of them."""
    topic, env = new_log(stage)
    hold = proxy.hold(matching(Api.END_TXN, of=of_publisher(stage.topics["log"], "partner")))
    with PublisherProcess(stage, None) as publisher, stage.worker("w1") as worker:
        wait_until(publisher.ready, 60)
        file = stage.list_file([N], "more.txt")
        importing = started(stage, proxy, *importing_of(file))
        hold.wait(60)
        said = {"request": "opt-out", "number": f"+{N}"}
        produce(stage.bootstrap, stage.topics["requests"], [(b"k", json.dumps(said).encode())])
        wait_until(lambda: lag(stage, publisher) == 0, 60)
        publisher.send(signal.SIGSTOP)

        done = run(renewal(topic, tmp_path / "cut.json"), stage.env)

        assert done.returncode == 0, done.stdout + done.stderr
        assert counts(env) == {"internal": 1, "consent": 3, "partner": 1} == counts(stage.env)
        hold.release()
        importing.communicate(timeout=60)
        assert importing.returncode != 0, "it is fenced"
        publisher.send(signal.SIGCONT)
        wait_until(lambda: not publisher.alive, 60)
        assert "was renewed as" in publisher.lines()[-1]["why"]
        wait_until(lambda: worker.logged("holding", cause="log-moved"), 60)
        produce(stage.bootstrap, stage.topics["prospects"], [(b"k", prospect(1, f"+{M}"))])
        late = run(importing_of(file), stage.env)
        asked = run(["check", f"+{M}"], stage.env)
        assert not [each for name in stage.outputs for each in read_all(stage.bootstrap, name)]
    assert late.returncode == asked.returncode == 1
    assert all(f"renewed as {topic}" in each.stdout + each.stderr for each in (late, asked))


def test_nobody_uses_a_new_log_that_is_half_made(stage, tmp_path, proxy):
    """A publisher would number its deltas a second time on it, and a check allow whose opposition is not on it yet."""
    topic, env = new_log(stage)
    cut = tmp_path / "cut.json"
    hold = proxy.hold(matching(Api.INIT_PRODUCER_ID, of=of_publisher(topic, "partner")))
    renewing = started(stage, proxy, *renewal(topic, cut))
    hold.wait(60)
    renewing.send_signal(signal.SIGSTOP)  # else it asks again, and finishes, where these take long
    publishing = run(["lists", "publish"], env)
    checked = run(["check", f"+{K}"], env)
    verified = run(["lists", "verify"], env)
    renewing.kill()
    renewing.communicate(timeout=60)
    hold.release()

    for done in (publishing, checked, verified):
        assert done.returncode != 0 and "not put this log together" in done.stdout + done.stderr
    again = run(renewal(topic, cut), stage.env)
    assert again.returncode == 2 and "renewal that was cut off" in again.stderr
    again = run(renewal(topic, tmp_path / "other.json"), stage.env)
    assert again.returncode == 1 and f"If it was: delete {topic} and" in again.stderr
    late = run(importing_of(stage.list_file([M])), stage.env)
    assert late.returncode == 0, "the old log goes on"

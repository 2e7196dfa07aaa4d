"""`lists renew` on a real Kafka, while others publish, stand still, or are left behind."""

import json
import signal
import subprocess

import pytest

from stream_scrub.kafka.client.producer_calls import id_of_publisher
from tests.support.network.proxy import Api, matching
from tests.support.running import forked
from tests.support.running.outcome import read_all
from tests.support.running.prospects import produce, prospect
from tests.support.running.publisher import PublisherProcess, drop, lag
from tests.support.running.stage import TO_EVERYBODY
from tests.support.running.worker import SCRIPT, run, run_json, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

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


def test_nobody_uses_a_new_log_that_is_half_made(stage, tmp_path, proxy):
    """A publisher would number its deltas a second time on it, and a check allow whose opposition is not on it yet."""
    topic, env = new_log(stage)
    cut = tmp_path / "cut.json"
    hold = proxy.hold(matching(Api.INIT_PRODUCER_ID, of=id_of_publisher(topic, "partner")))
    renewing = started(stage, proxy, *renewal(topic, cut))
    hold.wait()
    renewing.send_signal(signal.SIGSTOP)  # else it asks again, and finishes, where these take long
    publishing = run(["lists", "publish"], env)
    checked = run(["check", f"+{K}"], env)
    verified = run(["lists", "verify"], env)
    renewing.kill()
    renewing.communicate()
    hold.release()

    for done in (publishing, checked, verified):
        assert done.returncode != 0 and "not put this log together" in done.stdout + done.stderr
    again = run(renewal(topic, cut), stage.env)
    assert again.returncode == 2 and "renewal that was cut off" in again.stderr
    again = run(renewal(topic, tmp_path / "other.json"), stage.env)
    assert again.returncode == 1 and f"If it was: delete {topic} and" in again.stderr
    late = run(importing_of(stage.list_file([M])), stage.env)
    assert late.returncode == 0, "the old log goes on"


@pytest.mark.parametrize("api", [Api.ADD_PARTITIONS_TO_TXN, Api.END_TXN])
def test_the_first_list_of_an_unnamed_register_is_not_lost_with_the_old_log(stage, tmp_path, proxy, api):
    """A partner's list that somebody was told is published would be on a log that nobody reads and that is deleted."""
    topic, env = new_log(stage)
    hold = proxy.hold(matching(api, of=id_of_publisher(stage.topics["log"], "tps2")))
    file = stage.list_file([M], "more.txt")
    importing = started(
        stage, proxy, "lists", "import", str(file), "--register", "tps2", "--register-unknown"
    )
    hold.wait()
    renewed = run(renewal(topic, tmp_path / "cut.json"), stage.env)
    hold.release()
    said, _ = importing.communicate()

    counting = env if renewed.returncode == 0 else stage.env
    if api == Api.ADD_PARTITIONS_TO_TXN:
        assert (renewed.returncode, importing.returncode) == (0, 1), renewed.stdout + renewed.stderr + said
        # Where the renewal takes longer than the list's transaction may, its end is unknown.
        assert (
            f"set topics.log to {topic}. The list came too late for this log" in said or "is unknown" in said
        )
    if importing.returncode != 0:
        again = run(["lists", "import", str(file), "--register", "tps2", "--register-unknown"], counting)
        assert again.returncode == 0, again.stdout + again.stderr
    assert counts(counting)["tps2"] == 1


def test_a_dropped_list_of_an_unnamed_register_is_not_lost_with_the_old_log(stage, tmp_path, proxy):
    """The same by a publisher that stood still while the log was renewed: the file would be called published."""
    topic, env = new_log(stage)
    folder = tmp_path / "drop"
    folder.mkdir()
    hold = proxy.hold(matching(Api.ADD_PARTITIONS_TO_TXN, of=id_of_publisher(stage.topics["log"], "tps2")))
    with PublisherProcess(stage, folder, client=proxy.bootstrap) as publisher:
        wait_until(publisher.ready)
        drop(folder, "tps2/allow-change", "list.txt", [M])
        hold.wait()
        publisher.send(signal.SIGSTOP)
        renewed = run(renewal(topic, tmp_path / "cut.json"), stage.env)
        assert renewed.returncode == 0, renewed.stdout + renewed.stderr
        hold.release()
        publisher.send(signal.SIGCONT)
        wait_until(lambda: not publisher.alive)
        assert "was renewed as" in publisher.lines()[-1]["why"]
    assert not publisher.logged("file published")
    left = [each for each in folder.rglob("list.txt*") if each.is_file() and "done" not in each.parts]
    assert left and "tps2" not in counts(env)

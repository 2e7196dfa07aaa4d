"""docs/privacy.md: a log that is begun anew opposes and allows whom the old one did, and holds nobody's requests."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from confluent_kafka import Producer

from tests.support.running.clients import properties
from tests.support.running.publisher import PublisherProcess
from tests.support.running.stage import Stage
from tests.support.running.worker import run, run_json
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

OPPOSED, CONSENTING, OVER, LISTED = 33612345678, 33612345679, 33612345680, 12125550123
OWN, CONSENTS = "internal", "consent@acme+insurance"
DAY = ("--effective-at", "2026-11-20")


def told_by(env):
    """What a log's registers hold, by their names."""
    found = run_json(["lists", "status"], env)["registers"]
    return {each["register"]: (each["kind"], each["count"], each["effective_at"]) for each in found}


def entries_of(folder, env):
    """Every number of every register, with its end."""
    folder.mkdir()
    assert run(["lists", "export", "--into", str(folder)], env).returncode == 0
    lines = [
        (path.name, json.loads(line)) for path in folder.iterdir() for line in path.read_text().splitlines()
    ]
    return sorted((name, each["number"], each.get("expires_at")) for name, each in lines if "number" in each)


def produce_in_transaction(stage, topic, value):
    """A record as an outbox writes it: behind it stands the transaction's marker, at an offset of its own."""
    producer = Producer(properties(stage.bootstrap) | {"transactional.id": f"crm-{topic}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, value)
    producer.commit_transaction(30)


@pytest.fixture(scope="module")
def stage(kafka, tmp_path_factory):
    """A log with an opposition, areas of a list, and consents that end."""
    tmp_path = tmp_path_factory.mktemp("log")
    made = Stage(kafka.bootstrap, tmp_path, partitions=1)
    made.load(OWN, [OPPOSED])
    made.load("us-dnc", [LISTED], "--region", "US", "--areas", "212", *DAY)
    consents = tmp_path / "consents.csv"
    given = datetime.now(UTC).date()
    ends = [given + timedelta(days=days) for days in (200, 100)]
    consents.write_text(
        f"phone,consented_on,until\n+{CONSENTING},{given},{ends[0]}\n+{OVER},{given},{ends[1]}\n"
    )
    run_json(["lists", "import", str(consents), "--register", CONSENTS, "--kind", "allow"], made.env)
    yield made
    made.close()


def renewed(stage, cut, *more):
    """`lists renew` onto a topic of another name, and how the commands see that one."""
    topic = f"{stage.topics['log']}.2027"
    done = run(["lists", "renew", topic, "--cut", str(cut), *more, "--json"], stage.env)
    return done, stage.env | {"STREAM_SCRUB_TOPICS__LOG": topic}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--without", f"{OWN}=FILE"), "is no register of consents"),
        (("--without", OWN), "write REGISTER=FILE"),
        (("--without", f"+{OPPOSED}"), "write REGISTER=FILE"),
        (("--cut", "FILE"), "exists already"),
    ],
)
def test_what_must_not_be_left_out_or_written_over_is_refused(stage, tmp_path, more, said):
    """An opposition would be gone with the cut, or the only proof of the log before be written over."""
    file = tmp_path / "numbers.txt"
    file.write_text(f"+{OPPOSED}\n")
    done, env = renewed(stage, tmp_path / "cut.json", *(each.replace("FILE", str(file)) for each in more))
    assert done.returncode == 2 and said in done.stderr and str(OPPOSED) not in done.stderr
    assert file.read_text() == f"+{OPPOSED}\n" and not (tmp_path / "cut.json").exists()
    assert run(["lists", "status"], env).returncode != 0, "there is no new log"


@pytest.mark.slow
def test_a_log_begun_anew_holds_the_registers_and_no_requests(stage, tmp_path):
    """Who opposed would be called after the yearly cut, or whose proof was to be erased be on the new log."""
    request = {"number": "+33612345699", "request": "opt-out", "source": "a person by name"}
    produce_in_transaction(stage, stage.topics["requests"], json.dumps(request).encode())
    with PublisherProcess(stage, None) as publisher:
        wait_until(lambda: told_by(stage.env)[OWN][1] == 2)
        refused, _ = renewed(stage, tmp_path / "early.json")
        assert refused.returncode == 1 and "is the live publisher of" in refused.stderr
        assert publisher.stop()[0] == 0
    before, old = entries_of(tmp_path / "before", stage.env), told_by(stage.env)
    over = tmp_path / "over.txt"
    over.write_text(f"+{OVER}\n")

    cut = tmp_path / "cut.json"
    done, env = renewed(stage, cut, "--without", f"{CONSENTS}={over}")

    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["cut_sha256"] == sha256(cut.read_bytes()).hexdigest()
    assert run(["lists", "verify", "--against", str(cut)], stage.env).returncode == 0
    assert run(["lists", "verify"], env).returncode == 0
    left = [each for each in before if each[1] != f"+{OVER}"]
    assert len(before) == len(left) + 1 and entries_of(tmp_path / "after", env) == left
    assert told_by(env) == {**old, CONSENTS: (*old[CONSENTS][:1], 1, old[CONSENTS][2])}
    history = run_json(["lists", "history", "+33612345699"], env)
    assert "a person by name" not in json.dumps(history) and history["events"]
    again, _ = renewed(stage, tmp_path / "again.json")
    assert again.returncode == 1 and "holds registers already" in again.stderr

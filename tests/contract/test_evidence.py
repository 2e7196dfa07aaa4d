"""The commands of evidence on a real Kafka, as a compliance officer types them: one story, from lists to proof."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from confluent_kafka import Producer

from tests.kafka.broker import Kafka
from tests.support.running import forked
from tests.support.running.outcome import count, ends, read_all
from tests.support.running.prospects import produce, prospect
from tests.support.running.stage import Stage
from tests.support.running.worker import SCRIPT, run, run_json
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

CONSENTING, OPPOSED = 33612345678, 33611111111
LEADS = [
    prospect(1, "06 12 34 56 78"),
    prospect(2, f"+{OPPOSED}"),
    prospect(3, ["0612345678", "0611111111", "x"]),
    b'{"phone":"0612345678","phone":"0611111111"}',
]

OWN_RULE = """country = "IM"
regions = ["IM"]
timezone = "Europe/Isle_of_Man"
[[rule]]
from = 2020-01-01
source = "a rule of the tests"
deny = ["internal"]
"""


@dataclass
class Delivered:
    """The broker, the stage, the emitted prospects by verdict, the folders of the worker's snapshot and of rules that the imports
    did not know, and what the worker logged."""

    broker: Kafka
    stage: Stage
    emitted: dict[str, list]
    state: str
    rules: str
    logged: list[dict]


@pytest.fixture(scope="module")
def told(_module_kafka, tmp_path_factory) -> Iterator[Delivered]:
    """Two lists, a worker that has judged four prospects, and then a list that changes everything."""
    kafka, folder = _module_kafka, tmp_path_factory.mktemp("evidence")
    state, rules = folder / "state", folder / "rules"
    rules.mkdir()
    (rules / "im.toml").write_text(OWN_RULE)
    stage = Stage(kafka.bootstrap, folder, partitions=1, worker__state_dir=state)
    stage.load("internal", [OPPOSED])
    stage.load("consent", [CONSENTING, OPPOSED], "--kind", "allow")
    produce(kafka.bootstrap, stage.topics["prospects"], ((b"k", lead) for lead in LEADS))
    with stage.worker("w1", rules__folder=rules) as worker:
        wait_until(lambda: ends(kafka.bootstrap, stage.outputs) >= len(LEADS))
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) >= len(LEADS))
        assert worker.stop()[0] == 0
    stage.load("consent", [OPPOSED], "--allow-change")
    emitted = {role: list(read_all(kafka.bootstrap, stage.topics[role])) for role in ("allowed", "blocked")}
    yield Delivered(kafka, stage, emitted, str(state), str(rules), worker.lines())
    stage.close()


def stamp_of(message) -> dict:
    header = dict(message.headers() or []).get("scrub")
    return json.loads(header) if header else json.loads(message.value())["scrub"]


def test_every_emitted_prospect_is_explained_from_its_topic(told):
    """A verdict could not be proven, though it lies on the topic and its grounds on the log."""
    assert [len(told.emitted[role]) for role in ("allowed", "blocked")] == [1, 3]
    for role, messages in told.emitted.items():
        for message in messages:
            options = ["--topic", role, "--partition", "0", "--offset", str(message.offset())]
            found = run_json(["explain", *options], told.stage.env)

            assert found["same"] and found["stamp"] == stamp_of(message)
            assert all(each["rule"]["text_from"] == "log" for each in found["numbers"] if each["rule"])
    for place in (["--partition", "0", "--offset", "999"], ["--partition", "9", "--offset", "0"]):
        done = run(["explain", "--topic", "allowed", *place], told.stage.env)
        assert (
            done.returncode == 1
            and done.stderr.startswith("stream-scrub: ")
            and "Traceback" not in done.stderr
        )


def test_a_changed_prospect_from_a_pipe_is_not_the_same(told):
    """A forged stamp would pass."""
    forged = told.emitted["blocked"][0].value().replace(b'"verdict":"blocked"', b'"verdict":"allowed"')
    piped = forked.run(
        [SCRIPT, "explain", "--json"], input=forged, env=told.stage.env, capture_output=True, timeout=240
    )
    assert piped.returncode == 1
    assert json.loads(piped.stdout)["differences"][0]["field"] == "verdict"


def test_the_log_and_the_workers_snapshot_are_proven(told):
    """An operator could not show an auditor that nothing was changed."""
    found = run_json(["lists", "verify", "--snapshot", told.state], told.stage.env)

    assert found["sound"] and found["first"] == 0 and found["problems"] == []
    assert {each["register"] for each in found["registers"]} == {"rules", "internal", "consent"}
    assert found["snapshot"]["problems"] == []
    assert (
        run(["lists", "verify"], told.stage.env).stdout.rpartition("\n")[0].rpartition("\n")[2][:6]
        == "sound:"
    )


@pytest.mark.slow
def test_rules_are_on_the_log_by_the_first_import_and_more_by_command(told):
    """The first stamps would name rules that an upgrade takes away, and a worker's own rules be on no log unsaid."""
    found = run_json(["rules", "publish"], told.stage.env)
    assert found["added"] == [] and found["position"] is None and len(found["rules"]) > 10
    (warned,) = [line for line in told.logged if line["event"] == "texts of rules in use are not on the log"]
    (lacking,) = warned["rules"]
    assert lacking.startswith("im@") and "stream-scrub rules publish" in warned["do"]

    found = run_json(["rules", "publish", "--folder", told.rules], told.stage.env)

    assert found["added"] == [lacking] and found["position"] > 0
    said = run(["rules", "publish", "--folder", told.rules], told.stage.env).stdout
    assert "on the log already" in said
    assert run(["lists", "verify"], told.stage.env).returncode == 0


def test_a_foreign_record_is_found_and_named(told):
    """Whoever writes to the log past the publishers would go unnoticed by who must prove it. (From here on
    the log is corrupt.)"""
    producer = Producer({"bootstrap.servers": told.stage.bootstrap})
    producer.produce(told.stage.topics["log"], b"{}", b"+33612345678")
    producer.flush(20)

    done = run(["lists", "verify", "--json"], told.stage.env)

    found = json.loads(done.stdout)
    assert done.returncode == 3 and not found["sound"]
    (problem,) = found["problems"]
    assert problem["offset"] == found["end"] - 1 and "neither part nor seal" in problem["what"]
    assert "33612345678" not in done.stdout + done.stderr
    assert run(["lists", "history", f"+{CONSENTING}"], told.stage.env).returncode == 3


@pytest.mark.slow
def test_a_flipped_bit_on_the_brokers_disk_is_found_and_the_rest_is_proven(told):
    """The evidence could be changed where it is stored, and the first fault would hide all others."""
    broker, topic = told.broker, told.stage.topics["log"]
    broker.stop()
    (file,) = broker.folder.glob(f"*/log/{topic}-0/*.log")
    stored = bytearray(file.read_bytes())
    stored[len(stored) // 2] ^= 1
    file.write_bytes(stored)
    broker.start()

    done = run(["lists", "verify", "--json"], told.stage.env)

    found = json.loads(done.stdout)
    assert done.returncode == 3 and not found["sound"]
    damaged, *others = found["problems"]
    assert "CRC" in damaged["what"] and 0 <= damaged["offset"] < found["end"]
    assert others[-1]["what"].startswith("a record that is neither part nor seal")
    for command in (["lists", "status"], ["check", f"+{OPPOSED}"], ["lists", "at", "999", f"+{OPPOSED}"]):
        refused = run(command, told.stage.env)
        assert refused.returncode == 3 and refused.stdout == ""

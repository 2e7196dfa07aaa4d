"""`dossier` and `report` on a real Kafka: about two hundred events of one number, among those of others."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from stream_scrub.config import load
from stream_scrub.ops import logs
from stream_scrub.queries import find_emitted, kept_places
from tests.kafka.node import free_ports
from tests.support.running.outcome import count, ends, read_all
from tests.support.running.prospects import day_in_france, french_mobiles, produce, prospect, spell
from tests.support.running.server import ServerProcess
from tests.support.running.stage import Stage
from tests.support.running.worker import run, run_json
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

NUMBER, *OTHERS = [33612345678, *french_mobiles(60, seed=30)]
LEADS, SHARED, ATTEMPTS, NOTICES, RECEIPTS = 100, 10, 70, 8, 6
DATA = re.compile(r'<script type="application/json" id="data">(.*)</script>', re.DOTALL)


@pytest.fixture(scope="module")
def stage(_module_kafka, tmp_path_factory) -> Iterator[Stage]:
    """Judged leads, changes of a register, reported calls, recalls and receipts."""
    made = Stage(_module_kafka.bootstrap, tmp_path_factory.mktemp("dossier"), partitions=3)
    made.load("internal", OTHERS[:20])
    made.load("consent@acme", [NUMBER, *OTHERS])
    produce(made.bootstrap, made.topics["prospects"], leads())
    with made.worker("w1") as worker:
        total = 2 * LEADS + SHARED
        wait_until(lambda: ends(made.bootstrap, made.outputs) >= total)
        wait_until(lambda: count(made.bootstrap, made.outputs) >= total)
        assert worker.stop()[0] == 0
    made.day = day_in_france(
        json.loads(next(read_all(made.bootstrap, made.topics["allowed"])).value())["scrub"]
    )
    made.load("internal", [NUMBER, *OTHERS[:20]], "--allow-change")
    for numbers in (OTHERS, [NUMBER, *OTHERS]):
        made.load("consent@acme", numbers, "--allow-change")
    told(made)
    yield made
    made.close()


def leads() -> Iterator[tuple[bytes, bytes]]:
    for at in range(LEADS):
        yield str(at).encode(), prospect(at, spell(NUMBER, at), campaign="acme", purpose="insurance")
        yield str(at).encode(), prospect(at, spell(OTHERS[at % 60], at), campaign="acme", purpose="travel")
    for at in range(SHARED):
        both = [spell(OTHERS[at], at), spell(NUMBER, at)]
        yield b"shared", prospect(at, both, campaign="zeta", name=spell(OTHERS[at], 9))


def told(stage: Stage) -> None:
    """Put attempts, recalls and receipts on their topics, by turns of the number and of others."""
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    for made in admin.create_topics([NewTopic(stage.topics["receipts"], 2)]).values():
        made.result()
    now = stage.told_at = datetime.now(UTC).isoformat()
    producer = Producer({"bootstrap.servers": stage.bootstrap})

    def put(role: str, of: int, **record: object) -> None:
        producer.produce(stage.topics[role], json.dumps(record).encode(), f"+{of}".encode())

    for at in range(ATTEMPTS):
        for number in (NUMBER, OTHERS[at % 60]):
            what = "refusal" if at % 10 == 0 else "attempt"
            put(
                "attempts",
                number,
                request=what,
                id=f"{number % 97}-{at}",
                number=f"+{number}",
                at=now,
                campaign="acme",
            )
    for at in range(NOTICES):
        for number in (NUMBER, OTHERS[at]):
            put(
                "recalled",
                number,
                kind="recalled",
                number=f"+{number}",
                reason="opposed",
                register="internal",
                index=10**6,
                at=now,
            )
    for at in range(RECEIPTS):
        for number in (NUMBER, OTHERS[at]):
            put("receipts", number, target="vicidial", event="opted-out", id=str(at), number=f"+{number}", since=now, at=now, outcome="confirmed")  # fmt: skip
    assert producer.flush(60) == 0


def had_hours(verdicts: list[dict], day: str) -> bool:
    """Whether French law left an hour of that day to call: not on a Sunday, nor in the evening."""
    stamp = next(each["explanation"]["stamp"] for each in verdicts if each["verdict"] == "allowed")
    windows = [each.split("/") for each in stamp["call"]["windows"]]
    return any(day_in_france({"at": opens}) == day and stamp["at"] < closes for opens, closes in windows)


def need_nobody_else(text: str) -> None:
    digits = re.sub(r"[\s.-]", "", text)
    found = [number for number in OTHERS if str(number)[2:] in digits]
    assert not found, f"{len(found)} other people's numbers"


@pytest.mark.slow
def test_a_dossier_has_every_event_of_its_number_and_nobody_elses(stage, tmp_path):
    """A complaint would be answered with gaps, or an access request with somebody else's data."""
    file = tmp_path / "dossier.html"
    yesterday = str(datetime.fromisoformat(stage.day).date() - timedelta(days=1))
    asked = ["dossier", spell(NUMBER, 0), "--from", yesterday, "--to", stage.day, "--out", str(file)]

    found = run_json(asked, stage.env)

    assert len(found["verdicts"]) == LEADS + SHARED
    assert all(each["explanation"]["same"] for each in found["verdicts"])
    assert {each["others_left_out"] for each in found["verdicts"]} == {0, 1}
    assert [each["change"] for each in found["changes"]] == ["added", "added", "removed", "added"]
    assert len(found["attempts"]) == ATTEMPTS and sum(each["refused"] for each in found["attempts"]) == 7
    assert len(found["recalls"]) == NOTICES and len(found["deliveries"]) == RECEIPTS
    assert not any(each["covered"] for each in found["attempts"]), "the number had been recalled"
    assert found["days"][-1]["lawful"] == ("part" if had_hours(found["verdicts"], stage.day) else "no")
    assert "opposed" in found["days"][-1]["reason"]
    assert len(found["answer"]) == 2 and found["log"]["position"] > 0
    by_index = run_json([*asked[:-2], "--set", f"files.index_dir={tmp_path / 'index'}"], stage.env)
    assert by_index["verdicts"] == found["verdicts"]
    assert set(by_index["not_proven"]) - set(found["not_proven"])
    page = file.read_text()
    shown = json.loads(DATA.search(page)[1])
    assert shown == found and "src=" not in page and 'href="http' not in page
    said = run(asked[:-2], stage.env)
    assert said.returncode == 0 and said.stdout.startswith(f"A call to +{NUMBER}")
    for text in (page, json.dumps(found), said.stdout, said.stderr):
        need_nobody_else(text)
    assert str(NUMBER) not in said.stderr


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 1])
def test_deleted_recalls_are_said_to_be_gone_and_nothing_is_lawful_then(stage, left):
    """The same dossier would call the same call lawful once Kafka had deleted the recall."""
    topic = f"deleted.recalls.{left}"
    admin, producer = (made({"bootstrap.servers": stage.bootstrap}) for made in (AdminClient, Producer))
    admin.create_topics([NewTopic(topic, 1)])[topic].result()
    for _ in range(2):
        notice = {"kind": "recalled", "number": f"+{OTHERS[0]}", "index": 1, "at": stage.told_at}
        producer.produce(topic, json.dumps(notice).encode())
    assert producer.flush(60) == 0
    for deleted in admin.delete_records([TopicPartition(topic, 0, 2 - left)]).values():
        deleted.result()
    asked = ["dossier", f"+{NUMBER}", "--from", stage.day]
    found = run_json(asked, {**stage.env, "STREAM_SCRUB_TOPICS__RECALLED": topic})

    assert [each["topic"] for each in found["gone"]] == [topic]
    assert found["days"][0]["lawful"] in {"unproven", "no"} and not any(
        each["covered"] for each in found["attempts"]
    )


@pytest.mark.slow
def test_the_files_of_an_index_give_what_the_outputs_give(stage, tmp_path, monkeypatch):
    """An authority would be told that a person was never called, for a transaction's marker at the edge of a file."""
    log, day = logs.configure("error", "json"), datetime.fromisoformat(stage.day).date()

    def found(index: str) -> find_emitted.EmittedBetween:
        settings = load(environ={**stage.env, "STREAM_SCRUB_FILES__INDEX_DIR": index})
        return find_emitted.emitted_between(settings, log, NUMBER, day, day, lambda *_: None)

    whole = found("").found
    monkeypatch.setattr(kept_places, "SPAN", 7)
    by_index = [found(str(tmp_path)) for _ in range(2)]
    assert [each.found for each in by_index] == [whole, whole] and len(whole) == LEADS + SHARED
    assert sum(each.is_file() for each in tmp_path.rglob("*")) > 10


@pytest.mark.slow
def test_the_server_gives_the_same_dossier_report_and_proof(stage):
    """An officer without a terminal would hand out another dossier than one with it."""
    question, month = {"number": spell(NUMBER, 0), "from": stage.day}, stage.day[:7]
    filed = run_json(["lists", "verify"], stage.env)
    with ServerProcess(stage, f"127.0.0.1:{free_ports(1)[0]}") as server, httpx.Client(timeout=60) as officer:
        wait_until(server.ready)
        begun = officer.post(f"{server.url}/dossiers", data=question, headers={"Origin": server.url})
        path = f"{server.url}{begun.headers['location']}"
        wait_until(lambda: officer.get(f"{path}/state").json()["stage"] in {"done", "failed"})
        state = officer.get(f"{path}/state").json()
        found, page = (officer.get(f"{path}/dossier.{kind}") for kind in ("json", "html"))
        report = officer.get(f"{server.url}/v1/report", params={"month": month}).json()
        proof = officer.post(f"{server.url}/v1/verify", json={"against": filed}).json()
        assert server.stop()[0] == 0
    assert {**report, "at": ""} == {**run_json(["report", "--month", month], stage.env), "at": ""}
    assert {**proof, "at": "", "took_s": 0} == {**filed, "at": "", "took_s": 0} and proof["sound"]
    assert state["stage"] == "done", state["why"]
    said = run_json(["dossier", spell(NUMBER, 0), "--from", stage.day], stage.env)
    assert {**found.json(), "made_at": ""} == {**said, "made_at": ""}
    assert json.loads(DATA.search(page.text)[1]) == found.json()
    assert str(NUMBER)[2:] not in (stage.folder / "server.log").read_text()


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ([f"+{NUMBER}", "--from", "12/11/2026"], "--from"),
        ([f"+{NUMBER}", "--from", "2026-11-12", "--to", "2026-11-11"], "before the first day"),
        ([f"+{NUMBER}", "--from", "1990-01-01", "--to", "2026-11-11"], "at most 3,660"),
        (["12", "--from", "2026-11-12"], "not a valid number"),
    ],
)
def test_a_wrong_question_says_what_to_write(stage, wrong, word):
    """An officer would have to guess which of the options is wrong."""
    done = run(["dossier", *wrong], stage.env)

    assert done.returncode == 2 and word in done.stderr


@pytest.mark.slow
def test_a_month_is_counted_by_law_with_the_ages_of_lists(stage):
    """A monthly report would be made by hand from millions of records, or not at all."""
    month, of_recalls = stage.day[:7], day_in_france({"at": stage.told_at})[:7]
    found = run_json(["report", "--month", month], stage.env)

    assert found["prospects_allowed"] + found["prospects_blocked"] == 2 * LEADS + SHARED
    allowed = sum(each["verdicts"] for each in found["verdicts"] if each["verdict"] == "allowed")
    opposed = [each for each in found["verdicts"] if each["reason"] == "opposed"]
    assert allowed >= found["prospects_allowed"] and opposed[0]["registers"] == ["internal"]
    assert {each["country"] for each in found["verdicts"]} == {"FR"}
    recalls = run_json(["report", "--month", of_recalls], stage.env)["recalls"]
    assert [(each["reason"], each["count"]) for each in recalls] == [("opposed", 2 * NOTICES)]
    need_nobody_else(msgspec.json.encode(found).decode())
    said = run(["report", "--month", month], stage.env)
    assert said.returncode == 0 and "opposed" in said.stdout
    assert run(["report", "--month", "October"], stage.env).returncode == 2
    assert run_json(["report", "--month", "2020-02"], stage.env)["verdicts"] == []

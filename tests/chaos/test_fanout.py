"""Opt-outs and recalls reach systems that do not read Kafka, on a real Kafka, whatever is killed or away."""

import base64
import hashlib
import hmac
import json
import signal

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.support.fakes.dialler_apis import Vicidial
from tests.support.fakes.web import Web
from tests.support.running.clients import properties
from tests.support.running.outcome import read_all
from tests.support.running.prospects import french_mobiles, produce
from tests.support.running.watch import LISTEN, Watched
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

NUMBERS = french_mobiles(400, seed=290)
KEY = base64.b64encode(b"a key of thirty-two bytes at all").decode()


def receipts(stage, role="receipts"):
    return [json.loads(each.value()) for each in read_all(stage.bootstrap, stage.topics[role])]


def webhook(stage, url, **more):
    secret = stage.folder / "signing-key"
    secret.write_text(f"whsec_{KEY}\n")
    return {
        "connector": "webhook",
        "lists": {"internal": "all"},
        "settings": {"url": url},
        "secrets": {"signing_key": str(secret)},
        **more,
    }


def told(web, type_="number.opted-out"):
    """The numbers that a webhook was told, in their order, from requests whose signature is right."""
    numbers = []
    for each in list(web.asked):
        signed = f"{each.headers['webhook-id']}.{each.headers['webhook-timestamp']}.".encode() + each.body
        digest = hmac.digest(base64.b64decode(KEY), signed, hashlib.sha256)
        assert each.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
        event = json.loads(each.body)
        if event["type"] == type_:
            numbers.append(int(event["data"]["number"][1:]))
    return numbers


def test_kills_and_an_outage_miss_no_opt_out_and_every_one_has_its_receipt(kafka, stages):
    """A person who said no would be called by a dialler that never heard of it."""
    stage = stages(kafka.bootstrap, partitions=2)
    stage.load("internal", NUMBERS[:100])
    with Web(lambda _: (204, b"")) as web:
        fanout = stage.fanout({"hook": webhook(stage, web.url, recalls=True)})
        with fanout:
            wait_until(lambda: len(web.asked) >= 30)
            fanout.kill()
            stage.load("internal", NUMBERS[:200], "--allow-change")
            fanout.start()
            wait_until(lambda: len(web.asked) >= 150)
            web.answer = lambda _: (503, b"busy")
            stage.load("internal", NUMBERS[:300], "--allow-change")
            wait_until(lambda: fanout.logged("events not delivered"))
            fanout.kill()
            fanout.start()
            wait_until(lambda: fanout.log_file.read_text().count("fan-out started") == 3)
            web.answer = lambda _: (200, b"thanks")
            notice = {
                "kind": "recalled",
                "number": f"+{NUMBERS[350]}",
                "index": 1,
                "at": "2026-11-28T10:00:00.000Z",
            }
            produce(stage.bootstrap, stage.topics["recalled"], iter([(b"k", json.dumps(notice).encode())]))
            wait_until(lambda: set(told(web)) == set(NUMBERS[:300]))
            wait_until(lambda: told(web, "number.recalled") == [NUMBERS[350]])
            wait_until(lambda: len({each["id"] for each in receipts(stage)}) == 301)
            assert fanout.stop()[0] == 0
            before = len(web.asked)
            fanout.start()  # what has its receipt is not told again
            wait_until(lambda: fanout.log_file.read_text().count("fan-out started") == 4)
            stage.load("internal", NUMBERS[:301], "--allow-change")
            wait_until(lambda: NUMBERS[300] in told(web))
            assert len(web.asked) == before + 1
            assert fanout.stop()[0] == 0
    found = [each for each in receipts(stage) if each["outcome"] == "accepted"]
    assert {each["number"] for each in found} == {f"+{number}" for number in (*NUMBERS[:301], NUMBERS[350])}
    assert {
        (each["target"], each["list"], each["register"]) for each in found if each["event"] == "opted-out"
    } == {("hook", "all", "internal")}
    ids = {}
    for each in web.asked:
        ids.setdefault(each.headers["webhook-id"], set()).add(each.body)
    assert len(ids) == 302 and all(len(bodies) == 1 for bodies in ids.values()), "an id changed"
    text = fanout.log_file.read_text()
    assert not any(str(number)[2:] in text for number in NUMBERS), "a number is in the log"


def test_opt_outs_on_a_log_that_lost_its_end_are_delivered(kafka, stages):
    """After an unclean election new opt-outs have the offsets of lost ones, and a target would hear of none of them."""
    stage = stages(kafka.bootstrap, partitions=1)
    stage.load("internal", NUMBERS[:3])
    with Web(lambda _: (204, b"")) as web, stage.fanout({"hook": webhook(stage, web.url)}) as fanout:
        wait_until(lambda: set(told(web)) == set(NUMBERS[:3]))
        assert fanout.stop()[0] == 0
        # As if the log had been longer when that was committed.
        group = f"{stage.env['STREAM_SCRUB_WORKER__GROUP_ID']}-fanout-hook"
        consumer = Consumer({**properties(kafka.bootstrap), "group.id": group})
        (place,) = consumer.committed([TopicPartition(stage.topics["log"], 0)], 20)
        note = place.metadata.replace(f" {place.offset}.", f" {place.offset + 1000}.")
        later = TopicPartition(place.topic, 0, place.offset + 1000, note)
        consumer.commit(offsets=[later], asynchronous=False)
        consumer.close()
        fanout.start()
        wait_until(lambda: fanout.logged("topics lost records"))
        stage.load("internal", NUMBERS[:4], "--allow-change")
        wait_until(lambda: set(told(web)) == set(NUMBERS[:4]))
        assert fanout.stop()[0] == 0


def test_a_target_that_is_away_delays_no_other_and_shows_itself(kafka, stages, tmp_path):
    """One dialler's outage would keep an opt-out from all others, and nobody would know."""
    stage = stages(kafka.bootstrap, partitions=1, http__listen=LISTEN)
    fake = Vicidial({"ACME"})
    for name, text in (("user", "api"), ("password", "let me in")):
        (tmp_path / name).write_text(text)
    national = [f"0{str(number)[2:]}" for number in NUMBERS]
    fake.leads[national[0]] = {"11": "READY", "12": "READY"}
    with Web(fake) as web:
        dialler = {
            "connector": "vicidial",
            "lists": {"internal": "SYSTEM_INTERNAL", "internal@acme": "ACME"},
            "lifts": True,
            "settings": {"url": f"{web.url}/vicidial/non_agent_api.php"},
            "secrets": {name: str(tmp_path / name) for name in ("user", "password")},
        }
        down = webhook(stage, "http://127.0.0.1:9")
        with stage.fanout({"down": down, "dialler": dialler}) as fanout:
            stage.load("internal", NUMBERS[:20])
            stage.load("internal@acme", NUMBERS[20:25])
            wanted = {(each, "SYSTEM_INTERNAL") for each in national[:20]}
            wait_until(lambda: fake.dnc == wanted | {(each, "ACME") for each in national[20:25]})
            stage.load("internal", NUMBERS[19:20], "--removes")
            wait_until(lambda: (national[19], "SYSTEM_INTERNAL") not in fake.dnc)
            assert fake.leads[national[0]] == {"11": "", "12": ""}
            seen = Watched(fanout)
            wait_until(lambda: seen.metrics().sum("stream_scrub_fanout_open_events", fanout="down") == 20)
            wait_until(
                lambda: (
                    seen.metrics().sum(
                        "stream_scrub_fanout_events_total", fanout="dialler", outcome="confirmed"
                    )
                    == 25
                ),
            )
            failed = "stream_scrub_fanout_tries_failed_total"
            wait_until(lambda: seen.metrics().sum(failed, fanout="down", cause="away") >= 3)
            assert seen.metrics().sum("stream_scrub_fanout_oldest_open_seconds", fanout="down") > 0
            wait_until(lambda: [each["cause"] for each in seen.degraded()] == ["target"])
            assert seen.status("/readyz") == 200
            assert fanout.stop()[0] == 0
    found = receipts(stage)
    assert {each["target"] for each in found} == {"dialler"}
    assert sorted(each["event"] for each in found) == ["lifted"] + ["opted-out"] * 25
    assert {each["outcome"] for each in found if each["event"] == "opted-out"} == {"confirmed"}
    assert not receipts(stage, "dead")
    text = fanout.log_file.read_text()
    assert not any(str(number)[2:] in text for number in NUMBERS), "a number is in the log"
    assert "let me in" not in text and "non_agent_api" not in text


def test_a_paused_process_undoes_no_newer_opt_out(kafka, stages):
    """The target's last word would be a lift, and a person who opted out again would be called."""
    stage = stages(kafka.bootstrap, partitions=1)
    stage.load("internal", NUMBERS[:2])

    def settled(event):
        return [each for each in receipts(stage) if each["event"] == event and each["outcome"] == "accepted"]

    with Web(lambda _: (204, b"")) as web:
        target = {"hook": webhook(stage, web.url, lifts=True)}
        first, second = stage.fanout(target), stage.fanout(target)
        second.log_file = stage.folder / "second.log"
        with first:
            wait_until(lambda: len(settled("opted-out")) == 2)
            web.answer = lambda _: (400, b"not now")
            stage.load("internal", NUMBERS[:1], "--removes")
            wait_until(lambda: any(each["outcome"] == "retrying" for each in receipts(stage)))
            first.send(signal.SIGSTOP)
            web.answer = lambda _: (204, b"")
            with second:
                wait_until(lambda: len(settled("lifted")) == 1)
                stage.load("internal", NUMBERS[:1], "--adds")
                wait_until(lambda: len(settled("opted-out")) == 3)
                assert second.stop()[0] == 0
            first.send(signal.SIGCONT)
            wait_until(lambda: first.logged("fan-out failed"))
            wait_until(lambda: first.log_file.read_text().count('"fan-out started"') == 2)
            assert json.loads(web.asked[-1].body)["type"] == "number.opted-out"
            assert first.stop()[0] == 0

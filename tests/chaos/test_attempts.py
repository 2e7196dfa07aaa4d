"""Attempts on a real Kafka: what was called too often rests, whatever happens to the publisher."""

import json
import random
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from confluent_kafka import Producer

from stream_scrub.client import Accepted, Client, Unknown
from stream_scrub.model import family
from stream_scrub.serve import tokens
from tests.kafka.broker import free_ports
from tests.support.running.clients import properties
from tests.support.running.outcome import count, read_all, read_recalls
from tests.support.running.prospects import french_mobiles, produce, prospect
from tests.support.running.publisher import PublisherProcess, replayed, rested
from tests.support.running.server import ServerProcess
from tests.support.running.stage import TO_EVERYBODY
from tests.support.running.worker import run_json, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

PARIS = ZoneInfo("Europe/Paris")


def publishing(publisher):
    """How often a publisher has begun."""
    return publisher.log_file.read_text().count('"publishing"') if publisher.log_file.exists() else 0


class Dialler:
    """Calls, and tells its attempts: late, in any order and more than once."""

    def __init__(self, stage):
        self._producer = Producer(properties(stage.bootstrap) | {"enable.idempotence": True})
        self._topic = stage.topics["attempts"]

    def tell(self, number, at, attempt, request="attempt", **more):
        said = {"request": request, "id": attempt, "number": f"+{number}", "at": at.isoformat(), **more}
        self._producer.produce(self._topic, json.dumps(said).encode(), b"%d" % number)

    def flush(self):
        assert not self._producer.flush(60)


@pytest.mark.slow
def test_the_fourth_attempt_in_thirty_days_makes_a_number_rest_through_kills(kafka, stages):
    """In France a fifth call within thirty days costs the caller 75 000 euros; one call too few costs a customer."""
    stage = stages(kafka.bootstrap, partitions=3)
    dialler, rng = Dialler(stage), random.Random(5)
    now = datetime.now(UTC)
    later = now + timedelta(hours=1)  # what ends before may end while the test runs
    numbers = range(33612000000, 33612000120)
    attempts = []
    for number in numbers:
        for nth in range(rng.randint(1, 6)):
            at = now - timedelta(seconds=rng.randint(3600, 40 * 86_400))
            attempts += [(number, at, f"{number}-{nth}")] * rng.randint(1, 3)
    rng.shuffle(attempts)
    publisher = PublisherProcess(stage, None)
    for part in range(4):
        begun = publishing(publisher)
        publisher.start()
        if part % 2:  # else it is killed while it begins
            wait_until(lambda begun=begun: publishing(publisher) > begun, every=0.02)
        for each in attempts[part::4]:
            dialler.tell(*each)
            time.sleep(0.001)
        dialler.flush()
        time.sleep(rng.uniform(0.2, 1.5))
        publisher.kill()
    wanted = {}
    for number in numbers:
        moments = sorted({(at, name) for n, at, name in attempts if n == number}, reverse=True)
        if len(moments) >= 4:
            day = moments[3][0].astimezone(PARIS).date() + timedelta(days=30)
            end = datetime(day.year, day.month, day.day, tzinfo=PARIS)
            if end > later:
                wanted[number] = int(end.timestamp())
    assert 10 < len(wanted) < 110
    with publisher:
        wait_until(lambda: rested(publisher).keys() >= wanted.keys(), every=0.5)
        found = rested(publisher)
        assert {number: end for number, end in found.items() if end > later.timestamp()} == wanted
        assert publisher.stop()[0] == 0


@pytest.mark.slow
def test_no_fifth_call_is_allowed_and_none_of_the_first_four_is_blocked(kafka, stages):
    """A dialler that calls whatever is allowed would call a person for a fifth time after the publisher was killed, or
    lose a call that it may make."""
    stage = stages(
        kafka.bootstrap,
        partitions=2,
        prospect__professionals='{"spring": "acme", "autumn": "acme", "other": "beta"}',
    )
    stage.judge_by(TO_EVERYBODY + "attempts = { most = 4, days = 30, refusal_days = 60 }\n")
    numbers = french_mobiles(40, seed=3)
    stage.load("consent", numbers, "--kind", "allow")
    dialler, publisher, called = Dialler(stage), PublisherProcess(stage, None), dict.fromkeys(numbers, 0)

    def judged(campaign):
        """Send a lead of each number, and return the verdicts of this round."""
        known = count(stage.bootstrap, stage.outputs)
        leads = ((b"%d" % n, prospect(n, f"+{n}", campaign=campaign)) for n in numbers)
        produce(stage.bootstrap, stage.topics["prospects"], leads)
        wait_until(lambda: count(stage.bootstrap, stage.outputs) == known + len(numbers))
        found = {}
        for topic in stage.outputs:
            for message in sorted(read_all(stage.bootstrap, topic), key=lambda each: each.timestamp()):
                lead = json.loads(message.value())
                if lead["campaign"] == campaign:
                    at, reason = lead["scrub"]["at"], lead["scrub"]["reason"]
                    found[lead["id"]] = max(found.get(lead["id"], ("", "")), (at, reason))
        return {n: reason for n, (_, reason) in found.items()}

    with stage.worker("w1") as worker, stage.recall("r1") as recall:
        for call in range(4):
            campaign = ("spring", "autumn")[call % 2]
            publisher.start()
            assert set(judged(campaign).values()) == {"consented"}, "a call that the law permits"
            for n in numbers:
                said = {"request": "refusal"} if (call, n) == (3, numbers[0]) else {}
                dialler.tell(n, datetime.now(UTC), f"{campaign}-{call}-{n}", campaign=campaign, **said)
                called[n] += 1
            dialler.flush()
            publisher.kill()
        with publisher:
            wait_until(lambda: len(rested(publisher, "rested@acme")) == len(numbers), every=0.3)
            wait_until(lambda: len(read_recalls(stage.bootstrap, stage.topics["recalled"])) == len(numbers))
            assert set(judged("spring").values()) == {"too-often"}, "a fifth call"
            assert set(judged("autumn").values()) == {"too-often"}, (
                "campaigns of one professional count together"
            )
            assert set(judged("other").values()) == {"consented"}, "another professional has called nobody"
            assert publisher.stop()[0] == 0
        assert recall.stop()[0] == 0 and worker.stop()[0] == 0
    assert set(called.values()) == {4}
    longest = max(rested(publisher, "rested@acme").values())
    assert rested(publisher, "rested@acme")[numbers[0]] == longest > time.time() + 58 * 86_400


VICIDIAL = """\
uniqueid,lead_id,campaign_id,call_date,length_in_sec,status,phone_code,phone_number,user
1.1,7,spring,{0} 10:00:00,0,NA,33,612345601,a
1.2,7,spring,{0} 10:10:00,0,B,33,612345601,a
1.3,7,autumn,{0} 10:20:00,0,AA,33,612345601,a
1.4,7,spring,{0} 10:30:00,0,HOTEL,33,612345601,a
2.1,8,spring,{0} 10:00:00,30,NI,33,612345602,a
3.1,9,spring,{0} 10:00:00,30,DNC,33,612345603,a
4.1,9,spring,{0} 10:00:00,0,DNCL,33,612345604,a
5.1,9,spring,,0,NA,33,612345605,a
6.1,9,spring,,0,DNC,33,612345609,a
"""
CDR = '"","100","0612345606","out","""x"" <100>","SIP/1","SIP/2","Dial","x","{0} 1{1}:00:00",,"{0} 1{1}:00:30",30,0,"NO ANSWER","DOCUMENTATION","9.{1}",""\n'


@pytest.mark.slow
def test_calls_are_reported_by_a_client_and_by_the_logs_of_diallers(kafka, stages, tmp_path):
    """A dialler that cannot write to Kafka would call again and again; one whose log is sent twice would lose calls."""
    stage = stages(kafka.bootstrap, partitions=2)
    stage.load("consent", [33612345601], "--kind", "allow")
    file = tmp_path / "tokens.json"
    token = tokens.add(file, "dialler", ["request"], datetime.now(UTC)).token
    (port,) = free_ports(1)
    day = (datetime.now(PARIS) - timedelta(days=2)).date()
    vicidial, cdr = tmp_path / "vicidial_log.csv", tmp_path / "Master.csv"
    vicidial.write_text(VICIDIAL.format(day))
    cdr.write_text("".join(CDR.format(day, hour) for hour in range(4)))
    with (
        PublisherProcess(stage, None) as publisher,
        ServerProcess(stage, f"127.0.0.1:{port}", "s1", http__tokens=file) as server,
        Client(server.url, token, deadline_s=60) as dialler,
    ):
        wait_until(lambda: publisher.ready() and server.ready())
        for _ in range(2):
            for call in range(4):
                accepted = dialler.attempt("+33612345607", f"c{call}", campaign="spring", outcome="BUSY")
                assert isinstance(accepted, Accepted) and accepted.topic == stage.topics["attempts"]
            assert isinstance(dialler.attempt("+33612345608", "r", refused=True), Accepted)
            assert isinstance(dialler.attempt("+33612", "r"), Unknown)
            sent = run_json(["attempts", str(vicidial), "--zone", "Europe/Paris"], stage.env)
            assert sent == {
                "attempts": 5,
                "refusals": 1,
                "opt_outs": 2,
                "none": 1,
                "refused": 2,
                "refused_lines": [9, 10],
                "unknown": {"HOTEL": 1},
            }
            assert run_json(["attempts", str(cdr), "--zone", "Europe/Paris"], stage.env)["attempts"] == 4
        wanted = {33612345601, 33612345606, 33612345607}

        def opposed():
            registers = replayed(publisher).index.registers.items()
            return {n for name, each in registers if family(name) == "internal" for n in each.numbers}

        wait_until(lambda: rested(publisher).keys() >= wanted and len(opposed()) >= 4, every=0.3)
        found = rested(publisher)
        assert found.keys() == wanted
        end = datetime.combine(day + timedelta(days=30), datetime.min.time(), PARIS).timestamp()
        assert found[33612345601] == found[33612345606] == end
        assert len(opposed()) == 4, "who said never again, and who refused in France"
        assert {33612345602, 33612345608} <= opposed()
        assert publisher.stop()[0] == 0


def test_a_french_refusal_ends_the_consent_to_its_campaign_once(kafka, stages):
    """Who said no in a call would be called again, or who consented anew be opposed again by the next publisher."""
    stage = stages(kafka.bootstrap, partitions=2)
    dialler, number, other = Dialler(stage), 33612345601, 33612345602

    def consent(role, **more):
        at = datetime.now(UTC).isoformat()
        said = {"request": "consent", "number": f"+{number}", "scope": "spring", "at": at, **more}
        produce(stage.bootstrap, stage.topics[role], iter([(b"%d" % number, json.dumps(said).encode())]))

    def held(number=number):
        registers = replayed(publisher).index.registers
        return {name for name, register in registers.items() if number in register.numbers}

    with PublisherProcess(stage, None) as publisher:
        consent("requests")
        wait_until(lambda: held() == {"consent@spring"}, every=0.3)
        for _ in range(2):  # told twice
            dialler.tell(number, datetime.now(UTC), "c1", request="refusal", campaign="Spring")
        dialler.flush()
        wait_until(lambda: held() == {"internal@spring"}, every=0.3)
        consent("lifts", after_opt_out=True)
        wait_until(lambda: held() == {"consent@spring"}, every=0.3)
        publisher.kill()
    with PublisherProcess(stage, None, "again") as publisher:
        # It reads the attempts of a month again, in their order.
        for at in range(20):
            dialler.tell(other + at, datetime.now(UTC), f"d{at}", request="refusal")
        dialler.flush()
        wait_until(lambda: all(held(other + at) == {"internal"} for at in range(20)), every=0.3)
        assert held() == {"consent@spring"}
        assert publisher.stop()[0] == 0

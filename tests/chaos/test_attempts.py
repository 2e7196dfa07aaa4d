"""Attempts on a real Kafka: what was called too often rests, whatever happens to the publisher."""

import json
import time
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from tests.support.running.clients import properties
from tests.support.running.outcome import count, read_all, read_recalls
from tests.support.running.prospects import french_mobiles, produce, prospect
from tests.support.running.publisher import PublisherProcess, replayed, rested
from tests.support.running.stage import TO_EVERYBODY
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]


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

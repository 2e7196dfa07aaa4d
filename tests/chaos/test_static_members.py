"""Workers with a `group.instance.id`, on a real Kafka: one that was killed, and two with the same."""

import pytest

from tests.support.running.outcome import count
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos

(NUMBER,) = french_mobiles(1, seed=61)
STATIC = {"kafka__group_protocol": "consumer", "kafka__consumer__group_instance_id": "pod-0"}


def staged(stages, kafka):
    stage = stages(kafka.bootstrap, partitions=2, **STATIC)
    stage.load("consent", [NUMBER], "--kind", "allow")
    return stage


def scrubbed(stage, kafka, upto):
    """Publish some more prospects, and wait until that many came out in all."""
    leads = [(b"k", prospect(at, spell(NUMBER, 0))) for at in range(upto - 10, upto)]
    produce(kafka.bootstrap, stage.topics["prospects"], iter(leads))
    wait_until(lambda: count(kafka.bootstrap, stage.outputs) >= upto, every=0.3)


@pytest.mark.slow
def test_a_killed_static_member_comes_back(kafka, stages):
    """The broker refuses the new life until the old one's session is over, and the client fails for good of it: the
    worker would live, be ready, and never read a prospect again."""
    stage = staged(stages, kafka)
    with stage.worker("w1") as worker:
        scrubbed(stage, kafka, 10)
        # Its next life begins before its end: on a busy machine the old session could else be over before that.
        with stage.worker("w2") as again:
            wait_until(lambda: "UNRELEASED_INSTANCE_ID" in again.log_file.read_text())
            worker.kill()
            scrubbed(stage, kafka, 20)
            assert again.stop()[0] == 0

"""A shadow beside a worker, on a real Kafka: what other rules would change, and nothing of the worker's is touched."""

import pytest

from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.stage import TO_EVERYBODY
from tests.support.running.watch import LISTEN, Watched
from tests.support.running.worker import run_json
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

NUMBERS = french_mobiles(40, seed=95)
LENIENT = """
country = "FR"
regions = ["FR"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "a rule that somebody wants to try: no consent is asked for"
deny = ["internal"]
"""


def test_a_rule_is_tried_before_it_goes_live(kafka, stages, tmp_path):
    """An operator would find out by the calls what a rule, or a release, changes."""
    stage = stages(kafka.bootstrap, partitions=2, http__listen=LISTEN)
    stage.env["STREAM_SCRUB_TOPICS__SHADOW"] = stage.topics["prospects"] + ".shadow"
    stage.judge_by(TO_EVERYBODY)
    rules = tmp_path / "tried"
    rules.mkdir()
    (rules / "fr.toml").write_text(LENIENT)
    stage.load("consent", NUMBERS[:10], "--kind", "allow")
    stage.load("internal", NUMBERS[30:])
    tried = stage.worker("s1", "--shadow", "--set", f"rules.folder={rules}")
    with stage.worker("w1") as worker, tried as shadow:
        wait_until(lambda: shadow.logged("shadowing"))
        wait_until(lambda: len(run_json(["shadow", "report"], stage.env)["changes"]) == 0)
        leads = (
            (
                b"k%d" % at,
                prospect(at, spell(NUMBERS[at], 0), campaign="spring" if at % 2 else "+33612345678"),
            )
            for at in range(40)
        )
        produce(kafka.bootstrap, stage.topics["prospects"], leads)
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 40)
        wait_until(lambda: run_json(["shadow", "report"], stage.env)["records"] == 30, every=1)
        seen = Watched(shadow)
        assert seen.status("/readyz") == seen.status("/livez") == 200
        page = seen.metrics()
        assert page.sum("stream_scrub_shadow_judged_total") == 40
        assert page.sum("stream_scrub_shadow_differences_total", change="verdict") == 20
        assert page.sum("stream_scrub_shadow_differences_total", change="reason") == 10
        assert shadow.stop()[0] == 0 and worker.stop()[0] == 0
    found = run_json(["shadow", "report"], stage.env)
    assert (found["verdicts"], found["reasons"]) == (20, 10)
    told = {(c["was"], c["would"], c["country"], c["campaign"]): c["prospects"] for c in found["changes"]}
    assert told == {
        ("no-consent", "clear", "FR", "spring"): 10,
        ("no-consent", "clear", "FR", ""): 10,
        ("consented", "clear", "FR", "spring"): 5,
        ("consented", "clear", "FR", ""): 5,
    }
    assert all(each["examples"][0].startswith(tuple(stage.outputs)) for each in found["changes"])
    written = b"".join(m.value() for m in read_all(kafka.bootstrap, stage.env["STREAM_SCRUB_TOPICS__SHADOW"]))
    assert not any(str(number)[2:].encode() in written for number in NUMBERS), "no number is on it"
    assert count(kafka.bootstrap, stage.outputs) == 40

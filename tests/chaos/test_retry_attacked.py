"""A retry whose network keeps a request back, whose place another one takes meanwhile, and that wakes when all is done."""

import json
import subprocess
from datetime import UTC, datetime

import pytest

from stream_scrub.kafka.client.producer_calls import id_of_retry
from tests.support.network.proxy import Api, matching
from tests.support.running import forked
from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import french_mobiles, produce, prospect
from tests.support.running.worker import SCRIPT, run_json, wait_until

pytestmark = pytest.mark.chaos

LEADS = 5000  # five transactions


@pytest.mark.slow
def test_a_late_commit_and_a_zombie_send_nothing_twice(proxy, stages):
    """Leads that were blocked for our own fault would be handed out twice, or lost."""
    stage = stages(proxy.behind, partitions=2)
    stage.load("consent", french_mobiles(5, seed=97), "--kind", "allow")
    leads = ((b"k%d" % (n % 13), prospect(n, f"+{442_079_400_000 + n}", country="GB")) for n in range(LEADS))
    with stage.worker("w1") as worker:
        produce(stage.bootstrap, stage.topics["prospects"], leads)
        wait_until(lambda: count(stage.bootstrap, [stage.topics["blocked"]]) == LEADS, every=0.3)
        assert worker.stop()[0] == 0
    stage.load("tps", [442_079_399_999], "--effective-at", f"{datetime.now(UTC):%Y-%m-%d}")

    mine = id_of_retry(stage.env["STREAM_SCRUB_WORKER__GROUP_ID"])
    late = proxy.hold(matching(Api.END_TXN, of=mine, commits=True), cut=True, skip=1)
    middle = proxy.hold(matching(Api.TXN_OFFSET_COMMIT, of=mine), after=late)
    command = [SCRIPT, "retry", "--since", "2026-01-01"]
    first = forked.Popen(command, env=stage.env_of(proxy.bootstrap), stdout=subprocess.DEVNULL)
    late.wait()
    middle.wait()
    late.release()
    assert late.error in (47, 90), "the late commit ended another transaction"
    another = proxy.hold(matching(Api.TXN_OFFSET_COMMIT, of=mine))
    middle.release()
    another.wait()
    run_json(["retry", "--since", "2026-01-01"], stage.env)  # takes over, and brings back what is left
    another.release()
    assert first.wait() == 0

    back = [
        m
        for m in read_all(stage.bootstrap, stage.topics["prospects"])
        if "scrub-retry" in dict(m.headers() or ())
    ]
    assert sorted(json.loads(m.value())["id"] for m in back) == list(range(LEADS)), "each once"
    for key in {m.key() for m in back}:
        ids = [json.loads(m.value())["id"] for m in back if m.key() == key]
        assert ids == sorted(ids), "the order of a key is kept"

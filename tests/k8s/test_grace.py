"""The grace period of each pod covers what its code may take to end while no broker answers."""

import inspect
import re

import pytest

from stream_scrub.fanout import daemon as fanout
from stream_scrub.kafka import log_writer, requests_writer, session, source
from stream_scrub.kafka.client import options, producer_calls
from stream_scrub.log.follower import Follower
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.ops import processes
from stream_scrub.publisher import delta_publisher
from stream_scrub.recall import daemon as recall
from stream_scrub.retry import resend
from stream_scrub.serve import serving
from stream_scrub.shadow import daemon as shadow
from stream_scrub.worker import loop
from tests.k8s.test_components import built

__all__ = ["built"]

OVERRUN, QUEUE = producer_calls.GRACE_S, options.TRANSACTION_TIMEOUT_MS / 1000
LAST_STEP_S = 15  # of a fan-out's target: it may begin just before its deadline


def waits(function: object) -> float:
    return inspect.signature(function).parameters["timeout_s"].default


def ends_in_code(function: object, module: object) -> float:
    """The sum of the deadlines that a function makes."""
    found = re.findall(r"Deadline\.after\((_\w+|[\d.]+)\)", inspect.getsource(function))
    assert found
    return sum(float(getattr(module, each, each)) for each in found)


FOLLOWING = waits(Follower.stop) + waits(SnapshotWriter.stop)
PUBLISHING = (
    options.publish_timeout_ms(0) / 1000 + log_writer._LATE_S
)  # a large list may take longer, and be killed
REOPENED = session.REOPEN_S + OVERRUN + QUEUE
# By pod, in seconds: the step under way, then the closing.
LONGEST = {
    "worker": source.REWIND_S + REOPENED + loop._COMMIT_S + OVERRUN
    + ends_in_code(loop.WorkerLoop.run, loop) + OVERRUN + FOLLOWING,
    "publisher": delta_publisher._REACH_S + 4 * (PUBLISHING + OVERRUN),
    "retry": 2 * resend.ASK_S + REOPENED + OVERRUN
    + ends_in_code(resend.Resend.close, resend) + OVERRUN + FOLLOWING,
    "recall": source.REWIND_S + 2 * (recall._ASK_S + OVERRUN) + QUEUE
    + ends_in_code(recall.RecallLoop.run, recall) + OVERRUN + FOLLOWING,
    "server": serving._STOP_S + 4 * requests_writer._FLUSH_S + FOLLOWING,
    "fanout": fanout.DELIVER_S + LAST_STEP_S + REOPENED + fanout.ASK_S + OVERRUN + fanout.CLOSE_S + OVERRUN,
    "shadow": 2 * shadow._ASK_S + REOPENED + OVERRUN + shadow._CLOSE_S + OVERRUN + FOLLOWING,
}  # fmt: skip


@pytest.mark.parametrize("name", LONGEST)
def test_the_grace_period_covers_the_code(built, name):
    """A drained pod would be killed in the middle of a commit, and readers wait for its open transaction."""
    pod = built.pod(f"stream-scrub-{name}")
    grace = pod.spec["terminationGracePeriodSeconds"]
    assert LONGEST[name] + 5 <= grace <= LONGEST[name] + 30
    assert grace > processes._STOP_S
    assert "lifecycle" not in pod.ours[-1], "time before SIGTERM is taken from the grace period"

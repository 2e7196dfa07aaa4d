"""Processes that start while the coordinators are late, or their connections break."""

import pytest

from tests.support.network.proxy import Api, Proxy, matching
from tests.support.running.stage import Stage
from tests.support.running.worker import wait_until

pytestmark = pytest.mark.chaos

STARTS = 12


def test_twelve_workers_start_at_once_while_coordinators_are_late(proxy: Proxy, tmp_path):
    """Workers would end by SIGABRT as often as they start, just when a broker is away or a whole group is rolled out."""
    stage = Stage(proxy.behind, tmp_path)
    proxy.delay(matching(Api.FIND_COORDINATOR), 2.0, times=STARTS)
    proxy.cut(matching(Api.FIND_COORDINATOR), after=True, times=STARTS)
    workers = [stage.worker(f"w{at}", client=proxy.bootstrap).start() for at in range(STARTS)]
    try:
        wait_until(lambda: all(each.logged("started") or not each.alive for each in workers))
        assert [each.process.returncode for each in workers if not each.alive] == []
    finally:
        stage.close()

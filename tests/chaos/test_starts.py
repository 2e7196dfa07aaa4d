"""Processes that start while the coordinators are late, or their connections break, or beside brokers with a slow setting."""

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from tests.support.network.proxy import Api, Proxy, matching
from tests.support.running.stage import Stage
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

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


SLOW = "partitions of a killed member wait for the brokers' session timeout"


def test_a_long_session_timeout_of_the_brokers_is_told_at_the_start(kafka, stages):
    """Nobody would know before a kill that for 45 s no opposed lead is taken back."""
    stage = stages(kafka.bootstrap, partitions=1, kafka__group_protocol="consumer")
    group = stage.env["STREAM_SCRUB_WORKER__GROUP_ID"]
    with stage.worker("w1") as worker, stage.recall("r1") as recall:
        wait_until(lambda: worker.logged("started") and recall.logged("recalling"))
    assert not worker.logged(SLOW)
    assert not recall.logged(SLOW)

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    setting = ConfigEntry("consumer.session.timeout.ms", "9000", incremental_operation=AlterConfigOpType.SET)
    for name in (group, f"{group}-recall"):
        resource = ConfigResource(ConfigResource.Type.GROUP, name, incremental_configs=[setting])
        admin.incremental_alter_configs([resource])[resource].result()
    with stage.worker("w2") as worker, stage.recall("r2") as recall:
        wait_until(lambda: worker.logged("started") and recall.logged("recalling"))
    assert worker.logged(SLOW, group=group, timeout_s=9.0)
    assert recall.logged(SLOW, group=f"{group}-recall", timeout_s=9.0)

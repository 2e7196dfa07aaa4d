"""A worker, a publisher, a server, a retry, a recall, a shadow and a fan-out, scraped by a real Prometheus with the rules: everything is there, and nothing cries wolf."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from stream_scrub.serve import tokens
from tests.kafka.broker import free_ports
from tests.support.machine.prometheus import Prometheus
from tests.support.running.outcome import ends
from tests.support.running.prospects import produce, prospect
from tests.support.running.publisher import PublisherProcess
from tests.support.running.server import ServerProcess
from tests.support.running.stage import Stage
from tests.support.texts.monitoring import ALERTS, alerts, in_dashboard
from tests.support.waiting import wait_until

# Of how long something takes: on a busy machine they may well be on their way.
OF_TIME = "CommitSlow|LogLagging|RequestsSlow|SealToEnforcementSlow|SwapStall"


@pytest.fixture(scope="module")
def scraped(kafka, prometheus, tmp_path_factory) -> Iterator[Prometheus]:
    """It has watched a worker and a publisher at their work for a while."""
    folder = tmp_path_factory.mktemp("scraped")
    stage = Stage(kafka.bootstrap, folder, partitions=2)
    stage.load("internal", [33612345678])
    today = datetime.now(UTC).date().isoformat()
    stage.load("tps", [447400123456], "--effective-at", today)  # a list that may grow too old
    ports = free_ports(7)
    told = folder / "told"
    told.mkdir()
    folder_of = {"connector": "folder", "lists": {"internal": "all"}, "settings": {"path": str(told)}}
    listen = [{"http__listen": f"127.0.0.1:{port}"} for port in ports]
    shadow = listen[4] | {"topics__shadow": f"{stage.topics['prospects']}.shadow"}
    consent = b'{"request":"consent","number":"+33612345680","at":"%s"}' % today.encode()
    file = folder / "tokens.json"
    token = tokens.add(file, "dialler", ["check"], datetime.now(UTC)).token
    with (
        PublisherProcess(stage, None, **listen[0]) as publisher,
        stage.worker("w-0", **listen[1]) as worker,
        ServerProcess(stage, f"127.0.0.1:{ports[2]}", http__tokens=file) as serving,
        stage.worker("s-0", "--shadow", **shadow) as shadowing,
        stage.retry("r-0", "--set", f"http.listen=127.0.0.1:{ports[3]}") as retry,
        stage.recall("recall-0", http__listen=f"127.0.0.1:{ports[5]}") as recall,
        stage.fanout({"files": folder_of}, http__listen=f"127.0.0.1:{ports[6]}") as fanout,
    ):
        wait_until(lambda: publisher.ready() and worker.logged("partitions assigned"))
        wait_until(serving.ready)
        wait_until(
            lambda: (
                retry.logged("retrying")
                and recall.logged("recalling")
                and shadowing.logged("shadowing")
                and fanout.logged("fan-out started")
            ),
        )
        serving.check({"number": "+33612345678"}, token)
        server = Prometheus(prometheus, folder, ports, [ALERTS])
        try:
            wait_until(lambda: len(server.rows("stream_scrub_build_info")) == 7)
            produce(kafka.bootstrap, stage.topics["requests"], iter([(b"k", consent)]))
            wait_until(lambda: bool(server.rows('stream_scrub_register_numbers{register="consent"} == 1')))
            leads = ((b"k", prospect(n, phone)) for n, phone in enumerate(["+33612345678", "+33612345680"]))
            produce(kafka.bootstrap, stage.topics["prospects"], leads)
            wait_until(lambda: ends(kafka.bootstrap, stage.outputs) >= 4)
            wait_until(lambda: len(server.rows("stream_scrub_prospects_total == 1")) == 2)
            wait_until(lambda: bool(server.rows("namespace_worker:stream_scrub_open_fds:max")))
            server.log_topic = stage.topics["log"]
            yield server
        finally:
            server.stop()


def test_every_panel_shows_something(scraped):
    """A panel would stay empty, and look like a system at rest."""
    # No process has the drill's: it sends them to a Pushgateway (tests/chaos/test_drill.py).
    expressions = [
        told
        for told in in_dashboard()
        if not told.text.startswith("ALERTS") and "stream_scrub_drill" not in told.text
    ]

    def empty() -> list[str]:
        return [told.where for told in expressions if not scraped.rows(told.text)]

    with suppress(AssertionError):  # a rate needs two scrapes of every counter
        wait_until(lambda: not empty(), every=1)
    assert empty() == []


def test_a_system_that_is_well_wakes_nobody(scraped):
    """Alerts that cry wolf are switched off, and then nobody hears the wolf."""
    others = f'ALERTS{{alertname!~"{OF_TIME}"}}'
    assert scraped.rows(others.replace("}", ',alertstate="firing"}')) == []
    # What waits to fire was so for a moment: a busy machine may need that to start seven daemons.
    wait_until(lambda: not scraped.rows(others))
    groups = scraped.ask("rules")["groups"]
    found = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert set(alerts()) <= set(found)
    assert [(name, rule["lastError"]) for name, rule in found.items() if rule["health"] != "ok"] == []


def test_a_corrupt_log_wakes_somebody(scraped, kafka):
    """Who wrote to the log would be found out weeks later."""
    produce(kafka.bootstrap, scraped.log_topic, iter([(b"internal", b"rubbish")]))
    wait_until(lambda: bool(scraped.rows('ALERTS{alertname="LogCorrupt",alertstate="firing",namespace="s"}')))

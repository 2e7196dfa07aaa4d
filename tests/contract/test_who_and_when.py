"""Who published, and when it existed: on a real Kafka, as an auditor reads it."""

import os
import pwd
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from stream_scrub import timestamps
from tests.support.fakes.timestamp_server import TimestampServer
from tests.support.fakes.web import Web
from tests.support.running.stage import Stage
from tests.support.running.worker import run, run_json
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.process, pytest.mark.slow]

NUMBERS = [33612345678, 33612345679]


@pytest.fixture
def server(tmp_path):
    return TimestampServer(tmp_path / "tsa")


@pytest.fixture
def stage(kafka, tmp_path, server) -> Iterator[Stage]:
    with Web(server) as web:
        made = Stage(
            kafka.bootstrap,
            tmp_path,
            partitions=1,
            evidence__timestamp_url=web.url,
            evidence__timestamp_ca=server.ca,
        )
        yield made
        made.close()


def test_the_head_of_the_log_is_anchored_and_verified(stage):
    """The operator could rewrite the past, and every chain would be right."""
    stage.load("internal", NUMBERS[:1])
    first = run_json(["lists", "anchor"], stage.env)
    stage.load("internal", NUMBERS, "--allow-change")
    second = run_json(["lists", "anchor"], stage.env)
    proof = run_json(["lists", "verify"], stage.env)
    assert proof["sound"]
    assert [(each["position"], each["upto"]) for each in proof["anchors"]] == [
        (each["position"], each["upto"]) for each in (first, second)
    ]
    assert all(each["checked"] for each in proof["anchors"])
    shown = run(["lists", "verify"], stage.env)
    assert "timestamps: 2. The log existed up to position" in shown.stdout
    worker = stage.worker("w0")
    with worker:
        wait_until(lambda: worker.logged("consuming") or worker.logged("partitions assigned"))
    without = {**stage.env, "STREAM_SCRUB_EVIDENCE__TIMESTAMP_URL": ""}
    refused = run(["lists", "anchor"], without)
    assert refused.returncode == 2 and "evidence.timestamp_url" in refused.stderr


def test_a_delta_names_its_publisher_as_the_system_knows_it(stage):
    """A list would be known only by a file's name, which its publisher chose."""
    stage.env |= {"USER": "somebody-else", "LOGNAME": "somebody-else"}
    stage.load("internal", NUMBERS[:1])
    history = run_json(["lists", "history", f"+{NUMBERS[0]}"], stage.env)
    (change,) = history["events"]
    user = pwd.getpwuid(os.getuid()).pw_name
    assert change["source"]["made_by"] == {"user": user, "host": socket.gethostname()}
    shown = run(["lists", "history", f"+{NUMBERS[0]}"], stage.env)
    assert f"published by {user} on {socket.gethostname()}" in shown.stdout


def test_a_dossier_names_its_maker_and_has_its_timestamp(stage, server, tmp_path):
    """A page could be made again after the complaint, and nobody could say by whom."""
    stage.load("internal", NUMBERS[:1])
    today = datetime.now(ZoneInfo("Europe/Paris")).date().isoformat()
    page = tmp_path / "dossier.html"
    made = run_json(
        ["dossier", f"+{NUMBERS[0]}", "--from", today, "--campaign", "house", "--out", str(page)], stage.env
    )
    assert made["made_by"] == f"{pwd.getpwuid(os.getuid()).pw_name} on {socket.gethostname()}"
    answer = page.with_name("dossier.html.tsr").read_bytes()
    assert timestamps.check(answer, page.read_bytes(), str(server.ca)) <= datetime.now(UTC) + timedelta(
        seconds=1
    )

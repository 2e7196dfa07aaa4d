"""Emitted prospects as CloudEvents, on a real Kafka, read as the specification says."""

import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import produce, prospect
from tests.support.running.worker import run_json, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SOURCE = "https://leads.example.com/scrub"
FRENCH, BELGIAN = 33_612_345_678, 32_470_100_000
# A producer whose forms send events of their own, and one that writes the whole event into the value.
THEIRS = [("ce_id", b"theirs"), ("Ce_Type", b"allowed"), ("CE_SOURCE", b"/forms"), ("ce_subject", b"lead")]
STRUCTURED = ("Content-Type", b"application/cloudevents+json; charset=UTF-8")


def event_of(message):
    """The attributes and data of a record in binary content mode (Kafka Protocol Binding 1.0.2, 3.2)."""
    headers = [(name.lower(), value.decode()) for name, value in message.headers()]
    content = [value for name, value in headers if name == "content-type"]
    assert not any(value.lower().startswith("application/cloudevents") for value in content), "structured"
    named = [(name.removeprefix("ce_"), value) for name, value in headers if name.startswith("ce_")]
    attributes = dict(named)
    assert len(attributes) == len(named), "an attribute twice"
    assert attributes["specversion"] == "1.0" and attributes["source"] == SOURCE
    return attributes, content, message.value()


def events(stage, role):
    return [event_of(m) for m in read_all(stage.bootstrap, stage.topics[role])]


def test_each_prospect_is_an_event_whose_id_names_it_for_good(kafka, stages):
    """A system of events would see no prospects, or drop a new verdict as a duplicate and count a repeated one twice."""
    stage = stages(kafka.bootstrap, partitions=1, prospect__cloudevents=SOURCE)
    stage.load("consent", [FRENCH], "--kind", "allow")
    leads = [prospect(0, f"+{FRENCH}"), prospect(1, f"+{BELGIAN}", country="BE"), b"\xff no JSON"]
    for lead in leads:
        produce(
            kafka.bootstrap, stage.topics["prospects"], iter([(b"k", lead)]), headers=[*THEIRS, STRUCTURED]
        )
    with stage.worker("w1") as worker:
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 3)
        assert worker.stop()[0] == 0 and worker.logged("started", transport="bulk")
    ((attributes, content, data),) = events(stage, "allowed")
    blocked = events(stage, "blocked")
    ids = [f"{stage.topics['prospects']}/0/{at}" for at in range(3)]
    assert [attributes["id"], *(each["id"] for each, _, _ in blocked)] == ids
    assert attributes["type"] == "stream-scrub.prospect.allowed" and content == ["application/json"]
    assert attributes["time"] == json.loads(data)["scrub"]["at"] and attributes["subject"] == "lead"
    assert {each["type"] for each, _, _ in blocked} == {"stream-scrub.prospect.blocked"}
    assert [(content, data[:2]) for _, content, data in blocked] == [
        (["application/json"], b'{"'),
        ([], b"\xff "),
    ]

    # The missing list comes: the Belgian goes back. Then everything is read once more.
    stage.load("dncm", [BELGIAN + 1], "--effective-at", f"{datetime.now(UTC):%Y-%m-%d}")
    run_json(["retry", "--since", "2026-01-01", "--register", "dncm"], stage.env)
    *_, back = read_all(kafka.bootstrap, stage.topics["prospects"])
    assert [name for name, _ in back.headers()] == ["ce_subject", "content-type", "scrub-retry"]
    group = stage.env["STREAM_SCRUB_WORKER__GROUP_ID"]
    with stage.worker("w2", "--from-beginning", worker__group_id=f"{group}-again") as worker:
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == 7)
        assert worker.stop()[0] == 0
    seen = Counter(each["id"] for role in ("allowed", "blocked") for each, _, _ in events(stage, role))
    (retried,) = seen.keys() - ids
    assert seen == {**dict.fromkeys(ids, 2), retried: 1}
    assert retried == f"{stage.topics['prospects']}/0/{back.offset()}"

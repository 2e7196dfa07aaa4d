"""The alerts: each fires when it should, stays quiet when it should, resolves, and says what to do."""

import os
import re
import subprocess
from collections import defaultdict

import pytest
import yaml

from stream_scrub.ops.metric_catalogue import HOLDS
from tests.support.texts.monitoring import ALERT_TESTS, ALERTS, alerts, rules

UNITS = {"m": 1, "h": 60, "d": 1440}


def minutes(span: str) -> int:
    return sum(int(count) * UNITS[unit] for count, unit in re.findall(r"(\d+)([mhd])", span))


def test_the_rules_are_accepted(promtool):
    """Prometheus would refuse the file, and nobody would be woken for anything."""
    done = subprocess.run([promtool, "check", "rules", str(ALERTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules())} rules found" in done.stdout
    assert "duplicate" not in done.stdout


@pytest.mark.parametrize("file", ALERT_TESTS, ids=lambda file: file.stem)
def test_every_alert_does_what_it_should(promtool, file):
    """Somebody would be woken for nothing, or not be woken while opted-out people are called."""
    command = [promtool, "test", "rules", file.name]
    done = subprocess.run(
        command, cwd=file.parent, capture_output=True, text=True, env=os.environ | {"GOGC": "400"}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_from_quiet_to_resolved():
    """An alert that never fires, or never stops, would be found out in the night that it is needed."""
    done: dict[str, set[str]] = defaultdict(set)
    for test in (test for file in ALERT_TESTS for test in yaml.safe_load(file.read_text())["tests"]):
        fired = set()
        for check in sorted(test.get("promql_expr_test", []), key=lambda check: minutes(check["eval_time"])):
            named = re.search(r'alertname="(\w+)"', check["expr"])
            if named is not None:
                name = named[1]
                fires = bool(check.get("exp_samples"))
                done[name].add("fires" if fires else "resolves" if name in fired else "quiet")
                fired |= {name} if fires else set()
    wanted = {"quiet", "fires", "resolves"}
    assert {name: wanted - done[name] for name in alerts() if done[name] != wanted} == {}
    assert set(done) == set(alerts())


def test_every_hold_has_one_alert():
    """A hold of a kind that no rule asks for would last until somebody misses the prospects; two rules would wake twice."""
    asked = re.findall(
        r'stream_scrub_holding\{cause(=~|!~|=)"([^"]+)"\}\) > 0$',
        "\n".join(r["expr"] for r in alerts().values() if "for" in r or "cause" in r["expr"]),
        re.MULTILINE,
    )
    for cause in (*HOLDS, "one-to-come"):
        hits = [sign for sign, causes in asked if (cause in causes.split("|")) is (sign != "!~")]
        assert len(hits) == 1, cause


def test_an_alert_says_what_to_do():
    """Whoever is woken would have to find out by himself what it means and what comes next."""
    for name, rule in alerts().items():
        assert rule["labels"] == {"severity": rule["labels"]["severity"], "service": "stream-scrub"}, name
        assert rule["labels"]["severity"] in {"page", "ticket"}, name
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, name
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}", name
        summary = re.sub(r"\{\{.*?\}\}", "", rule["annotations"]["summary"])
        assert len(summary) < 100 < len(rule["annotations"]["description"]), name


def test_recording_rules_are_used():
    """A rule that nobody reads would be computed for ever."""
    texts = [rule["expr"] for rule in rules() if "alert" in rule]
    assert [r["record"] for r in rules() if "record" in r and not any(r["record"] in t for t in texts)] == []

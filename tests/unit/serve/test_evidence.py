"""`GET /v1/report` and `POST /v1/verify`: who may ask, and what cannot be answered."""

from datetime import UTC, datetime

import pytest

from stream_scrub.serve import tokens
from tests.support.running.server import UNREADABLE_MONTH
from tests.unit.serve.conftest import make_lists, starting

pytestmark = pytest.mark.process
CHAIN = {"registers": [{"register": "internal", "seq": 3, "chain": "ab" * 32}]}


@pytest.fixture(scope="module")
def desk(rules, tmp_path_factory):
    """A server whose tokens have one scope each."""
    file = tmp_path_factory.mktemp("desk") / "tokens.json"
    made = {scope: tokens.add(file, scope, [scope], datetime.now(UTC)).token for scope in tokens.SCOPES}
    with starting(rules) as start:
        server = start(make_lists(), http__tokens=str(file))
        server.tokens = made
        yield server


def reported(server, scope, month="2026-10"):
    # A reading has a process of its own, which a busy machine starts slowly.
    headers = {"Authorization": f"Bearer {server.tokens[scope]}"}
    return server.client.get("/v1/report", params={"month": month}, headers=headers, timeout=None)


def verified(server, scope, proof=None):
    headers = {"Authorization": f"Bearer {server.tokens[scope]}"}
    return server.client.post("/v1/verify", json={"against": proof}, headers=headers, timeout=None)


@pytest.mark.parametrize("scope", ["check", "request", "history", "file"])
def test_other_scopes_read_no_evidence(desk, scope):
    """A dialler could count the business of others."""
    for answer in (reported(desk, scope), verified(desk, scope)):
        assert answer.status_code == 403
        assert answer.json()["scope"] == "evidence"


def test_an_officer_gets_both_and_they_name_him(desk):
    """An officer without a terminal would have to ask the operator to report on himself."""
    report, proof = reported(desk, "evidence"), verified(desk, "admin")
    assert report.json()["month"] == "2026-10"
    assert proof.json()["sound"]
    assert report.json()["made_by"]["token"] == "evidence"
    assert proof.json()["made_by"]["token"] == "admin"


def test_a_log_that_no_longer_has_an_earlier_proof_is_not_sound(desk):
    """Whoever cut the log off could show a proof of what is left."""
    proof = verified(desk, "evidence", CHAIN)
    assert proof.status_code == 200 and not proof.json()["sound"]
    assert "sequence 3 was filed" in proof.json()["problems"][0]["what"]


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "2999-01", "1999-12", "", "october"])
def test_a_wrong_month_is_refused_at_once(desk, month):
    """An officer would wait for a reading of all topics, and then learn of a slip."""
    report = reported(desk, "evidence", month)
    assert report.status_code == 422
    assert report.json()["errors"][0]["path"] == "month"
    assert "october" not in report.text, "a number may have been typed there"


def test_a_report_that_cannot_be_read_is_none(desk):
    """Half a month would be filed as the whole."""
    report = reported(desk, "evidence", f"{UNREADABLE_MONTH:%Y-%m}")
    assert report.status_code == 503
    assert report.json()["cause"] == "log-unreachable"

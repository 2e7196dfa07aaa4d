"""`GET /v1/report` and `POST /v1/verify`: who may ask, and what cannot be answered."""

from datetime import UTC, datetime

import pytest

from stream_scrub.serve import tokens
from tests.support.running.server import UNREADABLE_MONTH
from tests.unit.serve.conftest import make_lists

pytestmark = pytest.mark.process
CHAIN = {"registers": [{"register": "internal", "seq": 3, "chain": "ab" * 32}]}


@pytest.fixture
def desk(serve, tmp_path):
    """A server whose tokens have one scope each."""
    file = tmp_path / "tokens.json"
    made = {scope: tokens.add(file, scope, [scope], datetime.now(UTC)).token for scope in tokens.SCOPES}
    server = serve(make_lists(), http__tokens=str(file))
    server.tokens = made
    return server


def asked(server, scope, month="2026-10", proof=None):
    """The answers to both questions."""
    # A reading has a process of its own, which a busy machine starts slowly.
    more = {"headers": {"Authorization": f"Bearer {server.tokens[scope]}"}, "timeout": None}
    return (
        server.client.get("/v1/report", params={"month": month}, **more),
        server.client.post("/v1/verify", json={"against": proof}, **more),
    )


@pytest.mark.parametrize("scope", ["check", "request", "history", "file"])
def test_other_scopes_read_no_evidence(desk, scope):
    """A dialler could count the business of others."""
    for answer in asked(desk, scope):
        assert answer.status_code == 403
        assert answer.json()["scope"] == "evidence"


@pytest.mark.parametrize("scope", ["evidence", "admin"])
def test_an_officer_gets_both_and_they_name_him(desk, scope):
    """An officer without a terminal would have to ask the operator to report on himself."""
    report, proof = asked(desk, scope)
    assert report.json()["month"] == "2026-10"
    assert proof.json()["sound"]
    assert report.json()["made_by"]["token"] == proof.json()["made_by"]["token"] == scope


def test_a_log_that_no_longer_has_an_earlier_proof_is_not_sound(desk):
    """Whoever cut the log off could show a proof of what is left."""
    _, proof = asked(desk, "evidence", proof=CHAIN)
    assert proof.status_code == 200 and not proof.json()["sound"]
    assert "sequence 3 was filed" in proof.json()["problems"][0]["what"]


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "2999-01", "1999-12", "", "october"])
def test_a_wrong_month_is_refused_at_once(desk, month):
    """An officer would wait for a reading of all topics, and then learn of a slip."""
    report, _ = asked(desk, "evidence", month)
    assert report.status_code == 422
    assert report.json()["errors"][0]["path"] == "month"
    assert "october" not in report.text, "a number may have been typed there"


def test_a_report_that_cannot_be_read_is_none(desk):
    """Half a month would be filed as the whole."""
    report, _ = asked(desk, "evidence", f"{UNREADABLE_MONTH:%Y-%m}")
    assert report.status_code == 503
    assert report.json()["cause"] == "log-unreachable"

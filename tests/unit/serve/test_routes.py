"""The other routes: registers, rules, health and metrics; and what holds for every answer."""

import json
import re

import pytest

from stream_scrub.serve.bodies import Kind, Problem
from tests.unit.serve.conftest import CONSENTING, OPPOSED


def test_the_registers_are_told_with_what_they_are_worth(server):
    """A supervisor could not see by which lists of which day the diallers are answered."""
    told = server.client.get("/v1/registers").json()

    listed = {each["register"]: each for each in told["registers"]}
    assert {name: (each["kind"], each["count"]) for name, each in listed.items()} == {
        "internal": ("deny", 1),
        "consent": ("allow", 2),
    }
    assert told["stale"] is None and told["position"] == server.state._follower.index.position
    assert "tps" in {each["register"] for each in told["unusable"]}
    one = server.client.get("/v1/registers/consent").json()
    assert one == {**listed["consent"], "stale": None}
    assert server.client.get("/v1/registers/nobody").status_code == 404


def test_the_rule_of_a_day_is_told(server):
    """Nobody could read why a number is blocked without a shell on the server."""
    before = server.client.get("/v1/rules/re", params={"on": "2026-06-30"}).json()
    after = server.client.get("/v1/rules/FR").json()

    assert (before["country"], before["rule"]["to"], before["next"]["from"]) == (
        "FR",
        "2026-06-30",
        "2026-07-01",
    )
    assert after["rule"]["source"] == "an opt-in law made for the tests" and after["rule"]["says"]
    assert "where" not in after, "a path of the server"
    assert server.client.get("/v1/rules/AQ").status_code == 404
    for on in ("", "2026-6-30", "20260630", "2026-02-30", ["2026-06-30", "2026-07-30"]):
        assert server.client.get("/v1/rules/FR", params={"on": on}).status_code == 422, on
    wrong = server.client.get("/v1/rules/FR", params={"on": "0612345678"})
    assert wrong.status_code == 422 and "12345678" not in wrong.text


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/v1/check", 405, "POST"),
        ("DELETE", "/v1/registers", 405, "GET, HEAD"),
        ("POST", "/livez", 405, "GET, HEAD"),
        ("GET", "/v1/check/33612345678", 404, None),
        ("GET", "/v1", 404, None),
        ("POST", "/v1/check/", 404, None),
        ("GET", "/%ff%00/../x", 404, None),
        ("OPTIONS", "/v1/check", 405, "POST"),
    ],
)
def test_what_is_not_there_is_a_problem(server, method, path, status, allowed):
    """A client that expects problems would stumble over a page of text, or a browser of another site be let in."""
    answer = server.client.request(method, path)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    told = answer.json()
    assert told["status"] == status and told["type"].startswith("/docs#") and told["title"]
    assert answer.headers.get("allow") == allowed and "access-control-allow-origin" not in answer.headers
    assert "12345678" not in answer.text


def test_the_type_of_a_problem_leads_to_its_explanation(server):
    """An integrator who follows the link of an error would find nothing."""
    page = server.client.get("/docs").text
    for kind in Kind:
        path, _, anchor = json.loads(Problem(kind, "x").response.body)["type"].partition("#")
        assert path == "/docs" and f'id="{anchor}"' in page


def test_every_answer_has_an_id_of_its_own(server):
    """Whoever reports a fault could not say which request it was."""
    ids = [server.client.get(path).headers["request-id"] for path in ("/livez", "/x", "/livez")]
    assert len(set(ids)) == 3 and all(re.fullmatch("[a-z]{16}", each) for each in ids)


def test_every_answer_has_the_headers_that_protect(server):
    """A proxy would keep a verdict, or a browser take an answer for a page."""
    for answer in (
        server.check({"number": "0611111111"}),
        server.client.get("/metrics"),
        server.client.get("/x"),
        server.client.get("/livez"),
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


def test_no_number_leaves_the_bodies(server):
    """Numbers that somebody asked about would stand in logs and metrics for years."""
    for number in (OPPOSED, CONSENTING, 33699887766):
        server.check({"number": f"+{number}", "campaign": f"{number}"})
        server.check({"prospects": [{"number": number}, {f"{number}": 1}]})
        server.client.get(f"/v1/registers/{number}")
        server.client.get(f"/{number}?number={number}")
        server.client.post("/v1/check", content=f"{number}", headers={"X-Number": f"{number}"})
    said = server.out.getvalue().decode() + server.client.get("/metrics").text
    assert [str(n) for n in (OPPOSED, CONSENTING, 33699887766) if str(n)[2:] in said] == []


def test_answers_are_counted_by_what_was_asked(serve, lists):
    """Nobody would see that every second question is refused."""
    server = serve(lists)
    server.check({"number": f"+{OPPOSED}"})
    server.check({"prospects": [{"number": CONSENTING}] * 3})
    server.check({"numbr": 1})
    server.client.get("/v1/registers/internal")
    server.client.get("/nothing")
    page = server.client.get("/metrics").text.splitlines()
    for line in (
        'stream_scrub_http_requests_total{route="/v1/check",server="s1",status="200"} 2.0',
        'stream_scrub_http_requests_total{route="/v1/check",server="s1",status="422"} 1.0',
        'stream_scrub_http_requests_total{route="/v1/registers/{name}",server="s1",status="200"} 1.0',
        'stream_scrub_http_requests_total{route="other",server="s1",status="404"} 1.0',
        'stream_scrub_checks_total{reason="opposed",server="s1",verdict="blocked"} 1.0',
        'stream_scrub_checks_total{reason="consented",server="s1",verdict="allowed"} 3.0',
        'stream_scrub_check_seconds_count{server="s1"} 1.0',
        'stream_scrub_ready{server="s1"} 1.0',
    ):
        assert line in page, line


def test_a_fault_of_ours_is_no_verdict(server, monkeypatch):
    """A bug would come out as a traceback with the question in it, or end the server."""

    def faults():
        return [line for line in server.lines() if line["level"] == "error"]

    def broken(*_arguments):
        raise KeyError("+33612345678")

    monkeypatch.setattr(server.state._follower, "usable", broken)
    answer = server.check({"number": "0612345678"})
    assert answer.status_code == Kind.FAULT.status and answer.json()["type"] == "/docs#fault"
    server.until(lambda: faults() != [])  # it is told after the answer
    (line,) = faults()
    assert line["event"] == "request failed" and line["route"] == "/v1/check"
    assert line["request_id"] == answer.headers["request-id"]
    assert "12345678" not in json.dumps(line) + answer.text
    monkeypatch.undo()
    assert server.check({"number": "0612345678"}).status_code == 200

"""Dossiers on the page: who may ask for one, what of it is kept and logged, and how many at once."""

import json
import re
import socket
import time
from datetime import UTC, datetime

import pytest

from stream_scrub.kafka import clients
from stream_scrub.serve import tokens
from stream_scrub.serve.guard import COOKIE
from tests.support.fakes.desk import Desk
from tests.support.running.server import SLOW, UNREADABLE
from tests.unit.serve.conftest import CONSENTING, OPPOSED, make_lists, starting

pytestmark = pytest.mark.process
SHOP = Desk()
QUESTION = {"number": "06 12 34 56 78", "from": "2026-11-01", "to": "2026-11-12"}


@pytest.fixture(scope="module")
def shared(rules, tmp_path_factory):
    """A server with an officer, an administrator, and somebody who may read histories."""
    folder = tmp_path_factory.mktemp("desk")
    scopes = {"officer": "evidence", "other": "admin", "reader": "history"}
    file = folder / "tokens.json"
    made = {name: tokens.add(file, name, [scope], datetime.now(UTC)).token for name, scope in scopes.items()}
    with starting(rules) as start, pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients.Brokers, "requests_writer", lambda *_: SHOP)
        server = start(make_lists(), worker__state_dir=str(folder), http__tokens=str(file))
        server.folder, server.tokens = folder / "dossiers", made
        yield server


@pytest.fixture
def desk(shared):
    """The shared server, without dossiers of others."""
    yield shared
    for each in shared.folder.glob("?" * 32):
        for name in ("officer", "other"):
            shared.client.post(f"/dossiers/{each.name}/delete", headers=signed_in(shared, name))


def signed_in(server, name="officer"):
    return {"Cookie": f"{COOKIE}={server.tokens[name]}", "Origin": server.url}


def ask(server, name="officer", **question):
    return server.client.post("/dossiers", data={**QUESTION, **question}, headers=signed_in(server, name))


def get(server, path, name="officer"):
    return server.client.get(path, headers=signed_in(server, name))


def state(server, begun, name="officer"):
    return get(server, f"{begun.headers['location']}/state", name)


def finished(server, begun):
    server.until(lambda: state(server, begun).json()["stage"] in {"done", "failed"})
    return state(server, begun).json()


def test_an_officer_gets_a_dossier_and_the_log_says_who_asked(desk):
    """An officer without a terminal could not answer a complaint, or nobody could say who looked a person up."""
    begun = ask(desk, case="2026/117", language="fr")
    assert begun.status_code == 303
    assert finished(desk, begun)["stage"] == "done"
    path = begun.headers["location"]
    made = get(desk, f"{path}/dossier.json").json()
    assert made.pop("made_by").endswith(f" on {socket.gethostname()}, token officer")
    assert made == {
        "number": f"+{OPPOSED}",
        "first": "2026-11-01",
        "last": "2026-11-12",
        "case": "2026/117",
        "language": "fr",
    }
    lines = [line for line in desk.lines() if line["event"].startswith("dossier")]
    assert [(each["event"], each["by"], each["days"]) for each in lines] == [
        ("dossier requested", "officer", 12),
        ("dossier ended", "officer", 12),
    ]
    assert str(OPPOSED)[2:] not in re.sub(r"\D", "", desk.out.getvalue().decode())
    kept = {each.name: each.read_bytes() for each in desk.folder.rglob("*") if each.is_file()}
    named = {name for name, content in kept.items() if str(OPPOSED).encode() in content}
    assert named == {"dossier.json", "answer.json"}
    for who, status in (("other", 404), ("reader", 403)):
        assert state(desk, begun, who).status_code == status
        assert get(desk, f"{path}/dossier.json", who).status_code == status
    assert ask(desk, "reader").status_code == 403

    page = get(desk, path).text
    assert re.search(r"<h1>(.*?)</h1>", page)[1] == f"A call to +{OPPOSED} was not lawful."
    assert page.index("The reason: the person opted out.") < page.index("11 November 2026, 10:00 +01:00")
    assert "Delete the lead in your own systems." in page and f"{path}/dossier.html" in page
    assert get(desk, f"{path}/answer.json").status_code == 404


def test_a_person_gets_everything_that_is_held(desk):
    """A request for access would be answered with one day of the records."""
    begun = ask(desk, everything="yes")
    finished(desk, begun)
    page = get(desk, begun.headers["location"]).text
    assert "Kafka has deleted older records" in page
    assert "Give the person their data" not in page
    made = get(desk, f"{begun.headers['location']}/dossier.json").json()
    assert made["first"] < "2002"


def test_an_officer_records_an_objection_and_gets_a_receipt(desk):
    """Somebody who complains and says no would be called again, and have nothing that shows what they said."""
    said = {"number": "06 11 11 11 11", "at": "2026-11-30", "channel": "letter", "said_by": "the person"}

    def object_to_calls(**changed):
        return desk.client.post("/opt-out", data={**said, **changed}, headers=signed_in(desk))

    for scope in ("", "*"):
        receipt = object_to_calls(scope=scope).text
        rows = dict(re.findall(r'<th scope="row">([^<]*)</th><td>([^<]*)</td>', receipt))
        assert rows["Reference"].startswith("opposition.requests/0/")
        assert (rows["Day of the objection"], rows["How they objected"]) == ("2026-11-30", "letter")
        by = (rows["Who objected"], rows["Covers"], rows["Recorded by"])
        assert by == ("the person", "all calls", "page:officer")
        assert SHOP.opposed[-1] == ("internal", CONSENTING)
    for scope in (f"+{CONSENTING}", "http://172.26.58.193"):  # the publisher would take it for a number, too
        refused = object_to_calls(scope=scope)
        assert refused.status_code == 422 and "Campaign: this looks like a phone number" in refused.text
    receipt = object_to_calls(channel="%(x)s", said_by="100 %").text
    assert "<td>%(x)s</td>" in receipt and "<td>100 %</td>" in receipt
    for day in ("2999-01-01", "30/11/2026", "20261130", "2026-W48-1"):
        refused = object_to_calls(at=day)
        assert refused.status_code == 422 and "Day: " in refused.text
        assert 'value="06 11 11 11 11"' in refused.text
        assert '<option value="letter" selected>letter' in refused.text


def test_an_officer_reads_evidence_and_lifts_nothing(desk):
    """Whoever answers complaints could record a consent in somebody's name, or not see the history."""
    history = {"number": f"+{OPPOSED}"}
    bearer = {"Authorization": f"Bearer {desk.tokens['officer']}"}
    assert desk.client.post("/v1/history", json=history, headers=bearer).status_code == 200
    page = desk.client.post("/check", data=history, headers=signed_in(desk)).text
    assert f"History of +{OPPOSED}" in page and "The rule that decided" not in page
    request = {"request": "opt-out", "number": f"+{OPPOSED}"}
    assert desk.client.post("/v1/requests", json=request, headers=bearer).status_code == 403


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"number": "12"}, "number"),
        ({"from": "12/11/2026"}, "day: write it as"),
        ({"to": "2026-10-31"}, "before the first day"),
        ({"from": "1990-01-01", "to": "1990-01-02"}, "between 2000"),
        ({"region": "XX"}, "country: write its code"),
        ({"language": "pt"}, "language"),
    ],
)
def test_a_wrong_question_is_refused_at_once(desk, wrong, word):
    """An officer would wait for an hour, and then learn of a slip."""
    refused = ask(desk, **wrong)
    problem = re.search(r'role="alert"[^>]*><strong>(.*?)<', refused.text)[1]
    assert refused.status_code == 422 and word in problem.lower()
    assert "06 12" not in problem


def test_one_reading_of_a_token_at_a_time_and_it_can_be_ended(desk):
    """One client would have the server read all topics many times at once, or another's would be deleted unread."""
    first = ask(desk, campaign=SLOW)
    desk.until(lambda: state(desk, first).json()["stage"] == "working", 30)
    second = ask(desk)
    assert second.status_code == 429 and int(second.headers["Retry-After"]) > 0
    waiting = ask(desk, "other")
    assert waiting.status_code == 303, "it waits for its place"
    until = time.time()
    ended = desk.client.post(f"{first.headers['location']}/delete", headers=signed_in(desk))
    assert ended.status_code == 303
    desk.until(lambda: any(line["event"] == "dossier ended" for line in desk.lines()), 30)
    assert state(desk, first).status_code == 404
    desk.until(lambda: state(desk, waiting, "other").json()["stage"] == "done", 30)
    kept = json.loads(
        (desk.folder / waiting.headers["location"].rpartition("/")[2] / "job.json").read_bytes()
    )
    assert kept["at"] > until, "what it waited is not taken from the time that it has"


def test_why_a_dossier_cannot_be_made_is_said_without_its_number(desk):
    """An officer would not know what to do, or read a person's number where it does not belong."""
    begun = ask(desk, campaign=UNREADABLE)
    found = finished(desk, begun)
    assert found["stage"] == "failed"
    assert "no broker answers" in found["why"] and str(OPPOSED) not in found["why"]
    page = get(desk, begun.headers["location"])
    assert page.status_code == 200 and "fe80::1%eth0 &lt;b&gt;" in page.text

"""`POST /v1/requests` and `POST /v1/history`: what may be asked for, and what is known to be written."""

import asyncio
import json
import math
import socket
from logging import getLogger

import pytest

from stream_scrub import made_by
from stream_scrub.config import load
from stream_scrub.errors import ConfigError, Corrupt, StaleIndex, TooLarge, Unavailable
from stream_scrub.index import Index
from stream_scrub.kafka.requests_writer import RequestPlace
from stream_scrub.log import wire
from stream_scrub.model import Request
from stream_scrub.queries import history
from stream_scrub.requests.lifts import Oppositions
from stream_scrub.requests.parse_request import RequestTerms
from stream_scrub.requests.requests_to_delta import KnownScopes, take
from stream_scrub.rules import Rulebook
from stream_scrub.serve import endpoints as requests
from stream_scrub.serve import guard
from stream_scrub.serve.bodies import Problem
from stream_scrub.serve.endpoints import HistoryEndpoint
from tests.unit.serve.conftest import OPPOSED

JSON = {"Content-Type": "application/json"}
OPT_OUT = b'{"request":"opt-out","number":"06 12 34 56 80","source":"dialler-7"}'


class Brokers:
    """Takes requests as brokers do; `outcome` is what becomes of the next ones, None: nothing is ever heard."""

    def __init__(self):
        self.taken = []
        self.outcome = "written"

    def send(self, topic, key, value, told, headers):
        if self.outcome is None:
            return
        if isinstance(self.outcome, ConfigError):
            raise self.outcome  # no client can be made
        if self.outcome == "written":
            self.taken.append((topic, key, value))
            self.headers = dict(headers)
            told(RequestPlace(1, 41 + len(self.taken)))
        else:
            told(self.outcome)


@pytest.fixture
def brokers() -> Brokers:
    return Brokers()


@pytest.fixture
def desk(brokers, monkeypatch) -> requests.RequestEndpoint:
    monkeypatch.setattr(requests, "_DELIVERY_S", 0.2)
    return requests.RequestEndpoint(
        load(environ={}), Rulebook.load(), Index.empty, brokers.send, getLogger(__name__)
    )


def ask(desk, body=OPT_OUT, who="a"):
    return asyncio.run(desk.answer(body, caller(who)))


def caller(name: str) -> guard.Caller:
    return guard.Caller(
        guard.Account(name, guard.Bucket(math.inf), 0), guard.Account("", guard.Bucket(math.inf), 0)
    )


def test_an_opt_out_is_on_its_topic_when_it_is_answered(desk, brokers):
    """Somebody who opposed would be told that it is done, and be called."""
    found = ask(desk)
    assert (found.topic, found.partition, found.offset) == ("opposition.requests", 1, 42)
    taken = ("opposition.requests", b"+33612345680", OPT_OUT)
    assert brokers.taken == [taken], "its key, and its own bytes as evidence"


def test_a_request_names_its_token_apart_from_what_it_says_of_itself(desk, brokers):
    """Any client could record an opt-out, or a consent, in another's name."""
    body = b'{"request":"opt-out","number":"+33612345680","source":"somebody-else","made_by":{"token":"b"}}'
    ask(desk, body, who="dialler-7")
    made = made_by.of_header(brokers.headers["scrub-made-by"])
    assert (made.token, made.host) == ("dialler-7", socket.gethostname())
    request = Request(0, 41, 1_764_000_000_000, None, body, tuple(brokers.headers.items()))
    taken = take([request], RequestTerms(), lambda _: None, Oppositions(), {}, KnownScopes())
    (line,) = taken.wanted["internal"].lines
    said = wire.read_request_line(line)
    assert said.made_by == made and said.value() == body
    for odd in (b"{}", b"x" * 2000, b'{"user":1,"host":2}', b"\xff"):
        assert made_by.of_header(odd) is None


@pytest.mark.parametrize("kind", ["attempt", "refusal"])
def test_an_attempt_is_on_a_topic_of_its_own(desk, brokers, kind):
    """Attempts would stand before opt-outs, or a refusal of one call count as an opposition to all for good."""
    body = b'{"request":"%s","id":"4711","number":"06 12 34 56 80","outcome":"NI"}' % kind.encode()
    found = ask(desk, body)
    assert (found.topic, found.partition, found.offset) == ("call.attempts", 1, 42)
    assert brokers.taken == [("call.attempts", b"+33612345680", body)]


def test_a_refusal_without_an_id_protects_for_good(desk, brokers):
    """A form that says refusal and means an opt-out would be counted as a call that may be tried again."""
    assert ask(desk, b'{"request":"refusal","number":"+33612345680"}').topic == "opposition.requests"


@pytest.mark.parametrize(
    "outcome", [None, Unavailable("emitting: no broker answers"), ConfigError(["ssl.ca.location"])]
)
def test_what_is_not_known_to_be_written_is_not_accepted(desk, brokers, outcome):
    """The same, while the brokers are away."""
    brokers.outcome = outcome
    with pytest.raises(Problem) as found:
        ask(desk)
    assert found.value.kind.slug == "not-written" and found.value.headers["Retry-After"]
    brokers.outcome = "written"
    assert ask(desk).offset == 42, "it can be sent again"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "unreadable"),
        (b'{"request":"opt-out"}', "no-number"),
        (b'{"request":"opt-out","number":"98765432109876543210"}', "invalid-number"),
        (b'{"request":"hello","number":"+33698765432"}', "unknown-request"),
        (b'{"request":"attempt","number":"+33698765432"}', "unknown-request"),
        (b'{"request":"attempt","id":"1","number":"98765432109876543210"}', "invalid-number"),
        (b'{"request":"opt-out","request":"attempt","id":"1","number":"+33698765432"}', "unreadable"),
        (b'{"request":"attempt","id":"1","number":"+33698765432","number":"+33698765431"}', "unreadable"),
        (b'{"request":"settled","settles":"anId/0/7"}', "no-number"),
        (b'{"request":"consent","number":"+33698765432","until":"x"}', "invalid-until"),
        (
            b'{"request":"consent","number":"+33698765432","at":"2026-11-24","after_opt_out":true}',
            "may-not-lift",
        ),
        (
            b'{"request":"correction","number":"+33698765432","remove_from":"internal","reason":"x"}',
            "may-not-lift",
        ),
    ],
)
def test_what_the_publisher_would_refuse_is_refused_at_once(desk, brokers, body, reason):
    """Somebody's consent would be lost, and nobody hear of it; or anybody with a token take people off a list."""
    with pytest.raises(Problem) as found:
        ask(desk, body)
    assert found.value.kind.status == 422 and brokers.taken == []
    told = json.loads(found.value.body)
    assert told["reason"] == reason and "98765432" not in found.value.body.decode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[" + OPT_OUT + b"]", r'one JSON object, as in \{"request": "opt-out", "number": ...\}'),
        (
            b'{"kind":"opt-out","number":"+33698765432"}',
            r'state the request, as in \{"request": "opt-out", "number": ...\}',
        ),
    ],
)
def test_a_request_of_another_shape_is_refused_with_what_to_send(desk, brokers, body, said):
    """An integrator would look for a fault in the number, where only the words or brackets around it are wrong."""
    with pytest.raises(Problem, match=said):
        ask(desk, body)
    assert brokers.taken == []


def test_what_restricts_is_taken_leniently(desk, brokers):
    """An opt-out would be turned away for a misspelt campaign, and the person be called."""
    odd = ask(desk, b'{"request":"unsubscribe","number":["+33612345680","x"]}')
    assert (odd.note, odd.invalid) == ("unknown-request", 1) and len(brokers.taken) == 1


def test_a_large_request_lets_others_through(desk, brokers):
    """Half a megabyte of numbers would keep every dialler waiting for seconds."""
    body = json.dumps({"request": "opt-out", "number": [f"{n:060}" for n in range(8_000)]}).encode()
    turns = 0

    async def both() -> None:
        nonlocal turns
        answering = asyncio.create_task(desk.answer(body, caller("a")))
        while not answering.done():
            turns += 1
            await asyncio.sleep(0)
        with pytest.raises(Problem):
            answering.result()

    asyncio.run(both())
    assert turns >= 10 and brokers.taken == []


def test_what_the_topic_cannot_take_is_not_sent_again(desk, brokers):
    """A request that is too large would be sent again for ever, as if the brokers were away."""
    brokers.outcome = TooLarge("emitting: a record is over the topic's limit")
    with pytest.raises(Problem) as found:
        ask(desk)
    assert found.value.kind.status == 413


def test_histories_are_told(server):
    """A person who asks why they are called, or are not, would get no answer."""
    answer = server.client.post("/v1/history", json={"number": "06 12 34 56 78"})
    told = answer.json()
    assert told["number"] == f"+{OPPOSED}"
    assert {each["register"] for each in told["events"]} == {"internal", "consent"}
    by_name = {"number": "06 12 34 56 78", "region": "Frankreich"}
    assert server.client.post("/v1/history", json=by_name).json()["number"] == f"+{OPPOSED}"
    assert server.client.post("/v1/history", json={"number": "nobody"}).status_code == 422
    assert server.client.post("/v1/history", json={"number": "1", "region": "XX"}).status_code == 422
    assert server.client.post("/v1/history", json={"numbers": []}).status_code == 422
    assert server.client.post("/v1/history", json={"number": "0" * 5000}).status_code == 413
    twice = {"content": b'{"number":"0612345678","number":"0611111111"}', "headers": JSON}
    assert server.client.post("/v1/history", **twice).status_code == 422


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (Corrupt("x"), "log-corrupt"),
        (Unavailable("x"), "log-unreachable"),
        (StaleIndex("log-unfinished", "x"), "log-unfinished"),
    ],
)
def test_a_history_that_cannot_be_read_is_none(monkeypatch, error, cause):
    """Half a history would be taken for the whole, in court."""

    def broken(*_arguments):
        raise error

    monkeypatch.setattr(history, "of", broken)
    made = HistoryEndpoint(load(environ={}), None)
    with pytest.raises(Problem) as found:
        asyncio.run(made.answer(b'{"number":"+33612345678"}', "a"))
    assert json.loads(found.value.body)["cause"] == cause

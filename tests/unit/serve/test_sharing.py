"""One caller, or somebody unknown, takes no more than a share: of reading, of memory, of turns and of places."""

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from stream_scrub.config import Http
from stream_scrub.errors import Unavailable
from stream_scrub.ops.metric_catalogue import TOKEN_NUMBERS, TOKEN_VERDICTS
from stream_scrub.queries import history
from stream_scrub.queries.history import HistoryAnswer
from stream_scrub.serve import bodies, guard
from stream_scrub.serve.bodies import Problem
from stream_scrub.serve.page import routes
from stream_scrub.serve.turns import Turns
from tests.support.fakes.process_status import value
from tests.unit.serve.conftest import make_lists, starting
from tests.unit.serve.test_connections import connected
from tests.unit.serve.test_tokens import QUESTION, bearer, issue

pytestmark = pytest.mark.process


def begun(server, path: str, token: str, size: int, kind: str = "application/json") -> socket.socket:
    """A request of which nothing but the head has come."""
    made = connected(server)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: http://127.0.0.1:{server.port}\r\n"
    )
    head += f"Content-Type: {kind}\r\nAuthorization: Bearer {token}\r\nContent-Length: {size}\r\n\r\n"
    made.sendall(head.encode())
    return made


@pytest.fixture(scope="module")
def guarded(rules, tmp_path_factory):
    """A server with tokens; by their names."""
    file = tmp_path_factory.mktemp("guarded") / "tokens.json"
    made = {name: issue(file, name, "check", "history", "admin") for name in ("greedy", "other", "third")}
    with starting(rules) as start:
        server = start(make_lists(), http__tokens=str(file))
        server.tokens = made
        yield server


@pytest.mark.parametrize("path", ["/check", "/opt-out", "/lists/publish"])
def test_a_form_of_somebody_unknown_is_not_read(guarded, path):
    """Anybody could keep the server reading, ten seconds at a time."""
    with begun(guarded, path, "", 9000, "application/x-www-form-urlencoded") as unknown:
        assert unknown.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_the_bodies_of_one_token_have_a_bound(guarded):
    """A hundred and fifty bodies of eight megabytes that never end would take all of the server's memory."""
    server, held = guarded, []
    greedy, other = bearer(server.tokens["greedy"]), bearer(server.tokens["other"])

    def full() -> bool:  # one of the two that fit is refused itself if a question came between them
        held.append(begun(server, "/v1/check", server.tokens["greedy"], bodies.BODY_BYTES_MAX))
        return server.check(QUESTION, **greedy).status_code == 429

    server.until(full)
    assert server.check(QUESTION, **other).status_code == 200
    for each in held:
        each.close()
    server.until(lambda: server.check(QUESTION, **greedy).status_code == 200)


def test_callers_take_turns():
    """The questions of one desk, sent all at once, would keep every other desk waiting for all of them."""
    turns, order = Turns(most=2), []

    async def work(caller: str) -> None:
        async with turns.turn(caller):
            order.append(caller)
            await asyncio.sleep(0)

    async def all_of_them() -> list[BaseException | None]:
        mine = [asyncio.create_task(work("a")) for _ in range(5)]
        await asyncio.sleep(0)
        others = [asyncio.create_task(work("b")) for _ in range(2)]
        left = mine[1]
        await asyncio.sleep(0)
        left.cancel()
        return await asyncio.gather(*mine, *others, return_exceptions=True)

    found = asyncio.run(all_of_them())
    assert order == ["a", "a", "b", "b"] or order == ["a", "b", "a", "b"]
    assert isinstance(found[1], asyncio.CancelledError)
    refused = [each for each in found if isinstance(each, Problem)]
    assert len(refused) == 2 and all(each.kind.status == 429 for each in refused)


def test_who_has_left_takes_no_place_among_those_who_wait():
    """A dialler that gives up after two seconds would be refused its next question, though nobody waits."""
    turns = Turns(most=2)

    async def work(done: asyncio.Event) -> None:
        async with turns.turn("a"):
            await done.wait()

    async def all_of_them() -> None:
        done = asyncio.Event()
        first = asyncio.create_task(work(done))
        for _ in range(3):
            waiting = [asyncio.create_task(work(done)) for _ in range(2)]
            await asyncio.sleep(0)
            for each in waiting:
                each.cancel()
            await asyncio.wait(waiting)
            assert all(each.cancelled() for each in waiting)
        done.set()
        await asyncio.gather(first, work(done), work(done))

    asyncio.run(all_of_them())


@pytest.fixture
def slow_history(monkeypatch):
    """A history that is read until nobody waits for it. How many have begun, and how many have ended."""
    counts = {"begun": 0, "ended": 0, "over": 0}

    def read(_settings, _log, _number, _region, left) -> HistoryAnswer:
        counts["begun"] += 1
        while not left() and not counts["over"]:
            time.sleep(0.01)
        counts["ended"] += 1
        raise Unavailable("nobody waits")

    monkeypatch.setattr(history, "of", read)
    return counts


def test_a_history_ends_with_its_asker(server, slow_history):
    """Fifteen hundred histories that were asked for and hung up on would keep the next desk waiting for all of them."""
    body = b'{"number":"+33612345678"}'
    for n in range(3):
        with begun(server, "/v1/history", "", len(body)) as asker:
            asker.sendall(body)
            server.until(lambda n=n: slow_history["begun"] == n + 1)
        server.until(lambda n=n: slow_history["ended"] == n + 1)


def test_few_histories_of_one_token_wait(guarded, slow_history):
    """A queue without a bound would grow in memory, and no desk would learn that it has to wait."""
    ask = partial(
        httpx.post,
        f"{guarded.url}/v1/history",
        json={"number": "+33612345678"},
        headers=bearer(guarded.tokens["third"]),
        timeout=60,
    )
    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask) for _ in range(6)]
        guarded.until(lambda: sum(each.done() for each in asking) == 3)
        assert [each.result().status_code for each in asking if each.done()] == [429] * 3
        slow_history["over"] = 1


def test_a_prospect_has_a_size(server):
    """A contract of eight megabytes would keep every dialler waiting for a second."""
    large = {**QUESTION, "contract": "x" * 20_000}
    for asked in (large, {"prospects": [QUESTION, large]}):
        answer = server.check(asked)
        assert answer.status_code == 422 and "16384 bytes" in answer.json()["detail"]


def test_numbers_count_and_not_only_prospects(serve, lists, tmp_path):
    """A hundred prospects with a hundred numbers each would cost as much as ten thousand, and count as a hundred."""
    file = tmp_path / "tokens.json"
    token = issue(file, "dialler", "check")
    server = serve(lists, http__tokens=str(file), http__rate_per_s="1")
    page = {"prospects": [{"number": ["+33612345678"] * 100}] * 60}
    assert server.check(page, **bearer(token)).status_code == 200
    assert server.check(page, **bearer(token)).status_code == 429
    assert server.check({"prospects": [{"number": ["+33612345678"] * 100}] * 101}).status_code == 401


def test_what_each_token_asks_is_counted(serve, lists, tmp_path):
    """Somebody with one stolen token would read every verdict there is, and no figure or line would say so."""
    file = tmp_path / "tokens.json"
    token, other = issue(file, "dialler", "check"), issue(file, "other", "check")
    server = serve(lists, http__tokens=str(file))
    page = {"prospects": [{"number": f"+336{n:08}"} for n in range(5000)]}
    for _ in range(2):
        assert server.check(page, **bearer(token)).status_code == 200
    assert server.check(QUESTION, **bearer(other)).status_code == 200
    server.until(lambda: value(server.state, TOKEN_VERDICTS, token="dialler") == 10_000)
    server.until(lambda: value(server.state, TOKEN_VERDICTS, token="other") == 1)
    assert 4500 <= value(server.state, TOKEN_NUMBERS, token="dialler") <= 5500
    assert value(server.state, TOKEN_NUMBERS, token="other") == 1


def test_a_line_a_day_says_what_each_token_asked(tmp_path):
    """Without a Prometheus nobody would see it; or the line would name the numbers."""
    token = issue(tmp_path / "t.json", "dialler", "check")
    scope = {"type": "http", "headers": [(b"authorization", b"Bearer " + token.encode())]}
    with capture_logs() as lines:
        guarding = guard.Guard(Http(tokens=str(tmp_path / "t.json")), structlog.get_logger())
        today = datetime.now(UTC)
        guarding.count(lambda *_: None, today)
        guarding.admit(routes.Request(scope), "check").asked(["+33612345678", "+33612345678", "+33612345679"])
        for later in (0, 1, 1, 2):
            guarding.count(lambda *_: None, today + timedelta(days=later))
    told = [line for line in lines if line["event"] == "verdicts of a day"]
    assert told == [
        {"event": "verdicts of a day", "log_level": "info", "token": "dialler", "verdicts": 3, "numbers": 2}
    ]


def test_a_rate_holds_across_processes(tmp_path):
    """A token would have its rate as many times as there are processes."""
    file = tmp_path / "tokens.json"
    token = issue(file, "dialler", "check")
    http = Http(tokens=str(file), processes=4, rate_per_s=40)
    scope = {"type": "http", "headers": [(b"authorization", b"Bearer " + token.encode())]}
    caller = guard.Guard(http, None).admit(routes.Request(scope), "check")
    caller.spend(guard.BURST_MIN)
    with pytest.raises(Problem) as found:
        caller.spend(40)
    assert found.value.headers["Retry-After"] == "4"


def test_one_token_does_not_take_every_viewers_place(guarded):
    """One script with the smallest token would keep all others from the live page."""
    asked = b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: scrub_token=%b\r\n\r\n"
    viewers: list[socket.socket] = []

    def status(name: str) -> bytes:
        viewers.append(connected(guarded))
        viewers[-1].sendall(asked % guarded.tokens[name].encode())
        return viewers[-1].recv(12)

    try:
        found = [status("greedy") for _ in range(routes.TOKEN_VIEWERS_MAX + 3)]
        assert found.count(b"HTTP/1.1 200") == routes.TOKEN_VIEWERS_MAX and found[-1] == b"HTTP/1.1 429"
        assert status("other") == b"HTTP/1.1 200"
    finally:
        for each in viewers:
            each.close()
    guarded.until(lambda: status("greedy") == b"HTTP/1.1 200")
    viewers[-1].close()

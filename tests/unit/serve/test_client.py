"""The client: a verdict or Unknown, whatever server, network and proxies do."""

import asyncio
import gzip
import inspect
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from stream_scrub.client import AsyncClient, Call, Client, Stamp, Unknown
from stream_scrub.client import client as module
from stream_scrub.model import Reason, Verdict
from stream_scrub.serve import tokens
from tests.unit.serve.conftest import CONSENTING, NOBODY, OPPOSED


def asked(url: str, how: str, *questions, token: str | None = None, **more):
    """One or many questions by the client of that kind."""
    more.setdefault("deadline_s", 20)  # on a busy machine
    if how == "sync":
        with Client(url, token, **more) as asking:
            return asking.check(questions[0]) if len(questions) == 1 else asking.check_many(questions)

    async def ask():
        async with AsyncClient(url, token, **more) as asking:
            if len(questions) == 1:
                return await asking.check(questions[0])
            return await asking.check_many(questions)

    return asyncio.run(ask())


BOTH = pytest.mark.parametrize("how", ["sync", "async"])


@BOTH
def test_a_verdict_is_the_servers(server, how):
    """A dialler in Python would act on another verdict than the one that was given."""
    found = asked(server.url, how, f"+{OPPOSED}")
    assert isinstance(found, Stamp) and not found.allowed
    assert (found.verdict, found.reason, found.number) == (Verdict.BLOCKED, Reason.OPPOSED, f"+{OPPOSED}")
    assert json.loads(found.json)["registers"] == list(found.registers) == ["internal"]
    assert asked(server.url, how, f"+{CONSENTING}").allowed
    several = asked(server.url, how, f"+{CONSENTING}", {"number": NOBODY, "contract": True}, "x")
    assert [each.reason for each in several] == [Reason.CONSENTED, Reason.CONTRACT, Reason.INVALID_NUMBER]
    assert "612345678" not in repr(found)
    with Client(server.url, deadline_s=20) as asking:
        assert asking.check(CONSENTING, Call(who="business")).verdict in Verdict


def test_many_are_asked_in_pages(server, monkeypatch):
    """A file of leads would be refused for its length."""
    monkeypatch.setattr(module, "_PAGE", 3)
    found = asked(server.url, "sync", *[OPPOSED, CONSENTING] * 5)
    assert [each.allowed for each in found] == [False, True] * 5


@contextmanager
def answering(*answers: bytes | None, delay_s: float = 0.0) -> Iterator[tuple[str, list[int]]]:
    """A server that gives each connection the next of these bytes, and then the last one for ever. None: it ends the
    connection. Yields its address, and the number of questions so far."""
    count = [0]
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            while True:
                try:
                    made, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(made,), daemon=True).start()

        def one(made: socket.socket) -> None:
            with made:
                try:
                    if not made.recv(65_536):
                        return
                    answer = answers[min(count[0], len(answers) - 1)]
                    count[0] += 1
                    time.sleep(delay_s)
                    if answer is not None:
                        made.sendall(answer)
                except OSError:
                    return

        threading.Thread(target=run, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", count
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def allowed(at: datetime | None = None, more: str = "") -> bytes:
    """A permission of that moment, or of this one."""
    moment = (at or datetime.now(UTC)).isoformat()
    return b'{"verdict":"allowed","reason":"clear","number":"+33611111111","index":1,"at":"%b"%b}' % (
        moment.encode(),
        more.encode(),
    )


def no_verdicts() -> dict[str, bytes | None]:
    """Answers of now: an old one is no verdict whatever else is wrong with it."""
    now, good = datetime.now(UTC), allowed()
    return {
        "a page of a proxy": http(200, b"<html>allowed</html>"),
        "nothing": http(200, b""),
        "cut short": http(200, good)[:-20],
        "another verdict": http(200, good.replace(b'"allowed"', b'"ok"')),
        "a reason that blocks": http(200, good.replace(b"clear", b"opposed")),
        "many for one": http(200, b'{"stamps":[' + good + b"]}"),
        "a list": http(200, b"[" + good + b"]"),
        "accepted": http(202, good),
        "moved": http(302, good, "Location: http://127.0.0.1:1/"),
        "refused": http(422, b'{"detail":"number: expected"}'),
        "forbidden": http(403, b"no"),
        "unavailable": http(503, good),
        "too many": http(429, good, "Retry-After: 600"),
        "a pause that is no number": http(429, good, "Retry-After: \u00b2"),
        "a nest": http(200, b'{"stamps":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}"),
        "a nest of one": http(200, b'{"verdict":' + b"[" * 100_000),
        "packed badly": http(200, good, "Content-Encoding: gzip"),
        "no utf-8": http(200, good.replace(b"+33611111111", b"\xff")),
        "no http": b"allowed\r\n\r\n",
        "no number": http(200, good.replace(b'"number":"+33611111111",', b"")),
        "another's": http(200, good.replace(b"+33611111111", b"+33622222222")),
        "another's, of several": http(
            200, good.replace(b'"number":', b'"numbers":[{"number":"+33622222222"}],"number":')
        ),
        "of last week": http(200, allowed(now - timedelta(days=7))),
        "of next year": http(200, allowed(now + timedelta(days=365))),
        "of no zone": http(200, allowed(now.replace(tzinfo=None))),
        "lapsed": http(200, allowed(now, ',"until":"2016-01-02"')),
        "another's to call": http(200, allowed(now, ',"callable":["+33622222222"]')),
        "a number that is no text": http(200, good.replace(b'"+33611111111"', b"33611111111")),
        "numbers that are no list": http(200, allowed(now, ',"numbers":{"x":1}')),
        "lapsed on no day": http(200, allowed(now, ',"until":"never"')),
        "said twice": http(200, b'{"verdict":"blocked",' + good[1:]),
        "said twice, in letters that some take for the same": http(
            200, allowed(now, ',"rea\u017fon":"clear"').replace(b"clear", b"opposed", 1)
        ),
        "something after it": http(200, good + b'{"verdict":"blocked"}'),
        "deep": http(200, allowed(now, f',"x":{"[" * 100_000}{"]" * 100_000}')),
        "gone": None,
    }


@BOTH
@pytest.mark.parametrize("name", no_verdicts())
def test_whatever_is_no_verdict_is_unknown(name, how):
    """A proxy's page, a cut answer or a misread status would be a permission to call."""
    with answering(no_verdicts()[name]) as (url, _):
        for found in (asked(url, how, CONSENTING, deadline_s=0.2), *asked(url, how, 1, 2, deadline_s=0.2)):
            assert isinstance(found, Unknown) and found.allowed is False and not found and found.why


TYPED = [
    "06 11 11 11 11",
    "+33 (0)6 11-11-11-11",
    611111111,
    "tel:06 11 11 11 11",
    ["1", "0611111111"],
    "06\u202f11\u202f11\u202f11\u202f11",
    "\u200e+33611111111",
    "\u0660\u0666\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661",
    "+33611111111 ext. 12345",
    "+33611111111;ext=12345",
]
OTHERS = ["0176/12345678", "tel:+33612345678", "06\u202f12\u202f34\u202f56\u202f78", "\u200e+33612345678"]
OTHERS += [
    "+33 6 12 34 56 78 (mobile)",
    "",
    "0",
    0,
    "n/a",
    ["06 12 34 56 78", "n/a"],
    ["06 12 34 56 78", ""],
    [],
]


@pytest.mark.parametrize("typed", TYPED)
def test_an_answer_fits_however_the_number_is_typed(typed):
    """A verdict would be thrown away because a number was typed as people type it."""
    with answering(http(200, allowed())) as (url, _):
        assert asked(url, "sync", typed).allowed


def test_letters_on_a_keypad_are_its_digits():
    """A number that people remember as a word would never be called."""
    flowers = allowed().replace(b"+33611111111", b"+18003569377")
    with answering(http(200, flowers)) as (url, _):
        assert asked(url, "sync", "1-800-FLOWERS").allowed
        assert not asked(url, "sync", "1-800-FLOWERY", deadline_s=0.5).allowed


@pytest.mark.parametrize("typed", OTHERS)
def test_an_answer_about_another_number_is_unknown_however_this_one_is_typed(typed):
    """A proxy that mixes answers up would give permission to call somebody who opposed."""
    with answering(http(200, allowed())) as (url, _):
        assert isinstance(asked(url, "sync", typed, deadline_s=0.2), Unknown)


@BOTH
def test_an_answer_without_end_is_unknown_and_takes_no_memory(how, monkeypatch):
    """A broken proxy would take the dialler's memory."""
    monkeypatch.setattr(module, "_BODY_BYTES_MAX", 100_000)
    packed = gzip.compress(bytes(100 << 20))
    with answering(http(200, packed, "Content-Encoding: gzip")) as (url, _):
        tracemalloc.start()
        found = asked(url, how, CONSENTING, deadline_s=0.5)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert isinstance(found, Unknown) and peak < 20 << 20


def test_what_a_server_says_of_a_number_is_not_repeated():
    """The dialler's log would hold the numbers of those who complained to it."""
    with answering(http(400, b'{"detail":"unknown number +33 6 12-34-56-78 here"}')) as (url, _):
        assert asked(url, "sync", CONSENTING).why == "unknown number +... here"


@BOTH
def test_a_time_out_is_unknown_and_in_time(how):
    """A dialler would wait for ever, or take silence for a permission."""
    with answering(http(200, allowed()), delay_s=30) as (url, _):
        started = time.monotonic()
        assert isinstance(asked(url, how, CONSENTING, deadline_s=0.3), Unknown)
        assert time.monotonic() - started < 25
    nowhere = "http://127.0.0.1:1"
    assert isinstance(asked(nowhere, how, CONSENTING, deadline_s=0.3), Unknown)
    assert [each.allowed for each in asked(nowhere, how, 1, 2, 3, deadline_s=0.2)] == [False] * 3


@BOTH
def test_what_passes_is_asked_again(how):
    """One restart of a server would stop a dialler for its whole page of leads."""
    busy = http(503, b'{"detail":"wait","cause":"log-behind"}', "Retry-After: 0")
    with answering(None, busy, http(200, allowed())) as (url, count):
        assert asked(url, how, CONSENTING, deadline_s=5).allowed and count[0] == 3
    with answering(busy) as (url, _):
        found = asked(url, how, CONSENTING, deadline_s=1.5)
        assert (found.status, found.cause, found.why) == (503, "log-behind", "wait")
    with answering(http(422, b"{}")) as (url, count):
        assert asked(url, how, CONSENTING, deadline_s=5).status == 422 and count[0] == 1


@BOTH
def test_a_token_is_sent(serve, lists, tmp_path, how):
    """A dialler with a token would be turned away."""
    file = tmp_path / "tokens.json"
    token = tokens.add(file, "d", ["check"], datetime.now(UTC)).token
    server = serve(lists, http__tokens=str(file))
    assert asked(server.url, how, CONSENTING, token=token, deadline_s=10).allowed
    found = asked(server.url, how, CONSENTING, deadline_s=10)
    assert isinstance(found, Unknown) and found.status == 401


@BOTH
@pytest.mark.parametrize(
    ("number", "more", "said"),
    [
        (33611111111.0, {}, "number"),
        ([33611111111.0], {}, "number"),
        (True, {}, "number"),
        (f"+{CONSENTING}", {"call": "insurance"}, "call: give a Call"),
        (f"+{CONSENTING}", {"call": Call(channel=3)}, "channel"),
        (f"+{CONSENTING}", {"region": 33}, "region"),
    ],
)
def test_a_wrong_argument_is_raised(how, number, more, said):
    """A dialler would take "do not dial" for every number, for ever, and its programmer would look at the network."""
    client = (Client if how == "sync" else AsyncClient)("http://127.0.0.1:1", deadline_s=0.1)
    for call, numbers in ((client.check, number), (client.check_many, [number])):
        with pytest.raises(ValueError, match=said) as raised:
            asyncio.run(call(numbers, **more))
        assert "611111111" not in str(raised.value)


def test_a_wrong_question_and_a_wrong_address_are_raised():
    """The same, for a misspelt member and for an address without its scheme."""
    for url in ("127.0.0.1:8080", "localhost", "http://", "ftp://x"):
        with pytest.raises(ValueError, match="with its scheme"):
            Client(url)
    with (
        Client("http://127.0.0.1:1", deadline_s=0.1) as asking,
        pytest.raises(ValueError, match="unknown field `numbr`; a question may have number, region"),
    ):
        asking.check_many([{"numbr": f"+{CONSENTING}"}])


def test_both_clients_are_alike():
    """What is written for one would not run with the other."""

    def members(kind: type) -> dict:
        return {
            name: inspect.signature(each)
            for name, each in vars(kind).items()
            if inspect.isfunction(each) and (not name.startswith("_") or name == "__init__")
        }

    assert members(Client) == members(AsyncClient)

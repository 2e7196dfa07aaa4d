"""Connections that are slow, silent, too many or no HTTP at all harm themselves alone."""

import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import trustme

from stream_scrub.ops.metric_catalogue import LIMIT_HITS
from stream_scrub.serve import asgi, bodies, connections
from tests.support.fakes.process_status import value
from tests.unit.serve.test_tls import client, issued

pytestmark = pytest.mark.process

ASK = b'POST /v1/check HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n{"number":"0611111111"}'


def connected(server) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", server.port), 60)
    made.settimeout(60)
    return made


def read_all(made: socket.socket) -> bytes:
    """What comes until the server ends the connection."""
    found = b""
    while True:
        try:
            piece = made.recv(65_536)
        except ConnectionResetError:
            return found
        if not piece:
            return found
        found += piece


def still_answers(server) -> bool:
    return server.check({"number": "0611111111"}).json()["reason"] == "consented"


def test_headers_that_do_not_come_end_the_connection(server, monkeypatch):
    """A few thousand clients that send a byte a minute would keep every dialler out."""
    monkeypatch.setattr(connections, "_HEAD_S", 0.2)
    for begun in (b"", b"POST /v1/check HTTP/1.1\r\nHost: x\r\nX-A: "):
        with connected(server) as slow:
            slow.sendall(begun)
            started = time.monotonic()
            assert read_all(slow) == b"" and time.monotonic() - started < 30
    assert still_answers(server)


def test_a_second_request_must_be_as_quick(server, monkeypatch):
    """A client could send one good request, and then hold its place for ever."""
    monkeypatch.setattr(connections, "_HEAD_S", 0.2)
    with connected(server) as slow:
        slow.sendall(ASK + b"POST /v1/che")
        assert read_all(slow).count(b"HTTP/1.1 200") == 1


def test_a_body_that_does_not_come_is_told(server, monkeypatch):
    """The same, with a body that never ends."""
    monkeypatch.setattr(bodies, "_BODY_S", 0.2)
    with connected(server) as slow:
        slow.sendall(ASK[:-10])
        assert read_all(slow).startswith(b"HTTP/1.1 408")
    assert still_answers(server)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X-A: y\r\n" * 4000 + b"\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + b"z" * 1_000_000,
    ],
    ids=["target", "header", "headers", "endless"],
)
def test_large_headers_are_refused(server, head):
    """A header without an end would grow in the server's memory."""
    with connected(server) as large:
        try:
            large.sendall(head)
        except (ConnectionResetError, BrokenPipeError):
            pass
        told = read_all(large)
    assert told == b"" or told.startswith(b"HTTP/1.1 431 "), told[:100]
    assert still_answers(server)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/check HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=range(6),
)
def test_what_is_no_http_is_refused(server, sent):
    """Two readers of one stream of bytes would find two requests in it, and one of them answer the other's."""
    with connected(server) as odd:
        odd.sendall(sent)
        odd.shutdown(socket.SHUT_WR)
        told = read_all(odd)
    assert told == b"" or told.startswith((b"HTTP/1.1 400", b"HTTP/1.1 415")), told[:100]
    assert still_answers(server)


def test_an_offer_of_another_protocol_is_passed_over(server):
    """Java's own client offers HTTP/2 with every question: all of them would come without their body."""
    offer = b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\n"
    with connected(server) as java:
        for _ in range(2):
            java.sendall(ASK.replace(b"Host: 127.0.0.1\r\n", b"Host: 127.0.0.1\r\n" + offer))
            answer = b""
            while b"}" not in answer:  # head and body may come one after the other
                answer += java.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200") and b'"consented"' in answer


def test_idle_connections_give_way(serve, lists, monkeypatch):
    """Ten thousand idle connections would keep every dialler out, or cut off those who have asked before."""
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 40)
    server = serve(lists)
    assert still_answers(server)
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(server)) for _ in range(120)]
        assert still_answers(server)
        server.until(lambda: value(server.state, LIMIT_HITS, limit="http-connections") >= 80)
        assert read_all(idle[0]) == b""
        assert still_answers(server)
    assert [line for line in server.lines() if line.get("limit") == "http-connections"]


def test_slow_bodies_give_way(serve, lists, monkeypatch):
    """Whoever sends forms a byte at a time, before anybody knows who it is, would keep every dialler out."""
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 40)
    server = serve(lists)
    assert still_answers(server)
    form = b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"
    form += b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9000\r\n\r\ntoken="
    with ExitStack() as stack:
        for _ in range(120):
            stack.enter_context(connected(server)).sendall(form)
            with connected(server) as good:
                good.sendall(ASK)
                assert good.recv(65_536).startswith(b"HTTP/1.1 200")
        assert still_answers(server)


def test_silence_before_the_handshake_gives_way(serve, lists, monkeypatch, tmp_path):
    """Clients that open connections with TLS and say nothing would take memory without a bound, and every place."""
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 40)
    authority = trustme.CA()
    server = serve(lists, ready=False, **issued(tmp_path, authority))
    with client(server, authority) as dialler, ExitStack() as stack:
        server.until(lambda: dialler.get("/readyz").status_code == 200)
        silent = [stack.enter_context(connected(server)) for _ in range(120)]
        for each in silent[::2]:
            with suppress(OSError):
                each.sendall(b"\x16\x03\x01\x02\x00\x01")  # a handshake that is never finished
        with client(server, authority) as new:
            assert new.post("/v1/check", json={"number": "0611111111"}).json()["reason"] == "consented"
        assert dialler.post("/v1/check", json={"number": "0611111111"}).json()["reason"] == "consented"
        server.until(lambda: value(server.state, LIMIT_HITS, limit="http-connections") >= 80)


def test_a_handshake_that_does_not_end_is_ended(serve, lists, monkeypatch, tmp_path):
    """A few thousand clients that never finish a handshake would hold their places for a minute each."""
    monkeypatch.setattr(connections, "_HANDSHAKE_S", 0.2)
    server = serve(lists, ready=False, **issued(tmp_path, trustme.CA()))
    for begun in (b"", b"\x16\x03\x01\x02\x00\x01"):
        with connected(server) as slow:
            slow.sendall(begun)
            started = time.monotonic()
            assert read_all(slow) == b"" and time.monotonic() - started < 30


def test_a_low_limit_of_open_files_lowers_the_bound_and_is_told():
    """The bound would never be reached: with 1,024 files every new connection is refused, and no line says why."""
    script = (
        "import resource, structlog; from stream_scrub.serve.connections import room;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard})); print(room(structlog.get_logger()))"
    )
    for hard, expected in ((1024, 768), (4096, 2000)):
        done = subprocess.run(
            [sys.executable, "-c", script.format(hard=hard)], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == str(expected)
        assert ("the limit of open files is low" in done.stdout) == (expected < 2000)


def is_open(here: int, there: int) -> bool:
    """Whether the process that listens on the port `here` holds its end of a connection from the port `there`."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = {
        tuple(int(each.rpartition(":")[2], 16) for each in line.split()[1:3]): line.split()[3]
        for line in lines
    }
    return ends.get((here, there)) == "01"  # ESTABLISHED


@pytest.mark.parametrize(
    ("header", "more"),
    [(b"", b""), (b"", ASK), (b"Connection: close\r\n", b"")],
    ids=["idle", "asks on", "ends"],
)
def test_a_client_that_takes_no_answer_is_cut_off(serve, lists, monkeypatch, header, more):
    """Answers that nobody reads would fill the server's memory, and their connections would keep others out."""
    monkeypatch.setattr(connections, "KEEP_ALIVE_S", 0.3)
    monkeypatch.setattr(asgi, "_SEND_S", 0.3)
    monkeypatch.setattr("stream_scrub.serve.serving.KEEP_ALIVE_S", 0.3)
    server = serve(lists)
    asked = b'{"prospects":[' + b",".join([b'{"number":"0611111111"}'] * 10_000) + b"]}"
    head = b"POST /v1/check HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # else the system itself keeps the answer
        deaf.settimeout(60)
        deaf.connect(("127.0.0.1", server.port))
        deaf.sendall(head % (header, len(asked)) + asked + more)
        # The server gives the connection up, and what the system keeps of the answer may still be read.
        server.until(lambda: not is_open(server.port, deaf.getsockname()[1]))
        assert len(read_all(deaf)) < 1_300_000

"""No bytes of a body, or of what follows a request, are ever answered as a request: directly, and behind the proxies that
people put in front."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from stream_scrub.ops.metric_catalogue import HTTP_REQUESTS
from tests.kafka.broker import free_ports
from tests.support.fakes.process_status import value
from tests.support.texts.pages import ROOT, blocks
from tests.unit.serve.conftest import CONSENTING, NOBODY
from tests.unit.serve.test_connections import connected, read_all

pytestmark = pytest.mark.process

HIDDEN = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y\r\n\r\n"


def asking(
    headers: bytes, body: bytes = HIDDEN, *, length: bool = True, line: bytes = b"POST /v1/check HTTP/1.1"
):
    """A question with these headers whose body is, or holds, the hidden request."""
    declared = b"Content-Length: %d\r\n" % len(body) if length else b""
    return b"%b\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n%b%b\r\n%b" % (
        line,
        headers,
        declared,
        body,
    )


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
GOOD = asking(b"", b'{"number":"+%d"}' % CONSENTING)
TRICKS = {
    "upgrade": asking(UPGRADE),
    "websocket": asking(
        b"Connection: keep-alive, upgrade\r\nUPGRADE:websocket\r\nSec-WebSocket-Version: 13\r\n"
    ),
    "upgrade of java": asking(
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    ),
    "upgrade behind blank lines": b"\r\n\r\n\r\n" + asking(UPGRADE),
    "upgrade in a second request": GOOD + asking(UPGRADE),
    "upgrade in a third request": GOOD + b"\r\n" + GOOD + asking(UPGRADE),
    "upgrade after a chunked request": asking(b"Transfer-Encoding: chunked\r\n", chunked(b"{}"), length=False)
    + asking(UPGRADE),
    "upgrade twice": asking(b"Upgrade: foo\r\n" + UPGRADE),
    "upgrade with a space": asking(b"Connection: Upgrade\r\nUpgrade : h2c\r\n"),
    "upgrade on a folded line": asking(b"Connection: Upgrade\r\nX: y\r\n Upgrade: h2c\r\n"),
    "upgrade after a bare line feed": asking(b"Connection: Upgrade\r\nX: y\nUpgrade: h2c\r\n"),
    "upgrade of a chunked body": asking(
        UPGRADE + b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + HIDDEN, length=False
    ),
    "upgrade of a GET": asking(UPGRADE, line=b"GET /livez HTTP/1.1"),
    "upgrade by HTTP/1.0": asking(UPGRADE, line=b"POST /v1/check HTTP/1.0"),
    "connect": asking(b"", line=b"CONNECT 127.0.0.1:1 HTTP/1.1"),
    "both lengths": asking(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + HIDDEN),
    "both lengths, the other way": asking(b"Transfer-Encoding: identity\r\n"),
    "a spaced coding": asking(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n" + HIDDEN),
    "a tabbed coding": asking(b"Transfer-Encoding:\tchunked\r\n", b"0\r\n\r\n" + HIDDEN),
    "an unknown coding": asking(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + HIDDEN),
    "two codings": asking(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n" + HIDDEN),
    "a folded coding": asking(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n" + HIDDEN),
    "two lengths": asking(b"Content-Length: 0\r\n"),
    "a signed length": asking(b"Content-Length: +%d\r\n" % len(HIDDEN), length=False),
    "a listed length": asking(b"Content-Length: 0, %d\r\n" % len(HIDDEN), length=False),
    "an expectation": asking(b"Expect: 100-continue\r\n"),
    "a chunk's extension": asking(
        b"Transfer-Encoding: chunked\r\n", b"2;a=\n{}\r\n0\r\n\r\n" + HIDDEN, length=False
    ),
    "a chunk that ends with a line feed": asking(
        b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\n0\r\n\r\n" + HIDDEN, length=False
    ),
    "a trailer": asking(
        b"Transfer-Encoding: chunked\r\n",
        b"0\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + HIDDEN,
        length=False,
    ),
    "a body of a GET": asking(b"", line=b"GET /livez HTTP/1.1"),
    "a body of HTTP/1.0": asking(b"Connection: keep-alive\r\n", line=b"POST /v1/check HTTP/1.0"),
}
GO = """package main

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	server, _ := url.Parse(os.Args[2])
	http.ListenAndServe(os.Args[1], httputil.NewSingleHostReverseProxy(server))
}
"""
NGINX = """daemon off; error_log stderr; pid {folder}/pid;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  {inner}
}}
"""
(DOCUMENTED,) = [each.text for each in blocks(ROOT / "docs" / "check-api.md") if each.language == "nginx"]


def _nginx(folder: Path, server: int, port: int) -> list[str]:
    inner = DOCUMENTED.replace("127.0.0.1:8080", f"127.0.0.1:{server}")
    inner = inner.replace("127.0.0.1:8443", f"127.0.0.1:{port}")
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, inner=inner))
    return ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"]


def _go(folder: Path, server: int, port: int) -> list[str]:
    (folder / "proxy.go").write_text(GO)
    subprocess.run(["go", "build", "-o", "proxy", "proxy.go"], cwd=folder, check=True, timeout=300)
    return [str(folder / "proxy"), f"127.0.0.1:{port}", f"http://127.0.0.1:{server}"]


PROXIES = {"nginx": _nginx, "go": _go}


@contextmanager
def behind(proxy: str, server, folder: Path) -> Iterator[int]:
    """The port of that proxy in front of the server."""
    if shutil.which(proxy) is None:
        pytest.skip(f"no {proxy} on this machine")
    (port,) = free_ports(1)
    running = subprocess.Popen(PROXIES[proxy](folder, server.port, port))
    try:

        def answers() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/livez", headers={"Host": "127.0.0.1"}).is_success
            except httpx.TransportError:
                return False

        server.until(answers)
        yield port
    finally:
        running.terminate()
        running.wait(60)


def sent(port: int, pieces: list[bytes]) -> None:
    """Send the pieces, and read what comes."""
    with socket.create_connection(("127.0.0.1", port), 10) as attacker:
        attacker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        attacker.settimeout(0.1)
        try:
            for piece in pieces:
                attacker.sendall(piece)
            while attacker.recv(65_536):
                pass
        except (TimeoutError, OSError):
            pass


def hidden_answers(server) -> float:
    return value(server.state, HTTP_REQUESTS, route="/openapi.json", status="200") or 0.0


@pytest.mark.parametrize("trick", TRICKS)
def test_a_body_is_never_a_request(server, trick):
    """Behind a proxy, another dialler would get the answer to the hidden request for its own: somebody who may not be
    called is called."""
    before = hidden_answers(server)
    sent(server.port, [TRICKS[trick]])
    assert hidden_answers(server) == before


def test_it_does_not_hang_on_where_the_segments_end(server):
    """The same, with an offer of another protocol that is cut somewhere between two segments."""
    before, trick = hidden_answers(server), b"\r\n" + GOOD + TRICKS["upgrade"]
    for cut in range(1, len(trick), 3):
        with connected(server) as attacker:
            attacker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            attacker.sendall(trick[:cut])
            server.client.get("/livez")  # the server has read the first piece by now
            attacker.sendall(trick[cut:])
            answers = b""
            while b"HTTP/1.1 422" not in answers:
                answers += attacker.recv(65_536)
        assert hidden_answers(server) == before, cut
        assert answers.count(b"HTTP/1.1 ") == 2, (cut, answers)


def test_a_request_whose_end_only_its_parser_knows_is_the_last_one(server):
    """Two readers of a chunked body that disagree about its end would disagree about every request after it."""
    with connected(server) as made:
        made.sendall(asking(b"Transfer-Encoding: chunked\r\n", chunked(b"{}"), length=False) + HIDDEN)
        answers = read_all(made)
    assert answers.count(b"HTTP/1.1 ") == 1 and b"\r\nconnection: close" in answers


@pytest.mark.slow
@pytest.mark.parametrize("proxy", PROXIES)
def test_nobody_gets_anothers_answer_behind_a_proxy(serve, lists, proxy, tmp_path):
    """A dialler would read the verdict on another's number as the verdict on its own."""
    server = serve(lists)
    with behind(proxy, server, tmp_path) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as honest:
        for trick, content in TRICKS.items():
            for hidden in (content, content.replace(HIDDEN, GOOD)):
                sent(port, [hidden[:90], hidden[90:]])
                for number in (NOBODY, CONSENTING):
                    answer = honest.post(
                        "/v1/check", json={"number": f"+{number}"}, headers={"Host": "127.0.0.1"}
                    )
                    assert answer.status_code == 200 and answer.json()["number"] == f"+{number}", trick

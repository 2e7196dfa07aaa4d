"""Health and metrics over HTTP: what is answered to whom, and what happens to clients that misbehave."""

import http.client
import io
import json
import socket
import threading
from contextlib import contextmanager

import pytest

from stream_scrub.config import Http
from stream_scrub.errors import Refused
from stream_scrub.ops import http_server as module
from stream_scrub.ops.logs import configure
from tests.support.fakes.process_status import Scraped, worker
from tests.support.running.worker import environment, run

pytestmark = pytest.mark.process


@contextmanager
def served(board=None, listen="127.0.0.1:0"):
    """A server over a worker that is well; its port, its worker's counters, and its log."""
    collector, counters, _ = worker()
    out = io.BytesIO()
    log = configure("debug", "json", out)
    with module.serving(Http(listen=listen), board or (lambda: [collector()]), counters.limit_hit, log):
        (line,) = lines(out)
        assert line["event"] == "listening" and line["listen"] == f"127.0.0.1:{line['port']}"
        yield line["port"], counters, out


def lines(out):
    return [json.loads(line) for line in out.getvalue().splitlines()]


def ask(port, method="GET", path="/readyz"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer, answer.read()


def test_the_four_pages_are_answered():
    """Kubernetes and Prometheus would find nothing."""
    with served() as (port, counters, out):
        for path in ("/livez", "/readyz", "/startupz"):
            answer, body = ask(port, path=path)
            assert answer.status == 200 and json.loads(body)["ok"] is True
            assert answer.getheader("Content-Type").startswith("application/json")
        counters.hold("no-seal", "nothing is on the log")
        answer, body = ask(port)
        assert answer.status == 503
        (loop,) = json.loads(body)["loops"]
        assert loop["causes"][0]["cause"] == "no-seal" and loop["causes"][0]["do"]
        answer, body = ask(port, path="/metrics")
        assert answer.status == 200 and answer.getheader("Content-Type").startswith("text/plain; version=")
        assert Scraped(body.decode()).value("stream_scrub_holding", cause="no-seal") == 1
        assert ask(port, path="/metrics?name[]=stream_scrub_ready")[0].status == 200
    assert [line["event"] for line in lines(out)] == ["listening"], "no line for a request"


def test_errors_say_what_is_answered():
    """Somebody who mistypes a path would think that nothing runs here."""
    with served() as (port, _, _):
        answer, body = ask(port, path="/health")
        assert answer.status == 404 and "/readyz" in json.loads(body)["pages"]
        for path in ("/metrics", "/livez"):
            answer, body = ask(port, "POST", path)
            assert answer.status == 405 and answer.getheader("Allow") == "GET, HEAD"
        for path in ("/metrics", "/livez", "/none"):
            answer, body = ask(port, "HEAD", path)
            assert body == b"" and int(answer.getheader("Content-Length")) > 20
        with socket.create_connection(("127.0.0.1", port), 60) as client:
            client.sendall(b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n")
            assert b" 414 " in client.recv(200)
        assert ask(port)[0].status == 200


def test_a_fault_is_one_line_and_an_error_to_the_client():
    """A traceback would break the log's JSON, or a page that fails go unnoticed."""

    def broken():
        raise ValueError("33612345678")

    with served(broken) as (port, _, out):
        answer, _ = ask(port)
        assert answer.status == 500
        assert ask(port, path="/metrics")[0].status == 500
    told = lines(out)[1:]
    assert [line["event"] for line in told] == ["page failed"] * 2
    assert "ValueError" in told[0]["error"] and "33612345678" not in out.getvalue().decode()


def connected(port, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", port), 60, source_address=(source, 0))


def ended(client):
    client.settimeout(60)
    try:
        return client.recv(10) == b""
    except ConnectionResetError:
        return True


def test_a_client_that_says_nothing_keeps_nobody_from_the_probes():
    """64 connections of one neighbour in the network, and every worker would be killed for what it does not answer."""
    with served() as (port, _, out):
        silent = [connected(port) for _ in range(64)]
        for _ in range(5):
            assert ask(port, path="/livez")[0].status == 200
        flood = [connected(port, f"127.0.0.{at}") for at in range(2, 42)]
        assert ask(port, path="/livez")[0].status == 200
        for client in (*silent, *flood):
            client.close()
        page = Scraped(ask(port, path="/metrics")[1].decode())
        assert page.value("stream_scrub_limit_hits_total", limit="http-connections") > 50
    assert [line["event"] for line in lines(out)] == ["listening", "limit reached"], "one line a minute"


def test_the_oldest_that_has_not_asked_gives_way(monkeypatch):
    """A scrape that is being answered would be cut off by somebody who only connects."""
    monkeypatch.setattr(module, "_HEAD_S", 60)
    monkeypatch.setattr(module, "_OF_ADDRESS_MAX", 2)
    monkeypatch.setattr(module, "_CONNECTIONS_MAX", 4)
    asked, goes = threading.Event(), threading.Event()
    collector, _, _ = worker()

    def board():
        asked.set()
        assert goes.wait(60)
        return [collector()]

    with served(board) as (port, _, _):
        scrape = connected(port)
        scrape.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert asked.wait(60)
        first, second = connected(port), connected(port)
        assert ended(first), "of one address there may be two"
        others = [connected(port, f"127.0.0.{at}") for at in (2, 3, 4)]
        assert ended(second), "of all there may be four, and this one's address has most"
        goes.set()
        scrape.settimeout(60)
        assert scrape.recv(100).startswith(b"HTTP/1.0 200"), "who has asked is answered"
        for client in (scrape, first, second, *others):
            client.close()


def test_a_request_must_come_soon(monkeypatch):
    """Whoever connects and says nothing would hold a place for ten seconds, and so all of them with a few bytes."""
    monkeypatch.setattr(module, "_HEAD_S", 0.3)
    with served() as (port, _, _):
        clients = [connected(port) for _ in range(2)]
        clients[1].sendall(b"GET /livez HTTP/1.1\r\nHost")
        assert all(map(ended, clients))
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_who_has_a_network_of_addresses_counts_once(host, source):
    """One machine with an IPv6 network of its own would be as many as it likes; or all of IPv4 would be one."""
    assert module.source_of(host) == source


def test_probes_have_a_port_of_their_own():
    """Whoever may scrape could take every place, and the kubelet kill the pods that it cannot ask."""
    collector, _, _ = worker()
    out = io.BytesIO()
    both = Http(listen="127.0.0.1:0", probes="127.0.0.1:0")
    with module.serving(both, lambda: [collector()], lambda _: None, configure("info", "json", out)):
        ports = {line["serves"]: line["port"] for line in lines(out)}
        probes = ports["the probes"]
        flood = [connected(ports["all pages"], f"127.0.0.{at}") for at in range(2, 66)]
        for path in ("/livez", "/readyz", "/startupz"):
            assert ask(probes, path=path)[0].status == 200
        answer, body = ask(probes, path="/metrics")
        assert answer.status == 404 and json.loads(body)["pages"] == ["/livez", "/readyz", "/startupz"]
        for client in flood:
            client.close()
    taken = Http(listen="", probes=f"127.0.0.1:{probes}")
    with (
        socket.create_server(("127.0.0.1", probes)),
        pytest.raises(Refused, match=r"http\.probes: .*another"),
    ):
        module.serving(taken, list, lambda _: None, configure("info", "json", io.BytesIO())).__enter__()


def test_a_taken_default_is_one_warning(monkeypatch):
    """A second worker on a laptop would not start for want of a port that nobody asked for."""
    with served() as (port, _, _):
        default = Http()
        monkeypatch.setattr(module, "address_of", lambda where: ("127.0.0.1", port) if where else None)
        assert not default.is_asked_for
        out = io.BytesIO()
        with module.serving(default, list, lambda _: None, configure("info", "json", out)):
            pass
    (line,) = lines(out)
    assert line["level"] == "warning" and "http.listen" in line["do"]


@pytest.mark.parametrize("command", [["worker", "--processes", "2"], ["lists", "publish"]])
def test_a_command_whose_address_is_taken_ends_and_says_so(command):
    """A pod would run for ever unwatched, and its probes ask another program."""
    with served() as (port, _, _):
        done = run(command, environment("127.0.0.1:1", http__listen=f"127.0.0.1:{port}"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"http.listen: 127.0.0.1:{port} cannot be listened on" in json.loads(line)["why"]


def test_it_listens_on_an_ipv6_address():
    """A cluster with IPv6 only could not be probed."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    out = io.BytesIO()
    collector, _, _ = worker()
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with module.serving(
        Http(listen="[::1]:0"), lambda: [collector()], lambda _: None, configure("info", "json", out)
    ):
        (line,) = lines(out)
        assert line["listen"] == f"[::1]:{line['port']}"
        connection = http.client.HTTPConnection("::1", line["port"], timeout=60)
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200

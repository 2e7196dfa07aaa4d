"""Health and metrics over HTTP, in threads next to the loop: `/metrics`, `/livez`, `/readyz`, `/startupz`.

The standard library's HTTP server, GET and HEAD only. prometheus_client's own server has no bounds: one idle neighbour
could take every thread, and Kubernetes would kill the worker. Here connections are bounded, in all and for one address,
and each ends after `_REQUEST_S`. The server runs from start to end, so probes are answered while a broker is away.
Anyone who can connect can read: the pages have names of topics, registers and brokers, and no prospect.
"""

import ipaddress
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

import msgspec

from stream_scrub.config import Http, address_of
from stream_scrub.errors import Refused
from stream_scrub.model import Logger
from stream_scrub.ops import health, metrics
from stream_scrub.ops.log_lines import Limit
from stream_scrub.ops.metrics import Board

_CONNECTIONS_MAX = 32
_OF_ADDRESS_MAX = 8  # of one address; two Prometheus servers behind one address, and the probes, need fewer
_HEAD_S = 1.0  # from the start of a connection until its request line and headers have come
_REQUEST_S = 10.0  # from the start of a connection to its end
_EVERY_S = 0.25  # how long the server may take to notice that it must stop
_JSON = [("Content-Type", "application/json; charset=utf-8"), ("Cache-Control", "no-store")]
_PATHS = ("/metrics", *health.PROBES)


def page(content: object) -> bytes:
    """A page for people and programs: indented JSON."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


class _PageRequest(BaseHTTPRequestHandler):
    server: "_PageServer"
    timeout = _REQUEST_S
    server_version = "stream-scrub"
    sys_version = ""
    error_content_type = "text/plain"
    error_message_format = "%(code)d %(message)s\n"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the standard library
        """Log nothing: a probe comes every few seconds."""

    def parse_request(self) -> bool:
        is_complete = super().parse_request()
        if is_complete:
            self.server.request_received(self.request)
        return is_complete

    def __getattr__(self, name: str) -> Any:
        """The answer to any method, as the standard library looks it up."""
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        with ExitStack() as on_fault:  # which the server's `handle_error` logs
            on_fault.callback(self.send_error, 500)
            status, headers, body = self._page()
            on_fault.pop_all()
        self.send_response_only(int(status[:3]), status[4:])
        for name, value in (("Server", self.server_version), ("Date", self.date_time_string()), *headers):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _page(self) -> tuple[str, list[tuple[str, str]], bytes]:
        path, _, query = self.path.partition("?")
        if path not in self.server.paths:
            missing = {"error": "no such page", "pages": list(self.server.paths)}
            return "404 Not Found", _JSON, page(missing)
        if self.command not in {"GET", "HEAD"}:
            wrong = page({"error": "only GET and HEAD are answered"})
            return "405 Method Not Allowed", [*_JSON, ("Allow", "GET, HEAD")], wrong
        if path == "/metrics":
            return metrics.answer(self.server.board, query, self.headers)
        answer = health.probed(path, self.server.board())
        return "200 OK" if answer.ok else "503 Service Unavailable", _JSON, page(answer.page)


@dataclass(slots=True)
class _Connection:
    since: float
    source: str
    has_asked: bool = False


class _PageServer(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        board: Board,
        paths: Collection[str],
        limit: Limit,
        log: Logger,
    ) -> None:
        self.board, self.paths = board, paths
        self._log = log
        self._limit = limit
        self._lock = threading.Lock()
        self._open: dict[socket.socket, _Connection] = {}  # the oldest first
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _PageRequest)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in a thread of its own. If there are too many, close another one."""
        source = source_of(client_address[0])
        with self._lock:
            too_many = self._one_too_many(source)
            if too_many is not None:
                del self._open[too_many]
            self._open[request] = _Connection(time.monotonic(), source)
        if too_many is not None:
            self._limit.hit()
            _end(too_many)
        super().process_request(request, client_address)

    def _one_too_many(self, source: str) -> socket.socket | None:
        """The connection to close for a new one: the oldest of the address with the most, preferably one without a
        request."""
        # Refusing the new one would let silent clients lock the kubelet out, which then kills a healthy process.
        counts = Counter(each.source for each in self._open.values())
        if counts[source] < _OF_ADDRESS_MAX:
            if len(self._open) < _CONNECTIONS_MAX:
                return None
            source = counts.most_common(1)[0][0]
        of_source = [request for request, each in self._open.items() if each.source == source]
        return next((request for request in of_source if not self._open[request].has_asked), of_source[0])

    def request_received(self, request: socket.socket) -> None:
        """A connection has sent its request."""
        with self._lock:
            if request in self._open:
                self._open[request].has_asked = True

    def shutdown_request(self, request: Any) -> None:
        """A connection is over."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close connections that take too long. Called several times a second."""
        now = time.monotonic()
        with self._lock:
            overdue = [
                request
                for request, each in self._open.items()
                if now - each.since > (_REQUEST_S if each.has_asked else _HEAD_S)
            ]
        for request in overdue:
            _end(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as in the standard library
        """A client that went away or was too slow is not logged; anything else is a fault of ours."""
        if not isinstance(fault := sys.exception(), OSError):
            self._log.error("page failed", exc_info=fault)


def _end(request: socket.socket) -> None:
    """Shut a connection down; its thread then closes it."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


def source_of(host: str) -> str:
    """The source that an address counts for: an IPv4 address itself; for IPv6 the /64 network, since one machine may
    use any address of it."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


@contextmanager
def serving(
    http: Http,
    board: Board,
    limit_hit: Callable[[str], None],
    log: Logger,
    *,
    probes_only: bool = False,
) -> Iterator[None]:
    """Serve while the block lasts: all pages at `http.listen` (unless `probes_only`) and the probes at `http.probes`.

    If an address cannot be used: raises Refused if it was configured, otherwise logs a warning and serves no pages.
    """
    limit = Limit("http-connections", limit_hit, log)
    wanted: list[tuple[str, str, Collection[str], str, bool]] = [
        ("http.probes", http.probes, list(health.PROBES), "the probes", True)
    ]
    if not probes_only:
        wanted.insert(0, ("http.listen", http.listen, _PATHS, "all pages", http.is_asked_for))
    with ExitStack() as stack:
        for setting, where, paths, serves, is_required in wanted:
            address = address_of(where)
            if address is None:
                continue
            try:
                server = _PageServer(address, board, paths, limit, log)
            except OSError as error:
                why = f"{setting}: {where} cannot be listened on ({error.strerror})"
                if is_required:
                    raise Refused(f"{why}: choose another address, or none") from error
                log.warning("health and metrics are not served", why=why, do="set http.listen")
            else:
                stack.enter_context(_running(server, serves, log))
        yield


@contextmanager
def _running(server: _PageServer, serves: str, log: Logger) -> Iterator[None]:
    host, port = server.server_address[:2]
    shown = f"[{host!s}]" if ":" in str(host) else host
    log.info("listening", listen=f"{shown!s}:{port}", port=port, serves=serves)
    thread = threading.Thread(target=server.serve_forever, args=(_EVERY_S,), name="http", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()

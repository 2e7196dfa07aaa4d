"""Health and metrics over HTTP, in threads beside the loop: `/metrics`, `/livez`, `/readyz`, `/startupz`.

Small on purpose: the standard library's WSGI server, GET and HEAD only. The number of connections is bounded, in all
and for one address; each connection ends after `_REQUEST_S`, and the oldest gives way to the newest. Requests are not
logged. The server runs before anything else and until the end, so that probes are answered while a broker is away.
Whoever may connect may read: the pages hold names of topics, registers and brokers, and no prospect.
"""

import ipaddress
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

import msgspec
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Http, address_of
from stream_scrub.errors import Refused
from stream_scrub.observability import health, prometheus
from stream_scrub.observability.limits_hit import Limit, with_hits
from stream_scrub.observability.metric_catalogue import Side
from stream_scrub.observability.process_status import Board

_CONNECTIONS_MAX = 32
_OF_ADDRESS_MAX = 8  # of one address; two Prometheus servers behind one address, and the probes, need fewer
_HEAD_S = 1.0  # from a connection's begin until its request line and headers are there
_REQUEST_S = 10.0  # from a connection's begin to its end, whatever it does meanwhile
_EVERY_S = 0.25  # how long the server may take to notice that it must stop
_JSON = [("Content-Type", "application/json; charset=utf-8"), ("Cache-Control", "no-store")]
PROBES: Mapping[str, Callable[..., health.ProbeAnswer]] = {
    "/livez": health.livez,
    "/readyz": health.readyz,
    "/startupz": health.startupz,
}
_PATHS = ("/metrics", *PROBES)

Start = Callable[..., Any]


class StatusPages:
    """The WSGI application."""

    def __init__(self, side: Side, board: Board, paths: Collection[str] = _PATHS) -> None:
        self._board = board
        self._paths = paths
        self._metrics = prometheus.page(side, board)

    def __call__(self, request: dict[str, Any], start: Start) -> Iterable[bytes]:
        """One request."""
        method, path = request["REQUEST_METHOD"], request["PATH_INFO"]
        if path not in self._paths:
            missing = {"error": "no such page", "pages": list(self._paths)}
            status, headers, body = "404 Not Found", _JSON, page(missing)
        elif method not in {"GET", "HEAD"}:
            headers = [*_JSON, ("Allow", "GET, HEAD")]
            status, body = "405 Method Not Allowed", page({"error": "only GET and HEAD are answered"})
        elif path == "/metrics":
            status, headers, body = self._scraped(request)
        else:
            answer = PROBES[path](self._board())
            status = "200 OK" if answer.ok else "503 Service Unavailable"
            headers, body = _JSON, page(answer.page)
        start(status, [*headers, ("Content-Length", str(len(body)))])
        return [] if method == "HEAD" else [body]

    def _scraped(self, request: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        started: list[Any] = []
        body = b"".join(
            self._metrics({**request, "REQUEST_METHOD": "GET"}, lambda *given: started.extend(given))
        )
        status, headers = started
        return status, headers, body


def page(content: object) -> bytes:
    """A page for people and programs: indented JSON."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


class _Answering(ServerHandler):
    os_environ: dict[str, str] = {}  # noqa: RUF012 - the process's own is nobody's business here
    server_software = "stream-scrub"

    def log_exception(self, exc_info: Any) -> None:
        """Log a fault of ours: wsgiref would print a traceback into the log's JSON."""
        self.request_handler.server.log_fault(exc_info[1])  # type: ignore[attr-defined]  # set in _PageRequest


class _PageRequest(WSGIRequestHandler):
    timeout = _REQUEST_S
    server_version = "stream-scrub"
    sys_version = ""
    error_content_type = "text/plain"
    error_message_format = "%(code)d %(message)s\n"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the standard library
        """Nothing: a probe every few seconds is no news."""

    def handle(self) -> None:
        """As WSGIRequestHandler does, except that a fault is logged by our logger."""
        self.raw_requestline = self.rfile.readline(65_537)
        if len(self.raw_requestline) > 65_536:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
        elif self.parse_request():
            self.server.heard(self.request)  # type: ignore[attr-defined]  # it is a _Server
            wfile: Any = self.wfile
            answering = _Answering(self.rfile, wfile, sys.stderr, self.get_environ())
            answering.request_handler = self  # type: ignore[attr-defined]
            answering.run(self.server.get_app())  # type: ignore[attr-defined]


@dataclass(slots=True)
class _Connection:
    since: float
    source: str
    heard: bool = False


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], pages: StatusPages, limit: Limit, log: FilteringBoundLogger
    ) -> None:
        self._log = log
        self._limit = limit
        self._lock = threading.Lock()
        self._open: dict[socket.socket, _Connection] = {}  # the oldest first
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _PageRequest)
        self.set_app(pages)

    def server_bind(self) -> None:
        """Bind without a name lookup, which may take longer than a probe waits."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in a thread of its own. If there are too many, close another one."""
        source = _source(client_address[0])
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
        """The connection that gives way to a new one: the oldest of the address that has most, preferably one that
        has not asked yet."""
        counts = Counter(each.source for each in self._open.values())
        if counts[source] < _OF_ADDRESS_MAX:
            if len(self._open) < _CONNECTIONS_MAX:
                return None
            source = counts.most_common(1)[0][0]
        of_it = [request for request, each in self._open.items() if each.source == source]
        return next((request for request in of_it if not self._open[request].heard), of_it[0])

    def heard(self, request: socket.socket) -> None:
        """A connection has sent its request."""
        with self._lock:
            if request in self._open:
                self._open[request].heard = True

    def shutdown_request(self, request: Any) -> None:
        """A connection is over."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close connections that take too long. Called several times a second."""
        now = time.monotonic()
        with self._lock:
            dawdling = [
                request
                for request, each in self._open.items()
                if now - each.since > (_REQUEST_S if each.heard else _HEAD_S)
            ]
        for request in dawdling:
            _end(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as in the standard library
        """A client that went away or was too slow is not logged; anything else is a fault of ours."""
        self.log_fault(sys.exception())

    def log_fault(self, fault: BaseException | None) -> None:
        """Log a fault."""
        if not isinstance(fault, OSError):
            self._log.error("a page could not be given", exc_info=fault)


def _end(request: socket.socket) -> None:
    """Shut a connection down; its thread then closes it."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


def _source(host: str) -> str:
    """The source that an address counts for: an IPv4 address itself; for IPv6 the /64 network, since one machine may
    use any address of it."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


@contextmanager
def serving(http: Http, side: Side, board: Board, log: FilteringBoundLogger) -> Iterator[None]:
    """Serve as long as the block lasts. When the address cannot be used: raises Refused if it was configured;
    otherwise logs a warning and goes on without pages.
    """
    hits: Counter[str] = Counter()
    board = with_hits(board, hits)
    limit = Limit("http-connections", hits, log)
    with ExitStack() as stack:
        pages = StatusPages(side, board)
        all_pages = _opened("http.listen", http.listen, pages, limit, log, optional=not http.is_asked_for)
        if all_pages is not None:
            stack.enter_context(_running(all_pages, "all pages", log))
        stack.enter_context(_probes(http, side, board, limit, log))
        yield


@contextmanager
def serving_probes(http: Http, side: Side, board: Board, log: FilteringBoundLogger) -> Iterator[None]:
    """Serve the second address alone, as long as the block lasts. Raises Refused when it cannot be used."""
    hits: Counter[str] = Counter()
    with _probes(http, side, with_hits(board, hits), Limit("http-connections", hits, log), log):
        yield


@contextmanager
def _probes(http: Http, side: Side, board: Board, limit: Limit, log: FilteringBoundLogger) -> Iterator[None]:
    with ExitStack() as stack:
        probes = _opened("http.probes", http.probes, StatusPages(side, board, list(PROBES)), limit, log)
        if probes is not None:
            stack.enter_context(_running(probes, "the probes", log))
        yield


@contextmanager
def _running(server: _Server, serves: str, log: FilteringBoundLogger) -> Iterator[None]:
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


def _opened(
    setting: str,
    where: str,
    pages: StatusPages,
    limit: Limit,
    log: FilteringBoundLogger,
    *,
    optional: bool = False,
) -> _Server | None:
    address = address_of(where)
    if address is None:
        return None
    try:
        return _Server(address, pages, limit, log)
    except OSError as error:
        why = f"{setting}: {where} cannot be listened on ({error.strerror})"
        if not optional:
            raise Refused(f"{why}: choose another address, or none") from error
        log.warning("no health and no metrics are served", why=why, do="set http.listen")
        return None

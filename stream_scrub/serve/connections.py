"""uvicorn's connections with what it lacks: whole heads, a bound at accept, and limits for clients that are slow or silent.

docs/decisions.md says why no other server does this.
"""

import asyncio
import re
import resource
import ssl
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeAlias

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from stream_scrub.model import Logger
from stream_scrub.ops.http_server import source_of
from stream_scrub.serve.bodies import ABORT, FLOW, MEDIA_TYPE, WHOLE, Kind, Problem

# Java's client offers an upgrade to HTTP/2 with every request. httptools would take the body for the new protocol, so
# the header is renamed. No request is upgraded.
_OFFER = re.compile(rb"(?i)\r\nupgrade:")
_IGNORED = b"\r\nnot-upgraded:"
_HEAD_END = b"\r\n\r\n"
HEAD_BYTES_MAX = 16_384
CONNECTIONS_MAX = 2000  # of one process
_OTHER_FILES = 256  # of one process: its clients of Kafka, snapshots, uploads and what they read
_HANDSHAKE_S = 5.0
_HEAD_S = 5.0  # from the start of a connection, or a request's first byte, to the end of its headers
KEEP_ALIVE_S = (
    75  # between two requests: longer than proxies' own, so that none sends into a closed connection
)


def room(log: Logger) -> int:
    """Return how many connections this process may have, after raising its limit of open files as far as needed."""
    needed = CONNECTIONS_MAX + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return CONNECTIONS_MAX
    files = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    most = max(1, files - _OTHER_FILES)
    if files < needed:
        do = f"raise it to {needed} (ulimit -n)"
        log.warning(
            "fewer connections: the limit of open files is low", connections=most, open_files=files, do=do
        )
    return most


# With the address that it comes from, and the queue that it is in.
OpenClient: TypeAlias = "Handshake | Connection"


class Queue:
    """Connections by their client's address, the oldest first."""

    def __init__(self) -> None:
        self._of: dict[str, dict[OpenClient, None]] = {}

    def add(self, client: OpenClient) -> None:
        """Add as the last one."""
        self._of.setdefault(client.source, {})[client] = None

    def remove(self, client: OpenClient) -> None:
        """Remove one that is in it."""
        of_source = self._of[client.source]
        del of_source[client]
        if not of_source:
            del self._of[client.source]

    def first(self) -> "OpenClient | None":
        """The oldest one of the address that has the most, if it is not being answered; None without any."""
        largest = max(self._of.values(), key=len, default=dict[OpenClient, None]())
        return next((each for each in largest if each.is_answered), None)


class Connections:
    """The open connections of a process. `hit` is called whenever one is closed for a new one."""

    def __init__(self, most: int, hit: Callable[[], None]) -> None:
        self._most = most
        self._hit = hit
        self._open = set[OpenClient]()
        self.owing = Queue()  # a handshake, a head or the rest of a body
        self.settled = Queue()  # all others

    def opened(self, client: OpenClient) -> None:
        """Add a connection. Above the limit close the one that owes bytes for longest, so that a dialler keeps its own, else
        the oldest idle one, else the new one."""
        self._open.add(client)
        if len(self._open) > self._most:
            self._hit()
            victim = self.owing.first() or self.settled.first() or client
            self.closed(victim)
            victim.transport.abort()
            if victim is client:
                return
        self.move(client, self.owing)

    def move(self, client: OpenClient, queue: Queue | None) -> None:
        """Put a connection into a queue; None: it is closed."""
        if client.queue is queue:
            return
        if client.queue is not None:
            client.queue.remove(client)
        client.queue = queue
        if queue is not None:
            queue.add(client)

    def closed(self, client: OpenClient) -> None:
        """Remove a connection."""
        self._open.discard(client)
        self.move(client, None)


def _source(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return source_of(peer[0]) if peer else ""  # none: the client has left again


class Handshake(asyncio.Protocol):
    """A connection until its TLS handshake is done. `then` makes the connection that takes over.

    A server with a context of its own would show a connection only after its handshake: nothing would bound how many wait.
    """

    def __init__(
        self, connections: Connections, context: ssl.SSLContext, then: Callable[[], "Connection"]
    ) -> None:
        self._all = connections
        self._context = context
        self._then = then
        self._loop = asyncio.get_running_loop()
        self._shaking: asyncio.Task[None] | None = None
        self._early = b""  # came with the end of the handshake
        self.queue: Queue | None = None
        self.is_answered = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and wait for its first bytes."""
        self.transport, self.source = transport, _source(transport)
        self._timer = self._loop.call_later(_HANDSHAKE_S, transport.abort)
        self._all.opened(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        """The client is gone."""
        self._timer.cancel()
        self._all.closed(self)

    def data_received(self, data: bytes) -> None:
        """Begin the handshake; keep what comes after it and before the connection takes over."""
        if self._shaking is not None:
            self._early += data
            return
        self.transport.pause_reading()
        self._shaking = self._loop.create_task(self._shake())
        # `start_tls` needs one turn to put its own protocol in our place.
        self._loop.call_soon(self._loop.call_soon, self._forward, data)

    def _forward(self, first: bytes) -> None:
        inner: Any = self.transport.get_protocol()  # of TLS: it is a BufferedProtocol
        if inner is not self:
            inner.get_buffer(len(first))[: len(first)] = first
            inner.buffer_updated(len(first))

    async def _shake(self) -> None:
        try:
            made = await self._loop.start_tls(self.transport, self, self._context, server_side=True)
        except OSError:  # also TLS errors and time-outs
            made = None
        self._timer.cancel()
        self._all.closed(self)
        if made is None or made.is_closing():
            self.transport.abort()
            return
        connection = self._then()
        made.set_protocol(connection)
        connection.connection_made(made)
        if self._early:
            connection.data_received(self._early)


def _is_ambiguous(head: bytes) -> bool:
    """Whether it has what other readers may take for the end of a line, of a header or of a text."""
    lines = head.count(b"\r\n")
    bare = head.count(b"\n") > lines or head.count(b"\r") > lines
    return bare or b"\n " in head or b"\n\t" in head or b"\0" in head


class Connection(HttpToolsProtocol):
    """One connection. Its parser gets whole heads, one at a time, and of each body what its head declares: so the parser
    and we agree where each request ends, however it was cut into segments."""

    def __init__(self, *, connections: Connections, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._all = connections
        self._timer: asyncio.TimerHandle | None = None
        self._head = b""
        self._body_left = 0
        self._is_in_head = True
        self._is_head_too_large = False
        self._is_over = False  # the last request of this connection has come
        self.source = ""
        self.queue: Queue | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first head."""
        super().connection_made(transport)
        # Each request's scope gets a copy as its `state`.
        self.app_state = {FLOW: self.flow, ABORT: transport.abort, WHOLE: False}
        self.source = _source(transport)
        self._start_timer(_HEAD_S)
        self._all.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._all.closed(self)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Give the parser one whole head, or a piece of one body, at a time."""
        while data and not self._is_over and not self.transport.is_closing():
            if self._is_in_head:
                data = self._head_received(data)
            else:
                piece, data = data[: self._body_left], data[self._body_left :]
                self._body_left -= len(piece)
                super().data_received(piece)
        if not self.transport.is_closing():
            is_owing = self._head or not self._is_in_head or self.cycle is None
            self._all.move(self, self._all.owing if is_owing else self._all.settled)

    @property
    def is_answered(self) -> bool:
        """Whether its client owes bytes, or no request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return self.queue is self._all.owing or cycle is None or cycle.response_complete

    def _head_received(self, data: bytes) -> bytes:
        """Take a piece of a head; returns what comes after the head."""
        head, end, rest = (self._head + data).lstrip(b"\r\n").partition(_HEAD_END)
        self._head = b"" if end else head
        self._is_head_too_large = len(head) > HEAD_BYTES_MAX
        if self._is_head_too_large or (end and _is_ambiguous(head)):
            self.send_400_response("")
        elif end:
            if b"\nupgrade:" in head.lower():
                head = _OFFER.sub(_IGNORED, head)
            super().data_received(head + end)
        else:
            self._unset_keepalive_if_required()
            if self._timer is None:
                self._start_timer(_HEAD_S)
        return rest

    def on_headers_complete(self) -> None:
        """Find out how long the body is, and whether another request may follow."""
        if self.parser.should_upgrade():
            raise httptools.HttpParserError  # CONNECT: what follows would be another protocol
        self._stop_timer()
        super().on_headers_complete()
        self._is_in_head = False
        for name, value in self.headers:
            if name == b"content-length":
                self._body_left = int(value)
            elif name in {b"transfer-encoding", b"expect"}:
                # Where such a request ends, only its parser or the client knows: it is the connection's last one.
                self.cycle.keep_alive = False
                if name == b"transfer-encoding":
                    self._body_left = sys.maxsize

    def on_message_complete(self) -> None:
        """Expect the next head, if there may be one."""
        super().on_message_complete()
        self.scope["state"][WHOLE] = True
        self._stop_timer()
        self._is_in_head = True
        self._is_over = not self.cycle.keep_alive

    def on_response_complete(self) -> None:
        """The rest of a body that nobody reads any more has as long as a head, the rest of a last answer as long as any
        other one."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._stop_timer()
            self._start_timer(KEEP_ALIVE_S)
        elif not self._is_in_head and self._timer is None:
            self._start_timer(_HEAD_S)

    def _start_timer(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - as uvicorn calls it
        """Answer a malformed request, and close the connection."""
        if self._is_over:
            return  # the parser stumbled over what came after the last request, which is still to be answered
        if self._is_head_too_large:
            problem = Problem(
                Kind.HEADERS_TOO_LARGE,
                f"send at most {HEAD_BYTES_MAX} bytes of target and headers",
                limit=HEAD_BYTES_MAX,
            )
        else:
            problem = Problem(Kind.MALFORMED_REQUEST, "send HTTP/1.1")
        status = f"HTTP/1.1 {problem.kind.status} {HTTPStatus(problem.kind.status).phrase}\r\n"
        headers = (
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(problem.body)}\r\nconnection: close\r\n\r\n"
        )
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.write(status.encode() + headers.encode() + problem.body)
        self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; abort one whose client has not read its last response."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

"""Connections, as uvicorn keeps them, with the bounds that it lacks: on the size and the time of a request's headers, on
how many connections there are, and on clients that do not take their answer.
"""

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from stream_scrub.server.problems import MEDIA_TYPE, Kind, Problem

# A client that offers to go on with another protocol, as Java's does by default, is answered by this one. To the parser
# what follows such an offer is of the other protocol already: it would not see the body.
_OFFER = re.compile(rb"(?i)\r\nupgrade[ \t]*:")
_IGNORED = b"\r\nnot-upgraded:"
_HEAD_END = b"\r\n\r\n"

HEAD_BYTES_MAX = 16_384
CONNECTIONS_MAX = 2000  # of one process
_HEAD_S = 5.0  # from a connection's begin, or from a request's first byte, until all headers are there
KEEP_ALIVE_S = (
    75  # between two requests: longer than proxies keep theirs, so that none sends into a closed one
)


class Connections:
    """The open connections of a process, the oldest first. `hit` is called each time that one has to give way."""

    def __init__(self, hit: Callable[[], None]) -> None:
        self._hit = hit
        self._open: dict[Connection, None] = {}

    def opened(self, connection: "Connection") -> None:
        """A new one. If there are too many, the oldest that never asked gives way: a dialler that asks now and then keeps
        its own. If all have asked, it is the oldest that waits for nothing, else this one."""
        self._open[connection] = None
        if len(self._open) > CONNECTIONS_MAX:
            self._hit()
            silent = (each for each in self._open if each.never_asked and each is not connection)
            idle = (each for each in self._open if each.is_idle)
            leaves = next(silent, None) or next(idle, connection)
            self.closed(leaves)
            leaves.transport.abort()

    def closed(self, connection: "Connection") -> None:
        """One that is over."""
        self._open.pop(connection, None)


class Connection(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._all = connections
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = self._declared = 0
        self._is_in_head = True
        self._is_head_too_large = False

    @property
    def never_asked(self) -> bool:
        """Whether no request came over it yet."""
        return self.cycle is None

    @property
    def is_idle(self) -> bool:
        """Whether no request of it is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin. The first headers must come in time."""
        super().connection_made(transport)
        self._await_head()
        self._all.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._all.closed(self)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request."""
        if self._is_in_head:
            self._head_bytes += len(data)
            head, end, body = data.partition(_HEAD_END)
            data = _OFFER.sub(_IGNORED, head) + end + body
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_in_head and self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._declared = 0
        self._is_in_head = True
        if self._head_timer is None:
            self._await_head()

    def on_url(self, url: bytes) -> None:
        """A piece of its target."""
        super().on_url(url)
        self._declare(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        super().on_header(name, value)
        self._declare(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self._is_in_head = False
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there: what comes next is another one's head."""
        super().on_message_complete()
        self._is_in_head = True

    def _declare(self, size: int) -> None:
        self._declared += size
        if self._declared > HEAD_BYTES_MAX:
            self._is_head_too_large = True
            raise httptools.HttpParserError

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_S, self._end_slow_head)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_slow_head(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.abort()

    def _refuse_head(self) -> None:
        self._is_head_too_large = True
        self.send_400_response("")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - as uvicorn calls it
        """Answer what is no request, and end the connection."""
        if self._is_head_too_large:
            problem = Problem(
                Kind.HEADERS_TOO_LARGE,
                f"a request's target and headers may have {HEAD_BYTES_MAX} bytes",
                limit=HEAD_BYTES_MAX,
            )
        else:
            problem = Problem(Kind.MALFORMED_REQUEST, "send HTTP/1.1")
        status = f"HTTP/1.1 {problem.kind.status} {HTTPStatus(problem.kind.status).phrase}\r\n"
        headers = (
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(problem.body)}\r\nconnection: close\r\n\r\n"
        )
        if self.is_idle:
            self.transport.write(status.encode() + headers.encode() + problem.body)
        self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for a while. A client that has not even taken its last answer is cut off."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

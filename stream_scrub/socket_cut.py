"""A deadline for a whole HTTP request. httpx applies a timeout per read: headers that drip a byte at a time would never end."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

from stream_scrub.model import Deadline

_OPENED = frozenset({"connection.connect_tcp.complete", "connection.start_tls.complete"})  # httpcore's events


class SocketCut:
    """Ends the connections of one client at a deadline. Requests of the client need `extensions={"trace": cut.note}`."""

    def __init__(self) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()

    def note(self, event: str, info: Mapping[str, Any]) -> None:
        """What httpcore tells of a request: which sockets it opened."""
        if event in _OPENED:
            self._sockets.add(info["return_value"].get_extra_info("socket"))

    @contextmanager
    def at(self, deadline: Deadline) -> Iterator[None]:
        """Within it, the client's reads fail from the deadline on."""

        def cut() -> None:
            for each in [*self._sockets]:
                with suppress(OSError):
                    socket.socket.shutdown(each, socket.SHUT_RDWR)

        timer = threading.Timer(max(0.1, deadline.left()), cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

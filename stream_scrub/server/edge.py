"""What holds for every answer: it is counted by route and status, has the headers that keep browsers from doing more
with it, and a fault of ours becomes a problem and a log line that quote nothing of the request."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from stream_scrub.observability.counters import ServerCounters

OTHER = "other"  # the route of every path that there is not
_SEND_S = 10.0  # for a client to take a piece of its answer
_SMALL = 32_768  # bytes; uvicorn waits for a client from twice as many on
_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class Edge:
    """The outermost part of the application."""

    def __init__(self, app: ASGIApp, counters: ServerCounters, log: FilteringBoundLogger) -> None:
        self._app = app
        self._counters = counters
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        status = 0

        async def finished(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(each for each in _HEADERS if each[0] not in given),
                ]
            elif not message.get("more_body") and len(message.get("body", b"")) <= _SMALL:
                await send(message)  # it fits what is written ahead: nothing waits for the client
                return
            async with asyncio.timeout(_SEND_S):
                await send(message)

        try:
            await self._app(scope, receive, finished)
        except Exception as fault:  # noqa: BLE001 - told of in one line; the client has its answer, or its connection ends
            if not isinstance(fault, TimeoutError):  # a client that takes nothing is no fault
                self._log.error("a request could not be answered", route=_route(scope), exc_info=fault)
        finally:
            self._counters.answered(_route(scope), status)


def _route(scope: Scope) -> str:
    """What was asked, by its path as it is declared."""
    route = scope.get("route")
    return OTHER if route is None else str(route.path)

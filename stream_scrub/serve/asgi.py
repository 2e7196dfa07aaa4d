"""The ASGI application: routes of the check API, the status page, health and metrics, over one follower.

Sockets and processes are in `serving.py`, verdicts in `check.py`.
"""

import asyncio
import re
import secrets
import time
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream_scrub.languages import read_in, say
from stream_scrub.model import Logger
from stream_scrub.numbering import residence_named
from stream_scrub.ops import health, http_server, metrics
from stream_scrub.ops.logs import mask
from stream_scrub.ops.loop_state import ServerState
from stream_scrub.queries import history, rules_report
from stream_scrub.rules import Rulebook
from stream_scrub.serve import bodies, openapi
from stream_scrub.serve.bodies import ABORT, FLOW, Kind, Problem, invalid
from stream_scrub.serve.check import PROSPECT_BYTES_MAX
from stream_scrub.serve.dossiers import DossierPages
from stream_scrub.serve.endpoints import (
    HISTORY_BYTES_MAX,
    REQUEST_BYTES_MAX,
    AppContext,
    Endpoints,
    Handler,
    why_stale,
)
from stream_scrub.serve.evidence import EvidenceEndpoint
from stream_scrub.serve.files import job_pages
from stream_scrub.serve.files.pages import FilePages
from stream_scrub.serve.page.navigation import language_of
from stream_scrub.serve.page.routes import StatusPage
from stream_scrub.serve.tokens import EVIDENCE
from stream_scrub.serve.turns import while_connected

_JSON = "application/json"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Api:
    """The functions of the API's routes."""

    def __init__(self, context: AppContext, endpoints: Endpoints) -> None:
        self._context = context
        self._lag_max_s = context.settings.rules.index_lag_max_s
        self._endpoints = endpoints
        self._evidence = EvidenceEndpoint(context.settings)
        self._description = openapi.document()

    async def check(self, request: Request) -> Response:
        """`POST /v1/check`."""
        since = time.perf_counter()
        with self._context.guard.admit(request, "check") as caller:
            body = await bodies.read(request, caller.hold)
            work = self._endpoints.check.answer(body, since, caller)
            answer = await (work if len(body) <= PROSPECT_BYTES_MAX else while_connected(request, work))
        return Response(answer, media_type=_JSON)

    async def registers(self, request: Request) -> Response:
        """`GET /v1/registers`: every register, and whether the index may be used now."""
        self._admit(request)
        return _json(self._registers())

    async def register(self, request: Request) -> Response:
        """`GET /v1/registers/{name}`."""
        self._admit(request)
        status = self._registers()
        for each in status["registers"]:
            if each["register"] == request.path_params["name"]:
                return _json({**each, "stale": status["stale"]})
        raise Problem(Kind.NOT_FOUND, "the log has no register of that name at this server's position")

    def _admit(self, request: Request) -> None:
        """Require the scope `check`. Raises Problem (401, 403, 429)."""
        self._context.guard.admit(request, "check").spend(1)

    def _registers(self) -> dict[str, Any]:
        context = self._context
        status: dict[str, Any] = msgspec.to_builtins(
            history.status(context.follower.index, context.rulebook, datetime.now(UTC))
        )
        for each in status["registers"]:
            each["source"] = mask(each["source"])  # a file may be named after a number
        error = why_stale(context.follower, self._lag_max_s)
        stale = None if error is None else health.cause(error.cause, str(error))
        return {"position": status.pop("position"), "stale": msgspec.to_builtins(stale), **status}

    async def rule(self, request: Request) -> Response:
        """`GET /v1/rules/{country}?on=DATE`."""
        self._admit(request)
        rulebook = self._context.rulebook
        named, on = request.path_params["country"], request.query_params.getlist("on")
        region = residence_named(named) or named.upper()
        day = _day(on, rulebook, region)
        country = rulebook.governing(region, day)
        if country is None:
            raise Problem(
                Kind.NOT_FOUND, "no rule for that country or region: every prospect there is blocked"
            )
        rule: dict[str, Any] = msgspec.to_builtins(rules_report.of_day(country, day))
        del rule["where"]  # a path of this machine
        return _json(rule)

    async def history(self, request: Request) -> Response:
        """`POST /v1/history`."""
        with self._context.guard.admit(request, "history") as caller:
            caller.spend(1)
            body = await bodies.read(request, caller.hold, most=HISTORY_BYTES_MAX)
            return _json(await while_connected(request, self._endpoints.history.answer(body, caller.name)))

    async def report(self, request: Request) -> Response:
        """`GET /v1/report?month=MONTH`."""
        caller = self._context.guard.admit(request, EVIDENCE)
        caller.spend(1)
        months = request.query_params.getlist("month")
        if len(months) != 1:
            raise invalid([("month", "name one month, as 2026-10")])
        work = self._evidence.report(months[0], caller.name)
        return Response(await while_connected(request, work), media_type=_JSON)

    async def verify(self, request: Request) -> Response:
        """`POST /v1/verify`."""
        with self._context.guard.admit(request, EVIDENCE) as caller:
            caller.spend(1)
            body = await bodies.read(request, caller.hold, most=REQUEST_BYTES_MAX)
            work = self._evidence.verify(body, caller.name)
            return Response(await while_connected(request, work), media_type=_JSON)

    async def request(self, request: Request) -> Response:
        """`POST /v1/requests`."""
        with self._context.guard.admit(request, "request") as caller:
            body = await bodies.read(request, caller.hold, most=REQUEST_BYTES_MAX)
            accepted = await self._endpoints.requests.answer(body, caller)
        return Response(msgspec.json.encode(accepted), 202, media_type=_JSON)

    async def probe(self, request: Request) -> Response:
        """`GET /livez`, `/readyz`, `/startupz`."""
        answer = health.probed(request.url.path, self._context.board())
        return Response(http_server.page(answer.page), 200 if answer.ok else 503, media_type=_JSON)

    async def openapi(self, _request: Request) -> Response:
        """`GET /openapi.json`."""
        return Response(self._description, media_type=_JSON)

    async def docs(self, request: Request) -> Response:
        """`GET /docs`."""
        server = f"{request.url.scheme}://{request.url.netloc}"
        with_token = self._context.guard.tokens is not None
        return Response(
            openapi.reference_page(self._description, server, with_token=with_token),
            media_type="text/html",
            headers=openapi.REFERENCE_HEADERS,
        )

    async def metrics(self, _request: Request) -> Response:
        """`GET /metrics`."""
        body = metrics.text(self._context.board)
        return Response(body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type=_JSON)


def _day(on: list[str], rulebook: Rulebook, region: str) -> date:
    """Return the query's day; without one, today in the region. Raises Problem (422)."""
    if not on:
        now = datetime.now(UTC)
        return rulebook.day(region, now) or now.date()
    try:
        if len(on) > 1 or not _DAY.fullmatch(on[0]):
            raise ValueError  # noqa: TRY301 - answered below, like a day that does not exist
        return date.fromisoformat(on[0])
    except ValueError as error:
        raise invalid([("on", "write one day, as 2026-08-10")]) from error


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response


async def _fault(_request: Request, _error: Exception) -> Response:
    """Answer an internal error; the middleware logs it."""
    return Problem(
        Kind.FAULT, "no verdict was given; report it with the line in the server's log and the version"
    ).response


def _refusal(error: HTTPException) -> Problem:
    """Return the problem for what starlette refuses: an unknown path or method."""
    if error.status_code == Kind.METHOD_NOT_ALLOWED.status:
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        return Problem(
            Kind.METHOD_NOT_ALLOWED, say("this path allows %(methods)s", methods=allowed), {"Allow": allowed}
        )
    return Problem(Kind.NOT_FOUND, say("unknown path: /docs lists all paths of the API"))


def application(context: AppContext) -> ASGIApp:
    """Build the application of one process."""
    endpoints = Endpoints(context)
    api, status_page = Api(context, endpoints), StatusPage(context, endpoints)
    table: list[tuple[str, str, Handler]] = [
        ("POST", "/v1/check", api.check),
        ("POST", "/v1/history", api.history),
        ("GET", "/v1/report", api.report),
        ("POST", "/v1/verify", api.verify),
        ("POST", "/v1/requests", api.request),
        ("GET", "/v1/registers", api.registers),
        ("GET", "/v1/registers/{name}", api.register),
        ("GET", "/v1/rules/{country}", api.rule),
        ("GET", "/openapi.json", api.openapi),
        ("GET", "/docs", api.docs),
        ("GET", "/metrics", api.metrics),
        *(("GET", path, api.probe) for path in health.PROBES),
        ("GET", "/page/progress.js", job_pages.script),
        *FilePages(context, status_page, context.jobs).routes(),
        *DossierPages(context, status_page, context.dossiers).routes(),
        *status_page.routes(),
    ]
    routes = [Route(path, handler, methods=methods.split()) for methods, path, handler in table]

    async def refused(request: Request, error: Exception) -> Response:
        """Answer a browser with a page, anybody else with JSON."""
        assert isinstance(error, HTTPException)
        if "text/html" not in request.headers.get("accept", ""):
            return _refusal(error).response
        with read_in(language_of(request), UTC):
            return status_page.problem(request, _refusal(error))

    inner = Starlette(
        routes=routes,
        exception_handlers={Problem: _problem, HTTPException: refused, Exception: _fault},
    )
    inner.router.redirect_slashes = False
    # Not one of Starlette's middlewares: those do not see the 500 that its ServerErrorMiddleware sends.
    return Middleware(inner, context.counters, context.log)


OTHER = "other"  # unknown paths
_LETTERS = str.maketrans("0123456789", "ghijklmnop")  # digits could be masked as a phone number
_SEND_S = 10.0  # for a client to receive a chunk of its response
_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class Middleware:
    """The outermost part of the application."""

    def __init__(self, app: ASGIApp, counters: ServerState, log: Logger) -> None:
        self._app = app
        self._counters = counters
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        status, flow = 0, scope["state"][FLOW]
        request_id = secrets.token_hex(8).translate(_LETTERS)

        async def send_bounded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    (b"request-id", request_id.encode()),
                    *(each for each in _HEADERS if each[0] not in present),
                ]
            if not flow.write_paused:
                await send(message)  # it does not wait for the client
                return
            try:
                async with asyncio.timeout(_SEND_S):
                    await send(message)
            except TimeoutError:
                scope["state"][ABORT]()  # to close would be to wait for the client
                raise

        try:
            await self._app(scope, receive, send_bounded)
        except Exception as fault:  # noqa: BLE001 - logged in one line; the client has its response, or is disconnected
            if not isinstance(fault, TimeoutError):  # a slow client is no fault
                self._log.error("request failed", route=_route(scope), request_id=request_id, exc_info=fault)
        finally:
            self._counters.answered(_route(scope), status)


def _route(scope: Scope) -> str:
    """Return the path as it is declared."""
    route = scope.get("route")
    return OTHER if route is None else str(route.path)

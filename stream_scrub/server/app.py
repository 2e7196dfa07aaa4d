"""What is served: the check API, the status page, health and metrics, as one ASGI application over one follower.

The application knows no socket and no process (`process/serving.py`), and makes no verdict (`check.py`).
"""

import re
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
from starlette.types import ASGIApp

from stream_scrub.errors import StaleIndex
from stream_scrub.observability import health, http_server, prometheus
from stream_scrub.observability.logs import mask
from stream_scrub.observability.metric_catalogue import Side
from stream_scrub.rules import Rulebook
from stream_scrub.server import bodies
from stream_scrub.server.described import openapi, reference
from stream_scrub.server.edge import Edge
from stream_scrub.server.history import HISTORY_BYTES_MAX
from stream_scrub.server.page.site import Site
from stream_scrub.server.parts import Desks, Handler, Parts
from stream_scrub.server.problems import Kind, Problem, invalid
from stream_scrub.server.requests import REQUEST_BYTES_MAX

_JSON = "application/json"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Api:
    """The handlers of the routes."""

    def __init__(self, parts: Parts, desks: Desks) -> None:
        self._parts = parts
        self._lag_max_s = parts.settings.rules.index_lag_max_s
        self._desks = desks
        self._description = openapi.document(parts.questions)

    async def check(self, request: Request) -> Response:
        """`POST /v1/check`."""
        since = time.perf_counter()
        caller = self._parts.guard.admit(request, "check")
        answer = await self._desks.check.answer(await bodies.read(request), since, caller.spend)
        return Response(answer, media_type=_JSON)

    async def registers(self, request: Request) -> Response:
        """`GET /v1/registers`: all of them, and whether verdicts may rest on them now."""
        self._admit(request)
        return _json(self._registers())

    async def register(self, request: Request) -> Response:
        """`GET /v1/registers/{name}`."""
        self._admit(request)
        told = self._registers()
        for each in told["registers"]:
            if each["register"] == request.path_params["name"]:
                return _json({**each, "stale": told["stale"]})
        raise Problem(Kind.NOT_FOUND, "no register of that name is on the log as it is read here")

    def _admit(self, request: Request) -> None:
        """Let in who may check. Raises Problem (401, 403, 429)."""
        self._parts.guard.admit(request, "check").spend(1)

    def _registers(self) -> dict[str, Any]:
        parts = self._parts
        told = parts.questions.registers(parts.follower.index, parts.rulebook, datetime.now(UTC))
        found: dict[str, Any] = msgspec.to_builtins(told)
        for each in found["registers"]:
            each["source"] = mask(each["source"])  # a file may be called by somebody's number
        stale = None
        try:
            parts.follower.usable(self._lag_max_s)
        except StaleIndex as error:
            stale = health.cause(error.cause, str(error))
        return {"position": found.pop("position"), "stale": msgspec.to_builtins(stale), **found}

    async def rule(self, request: Request) -> Response:
        """`GET /v1/rules/{country}?on=DATE`."""
        self._admit(request)
        rulebook = self._parts.rulebook
        country = rulebook.country(request.path_params["country"].upper())
        if country is None:
            raise Problem(
                Kind.NOT_FOUND, "there are no rules for that country or region: nobody there is called"
            )
        on = request.query_params.getlist("on")
        told = self._parts.questions.rule(country, _day(on, rulebook, country.regions[0]))
        found: dict[str, Any] = msgspec.to_builtins(told)
        return _json(
            {name: value for name, value in found.items() if name != "where"}
        )  # a path of this machine

    async def history(self, request: Request) -> Response:
        """`POST /v1/history`."""
        self._parts.guard.admit(request, "history").spend(1)
        body = await bodies.read(request, most=HISTORY_BYTES_MAX)
        return _json(await self._desks.history.answer(body))

    async def request(self, request: Request) -> Response:
        """`POST /v1/requests`."""
        caller = self._parts.guard.admit(request, "request")
        caller.spend(1)
        body = await bodies.read(request, most=REQUEST_BYTES_MAX)
        found = await self._desks.requests.answer(
            body, request.headers.get("idempotency-key", ""), caller.name
        )
        return Response(msgspec.json.encode(found), 202, media_type=_JSON)

    async def probe(self, request: Request) -> Response:
        """`GET /livez`, `/readyz`, `/startupz`."""
        answer = http_server.PROBES[request.url.path](self._parts.board())
        return Response(http_server.page(answer.page), 200 if answer.ok else 503, media_type=_JSON)

    async def openapi(self, _request: Request) -> Response:
        """`GET /openapi.json`."""
        return _json(self._description)

    async def docs(self, _request: Request) -> Response:
        """`GET /docs`."""
        return Response(reference.page(self._description), media_type="text/html", headers=reference.HEADERS)

    async def metrics(self, _request: Request) -> Response:
        """`GET /metrics`."""
        body = prometheus.text(Side.SERVER, self._parts.board)
        return Response(body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type=_JSON)


def _day(on: list[str], rulebook: Rulebook, region: str) -> date:
    """The day that was asked for; without one, today's in the region. Raises Problem (422)."""
    if not on:
        now = datetime.now(UTC)
        return rulebook.day(region, now) or now.date()
    try:
        if len(on) > 1 or not _DAY.fullmatch(on[0]):
            raise ValueError  # noqa: TRY301 - it is told below, as a day that no calendar has
        return date.fromisoformat(on[0])
    except ValueError as error:
        raise invalid([("on", "write one day, as 2026-08-10")]) from error


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response


async def _fault(_request: Request, _error: Exception) -> Response:
    """A fault of ours; the edge logs it."""
    return Problem(
        Kind.FAULT, "it is logged; report it with the log's line and the version: no verdict was given"
    ).response


async def _refused(_request: Request, error: Exception) -> Response:
    """What starlette refuses by itself."""
    assert isinstance(error, HTTPException)
    if error.status_code == Kind.METHOD_NOT_ALLOWED.status:
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        return Problem(Kind.METHOD_NOT_ALLOWED, f"this path answers {allowed}", {"Allow": allowed}).response
    return Problem(Kind.NOT_FOUND, "there is nothing at this path: docs/check-api.md has all paths").response


def application(parts: Parts) -> ASGIApp:
    """The whole of it."""
    desks = Desks.of(parts)
    api, site = Api(parts, desks), Site(parts, desks)
    asked: list[tuple[str, str, Handler]] = [
        ("POST", "/v1/check", api.check),
        ("POST", "/v1/history", api.history),
        ("POST", "/v1/requests", api.request),
        ("GET", "/v1/registers", api.registers),
        ("GET", "/v1/registers/{name}", api.register),
        ("GET", "/v1/rules/{country}", api.rule),
        ("GET", "/openapi.json", api.openapi),
        ("GET", "/docs", api.docs),
        ("GET", "/metrics", api.metrics),
        *(("GET", path, api.probe) for path in http_server.PROBES),
        *site.routes(),
    ]
    routes = [Route(path, handler, methods=[method]) for method, path, handler in asked]
    inner = Starlette(
        routes=routes,
        exception_handlers={Problem: _problem, HTTPException: _refused, Exception: _fault},
    )
    inner.router.redirect_slashes = False
    return Edge(inner, parts.counters, parts.log)

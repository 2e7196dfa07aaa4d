"""The page's routes: the status, its live events, signing in, and the three actions.

No other site can act through a browser that is signed in: (a) a form counts only with the header Origin, which no
browser lets a page set, of the very host that it was sent to; (b) the cookie is never sent along with what another site
starts (SameSite=Strict); (c) the API itself takes JSON with a bearer token, and no cookie.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from stream_scrub.observability.logs import mask
from stream_scrub.server.guard import COOKIE
from stream_scrub.server.page import charts, forms, overview
from stream_scrub.server.page.dropping import Dropping
from stream_scrub.server.page.forms import Form
from stream_scrub.server.page.live import Live, Part
from stream_scrub.server.parts import Desks, Handler, Parts
from stream_scrub.server.problems import Kind, Problem
from stream_scrub.timestamps import utc_minutes, utc_seconds

VIEWERS_MAX = 200
_STATUS_S = 1.0  # how old what is live may be
_PAST_S = 10.0
_SINCE_S = 2.0  # for a history beside a verdict; the log may take longer to read, and then one asks for it
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_FOLDER = Path(__file__).parent
_FILES = {"style.css": "text/css", "live.js": "text/javascript"}

Action = Callable[["Site", Request, Form], Awaitable[Response]]


def _form(action: Action) -> Callable[["Site", Request], Awaitable[Response]]:
    """A form of this very site as an action; what goes wrong becomes a page."""

    @wraps(action)
    async def handled(self: "Site", request: Request) -> Response:
        try:
            return await action(self, request, await forms.read(request))
        except Problem as problem:
            return self.problem(request, problem)

    return handled


def _sentence(problem: Problem) -> str:
    text = str(problem)
    return f"{text[:1].upper()}{text[1:]}."


class Site:
    """The page over the parts and desks of the API."""

    def __init__(self, parts: Parts, desks: Desks) -> None:
        self._parts = parts
        self._desks = desks
        self._dropping = Dropping(parts)
        self._safety = overview.Safety(parts.follower, parts.settings.rules.index_lag_max_s)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.filters["minutes"] = utc_minutes
        self._templates.filters["mask"] = mask
        self._templates.globals["trial"] = parts.trial
        self._seen: overview.Overview | None = None  # as the live part shows it
        self._live = Live({"status": Part(self._status, _STATUS_S), "past": Part(self._past, _PAST_S)})

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Method, path and handler of each."""
        return [
            ("GET", "/", self.status),
            ("GET", "/events", self.events),
            ("GET", "/page/{file}", self.file),
            ("POST", "/sign-in", self.sign_in),
            ("POST", "/sign-out", self.sign_out),
            ("POST", "/check", self.check),
            ("POST", "/history", self.history),
            ("POST", "/opt-out", self.opt_out),
            ("POST", "/lists", self.drop_list),
            ("POST", "/lists/publish", self.publish_list),
        ]

    async def status(self, request: Request) -> Response:
        """The page; to whom it does not know, the form to sign in."""
        try:
            self._parts.guard.admit_browser(request, "check")
        except Problem as problem:
            return self._signing_in(request, problem)
        rules = overview.rule_rows(self._parts.rulebook, self._parts.questions, datetime.now(UTC))
        region = self._parts.settings.prospect.default_region
        parts = {name: self._live.text(name) for name in ("status", "past")}
        seen = self._seen or self._overview()
        imports = self._dropping.is_offered and self._may(request, "admin")
        return self._page(
            request,
            "status.html.j2",
            seen=seen,
            parts=parts,
            rules=rules,
            region=region,
            imports=imports,
            needs_tokens=self._parts.guard.tokens is None and not self._parts.trial,
        )

    async def events(self, request: Request) -> Response:
        """The upper part of the page again and again, as server-sent events."""
        self._parts.guard.admit_browser(request, "check")
        if self._live.viewers >= VIEWERS_MAX:
            raise Problem(Kind.TOO_MANY_REQUESTS, f"{VIEWERS_MAX} people look at this page already")
        headers = {"X-Accel-Buffering": "no"}
        told = self._live.told(lambda: not self._parts.counters.stopping and self._may(request, "check"))
        return StreamingResponse(told, media_type="text/event-stream", headers=headers)

    async def file(self, request: Request) -> Response:
        """The stylesheet or the script."""
        name = request.path_params["file"]
        if name not in _FILES:
            raise Problem(Kind.NOT_FOUND, "there is no such file")
        return Response((_FOLDER / name).read_bytes(), media_type=_FILES[name])

    @_form
    async def sign_in(self, request: Request, form: Form) -> Response:
        """Keep a token in the browser, if somebody knows it."""
        token = form.get("token", "")
        if not self._parts.guard.knows(token):
            return self._page(request, "sign-in.html.j2", 401, wrong=True, signed_in=False)
        answer = RedirectResponse("/", 303)
        secure = request.headers["origin"].startswith("https:")
        answer.set_cookie(COOKIE, token, path="/", secure=secure, httponly=True, samesite="strict")
        return answer

    @_form
    async def sign_out(self, _request: Request, _form: Form) -> Response:
        """Forget the token."""
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE, path="/")
        return answer

    @_form
    async def check(self, request: Request, form: Form) -> Response:
        """One number's verdict, with what it rests on."""
        caller = self._parts.guard.admit_browser(request, "check")
        said: dict[str, Any] = {"number": form.get("number", "")}
        said |= {name: form[name] for name in ("region", "purpose", "campaign") if name in form}
        said |= {"contract": True} if "contract" in form else {}
        body = msgspec.json.encode(said)
        stamp = msgspec.json.decode(await self._desks.check.answer(body, time.perf_counter(), caller.spend))
        rule = self._rule(stamp.get("rules", ""))
        facts = [
            ("Reason", stamp["reason"]),
            ("Registers", ", ".join(stamp.get("registers", ())) or "none"),
            ("May be used until", stamp.get("until", "no limit is set")),
            ("Rule", stamp.get("rules", "none")),
            ("Position of the log", stamp["index"]),
            ("At", stamp["at"]),
        ]
        since = await self._since(request, stamp) if stamp.get("registers") else None
        facts[2:2] = since or []
        may_ask = stamp.get("registers") and since is None and self._may(request, "history")
        asks = stamp["number"] if may_ask else ""
        allowed = stamp["verdict"] == "allowed"
        title = f"{stamp.get('number', 'No valid number')}: {'may be called' if allowed else 'must not be called'}"
        return self._answer(
            request,
            title,
            tone="yes" if allowed else "no",
            facts=facts,
            asks=asks,
            says=rule["says"],
            source=rule["source"],
        )

    async def _since(self, request: Request, stamp: Mapping[str, Any]) -> list[tuple[str, str]] | None:
        """Since when the number has been in the registers of its stamp, and by which list or request; None where that is
        not known in a moment, or not for everybody to know."""
        if not self._may(request, "history") or self._desks.history.is_busy:
            return None
        asked = self._desks.history.answer(msgspec.json.encode({"number": stamp["number"]}))
        reading = asyncio.ensure_future(asked)
        done, _ = await asyncio.wait({reading}, timeout=_SINCE_S)
        if not done or reading.exception() is not None:
            return None
        told = msgspec.to_builtins(reading.result())
        last = {each["register"]: each for each in told["events"] if each["change"] == "added"}
        found = [(name, last.get(name)) for name in stamp["registers"]]
        return [
            (
                f"In {name} since",
                f"{event['time'] or 'some day'}, by {event['reason']} {mask(event['source']['name'])} (position {event['position']})",
            )
            for name, event in found
            if event is not None
        ]

    @_form
    async def history(self, request: Request, form: Form) -> Response:
        """When a number was in which register."""
        self._parts.guard.admit_browser(request, "history").spend(1)
        body = msgspec.json.encode({name: form[name] for name in ("number", "region") if name in form})
        told = msgspec.to_builtins(await self._desks.history.answer(body))
        held = [each["register"] for each in told["registers"] if each["held"]]
        sentence = f"Now in: {', '.join(held)}." if held else "Now in no register."
        return self._answer(request, told["number"], sentence, events=told["events"])

    @_form
    async def opt_out(self, request: Request, form: Form) -> Response:
        """Put an opt-out on its topic."""
        caller = self._parts.guard.admit_browser(request, "request")
        caller.spend(1)
        source = f"page:{caller.name}" if caller.name else "page"
        said = {"request": "opt-out", "at": utc_seconds(datetime.now(UTC)), "source": source}
        said |= {name: form[name] for name in ("number", "region", "scope") if name in form}
        found = await self._desks.requests.answer(msgspec.json.encode(said), "", caller.name)
        return self._answer(
            request,
            "The opt-out is recorded",
            "The publisher puts it on the log, and every worker and server obeys it within a second.",
            tone="yes",
            facts=[("Place", f"{found.topic}, partition {found.partition}, offset {found.offset}")],
        )

    async def drop_list(self, request: Request) -> Response:
        """Take a list, and show what it would do."""
        try:
            found = await self._dropping.drop(request)
        except Problem as problem:
            return self.problem(request, problem)
        return self._page(request, "list.html.j2", found=found)

    @_form
    async def publish_list(self, request: Request, form: Form) -> Response:
        """Publish a list that was shown."""
        found = await self._dropping.publish(request, form)
        return self._answer(
            request,
            f"The list is published in {found.register}",
            "Every worker and server obeys it within a second.",
            tone="yes",
            facts=found.facts,
        )

    def problem(self, request: Request, problem: Problem) -> Response:
        """A page for what went wrong."""
        if problem.kind is Kind.UNAUTHORIZED:
            return self._signing_in(request, problem)
        answer = self._answer(
            request, problem.kind.value[1], _sentence(problem), tone="no", status=problem.kind.status
        )
        answer.headers.update(problem.headers)
        return answer

    def _signing_in(self, request: Request, problem: Problem) -> Response:
        if problem.kind is not Kind.UNAUTHORIZED:
            return self.problem(request, problem)
        return self._page(request, "sign-in.html.j2", 401, wrong=False, signed_in=False)

    def _overview(self) -> overview.Overview:
        parts = self._parts
        with parts.counters.lock:
            checks = dict(parts.counters.checks)
        return overview.overview(
            self._safety, parts.follower, parts.rulebook, parts.questions, checks, datetime.now(UTC)
        )

    def _status(self) -> str:
        seen = self._seen = self._overview()
        blocked = sorted({country for each in seen.unusable for country in each["countries"]})
        watcher = self._parts.watcher
        return self._rendered(
            "live.html.j2",
            seen=seen,
            blocked=blocked,
            watching=watcher.is_watching,
            watched=watcher.rows,
            more=watcher.has_more,
            last={each.register: overview.delta_row(each) for each in reversed(self._parts.log_tail.deltas)},
        )

    def _past(self) -> str:
        """What was: by the minute, so that it is not made anew for everybody who looks."""
        now = datetime.now(UTC)
        watcher, tail = self._parts.watcher, self._parts.log_tail
        reasons = charts.reasons(watcher.history, now)
        return self._rendered(
            "past.html.j2",
            watching=watcher.is_watching,
            charts=charts.charts(watcher.history, now),
            reasons=reasons,
            reasons_total=sum(day for _, _, day in reasons),
            deltas=[overview.delta_row(each) for each in tail.deltas],
            deltas_trouble=tail.trouble,
        )

    def _rendered(self, template: str, **given: Any) -> str:
        return self._templates.get_template(template).render(**given)

    def _may(self, request: Request, scope: str) -> bool:
        """Whether a viewer has this scope still: its token may have been revoked since."""
        try:
            self._parts.guard.admit_browser(request, scope)
        except Problem:
            return False
        return True

    def _rule(self, digest: str) -> Mapping[str, Any]:
        """The rule of a stamp in words, if it is one of today."""
        now = datetime.now(UTC)
        for country in self._parts.rulebook.countries.values():
            rule = self._parts.rulebook.rule(country.regions[0], now)
            if rule is not None and rule.digest == digest:
                day = self._parts.rulebook.day(country.regions[0], now) or now.date()
                found: Mapping[str, Any] = msgspec.to_builtins(self._parts.questions.rule(country, day))[
                    "rule"
                ]
                return found
        return {"says": [], "source": ""}

    def _answer(
        self, request: Request, title: str, *sentences: str, tone: str = "", status: int = 200, **more: Any
    ) -> Response:
        given = {"facts": [], "asks": "", "says": [], "source": "", "events": None, **more}
        return self._page(
            request, "answer.html.j2", status, title=title, sentences=sentences, tone=tone, **given
        )

    def _page(self, request: Request, template: str, status: int = 200, **given: Any) -> Response:
        given.setdefault("signed_in", COOKIE in request.cookies)
        text = self._rendered(template, **given)
        # With "no-referrer" browsers would send a form without its origin.
        headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "same-origin"}
        return Response(text, status, headers, "text/html")

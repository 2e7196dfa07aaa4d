"""The page's routes: the status, its live updates, the sign-in and the actions.

Another site cannot act through a signed-in browser: (a) a form counts only if its header Origin, which no page can set,
is this host; (b) the cookie is not sent with requests that another site starts (SameSite=Strict); (c) the API takes JSON
with a bearer token, and no cookie.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from stream_scrub.clock import from_millis
from stream_scrub.numbering import REGIONS
from stream_scrub.ops.logs import mask
from stream_scrub.rules import Rule
from stream_scrub.serve.bodies import Kind, Problem, invalid
from stream_scrub.serve.endpoints import AcceptedRequest, AppContext, Endpoints, Handler
from stream_scrub.serve.guard import COOKIE, Account, Caller
from stream_scrub.serve.page import forms, overview
from stream_scrub.serve.page.forms import Form
from stream_scrub.serve.page.list_import import COLUMN_FIELDS_MAX, ListImport
from stream_scrub.serve.tokens import EVIDENCE
from stream_scrub.serve.turns import while_connected
from stream_scrub.stamp import decode
from stream_scrub.terminal import pages
from stream_scrub.texts import names_a_number

LIVE_EVERY_S = 2.0
_SPREAD = 0.2  # random share of it, so that viewers who reconnect after a restart do not stay in step


class LivePart(NamedTuple):
    """A part of the page: how to render it, and for how many seconds to reuse the result."""

    render: Callable[[], str]
    age_s: float


class _RenderedPart(NamedTuple):
    text: str
    event: bytes
    at: float


class LiveParts:
    """The parts that update themselves, by the names in the page's script; rendered once for all viewers."""

    def __init__(self, parts: Mapping[str, LivePart]) -> None:
        self._parts = parts
        self._rendered: dict[str, _RenderedPart] = {}
        self.viewers = 0

    def text(self, name: str) -> str:
        """Return a part as HTML."""
        return self._current(name).text

    def _current(self, name: str) -> _RenderedPart:
        part = self._rendered.get(name)
        if part is None or time.monotonic() - part.at >= self._parts[name].age_s:
            text = self._parts[name].render()
            event = b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(text) + b"\n\n"
            part = self._rendered[name] = _RenderedPart(text, event, time.monotonic())
        return part

    async def events(self, goes_on: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield server-sent events for one viewer until it disconnects or `goes_on` returns False: each part at once, and
        again whenever it has changed."""
        sent: dict[str, bytes] = {}
        while goes_on():
            for name in self._parts:
                event = self._current(name).event
                if sent.get(name) is not event:
                    sent[name] = event
                    yield event
            spread = random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - not for cryptography
            await asyncio.sleep(LIVE_EVERY_S * spread)


class _ViewersEvents(StreamingResponse):
    """The events of one viewer, who counts with the page's and with the token's until they end."""

    def __init__(self, events: AsyncIterator[bytes], *counts: LiveParts | Account) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._counts = counts
        for each in counts:
            each.viewers += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            for each in self._counts:
                each.viewers -= 1


VIEWERS_MAX = 200
TOKEN_VIEWERS_MAX = 20  # with one token
_STATUS_S = 1.0  # reuse of a rendered part
_PAST_S = 10.0
_UNREAD_SHOWN_MAX = 20
_SINCE_S = 2.0  # for the history next to a verdict; on a longer log the page offers it as a button
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_FOLDER = Path(__file__).parent
_FOLDERS = (_FOLDER, _FOLDER.parent / "files")  # of templates
_FILES = {"style.css": "text/css", "live.js": "text/javascript"}

Action = Callable[["StatusPage", Request, Form], Awaitable[Response]]
AdmittedAction = Callable[["StatusPage", Request, Form, Caller], Awaitable[Response]]
PageRoute = Callable[["StatusPage", Request], Awaitable[Response]]


def _form(action: Action) -> PageRoute:
    """Wrap an action that takes a form of this site, from anybody. A problem becomes a page."""

    @wraps(action)
    async def route(self: "StatusPage", request: Request) -> Response:
        try:
            return await action(self, request, await forms.read(request))
        except Problem as problem:
            return self.problem(request, problem)

    return route


def _form_of(*scopes: str) -> Callable[[AdmittedAction], PageRoute]:
    """Wrap an action for signed-in users with one of these scopes: nobody else's form is read. A GET shows the empty form,
    and a problem the filled one."""

    def wrap(action: AdmittedAction) -> PageRoute:
        @wraps(action)
        async def route(self: "StatusPage", request: Request) -> Response:
            form: Form = {}
            is_asked = request.method == "POST"
            try:
                if is_asked:
                    forms.need_same_site(request)
                with self._context.guard.admit_browser(request, *scopes) as caller:
                    if not is_asked:
                        return self.form(request, form)
                    form = await forms.read(request)
                    return await action(self, request, form, caller)
            except Problem as problem:
                return self.form(request, form, problem) if form else self.problem(request, problem)

        return route

    return wrap


def _sentence(problem: Problem) -> str:
    text = str(problem)
    return f"{text[:1].upper()}{text[1:]}."


class _Page(NamedTuple):
    """A page in the navigation, and the scopes of which it needs one."""

    path: str
    name: str
    scopes: Sequence[str] = ("check",)


_OBJECTION = ("request", EVIDENCE)  # scopes; an officer may add protection, and nothing else
_PAGES = (
    _Page("/", "Status"),
    _Page("/check", "Check a number", ("check", "history")),
    _Page("/dossiers", "Answer a complaint", (EVIDENCE,)),
    _Page("/opt-out", "Record an objection", _OBJECTION),
    _Page("/unread", "Unread requests", ("admin",)),
    _Page("/lists", "Import a list", ("admin",)),
    _Page("/files", "Scrub a file", ("file",)),
    _Page("/docs", "API"),
)
_NOT_IN_A_TRIAL = {"/unread", "/dossiers", "/lists"}


class StatusPage:
    """The page, over the endpoints of the API."""

    def __init__(self, context: AppContext, endpoints: Endpoints) -> None:
        self._context = context
        self._endpoints = endpoints
        self._list_import = ListImport(context)
        self._safety = overview.Safety(context.follower, context.settings.rules.index_lag_max_s)
        self._templates = pages(*_FOLDERS)
        self._templates.filters["moment"] = overview.moment
        self._templates.filters["from_millis"] = from_millis
        self._templates.filters["mask"] = mask
        self._templates.filters["origin"] = overview.origin
        self._templates.globals["trial"] = context.trial
        ruled = overview.regions(context.rulebook)
        # What forms offer.
        self.choices: Mapping[str, Any] = {
            "ruled": ruled,
            "unruled": sorted(REGIONS - {*ruled}),
            "region": context.settings.prospect.default_region,
            "purposes": overview.purposes(context.rulebook),
        }
        self._shown: dict[str, Any] | None = None  # by the live part
        self._live = LiveParts(
            {
                "status": LivePart(self._status, _STATUS_S),
                "past": LivePart(self._past, _PAST_S),
                "lists": LivePart(self._lists, _STATUS_S),
            }
        )

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return the methods, the path and the function of each route."""
        return [
            ("GET", "/", self.status),
            ("GET", "/events", self.events),
            ("GET", "/page/{file}", self.file),
            ("GET", "/sign-in", self.signing_in),
            ("POST", "/sign-in", self.sign_in),
            ("POST", "/sign-out", self.sign_out),
            ("GET POST", "/check", self.check),
            ("GET POST", "/opt-out", self.opt_out),
            ("GET POST", "/unread", self.unread),
            ("GET POST", "/lists", self.upload_list),
            ("POST", "/lists/columns", self.name_columns),
            ("POST", "/lists/publish", self.publish_list),
        ]

    async def status(self, request: Request) -> Response:
        """Show the page, or the sign-in form."""
        context = self._context
        try:
            context.guard.admit_browser(request, "check")
        except Problem as problem:
            if problem.kind is Kind.FORBIDDEN and self._may(request, "file"):
                return RedirectResponse("/files", 303)
            if problem.kind is Kind.FORBIDDEN and self._may(request, EVIDENCE):
                return RedirectResponse("/dossiers", 303)
            return self.problem(request, problem)
        return self.page(
            request,
            "status.html.j2",
            overview=self._shown or self._overview(),
            parts={name: self._live.text(name) for name in ("status", "past", "lists")},
            rules=overview.rules_today(context.rulebook, context.queries, datetime.now(UTC)),
        )

    async def events(self, request: Request) -> Response:
        """Send the live parts as server-sent events."""
        viewer = self._context.guard.admit_browser(request, "check").account
        most = TOKEN_VIEWERS_MAX if viewer.name else VIEWERS_MAX
        if self._live.viewers >= VIEWERS_MAX or viewer.viewers >= most:
            raise Problem(
                Kind.TOO_MANY_REQUESTS, f"this page has {most} viewers with this token, the maximum"
            )
        events = self._live.events(
            lambda: not self._context.counters.stopping and self._may(request, "check")
        )
        return _ViewersEvents(events, self._live, viewer)

    async def file(self, request: Request) -> Response:
        """Send the stylesheet or the script. (StaticFiles would publish the templates next to them.)"""
        name = request.path_params["file"]
        if name not in _FILES:
            raise Problem(Kind.NOT_FOUND, "unknown file")
        return Response((_FOLDER / name).read_bytes(), media_type=_FILES[name])

    async def signing_in(self, request: Request) -> Response:
        """Show the sign-in form."""
        return self.page(request, "sign-in.html.j2", wrong=False, signed_in=False)

    @_form
    async def sign_in(self, request: Request, form: Form) -> Response:
        """Store a valid token in a cookie."""
        token = form.get("token", "")
        if not self._context.guard.knows(token):
            return self.page(request, "sign-in.html.j2", 401, wrong=True, signed_in=False)
        answer = RedirectResponse("/", 303)
        secure = request.headers["origin"].startswith("https:")
        answer.set_cookie(COOKIE, token, path="/", secure=secure, httponly=True, samesite="strict")
        return answer

    @_form
    async def sign_out(self, _request: Request, _form: Form) -> Response:
        """Delete the cookie."""
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE, path="/")
        return answer

    @_form_of("check", "history")
    async def check(self, request: Request, form: Form, caller: Caller) -> Response:
        """Show the verdict on a number, with what decided and the proof, and its history: what the viewer's scopes allow."""
        if not self._may(request, "check"):
            caller.spend(1)
            history = await while_connected(request, self._history(form, caller))
            return self.form(request, form, history=history)
        prospect: dict[str, Any] = {"number": form.get("number", "")}
        prospect |= {name: form[name] for name in ("region", "purpose", "campaign") if name in form}
        prospect |= {"contract": True} if "contract" in form else {}
        body = msgspec.json.encode(prospect)
        stamp = decode(await self._endpoints.check.answer(body, time.perf_counter(), caller))
        history = None
        if stamp.number and self._may(request, "history"):
            work = self._history(form, caller) if "history" in form else self._quick_history(form, caller)
            history = await while_connected(request, work)
        rule, events = self._rule(stamp.rules), history.events if history else ()
        proof: list[tuple[str, Any]] = [
            ("Reason", stamp.reason),
            ("Registers", ", ".join(stamp.registers) or "none"),
            ("Rule", stamp.rules or "none"),
            ("Position of the log", stamp.index),
            ("Checked at", stamp.at_text),
        ]
        return self.form(
            request,
            form,
            answer=self._context.queries.answer(stamp, rule, events),
            number=stamp.number or "",
            tone="yes" if stamp.allowed else "no",
            proof=proof,
            history=history,
            may_wait=bool(stamp.number) and history is None and self._may(request, "history"),
            source="" if rule is None else rule.source,
        )

    async def _history(self, form: Form, caller: Caller) -> Any:
        body = msgspec.json.encode({name: form[name] for name in ("number", "region") if name in form})
        return await self._endpoints.history.answer(body, caller.name)

    async def _quick_history(self, form: Form, caller: Caller) -> Any:
        """Return the history; None if that takes too long, or fails."""
        if self._endpoints.history.is_busy:
            return None
        reading = asyncio.ensure_future(self._history(form, caller))
        done, _ = await asyncio.wait({reading}, timeout=_SINCE_S)
        if not done or reading.exception() is not None:
            reading.cancel()
            return None
        return reading.result()

    @_form_of(*_OBJECTION)
    async def opt_out(self, request: Request, form: Form, caller: Caller) -> Response:
        """Write an opt-out to its topic."""
        if "at" in form:
            forms.need_past_day(form["at"])
        if names_a_number(form.get("scope", "")):  # the publisher would take it for all calls
            raise invalid([("campaign", "it looks like a phone number: write its name, or leave it empty")])
        return await self._opt_out(
            request, form, caller, "number", "region", "scope", "at", "channel", "said_by"
        )

    async def _opt_out(self, request: Request, form: Form, caller: Caller, *members: str) -> Response:
        opt_out = forms.request_of("opt-out", caller.name, form, *members)
        place = await self._endpoints.requests.answer(msgspec.json.encode(opt_out), "", caller)
        doubts = []
        if place.invalid:
            doubts.append(
                f"{place.invalid} of the numbers could not be read: an administrator finds them among the unread requests."
            )
        if place.note:
            doubts.append(f"Not all of it was understood ({place.note}), so it counts for every campaign.")
        return self._written(
            request,
            place,
            "The objection is recorded",
            "The number is blocked once the publisher applies the objection, usually within a second.",
            "Print this page: it is the receipt.",
            *doubts,
            tone="" if doubts else "yes",
            given=forms.receipt_of(opt_out, is_unclear=bool(place.note)),
        )

    async def unread(self, request: Request) -> Response:
        """Show the requests that may be oppositions and could not be read, or settle one: with the number that it means,
        or as no opposition."""
        form: Form = {}
        problem: Problem | None = None
        try:
            if request.method == "POST":
                forms.need_same_site(request)
            with self._context.guard.admit_browser(request, "admin") as caller:
                if request.method == "POST":
                    form = await forms.read(request)
                    try:
                        return await self._settle(request, form, caller)
                    except Problem as wrong:
                        problem = wrong
                requests = await while_connected(request, self._endpoints.requests.unread(caller))
        except Problem as wrong:
            return self.problem(request, wrong)
        shown = requests[:_UNREAD_SHOWN_MAX]
        return self.form(request, form, problem, requests=shown, more=len(requests) - len(shown))

    async def _settle(self, request: Request, form: Form, caller: Caller) -> Response:
        if "none" not in form:
            return await self._opt_out(request, form, caller, "number", "region", "settles")
        settlement = forms.request_of("settled", caller.name, form, "settles")
        place = await self._endpoints.requests.settle(settlement, caller)
        return self._written(
            request,
            place,
            "The request is settled: no opposition",
            "The publisher takes it off the unread requests within a second.",
        )

    def _written(
        self,
        request: Request,
        place: AcceptedRequest,
        *says: str,
        tone: str = "yes",
        given: Sequence[tuple[str, str]] = (),
    ) -> Response:
        rows = [("Reference", f"{place.topic}/{place.partition}/{place.offset}"), *given]
        return self._answer(request, *says, tone=tone, rows=rows)

    async def upload_list(self, request: Request) -> Response:
        """Receive a list and show the dry run; on a GET, the form."""
        try:
            if request.method != "POST":
                needs_tokens = self._context.guard.tokens is None and not self._context.trial
                if not needs_tokens:
                    self._list_import.admitted(request)
                return self.form(request, {}, needs_tokens=needs_tokens)
            dry_run = await self._list_import.upload(request)
        except Problem as problem:
            if problem.kind is Kind.FORBIDDEN:
                return self.problem(request, problem)
            return self.form(request, {}, problem)
        return self._dry_run(request, dry_run)

    def _dry_run(self, request: Request, dry_run: Mapping[str, Any]) -> Response:
        template = "list-columns.html.j2" if "columns" in dry_run else "dry-run.html.j2"
        return self.page(request, template, dry_run=dry_run)

    async def name_columns(self, request: Request) -> Response:
        """Take the roles of an uploaded list's columns, and show the dry run."""
        try:
            forms.need_same_site(request)
            caller = self._list_import.admitted(request)
            form = await forms.read(request, COLUMN_FIELDS_MAX)
            dry_run = await self._list_import.name_columns(form, caller)
        except Problem as problem:
            return self.problem(request, problem)
        return self._dry_run(request, dry_run)

    async def publish_list(self, request: Request) -> Response:
        """Publish an uploaded list."""
        try:
            forms.need_same_site(request)
            caller = self._list_import.admitted(request)
            register, rows = await self._list_import.publish(await forms.read(request), caller)
        except Problem as problem:
            return self.problem(request, problem)
        return self._answer(
            request,
            f"The list is published in {register}",
            "Every worker and server applies it within a second.",
            tone="yes",
            rows=rows,
        )

    def form(
        self,
        request: Request,
        form: Form,
        problem: Problem | None = None,
        *,
        template: str = "",
        **answered: Any,
    ) -> Response:
        """Return the page of a form, filled in, under the answer or the problem. `template`: another than the path's."""
        context = self._context
        if problem is not None and problem.kind is Kind.UNAUTHORIZED:
            return self.problem(request, problem)
        answer = self.page(
            request,
            template or f"{request.url.path.removeprefix('/')}.html.j2",
            200 if problem is None else problem.kind.status,
            form=form,
            problem="" if problem is None else _sentence(problem),
            **self.choices,
            registers=overview.register_choices(context.follower.index, context.rulebook),
            campaigns=overview.campaigns(context.follower.index),
            **{"answer": None, "history": None, **answered},
        )
        answer.headers.update({} if problem is None else problem.headers)
        return answer

    def problem(self, request: Request, problem: Problem) -> Response:
        """Return a page for a problem: without a valid token, the one to sign in."""
        if problem.kind is Kind.UNAUTHORIZED:
            if request.method != "POST":
                return RedirectResponse("/sign-in", 303)
            return self.page(request, "sign-in.html.j2", 401, wrong=False, signed_in=False)
        answer = self._answer(
            request, problem.kind.value[1], _sentence(problem), tone="no", status=problem.kind.status
        )
        answer.headers.update(problem.headers)
        return answer

    def _overview(self) -> dict[str, Any]:
        context = self._context
        checks = context.counters.checks()
        return overview.overview(
            self._safety, context.follower, context.rulebook, context.queries, checks, datetime.now(UTC)
        )

    def _status(self) -> str:
        shown = self._shown = self._overview()
        watcher = self._context.watcher
        return self._render(
            "live.html.j2",
            overview=shown,
            wrong=overview.wrong(shown, watcher.rows),
            absent=overview.absent(shown),
            watching=watcher.is_watching,
            watched=watcher.rows,
            more=watcher.has_more,
        )

    def _lists(self) -> str:
        return self._render(
            "lists-part.html.j2",
            overview=self._shown or self._overview(),
            last={each.register: each for each in reversed(self._context.log_tail.deltas)},
        )

    def _past(self) -> str:
        now = datetime.now(UTC)
        watcher, tail, recalls = self._context.watcher, self._context.log_tail, self._context.recall_tail
        reasons = overview.reason_counts(watcher.series, now)
        return self._render(
            "past.html.j2",
            watching=watcher.is_watching,
            charts=overview.charts(watcher.series, now),
            reasons=reasons,
            reasons_total=sum(day for _, _, day in reasons),
            deltas=tail.deltas,
            deltas_trouble=tail.trouble,
            outstanding=overview.outstanding_by_country(watcher.rows, now),
            recalled=recalls.recalled,
            recalled_trouble=recalls.trouble,
        )

    def _render(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(**values)

    def _may(self, request: Request, *scopes: str) -> bool:
        """Whether the viewer has one of these scopes now: the token may have been revoked."""
        try:
            self._context.guard.admit_browser(request, *scopes)
        except Problem:
            return False
        return True

    def _rule(self, digest: str) -> Rule | None:
        """Return the rule of a stamp, if it is in force now."""
        in_force = self._context.rulebook.in_force(datetime.now(UTC))
        return next((rule for rule, _ in in_force if rule.digest == digest), None)

    def _answer(
        self, request: Request, title: str, *sentences: str, tone: str = "", status: int = 200, **more: Any
    ) -> Response:
        values = {"rows": [], **more}
        return self.page(
            request, "answer.html.j2", status, title=title, sentences=sentences, tone=tone, **values
        )

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page from a template."""
        values.setdefault("signed_in", COOKIE in request.cookies)
        hidden = _NOT_IN_A_TRIAL if self._context.trial else ()
        values["pages"] = [
            each for each in _PAGES if self._may(request, *each.scopes) and each.path not in hidden
        ]
        values["path"] = request.url.path
        values["back"] = next(
            (each for each in values["pages"] if f"{values['path']}/".startswith(f"{each.path}/")), _PAGES[0]
        )
        text = self._render(template, **values)
        # With "no-referrer" browsers would send a form's Origin as null.
        headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "same-origin"}
        return Response(text, status, headers, "text/html")

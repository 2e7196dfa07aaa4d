"""The page's routes: the status, its live updates, the sign-in and the actions.

Another site cannot act through a signed-in browser: (a) a form counts only if its header Origin, which no page can set,
is this host; (b) the cookie is not sent with requests that another site starts (SameSite=Strict); (c) the API takes JSON
with a bearer token, and no cookie.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial, wraps
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stream_scrub.clock import from_millis
from stream_scrub.languages import (
    ENGLISH,
    LANGUAGES,
    catalogue,
    count,
    pages_in,
    read_in,
    say,
    translatable,
)
from stream_scrub.numbering import REGIONS
from stream_scrub.ops.logs import mask
from stream_scrub.queries import answer as answers
from stream_scrub.rules import Rule
from stream_scrub.serve.bodies import Kind, Problem, invalid
from stream_scrub.serve.endpoints import AcceptedRequest, AppContext, Endpoints, Handler
from stream_scrub.serve.guard import COOKIE, Caller
from stream_scrub.serve.page import forms, navigation, overview
from stream_scrub.serve.page.forms import Form
from stream_scrub.serve.page.list_import import COLUMN_FIELDS_MAX, ListImport
from stream_scrub.serve.page.live_parts import LivePart, LiveParts, ViewersEvents
from stream_scrub.serve.page.navigation import LANGUAGE_COOKIE, OBJECTION, OPERATOR, language_of
from stream_scrub.serve.turns import while_connected
from stream_scrub.stamp import decode
from stream_scrub.texts import names_a_number, plain

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
_LANGUAGE_S = 365 * 86_400
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
        with read_in(language_of(request), UTC):
            try:
                return await action(self, request, await forms.read(request))
            except Problem as problem:
                return self.problem(request, problem)

    return route


def _in_language(route: PageRoute) -> PageRoute:
    """Wrap an operator's page: whoever may not open it is told so in their language."""

    @wraps(route)
    async def read(self: "StatusPage", request: Request) -> Response:
        with read_in(language_of(request), UTC):
            return await route(self, request)

    return read


def _form_of(*scopes: str) -> Callable[[AdmittedAction], PageRoute]:
    """Wrap an action for signed-in users with one of these scopes: nobody else's form is read. A GET shows the empty form,
    and a problem the filled one."""

    def wrap(action: AdmittedAction) -> PageRoute:
        @wraps(action)
        async def route(self: "StatusPage", request: Request) -> Response:
            form: Form = {}
            is_asked = request.method == "POST"
            with read_in(language_of(request), UTC):
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


# Problems whose detail is for operators, and in English: what everybody else reads before it.
_IN_WORDS = {
    Kind.STALE_INDEX: translatable(
        "The server cannot answer safely now. Try again in a minute, or ask an operator."
    ),
    Kind.NOT_WRITTEN: translatable("It may not be stored. Send it again: a duplicate does no harm."),
}


def _sentence(problem: Problem) -> str:
    text = f"{str(problem)[:1].upper()}{str(problem)[1:]}."
    if problem.kind not in _IN_WORDS:
        return text
    return Markup('{} <small lang="en">{}</small>').format(say(_IN_WORDS[problem.kind]), text)


def _templates(language: str, *, trial: bool) -> Any:
    environment = pages_in(language, *_FOLDERS)
    environment.filters["moment"] = overview.moment
    environment.filters["from_millis"] = from_millis
    environment.filters["mask"] = mask
    environment.filters["origin"] = overview.origin
    environment.filters["translated"] = catalogue(language).gettext
    environment.filters["count"] = partial(count, language=language)
    environment.globals.update(trial=trial, page_language=language, page_languages=LANGUAGES)
    return environment


class StatusPage:
    """The page, over the endpoints of the API."""

    def __init__(self, context: AppContext, endpoints: Endpoints) -> None:
        self._context = context
        self._endpoints = endpoints
        self._list_import = ListImport(context)
        self._safety = overview.Safety(context.follower, context.settings.rules.index_lag_max_s)
        self._templates = {language: _templates(language, trial=context.trial) for language in LANGUAGES}
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
            ("POST", "/language", self.choose_language),
            ("GET POST", "/check", self.check),
            ("GET POST", "/opt-out", self.opt_out),
            ("GET POST", "/unread", self.unread),
            ("GET POST", "/lists", self.upload_list),
            ("POST", "/lists/columns", self.name_columns),
            ("POST", "/lists/publish", self.publish_list),
        ]

    async def status(self, request: Request) -> Response:
        """Show the status to an operator, and lead everybody else to their start page."""
        context = self._context
        try:
            context.guard.admit_browser(request, OPERATOR)
        except Problem as problem:
            if problem.kind is Kind.FORBIDDEN and (start := self._pages(request)):
                return RedirectResponse(start[0].path, 303)
            return self.problem(request, problem)
        return self.page(
            request,
            "status.html.j2",
            overview=self._shown or self._overview(),
            parts={name: self._live.text(name) for name in ("status", "past", "lists")},
            rules=overview.rules_today(context.rulebook, datetime.now(UTC)),
        )

    async def events(self, request: Request) -> Response:
        """Send the live parts as server-sent events."""
        viewer = self._context.guard.admit_browser(request, OPERATOR).account
        most = TOKEN_VIEWERS_MAX if viewer.name else VIEWERS_MAX
        if self._live.viewers >= VIEWERS_MAX or viewer.viewers >= most:
            raise Problem(
                Kind.TOO_MANY_REQUESTS, f"this page has {most} viewers with this token, the maximum"
            )
        events = self._live.events(
            lambda: not self._context.counters.stopping and self._may(request, OPERATOR)
        )
        return ViewersEvents(events, self._live, viewer)

    async def file(self, request: Request) -> Response:
        """Send the stylesheet or the script. (StaticFiles would publish the templates next to them.)"""
        name = request.path_params["file"]
        if name not in _FILES:
            raise Problem(Kind.NOT_FOUND, "unknown file")
        return Response((_FOLDER / name).read_bytes(), media_type=_FILES[name])

    async def signing_in(self, request: Request) -> Response:
        """Show the sign-in form, which leads to the path `to`."""
        return self._sign_in(request, request.query_params.get("to", ""))

    def _sign_in(self, request: Request, to: str, status: int = 200, *, wrong: bool = False) -> Response:
        ended = (
            COOKIE in request.cookies and not wrong and not self._context.guard.knows(request.cookies[COOKIE])
        )
        return self.page(
            request,
            "sign-in.html.j2",
            status,
            wrong=wrong,
            ended=ended,
            signed_in=False,
            to=navigation.way_back(to),
        )

    @_form
    async def sign_in(self, request: Request, form: Form) -> Response:
        """Store a valid token in a cookie, and lead back."""
        token, to = form.get("token", ""), form.get("to", "")
        if not self._context.guard.knows(token):
            return self._sign_in(request, to, 401, wrong=True)
        answer = RedirectResponse(navigation.way_back(to), 303)
        secure = request.headers["origin"].startswith("https:")
        answer.set_cookie(COOKIE, token, path="/", secure=secure, httponly=True, samesite="strict")
        return answer

    @_form
    async def sign_out(self, _request: Request, _form: Form) -> Response:
        """Delete the cookie."""
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE, path="/")
        return answer

    @_form
    async def choose_language(self, _request: Request, form: Form) -> Response:
        """Keep the language of the pages in a cookie, and lead back."""
        language, to = form.get("language", ""), form.get("to", "")
        if language not in LANGUAGES:
            raise invalid([(say("language"), say("choose one of the list"))])
        answer = RedirectResponse(navigation.way_back(to), 303)
        answer.set_cookie(LANGUAGE_COOKIE, language, _LANGUAGE_S, path="/", httponly=True, samesite="strict")
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
            (say("Reason"), Markup("<code>{}</code>").format(stamp.reason)),
            (say("Registers"), ", ".join(stamp.registers) or say("none")),
            (say("Rule"), stamp.rules or say("none")),
            (say("Position of the log"), stamp.index),
            (say("Checked at"), stamp.at_text),
        ]
        return self.form(
            request,
            form,
            answer=answers.answer(stamp, rule, events),
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

    @_form_of(*OBJECTION)
    async def opt_out(self, request: Request, form: Form, caller: Caller) -> Response:
        """Write an opt-out to its topic."""
        if "at" in form:
            forms.need_past_day(form["at"])
        if names_a_number(plain(form.get("scope", ""))):  # the publisher would take it for all calls
            raise invalid(
                [
                    (
                        say("campaign"),
                        say(
                            "this looks like a phone number: write the campaign's name, or leave the field empty"
                        ),
                    )
                ]
            )
        return await self._opt_out(
            request, form, caller, "number", "region", "scope", "at", "channel", "said_by"
        )

    async def _opt_out(self, request: Request, form: Form, caller: Caller, *members: str) -> Response:
        opt_out = forms.request_of("opt-out", caller.name, form, *members)
        place = await self._endpoints.requests.answer(msgspec.json.encode(opt_out), caller)
        doubts = []
        if place.invalid:
            doubts.append(
                say(
                    "Some of the numbers could not be read. An administrator finds them under Unread requests."
                )
            )
        if place.note:
            why = place.note
            doubts.append(
                say("Part of the objection is unclear (%(why)s), so it counts for every campaign.", why=why)
            )
        return self._written(
            request,
            place,
            say("The objection is recorded"),
            say(
                "The number is blocked as soon as the publisher applies the objection, usually within a second."
            ),
            say("Print this page as the receipt."),
            *doubts,
            tone="" if doubts else "yes",
            given=forms.receipt_of(opt_out, is_unclear=bool(place.note)),
        )

    @_in_language
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
        rows = [(say("Reference"), f"{place.topic}/{place.partition}/{place.offset}"), *given]
        return self._answer(request, *says, tone=tone, rows=rows)

    @_in_language
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
                return RedirectResponse(navigation.sign_in_for(request.url.path), 303)
            return self._sign_in(request, navigation.page_of(request.url.path, navigation.PAGES).path, 401)
        answer = self._answer(
            request, say(problem.kind.value[1]), _sentence(problem), tone="no", status=problem.kind.status
        )
        answer.headers.update(problem.headers)
        return answer

    def _overview(self) -> dict[str, Any]:
        context = self._context
        checks = context.counters.checks()
        return overview.overview(self._safety, context.follower, context.rulebook, checks, datetime.now(UTC))

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

    def _render(self, template: str, language: str = ENGLISH, /, **values: Any) -> str:
        return str(self._templates[language].get_template(template).render(**values))

    def _may(self, request: Request, *scopes: str) -> bool:
        """Whether the viewer has one of these scopes now: the token may have been revoked."""
        try:
            self._context.guard.admit_browser(request, *scopes)
        except Problem:
            return False
        return True

    def _pages(self, request: Request) -> list[navigation.Page]:
        """The pages that the viewer may open."""
        trial = self._context.trial
        return [
            each
            for each in navigation.PAGES
            if navigation.shown(each, trial=trial) and self._may(request, *each.scopes)
        ]

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
        path, pages = request.url.path, self._pages(request)
        values.setdefault("signed_in", COOKIE in request.cookies)
        values |= {"path": path, "pages": pages, "back": navigation.page_of(path, pages)}
        # The answer to a form cannot be shown again in another language: what was filled in would be lost.
        values["here"] = values.get("to", path) if request.method == "GET" else ""
        text = self._render(template, language_of(request), **values)
        # With "no-referrer" browsers would send a form's Origin as null.
        headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "same-origin"}
        return Response(text, status, headers, "text/html")

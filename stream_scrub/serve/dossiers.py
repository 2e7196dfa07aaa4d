"""The pages of dossiers: a user with the scope `evidence` asks for one, and gets what `stream-scrub dossier` gives.

A reading takes as long as its topics are large, so it is a job: it has a process of its own, which yields the processors
to checks. The number is in the request and the results alone: not in a path, the log, or what is stored of the job.
"""

import re
from collections.abc import Callable
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, ScrubError
from stream_scrub.languages import ENGLISH, LANGUAGES, say, translatable
from stream_scrub.numbering import region_named
from stream_scrub.ops import logs, processes
from stream_scrub.queries.dossier import DossierRequest
from stream_scrub.queries.dossier_files import build
from stream_scrub.serve import bodies
from stream_scrub.serve.bodies import Problem, invalid
from stream_scrub.serve.endpoints import Handler
from stream_scrub.serve.files import process
from stream_scrub.serve.files.job_pages import JobPages, page
from stream_scrub.serve.files.process import State
from stream_scrub.serve.guard import Caller
from stream_scrub.serve.page import forms
from stream_scrub.serve.page.forms import Form
from stream_scrub.serve.page.navigation import language_of
from stream_scrub.serve.tokens import EVIDENCE
from stream_scrub.serve.uploads import Job

READ_S_MAX = 3600
_DAYS = ("from", "to")  # fields of the form


class DossierQuestion(msgspec.Struct, rename={"first": "from", "last": "to"}):
    """A number in any spelling, and the days, which are those of its country; without a day, everything that is held."""

    number: str
    first: date | None = None
    last: date | None = None
    region: str | None = None
    campaign: str = ""
    case: str = ""
    language: str = ENGLISH


_QUESTION = msgspec.json.Decoder(DossierQuestion)


def _child(
    settings: Settings,
    files_of: Callable[..., dict[str, bytes]],
    about: DossierRequest,
    folder: Path,
    parent: Connection,
    alive: Connection,
) -> None:
    log = process.begin_reading(settings, alive)

    def made() -> State:
        try:
            progress = process.SentProgress(parent, named=True)
            for name, content in files_of(settings, log, about, progress).items():
                (folder / name).write_bytes(content)
        except ScrubError as error:
            return State("failed", why=logs.mask(str(error).replace("\n", "; ")))
        return State("done")

    process.send_outcome(parent, made)


class DossierPages(JobPages):
    """The pages of dossiers."""

    path, scope, results = "/dossiers", EVIDENCE, re.compile(r"dossier\.(?:html|json)(?:\.tsr)?")

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and function of each route."""
        return [
            ("GET", "/dossiers", self.dossiers),
            ("POST", "/dossiers", self.ask),
            ("GET", "/dossiers/{id}", self.dossier),
            *super().routes(),
        ]

    @page
    async def dossiers(self, request: Request, caller: Caller) -> Response:
        """Show the form for a dossier, and the dossiers of this token."""
        return self._form(request, caller, {})

    @page
    async def ask(self, request: Request, caller: Caller) -> Response:
        """Begin to read a dossier."""
        form = await forms.read(request)
        asked = form
        if "everything" in form:
            asked = {name: value for name, value in form.items() if name not in _DAYS}
        try:
            job = await self._begin(asked, caller)
        except Problem as problem:
            return self._form(request, caller, form, problem)
        return RedirectResponse(f"/dossiers/{job.id}", 303)

    async def _begin(self, form: Form, caller: Caller) -> Job:
        """Begin to read one. Raises Problem (422, 429, 503)."""
        caller.spend(1)
        for name in _DAYS:
            if name in form:
                forms.need_day(form[name])
        question = bodies.decoded(_QUESTION, msgspec.json.encode(form))
        asked = self._asked(question, caller.name)
        first, last = question.first, question.last or question.first
        days = 0 if first is None or last is None else (last - first).days + 1
        job = await run_in_threadpool(self.jobs.new, caller.owner)
        shown = say("everything held on the number")
        if first is not None and last is not None:
            shown = (
                str(first) if days == 1 else say("%(first)s to %(last)s", first=str(first), last=str(last))
            )
        job = msgspec.structs.replace(job, most=0, file=shown)
        try:
            self.jobs.keep(job)
        except Problem:
            await run_in_threadpool(self.jobs.delete, job.id)
            raise
        log = self.context.log.bind(by=caller.name, days=days)
        log.info("dossier requested")
        self.jobs.do(
            job,
            lambda job: self._read(job, asked),
            lambda outcome: log.info("dossier ended", outcome=outcome.stage),
        )
        return job

    def _asked(self, question: DossierQuestion, token: str) -> DossierRequest:
        """What the dossier is about, for the owner of that token. Raises Problem (422)."""
        settings = self.context.settings
        region = region_named(question.region or settings.prospect.default_region)
        if not region:
            raise invalid(
                [(say("country"), say("write its code or name, as in FR, FRA, UK or United Kingdom"))]
            )
        if question.first is None and question.last is not None:
            raise invalid([(say("day of the call"), say("give the first day too"))])
        try:
            return build.request_of(
                settings,
                question.number,
                region,
                question.first,
                question.last or question.first,
                token=token,
                campaign=question.campaign,
                case=question.case,
                language=question.language,
            )
        except ConfigError as error:
            what, _, why = error.problems[0].partition(": ")
            fields = {"NUMBER": say("number"), "--language": say("language"), "--to": say("last day")}
            raise invalid([(fields.get(what, say("day of the call")), why)]) from error

    def _read(self, job: Job, asked: DossierRequest) -> State:
        job = self.jobs.begun(job)
        arguments = (self.context.settings, build.files_of, asked, self.jobs.results(job))
        child = processes.one_child(_child, *arguments, name="dossier")
        limit = (
            READ_S_MAX,
            translatable("the reading takes more than an hour: ask an operator for the dossier"),
        )
        return process.followed(
            child, limit, lambda state: self.jobs.put(job, state), lambda: self.jobs.why_end(job)
        )

    @page
    async def dossier(self, request: Request, caller: Caller) -> Response:
        """Show what has become of a dossier."""
        job = self.found(request, caller)
        state, left = self.jobs.state(job), self.left(job)
        results = self.jobs.results(job)
        answer, timestamps = None, list[str]()
        if state.stage == "done":
            answer = msgspec.json.decode(await run_in_threadpool((results / build.ANSWER).read_bytes))
            timestamps = sorted(path.name for path in results.glob("*.tsr"))
        return self.status_page.form(
            request,
            {},
            template="dossier.html.j2",
            job=job,
            state=state,
            left=left,
            answer=answer,
            timestamps=timestamps,
        )

    def _form(self, request: Request, caller: Caller, form: Form, problem: Problem | None = None) -> Response:
        minutes = self.context.settings.files.keep_minutes
        return self.status_page.form(
            request,
            form,
            problem,
            jobs=self.listed(caller),
            minutes=minutes,
            languages=LANGUAGES,
            language=form.get("language") or language_of(request),
        )

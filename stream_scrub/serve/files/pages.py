"""The pages for a file of leads: upload it, choose what is not clear, see the progress, download the results.

The scope `file` admits to them. `jobs.py` keeps the files, `process.py` scrubs them.
"""

import re
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stream_scrub.errors import StaleIndex, Unavailable
from stream_scrub.files.outputs import PROOF
from stream_scrub.files.scrub_file import SUMMARY
from stream_scrub.languages import LANGUAGES, preferred
from stream_scrub.ops import health, scrubbed_files
from stream_scrub.serve.bodies import Kind, Problem
from stream_scrub.serve.endpoints import Handler, why_stale
from stream_scrub.serve.files import process
from stream_scrub.serve.files.job_pages import JobPages, page
from stream_scrub.serve.files.jobs import FILE_BYTES_MAX
from stream_scrub.serve.files.process import State
from stream_scrub.serve.guard import Caller
from stream_scrub.serve.page import forms
from stream_scrub.serve.page.forms import Form
from stream_scrub.serve.uploads import Job
from stream_scrub.terminal import one_line
from stream_scrub.timestamps import SUFFIX

# Options that an error names, and where the page has them.
_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)(?:(?<=max-bad) 1)?")
# What a command or an option of the terminal does, for which the page has nothing.
_TERMINAL = (
    (re.compile(r"; `stream-scrub purposes` lists (?:the words|them all)"), ""),
    (re.compile(r" \(--list [^)]*\)"), " (the operator of this server imports lists)"),
)
_FIELDS = {
    "column": "Columns of numbers",
    "region": "Region of national numbers",
    "region-column": "Column of regions",
    "purpose": "Purpose of the calls",
    "purpose-column": "Column of purposes",
    "campaign": "Campaign",
    "campaign-column": "Column of campaigns",
    "titles": "Lines above the first lead",
    "sheet": "Sheet",
    "max-bad": "Many rows have no number",
}
_CHOICE = re.compile(r"(?:region|purpose|campaign)(?:_column)?|column-[0-9]{1,3}|language|titles|sheet|bad")
_RESULT = re.compile(
    r"(?:allowed|blocked)\.[a-z]{2,6}|report\.html|unreadable-numbers\.csv|proof\.json\.tsr|(?:proof|summary)\.json"
)


def on_page(why: str) -> str:
    """What an error of the command says, in the words of the page."""
    for said, instead in _TERMINAL:
        why = said.sub(instead, why)
    return _OPTION.sub(lambda option: f"“{_FIELDS[option[1]]}”" if option[1] in _FIELDS else option[0], why)


class FilePages(JobPages):
    """The routes."""

    path, scope, results = "/files", "file", _RESULT

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and function of each route."""
        return [
            ("GET", "/files", self.files),
            ("POST", "/files", self.upload),
            ("GET", "/files/{id}", self.job),
            ("POST", "/files/{id}/scrub", self.scrub),
            *super().routes(),
        ]

    @page
    async def files(self, request: Request, caller: Caller) -> Response:
        """Show the form for a file, and the files of this token."""
        jobs = self.listed(caller)
        return self._render(request, "files.html.j2", jobs=jobs, chosen={}, columns=[])

    @page
    async def upload(self, request: Request, caller: Caller) -> Response:
        """Receive a file, and begin to scrub it."""
        forms.need_same_site(request)
        caller.spend(1)
        job = await run_in_threadpool(self.jobs.new, caller.owner)
        begun = False
        try:
            form, name = await forms.receive(request, self.jobs.upload(job), job.most)
            job = msgspec.structs.replace(job, most=0, file=name, choices=_choices(form))
            answer = self._begin(job, caller)
            begun = True
        finally:
            if not begun:
                await run_in_threadpool(self.jobs.delete, job.id)
        return answer

    @page
    async def scrub(self, request: Request, caller: Caller) -> Response:
        """Scrub a file again, by other choices."""
        form = await forms.read(request)
        job = self.found(request, caller)
        if not self.jobs.state(job).asks:
            raise Problem(Kind.INVALID, "this file is not waiting for an answer: upload it again")
        self.jobs.need_idle(job.owner)
        return self._begin(msgspec.structs.replace(job, choices=_choices(form)), caller)

    @page
    async def job(self, request: Request, caller: Caller) -> Response:
        """Show what has become of a file."""
        job = self.found(request, caller)
        state = self.jobs.state(job)
        return self._render(
            request,
            "file.html.j2",
            job=job,
            state=state,
            why=on_page(state.why),
            left=self.left(job),
            results=self._results(job) if state.stage == "done" else {},
            chosen=job.choices,
            columns=state.columns,
        )

    def _results(self, job: Job) -> dict[str, str]:
        """The results that are offered, each with the word for it."""
        names = sorted(each.name for each in self.jobs.results(job).iterdir())
        known = {
            "allowed": "the leads that may be called",
            "blocked": "the leads that may not be called",
            "unreadable-numbers": "each cell that is not a number, with the reason",
        }
        rows = {name: known[stem] for name in names if (stem := name.partition(".")[0]) in known}
        rows[PROOF] = "the proof to keep"
        if f"{PROOF}{SUFFIX}" in names:
            rows[f"{PROOF}{SUFFIX}"] = "the timestamp of the proof"
        return {**rows, SUMMARY: "all counts, for programs"}

    def _render(self, request: Request, template: str, **values: Any) -> Response:
        return self.status_page.page(
            request,
            template,
            minutes=self.context.settings.files.keep_minutes,
            most=FILE_BYTES_MAX >> 20,
            languages=LANGUAGES,
            language=preferred(request.headers.get("accept-language", "")),
            **self.status_page.choices,
            **values,
        )

    def _begin(self, job: Job, caller: Caller) -> Response:
        self.jobs.keep(job)
        self.jobs.do(
            job, lambda job: self._scrubbed(job, caller.name), lambda outcome: self._log(outcome, caller.name)
        )
        return RedirectResponse(f"/files/{job.id}", 303)

    def _log(self, outcome: State, by: str) -> None:
        self.context.log.info(
            "file scrubbed on the page",
            by=by,
            outcome=outcome.stage,
            rows=outcome.rows,
            allowed=outcome.allowed,
        )

    def _scrubbed(self, job: Job, token: str) -> State | None:
        """Scrub the file for the owner of that token, and note it in the ledger; None if no index is safe now."""
        context, jobs = self.context, self.jobs
        follower, lag_max_s = context.follower, context.settings.rules.index_lag_max_s
        if (stale := why_stale(follower, lag_max_s)) is not None:
            why = health.cause(stale.cause, str(stale)).why
            jobs.put(job, State("waiting", why=f"no verdict is safe at the moment: {why}"))
            return None
        jobs.put(job, State("working"))
        try:
            outcome = process.run(
                context.settings,
                lambda: follower.usable(lag_max_s),
                process.options_of(
                    jobs.upload(job) / job.file, jobs.results(job), {**job.choices, "token": token}
                ),
                lambda state: jobs.put(job, state),
                lambda: jobs.why_end(job),
            )
        except StaleIndex:
            return None
        state_dir = context.settings.worker.state_dir
        if state_dir and outcome.stage == "done":
            try:
                results = jobs.results(job)
                scrubbed_files.note(state_dir, results / SUMMARY, results / PROOF, token)
            except Unavailable as error:
                return State("failed", why=str(error))
        return outcome


def _choices(form: Form) -> dict[str, str]:
    """The fields that choose something, as `process.options_of` takes them."""
    return {name: one_line(value) for name, value in form.items() if _CHOICE.fullmatch(name)}

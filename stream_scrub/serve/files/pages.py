"""The pages for a file of leads: upload it, choose what is not clear, see the progress, download the results.

The scope `file` admits to them. `jobs.py` keeps the files, `process.py` scrubs them.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stream_scrub.call import VOICE
from stream_scrub.errors import ConfigError, StaleIndex, Unavailable
from stream_scrub.files.options import FileOptions
from stream_scrub.files.outputs import PROOF
from stream_scrub.files.scrub_file import SUMMARY
from stream_scrub.imports.consents import ConsentLaw
from stream_scrub.imports.parsing.roles import ROLES as LIST_ROLES
from stream_scrub.languages import LANGUAGES, preferred
from stream_scrub.model import CONSENT, INTERNAL, scoped_name
from stream_scrub.ops import health, scrubbed_files
from stream_scrub.rules.purposes import purposes_in, shipped
from stream_scrub.serve.bodies import Kind, Problem, invalid
from stream_scrub.serve.endpoints import AppContext, Handler, why_stale
from stream_scrub.serve.files import process
from stream_scrub.serve.files.job_pages import JobPages, page
from stream_scrub.serve.files.jobs import FILE_BYTES_MAX, TOKEN_JOBS_MAX, Jobs
from stream_scrub.serve.files.own_lists import OwnList, picked
from stream_scrub.serve.files.process import State
from stream_scrub.serve.files.result import Result, result_of
from stream_scrub.serve.guard import Caller
from stream_scrub.serve.page import forms
from stream_scrub.serve.page.forms import Form, FormLimits
from stream_scrub.serve.page.routes import StatusPage
from stream_scrub.serve.uploads import Job
from stream_scrub.terminal import one_line
from stream_scrub.timestamps import SUFFIX

# Options that an error names, and where the page has them.
_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)(?:(?<=max-bad) 1)?")
_SAY_COUNTRY = "Choose “Country of numbers without a country code” if all of them are of one country"
# What a command or an option of the terminal does, for which the page has nothing.
_TERMINAL = (
    (re.compile(r"; `stream-scrub purposes` lists (?:the words|them all)"), ""),
    (re.compile(r" \(--list consent[^)]*\)"), ""),
    (re.compile(r" \((?:put these people into )?--list [^)]*\)"), ""),
    (re.compile(r" ?\(as in --campaign [^)]*\)"), ""),
    # Of a list of hers.
    (re.compile(r"; nothing was published"), ""),
    (re.compile(r", or with --effective-at of `lists import` [^)]*\)"), ""),
    (re.compile(r"; say another with --effective-at"), ""),
    (
        re.compile(r"choose one with --column\b[^`]*`stream-scrub lists import`, or save .*"),
        "keep one of them in the file",
    ),
    (re.compile(r"Pass --region of [^)]*\) if all of them are of one country, or name .*"), _SAY_COUNTRY),
    (re.compile(r", or name the columns?(?: that has the day, as in)?:? --columns .*"), ""),
    (re.compile(r"Use --format wash, with --columns .*"), "Upload the registry's answer as it came"),
    # Of a file of leads.
    (re.compile(r"prospect[.]mixed = strip allows"), "“Allow a row by its other number” allows"),
    (re.compile(r", or pass --set prospect[.][a-z_]+=other"), ""),
)
_FIELDS = {
    "column": "What each column holds",
    "region": "Country of numbers without a country code",
    "purpose": "What is the call for?",
    "campaign": "Campaign",
    "titles": "Lines above the first lead",
    "sheet": "Sheet",
    "max-bad": "Many rows have no number",
    "columns": "What each column holds",
    **{f"{name.replace('_', '-')}-column": "What each column holds" for name in process.ROLES},
}
_CHOICE = re.compile(
    r"(?:column|consents)-[0-9]{1,3}|region|purpose|campaign|channel|who|relation|since|contract|voice_kind"
    r"|language|titles|sheet|bad|strip|go_on-[a-z0-9_-]{1,64}|all_consented|pasted"
)
_OF_CONSENTS = re.compile(r"consents-[0-9]{1,3}|all_consented")
# A file has up to a hundred columns that are asked for, and so may a list; a pasted e-mail has up to 32 KiB.
_FORM = FormLimits(fields=300, field_bytes=32_768, form_bytes=131_072)
# Fields of own lists; the last one is followed by a register.
OPT_OUTS, PASTED, CONSENTS, NATIONAL = "opt_outs", "pasted", "consents", "list-"
_GO_ON = "go_on-"  # and the field of an own list: the lines that may be left out, as `OwnList.go_on`
_LINES_SHOWN = 10
_HISTORY = timedelta(days=90)
_EARLIER_SHOWN = 50
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

    def __init__(self, context: AppContext, status_page: StatusPage, jobs: Jobs) -> None:
        super().__init__(context, status_page, jobs)
        self._channels = sorted(
            {channel for rule in context.rulebook.rules for channel in rule.channels} - {VOICE}
        )
        self._purpose_words = purposes_in(shipped())
        own_families = ConsentLaw(context.rulebook).own_families
        self._national = [name for name in context.rulebook.kinds if name not in own_families]

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
        return self._render(request, "files.html.j2", jobs=jobs, earlier=self._earlier(caller, jobs))

    def _earlier(
        self, caller: Caller, jobs: Sequence[tuple[Job, State, int]]
    ) -> list[scrubbed_files.ScrubbedFile]:
        """The newest scrubs of this token whose results are deleted, by the ledger."""
        state_dir = self.context.settings.worker.state_dir
        if not state_dir:
            return []
        here = set()
        for job, _, _ in jobs:
            with suppress(OSError):
                here.add(hashlib.sha256((self.jobs.results(job) / PROOF).read_bytes()).hexdigest())
        today = datetime.now(UTC).date()
        scrubs = scrubbed_files.between(state_dir, today - _HISTORY, today) or []
        own = [each for each in scrubs if each.by == caller.name and each.proof not in here]
        return own[-_EARLIER_SHOWN:][::-1]

    @page
    async def upload(self, request: Request, caller: Caller) -> Response:
        """Receive a file, and begin to look into it."""
        forms.need_same_site(request)
        caller.spend(1)
        job = await run_in_threadpool(self.jobs.new, caller.owner)
        begun = False
        try:
            form, files = await forms.receive(request, {"file": self.jobs.upload(job)}, job.most)
            if "file" not in files:
                raise invalid([("file", "choose one")])
            job = msgspec.structs.replace(job, most=0, file=files["file"], choices=_choices(form))
            answer = self._begin(job, self._looked, caller)
            begun = True
        finally:
            if not begun:
                await run_in_threadpool(self.jobs.delete, job.id)
        return answer

    @page
    async def scrub(self, request: Request, caller: Caller) -> Response:
        """Scrub a file by the choices and the own lists of the form, or look into it again (`look`)."""
        forms.need_same_site(request)
        job = self.found(request, caller)
        state = self.jobs.state(job)
        if not state.asks:
            raise Problem(Kind.INVALID, "this file is not waiting for an answer: upload it again")
        self.jobs.need_idle(job.owner)
        self.jobs.put(job, State("receiving"))  # no other form of this file is taken meanwhile
        begun = False
        try:
            fields = (OPT_OUTS, CONSENTS, *(NATIONAL + name for name in self._national))
            folders = {name: self.jobs.own_list(job, name) for name in fields}
            room = min(FILE_BYTES_MAX, await run_in_threadpool(self.jobs.room, job.owner))
            form, files = await forms.receive(request, folders, room, _FORM)
            for name, folder in folders.items():
                if f"without-{name}" in form and name not in files:
                    shutil.rmtree(folder, ignore_errors=True)
            choices = _choices(form)
            preview = self.jobs.preview(job)
            if "look" in form:  # what is seen next decides anew
                choices = {
                    name: each for name, each in choices.items() if not name.startswith(process.COLUMN)
                }
                if preview is not None and choices.get("titles") == str(preview.titles):
                    del choices["titles"]
            asked = {name: text for name, text in job.choices.items() if name.startswith(_GO_ON)}
            choices = {**asked, **choices}
            if CONSENTS in files:  # another file has other columns
                choices = {name: each for name, each in choices.items() if not _OF_CONSENTS.fullmatch(name)}
            job = msgspec.structs.replace(job, choices=choices)
            problem = None if "look" in form else self._problem(job)
            if problem is not None:
                self.jobs.keep(job)
                state = problem
                return RedirectResponse(f"/files/{job.id}", 303)
            answer = self._begin(job, self._looked if "look" in form else self._scrubbed, caller)
            begun = True
        finally:
            if not begun and not self.jobs.put(job, state):  # the disk is full: it would wait for nobody
                await run_in_threadpool(self.jobs.delete, job.id)
        return answer

    def _problem(self, job: Job) -> State | None:
        """What must be said of the form before the file is scrubbed, which changes its choices; None if nothing must."""
        try:
            options = process.options_of(
                self.jobs.upload(job) / job.file, self.jobs.results(job), job.choices
            )
            region = options.region_by(self.context.settings)
        except ConfigError as error:
            return State("unclear", why=str(error).replace("\n", "; "))
        is_said = job.choices.get("purpose") or self.context.settings.prospect.default_purpose
        preview = self.jobs.preview(job)
        if preview is not None and preview.columns and not is_said and "purpose" not in options.columns.facts:
            return State("unclear", why="say what the call is for", about="purpose")
        named = [role for name, role in job.choices.items() if name.startswith(f"{CONSENTS}-")]
        for role in LIST_ROLES:
            if named.count(role) > 1:
                return State(
                    "unclear", why="two columns of the consents have one role: choose one", about=CONSENTS
                )
        lists = self._own_lists(job)
        if lists.get(CONSENTS) and not (
            job.choices.get("campaign") or self.context.settings.prospect.default_campaign
        ):
            why = "a consent is given to one campaign: enter the campaign that these people consented to"
            return State("unclear", why=why, about=CONSENTS)
        text = job.choices.get(PASTED, "")
        if text and OPT_OUTS in lists:
            why = "send your opt-outs in one way: as a file, or as text"
            return State("unclear", why=why, about=OPT_OUTS)
        numbers, unclear = picked(text, region)
        shown = "\n".join(numbers)
        if text.split() == shown.split():
            return None
        job.choices[PASTED] = shown
        why = f"your text has {len(numbers):,} phone numbers, shown below: check them, then press Scrub"
        if unclear:
            lines = ", ".join(map(str, unclear[:_LINES_SHOWN]))
            why += f". The digits on line {lines} are not a phone number: add what is missing"
        return State("unclear", why=why, about=OPT_OUTS)

    def _own_lists(self, job: Job) -> dict[str, Path]:
        """The own lists of a job that are files, by their fields."""
        paths: dict[str, Path] = {}
        for folder in self.jobs.own_lists(job):
            for path in folder.iterdir():
                paths[folder.name] = path
        return paths

    @page
    async def job(self, request: Request, caller: Caller) -> Response:
        """Show what has become of a file."""
        job = self.found(request, caller)
        state, preview = self.jobs.state(job), self.jobs.preview(job)
        # Now, or before it asked again.
        is_scrubbed = state.asks and (self.jobs.results(job) / SUMMARY).is_file()
        if preview is not None:
            preview = msgspec.structs.replace(preview, why=on_page(preview.why))
        return self._render(
            request,
            "file.html.j2",
            job=job,
            state=state,
            why=on_page(state.why),
            left=self.left(job),
            results=self._results(job) if state.stage == "done" else {},
            result=self._result(job) if is_scrubbed else None,
            chosen=job.choices,
            preview=preview,
            own={name: path.name for name, path in self._own_lists(job).items()} if state.asks else {},
        )

    def _result(self, job: Job) -> Result:
        result = result_of(self.jobs.results(job) / SUMMARY, self.context.rulebook)
        return result._replace(notes=[on_page(note) for note in result.notes])

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
            token_jobs=TOKEN_JOBS_MAX,
            channels=self._channels,
            purpose_words=self._purpose_words,
            languages=LANGUAGES,
            language=preferred(request.headers.get("accept-language", "")),
            **self.status_page.choices,
            **values,
        )

    def _begin(self, job: Job, work: Callable[[Job, str], State | None], caller: Caller) -> Response:
        self.jobs.keep(job)
        self.jobs.do(job, lambda job: work(job, caller.name), lambda outcome: self._log(outcome, caller.name))
        return RedirectResponse(f"/files/{job.id}", 303)

    def _log(self, outcome: State, by: str) -> None:
        if outcome.preview is not None:
            return
        self.context.log.info(
            "file scrubbed on the page",
            by=by,
            outcome=outcome.stage,
            rows=outcome.rows,
            allowed=outcome.allowed,
        )

    def _looked(self, job: Job, token: str) -> State:
        """Look into the file."""
        self.jobs.put(job, State("working", why="reading the file"))
        options, before = self._options(job, token), self.jobs.preview(job)
        state = process.look(self.context.settings, options, lambda: self.jobs.why_end(job))
        if before is not None and state.preview is not None and not state.preview.sheets:
            state = msgspec.structs.replace(
                state, preview=msgspec.structs.replace(state.preview, sheets=before.sheets)
            )
        return state

    def _options(self, job: Job, token: str) -> FileOptions:
        file = self.jobs.upload(job) / job.file
        return process.options_of(file, self.jobs.results(job), {**job.choices, "token": token})

    def _lists(self, job: Job) -> list[OwnList]:
        """The own lists of a job, with their registers. A pasted one becomes a file."""
        choices = job.choices
        folder = self.jobs.own_list(job, PASTED)
        shutil.rmtree(folder, ignore_errors=True)
        if text := choices.get(PASTED):
            folder.mkdir(mode=0o700)
            (folder / "pasted-opt-outs.txt").write_text(text + "\n")
        campaign = choices.get("campaign") or self.context.settings.prospect.default_campaign
        consents = CONSENT if choices.get("channel", VOICE) == VOICE else f"{CONSENT}-{choices['channel']}"
        roles = {
            role: name.removeprefix(f"{CONSENTS}-")
            for name, role in choices.items()
            if name.startswith(f"{CONSENTS}-") and role in LIST_ROLES
        }
        lists = []
        for name, path in self._own_lists(job).items():
            go_on = choices.get(_GO_ON + name, "")
            if name == CONSENTS:
                register = scoped_name(consents, campaign)
                lists.append(OwnList(name, path, register, roles, "all_consented" in choices, go_on=go_on))
            else:
                register = name.removeprefix(NATIONAL) if name.startswith(NATIONAL) else INTERNAL
                lists.append(OwnList(name, path, register, go_on=go_on))
        return lists

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
            lists = self._lists(job)
        except OSError as error:
            return State("failed", why=f"the server cannot store your opt-outs ({error.strerror})")
        try:
            settings = context.settings
            if "strip" in job.choices:
                prospect = settings.prospect.model_copy(update={"mixed": "strip"})
                settings = settings.model_copy(update={"prospect": prospect})
            outcome = process.run(
                settings,
                lambda: follower.usable(lag_max_s),
                self._options(job, token),
                lists,
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
    """The fields that choose something, as `process.options_of` takes them. Only what is pasted has lines."""
    choices = {name: one_line(value) for name, value in form.items() if _CHOICE.fullmatch(name)}
    if PASTED in form:
        choices[PASTED] = "\n".join(map(one_line, form[PASTED].splitlines()))
    return choices

"""The pages for a file of leads: upload it, choose what is not clear, see the progress, download the results.

The scope `file` admits to them. `jobs.py` keeps the files, `process.py` scrubs them.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stream_scrub.call import VOICE
from stream_scrub.errors import ConfigError, StaleIndex, Unavailable, code_of
from stream_scrub.files.options import FileOptions
from stream_scrub.files.outputs import PROOF
from stream_scrub.files.scrub_file import SUMMARY
from stream_scrub.imports.consents import ConsentLaw
from stream_scrub.imports.parsing.roles import ROLES as LIST_ROLES
from stream_scrub.languages import day, percent, say, translatable, translated
from stream_scrub.model import CONSENT, INTERNAL, scoped_name
from stream_scrub.ops import scrubbed_files
from stream_scrub.rules.purposes import purposes_in, shipped
from stream_scrub.serve.bodies import Kind, Problem, invalid
from stream_scrub.serve.endpoints import AppContext, Handler, why_stale
from stream_scrub.serve.files import process
from stream_scrub.serve.files.job_pages import JobPages, page
from stream_scrub.serve.files.jobs import FILE_BYTES_MAX, TOKEN_JOBS_MAX, Jobs
from stream_scrub.serve.files.own_lists import OwnList, picked
from stream_scrub.serve.files.process import State
from stream_scrub.serve.files.result import LastDay, Result, result_of
from stream_scrub.serve.files.words import PURPOSES
from stream_scrub.serve.guard import Caller
from stream_scrub.serve.page import forms
from stream_scrub.serve.page.forms import Form, FormLimits
from stream_scrub.serve.page.navigation import language_of
from stream_scrub.serve.page.routes import StatusPage
from stream_scrub.serve.uploads import Job
from stream_scrub.terminal import one_line
from stream_scrub.texts import plain
from stream_scrub.timestamps import SUFFIX

_CHOICE = re.compile(
    r"(?:column|consents)-[0-9]{1,3}|region|purpose|campaign|channel|who|relation|since|contract|voice_kind"
    r"|titles|sheet|bad|strip|all_consented|consents_of|pasted"
)
# The list of consents that a form shows: the columns that it names are those of this list only.
_CONSENTS_OF = "consents_of"
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


class FilePages(JobPages):
    """The routes."""

    path, scope, results = "/files", "file", _RESULT

    def __init__(self, context: AppContext, status_page: StatusPage, jobs: Jobs) -> None:
        super().__init__(context, status_page, jobs)
        self._channels = sorted(
            {channel for rule in context.rulebook.rules for channel in rule.channels} - {VOICE}
        )
        self._meanings = purposes_in(shipped())
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
        earlier = self._earlier(caller, jobs)
        return self._render(
            request, "files.html.j2", jobs=jobs, earlier=earlier, ends=self._ends(jobs, earlier)
        )

    def _ends(
        self, jobs: Sequence[tuple[Job, State, int]], earlier: Sequence[scrubbed_files.ScrubbedFile]
    ) -> list[LastDay]:
        """Until when the leads of each scrub may be called, the first end first."""
        ends: list[LastDay] = []
        for job, state, _ in jobs:
            if state.stage == "done" and state.allowed and (last := self._result(job).until):
                ends.append(LastDay(last, state.allowed, job.file, job.id))
        today = datetime.now(UTC).date().isoformat()
        ends += [
            LastDay(date.fromisoformat(each.until), each.allowed, at=each.at)
            for each in earlier
            if each.allowed and each.until >= today
        ]
        return sorted(ends)

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
                raise invalid([(say("file"), say("choose one"))])
            choices = {**_choices(form), "language": language_of(request)}
            job = msgspec.structs.replace(job, most=0, file=files["file"], choices=choices)
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
            raise Problem(Kind.INVALID, say("this file is not waiting for an answer: upload it again"))
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
            choices = {**job.choices} if "again" in form else _choices(form)
            choices["language"] = language_of(request)
            preview = self.jobs.preview(job)
            if "tab" in form:
                choices["sheet"] = one_line(form["tab"])
            looks = not form.keys().isdisjoint({"look", "tab"})
            if looks:  # what is seen next decides anew
                choices = {
                    name: each for name, each in choices.items() if not name.startswith(process.COLUMN)
                }
                if preview is not None and choices.get("titles") == str(preview.titles):
                    del choices["titles"]  # suggested, not chosen
            choices |= _clicks({**job.choices, **form}, (*fields, PASTED))
            job = msgspec.structs.replace(job, choices=self._of_its_consents(job, choices))
            problem = None if looks else self._problem(job)
            if problem is not None:
                self.jobs.keep(job)
                state = problem
                return RedirectResponse(f"/files/{job.id}", 303)
            answer = self._begin(job, self._looked if looks else self._scrubbed, caller)
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
            return State("unclear", why=say("say what the call is for"), about="purpose")
        named = [role for name, role in job.choices.items() if name.startswith(f"{CONSENTS}-")]
        for role in LIST_ROLES:
            if named.count(role) > 1:
                why = say("two columns of the consents hold the same: choose one of them")
                return State("unclear", why=why, about=CONSENTS)
        lists = self._own_lists(job)
        if lists.get(CONSENTS) and not (
            job.choices.get("campaign") or self.context.settings.prospect.default_campaign
        ):
            why = say("a consent is given to one campaign: enter the campaign that these people consented to")
            return State("unclear", why=why, about=CONSENTS)
        text = job.choices.get(PASTED, "")
        if text and OPT_OUTS in lists:
            why = say("send your opt-outs in one way: as a file, or as text")
            return State("unclear", why=why, about=OPT_OUTS)
        numbers, unclear = picked(text, region)
        shown = "\n".join(numbers)
        if text.split() == shown.split():
            return None
        job.choices[PASTED] = shown
        why = say(
            "phone numbers in your text: %(count)s. Check them below, then press Scrub", count=len(numbers)
        )
        if unclear:
            why = say(
                "phone numbers in your text: %(count)s. The digits on these lines are not a phone number: %(lines)s. Add what"
                " is missing, then press Scrub",
                count=len(numbers),
                lines=", ".join(map(str, unclear[:_LINES_SHOWN])),
            )
        return State("unclear", why=why, about=OPT_OUTS)

    def _own_lists(self, job: Job) -> dict[str, Path]:
        """The own lists of a job that are files, by their fields."""
        paths: dict[str, Path] = {}
        for folder in self.jobs.own_lists(job):
            for path in folder.iterdir():
                paths[folder.name] = path
        return paths

    def _of_its_consents(self, job: Job, choices: dict[str, str]) -> dict[str, str]:
        """The choices, without the columns of a list of consents that the job does not have any more."""
        if choices.get(_CONSENTS_OF, "") == self._version_of_consents(job):
            return choices
        return {name: choice for name, choice in choices.items() if not _OF_CONSENTS.fullmatch(name)}

    def _version_of_consents(self, job: Job) -> str:
        """A text that no other list of consents of the job has; empty without one."""
        path = self._own_lists(job).get(CONSENTS)
        if path is None:
            return ""
        status = path.stat()
        return f"{status.st_ino}-{status.st_mtime_ns}"

    @page
    async def job(self, request: Request, caller: Caller) -> Response:
        """Show what has become of a file."""
        job = self.found(request, caller)
        state, preview = self.jobs.state(job), self.jobs.preview(job)
        # Now, or before it asked again.
        is_scrubbed = state.asks and (self.jobs.results(job) / SUMMARY).is_file()
        return self._render(
            request,
            "file.html.j2",
            job=job,
            state=state,
            left=self.left(job),
            results=self._results(job) if state.stage == "done" else {},
            result=self._result(job) if is_scrubbed else None,
            chosen=self._of_its_consents(job, job.choices),
            preview=preview,
            own={name: path.name for name, path in self._own_lists(job).items()} if state.asks else {},
            consents_of=self._version_of_consents(job) if state.asks else "",
        )

    def _result(self, job: Job) -> Result:
        return result_of(self.jobs.results(job) / SUMMARY, self.context.rulebook)

    def _results(self, job: Job) -> dict[str, str]:
        """The results that are offered, each with the word for it."""
        names = sorted(each.name for each in self.jobs.results(job).iterdir())
        known = {
            "allowed": translatable("the leads that may be called"),
            "blocked": translatable("the leads that may not be called, with the reason"),
            "unreadable-numbers": translatable("each cell that is not a number, with the reason"),
        }
        rows = {name: known[stem] for name in names if (stem := name.partition(".")[0]) in known}
        rows[PROOF] = translatable("the proof to keep")
        if f"{PROOF}{SUFFIX}" in names:
            rows[f"{PROOF}{SUFFIX}"] = translatable("the timestamp of the proof")
        return {**rows, SUMMARY: translatable("all counts, for programs")}

    def _render(self, request: Request, template: str, **values: Any) -> Response:
        language = language_of(request)
        return self.status_page.page(
            request,
            template,
            day=partial(day, language=language),
            percent=partial(percent, language=language),
            minutes=self.context.settings.files.keep_minutes,
            most=FILE_BYTES_MAX >> 20,
            token_jobs=TOKEN_JOBS_MAX,
            channels=self._channels,
            purpose_words=PURPOSES,
            meanings=self._meanings,
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
        self.jobs.put(job, State("working"))
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
        if why_stale(follower, lag_max_s) is not None:
            why = say(
                "the server's lists are not up to date at the moment: the scrub begins by itself when they are. If it lasts,"
                " tell your operator"
            )
            jobs.put(job, State("waiting", why=why))
            return None
        jobs.put(job, State("working"))
        try:
            lists = self._lists(job)
        except OSError as error:
            return State("failed", why=say(process.UNSTORED, code=code_of(error)))
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


def _purpose_of(said: str) -> str:
    """The purpose that the reader's language calls so; else what was said, for `rules/purposes.py` to understand."""
    for purpose, word in PURPOSES.items():
        if plain(said) == plain(translated(word)):
            return purpose
    return said


def _clicks(said: Mapping[str, str], fields: Iterable[str]) -> dict[str, str]:
    """The choices that leave out lines of own lists, by their fields. Each is good for the list that it was about."""
    names = [_GO_ON + field for field in fields]
    return {name: one_line(said[name]) for name in names if name in said}


def _choices(form: Form) -> dict[str, str]:
    """The fields that choose something, as `process.options_of` takes them. Only what is pasted has lines."""
    choices = {name: one_line(value) for name, value in form.items() if _CHOICE.fullmatch(name)}
    if "purpose" in choices:
        choices["purpose"] = _purpose_of(choices["purpose"])
    if PASTED in form:
        choices[PASTED] = "\n".join(map(one_line, form[PASTED].splitlines()))
    return choices

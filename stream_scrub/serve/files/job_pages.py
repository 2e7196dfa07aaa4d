"""What the pages of all jobs share: a job's progress, its results, and its end. `jobs.py` keeps the jobs."""

import math
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from stream_scrub.languages import read_in, say
from stream_scrub.serve.bodies import Kind, Problem
from stream_scrub.serve.endpoints import AppContext, Handler
from stream_scrub.serve.files.jobs import Jobs
from stream_scrub.serve.files.process import State
from stream_scrub.serve.guard import Caller
from stream_scrub.serve.page import forms
from stream_scrub.serve.page.navigation import language_of
from stream_scrub.serve.page.routes import StatusPage
from stream_scrub.serve.uploads import Job

_SCRIPT = Path(__file__).parent / "progress.js"
# A page among the results loads nothing and runs nothing; its style is in it.
_RESULT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

Action = Callable[[Any, Request, Caller], Awaitable[Response]]
Route = Callable[[Any, Request], Awaitable[Response]]


def page(action: Action) -> Route:
    """Wrap a route for signed-in users with the scope of these pages. A problem becomes a page."""

    @wraps(action)
    async def route(self: "JobPages", request: Request) -> Response:
        with read_in(language_of(request), UTC, on_page=True):
            try:
                with self.context.guard.admit_browser(request, self.scope) as caller:
                    return await action(self, request, caller)
            except Problem as problem:
                return self.status_page.problem(request, problem)

    return route


async def script(_request: Request) -> Response:
    """Send the script that shows the progress."""
    return Response(_SCRIPT.read_bytes(), media_type="text/javascript")


class JobPages:
    """The routes under `path` of one kind of job, for the scope `scope`. `results`: the names that a result may have."""

    path: str
    scope: str
    results: re.Pattern[str]

    def __init__(self, context: AppContext, status_page: StatusPage, jobs: Jobs) -> None:
        self.context, self.status_page, self.jobs = context, status_page, jobs

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and function of each route."""
        return [
            ("GET", f"{self.path}/{{id}}/state", self.state),
            ("POST", f"{self.path}/{{id}}/delete", self.delete),
            ("GET", f"{self.path}/{{id}}/{{name}}", self.result),
        ]

    @page
    async def state(self, request: Request, caller: Caller) -> Response:
        """Send the progress, for the script."""
        state = self.jobs.state(self.found(request, caller))
        shown = {"stage": state.stage, "share": state.share, "why": state.why}
        return Response(msgspec.json.encode(shown), media_type="application/json")

    @page
    async def delete(self, request: Request, caller: Caller) -> Response:
        """End a job, and delete it with its results."""
        forms.need_same_site(request)
        await run_in_threadpool(self.jobs.delete, self.found(request, caller).id)
        return RedirectResponse(self.path, 303)

    @page
    async def result(self, request: Request, caller: Caller) -> Response:
        """Send a result: a page to read, any other file to save."""
        job, name = self.found(request, caller), request.path_params["name"]
        path = self.jobs.results(job) / name
        if not self.results.fullmatch(name) or self.jobs.state(job).stage != "done" or not path.is_file():
            raise Problem(Kind.NOT_FOUND, say("there is no result with this name"))
        if path.suffix == ".html":
            headers = {"Content-Security-Policy": _RESULT_POLICY, "Referrer-Policy": "same-origin"}
            return FileResponse(path, headers=headers, media_type="text/html; charset=utf-8")
        return FileResponse(path, filename=name, media_type="application/octet-stream")

    def found(self, request: Request, caller: Caller) -> Job:
        """Return the job of a path. Raises Problem (404)."""
        return self.jobs.find(request.path_params["id"], caller.owner)

    def listed(self, caller: Caller) -> list[tuple[Job, State, int]]:
        """Return the caller's jobs, each with its state and the minutes until it is deleted."""
        return [(job, self.jobs.state(job), self.left(job)) for job in self.jobs.of(caller.owner)]

    def left(self, job: Job) -> int:
        """Return the minutes until the job is deleted."""
        return max(1, math.ceil((job.at + job.keep_s - time.time()) / 60))

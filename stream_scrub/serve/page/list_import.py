"""Imports a list that is uploaded on the page: (1) receive it and show a dry run, (2) publish it on a second click.

`lists import` does the work, with all of its guards; none can be switched off here. It runs in a separate process, so
that checks go on meanwhile and a list that crashes its reader harms nothing else. Importing needs a signed-in user:
without tokens any program on this machine could publish a list. Where a publisher has the registers (`lists.folder`), the
list is handed over to it through its drop folder: nobody else may publish them.

An uploaded list waits a quarter of an hour in a folder that only this user may read: it contains people's numbers. It is
deleted when it is published, when its uploader uploads another, when its time is over, and when the process that received
it ends (`serve/uploads.py`).
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import replace
from starlette.requests import Request

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Refused, ScrubError, TooMany
from stream_scrub.imports import drop_folder, import_list
from stream_scrub.imports.drop_folder import HandedOrder
from stream_scrub.imports.formats import BadList
from stream_scrub.imports.guards import UnstatedConsents
from stream_scrub.imports.parsing.list_columns import suggested_places
from stream_scrub.imports.parsing.roles import ROLES
from stream_scrub.model import INTERNAL, RegisterName
from stream_scrub.ops import logs, processes
from stream_scrub.ops.logs import mask
from stream_scrub.serve.bodies import Kind, Problem, invalid
from stream_scrub.serve.endpoints import AppContext
from stream_scrub.serve.files.preview import list_rows
from stream_scrub.serve.files.process import send_outcome
from stream_scrub.serve.guard import Caller
from stream_scrub.serve.page import forms
from stream_scrub.serve.page.forms import Form
from stream_scrub.serve.uploads import Job, UploadLimits, Uploads, busy, storing
from stream_scrub.terminal import one_line

PENDING_S = 900.0
PENDING_MAX = 8
PENDING_BYTES_MAX = forms.FILE_BYTES_MAX  # all of them together: the volume of a pod has room for so many
_GONE = (
    "the list is gone: it was published, you uploaded another one, or it is older than"
    f" {PENDING_S / 60:.0f} minutes; upload it again"
)


def pending_lists(state_dir: str) -> Uploads:
    """The lists that wait. Of each admin only one does, and one is read at a time: reading a list takes memory."""
    limits = UploadLimits(
        *(PENDING_BYTES_MAX, PENDING_BYTES_MAX, PENDING_BYTES_MAX),
        owner_max=1,
        all_max=PENDING_MAX,
        at_once=1,
    )
    return Uploads("dropped", state_dir, PENDING_S, limits, _GONE)


_BEYOND_READING_S = 300.0  # for the log, the dry run's prospects, and the transaction
WAIT_S = 60.0  # a file is taken within seconds, and a national list published in less
_LOOK_S = 0.1
_NOON = timedelta(hours=12)
_YEAR = "20"
_SCOPE = "admin"
_FIELDS = ("register", "change", "kind", "effective_at", "region")
_COLUMN = "column-"  # and its place: a field of the form that names columns
_COLUMNS_SHOWN = 40
COLUMN_FIELDS_MAX = _COLUMNS_SHOWN + 3
_LINES_SHOWN = 10
_COUNTED = {
    "added": "Added",
    "removed": "Removed",
    "unchanged": "Unchanged",
    "count": "Numbers afterwards",
    "duplicates": "Duplicates in the list",
    "refused": "Lines without a valid number",
    "ending": "Numbers that expire",
    "kept": "Kept although not in the list",
    "outside": "Outside the declared areas",
    "endless": "Expiry dates ignored: oppositions to you do not expire",
}
_REGIONS_SHOWN = 8

Outcome = Literal["done", "refused", "columns", "unavailable", "ended"]


class PageImport(msgspec.Struct, frozen=True):
    """The outcome: `effect` as in `lists import --json` if `done`, else `why`. `columns`: the list states no consents until
    its columns are named; `columns` and `rows` show them, and `named` suggests roles by place. `ended`: the process crashed,
    timed out or was killed with the server, and may have published."""

    outcome: Outcome
    why: str = ""
    effect: dict[str, Any] = {}
    columns: list[str] = []
    rows: list[list[str]] = []
    named: dict[int, str] = {}


_PAGE_IMPORT = msgspec.msgpack.Decoder(PageImport)


def time_limit_s(settings: Settings) -> float:
    """Return the seconds that an import may take."""
    return settings.lists.read_max_s + _BEYOND_READING_S


def run(
    settings: Settings,
    file: Path,
    form: Form,
    dry_run: bool,
    stopping: Callable[[], bool],
) -> PageImport:
    """Import a list, or make a dry run, in a child process. Blocks; raises nothing."""
    arguments = (settings, import_list.asked, str(file), form, dry_run)
    child = processes.one_child(_child, *arguments, name="import")
    limit = time_limit_s(settings), "the import took too long"
    try:
        return processes.answer(
            child, _PAGE_IMPORT, limit, lambda: "the server is stopping" if stopping() else ""
        )
    except processes.NoAnswer as error:
        why = f"its process ended with code {error.code}; see the server's log"
        return PageImport("ended", str(error) or why)


def _child(
    settings: Settings,
    asked: Callable[..., dict[str, object]],
    file: str,
    form: Form,
    dry_run: bool,
    parent: Connection,
    alive: Connection,
) -> None:
    processes.begin_child(alive)
    log = logs.configure(settings.log.level, settings.log.format)
    send_outcome(parent, lambda: _outcome(lambda: asked(settings, log, file, form, dry_run), file))


def _outcome(work: Callable[[], dict[str, Any]], file: str) -> PageImport:
    what: Outcome = "refused"
    try:
        return PageImport("done", effect=work())
    except ConfigError as error:
        why = logs.mask("; ".join(each.removeprefix("--") for each in error.problems))
    except UnstatedConsents as error:
        columns = error.columns[:_COLUMNS_SHOWN]
        named = {place: role for role, place in suggested_places(error.columns).items()}
        why = logs.mask(error.facts[0].removesuffix(" it has these columns:"))
        shown = [one_line(str(column)) for column in columns]
        return PageImport("columns", why, columns=shown, rows=list_rows(Path(file)), named=named)
    except BadList as error:
        why = one_line(error.shown)
    except (Refused, TooMany) as error:
        why = logs.mask(str(error))
    except ScrubError as error:
        what, why = "unavailable", logs.mask(str(error))
    return PageImport(what, _by_name(why, file))


def _by_name(text: str, file: str) -> str:
    """Name the file without the folder where it waits, which its user does not know."""
    name = Path(file).name
    return text.replace(file, name).replace(mask(file), mask(name))


class ListImport:
    """The two steps, for one list at a time."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._pending = context.pending_lists

    async def upload(self, request: Request) -> dict[str, Any]:
        """Receive a list and make a dry run. Raises Problem."""
        forms.need_same_site(request)
        caller = self.admitted(request)
        async with self._alone():
            for earlier in self._pending.of(caller.name):
                self._pending.delete(earlier.id)
            job = await asyncio.to_thread(self._pending.new, caller.name)
            publishable = False
            try:
                job = await self._received(request, job)
                dry_run = self._dry_run(job, await self._import(job, dry_run=True))
                publishable = "columns" in dry_run or not dry_run["why"]
            finally:
                if publishable:
                    self._renew(job)
                else:
                    self._pending.delete(job.id)
        return dry_run

    async def name_columns(self, form: Form, caller: Caller) -> dict[str, Any]:
        """Make a dry run of an uploaded list with the columns that the form names. Raises Problem."""
        async with self._alone():
            job = self._pending.find(form.get("pending", ""), caller.name)
            fields = [field for field in form if field.startswith(_COLUMN)]
            named = {form[field]: field.removeprefix(_COLUMN) for field in fields}
            if len(named) < len(fields):
                raise invalid(
                    [("columns", "two columns have one role: go back, and choose one for each role")]
                )
            said = {"columns": ",".join(f"{role}={place}" for role, place in named.items() if role in ROLES)}
            for field in ("all_consented", "no_into"):
                said[field] = form.get(field, "")
            job = replace(job, choices={**job.choices, **said})
            dry_run = self._dry_run(job, await self._import(job, dry_run=True))
            self._renew(job)
        return dry_run

    def _dry_run(self, job: Job, result: PageImport) -> dict[str, Any]:
        if result.outcome == "columns":
            register = RegisterName.split(job.choices["register"])
            return {
                "why": result.why,
                "columns": list(enumerate(result.columns, 1)),
                "head": result.rows,
                "named": result.named,
                "roles": ROLES,
                "opt_outs": str(RegisterName(INTERNAL, register.campaign)),
                "register": job.choices["register"],
                "pending_id": job.id,
                "minutes": int(PENDING_S // 60),
            }
        if result.outcome != "done":
            raise _problem(result, dry_run=True)
        effect = result.effect
        foreseen: Mapping[str, Any] = effect["foreseen"]
        return {
            "register": effect["register"],
            "rows": [("File", job.file), *_rows(effect), *_regions(foreseen)],
            # why it would be refused; empty if not
            "why": one_line(_by_name(str(effect["would_be_refused"]), str(self._file(job)))),
            "judged": foreseen["judged"],
            "changed": list(foreseen["changed"].items()),
            "pending_id": job.id,
            "minutes": int(PENDING_S // 60),
        }

    async def publish(self, form: Form, caller: Caller) -> tuple[str, list[tuple[str, str]]]:
        """Publish an uploaded list; returns the register, and the effect for people. Raises Problem."""
        async with self._alone():
            job = self._pending.find(form.get("pending", ""), caller.name)
            if self._folder is not None:
                result = await self._handed_over(job, self._folder)
            else:
                result = await self._import(job, dry_run=False)
            if result.outcome == "unavailable":
                self._renew(job)
            else:
                self._pending.delete(job.id)
        if result.outcome != "done":
            raise _problem(result, dry_run=False)
        effect = result.effect
        self._context.log.info(
            "list published on the page",
            by=caller.name,
            register=effect["register"],
            position=effect["position"],
            added=effect["added"],
            removed=effect["removed"],
        )
        return effect["register"], [*_rows(effect), ("Position of the log", str(effect["position"]))]

    def _file(self, job: Job) -> Path:
        return (self._pending.upload(job) / job.file).resolve()

    def _renew(self, job: Job, more_s: float = 0) -> None:
        """Keep a list from now on for as long as a new one, and `more_s` seconds while it is read."""
        self._pending.keep(replace(job, at=time.time(), keep_s=PENDING_S + more_s))

    def admitted(self, request: Request) -> Caller:
        """Require the scope `admin`. Raises Problem (401, 403, 429)."""
        if self._context.trial:
            raise Problem(Kind.FORBIDDEN, "lists cannot be imported in a trial")
        if self._context.guard.tokens is None:
            why = "importing a list needs a sign-in: set http.tokens (`stream-scrub tokens add`)"
            raise Problem(Kind.FORBIDDEN, f"{why}, or use `stream-scrub lists import`")
        caller = self._context.guard.admit_browser(request, _SCOPE)
        caller.spend(1)
        return caller

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Raises Problem (429) while another list is read or published by this server."""
        with storing(), ExitStack() as stack:
            if not await asyncio.to_thread(stack.enter_context, self._pending.slot()):
                raise busy("another list is being imported: try again later")
            yield

    async def _received(self, request: Request, job: Job) -> Job:
        form, files = await forms.receive(request, {"list": self._pending.upload(job)}, job.most)
        if "list" not in files:
            raise invalid([("file", "choose one")])
        fields = {field: form[field] for field in _FIELDS if field in form}
        if campaign := form.get("campaign"):
            fields["register"] = f"{fields.get('register', '')}@{campaign}"
        region = import_list.region_of(fields.get("register", ""), self._context.settings)
        if self._folder is not None and fields.get("region", region) != region:
            why = (
                f"the publisher reads national numbers as those of {region}: write others in full, as in +44"
            )
            raise invalid([("region", why)])
        return replace(job, most=0, file=files["list"], choices=fields)

    @property
    def _folder(self) -> Path | None:
        """The publisher's drop folder, if this server's settings name it."""
        folder = self._context.settings.lists.folder
        return Path(folder) if folder else None

    async def _handed_over(self, job: Job, folder: Path) -> PageImport:
        file, stopping = self._file(job), lambda: self._context.counters.stopping
        report = await asyncio.to_thread(_hand_over, file, job.choices, folder, stopping)
        if report is None:
            return PageImport(
                "ended",
                f"the publisher has the file in its folder, and has not reported within {WAIT_S:.0f} s; if none"
                " runs, start `stream-scrub lists publish`",
            )
        if report["outcome"] != "published":
            return PageImport("refused", mask(str(report.get("why", ""))))
        # The report of a publisher that was restarted in between has fewer figures.
        unknown = {
            "kind": "register",
            "read_as": "unknown",
            "refused_lines": (),
            **dict.fromkeys(_COUNTED, 0),
        }
        return PageImport("done", effect=unknown | report)

    async def _import(self, job: Job, *, dry_run: bool) -> PageImport:
        settings, counters = self._context.settings, self._context.counters
        self._renew(job, time_limit_s(settings))
        form = {**job.choices, "token": job.owner}  # the form has no such field
        asked = (settings, self._file(job), form, dry_run)
        return await asyncio.to_thread(run, *asked, lambda: counters.stopping)


def _problem(result: PageImport, *, dry_run: bool) -> Problem:
    if dry_run or result.outcome == "refused":
        kind = Kind.INVALID if result.outcome == "refused" else Kind.NOT_WRITTEN
        return Problem(kind, f"nothing was published: {result.why}")
    cure = "try again" if result.outcome == "unavailable" else "look at the last deltas before you try again"
    return Problem(Kind.NOT_WRITTEN, f"the list may have been published: {result.why}; {cure}")


def _rows(effect: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = ", ".join(map(str, effect["refused_lines"][:_LINES_SHOWN]))
    always = {"added", "removed", "unchanged", "count", "refused"}
    rows = [
        ("Register", f"{effect['register']} ({effect['kind']})"),
        ("Format", str(effect["read_as"])),
        ("Date of the list", str(effect["effective_at"])),
        *((name, f"{effect[key]:,}") for key, name in _COUNTED.items() if effect[key] or key in always),
        *(tuple(line.partition(": ")[::2]) for line in effect.get("reading", ())),
    ]
    if opt_outs := effect.get("opt_outs"):
        rows.append((f"Opt-outs added to {opt_outs['register']}", f"{opt_outs['added']:,}"))
    return [*rows, ("Their line numbers", lines)] if lines else rows


def _regions(foreseen: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, key in (("Added in", "added_in"), ("Removed in", "removed_in")):
        regions = list(foreseen[key].items())[:_REGIONS_SHOWN]
        if regions:
            rows.append((name, ", ".join(f"{region} {count:,}" for region, count in regions)))
    return rows


def _hand_over(
    file: Path, form: Mapping[str, str], folder: Path, stopping: Callable[[], bool]
) -> dict[str, Any] | None:
    """Drop the file of a page's form; returns the publisher's report, None if it does not come in time. Blocks. Raises
    OSError."""
    name = RegisterName.read(form["register"])
    assert name is not None, "the dry run refuses any other"
    register, change = str(name), form.get("change", "full")
    handed, written_s = file.name, None
    if said := form.get("effective_at"):
        day = datetime.fromisoformat(said).date()
        # The publisher takes the first day in a list's name, else the file's. Whether it begins the name tells a format.
        handed = f"{day}-{handed}" if handed.startswith(_YEAR) else f"list-{day}-{handed}"
        written_s = (datetime(day.year, day.month, day.day, tzinfo=UTC) + _NOON).timestamp()
    earlier = drop_folder.reports(folder, register) if folder.exists() else set()
    with file.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
        source.seek(0)
        ways = (register,) if change == "full" else (register, change)
        if form.get("all_consented"):
            ways = (*ways, drop_folder.ALL_CONSENTED)
        order = HandedOrder(digest, form.get("columns", ""), form.get("no_into", ""))
        is_named = bool(order.columns or order.no_into)
        drop_folder.hand_in(folder, ways, handed, source, written_s, order if is_named else None)
    ends = time.monotonic() + WAIT_S
    while time.monotonic() < ends and not stopping():
        for where, report_name in drop_folder.reports(folder, register) - earlier:
            with suppress(OSError, ValueError):
                report = drop_folder.report(folder, register, where, report_name)
                if report.get("sha256") == digest:
                    return report
        time.sleep(_LOOK_S)
    return None

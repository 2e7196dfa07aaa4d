"""A list that somebody drops on the page: taken, read, compared, and shown with what it would do; published by a second click.

`lists import` does the work (`importing.py`), with all of its guards, and none of them can be put aside here. Only who
has signed in may: without tokens any program of this machine could publish a list.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from starlette.requests import Request

from stream_scrub.observability.logs import mask
from stream_scrub.server.guard import Caller
from stream_scrub.server.page import forms, importing
from stream_scrub.server.page.forms import Form
from stream_scrub.server.page.importing import Import, ImportAsked
from stream_scrub.server.page.staged import STAGED_MAX, STAGED_S, Busy, Full, StagedList
from stream_scrub.server.parts import Parts
from stream_scrub.server.problems import Kind, Problem

_SCOPE = "admin"
_SAID = ("register", "change", "kind", "effective_at", "region")
_LINES_SHOWN = 10
_REGIONS_SHOWN = 8


class Foreseen(NamedTuple):
    """A dry run for people. `why` says why the list would be refused, and is empty if it would not; `changed` are
    verdicts on the last prospects that would be others, by the reason before and after."""

    register: str
    facts: list[tuple[str, str]]
    why: str
    judged: int
    changed: list[tuple[str, int]]
    staged: str
    minutes: int


class Published(NamedTuple):
    """What was published, for people."""

    register: str
    facts: list[tuple[str, str]]


class Dropping:
    """The two steps. One list at a time, from its first byte to its effect: reading one takes memory."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._staged = parts.staged

    @property
    def is_offered(self) -> bool:
        """Whether anybody may."""
        return self._parts.guard.tokens is not None and not self._parts.trial

    async def drop(self, request: Request) -> Foreseen:
        """Take a file and see what it would do. Raises Problem."""
        forms.need_same_site(request)
        caller = self._admitted(request)
        with self._alone():
            staged = await self._taken(request, caller.name)
            lasts = False
            try:
                foreseen = self._foreseen(staged, await self._imported(staged, dry_run=True))
                lasts = not foreseen.why
            finally:
                if not lasts:
                    self._staged.forget(staged.id)
        self._staged.renew(staged.id, 0)
        return foreseen

    def _foreseen(self, staged: StagedList, found: Import) -> Foreseen:
        if found.outcome != "done":
            raise _problem(found, dry_run=True)
        effect = found.effect
        foreseen: Mapping[str, Any] = effect["foreseen"]
        return Foreseen(
            register=effect["register"],
            facts=[("File", Path(staged.file).name), *_facts(effect), *_regions(foreseen)],
            why=mask(str(effect["would_be_refused"])),
            judged=foreseen["judged"],
            changed=list(foreseen["changed"].items()),
            staged=staged.id,
            minutes=int(STAGED_S // 60),
        )

    async def publish(self, request: Request, form: Form) -> Published:
        """Publish a list that was dropped. Raises Problem."""
        caller = self._admitted(request)
        with self._alone():
            staged = self._staged.find(form.get("staged", ""), caller.name)
            if staged is None:
                raise Problem(
                    Kind.NOT_FOUND,
                    "the list is not here any more: it was published, you dropped another one, or it lay for"
                    f" {STAGED_S / 60:.0f} minutes; drop it again",
                )
            found = await self._imported(staged, dry_run=False)
            if found.outcome == "unavailable":
                self._staged.renew(staged.id, 0)
            else:
                self._staged.forget(staged.id)
        if found.outcome != "done":
            raise _problem(found, dry_run=False)
        effect = found.effect
        self._parts.log.info(
            "a list was published on the page",
            by=caller.name,
            register=effect["register"],
            position=effect["position"],
            added=effect["added"],
            removed=effect["removed"],
        )
        return Published(
            effect["register"], [*_facts(effect), ("Position of the log", str(effect["position"]))]
        )

    def _admitted(self, request: Request) -> Caller:
        """Who may publish lists. Raises Problem (401, 403, 429)."""
        if self._parts.trial:
            raise Problem(Kind.FORBIDDEN, "this is a trial, whose lists nobody changes")
        if self._parts.guard.tokens is None:
            why = "only who signs in may import lists here: set http.tokens (`stream-scrub tokens add`)"
            raise Problem(Kind.FORBIDDEN, f"{why}, or use `stream-scrub lists import`")
        caller = self._parts.guard.admit_browser(request, _SCOPE)
        caller.spend(1)
        return caller

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            with self._staged.alone():
                yield
        except Busy as error:
            raise Problem(
                Kind.TOO_MANY_REQUESTS,
                "another list is being read: wait until that is over",
                {"Retry-After": "30", "Connection": "close"},
            ) from error
        except Full as error:
            raise Problem(
                Kind.TOO_MANY_REQUESTS,
                f"{STAGED_MAX} lists wait to be published, which is as many as may",
                {"Retry-After": str(int(STAGED_S)), "Connection": "close"},
            ) from error
        except OSError as error:
            raise Problem(Kind.NOT_WRITTEN, f"the file cannot be kept here ({error.strerror})") from error

    async def _taken(self, request: Request, who: str) -> StagedList:
        with self._staged.taking(who) as folder:
            files: list[Path] = []

            def opened(name: str) -> IO[bytes]:
                inner = folder / "file"
                inner.mkdir(mode=0o700)
                files.append(inner / name)
                return files[0].open("xb")

            form = await forms.receive(request, opened)
            said = {name: form[name] for name in _SAID if name in form}
            return self._staged.keep(folder, who, str(files[0].relative_to(folder)), said)

    async def _imported(self, staged: StagedList, *, dry_run: bool) -> Import:
        parts = self._parts
        self._staged.renew(staged.id, importing.longest_s(parts.settings))
        asked = ImportAsked(staged.file, staged.said, dry_run)
        return await asyncio.to_thread(
            importing.run, parts.settings, parts.questions, asked, lambda: parts.counters.stopping
        )


def _problem(found: Import, *, dry_run: bool) -> Problem:
    if dry_run or found.outcome == "refused":
        kind = Kind.INVALID if found.outcome == "refused" else Kind.NOT_WRITTEN
        return Problem(kind, f"nothing was published: {found.why}")
    what = (
        "try it again"
        if found.outcome == "unavailable"
        else "look at the last deltas before you try it again"
    )
    return Problem(Kind.NOT_WRITTEN, f"it is not known whether it was published: {found.why}; {what}")


def _facts(effect: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = ", ".join(map(str, effect["refused_lines"][:_LINES_SHOWN]))
    counted = [
        ("Added", "added"),
        ("Removed", "removed"),
        ("Held already", "unchanged"),
        ("Numbers then", "count"),
        ("Twice in the list", "duplicates"),
        ("Lines that hold no valid number", "refused"),
        ("Numbers that will end", "ending"),
        ("Kept though the list lacks them", "kept"),
        ("In no area that was declared", "outside"),
    ]
    always = {"added", "removed", "unchanged", "count", "refused"}
    facts = [
        ("Register", f"{effect['register']} ({effect['kind']})"),
        ("Read as", str(effect["read_as"])),
        ("List of", str(effect["effective_at"])),
        *((name, f"{effect[key]:,}") for name, key in counted if effect[key] or key in always),
    ]
    return [*facts, ("Such lines", lines)] if lines else facts


def _regions(foreseen: Mapping[str, Any]) -> list[tuple[str, str]]:
    told = []
    for name, key in (("Added in", "added_in"), ("Removed in", "removed_in")):
        regions = list(foreseen[key].items())[:_REGIONS_SHOWN]
        if regions:
            told.append((name, ", ".join(f"{region} {count:,}" for region, count in regions)))
    return told

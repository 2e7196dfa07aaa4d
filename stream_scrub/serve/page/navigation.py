"""Which pages a viewer may open, which one is their start page, and where a form leads back to."""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request

from stream_scrub.languages import LANGUAGES, preferred, translatable
from stream_scrub.serve.tokens import EVIDENCE

OPERATOR = (
    "admin"  # the scope of operators: the pages that need it are in English, all others in every language
)
OBJECTION = ("request", EVIDENCE)  # scopes; an officer may add protection, and nothing else
LANGUAGE_COOKIE = "scrub_language"
_PATH = re.compile(
    r"(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+"
)  # of this server: neither //host nor a parent folder
_LEADS_NOWHERE = re.compile(r"/sign-(?:in|out)|/language|/events|.*/state")
_IN_NO_TRIAL = {"/unread", "/dossiers", "/lists"}


class Page(NamedTuple):
    """A page in the navigation, and the scopes of which it needs one."""

    path: str
    name: str
    scopes: Sequence[str]


SIGN_IN = Page("/sign-in", translatable("Sign in"), ())
# The first one that a viewer may open is their start page.
PAGES = (
    Page("/", translatable("Status"), (OPERATOR,)),
    Page("/dossiers", translatable("Answer a complaint"), (EVIDENCE,)),
    Page("/files", translatable("Scrub a file"), ("file",)),
    Page("/check", translatable("Check a number"), ("check", "history")),
    Page("/opt-out", translatable("Record an objection"), OBJECTION),
    Page("/unread", translatable("Unread requests"), (OPERATOR,)),
    Page("/lists", translatable("Import a list"), (OPERATOR,)),
    Page("/docs", translatable("API"), ("check",)),
)


def shown(page: Page, *, trial: bool) -> bool:
    """Whether a page has a place in the navigation of this server."""
    return not trial or page.path not in _IN_NO_TRIAL


def page_of(path: str, pages: Sequence[Page]) -> Page:
    """The page that a path belongs to; else the viewer's start page."""
    for page in pages:
        if f"{path}/".startswith(f"{page.path}/"):
            return page
    return pages[0] if pages else SIGN_IN


def way_back(path: str) -> str:
    """The path, if a browser may be sent there; else the start page."""
    return path if _PATH.fullmatch(path) and not _LEADS_NOWHERE.fullmatch(path) else "/"


def sign_in_for(path: str) -> str:
    """The address of the sign-in that leads to a path."""
    to = way_back(path)
    return SIGN_IN.path if to == "/" else f"{SIGN_IN.path}?{urlencode({'to': to}, safe='/')}"


def language_of(request: Request) -> str:
    """The language of the pages: as chosen on one of them, else as the browser prefers."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", ""))

"""`report.html`: what was done to a file, on one page that needs nothing else. No phone number is on it."""

from collections.abc import Callable, Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jinja2

from stream_scrub.files.results.summary import Summary
from stream_scrub.model import Reason, Verdict
from stream_scrub.redaction import names_a_number
from stream_scrub.terminal import one_line
from stream_scrub.timestamps import utc_minutes

NAME = "report.html"
_WIDTH = 640  # of the picture, in its own units
# What a reason means for whoever wants to call.
REASONS = {
    Reason.CLEAR: "no register that the rules ask holds the number",
    Reason.CONSENTED: "the person agreed to be called",
    Reason.CONTRACT: "the person has a contract that the call is about",
    Reason.EXEMPT: "the law exempts what the call is for",
    Reason.OPPOSED: "the person does not want to be called",
    Reason.NO_CONSENT: "the law asks for consent, and there is none",
    Reason.BANNED_PURPOSE: "the law bans calls for this purpose",
    Reason.UNKNOWN_PURPOSE: "the call does not say what it is for, or in a word that nobody knows",
    Reason.NOT_CALLABLE: "no consumer has a line of this kind",
    Reason.INVALID_NUMBER: "no readable number",
    Reason.UNREADABLE: "the row cannot be read",
    Reason.NO_RULE: "no rule for this country, or for this way to reach people, is known",
    Reason.STALE_REGISTER: "a list that the law asks for is missing or too old",
}


class ReasonRow(NamedTuple):
    """One reason with its rows, and its piece of the picture: where it begins and how wide it is."""

    verdict: str
    reason: str
    means: str
    rows: int
    share: float
    at: float
    width: float


def page_of(made: Summary) -> bytes:
    """The page."""
    reasons = list(_reasons(made))
    text = _template().render(
        made=made,
        reasons=reasons,
        width=_WIDTH,
        again=_day(made.scrub_again_by),
        stale={each.register: each for each in made.stale},
        invalid=made.reasons.get(str(Reason.INVALID_NUMBER), 0),
    )
    return text.encode()


@cache
def _template() -> jinja2.Template:
    files = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=files, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    filters: dict[str, Callable[..., str]] = {
        "count": lambda number: f"{number:,}",
        "shown": _shown,
        "minutes": utc_minutes,
    }
    environment.filters |= filters
    return environment.get_template("report.html.j2")


def _reasons(made: Summary) -> Iterator[ReasonRow]:
    """The reasons that occur, those that allow first."""
    at = 0.0
    for reason in sorted(Reason, key=lambda reason: reason.verdict is not Verdict.ALLOWED):
        rows = made.reasons.get(str(reason), 0)
        if rows:
            width = _WIDTH * rows / made.rows
            yield ReasonRow(
                str(reason.verdict), str(reason), REASONS[reason], rows, rows / made.rows, at, width
            )
            at += width


def _day(day: date | None) -> str:
    """A day as people write it, with its name: numbers alone are read in two ways."""
    return "" if day is None else f"{day:%A}, {day.day} {day:%B %Y}"


def _shown(text: str) -> str:
    """A text that others chose, on one line; one that looks like a phone number is not shown."""
    return "..." if names_a_number(text) else one_line(text)

"""What a run tells of itself: `summary.json` (schemas/file-summary.schema.json), which the proof rests on, and the page
`report.html`, which needs nothing else. No phone number is in either."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import msgspec

from stream_scrub import languages
from stream_scrub.clock import parse_zoned, utc_minutes
from stream_scrub.imports.index_sources import IndexUsed
from stream_scrub.imports.parsing.unpack import digest
from stream_scrub.languages import ENGLISH
from stream_scrub.made_by import MadeBy
from stream_scrub.model import Reason, Verdict
from stream_scrub.rules import Rulebook, in_words
from stream_scrub.terminal import one_line
from stream_scrub.texts import masked, names_a_number

FORMAT = 1
REPORT = "report.html"
_WIDTH, _HEIGHT = 640, 80  # of the pictures, in their own units
# What a reason means for the caller.
REASONS = {
    Reason.CLEAR: "no register in the rules holds the number",
    Reason.CONSENTED: "the person agreed to be called",
    Reason.CONTRACT: "the person has a contract that the call is about",
    Reason.EXEMPT: "the law exempts what the call is for",
    Reason.OPPOSED: "the person does not want to be called",
    Reason.NO_CONSENT: "the law requires consent, and there is none",
    Reason.NOT_WASHED: "the law requires a wash, and no current answer says that the number is clean",
    Reason.BANNED_PURPOSE: "the law bans calls for this purpose",
    Reason.UNKNOWN_PURPOSE: "the purpose of the call is missing or unknown",
    Reason.NOT_CALLABLE: "not a consumer's line",
    Reason.INVALID_NUMBER: "no readable number",
    Reason.UNKNOWN_COUNTRY: "the row names a country that is not known here",
    Reason.UNREADABLE: "the row cannot be read",
    Reason.NO_RULE: "no rule for this country or channel",
    Reason.STALE_REGISTER: "a list that the law requires is missing or too old",
    Reason.TOO_OFTEN: "the number was called too often, or the person refused lately",
}


class InputRead(msgspec.Struct, frozen=True, kw_only=True):
    """The file that was scrubbed. `kind` is "csv", "ndjson" or "spreadsheet", `written_as` says more of it for people."""

    name: str
    sha256: str
    bytes: int
    packing: str
    kind: str
    written_as: str
    columns: str
    titles: int


class RegisterUsed(msgspec.Struct, frozen=True, kw_only=True):
    """A register as the verdicts found it. `file` and `sha256` are of the list file, where the run was given one, and `read`
    says how it was read: its rows by what became of them, its columns with their roles. `chain` is the head of its hash
    chain on the log."""

    register: str
    kind: str
    count: int
    effective_at: datetime
    age_days: int
    chain: str
    file: str = ""
    sha256: str = ""
    read: list[str] = []


class RuleUsed(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that decided for numbers of this file: its digest, its legal source, and what it asks, in words."""

    rules: str
    country: str
    source: str
    says: list[str]


class LineCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many numbers of one region and type of line stand in rows with each verdict."""

    region: str
    type: str
    allowed: int
    blocked: int


class StaleCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows are blocked because of a register that is missing or too old."""

    register: str
    rows: int
    missing: bool


class OutputWritten(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written. `rows` are the leads in it; None for what holds none."""

    name: str
    sha256: str
    bytes: int
    rows: int | None


Windows = tuple[str, ...]  # those of a stamp


class CallablePart(msgspec.Struct, frozen=True, rename={"begin": "from", "end": "to"}):
    """A part of a day during which the same number of leads may be called. Both ends are in the zone of the plan."""

    begin: datetime
    end: datetime
    rows: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file's rows. `made_by`: by whom, as the system knows it.

    `at` is the moment of the run, `on` the day whose rules decided, and as of which it judged, where the user named one. `index` is the log's
    position (or that of the list files), `source` "log", "snapshot" or "lists". `scrub_again_by` is the last day on
    which every allowed row may still be called; None if nothing limits it. `plan`: how many allowed rows may be called when, by these verdicts, for rules that ask for
    hours; `any_hour` are the others. `duplicates` are numbers that stood in an
    earlier row or column. `destroyed` are numbers whose digits a spreadsheet threw away. `invalid_lines` are the first
    lines without a readable number, `uneven` the rows with more or fewer cells than the others, `unreadable_lines` the
    first lines of a CSV that are blocked because readers differ about their cells: more cells than titles, or a stray quote. `notes` say what would have let more rows through, and which lists change no
    verdict.
    """

    format: int
    version: str
    made_by: MadeBy
    input: InputRead
    at: datetime
    on: date | None
    source: str
    index: int
    registers: list[RegisterUsed]
    rules: list[RuleUsed]
    facts: dict[str, str]
    rows: int
    allowed: int
    blocked: int
    reasons: dict[str, int]
    lines: list[LineCount]
    stale: list[StaleCount]
    scrub_again_by: date | None
    plan: list[CallablePart]
    any_hour: int
    duplicates: int
    destroyed: int
    invalid_lines: list[int]
    uneven: int
    unreadable_lines: list[int]
    notes: list[str]
    outputs: list[OutputWritten]
    took_s: float


def plan_of(leads: Mapping[Windows, int], now: datetime, zone: tzinfo) -> list[CallablePart]:
    """The parts of the coming days in which some of these leads may be called, in order. `leads`: how many have which
    windows."""
    now = now.replace(second=0, microsecond=0)
    changes = Counter[datetime]()
    for windows, count in leads.items():
        for window in windows:
            begin, end = (parse_zoned(each) for each in window.split("/"))
            if end > now:
                changes[max(begin, now)] += count
                changes[end] -= count
    for midnight in _midnights(sorted(changes), zone):
        changes[midnight] += 0
    rows, parts = 0, []
    for begin, end in pairwise(sorted(changes)):
        rows += changes[begin]
        if rows:
            parts.append(CallablePart(begin.astimezone(zone), end.astimezone(zone), rows))
    return parts


def _midnights(moments: Sequence[datetime], zone: tzinfo) -> Iterator[datetime]:
    """The midnights between the first and the last of these moments."""
    if moments:
        day = moments[0].astimezone(zone).date()
        while day < moments[-1].astimezone(zone).date():
            day += timedelta(days=1)
            yield datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(moments[0].tzinfo)


def encoded(made: Summary) -> bytes:
    """The summary as a JSON document."""
    return msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"


def registers_of(used: IndexUsed, now: datetime) -> list[RegisterUsed]:
    """Every register of the index by its name, with its list file where the run was given one. Raises BadList."""
    found = []
    for name, register in sorted(used.index.registers.items()):
        file = used.files.get(name)
        found.append(
            RegisterUsed(
                register=name,
                kind=str(register.kind),
                count=len(register.numbers),
                effective_at=register.effective_at,
                age_days=max(0, (now - register.effective_at).days),
                chain=register.chain,
                file="" if file is None else masked(file.name),
                sha256="" if file is None else digest(file),
                read=used.readings[name].lines if name in used.readings else [],
            )
        )
    return found


def rules_of(rulebook: Rulebook, digests: Iterable[str]) -> list[RuleUsed]:
    """The rules with these digests."""
    known = {
        rule.digest: (code, rule) for code, country in rulebook.countries.items() for rule in country.rules
    }
    return [
        RuleUsed(rules=name, country=code, source=rule.source, says=in_words(rule))
        for name in digests
        for code, rule in [known.get(name, ("", None))]
        if rule is not None
    ]


def page_of(
    made: Summary, notes: Sequence[str], language: str = ENGLISH, results: Iterable[str] = ()
) -> bytes:
    """The page. `notes`: the summary's, in that language. It links the `results`, the names of the other files of its folder."""
    reasons = list(_reasons(made))
    text = _template(language).render(
        made=made,
        notes=notes,
        reasons=reasons,
        width=_WIDTH,
        again="" if made.scrub_again_by is None else languages.day(made.scrub_again_by, language),
        stale={each.register: each for each in made.stale},
        invalid=made.reasons.get(str(Reason.INVALID_NUMBER), 0),
        language=language,
        results=results,
        plan=_picture(made.plan),
        day=partial(languages.day, language=language),
    )
    return text.encode()


@cache
def _template(language: str) -> jinja2.Template:
    return report_environment(language).get_template("report.html.j2")


def report_environment(language: str) -> jinja2.Environment:
    """What renders the page in a language."""
    environment: jinja2.Environment = languages.pages_in(language, Path(__file__).parent / "report")
    filters: dict[str, Callable[..., str]] = {
        "count": partial(languages.count, language=language),
        "percent": partial(languages.percent, language=language),
        "shown": _shown,
        "minutes": utc_minutes,
        "day": partial(languages.day, language=language),
    }
    environment.filters |= filters
    return environment


def _reasons(made: Summary) -> Iterator[dict[str, Any]]:
    """The reasons that occur, those that allow first, each with its piece of the picture."""
    at = 0.0
    for reason in sorted(Reason, key=lambda reason: reason.verdict is not Verdict.ALLOWED):
        if rows := made.reasons.get(str(reason), 0):
            width = _WIDTH * rows / made.rows
            yield {
                "verdict": str(reason.verdict),
                "reason": str(reason),
                "means": REASONS[reason],
                "rows": rows,
                "share": rows / made.rows,
                "at": at,
                "width": width,
            }
            at += width


def _picture(plan: Sequence[CallablePart]) -> list[dict[str, Any]]:
    """The parts of the plan, each with its piece of the picture: as wide as it is long, and as high as its rows."""
    if not plan:
        return []
    begin, most = plan[0].begin, max(part.rows for part in plan)
    seconds = (plan[-1].end - begin).total_seconds()
    return [
        {
            "part": part,
            "at": _WIDTH * (part.begin - begin).total_seconds() / seconds,
            "width": _WIDTH * (part.end - part.begin).total_seconds() / seconds,
            "height": _HEIGHT * part.rows / most,
        }
        for part in plan
    ]


def _shown(text: str) -> str:
    """A text that others chose, on one line; one that looks like a phone number is not shown."""
    return "..." if names_a_number(text) else one_line(text)

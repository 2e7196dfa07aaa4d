"""The notes on a scrubbed file: what would have let more rows through, and which lists change no verdict."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from stream_scrub import languages
from stream_scrub.call import FACTS
from stream_scrub.files.options import FileOptions
from stream_scrub.languages import ENGLISH, by_door, translatable
from stream_scrub.model import CONSENT, Reason, RegisterKind, RegisterName
from stream_scrub.rules.country import Rule
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.facts import campaigns_of

if TYPE_CHECKING:  # `check` starts without the libraries of files
    from stream_scrub.files.rows import Counts, Judging
    from stream_scrub.imports.parsing.list_columns import ListReading

_UNKNOWN_PURPOSE = "rows without a known purpose: %(rows)s; `stream-scrub purposes` lists the words"
_NO_PURPOSE = (
    "rows without a purpose: %(rows)s; name the purpose (--purpose insurance) or its column (--purpose-column);"
    " `stream-scrub purposes` lists the words"
)
_NO_CAMPAIGN = (
    "rows without a campaign: %(rows)s; the lists of consents are %(lists)s: name the campaign"
    " (as in --campaign %(campaign)s)"
)
_OTHER_CAMPAIGN = (
    "rows without a consent to %(said)s: %(rows)s; the lists of consents are %(lists)s: did you mean"
    " --campaign %(campaign)s?"
)
_NO_LIST_OF_CAMPAIGN = (
    "rows without a consent to %(said)s: %(rows)s; there is no list of consents to it: add one"
    " (--list consent@%(said)s=consents.csv)"
)
_NO_LIST = (
    "rows without a consent: %(rows)s; there is no list of consents: add one and its campaign"
    " (--list consent@acme=consents.csv --campaign acme)"
)
_UNNAMED = (
    "rows without a consent: %(rows)s; consents without a campaign count for your own campaign only"
    " (prospect.default_campaign): name theirs (--list consent@%(campaign)s=consents.csv --campaign %(campaign)s)"
)
_PARTLY = (
    "rows with a number that may be called, blocked because another one may not, although nobody opposed: %(rows)s;"
    " prospect.mixed = strip allows them, with the numbers that may be called"
)
_LATER = "the list %(list)s is of %(listed)s, after %(day)s: its answers do not count for that day"
_UNASKED = "no rule in force on %(day)s uses %(list)s: this list changes no verdict"
_ENDLESS = "expiry dates of the list %(list)s ignored: %(rows)s; an opposition to you does not expire"
_REFUSED = "lines of the list %(list)s without a valid number, which are not used: %(rows)s (line %(places)s)"
_BANNED_MEANING = (
    "the purpose %(word)s may mean %(purposes)s; in %(countries)s it counts as %(taken)s, which is banned, and as %(others)s"
    " it would not be: name the purpose that is meant"
)
_EXEMPT_MEANING = (
    "the purpose %(word)s may mean %(purposes)s; in %(countries)s it counts as %(taken)s, which is not exempt, and as"
    " %(others)s it would be: name the purpose that is meant"
)
_SEVERAL_MEANINGS = (
    "the purpose %(word)s may mean %(purposes)s; in %(countries)s these count alike, but a consent to one of them alone does"
    " not count: name the purpose that is meant"
)
# The same for a reader of the server's page, which has fields in place of options.
_ON_PAGE = {
    _UNKNOWN_PURPOSE: translatable(
        "rows without a known purpose: %(rows)s; use the purposes that the page offers in their column"
    ),
    _NO_PURPOSE: translatable(
        "rows without a purpose: %(rows)s; say what the call is for, or choose the column that says it"
    ),
    _NO_CAMPAIGN: translatable(
        "rows without a campaign: %(rows)s; the lists of consents are %(lists)s: enter the campaign"
    ),
    _OTHER_CAMPAIGN: translatable(
        "rows without a consent to %(said)s: %(rows)s; the lists of consents are %(lists)s: did you mean the campaign"
        " %(campaign)s?"
    ),
    _NO_LIST_OF_CAMPAIGN: translatable(
        "rows without a consent to %(said)s: %(rows)s; there is no list of consents to it: upload the people who consented"
    ),
    _NO_LIST: translatable(
        "rows without a consent: %(rows)s; there is no list of consents: upload the people who consented, and enter the"
        " campaign"
    ),
    _UNNAMED: translatable(
        "rows without a consent: %(rows)s; the server's consents name no campaign and count for its own campaign only:"
        " upload the people who consented, and enter their campaign"
    ),
    _PARTLY: translatable(
        "rows with a number that may be called, blocked because another one may not, although nobody opposed: %(rows)s;"
        " “Allow a row by its other number” allows them, with the numbers that may be called"
    ),
}
TEXTS = (
    *(_UNKNOWN_PURPOSE, _NO_PURPOSE, _NO_CAMPAIGN, _OTHER_CAMPAIGN, _NO_LIST_OF_CAMPAIGN, _NO_LIST),
    *(_UNNAMED, _PARTLY, _LATER, _UNASKED, _ENDLESS, _REFUSED),
    *(_BANNED_MEANING, _EXEMPT_MEANING, _SEVERAL_MEANINGS),
)


class Note(NamedTuple):
    """A sentence without its full stop: one of TEXTS, and the values in it."""

    text: str
    values: Mapping[str, int | str | date]

    def said(self, language: str = ENGLISH) -> str:
        """The sentence in a language."""
        values = {name: _said(value, language) for name, value in self.values.items()}
        text = by_door(self.text, _ON_PAGE.get(self.text, self.text))
        return languages.catalogue(language).gettext(text) % values


def _said(value: int | str | date, language: str) -> str:
    if isinstance(value, str):
        return value
    return languages.count(value, language) if isinstance(value, int) else languages.day(value, language)


def notes_on(
    options: FileOptions,
    columns: Collection[str],
    tally: "Counts",
    judging: "Judging",
    readings: "Mapping[str, ListReading]",
) -> Iterator[Note]:
    """The notes. `columns` are the facts that rows say themselves, `readings` how lists were read, by register."""
    for name, reading in readings.items():
        if reading.endless:
            yield Note(_ENDLESS, {"list": name, "rows": reading.endless})
        if reading.refused:
            yield Note(_REFUSED, {"list": name, "rows": reading.refused, "places": reading.places})
    unknown = tally.reasons[Reason.UNKNOWN_PURPOSE]
    if unknown:
        yield Note(_UNKNOWN_PURPOSE if "purpose" in columns else _NO_PURPOSE, {"rows": unknown})
    lacking = tally.reasons[Reason.NO_CONSENT] + tally.reasons[Reason.NOT_WASHED]
    if (unknown or lacking) and "campaign" not in columns:
        yield from _on_campaigns(lacking, unknown, options, tally, judging)
    in_force = (rule for rule, _ in judging.scrubber.rulebook.in_force(judging.now))
    yield from on_purposes(tally.purposes, [rule for rule in in_force if rule.digest in tally.rules])
    if tally.partly:
        yield Note(_PARTLY, {"rows": tally.partly})
    for register in judging.later:
        dates = {"listed": register.effective_at.date(), "day": judging.now.date()}
        yield Note(_LATER, {"list": register.name, **dates})
    for register in judging.index.present():
        if scrubbing.unasked(judging.scrubber.rulebook, register.name, judging.now):
            yield Note(_UNASKED, {"day": judging.now.date(), "list": register.name})


def on_purposes(words: Iterable[str], rules: Iterable[Rule]) -> Iterator[Note]:
    """For each word that may mean several purposes: as which of them these rules take it, the strictest, and what the
    others would change."""
    countries: defaultdict[tuple[str, str, frozenset[str], frozenset[str]], list[str]] = defaultdict(list)
    for word in sorted({*words}):
        for rule in rules:
            meanings = rule.meanings(word)
            if len(meanings) < 2:
                continue
            text, others = _SEVERAL_MEANINGS, meanings
            if banned := meanings & rule.banned:
                text, others = _BANNED_MEANING, meanings - banned
            elif exempt := meanings & rule.exempt_purposes:
                text, others = _EXEMPT_MEANING, exempt
            if others in (frozenset(), meanings):
                text, others = _SEVERAL_MEANINGS, frozenset()
            countries[text, word, meanings, others].append(rule.country)
    for (text, word, meanings, others), named in countries.items():
        sets = {"purposes": meanings, "taken": meanings - others, "others": others, "countries": {*named}}
        yield Note(text, {"word": word, **{name: ", ".join(sorted(each)) for name, each in sets.items()}})


def _on_campaigns(
    lacking: int, unknown: int, options: FileOptions, tally: "Counts", judging: "Judging"
) -> Iterator[Note]:
    """What is missing for consents to a campaign to count. `lacking`: the rows that lack a consent; `unknown`: those
    that may lack one, once they have a purpose."""
    scopes: dict[str, str] = {}  # by campaign: a register of consents to it
    for register in judging.index.present():
        name = RegisterName.split(register.name)
        if register.kind is RegisterKind.ALLOW and name.campaign:
            scopes.setdefault(name.campaign, register.name)
    campaigns = sorted(scopes)
    values: dict[str, int | str | date] = {
        "rows": lacking,
        "lists": ", ".join(scopes[each] for each in campaigns),
    }
    said = FACTS["campaign"].text(options.call.members().get("campaign", ""))
    own = judging.settings.prospect.default_campaign
    said = said or own
    for_calls_of = [*campaigns_of(said)]
    if not said and scopes:
        yield Note(_NO_CAMPAIGN, {**values, "rows": lacking or unknown, "campaign": campaigns[0]})
    elif not lacking or scopes.keys() & {*for_calls_of}:
        return
    elif scopes:
        near = get_close_matches(said, scopes, n=1) or campaigns
        yield Note(_OTHER_CAMPAIGN, {**values, "said": said, "campaign": near[0]})
    elif CONSENT not in judging.index.registers:
        yield Note(_NO_LIST_OF_CAMPAIGN if said else _NO_LIST, {"rows": lacking, "said": said})
    elif not {*campaigns_of(own)} & {*for_calls_of} and _needs_campaign(tally, judging):
        yield Note(_UNNAMED, {"rows": lacking, "campaign": next(iter(for_calls_of), "acme")})


def _needs_campaign(tally: "Counts", judging: "Judging") -> bool:
    """Whether a rule that decided asks for a consent to the caller's own campaign."""
    in_force = judging.scrubber.rulebook.in_force(judging.now)
    return any(CONSENT in rule.scoped and rule.digest in tally.rules for rule, _ in in_force)

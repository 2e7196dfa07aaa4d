"""What is no mistake in a country's rules but deserves a look: gaps, words that nobody will write, open doubts.

Pure, and about one file at a time. `queries/rules_report.py` asks what needs the log or the numbering plans.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from zoneinfo import ZoneInfo

from stream_scrub.model import OWN
from stream_scrub.rules.country import VOICE, Country, Rule
from stream_scrub.toml_lines import TomlLines

_CONTRACT = "contract"
_NEVER_OLD = frozenset(
    OWN
)  # a company's own registers: what is in them does not lapse with the age of a list


def doubts(country: Country, today: date, purposes: frozenset[str]) -> list[str]:
    """Every doubt, with its line. `purposes` are those that rules are known to name; misspelt ones are found by
    them."""
    lines = TomlLines(country.text)
    at = {rule.digest: place for place, rule in enumerate(country.rules)}
    found = [*_gaps(country), *_today(country, today)]
    for rule in country.rules:
        found += [(rule, key, said) for key, said in _words(rule, purposes)]
        if rule.end is None or rule.end >= today:
            found += [(rule, key, said) for key, said in _in_force(rule)]
    return [f"{country.where}:{lines.of('rule', at[rule.digest], key)}: {said}" for rule, key, said in found]


def purposes_of(country: Country) -> frozenset[str]:
    """Every purpose that the country's rules name."""
    return frozenset[str]().union(*(rule.named_purposes for rule in country.rules))


def unsaid(countries: Iterable[Country], default_purpose: str, now: datetime) -> str:
    """A sentence for people if some country blocks today every prospect that does not say what its call is for; else
    empty. `default_purpose` is the purpose that such a prospect gets."""
    days = ((each, now.astimezone(ZoneInfo(each.timezone)).date()) for each in countries)
    rules = [rule for each, day in days for rule in each.all_on(day) if rule.banned]
    unmet = sorted({rule.country for rule in rules if not rule.meanings(default_purpose)})
    if not unmet:
        return ""
    how = f'"{default_purpose}" is no purpose that is known' if default_purpose else "it is empty"
    return (
        f"prospect.default_purpose: {how}, so prospects of {', '.join(unmet)} that do not say what the call is for "
        'are blocked as unknown-purpose: name one for all of them, as in default_purpose = "insurance"'
    )


def unnamed(countries: Iterable[Country], now: datetime) -> str:
    """A sentence for people if some country asks today for a consent to the caller, which a prospect that names no
    campaign has only where the house has one; else empty."""
    days = ((each, now.astimezone(ZoneInfo(each.timezone)).date()) for each in countries)
    asking = sorted({rule.country for each, day in days for rule in each.all_on(day) if rule.needed})
    if not asking:
        return ""
    return (
        f"prospect.default_campaign: it is empty, so prospects of {', '.join(asking)} that name no campaign have "
        "nobody's consent and are blocked as no-consent, and consents that name no campaign count for no call there: "
        'if they are yours, name your campaign, as in default_campaign = "acme"'
    )


def _gaps(country: Country) -> Iterator[tuple[Rule, str, str]]:
    for rule in country.rules:
        following = country.after(rule.start, rule.channels[0])
        if rule.end is None:
            continue
        first = rule.end + timedelta(days=1)
        if following is None:
            yield rule, "to", f"no rule from {first} on: from then nobody is {_reached(rule)}"
        elif following.start > first:
            last = following.start - timedelta(days=1)
            yield (
                following,
                "from",
                f"no rule from {first} to {last}: on those days nobody is {_reached(rule)}",
            )


def _today(country: Country, today: date) -> Iterator[tuple[Rule, str, str]]:
    later = (country.after(today, each) for each in country.channels if country.on(today, each) is None)
    for first in dict.fromkeys(later):
        if first is not None:
            reached = f"nobody is {_reached(first)} before {first.start}"
            yield first, "from", f"no rule is in force today, {today}: {reached}"


def _reached(rule: Rule) -> str:
    return "called" if VOICE in rule.channels else f"reached by {' or '.join(rule.channels)}"


def _words(rule: Rule, purposes: frozenset[str]) -> Iterator[tuple[str, str]]:
    """A word close to a known one is probably misspelt. It would silently lift or ban nothing."""
    bans = (
        ("banned_purposes", rule.banned_purposes),
        ("banned_despite_contract", rule.banned_despite_contract),
        ("banned_without_consent", rule.banned_without_consent),
        ("exempt", frozenset(name for each in rule.exempt for name in each.purposes)),
    )
    for key, words in (("lifted_by", rule.lifted_by), *((key, sorted(names)) for key, names in bans)):
        known = purposes | {_CONTRACT} if key == "lifted_by" else purposes
        for word in words:
            if word not in known and (close := get_close_matches(word, known, n=1, cutoff=0.75)):
                yield key, f'`{key}`: no rule that is shipped knows "{word}": did you mean "{close[0]}"?'
    for key, names in bans:
        if _CONTRACT in names:
            yield key, f'`{key}`: "contract" is no purpose: it is what lifts a rule'


def _in_force(rule: Rule) -> Iterator[tuple[str, str]]:
    for name in sorted(rule.registers - {*_NEVER_OLD, *rule.needed, *rule.max_age_days}):
        yield "max_age_days", f"{name} never grows too old: give it an age in `max_age_days`"
    if rule.uncertain:
        count = len(rule.uncertain)
        points = "1 point is" if count == 1 else f"{count} points are"
        yield "uncertain", f"the rule from {rule.start}: {points} not proven, read `uncertain`"

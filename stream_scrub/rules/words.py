"""A rule in words, for the people who answer for it: what it blocks, what lifts that, and how long a verdict may be
used. Pure."""

from collections.abc import Iterator, Sequence

from stream_scrub.model import INTERNAL
from stream_scrub.rules.country import FACTS, HOUSE, RESTING, VOICE, Rule
from stream_scrub.rules.exemptions import DENY, REQUIRE, Exemption

_CONTRACT = "contract"


def in_words(rule: Rule) -> list[str]:
    """What the rule asks, one sentence for each point, in the order in which a verdict is made."""
    return list(_sentences(rule))


def period(rule: Rule) -> str:
    """The days from and to which the rule is in force."""
    return f"from {rule.start}" if rule.end is None else f"from {rule.start} to {rule.end}"


def _sentences(rule: Rule) -> Iterator[str]:
    lifts = [*_lifts(rule), *_exemptions(rule, DENY)]
    if rule.channels != (VOICE,):
        yield f"This rule is for prospects that are to be reached by {_either(rule.channels)}."
    lacking = [*_lifts(rule), *_exemptions(rule, REQUIRE)]
    unless = f", unless {_either(lacking)}" if lacking else ""
    denying = [name for name in rule.deny if name != INTERNAL]
    yield f"Whoever is in internal is blocked, whatever else is true.{_age(rule, 'internal')}"
    yield from _numbers(rule)
    yield from _bans(rule)
    named = [f"the {name}@campaign of the prospect's own campaign holds it" for name in rule.named_consents]
    for name in denying:
        exception = f", unless {_either([*lifts, *named])}" if lifts or named else ""
        yield f"Whoever is in {name} is blocked{exception}.{_age(rule, name)}"
        if name in rule.areas:
            area = f"the first {rule.areas[name]} digits of a number, the calling code included"
            yield (
                f"{name} is handed out by area ({area}): numbers of an area of which it holds none are blocked "
                "as stale-register."
            )
    yield from _consents(rule, unless)
    for name, days in sorted(rule.consent_days.items()):
        yield f"A consent in {name} ends {_days(days)} after it was given at the latest."
    for name in rule.scoped:
        if name in rule.max_age_days:
            yield f"{name}@campaign counts for {_days(rule.max_age_days[name])}; when it is older it lifts nothing."
    if not denying and not rule.requires and not rule.require_named_for:
        yield "Everybody else may be called."
    yield from _machines(rule)
    yield _validity(rule)


def _consents(rule: Rule, unless: str) -> Iterator[str]:
    if rule.requires:
        ages = "".join(_age(rule, name) for name in rule.require)
        own = [f"the {name}@campaign of the prospect's own campaign" for name in rule.require_named]
        yield f"Who is not in {_either([*rule.require, *own])} is blocked{unless}.{ages}"
    for kind, names in sorted(rule.require_named_for.items()):
        whose = _either([f"the {name}@campaign of the prospect's own campaign" for name in names])
        yield f"A number of the type {kind.replace('_', ' ')} that is not in {whose} is blocked{unless}."
    asked = (*rule.require_named, *(name for names in rule.require_named_for.values() for name in names))
    for name in dict.fromkeys(asked if rule.reading >= HOUSE else ()):
        yield f"A consent in {name} itself, which names no campaign, counts for prospect.default_campaign alone."


def _machines(rule: Rule) -> Iterator[str]:
    if VOICE in rule.channels and rule.reading >= FACTS:
        own = [f"the {name}@campaign of the prospect's own campaign" for name in rule.artificial_voice]
        unless = f", unless {_either(own)} holds the number" if own else ""
        yield f"A call by an artificial voice is blocked{unless}."


def _bans(rule: Rule) -> Iterator[str]:
    excused = ", unless the prospect has a contract" if _CONTRACT in rule.lifted_by else ""
    if rule.banned_purposes:
        yield f"Calls for {_either(sorted(rule.banned_purposes))} are blocked{excused}."
    if rule.banned_despite_contract:
        yield f"Calls for {_either(sorted(rule.banned_despite_contract))} are blocked, whether or not the prospect has a contract."
        excused = ""
    if rule.banned_without_consent:
        whose = _either(
            [f"the {name}@campaign of the prospect's own campaign holds it" for name in rule.named_consents]
        )
        yield f"Calls for {_either(sorted(rule.banned_without_consent))} to a number are blocked, unless {whose}."
    for each in rule.exempt:
        if each.bans:
            yield f"The ban on calls for {_either(each.bans)} does not hold if {_condition(each)} ({each.source})."
    if rule.banned and rule.reading >= RESTING:
        yield (
            "So is a call that does not say what it is for, or says it with a word that nobody knows, as "
            f"unknown-purpose{excused}."
        )


def _numbers(rule: Rule) -> Iterator[str]:
    if rule.not_callable_types:
        types = [name.replace("_", " ") for name in sorted(rule.not_callable_types)]
        yield f"Numbers of these types are never called: {', '.join(types)}."
    if rule.not_callable_prefixes:
        yield f"Numbers that begin with {_either([f'+{p}' for p in rule.not_callable_prefixes])} are never called."


def _lifts(rule: Rule) -> list[str]:
    """What lifts registers, if a prospect says it."""
    purposes = [name for name in rule.lifted_by if name != _CONTRACT]
    told = ["the prospect has a contract"] if _CONTRACT in rule.lifted_by else []
    its = "all its purposes are" if rule.reading >= RESTING else "its purpose is"
    return [*told, f"{its} {_either(purposes)}"] if purposes else told


def _exemptions(rule: Rule, what: str) -> list[str]:
    """The exemptions that lift registers of that sort, each with its source."""
    return [f"{_condition(each)} ({each.source})" for each in rule.exempt if what in each.lifts]


def _condition(exemption: Exemption) -> str:
    said = []
    if exemption.who:
        said.append(f"the prospect is a {exemption.who}")
    if exemption.contract:
        said.append("it has a contract" if said else "the prospect has a contract")
    if exemption.relation:
        day = {"purchase": "the last purchase or the end of a contract", "inquiry": "an inquiry"}
        whole = "1 month" if exemption.months == 1 else f"{exemption.months} months"
        said.append(f"{day[exemption.relation]} is less than {whole} ago")
    if exemption.purposes:
        said.append(f"all its purposes are {_either(exemption.purposes)}")
    return " and ".join(said)


def _age(rule: Rule, name: str) -> str:
    if name not in rule.max_age_days:
        return ""
    days = _days(rule.max_age_days[name])
    return f" A list of {name} is good for {days}."


def _validity(rule: Rule) -> str:
    last = "" if rule.end is None else f"{rule.end}, the last day of this rule"
    capped = rule.reading >= RESTING
    rests = ", and never longer than the lists and consents that it rests on" if capped else ""
    if rule.valid_days is not None:
        end = f", and not after {last}" if last else ""
        return f"A verdict that allows may be used for {_days(rule.valid_days)}{end}{rests}."
    if last:
        return f"A verdict that allows may be used until {last}{rests}."
    if capped:
        return "A verdict that allows may be used for as long as the lists and consents that it rests on."
    return "A verdict that allows has no last day."


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"


def _either(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]

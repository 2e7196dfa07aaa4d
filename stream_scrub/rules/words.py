"""A country's rules for compliance officers, one file at a time: what a rule asks (`clauses`), and warnings of gaps,
words that are probably misspelt and open doubts (`doubts`). Pure.

`queries/rules_report.py` checks what needs the log or the numbering plans.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import NamedTuple

from stream_scrub.call import VOICE
from stream_scrub.model import INTERNAL, OWN, RESTED, Reason, Verdict
from stream_scrub.rules.country import CONTRACT, DENY, HOURS, REQUIRE, Attempts, Country, Exemption, Rule
from stream_scrub.toml_lines import TomlLines


class Clause(NamedTuple):
    """A point of a rule as a sentence, and the verdicts that it decides.

    `reasons`: theirs. `registers`: those that it is about; empty if it is about none. `artificial`: it is about calls
    by an artificial voice.
    """

    says: str
    reasons: frozenset[Reason] = frozenset()
    registers: tuple[str, ...] = ()
    artificial: bool = False

    def decides(self, reason: Reason, registers: Collection[str], *, artificial: bool) -> bool:
        """Whether it decides a verdict with that reason, which names these registers without their scopes."""
        concerns = not (registers and self.registers) or any(
            register in registers for register in self.registers
        )
        return reason in self.reasons and concerns and (artificial or not self.artificial)


def in_words(rule: Rule) -> list[str]:
    """What the rule asks: a sentence for each point, in the order of a verdict."""
    return [clause.says for clause in clauses(rule)]


def period(rule: Rule) -> str:
    """The days from and to which the rule is in force."""
    return f"from {rule.start}" if rule.end is None else f"from {rule.start} to {rule.end}"


def clauses(rule: Rule) -> Iterator[Clause]:
    """Every point of the rule, in the order of a verdict."""
    if rule.channels != (VOICE,):
        yield Clause(f"This rule is for calls by {_either(rule.channels)}.")
    lifts, allowing = _lifts(rule, DENY)
    lacking, allowing_anyway = _lifts(rule, REQUIRE)
    unless = f", unless {_either(lacking)}" if lacking else ""
    denying = [name for name in rule.deny if name != INTERNAL]
    yield Clause(f"A number in internal is always blocked.{_age(rule, INTERNAL)}", _DENIES, (INTERNAL,))
    yield from _numbers(rule)
    yield from _bans(rule)
    consents = [f"{_own(name)} holds it" for name in rule.named_consents]
    lifts, allowing = [*lifts, *consents], allowing | {Reason.CONSENTED for _ in consents}
    for name in denying:
        exception = f", unless {_either(lifts)}" if lifts else ""
        yield Clause(
            f"A number in {name} is blocked{exception}.{_age(rule, name)}", _DENIES | allowing, (name,)
        )
        if name in rule.areas:
            area = f"the first {rule.areas[name]} digits of a number, the calling code included"
            yield Clause(
                f"{name} is sold by area ({area}): numbers of an area that was not bought are blocked as "
                "stale-register.",
                frozenset({Reason.STALE_REGISTER}),
                (name,),
            )
    yield from _washes(rule, lifts, allowing)
    yield from _consents(rule, unless, allowing_anyway)
    yield from _consent_ends(rule)
    if not (denying or rule.wash or rule.wash_named or rule.requires or rule.require_named_for):
        yield Clause("Every other number may be called.", frozenset({Reason.CLEAR}))
    if VOICE in rule.channels:
        registers = [_own(name) for name in rule.artificial_voice]
        unless = f", unless {_either(registers)} holds the number" if registers else ""
        yield Clause(
            f"A call by an artificial voice is blocked{unless}.",
            _NEEDS_CONSENT,
            rule.artificial_voice,
            artificial=True,
        )
    for name in rule.reassigned:
        yield Clause(
            f"The consents, contract and relation of a number in {name} do not count, nor that it is a company."
        )
    if rule.attempts is not None:
        yield Clause(_attempts(rule.attempts), frozenset({Reason.TOO_OFTEN}), (RESTED,))
    yield from _hours(rule)
    yield Clause(_validity(rule))


def _attempts(limit: Attempts) -> str:
    """How often a number may be called."""
    within = f"{limit.hours} hours" if limit.hours else _days(limit.days).replace("day", "calendar day")
    most = f"After {limit.most} attempts within {within} the number rests" if limit.most else ""
    refusal = (
        f"after a refusal the number rests for {_days(limit.refusal_days)}" if limit.refusal_days else ""
    )
    sentence = f"{most}, and {refusal}" if most and refusal else most or refusal.capitalize()
    rests = f"{sentence}: a number in {RESTED} is blocked as too-often. All calls of one professional count."
    withdraws = "A refusal in a call withdraws the consent to its campaign, and opposes every call of that."
    return " ".join([*([rests] if sentence else []), *([withdraws] if limit.refusal_withdraws else [])])


_DENIES = frozenset({Reason.OPPOSED, Reason.STALE_REGISTER, Reason.CLEAR})
_NEEDS_CONSENT = frozenset({Reason.NO_CONSENT, Reason.STALE_REGISTER, Reason.CONSENTED})
_NEEDS_WASH = frozenset({Reason.NOT_WASHED, Reason.STALE_REGISTER, Reason.CLEAR})
_BANS = frozenset({Reason.BANNED_PURPOSE})
_ALLOWED = frozenset(reason for reason in Reason if reason.verdict is Verdict.ALLOWED)


def _washes(rule: Rule, lifts: Sequence[str], allowing: frozenset[Reason]) -> Iterator[Clause]:
    unless = f", unless {_either(lifts)}" if lifts else ""
    exempt = sorted(rule.exempt_purposes)
    unless_exempt = f", unless all its purposes are {_either(exempt)}" if exempt else ""
    for name in rule.wash:
        lifted = unless_exempt if name in rule.wash_despite_consent else unless
        yield Clause(
            f"A number that {name} does not hold as clean is blocked as not-washed{lifted}.{_age(rule, name)}",
            _NEEDS_WASH | allowing,
            (name,),
        )
    for name in rule.wash_named:
        clean = f"{_own(name)} does not hold as clean"
        yield Clause(
            f"A number that {clean} is blocked as not-washed{unless}.{_age(rule, name)}",
            _NEEDS_WASH | allowing,
            (name,),
        )
        yield Clause(
            f"An answer in {name} itself, without a campaign, counts for prospect.default_campaign only."
        )


def _consents(rule: Rule, unless: str, allowing: frozenset[Reason]) -> Iterator[Clause]:
    reasons = _NEEDS_CONSENT | allowing
    if rule.requires:
        ages = "".join(_age(rule, name) for name in rule.require)
        registers = (*rule.require, *rule.require_named)
        names = _either([*rule.require, *map(_own, rule.require_named)])
        yield Clause(f"A number that is not in {names} is blocked{unless}.{ages}", reasons, registers)
    for kind, registers in sorted(rule.require_named_for.items()):
        names, kind_name = _either([_own(name) for name in registers]), kind.replace("_", " ")
        yield Clause(
            f"A number of the type {kind_name} that is not in {names} is blocked{unless}.", reasons, registers
        )
    for_types = (name for names in rule.require_named_for.values() for name in names)
    for name in dict.fromkeys((*rule.require_named, *for_types)):
        yield Clause(
            f"A consent in {name} itself, without a campaign, counts for prospect.default_campaign only."
        )


def _consent_ends(rule: Rule) -> Iterator[Clause]:
    """How long consents count."""
    for name, days in sorted(rule.consent_days.items()):
        yield Clause(f"A consent in {name} ends {_days(days)} after it was given at the latest.")
    if rule.dated_consents:
        yield Clause(
            f"A consent in {_either(rule.dated_consents)} counts only with the day on which it was given."
        )
    if rule.consent_proof:
        mentions = {
            "hour": "its hour",
            "until": "its end",
            "withdrawal": "how to withdraw it",
            "access": "how to get the proof",
        }
        stated = [mentions[name] for name in rule.consent_proof]
        yield Clause(f'With lists.consent_proof = "required" a consent must also state {_both(stated)}.')
    for name in rule.scoped:
        if name in rule.max_age_days and name not in rule.wash_named:
            yield Clause(
                f"{name}@campaign counts for {_days(rule.max_age_days[name])}; when it is older it lifts nothing."
            )


def _bans(rule: Rule) -> Iterator[Clause]:
    excused = ", unless the prospect has a contract" if CONTRACT in rule.lifted_by else ""
    if rule.banned_purposes:
        yield Clause(f"Calls for {_either(sorted(rule.banned_purposes))} are blocked{excused}.", _BANS)
    if rule.banned_despite_contract:
        purposes = _either(sorted(rule.banned_despite_contract))
        yield Clause(f"Calls for {purposes} are blocked, whether or not the prospect has a contract.", _BANS)
        excused = ""
    if rule.banned_without_consent:
        consents = _either([f"{_own(name)} holds it" for name in rule.named_consents])
        yield Clause(
            f"Calls for {_either(sorted(rule.banned_without_consent))} to a number are blocked, unless {consents}.",
            _BANS | {Reason.CONSENTED},
        )
    for each in rule.exempt:
        if each.bans:
            yield Clause(
                f"The ban on calls for {_either(each.bans)} does not hold if {_condition(each)} ({each.source}).",
                _BANS,
            )
    if rule.banned:
        yield Clause(
            f"A call without a known purpose is blocked as unknown-purpose{excused}.",
            frozenset({Reason.UNKNOWN_PURPOSE}),
        )


def _hours(rule: Rule) -> Iterator[Clause]:
    if (hours := rule.hours) is None:
        return
    off = ", not on holidays" if hours.holidays else ""
    lifts = [] if hours.windows_only else [f"{_own(name)} holds the number" for name in hours.lifted_by]
    lifts += [_condition(each) for each in rule.exempt if HOURS in each.lifts]
    unless = f", unless {_either(lifts)}" if lifts else ""
    yield Clause(
        f"Calls may be made {hours.in_words} on the person's own clock{off}{unless} ({hours.source}).",
        _ALLOWED,
    )
    if hours.windows_only:
        consents = _either([_own(name) for name in hours.lifted_by])
        yield Clause(f"On a day with hours a window that {consents} states is open too.", _ALLOWED)


def _numbers(rule: Rule) -> Iterator[Clause]:
    never = frozenset({Reason.NOT_CALLABLE})
    if rule.not_callable_types:
        types = [name.replace("_", " ") for name in sorted(rule.not_callable_types)]
        yield Clause(f"Numbers of these types are never called: {', '.join(types)}.", never)
    if rule.not_callable_prefixes:
        prefixes = _either([f"+{p}" for p in rule.not_callable_prefixes])
        yield Clause(f"Numbers that begin with {prefixes} are never called.", never)


def _lifts(rule: Rule, what: str) -> tuple[list[str], frozenset[Reason]]:
    """The facts of a prospect that lift DENY or REQUIRE, each exemption with its source, and the reasons of verdicts that
    they allow."""
    purposes = [name for name in rule.lifted_by if name != CONTRACT]
    contract = ["the prospect has a contract"] if CONTRACT in rule.lifted_by else []
    exempt = [f"all its purposes are {_either(purposes)}"] if purposes else []
    exempt += [f"{_condition(each)} ({each.source})" for each in rule.exempt if what in each.lifts]
    reasons = [*(Reason.CONTRACT for _ in contract), *(Reason.EXEMPT for _ in exempt)]
    return [*contract, *exempt], frozenset(reasons)


def _condition(exemption: Exemption) -> str:
    conditions = []
    if exemption.who:
        conditions.append(f"the prospect is a {exemption.who}")
    if exemption.contract:
        conditions.append("it has a contract" if conditions else "the prospect has a contract")
    if exemption.relation:
        day = {"purchase": "the last purchase or the end of a contract", "inquiry": "an inquiry"}
        months = "1 month" if exemption.months == 1 else f"{exemption.months} months"
        ago = f"less than {months} ago"
        if exemption.working_days:
            ago = f"at most {exemption.working_days} days from Monday to Saturday ago"
        conditions.append(f"{day[exemption.relation]} is {ago}")
    if exemption.purposes:
        conditions.append(f"all its purposes are {_either(exemption.purposes)}")
    if exemption.other_than:
        conditions.append(f"its purposes are known, and none is {_either(exemption.other_than)}")
    return " and ".join(conditions)


def _own(name: str) -> str:
    return f"the {name}@campaign of the prospect's own campaign"


def _age(rule: Rule, name: str) -> str:
    if name not in rule.max_age_days:
        return ""
    days = _days(rule.max_age_days[name])
    return f" A list of {name} is good for {days}."


def _validity(rule: Rule) -> str:
    last = "" if rule.end is None else f"{rule.end}, the last day of this rule"
    rests = ", and never longer than its lists and consents"
    if rule.valid_days is not None:
        end = f", and not after {last}" if last else ""
        return f"An allowed verdict may be used for {_days(rule.valid_days)}{end}{rests}."
    if last:
        return f"An allowed verdict may be used until {last}{rests}."
    return "An allowed verdict may be used as long as its lists and consents are valid."


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"


def _both(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _either(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


_NEVER_OLD = frozenset(OWN)  # the operator's own registers: they do not expire with a list


def doubts(country: Country, today: date, purposes: frozenset[str]) -> list[str]:
    """Every warning, with its line. `purposes` are those of known rules: a word close to one is probably misspelt."""
    lines = TomlLines(country.text)
    warnings = [*_gaps(country), *_today(country, today)]
    for rule in country.rules:
        warnings += [(rule, key, text) for key, text in _words(rule, purposes)]
        if rule.end is None or rule.end >= today:
            warnings += [(rule, key, text) for key, text in _in_force(rule)]
    return [f"{country.where}:{lines.of('rule', rule.table, key)}: {text}" for rule, key, text in warnings]


def purposes_of(country: Country) -> frozenset[str]:
    """Every purpose that the country's rules name."""
    return frozenset[str]().union(*(rule.named_purposes for rule in country.rules))


def missing_purpose(countries: Iterable[Country], default_purpose: str, now: datetime) -> str:
    """A sentence for people if some country's rule of today blocks prospects without a purpose; else empty.
    `default_purpose` is the one that they get."""
    days = ((country, country.day(now)) for country in countries)
    rules = [rule for each, day in days for rule in each.all_on(day) if rule.banned]
    unmet = sorted({rule.country for rule in rules if not rule.meanings(default_purpose)})
    if not unmet:
        return ""
    how = f'"{default_purpose}" is not a known purpose' if default_purpose else "it is empty"
    return (
        f"prospect.default_purpose: {how}, so prospects of {', '.join(unmet)} without a purpose are blocked as"
        ' unknown-purpose: set one for all of them, as in default_purpose = "insurance"'
    )


def missing_campaign(countries: Iterable[Country], now: datetime) -> str:
    """A sentence for people if some country's rule of today requires a consent to the caller, which a prospect without
    a campaign has only if the operator has one; else empty."""
    days = ((country, country.day(now)) for country in countries)
    asking = sorted({rule.country for each, day in days for rule in each.all_on(day) if rule.needed})
    if not asking:
        return ""
    return (
        f"prospect.default_campaign: it is empty, so prospects of {', '.join(asking)} without a campaign are blocked as"
        " no-consent or not-washed, and consents and answers without a campaign count for no call there: if they are yours, set your campaign, as"
        ' in default_campaign = "acme"'
    )


def _gaps(country: Country) -> Iterator[tuple[Rule, str, str]]:
    for rule in country.rules:
        following = country.after(rule.start, rule.channels[0])
        if rule.end is None:
            continue
        first = rule.end + timedelta(days=1)
        if following is None:
            yield rule, "to", f"no rule from {first} on: from then {_without_rule(country, rule)}"
        elif following.start > first:
            last = following.start - timedelta(days=1)
            yield (
                following,
                "from",
                f"no rule from {first} to {last}: on those days {_without_rule(country, rule)}",
            )


def _today(country: Country, today: date) -> Iterator[tuple[Rule, str, str]]:
    later = (
        country.after(today, channel) for channel in country.channels if country.on(today, channel) is None
    )
    for first in dict.fromkeys(later):
        if first is not None:
            before = f"{_without_rule(country, first)} before {first.start}"
            yield first, "from", f"no rule is in force today, {today}: {before}"


def _without_rule(country: Country, rule: Rule) -> str:
    """What holds on days without that rule."""
    if country.parent:
        return f"the rules of {country.parent} hold"
    how = "called" if VOICE in rule.channels else f"reached by {' or '.join(rule.channels)}"
    return f"nobody may be {how}"


def _words(rule: Rule, purposes: frozenset[str]) -> Iterator[tuple[str, str]]:
    # A word close to a known one is probably misspelt: it would lift or ban nothing.
    bans = (
        ("banned_purposes", rule.banned_purposes),
        ("banned_despite_contract", rule.banned_despite_contract),
        ("banned_without_consent", rule.banned_without_consent),
        ("exempt", frozenset(name for each in rule.exempt for name in (*each.purposes, *each.other_than))),
    )
    for key, words in (("lifted_by", rule.lifted_by), *((key, sorted(names)) for key, names in bans)):
        liftable = purposes | {CONTRACT} if key == "lifted_by" else purposes
        for word in words:
            if word not in liftable and (close := get_close_matches(word, liftable, n=1, cutoff=0.75)):
                yield key, f'`{key}`: no shipped rule knows "{word}": did you mean "{close[0]}"?'
    for key, names in bans:
        if CONTRACT in names:
            yield key, f'`{key}`: "contract" is not a purpose: use it in `lifted_by`'


def _in_force(rule: Rule) -> Iterator[tuple[str, str]]:
    for name in sorted(rule.registers - {*_NEVER_OLD, *rule.require_named, *rule.max_age_days}):
        yield "max_age_days", f"{name} never expires: give it an age in `max_age_days`"
    if rule.uncertain:
        count = len(rule.uncertain)
        points = "1 point is" if count == 1 else f"{count} points are"
        yield "uncertain", f"the rule from {rule.start}: {points} not proven: read `uncertain`"

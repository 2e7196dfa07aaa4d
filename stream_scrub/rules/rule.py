"""From one `[[rule]]` table of a file to a `Rule`, or to the problems in it (`ProblemSheet`). A part of `check`, and
as pure."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from stream_scrub.call import RELATIONS, VOICE
from stream_scrub.model import INTERNAL, OWN, RegisterName
from stream_scrub.rules import purposes
from stream_scrub.rules.country import COMPANY, HOURS, LIFTS, PROOFS, READING, Attempts, Exemption, Rule, toml
from stream_scrub.rules.hours import Hours, read_hours
from stream_scrub.rules.problem_sheet import ProblemSheet, nearest
from stream_scrub.rules.purposes import Vocabulary
from stream_scrub.texts import names_a_number, plain

# The names that `phonenumbers` gives to kinds of numbers, in lower case.
NUMBER_TYPES = frozenset(
    {
        *("fixed_line", "mobile", "fixed_line_or_mobile", "toll_free", "premium_rate", "shared_cost"),
        *("voip", "personal_number", "pager", "uan", "voicemail", "unknown"),
    }
)
_KEYS = (
    *("from", "to", "source", "deny", "require", "require_named", "require_named_for", "wash", "wash_named"),
    "lifted_by",
    *(
        "named_consents",
        "max_age_days",
        "consent_days",
        "dated_consents",
        "consent_proof",
        "areas",
        "valid_days",
        "banned_purposes",
    ),
    *("banned_despite_contract", "banned_without_consent", "exempt", "artificial_voice", "attempts"),
    *("not_callable", "uncertain", "channels", "reading", "purposes", "hours", "emergencies", "reassigned"),
)
_EMERGENCY_KEYS = ("from", "to", "source")
_ASKING = ("deny", "require", "require_named", "require_named_for", "wash", "wash_named")
_EXEMPTION_KEYS = (
    *(
        "contract",
        "purposes",
        "other_than",
        "who",
        "relation",
        "months",
        "working_days",
        "lifts",
        "bans",
        "source",
    ),
)
ATTEMPTS_MAX = 90  # days, too: attempts are kept for so long
_MONTHS = range(1, 121)  # ten years
_WORKING_DAYS = range(1, 61)
# From one digit of calling code and one of area, to three digits of code and four of area.
_AREA_DIGITS = range(2, 8)
_PREFIX = re.compile(r"\+[1-9][0-9]{0,14}")
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,31}")
_NO_CHANNEL = "unknown"  # the channel of a prospect whose own cannot be understood


def read_rule(
    sheet: ProblemSheet, code: str, regions: Sequence[str], known: Vocabulary | None
) -> Rule | None:
    """The rule in the sheet's table, without its text; None if it has no first day. Its last day is its own `to`: the
    next rule of the file is not known here. `known`: see `check.read_country`."""
    sheet.unknown(_KEYS)
    _check_reading(sheet)
    source = sheet.text("source", '"the law and the article it comes from"')
    deny, require, require_named = _registers(sheet)
    wash, wash_named = _washes(sheet, (*deny, *require, *require_named))
    named = _named_consents(sheet, deny)
    for_types = _named_for(sheet, deny)
    artificial = _consents(sheet, "artificial_voice", deny)
    for_some = (name for names in for_types.values() for name in names)
    consents = (*require, *require_named, *named, *for_some, *artificial)
    hours = _hours(sheet, regions, deny)
    consents = (*consents, *(() if hours is None else hours.lifted_by))
    registers = (*deny, *consents, *wash, *wash_named)
    lifted_by, banned, despite, without = _purposes(sheet, registers)
    exempt = _exemptions(sheet, {*banned, *despite, *without})
    not_callable = sheet.names("not_callable", _not_callable_problem)
    max_age_days = _days_of(sheet, "max_age_days", registers, "{ bloctel = 30 }")
    areas = _areas(sheet, deny)
    valid_days = sheet.table.get("valid_days")
    if valid_days is not None:
        valid_days = sheet.days("valid_days", "valid_days", valid_days)
    uncertain = sheet.names("uncertain", _note_problem)
    start, end = _day(sheet, "from"), _day(sheet, "to")
    if start is not None and end is not None and end < start:
        sheet.wrong("to", f"`to` is before `from`: the last day of the rule is {start} or later")
    if start is None:
        return None
    rule = Rule(
        country=code,
        start=start,
        end=end,
        source=source,
        deny=deny,
        require=require,
        lifted_by=lifted_by,
        named_consents=named,
        max_age_days=max_age_days,
        areas=areas,
        valid_days=valid_days,
        banned_purposes=frozenset(banned),
        not_callable_types=frozenset(name for name in not_callable if name[:1] != "+"),
        not_callable_prefixes=tuple(name[1:] for name in not_callable if name[:1] == "+"),
        uncertain=uncertain,
        require_named=require_named,
        require_named_for=for_types,
        wash=wash,
        wash_named=wash_named,
        banned_despite_contract=frozenset(despite),
        consent_days=_days_of(sheet, "consent_days", consents, "{ consent = 730 }"),
        dated_consents=_dated(sheet, consents),
        consent_proof=sheet.names("consent_proof", _proof_problem),
        channels=_channels(sheet),
        banned_without_consent=frozenset(without),
        exempt=exempt,
        artificial_voice=artificial,
        reassigned=_reassigned(sheet, registers),
        attempts=_attempts(sheet),
        hours=hours,
    )
    needs_words = bool(rule.named_purposes or consents)
    return replace(rule, purposes=_vocabulary(sheet, known, needs_words=needs_words))


def _vocabulary(sheet: ProblemSheet, known: Vocabulary | None, *, needs_words: bool) -> Vocabulary:
    """The words that prospects may use: (a) those of a kept text, else (b) `known` if the rule names a purpose, or a
    register of consents, which may be for purposes."""
    words = sheet.table.get("purposes")
    if known is not None:
        if words is not None:
            sheet.wrong("purposes", f"`purposes` belongs in {purposes.FILE} of your folder: move it there")
        return known if needs_words else {}
    problem = None if words is None else purposes.problem_of(words)
    if problem is not None:
        sheet.wrong("purposes", problem)
        return {}
    return purposes.vocabulary(words or {})


def _channels(sheet: ProblemSheet) -> tuple[str, ...]:
    """The channels that the rule is for, by default the voice."""
    named = sheet.names("channels", _channel_problem)
    if sheet.table.get("channels") == []:
        sheet.wrong("channels", f'`channels` is empty: name one, as in ["{VOICE}"], or remove it')
    return named or (VOICE,)


def _channel_problem(word: str) -> str | None:
    if _CHANNEL.fullmatch(word) and plain(word) == word and word != _NO_CHANNEL:
        return None
    return f'"{word}" is no channel: use lower-case letters, digits and hyphens, at most 32, as in "sms"'


def _attempts(sheet: ProblemSheet) -> Attempts | None:
    """The limit on attempts; None if the rule has none."""
    table = sheet.table.get("attempts")
    if table is None:
        return None
    example = "{ most = 4, days = 30, refusal_days = 60 }"
    known = [name for name in Attempts.__slots__ if name != "refusal_withdraws"]
    if not isinstance(table, dict) or not all(
        (each in known and type(value) is int and 1 <= value <= ATTEMPTS_MAX)
        or (each == "refusal_withdraws" and value is True)
        for each, value in table.items()
    ):
        how = f"a table of whole numbers from 1 to {ATTEMPTS_MAX}: {', '.join(known)}; or refusal_withdraws = true"
        sheet.wrong("attempts", f"`attempts` must be {how}, as in attempts = {example}")
        return None
    attempts = Attempts(**table)
    if bool(attempts.most) != (bool(attempts.days) != bool(attempts.hours)) or not table:
        sheet.wrong("attempts", f"`attempts` needs `most` with either `days` or `hours`, as in {example}")
    return attempts


def _check_reading(sheet: ProblemSheet) -> None:
    reading = sheet.table.get("reading", READING)
    if isinstance(reading, bool) or reading != READING:
        sheet.wrong(
            "reading",
            f"`reading` must be {READING}, the only one that this release knows: remove it from a file of your own;"
            " for a text from the log install the release that wrote it",
        )


def emergencies(sheet: ProblemSheet, rule: Rule) -> tuple[Rule, ...]:
    """The rule, cut at the emergencies of its table: on the days of one, no number is called without a consent that names
    the caller, unless an exemption lifts that."""
    tables = sheet.table.get("emergencies", [])
    example = 'emergencies = [{ from = 2020-03-07, to = 2021-06-24, source = "Executive Order 202" }]'
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        sheet.wrong("emergencies", f"`emergencies` must be a list of tables, as in {example}")
        return (rule,)
    if tables and not rule.named_consents:
        sheet.wrong("emergencies", "no consent counts in an emergency: name a register in `named_consents`")
    parts: list[Rule] = []
    for table in tables:
        first, last, source = (table.get(key) for key in _EMERGENCY_KEYS)
        if (
            type(first) is not date
            or (last is not None and type(last) is not date)
            or not isinstance(source, str)
            or not table.keys() <= {*_EMERGENCY_KEYS}
        ):
            sheet.wrong(
                "emergencies", f"`emergencies` needs `from`, `source` and perhaps `to`, as in {example}"
            )
            return (rule,)
        ends = last if last is not None else rule.end
        if (
            first < rule.start
            or (rule.end is not None and (ends or first) > rule.end)
            or first > (ends or first)
        ):
            sheet.wrong(
                "emergencies",
                f"the emergency from {first} is not within the rule or not after the one above it: put the oldest first,"
                " and none into another",
            )
            return (rule,)
        if first > rule.start:
            parts.append(replace(rule, end=first - timedelta(days=1)))
        named = tuple(dict.fromkeys((*rule.require_named, *rule.named_consents)))
        parts.append(
            replace(rule, start=first, end=ends, source=f"{rule.source}; {source}", require_named=named)
        )
        if ends is None or ends == rule.end:
            if table is not tables[-1]:
                sheet.wrong(
                    "emergencies", f"the emergency from {first} has no end: add `to`, or remove those below"
                )
            return tuple(parts)
        rule = replace(rule, start=ends + timedelta(days=1))
    return (*parts, rule)


def _exemptions(sheet: ProblemSheet, banned: Collection[str]) -> tuple[Exemption, ...]:
    """The exemptions of the rule; `banned` are its banned purposes."""
    tables = sheet.table.get("exempt", [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        sheet.wrong(
            "exempt",
            '`exempt` must be a list of tables, as in exempt = [{ who = "company", source = "..." }]',
        )
        return ()
    return tuple(_exemption(sheet, each, banned) for each in tables)


def _exemption(sheet: ProblemSheet, table: Mapping[str, Any], banned: Collection[str]) -> Exemption:
    def wrong(sentence: str) -> None:
        sheet.wrong("exempt", f"`exempt`: {sentence}")

    for key in table:
        if key not in _EXEMPTION_KEYS:
            wrong(f'unknown key "{key}"{nearest(key, _EXEMPTION_KEYS)}')
    source = table.get("source")
    if not isinstance(source, str) or not source.strip():
        wrong('an exemption has no `source`: say which law exempts, as in source = "16 CFR 310.6(a)"')
    contract, who, relation = (table.get(key) for key in ("contract", "who", "relation"))
    for key, value, known in (
        ("contract", contract, (True,)),
        ("who", who, (COMPANY,)),
        ("relation", relation, RELATIONS),
    ):
        if value is not None and value not in known:
            wrong(f"`{key}` must be {' or '.join(map(toml, known))}, or be removed")
    purposes = sheet.names_in("exempt", "exempt.purposes", table.get("purposes", []), _purpose_problem)
    other_than = sheet.names_in("exempt", "exempt.other_than", table.get("other_than", []), _purpose_problem)
    if not (contract or who or relation or purposes):
        wrong("an exemption has no condition, and would exempt every call: name who or what is exempt")
    lifts = sheet.names_in("exempt", "exempt.lifts", table.get("lifts", list(LIFTS)), _lift_problem)
    bans = sheet.names_in("exempt", "exempt.bans", table.get("bans", []), _purpose_problem)
    for name in bans:
        if name not in banned:
            wrong(f'`bans` names "{name}", which this rule does not ban{nearest(name, banned)}')
    return Exemption(
        source=str(source),
        contract=contract is True,
        purposes=purposes,
        other_than=other_than,
        who=str(who or ""),
        relation=str(relation or ""),
        months=_term(table, "months", _MONTHS, relation, wrong),
        working_days=_term(table, "working_days", _WORKING_DAYS, relation, wrong),
        lifts=tuple(name for name in (*LIFTS, HOURS) if name in lifts),
        bans=bans,
    )


def _term(
    table: Mapping[str, Any], key: str, known: range, relation: object, wrong: Callable[[str], None]
) -> int:
    """For how long a relation counts, in months or in working days; 0 for the other one."""
    term, other = table.get(key), "months" if key == "working_days" else "working_days"
    if term is None and (relation is None or other in table or key == "working_days"):
        return 0
    if relation is None:
        wrong(f"`{key}` is the term of a relation: name the `relation`, or remove it")
    elif other in table:
        wrong("a relation has one term: name `months` or `working_days`")
    elif isinstance(term, bool) or not isinstance(term, int) or term not in known:
        wrong(f"`{key}` must be a whole number from {known[0]} to {known[-1]}, as in {key} = {known[5]}")
    else:
        return term
    return 0


def _lift_problem(name: str) -> str | None:
    known = (*LIFTS, HOURS)
    return None if name in known else f'"{name}" cannot be lifted: use {" or ".join(known)}'


def _proof_problem(name: str) -> str | None:
    return None if name in PROOFS else f'"{name}" is no proof of a consent: use {", ".join(PROOFS)}'


def _hours(sheet: ProblemSheet, regions: Sequence[str], deny: Collection[str]) -> Hours | None:
    """The hours of the rule; consents to other times must be registers of their own."""
    hours = read_hours(sheet, regions)
    for name in () if hours is None else hours.lifted_by:
        problem = _register_problem(name)
        if name in deny or name == INTERNAL:
            problem = f'"{name}" is a register of opposition and lifts nothing: remove it'
        if problem is not None:
            sheet.wrong("hours", f"`hours.lifted_by`: {problem}")
    return hours


def _registers(sheet: ProblemSheet) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The registers of (a) `deny`, (b) `require`: one of them must hold the number, (c) `require_named`: a scoped one
    of these is enough too."""
    deny = sheet.names("deny", _register_problem)
    require = sheet.names("require", _register_problem)
    named = sheet.names("require_named", _register_problem)
    if not any(map(sheet.table.get, _ASKING)):
        free = 'a free regime is deny = ["internal"]'
        sheet.wrong("", f"the rule requires nothing: add `deny` or `require`; {free}")
    for name in require:
        if name in deny:
            sheet.wrong("require", f'"{name}" is in `deny` as well: no number could pass, keep one')
        elif name == INTERNAL:
            sheet.wrong("require", '"internal" holds the numbers that opposed to you: move it to `deny`')
    for name in named:
        if name in require:
            sheet.wrong("require_named", f'"{name}" is in `require` as well, for every caller: keep one')
        elif name in deny or name == INTERNAL:
            sheet.wrong(
                "require_named", f'"{name}" is a register of opposition and gives no consent: remove it'
            )
    return deny, require, named


def _washes(sheet: ProblemSheet, others: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The registers of `wash` and `wash_named`."""
    wash = sheet.names("wash", _register_problem)
    named = sheet.names("wash_named", _register_problem)
    for key, names, elsewhere in (("wash", wash, others), ("wash_named", named, (*others, *wash))):
        for name in names:
            if name in elsewhere or name in OWN:
                sheet.wrong(
                    key, f'"{name}" is used otherwise as well: name the register of clean answers here only'
                )
    return wash, named


def _reassigned(sheet: ProblemSheet, others: Collection[str]) -> tuple[str, ...]:
    """The registers of reassigned numbers."""
    names = sheet.names("reassigned", _register_problem)
    for name in names:
        if name in others or name in OWN:
            sheet.wrong("reassigned", f'"{name}" is used otherwise as well: name it here only')
    return names


def _purposes(sheet: ProblemSheet, registers: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """What lifts the registers; the banned purposes; those that no contract lifts; those that a consent lifts."""
    lifted_by = sheet.names("lifted_by", _purpose_problem)
    for name in lifted_by:
        if name in registers or name in OWN:
            remedy = "name the contract or a purpose, and put the register in `require`"
            sheet.wrong("lifted_by", f'"{name}" is a register, which lifts nothing: {remedy}')
    banned = sheet.names("banned_purposes", _purpose_problem)
    for name in banned:
        if name in lifted_by:
            sheet.wrong("banned_purposes", f'"{name}" is in `lifted_by` as well: keep one')
    above = [("lifted_by", lifted_by), ("banned_purposes", banned)]
    for key in ("banned_despite_contract", "banned_without_consent"):
        banned = sheet.names(key, _purpose_problem)
        for name in banned:
            for other, names in above:
                if name in names:
                    sheet.wrong(key, f'"{name}" is in `{other}` as well: keep one')
        above.append((key, banned))
    if banned and not sheet.table.get("named_consents"):
        sheet.wrong(key, "no consent lifts the ban: name a register in `named_consents`")
    return tuple(names for _, names in above)


def _named_for(sheet: ProblemSheet, deny: Collection[str]) -> dict[str, tuple[str, ...]]:
    """By type of number: the registers of which a scoped list must hold a number of that type."""
    key = "require_named_for"
    value = sheet.table.get(key, {})
    if not isinstance(value, dict):
        sheet.wrong(key, f'`{key}` must be a table, as in {key} = {{ mobile = ["consent"] }}')
        return {}
    names_for = {}
    for kind in value:
        if kind not in NUMBER_TYPES:
            sheet.wrong(key, f'`{key}`: "{kind}" is not a type of number{nearest(kind, NUMBER_TYPES)}')
        names = sheet.names_in(key, f"{key}.{kind}", value[kind], _register_problem)
        if value[kind] == []:
            sheet.wrong(key, f'`{key}.{kind}` asks nothing: name a register, as in ["consent"]')
        for name in names:
            if name in deny or name == INTERNAL:
                sheet.wrong(key, f'"{name}" is a register of opposition and gives no consent: remove it')
        names_for[kind] = names
    return names_for


def _named_consents(sheet: ProblemSheet, deny: Collection[str]) -> tuple[str, ...]:
    """The registers of consents whose scoped lists lift the registers that deny, and washes."""
    named = _consents(sheet, "named_consents", deny)
    washes = sheet.table.get("wash") or sheet.table.get("wash_named")
    if named and not washes and not any(name != INTERNAL for name in deny):
        sheet.wrong("named_consents", "`deny` names nothing but internal, which no consent lifts: remove it")
    return named


def _consents(sheet: ProblemSheet, key: str, deny: Collection[str]) -> tuple[str, ...]:
    """The registers of consents in that key."""
    named = sheet.names(key, _register_problem)
    for name in named:
        if name in deny or name == INTERNAL:
            sheet.wrong(key, f'"{name}" is a register of opposition and lifts nothing: remove it')
    return named


def _dated(sheet: ProblemSheet, consents: Collection[str]) -> tuple[str, ...]:
    """The registers whose consents must state their day."""
    dated = sheet.names("dated_consents", _register_problem)
    for name in dated:
        if name not in consents:
            hint = nearest(name, consents)
            sheet.wrong("dated_consents", f'"{name}" is no register of consents of this rule{hint}')
    return dated


def _day(sheet: ProblemSheet, key: str) -> date | None:
    value = sheet.table.get(key)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if value is not None:
        sheet.wrong(key, f"`{key}` must be a day without quotes or hours, as in {key} = 2016-06-01")
    elif key == "from":
        sheet.wrong("from", "`from` is missing: add the first day of the rule, as in from = 2016-06-01")
    return None


def _days_of(sheet: ProblemSheet, key: str, used: tuple[str, ...], example: str) -> dict[str, int]:
    """A number of days for each register in the table `key`."""
    days = {}
    for name, value in _of_registers(sheet, key, used, example).items():
        if (number := sheet.days(key, f"{key}.{name}", value)) is not None:
            days[name] = number
    return days


def _areas(sheet: ProblemSheet, deny: tuple[str, ...]) -> dict[str, int]:
    """For each register that is sold by area: how many first digits of a number name its area."""
    used = tuple(name for name in deny if name != INTERNAL)
    areas = {}
    for name, digits in _of_registers(sheet, "areas", used, "{ us-dnc = 4 }").items():
        if isinstance(digits, int) and not isinstance(digits, bool) and digits in _AREA_DIGITS:
            areas[name] = digits
        else:
            first, last = _AREA_DIGITS[0], _AREA_DIGITS[-1]
            how = f"how many digits name an area, {first} to {last}, the calling code included"
            sheet.wrong("areas", f"`areas.{name}` must be {how}, as in areas.{name} = 4")
    return areas


def _of_registers(sheet: ProblemSheet, key: str, used: tuple[str, ...], example: str) -> dict[str, Any]:
    """The table `key`, whose keys must be registers of the rule."""
    value = sheet.table.get(key, {})
    if not isinstance(value, dict):
        sheet.wrong(key, f"`{key}` must be a table, as in {key} = {example}")
        return {}
    for name in value:
        if name not in used:
            sheet.wrong(key, f'`{key}` names "{name}", which this rule does not use{nearest(name, used)}')
    return value


def _register_problem(name: str) -> str | None:
    if names_a_number(name):  # checked first, because it may not be a register's name at all
        return (
            "a register's name looks like a phone number: choose another, because names are shown everywhere"
        )
    register = RegisterName.parse(name)
    if register is not None and not register.scope:
        return None
    if "@" in name:
        return f'"{name}" has a scope: name the register alone, a prospect\'s campaign adds its scopes'
    return f'"{name}" is no register name: use lower-case letters, digits and hyphens, as in "us-dnc"'


def _purpose_problem(word: str) -> str | None:
    # Prospects' purposes are compared in small letters with hyphens: another spelling would never match.
    compared = word.strip().casefold().replace(" ", "-").replace("_", "-")
    if not compared:
        return "a word is empty: remove it"
    return None if word == compared else f'"{word}" would never match: write it "{compared}"'


def _note_problem(note: str) -> str | None:
    return None if note.strip() else "a note is empty: say what is uncertain, or remove it"


def prefix_problem(name: str) -> str | None:
    """What is wrong with the first digits of numbers; None when nothing is."""
    if _PREFIX.fullmatch(name):
        return None
    return f'"{name}" is no prefix: write a plus and 1 to 15 digits that do not start with 0, as in "+33162"'


def _not_callable_problem(name: str) -> str | None:
    if name in NUMBER_TYPES:
        return None
    if name[:1] == "+" or name.isdecimal():
        return prefix_problem(name)
    return f'"{name}" is not a type of number{nearest(name, NUMBER_TYPES)}'

"""From one `[[rule]]` table of a file to a `Rule`, or to the problems in it (`ProblemSheet`). A part of `check`, and
as pure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from stream_scrub.call import RELATIONS, VOICE
from stream_scrub.model import INTERNAL, OWN
from stream_scrub.rules import names, purposes
from stream_scrub.rules.country import COMPANY, HOURS, LIFTS, READING, Attempts, Exemption, Rule, toml
from stream_scrub.rules.hours import read_hours
from stream_scrub.rules.problem_sheet import ProblemSheet, nearest
from stream_scrub.rules.purposes import Vocabulary

# The keys that hold a list of names, and what may be wrong with one of these.
_LISTS: Mapping[str, Callable[[str], str | None]] = {
    "deny": names.register_problem,
    "require": names.register_problem,
    "require_named": names.register_problem,
    "wash": names.register_problem,
    "wash_named": names.register_problem,
    "wash_despite_consent": names.register_problem,
    "named_consents": names.register_problem,
    "artificial_voice": names.register_problem,
    "reassigned": names.register_problem,
    "dated_consents": names.register_problem,
    "consent_proof": names.proof_problem,
    "lifted_by": names.purpose_problem,
    "banned_purposes": names.purpose_problem,
    "banned_despite_contract": names.purpose_problem,
    "banned_without_consent": names.purpose_problem,
    "not_callable": names.not_callable_problem,
    "channels": names.channel_problem,
    "uncertain": names.note_problem,
}
_KEYS = (
    *(
        "from",
        "to",
        "source",
        *_LISTS,
        "require_named_for",
        "max_age_days",
        "consent_days",
        "areas",
        "valid_days",
    ),
    *("exempt", "attempts", "hours", "emergencies", "purposes", "reading"),
)
_ASKING = ("deny", "require", "require_named", "require_named_for", "wash", "wash_named")
_CONSENTS = (
    *("require", "require_named", "named_consents"),
    "require_named_for",
    "artificial_voice",
    "hours.lifted_by",
)
_REGISTERS = ("deny", *_CONSENTS, "wash", "wash_named")
_LIFTS_NOTHING = "is a register of opposition and lifts nothing: remove it"
_NO_CONSENT = "is a register of opposition and gives no consent: remove it"
_CLEAN_ANSWERS = "is used otherwise as well: name the register of clean answers here only"
_NO_FACT = (
    "is a register, which lifts nothing: name the contract or a purpose, and put the register in `require`"
)
# Which names a key may not share with others: the key, the others (INTERNAL and OWN stand for those registers), and the
# sentence after the name. Only the first broken condition of a name is reported.
_APART: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("require", ("deny",), "is in `deny` as well: no number could pass, keep one"),
    ("require", (INTERNAL,), "holds the numbers that opposed to you: move it to `deny`"),
    ("require_named", ("require",), "is in `require` as well, for every caller: keep one"),
    ("require_named", ("deny", INTERNAL), _NO_CONSENT),
    ("require_named_for", ("deny", INTERNAL), _NO_CONSENT),
    ("named_consents", ("deny", INTERNAL), _LIFTS_NOTHING),
    ("artificial_voice", ("deny", INTERNAL), _LIFTS_NOTHING),
    ("hours.lifted_by", ("deny", INTERNAL), _LIFTS_NOTHING),
    ("wash", ("deny", "require", "require_named", "OWN"), _CLEAN_ANSWERS),
    ("wash_named", ("deny", "require", "require_named", "wash", "OWN"), _CLEAN_ANSWERS),
    ("reassigned", (*_REGISTERS, "OWN"), "is used otherwise as well: name it here only"),
    ("lifted_by", (*_REGISTERS, "OWN"), _NO_FACT),
    ("banned_purposes", ("lifted_by",), "is in `lifted_by` as well: keep one"),
    ("banned_despite_contract", ("lifted_by",), "is in `lifted_by` as well: keep one"),
    ("banned_despite_contract", ("banned_purposes",), "is in `banned_purposes` as well: keep one"),
    ("banned_without_consent", ("lifted_by",), "is in `lifted_by` as well: keep one"),
    ("banned_without_consent", ("banned_purposes",), "is in `banned_purposes` as well: keep one"),
    (
        "banned_without_consent",
        ("banned_despite_contract",),
        "is in `banned_despite_contract` as well: keep one",
    ),
)
_EXEMPTION_KEYS = (
    *("contract", "purposes", "other_than", "who", "relation", "months", "working_days", "lifts", "bans"),
    "source",
)
# What a condition of an exemption may be.
_CONDITIONS: Mapping[str, tuple[object, ...]] = {
    "contract": (True,),
    "who": (COMPANY,),
    "relation": RELATIONS,
}
_EMERGENCY_KEYS = ("from", "to", "source")
_EMERGENCY = 'emergencies = [{ from = 2020-03-07, to = 2021-06-24, source = "Executive Order 202" }]'
_ATTEMPTS = "attempts = { most = 4, days = 30, refusal_days = 60 }"
ATTEMPTS_MAX = 90  # days, too: attempts are kept for so long
_MONTHS = range(1, 121)  # ten years
_WORKING_DAYS = range(1, 61)
# From one digit of calling code and one of area, to three digits of code and four of area.
_AREA_DIGITS = range(2, 8)


def read_rule(
    sheet: ProblemSheet, code: str, regions: Sequence[str], known: Vocabulary | None
) -> Rule | None:
    """The rule in the sheet's table, without its text; None if it has no first day. Its last day is its own `to`: the
    next rule of the file is not known here. `known`: see `check.read_country`."""
    table = sheet.table
    sheet.unknown(_KEYS)
    # 1. Every key by itself.
    source = sheet.text("source", '"the law and the article it comes from"')
    lists = {key: sheet.names(key, problem) for key, problem in _LISTS.items()}
    for_types = _named_for(sheet)
    hours = read_hours(sheet, regions, names.register_problem)
    lists["require_named_for"] = tuple(name for registers in for_types.values() for name in registers)
    lists["hours.lifted_by"] = () if hours is None else hours.lifted_by
    valid_days = None
    if "valid_days" in table:
        valid_days = sheet.days("valid_days", "valid_days", table["valid_days"])
    start, end = _day(sheet, "from"), _day(sheet, "to")
    if start is not None and end is not None and end < start:
        sheet.wrong("to", f"`to` is before `from`: the last day of the rule is {start} or later")
    # 2. What the keys ask of each other.
    _check_apart(sheet, lists)
    consents = tuple(name for key in _CONSENTS for name in lists[key])
    registers = tuple(name for key in _REGISTERS for name in lists[key])
    _check_needed(sheet, lists, consents)
    bans = ("banned_purposes", "banned_despite_contract", "banned_without_consent")
    banned = frozenset(purpose for key in bans for purpose in lists[key])
    exempt = _exemptions(sheet, banned)
    max_age_days = _days_of(sheet, "max_age_days", registers, "{ bloctel = 30 }")
    consent_days = _days_of(sheet, "consent_days", consents, "{ consent = 730 }")
    areas, attempts = _areas(sheet, lists["deny"]), _attempts(sheet)
    if start is None:
        return None
    rule = Rule(
        country=code,
        start=start,
        end=end,
        source=source,
        deny=lists["deny"],
        require=lists["require"],
        lifted_by=lists["lifted_by"],
        named_consents=lists["named_consents"],
        max_age_days=max_age_days,
        areas=areas,
        valid_days=valid_days,
        banned_purposes=frozenset(lists["banned_purposes"]),
        not_callable_types=frozenset(name for name in lists["not_callable"] if name[:1] != "+"),
        not_callable_prefixes=tuple(name[1:] for name in lists["not_callable"] if name[:1] == "+"),
        uncertain=lists["uncertain"],
        require_named=lists["require_named"],
        require_named_for=for_types,
        wash=lists["wash"],
        wash_named=lists["wash_named"],
        wash_despite_consent=lists["wash_despite_consent"],
        banned_despite_contract=frozenset(lists["banned_despite_contract"]),
        consent_days=consent_days,
        dated_consents=lists["dated_consents"],
        consent_proof=lists["consent_proof"],
        channels=lists["channels"] or (VOICE,),
        banned_without_consent=frozenset(lists["banned_without_consent"]),
        exempt=exempt,
        artificial_voice=lists["artificial_voice"],
        reassigned=lists["reassigned"],
        attempts=attempts,
        hours=hours,
    )
    needs_words = bool(rule.named_purposes or consents)
    return replace(rule, purposes=_vocabulary(sheet, known, needs_words=needs_words))


def _check_apart(sheet: ProblemSheet, lists: Mapping[str, tuple[str, ...]]) -> None:
    """Note the names that a key shares with another one (`_APART`)."""
    others = {**lists, INTERNAL: (INTERNAL,), "OWN": tuple(OWN)}
    reported: set[tuple[str, str]] = set()
    for key, apart_from, sentence in _APART:
        names_elsewhere = {name for other in apart_from for name in others[other]}
        for name in lists[key]:
            if name not in names_elsewhere or (key, name) in reported:
                continue
            reported.add((key, name))
            label = "`hours.lifted_by`: " if key == "hours.lifted_by" else ""
            sheet.wrong(key.partition(".")[0], f'{label}"{name}" {sentence}')


def _check_needed(
    sheet: ProblemSheet, lists: Mapping[str, tuple[str, ...]], consents: Collection[str]
) -> None:
    """Note the keys without a value or another key that they need. `consents` are the rule's registers of consents."""
    reading = sheet.table.get("reading", READING)
    if isinstance(reading, bool) or reading != READING:
        sheet.wrong(
            "reading",
            f"`reading` must be {READING}, the only one that this release knows: remove it from a file of your own;"
            " for a text from the log install the release that wrote it",
        )
    if sheet.table.get("channels") == []:
        sheet.wrong("channels", f'`channels` is empty: name one, as in ["{VOICE}"], or remove it')
    for name in lists["dated_consents"]:
        if name not in consents:
            hint = nearest(name, consents)
            sheet.wrong("dated_consents", f'"{name}" is not a register of consents of this rule{hint}')
    for name in lists["wash_despite_consent"]:
        if name not in lists["wash"]:
            sheet.wrong("wash_despite_consent", f'"{name}" is not in `wash`: add it there')
    if not any(sheet.table.get(key) for key in _ASKING):
        free = 'a free regime is deny = ["internal"]'
        sheet.wrong("", f"the rule requires nothing: add `deny` or `require`; {free}")
    denies = any(name != INTERNAL for name in lists["deny"])
    washes = sheet.table.get("wash") or sheet.table.get("wash_named")
    if lists["named_consents"] and not denies and not washes:
        sheet.wrong("named_consents", "`deny` names nothing but internal, which no consent lifts: remove it")
    if lists["banned_without_consent"] and not sheet.table.get("named_consents"):
        sheet.wrong("banned_without_consent", "no consent lifts the ban: name a register in `named_consents`")


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


def _attempts(sheet: ProblemSheet) -> Attempts | None:
    """The limit on attempts; None if the rule has none."""
    table = sheet.table.get("attempts")
    if table is None:
        return None
    numbers = [name for name in Attempts.__slots__ if name != "refusal_withdraws"]
    understood = isinstance(table, dict)
    for name, value in table.items() if understood else ():
        if name == "refusal_withdraws":
            understood = understood and value is True
        else:
            understood = understood and name in numbers and type(value) is int and 1 <= value <= ATTEMPTS_MAX
    if not understood:
        how = f"a table of whole numbers from 1 to {ATTEMPTS_MAX}: {', '.join(numbers)}; or refusal_withdraws = true"
        sheet.wrong("attempts", f"`attempts` must be {how}, as in {_ATTEMPTS}")
        return None
    attempts = Attempts(**table)
    one_period = bool(attempts.days) != bool(attempts.hours)
    if bool(attempts.most) != one_period or not table:
        example = _ATTEMPTS.removeprefix("attempts = ")
        sheet.wrong("attempts", f"`attempts` needs `most` with either `days` or `hours`, as in {example}")
    return attempts


def emergencies(sheet: ProblemSheet, rule: Rule) -> tuple[Rule, ...]:
    """The rule, cut at the emergencies of its table: on the days of one, no number is called without a consent that names
    the caller, unless an exemption lifts that."""
    tables = sheet.table.get("emergencies", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        sheet.wrong("emergencies", f"`emergencies` must be a list of tables, as in {_EMERGENCY}")
        return (rule,)
    if tables and not rule.named_consents:
        sheet.wrong("emergencies", "no consent counts in an emergency: name a register in `named_consents`")
    consents = tuple(dict.fromkeys((*rule.require_named, *rule.named_consents)))
    parts: list[Rule] = []
    rest: Rule | None = rule  # from the day after the last emergency on
    for table in tables:
        first, last, source = (table.get(key) for key in _EMERGENCY_KEYS)
        days_are_read = type(first) is date and (last is None or type(last) is date)
        if not days_are_read or not isinstance(source, str) or table.keys() - {*_EMERGENCY_KEYS}:
            sheet.wrong(
                "emergencies", f"`emergencies` needs `from`, `source` and perhaps `to`, as in {_EMERGENCY}"
            )
            return (rule,)
        if rest is None:
            sheet.wrong(
                "emergencies",
                f"the emergency from {parts[-1].start} has no end: add `to`, or remove those below",
            )
            return tuple(parts)
        last = last or rest.end
        if first < rest.start or first > (last or first) or (last or first) > (rest.end or date.max):
            sheet.wrong(
                "emergencies",
                f"the emergency from {first} is not within the rule or not after the one above it: put the oldest first,"
                " and none into another",
            )
            return (rule,)
        if first > rest.start:
            parts.append(replace(rest, end=first - timedelta(days=1)))
        parts.append(
            replace(rest, start=first, end=last, source=f"{rule.source}; {source}", require_named=consents)
        )
        rest = None if last is None or last == rest.end else replace(rest, start=last + timedelta(days=1))
    return tuple(parts) if rest is None else (*parts, rest)


def _exemptions(sheet: ProblemSheet, banned: Collection[str]) -> tuple[Exemption, ...]:
    """The exemptions of the rule; `banned` are its banned purposes."""
    tables = sheet.table.get("exempt", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        sheet.wrong(
            "exempt",
            '`exempt` must be a list of tables, as in exempt = [{ who = "company", source = "..." }]',
        )
        return ()
    return tuple(_exemption(sheet, table, banned) for table in tables)


def _exemption(sheet: ProblemSheet, table: Mapping[str, Any], banned: Collection[str]) -> Exemption:
    def wrong(sentence: str) -> None:
        sheet.wrong("exempt", f"`exempt`: {sentence}")

    def listed(
        key: str, problem: Callable[[str], str | None], default: Sequence[str] = ()
    ) -> tuple[str, ...]:
        return sheet.names_in("exempt", f"exempt.{key}", table.get(key, [*default]), problem)

    source = table.get("source")
    if not isinstance(source, str) or not source.strip():
        wrong('an exemption has no `source`: say which law exempts, as in source = "16 CFR 310.6(a)"')
    purposes = listed("purposes", names.purpose_problem)
    lifts = listed("lifts", names.lift_problem, LIFTS)
    bans = listed("bans", names.purpose_problem)
    for name in bans:
        if name not in banned:
            wrong(f'`bans` names "{name}", which this rule does not ban{nearest(name, banned)}')
    if table.get("lifts") == [] and not bans:
        wrong("an exemption lifts nothing: name what it lifts, or the purposes in `bans`, or remove it")
    _check_conditions(table, purposes, wrong)
    return Exemption(
        source=str(source),
        contract=table.get("contract") is True,
        purposes=purposes,
        other_than=listed("other_than", names.purpose_problem),
        who=str(table.get("who") or ""),
        relation=str(table.get("relation") or ""),
        months=_term(table, "months", _MONTHS, wrong),
        working_days=_term(table, "working_days", _WORKING_DAYS, wrong),
        lifts=tuple(name for name in (*LIFTS, HOURS) if name in lifts),
        bans=bans,
    )


def _check_conditions(
    table: Mapping[str, Any], purposes: Collection[str], wrong: Callable[[str], None]
) -> None:
    """Note the keys of an exemption that are unknown, and its conditions that no prospect or every one meets."""
    for key in table:
        if key not in _EXEMPTION_KEYS:
            wrong(f'unknown key "{key}"{nearest(key, _EXEMPTION_KEYS)}')
    for key, values in _CONDITIONS.items():
        if table.get(key) is not None and table[key] not in values:
            wrong(f"`{key}` must be {' or '.join(map(toml, values))}, or be removed")
    if not purposes and not any(table.get(key) for key in _CONDITIONS):
        wrong("an exemption has no condition, and would exempt every call: name who or what is exempt")


def _term(table: Mapping[str, Any], key: str, known: range, wrong: Callable[[str], None]) -> int:
    """For how long a relation counts, in months or in working days; 0 for the other one."""
    term, relation = table.get(key), table.get("relation")
    has_both = "months" in table and "working_days" in table
    if term is None and (relation is None or key == "working_days" or "working_days" in table):
        return 0
    if relation is None:
        wrong(f"`{key}` is the term of a relation: name the `relation`, or remove it")
    elif has_both:
        wrong("a relation has one term: name `months` or `working_days`")
    elif isinstance(term, bool) or not isinstance(term, int) or term not in known:
        wrong(f"`{key}` must be a whole number from {known[0]} to {known[-1]}, as in {key} = {known[5]}")
    else:
        return term
    return 0


def _named_for(sheet: ProblemSheet) -> dict[str, tuple[str, ...]]:
    """By type of number: the registers of which a scoped list must hold a number of that type."""
    key = "require_named_for"
    value = sheet.table.get(key, {})
    if not isinstance(value, dict):
        sheet.wrong(key, f'`{key}` must be a table, as in {key} = {{ mobile = ["consent"] }}')
        return {}
    names_for = {}
    for kind, registers in value.items():
        if kind not in names.NUMBER_TYPES:
            sheet.wrong(key, f'`{key}`: "{kind}" is not a type of number{nearest(kind, names.NUMBER_TYPES)}')
        names_for[kind] = sheet.names_in(key, f"{key}.{kind}", registers, names.register_problem)
        if registers == []:
            sheet.wrong(key, f'`{key}.{kind}` asks nothing: name a register, as in ["consent"]')
    return names_for


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
        number = sheet.days(key, f"{key}.{name}", value)
        if number is not None:
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

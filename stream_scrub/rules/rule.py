"""From one `[[rule]]` table to a `Rule`, or to the problems in it. A part of `check`, and as pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from stream_scrub.model import INTERNAL, OWN, RegisterName
from stream_scrub.redaction import names_a_number
from stream_scrub.rules import purposes
from stream_scrub.rules.country import READING, VOICE, Rule
from stream_scrub.rules.exemptions import read_exemptions
from stream_scrub.rules.problems import ProblemSheet, nearest
from stream_scrub.rules.purposes import Vocabulary
from stream_scrub.spelling import plain

# The names that `phonenumbers` gives to kinds of numbers, in lower case.
NUMBER_TYPES = frozenset(
    {
        *("fixed_line", "mobile", "fixed_line_or_mobile", "toll_free", "premium_rate", "shared_cost"),
        *("voip", "personal_number", "pager", "uan", "voicemail", "unknown"),
    }
)
_KEYS = (
    *(
        "from",
        "to",
        "source",
        "deny",
        "require",
        "require_named",
        "require_named_for",
        "lifted_by",
        "named_consents",
        "max_age_days",
        "consent_days",
        "areas",
    ),
    *("valid_days", "banned_purposes", "banned_despite_contract", "banned_without_consent"),
    *("exempt", "artificial_voice", "not_callable", "uncertain", "channels", "reading", "purposes"),
)
_AREA_DIGITS = range(
    2, 8
)  # from one digit of calling code and one of area, to three digits of code and four of area
_PREFIX = re.compile(r"\+[1-9][0-9]{0,14}")
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,31}")
_NO_CHANNEL = "unknown"  # what a prospect's channel is called that nobody understands


def read_rule(
    sheet: ProblemSheet, at: int, table: Mapping[str, Any], code: str, known: Vocabulary | None
) -> Rule | None:
    """The rule in the table of that index, without its text; None when it has no first day. Its last day is its own
    `to`: the rule that follows it in the file is not seen here. `known`: see `check.read_country`.
    """
    sheet.unknown(at, table, _KEYS)
    source = sheet.text(at, table, "source", '"the law and the article it comes from"')
    deny, require, require_named = _registers(sheet, at, table)
    named = _named_consents(sheet, at, table, deny)
    of_types = _named_for(sheet, at, table, deny)
    artificial = _consents(sheet, at, table, "artificial_voice", deny)
    of_some = (name for names in of_types.values() for name in names)
    asked = (*deny, *require, *require_named, *named, *of_some, *artificial)
    lifted_by, banned, despite, without = _purposes(sheet, at, table, asked)
    exempt = read_exemptions(sheet, at, table, {*banned, *despite, *without}, _purpose_problem)
    not_callable = sheet.names(at, table, "not_callable", _not_callable_problem)
    max_age_days = _ages(sheet, at, table, asked)
    areas = _areas(sheet, at, table, deny)
    valid_days = table.get("valid_days")
    if valid_days is not None:
        valid_days = sheet.days(at, "valid_days", "valid_days", valid_days)
    uncertain = sheet.names(at, table, "uncertain", _note_problem)
    start, end = _day(sheet, at, table, "from"), _day(sheet, at, table, "to")
    if start is not None and end is not None and end < start:
        sheet.wrong(at, "to", f"`to` is before `from`: the last day of the rule is {start} or later")
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
        reading=_reading(sheet, at, table, kept=known is None),
        require_named=require_named,
        require_named_for=of_types,
        banned_despite_contract=frozenset(despite),
        consent_days=_consent_days(sheet, at, table, asked[len(deny) :]),
        channels=_channels(sheet, at, table),
        banned_without_consent=frozenset(without),
        exempt=exempt,
        artificial_voice=artificial,
    )
    asks = {*rule.named_purposes, *asked[len(deny) :]}
    return replace(rule, purposes=_vocabulary(sheet, at, table, asks, known))


def _vocabulary(
    sheet: ProblemSheet, at: int, table: Mapping[str, Any], named: Collection[str], known: Vocabulary | None
) -> Vocabulary:
    """The words that prospects may say: (a) those of a kept text, else (b) `known` if the rule names a purpose, or a
    register of consents, which may be for purposes."""
    told = table.get("purposes")
    if known is not None:
        if told is not None:
            sheet.wrong(
                at, "purposes", f"`purposes` belongs into {purposes.FILE} of your folder: move it there"
            )
        return known if named else {}
    problem = None if told is None else purposes.problem_of(told)
    if problem is not None:
        sheet.wrong(at, "purposes", problem)
        return {}
    return purposes.vocabulary(told or {})


def _channels(sheet: ProblemSheet, at: int, table: Mapping[str, Any]) -> tuple[str, ...]:
    """The channels that the rule is for, by default the voice."""
    named = sheet.names(at, table, "channels", _channel_problem)
    if table.get("channels") == []:
        sheet.wrong(at, "channels", f'`channels` is empty: name one, as in ["{VOICE}"], or take it away')
    return named or (VOICE,)


def _channel_problem(word: str) -> str | None:
    if _CHANNEL.fullmatch(word) and plain(word) == word and word != _NO_CHANNEL:
        return None
    return f'"{word}" is no channel: use small letters, digits and hyphens, at most 32, as in "sms"'


def _reading(sheet: ProblemSheet, at: int, table: Mapping[str, Any], *, kept: bool) -> int:
    """The reading of a kept text, the first if it names none. Files are always read by this version's reading."""
    reading = table.get("reading", 1 if kept else READING)
    if isinstance(reading, bool) or not isinstance(reading, int) or not 1 <= reading <= READING:
        sheet.wrong(at, "reading", f"`reading` must be a whole number from 1 to {READING}: take it away")
    elif not kept and reading != READING:
        sheet.wrong(at, "reading", "`reading` is of an older version: take it away, files are read as of now")
    else:
        return reading
    return READING


def _registers(
    sheet: ProblemSheet, at: int, table: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The registers of (a) `deny`, (b) `require`: one of them must hold the number, (c) `require_named`: a scoped one
    of these is enough too."""
    deny = sheet.names(at, table, "deny", _register_problem)
    require = sheet.names(at, table, "require", _register_problem)
    named = sheet.names(at, table, "require_named", _register_problem)
    if not any(map(table.get, ("deny", "require", "require_named", "require_named_for"))):
        free = 'a free regime is deny = ["internal"]'
        sheet.wrong(at, "", f"the rule asks nothing: add `deny` or `require`; {free}")
    for name in require:
        if name in deny:
            sheet.wrong(at, "require", f'"{name}" is in `deny` as well: no number could pass, keep one')
        elif name == INTERNAL:
            sheet.wrong(at, "require", '"internal" holds the numbers that opposed to you: move it to `deny`')
    for name in named:
        if name in require:
            sheet.wrong(at, "require_named", f'"{name}" is in `require` as well, for every caller: keep one')
        elif name in deny or name == INTERNAL:
            sheet.wrong(
                at,
                "require_named",
                f'"{name}" is a register of opposition and gives no consent: take it away',
            )
    return deny, require, named


def _purposes(
    sheet: ProblemSheet, at: int, table: Mapping[str, Any], registers: Collection[str]
) -> tuple[tuple[str, ...], ...]:
    """What lifts the registers, the purposes that are banned, those that a contract does not lift, and those that a
    consent lifts."""
    lifted_by = sheet.names(at, table, "lifted_by", _purpose_problem)
    for name in lifted_by:
        if name in registers or name in OWN:
            remedy = "name the contract or a purpose, and put the register in `require`"
            sheet.wrong(at, "lifted_by", f'"{name}" is a register, which lifts nothing: {remedy}')
    banned = sheet.names(at, table, "banned_purposes", _purpose_problem)
    for name in banned:
        if name in lifted_by:
            sheet.wrong(at, "banned_purposes", f'"{name}" is in `lifted_by` as well: keep one')
    above = [("lifted_by", lifted_by), ("banned_purposes", banned)]
    for key in ("banned_despite_contract", "banned_without_consent"):
        found = sheet.names(at, table, key, _purpose_problem)
        for name in found:
            for other, names in above:
                if name in names:
                    sheet.wrong(at, key, f'"{name}" is in `{other}` as well: keep one')
        above.append((key, found))
    if found and not table.get("named_consents"):
        sheet.wrong(at, key, "no consent lifts the ban: name a register in `named_consents`")
    return tuple(names for _, names in above)


def _named_for(
    sheet: ProblemSheet, at: int, table: Mapping[str, Any], deny: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """By type of number: the registers of which a scoped one must hold a number of that type."""
    key = "require_named_for"
    value = table.get(key, {})
    if not isinstance(value, dict):
        sheet.wrong(at, key, f'`{key}` must be a table, as in {key} = {{ mobile = ["consent"] }}')
        return {}
    found = {}
    for kind in value:
        if kind not in NUMBER_TYPES:
            sheet.wrong(at, key, f'`{key}`: "{kind}" is no type of number{nearest(kind, NUMBER_TYPES)}')
        names = sheet.names_in(at, key, f"{key}.{kind}", value[kind], _register_problem)
        if value[kind] == []:
            sheet.wrong(at, key, f'`{key}.{kind}` asks nothing: name a register, as in ["consent"]')
        for name in names:
            if name in deny or name == INTERNAL:
                sheet.wrong(
                    at, key, f'"{name}" is a register of opposition and gives no consent: take it away'
                )
        found[kind] = names
    return found


def _named_consents(
    sheet: ProblemSheet, at: int, table: Mapping[str, Any], deny: Collection[str]
) -> tuple[str, ...]:
    """The allow registers whose scoped lists lift the registers that deny."""
    named = _consents(sheet, at, table, "named_consents", deny)
    if named and not any(name != INTERNAL for name in deny):
        sheet.wrong(
            at, "named_consents", "`deny` names nothing but internal, which no consent lifts: take it away"
        )
    return named


def _consents(
    sheet: ProblemSheet, at: int, table: Mapping[str, Any], key: str, deny: Collection[str]
) -> tuple[str, ...]:
    """The allow registers of that key."""
    named = sheet.names(at, table, key, _register_problem)
    for name in named:
        if name in deny or name == INTERNAL:
            sheet.wrong(at, key, f'"{name}" is a register of opposition and lifts nothing: take it away')
    return named


def _day(sheet: ProblemSheet, at: int, table: Mapping[str, Any], key: str) -> date | None:
    value = table.get(key)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if value is not None:
        sheet.wrong(at, key, f"`{key}` must be a day without quotes or hours, as in {key} = 2016-06-01")
    elif key == "from":
        sheet.wrong(at, "from", "`from` is missing: add the first day of the rule, as in from = 2016-06-01")
    return None


def _ages(sheet: ProblemSheet, at: int, table: Mapping[str, Any], used: tuple[str, ...]) -> dict[str, int]:
    """Days after which a register is too old."""
    ages = {}
    for name, days in _of_registers(sheet, at, table, "max_age_days", used, "{ bloctel = 30 }").items():
        if (age := sheet.days(at, "max_age_days", f"max_age_days.{name}", days)) is not None:
            ages[name] = age
    return ages


def _consent_days(
    sheet: ProblemSheet, at: int, table: Mapping[str, Any], used: tuple[str, ...]
) -> dict[str, int]:
    """Days after which a consent in a register is over, whatever it says itself."""
    days = {}
    for name, value in _of_registers(sheet, at, table, "consent_days", used, "{ consent = 730 }").items():
        if (most := sheet.days(at, "consent_days", f"consent_days.{name}", value)) is not None:
            days[name] = most
    return days


def _areas(sheet: ProblemSheet, at: int, table: Mapping[str, Any], deny: tuple[str, ...]) -> dict[str, int]:
    """For each register that is handed out by area: how many first digits of a number name its area."""
    used = tuple(name for name in deny if name != INTERNAL)
    areas = {}
    for name, digits in _of_registers(sheet, at, table, "areas", used, "{ us-dnc = 4 }").items():
        if isinstance(digits, int) and not isinstance(digits, bool) and digits in _AREA_DIGITS:
            areas[name] = digits
        else:
            first, last = _AREA_DIGITS[0], _AREA_DIGITS[-1]
            how = f"how many digits name an area, {first} to {last}, the calling code included"
            sheet.wrong(at, "areas", f"`areas.{name}` must be {how}, as in areas.{name} = 4")
    return areas


def _of_registers(
    sheet: ProblemSheet, at: int, table: Mapping[str, Any], key: str, used: tuple[str, ...], example: str
) -> dict[str, Any]:
    """A table whose keys must be registers of the rule."""
    value = table.get(key, {})
    if not isinstance(value, dict):
        sheet.wrong(at, key, f"`{key}` must be a table, as in {key} = {example}")
        return {}
    for name in value:
        if name not in used:
            sheet.wrong(at, key, f'`{key}` names "{name}", which this rule does not use{nearest(name, used)}')
    return value


def _register_problem(name: str) -> str | None:
    if names_a_number(name):  # checked first, since it may be no register's name at all
        return "a register's name looks like a phone number: choose another, since names are shown everywhere"
    register = RegisterName.parse(name)
    if register is not None and not register.scope:
        return None
    if "@" in name:
        return f'"{name}" has a scope: name the register alone, a prospect\'s campaign adds its scopes'
    return f'"{name}" is no register name: use small letters, digits and hyphens, as in "us-dnc"'


def _purpose_problem(word: str) -> str | None:
    """What is wrong with a purpose: prospects' purposes are compared in small letters and with hyphens, so another
    spelling would never match."""
    met = word.strip().casefold().replace(" ", "-").replace("_", "-")
    if not met:
        return "a word is empty: take it away"
    return None if word == met else f'"{word}" would never match: write it "{met}"'


def _note_problem(note: str) -> str | None:
    return None if note.strip() else "a note is empty: say what is uncertain, or take it away"


def _not_callable_problem(name: str) -> str | None:
    if name in NUMBER_TYPES or _PREFIX.fullmatch(name):
        return None
    if name[:1] == "+" or name.isdecimal():
        return (
            f'"{name}" is no prefix: write a plus and 1 to 15 digits that do not start with 0, as in "+33162"'
        )
    return f'"{name}" is no type of number{nearest(name, NUMBER_TYPES)}'

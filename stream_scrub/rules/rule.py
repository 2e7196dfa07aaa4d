"""From one `[[rule]]` table to a `Rule`, or to the problems in it. A part of `check`, pure as it is."""

import re
from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Any

from stream_scrub.rules.country import Rule
from stream_scrub.rules.sheet import Sheet, nearest

# The names that `phonenumbers` gives to kinds of numbers, in lower case.
NUMBER_TYPES = frozenset(
    {
        *("fixed_line", "mobile", "fixed_line_or_mobile", "toll_free", "premium_rate", "shared_cost"),
        *("voip", "personal_number", "pager", "uan", "voicemail", "unknown"),
    }
)
_KEYS = (
    *("from", "source", "deny", "require", "lifted_by", "max_age_days", "valid_days"),
    *("banned_purposes", "not_callable", "uncertain"),
)
_REGISTER = re.compile(r"[a-z0-9][a-z0-9-]*")
_PREFIX = re.compile(r"\+[1-9][0-9]{0,14}")


def read_rule(sheet: Sheet, at: int, table: Mapping[str, Any], code: str, digest: str) -> Rule | None:
    """The rule in the table of that index, its last day still open; None when it has no date to stand on."""
    sheet.unknown(at, table, _KEYS)
    source = sheet.text(at, table, "source", '"the law and the article it comes from"')
    deny, require = _registers(sheet, at, table)
    lifted_by, banned = _purposes(sheet, at, table, {*deny, *require})
    not_callable = sheet.names(at, table, "not_callable", _not_callable_problem)
    max_age_days = _max_age_days(sheet, at, table, (*deny, *require))
    valid_days = table.get("valid_days")
    if valid_days is not None:
        valid_days = sheet.days(at, "valid_days", "valid_days", valid_days)
    uncertain = sheet.names(at, table, "uncertain", _note_problem)
    if (start := _start(sheet, at, table)) is None:
        return None
    return Rule(
        country=code,
        start=start,
        end=None,
        source=source,
        deny=deny,
        require=require,
        lifted_by=lifted_by,
        max_age_days=max_age_days,
        valid_days=valid_days,
        banned_purposes=frozenset(banned),
        not_callable_types=frozenset(name for name in not_callable if name[:1] != "+"),
        not_callable_prefixes=tuple(name[1:] for name in not_callable if name[:1] == "+"),
        uncertain=uncertain,
        digest=digest,
    )


def _registers(sheet: Sheet, at: int, table: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The registers that deny, and those of which one must hold the number."""
    deny = sheet.names(at, table, "deny", _register_problem)
    require = sheet.names(at, table, "require", _register_problem)
    if not table.get("deny") and not table.get("require"):
        free = 'a free regime is deny = ["internal"]'
        sheet.wrong(at, "", f"the rule asks nothing: add `deny` or `require`; {free}")
    for name in require:
        if name in deny:
            sheet.wrong(at, "require", f'"{name}" is in `deny` as well: no number could pass, keep one')
        elif name == "internal":
            sheet.wrong(at, "require", '"internal" holds who opposed to you: move it to `deny`')
    return deny, require


def _purposes(
    sheet: Sheet, at: int, table: Mapping[str, Any], registers: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What lifts the registers, and the purposes that are banned."""
    lifted_by = sheet.names(at, table, "lifted_by", _purpose_problem)
    for name in lifted_by:
        if name in registers or name in {"internal", "consent"}:
            remedy = "name the contract or a purpose, and put the register in `require`"
            sheet.wrong(at, "lifted_by", f'"{name}" is a register, which lifts nothing: {remedy}')
    banned = sheet.names(at, table, "banned_purposes", _purpose_problem)
    for name in banned:
        if name in lifted_by:
            sheet.wrong(at, "banned_purposes", f'"{name}" is in `lifted_by` as well: keep one')
    return lifted_by, banned


def _start(sheet: Sheet, at: int, table: Mapping[str, Any]) -> date | None:
    value = table.get("from")
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if value is None:
        sheet.wrong(at, "from", "`from` is missing: add the first day of the rule, as in from = 2016-06-01")
    else:
        sheet.wrong(at, "from", "`from` must be a day without quotes or hours, as in from = 2016-06-01")
    return None


def _max_age_days(sheet: Sheet, at: int, table: Mapping[str, Any], used: tuple[str, ...]) -> dict[str, int]:
    value = table.get("max_age_days", {})
    if not isinstance(value, dict):
        sheet.wrong(
            at, "max_age_days", "`max_age_days` must be a table, as in max_age_days = { bloctel = 30 }"
        )
        return {}
    ages = {}
    for name, days in value.items():
        if name not in used:
            sheet.wrong(
                at,
                "max_age_days",
                f'`max_age_days` names "{name}", which this rule does not use{nearest(name, used)}',
            )
        if (age := sheet.days(at, "max_age_days", f"max_age_days.{name}", days)) is not None:
            ages[name] = age
    return ages


def _register_problem(name: str) -> str | None:
    if _REGISTER.fullmatch(name):
        return None
    if "@" in name:
        return f'"{name}" has a scope: name the register alone, a prospect\'s campaign adds its scopes'
    return f'"{name}" is no register name: use small letters, digits and hyphens, as in "us-dnc"'


def _purpose_problem(word: str) -> str | None:
    """A prospect's purpose is compared in small letters and with hyphens: another spelling would never be met."""
    met = word.strip().casefold().replace(" ", "-").replace("_", "-")
    if not met:
        return "a word is empty: take it away"
    return None if word == met else f'"{word}" would never be met: write it "{met}"'


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

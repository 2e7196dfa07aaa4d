"""What a call may be, or to whom, so that a rule asks less of it: `Exemption`. Frozen values and their reading, no I/O.

An exemption has conditions, which must all be met, and says what it lifts and where the law says so.
"""

import json
from calendar import monthrange
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from stream_scrub.rules.problems import ProblemSheet, nearest

COMPANY = "company"  # a legal person that is called about its business
# `purchase`: the person bought, or had a contract that ended; `inquiry`: they asked about an offer, or applied.
RELATIONS = ("purchase", "inquiry")
DENY, REQUIRE = "deny", "require"
_LIFTS = (DENY, REQUIRE)
_KEYS = ("contract", "purposes", "who", "relation", "months", "lifts", "bans", "source")
_MONTHS = range(1, 121)  # ten years


@dataclass(frozen=True, slots=True)
class Exemption:
    """One exemption of a rule, for a call that meets all of its conditions.

    (a) `contract`: the prospect has a contract; (b) `purposes`: each of its purposes is one of these; (c) `who`: it is
    a company; (d) `relation`: it has such a relation with the caller, of which the last `months` months count. A
    condition that is empty asks nothing; at least one is there. `lifts` says of what the call is exempt: the registers
    that deny, or those that must hold the number, or both. `bans` are purposes whose ban it lifts as well.
    """

    source: str
    contract: bool = False
    purposes: tuple[str, ...] = ()
    who: str = ""
    relation: str = ""
    months: int = 0
    lifts: tuple[str, ...] = _LIFTS
    bans: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The exemption as an inline table of TOML, in a fixed order."""
        said: list[tuple[str, object]] = [
            ("contract", self.contract),
            ("purposes", list(self.purposes)),
            ("who", self.who),
            ("relation", self.relation),
            ("months", self.months),
            ("lifts", [] if self.lifts == _LIFTS else list(self.lifts)),
            ("bans", list(self.bans)),
            ("source", self.source),
        ]
        inner = (f"{key} = {_toml(value)}" for key, value in said if value)
        return f"{{ {', '.join(inner)} }}"


def _toml(value: object) -> str:
    """JSON's texts, lists, numbers and truths are valid in TOML; only U+007F must be escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def last_day(since: date, months: int) -> date:
    """The last day of a term of so many calendar months that begins with the day `since`: the day before its
    anniversary. Where that month is shorter, its last day counts as the anniversary."""
    at = since.year * 12 + since.month - 1 + months
    year, month = divmod(at, 12)
    day = min(since.day, monthrange(year, month + 1)[1])
    return date(year, month + 1, day) - timedelta(days=1)


def read_exemptions(
    sheet: ProblemSheet,
    at: int,
    table: Mapping[str, Any],
    banned: Collection[str],
    purpose_problem: Callable[[str], str | None],
) -> tuple[Exemption, ...]:
    """The exemptions of the rule in the table of that index. `banned` are its banned purposes."""
    told = table.get("exempt", [])
    if not isinstance(told, list) or not all(isinstance(each, dict) for each in told):
        sheet.wrong(
            at,
            "exempt",
            '`exempt` must be a list of tables, as in exempt = [{ who = "company", source = "..." }]',
        )
        return ()
    return tuple(_one(sheet, at, each, banned, purpose_problem) for each in told)


def _one(
    sheet: ProblemSheet,
    at: int,
    told: Mapping[str, Any],
    banned: Collection[str],
    purpose_problem: Callable[[str], str | None],
) -> Exemption:
    def wrong(sentence: str) -> None:
        sheet.wrong(at, "exempt", f"`exempt`: {sentence}")

    for key in told:
        if key not in _KEYS:
            wrong(f'unknown key "{key}"{nearest(key, _KEYS)}')
    source = told.get("source")
    if not isinstance(source, str) or not source.strip():
        wrong('an exemption has no `source`: say which law exempts, as in source = "16 CFR 310.6(a)"')
    contract, who, relation = (told.get(key) for key in ("contract", "who", "relation"))
    for key, value, known in (
        ("contract", contract, (True,)),
        ("who", who, (COMPANY,)),
        ("relation", relation, RELATIONS),
    ):
        if value is not None and value not in known:
            wrong(f"`{key}` must be {_either(known)}, or be taken away")
    purposes = sheet.names_in(at, "exempt", "exempt.purposes", told.get("purposes", []), purpose_problem)
    if not (contract or who or relation or purposes):
        wrong("an exemption has no condition, and would exempt every call: name who or what is exempt")
    lifts = sheet.names_in(at, "exempt", "exempt.lifts", told.get("lifts", list(_LIFTS)), _lift_problem)
    bans = sheet.names_in(at, "exempt", "exempt.bans", told.get("bans", []), purpose_problem)
    for name in bans:
        if name not in banned:
            wrong(f'`bans` names "{name}", which this rule does not ban{nearest(name, banned)}')
    return Exemption(
        source=str(source),
        contract=contract is True,
        purposes=purposes,
        who=str(who or ""),
        relation=str(relation or ""),
        months=_months(told, relation is not None, wrong),
        lifts=tuple(name for name in _LIFTS if name in lifts),
        bans=bans,
    )


def _months(told: Mapping[str, Any], needed: bool, wrong: Callable[[str], None]) -> int:
    months = told.get("months")
    if months is None and not needed:
        return 0
    if not needed:
        wrong("`months` is the term of a relation: name the `relation`, or take it away")
    elif isinstance(months, bool) or not isinstance(months, int) or months not in _MONTHS:
        wrong(f"`months` must be a whole number from {_MONTHS[0]} to {_MONTHS[-1]}, as in months = 18")
    else:
        return months
    return 0


def _either(known: Collection[object]) -> str:
    return " or ".join(map(_toml, known))


def _lift_problem(name: str) -> str | None:
    return None if name in _LIFTS else f'"{name}" is nothing that it may lift: use {" or ".join(_LIFTS)}'

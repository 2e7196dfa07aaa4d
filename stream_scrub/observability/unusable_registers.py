"""Registers that rules in force need, but on which no verdict may rest now. Each has the reason in words. Pure."""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from stream_scrub.index import Index
from stream_scrub.model import INTERNAL, RegisterKind
from stream_scrub.rules import Rule, Rulebook
from stream_scrub.scrub.last_day import days_of


class UnusableRegister(msgspec.Struct, frozen=True):
    """A register (without scope), the countries whose rule of today needs it, and why it cannot be used."""

    register: str
    countries: tuple[str, ...]
    why: str


def unusable(rulebook: Rulebook, index: Index, now: datetime) -> list[UnusableRegister]:
    """Every such register, in the order of names. Prospects of its countries (a) come out blocked as
    `stale-register`, or (b) make the worker hold, as `rules.stale` and `rules.stale_by_register` say."""
    found: dict[tuple[str, str], list[str]] = {}
    for rule, local in rulebook.in_force(now):
        for name, why in _of_rule(rule, index, local):
            found.setdefault((name, why), []).append(rule.country)
    return [
        UnusableRegister(name, tuple(sorted(set(codes))), why) for (name, why), codes in sorted(found.items())
    ]


def _of_rule(rule: Rule, index: Index, now: datetime) -> Iterator[tuple[str, str]]:
    wanted = dict.fromkeys(rule.deny, RegisterKind.DENY) | dict.fromkeys(rule.require, RegisterKind.ALLOW)
    wanted |= dict.fromkeys(rule.needed, RegisterKind.ALLOW)
    for name, kind in wanted.items():
        register = index.registers.get(name)
        if register is None and name in rule.needed and name in index.families():
            continue  # a list for some campaign is enough
        if register is None:
            if name != INTERNAL:  # `internal` is empty before its first opt-out
                yield name, "it was never imported"
            continue
        days = days_of(rule, register)
        if register.kind is not kind:
            yield name, f"it is of kind {register.kind}, and the rule needs one of kind {kind}"
        elif days is not None and register.older_than(days, now):
            yield (
                name,
                f"its list is of {register.effective_at:%Y-%m-%d}, older than the {days} days that it may be",
            )
        elif register.ends_overdue(now):
            yield name, "numbers in it should have ended: nobody publishes its ends"

"""Settings that name registers, checked for `settings`. Each function returns the value, or raises ValueError."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from stream_scrub.model import INTERNAL, OWN, RegisterName


def own_registers(values: tuple[str, ...]) -> tuple[str, ...]:
    """Registers that a publisher owns, without scopes."""
    if not OWN.keys() <= set(values) or len(set(values)) < len(values):
        raise ValueError('should name "internal" and "consent", and every register once')
    names = list(map(RegisterName.parse, values))
    if not all(name is not None and not name.scope and name.base != "rules" for name in names):
        raise ValueError("should name registers without scopes: lower-case letters, digits and hyphens")
    _need_no_number(names)
    return values


def shares(values: tuple[str, ...]) -> tuple[str, ...]:
    """Registers with a share of their numbers, as in `tps=0.25`."""
    pairs = [value.partition("=") for value in values]
    names = [RegisterName.parse(name) for name, _, _ in pairs]
    if None in names or not all(re.fullmatch(r"\d{1,6}(\.\d{1,6})?", share) for _, _, share in pairs):
        raise ValueError('should hold pairs of a register and its share, as in "tps=0.25"')
    _need_no_number(names)
    return values


def named_registers(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A table by register."""
    names = [RegisterName.parse(name) for name in values]
    if None in names:
        raise ValueError('should name registers, as in tps = "hold"')
    _need_no_number(names)
    return values


def opt_out_registers(values: Mapping[str, str]) -> Mapping[str, str]:
    """By register the opt-outs that its refusals go into."""
    for name in values.values():
        register = RegisterName.parse(name)
        if register is None or register.base != INTERNAL:
            raise ValueError(
                f'should name {INTERNAL} or {INTERNAL}@CAMPAIGN, as in "consent@acme" = "internal@acme"'
            )
    return named_registers(values)


def _need_no_number(names: Iterable[RegisterName | None]) -> None:
    if any(name is not None and name.looks_like_number for name in names):
        raise ValueError("should hold no name that looks like a phone number: names are shown everywhere")

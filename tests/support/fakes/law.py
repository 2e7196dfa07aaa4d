"""Rules and registers made by hand, so that no test of the engine depends on what some country's law says this
year."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta

import numpy as np

from stream_scrub.imports.parsing import cells
from stream_scrub.index import Filter, Index, Register, as_bitmap
from stream_scrub.index.index import ByName
from stream_scrub.model import RegisterKind
from stream_scrub.rules import Rulebook, RuleFile

NOW = datetime(2026, 11, 24, 12, 0, 0, 123_000, UTC)
POSITION = 1234

OPT_OUT = """country = "FR"
regions = ["FR", "RE"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "an opt-out law made for the tests"
deny = ["list", "internal"]
lifted_by = ["contract", "press"]
max_age_days = { list = 30 }
valid_days = 28
"""
OPT_IN = """country = "FR"
regions = ["FR", "RE"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "an opt-in law made for the tests"
deny = ["list", "internal"]
require = ["consent", "washed"]
lifted_by = ["contract", "press"]
max_age_days = { list = 30, consent = 10, washed = 10, internal = 50 }
banned_purposes = ["energy-renovation"]
not_callable = ["premium_rate", "+33162"]
"""

# An opt-out law and then an opt-in one, as France has them.
OPT_OUT_THEN_IN = """country = "FR"
regions = ["FR", "RE"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
to = 2026-06-30
source = "an opt-out law made for the tests"
deny = ["bloctel", "internal"]
lifted_by = ["contract", "press"]
max_age_days = { bloctel = 30 }
valid_days = 28
[[rule]]
from = 2026-07-01
source = "an opt-in law made for the tests"
deny = ["internal"]
require = ["consent"]
lifted_by = ["contract"]
banned_purposes = ["energy-renovation"]
not_callable = ["premium_rate", "+33162"]
"""


def rulebook(*texts: str) -> Rulebook:
    """The rules in these texts and no others."""
    return Rulebook.of(
        RuleFile(f"{(code := text.split(chr(34))[1].lower())}.toml", f"{code}.toml", text.encode())
        for text in texts
    )


def register(
    name: str,
    numbers: Iterable[int] = (),
    *,
    kind: RegisterKind = RegisterKind.DENY,
    days_old: float = 1,
    position: int = POSITION,
    ends: date | None = None,
) -> Register:
    """A register that is `days_old` at NOW. Its first number ends with the day `ends`."""
    members = np.array(sorted(set(numbers)), dtype=np.uint64)
    at = NOW - timedelta(days=days_old)
    source, filter_ = f"{name}.csv", Filter(members)
    end = None if ends is None else datetime.fromtimestamp(cells.earliest(ends + timedelta(days=1)), UTC)
    return Register(name, kind, as_bitmap(members), 1, "0" * 64, at, position, source, filter_, end)


def allow(name: str, numbers: Iterable[int] = (), days_old: float = 1) -> Register:
    """A consent register."""
    return register(name, numbers, kind=RegisterKind.ALLOW, days_old=days_old)


def index(*registers: Register, position: int = POSITION) -> Index:
    """An index of these registers."""
    held: Mapping[str, Register] = {each.name: each for each in registers}
    return Index(ByName(held), position)

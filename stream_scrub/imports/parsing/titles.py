"""The titles of columns that say what is in them (titles.toml), for lists, files of leads, call logs and requests."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from stream_scrub.texts import plain

_TABLE: Mapping[str, Any] = tomllib.loads(
    resources.files(__package__).joinpath("titles.toml").read_text("utf-8")
)
# By role, as `csv_table.title` makes them: without case, accents, spaces and signs.
TITLES: Mapping[str, tuple[str, ...]] = {role: tuple(names) for role, names in _TABLE["titles"].items()}
PHONE = frozenset(TITLES["phone"])
PHONES = PHONE.union(TITLES["first_phone"])


def says_phone(name: str) -> bool:
    """Whether a title seems to be that of phone numbers."""
    words = plain(name)
    word = words.replace("-", "")
    if word == "number":  # of a house or a customer, too
        return False
    words = f"-{words}-"
    for other in _TABLE["parts"]["no_phone"]:
        words = words.replace(other, "")
    return word in PHONES or any(part in words for part in _TABLE["parts"]["phone"])

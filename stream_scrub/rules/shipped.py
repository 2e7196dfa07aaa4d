"""The source of the shipped rules: this package, or the distribution `stream-scrub-rules` where it is newer.

That one holds the same files and nothing else, so that a change of law needs no new release of the code.
"""

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from stream_scrub.errors import ConfigError

ALONE = "stream_scrub_rules"  # the package in `stream-scrub-rules`
_EDITION = "edition.txt"
_DAY = re.compile(r"\d{4}\.\d\d\.\d\d", re.ASCII)


class Shipped(NamedTuple):
    """A folder of rules."""

    folder: Traversable
    where: str  # the path to show to people
    edition: str  # the day of its last change, as in "2026.11.29"


@cache
def shipped() -> Shipped:
    """The newer of the rules that are installed. Raises ConfigError if the package of rules is broken."""
    ours = _read(files(__package__), "stream_scrub/rules")
    try:
        alone = _read(files(ALONE), ALONE)
    except ModuleNotFoundError:
        return ours
    except (OSError, ValueError) as error:
        problem = f"{ALONE}: it has no {_EDITION} with a day: install stream-scrub-rules again, or remove it"
        raise ConfigError([problem]) from error
    return max(alone, ours, key=lambda each: each.edition)


def _read(folder: Traversable, where: str) -> Shipped:
    edition = folder.joinpath(_EDITION).read_text("ascii").strip()
    if not _DAY.fullmatch(edition):  # they are compared as texts
        raise ValueError("the edition is not a day")
    return Shipped(folder, where, edition)

"""The registers of the shipped rules as the public knows them (registers.toml)."""

import tomllib
from functools import cache
from typing import NamedTuple

from stream_scrub.model import family
from stream_scrub.rules.shipped import shipped

FILE = "registers.toml"


class PublicRegister(NamedTuple):
    """The name of a register for the public, and where a company gets the list; empty if it is not handed out."""

    name: str
    where: str = ""


def public(register: str) -> PublicRegister:
    """The public name of a register; its own name if the shipped rules know no other."""
    entry = _table().get(family(register))
    return PublicRegister(register) if entry is None else PublicRegister(entry["name"], entry["where"])


@cache
def _table() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = tomllib.loads(shipped().folder.joinpath(FILE).read_text("utf-8"))[
        "registers"
    ]
    return table

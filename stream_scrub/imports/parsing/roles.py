"""The roles that a column of a list can have, and the words in such columns (roles.toml).

A title only suggests a role. The operator names the columns, and in these only the words of the closed sets count.
"""

import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Literal

from stream_scrub.imports.parsing.cells import clean, in_orders
from stream_scrub.imports.parsing.csv_table import title

ROLES = ("phone", "country", "consent", "withdrawn", "given", "from", "until", "channel", "proof")
Answer = Literal["yes", "no", "refused", "unclear"]
NOES = ("no", "refused")  # both end a consent; only "no" denies a withdrawal

_APART = re.compile(r"[,;/|+&\s]++")
_CACHED = 10_000  # cells: most columns repeat few of them


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath("roles.toml").read_text("utf-8"))


@cache
def _answers() -> Mapping[str, Answer]:
    answers: dict[str, Answer] = {}
    kinds: tuple[Answer, ...] = ("yes", "no", "refused")
    for words in _table()["answers"].values():
        for kind in kinds:
            answers |= dict.fromkeys(words[kind], kind)
    return answers


@cache
def _channels() -> Mapping[str, str]:
    return {word: channel for channel, words in _table()["channels"].items() for word in words}


@lru_cache(_CACHED)
def answer(cell: str) -> Answer:
    """What a cell of a column of consents says. Only a whole word of the dictionaries is an answer."""
    return _answers().get(_word(cell), "unclear")


@lru_cache(_CACHED)
def channels(cell: str) -> frozenset[str]:
    """The channels that a cell names; "and" among them is ignored. Empty if one of its words is not known."""
    word, known = _word(cell), _channels()
    if word in known:
        return frozenset({known[word]})
    parts = [known.get(part, "") for part in _APART.split(word) if part]
    if "" in parts:
        return frozenset()
    return frozenset(parts) - {"and"}


def suggested_role(name: str, sample: Sequence[str], *, holds_days: bool, holds_numbers: bool) -> str:
    """The role that a column might have; "" for none. `name` is its title as `csv_table.title` makes it, `sample` some filled
    cells."""
    answers = [answer(cell) for cell in sample]
    are_answers = bool(answers) and answers.count("unclear") * 2 < len(answers)
    fits = {
        "consent": are_answers,
        "withdrawn": are_answers or holds_days,
        "given": holds_days,
        "until": holds_days,
        "channel": not holds_days and not holds_numbers,
        "proof": not are_answers and not holds_days and not holds_numbers,
    }
    for role, parts in _table()["roles"].items():
        if fits[role] and any(part in name for part in parts):
            return str(role)
    return "phone" if holds_numbers else ""


def may_refuse(name: str, cells: Sequence[str]) -> bool:
    """Whether a column, by its title and its filled cells, seems to say of somebody that they refuse calls."""
    days = [cell for cell in cells if in_orders(cell) is not None]
    role = suggested_role(title(name), cells, holds_days=len(days) * 2 > len(cells), holds_numbers=False)
    if role == "withdrawn":
        return any(answer(cell) != "no" for cell in cells)
    answers = [answer(cell) for cell in cells]
    return answers.count("unclear") * 2 < len(answers) and any(each in NOES for each in answers)


def _word(cell: str) -> str:
    """A cell without case, accents, quotes and double spaces. Signs stay: `oui ?` is not `oui`."""
    text = unicodedata.normalize("NFKD", clean(cell).casefold())
    return " ".join("".join(sign for sign in text if not unicodedata.combining(sign)).split())

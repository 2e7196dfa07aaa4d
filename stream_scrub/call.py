"""The facts of a call, apart from the number: the fields of `Call`, each declared once.

The members of a prospect, the settings `prospect.*`, the options and columns of commands, the check API and its
description, and the arguments in Python are made from them. To add a fact, add a field here, and its meaning for the
rules to `scrub/facts.py`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any

from stream_scrub.errors import ConfigError

# `purchase`: the person bought, or had a contract that ended; `inquiry`: they asked about an offer, or applied.
RELATIONS = ("purchase", "inquiry")
VOICE = "voice"  # the channel of a call that names none
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def day_in(text: object) -> date | None:
    """The day written as `2026-01-31`; None for anything else."""
    try:
        return date.fromisoformat(text) if isinstance(text, str) and _DAY.fullmatch(text) else None
    except ValueError:
        return None


def relation_in(text: str) -> dict[str, str] | None:
    """The member for a relation written as `purchase:2026-01-31`; None for any other text."""
    kind, _, since = (part.strip() for part in text.partition(":"))
    return {"kind": kind, "since": since} if kind in RELATIONS and day_in(since) else None


@dataclass(frozen=True, slots=True)
class Fact:
    """What every interface needs to know of one fact."""

    name: str
    help: str  # of the option that gives the fact for the whole command
    column: str  # what a column of it holds, for the help of `--<fact>-column`
    wire: Any  # its type in the JSON of the check API
    is_flag: bool  # the option takes no value
    metavar: str | None  # how the option's value is written; None: any text
    how: str  # what to write instead of a text that is not understood
    parse: Callable[[str], Any]  # from a text to the member; None if the text is not understood
    words: frozenset[str]  # a column of such words is probably this fact's, whatever its title

    @property
    def option(self) -> str:
        """The option that gives the fact, as in `--voice-kind`."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def column_option(self) -> str:
        """The option that names the column of the fact, as in `--voice-kind-column`."""
        return f"{self.option}-column"

    def member(self, cell: str) -> Any:
        """The member of a prospect that a cell stands for. A cell that is not understood stays a text."""
        return cell if (parsed := self.parse(cell)) is None else parsed

    def given(self, value: str | bool) -> Any:
        """The member that an option's value stands for. Raises ConfigError."""
        if isinstance(value, bool):
            return value
        if (parsed := self.parse(value)) is None:
            raise ConfigError([f"{self.option}: {value!r} is no {self.name}; {self.how}"])
        return parsed

    @staticmethod
    def text(member: Any) -> str:
        """A member as a cell would write it."""
        if isinstance(member, bool):
            return "true" if member else ""
        if isinstance(member, Mapping):
            return ":".join(str(member[name]) for name in sorted(member))
        return ", ".join(map(str, member)) if isinstance(member, list) else str(member)


def _fact(
    help: str,  # noqa: A002  # typer's word
    column: str,
    wire: Any = str | None,
    *,
    is_flag: bool = False,
    metavar: str | None = None,
    how: str = "",
    parse: Callable[[str], Any] = str,
    words: Sequence[str] = (),
) -> Any:
    about = {"help": help, "column": column, "wire": wire, "is_flag": is_flag, "metavar": metavar}
    more = {"how": how, "parse": parse, "words": frozenset(words)}
    return field(default=False if is_flag else None, metadata=about | more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The call that is planned, as a prospect would describe it. docs/producer.md explains each fact."""

    purpose: str | Sequence[str] | None = _fact(
        "What the call is for, as in insurance.", "purposes", str | list[str] | None
    )
    contract: bool | str | int | Mapping[str, str] = _fact(
        "The person has a contract with you that the call is about.",
        "contracts: true, or an identifier (prospect.contract_shapes)",
        Any,
        is_flag=True,
    )
    campaign: str | int | Sequence[str | int] | None = _fact(
        "The campaign, for scoped registers.", "campaigns", str | int | list[str | int] | None
    )
    channel: str | None = _fact("The channel: voice, or another such as sms.", "channels")
    who: str | None = _fact("Who is called: consumer, or company.", "consumer or company")
    relation: Mapping[str, str | date] | str | None = _fact(
        "A relation with the caller, as in purchase:2026-01-31.",
        "relations, as in purchase:2026-01-31",
        Any,
        metavar="KIND:DATE",
        how=f"write {' or '.join(RELATIONS)} and its day, as in purchase:2026-01-31",
        parse=relation_in,
    )
    voice_kind: str | None = _fact(
        "Who speaks: live, or artificial.", "live or artificial", words=("artificial", "live")
    )
    residence: str | None = _fact(
        "Region, or American state (US-CT), where the person lives, if not the number's.",
        "regions that people live in",
    )

    def __post_init__(self) -> None:
        if self.relation is None:
            return
        relation: Any = self.relation
        if isinstance(relation, Mapping):
            relation = f"{relation.get('kind')}:{relation.get('since')}"
        member = relation_in(relation) if isinstance(relation, str) else None
        if member is None:
            known = " or ".join(RELATIONS)
            raise ValueError(f'relation: write {known} and its day, as in "purchase:2026-01-31"')
        object.__setattr__(self, "relation", member)  # one form, so that library and client send the same

    @classmethod
    def of_options(cls, options: Mapping[str, Any]) -> "Call":
        """The call that a command's options describe, by the names of facts. Raises ConfigError."""
        return cls(**{name: fact.given(options[name]) for name, fact in FACTS.items() if options[name]})

    def members(self) -> dict[str, Any]:
        """The facts that are given, as members of a prospect."""
        given = {name: getattr(self, name) for name in FACTS}
        return {
            name: _as_json(value)
            for name, value in given.items()
            if not (value is None or value is False or value == "")
        }


def need_call(call: object) -> None:
    """Raises ValueError for an argument that is no Call."""
    if not isinstance(call, Call):
        raise ValueError('call: give a Call, as in Call(purpose="insurance")')  # noqa: TRY004 - as for every wrong argument


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def facts_in(call: type[Call]) -> dict[str, Fact]:
    """The facts that a class of calls declares, by name, in the order in which `scrub.facts.facts_of` takes them."""
    return {each.name: Fact(each.name, **each.metadata) for each in fields(call)}


FACTS = facts_in(Call)

"""Which topics prospects come from, and where those of each come out. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

INPUT = "{input}"  # in an output's name: the name of the topic that its prospects came from
PATTERN = "^"  # an input's name that begins so is a pattern of names
_BROKERS_OWN = "__"
_NAME = "[A-Za-z0-9._-]+"


class Route(NamedTuple):
    """One input topic and its two outputs."""

    input: str
    allowed: str
    blocked: str

    @property
    def outputs(self) -> tuple[str, str]:
        """The blocked topic and the allowed one, to be chosen from by the verdict."""
        return self.blocked, self.allowed


def blocked_of(routes: Iterable[Route]) -> list[str]:
    """The topics that blocked prospects come out on, each once."""
    return list(dict.fromkeys(each.blocked for each in routes))


def outputs_of(routes: Sequence[Route]) -> list[str]:
    """Every output, each once, those of blocked prospects first."""
    return list(dict.fromkeys([*blocked_of(routes), *(each.allowed for each in routes)]))


class Inputs:
    """What was configured. `others` are topics that are never read as prospects, whatever a pattern says."""

    def __init__(self, names: Sequence[str], allowed: str, blocked: str, others: Iterable[str]) -> None:
        self.names = tuple(names)
        self.pattern = re.compile(names[0]) if names[0].startswith(PATTERN) else None
        self._allowed, self._blocked = allowed, blocked
        self._others = frozenset(others)
        self._forms = [
            re.compile(re.escape(each).replace(re.escape(INPUT), _NAME)) for each in (allowed, blocked)
        ]

    @property
    def several(self) -> bool:
        """Whether prospects may come from more than one topic."""
        return len(self.names) > 1 or self.pattern is not None

    @property
    def shared(self) -> bool:
        """Whether prospects of several topics come out on one: then each says where it is from."""
        return self.several and not (INPUT in self._allowed and INPUT in self._blocked)

    def route(self, name: str) -> Route:
        """Of the prospects of one input topic."""
        return Route(name, self._allowed.replace(INPUT, name), self._blocked.replace(INPUT, name))

    def among(self, topics: Iterable[str]) -> list[Route]:
        """The input topics, given those that are there: all that were named, or those that the pattern matches. No output
        of another one is an input, else prospects would go round."""
        if self.pattern is None:
            return [self.route(name) for name in self.names]
        found = {name for name in topics if self._matches(name)}
        return [self.route(name) for name in sorted(found)]

    def _matches(self, name: str) -> bool:
        assert self.pattern is not None, "there is a pattern"
        if name in self._others or name.startswith(_BROKERS_OWN) or self.verdict_of(name):
            return False
        return self.pattern.match(name) is not None

    def verdict_of(self, topic: str) -> str:
        """`allowed` or `blocked` for the name of an output, empty for any other."""
        for verdict, form in zip(("allowed", "blocked"), self._forms, strict=True):
            if form.fullmatch(topic):
                return verdict
        return ""

    def __str__(self) -> str:
        return ", ".join(self.names)

"""The names of the topics, as they are set."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, model_validator

from stream_scrub.config.inputs import INPUT, PATTERN, Inputs
from stream_scrub.config.section import Section, contradiction


def _topic(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value) or value in {".", ".."}:
        raise ValueError(
            "should be a Kafka topic name: 1 to 249 letters, digits, dots, underscores and hyphens"
        )
    return value


def _listed(value: object) -> object:
    """Names with commas between are a list; a pattern may hold commas."""
    if isinstance(value, str) and "," in value and not value.startswith(PATTERN):
        return tuple(part.strip() for part in value.split(","))
    return tuple(value) if isinstance(value, list) else value


def _input_names(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not names or len(set(names)) < len(names):
        raise ValueError("should name at least one topic, and each once")
    for name in names:
        if not name.startswith(PATTERN):
            _topic(name)
        elif len(names) > 1:
            raise ValueError("should be one pattern, or topics by their names")
        else:
            _pattern(name)
    return value


def _pattern(text: str) -> None:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"should be a regular expression: {error}") from None


def _output(value: str) -> str:
    _topic(value.replace(INPUT, "x", 1))
    return value


Topic = Annotated[str, AfterValidator(_topic)]
Output = Annotated[str, AfterValidator(_output)]


class Topics(Section):
    """The names of the topics; no two are the same. Prospects may come from several."""

    prospects: Annotated[str | tuple[str, ...], BeforeValidator(_listed), AfterValidator(_input_names)] = (
        "prospects"
    )
    allowed: Output = "prospects.allowed"
    blocked: Output = "prospects.blocked"
    recalled: Topic = "prospects.recalled"
    shadow: Topic = "prospects.shadow"
    log: Topic = "opposition.log"
    requests: Topic = "opposition.requests"
    lifts: Topic = "opposition.lifts"
    refused: Topic = "opposition.refused"

    @property
    def inputs(self) -> Inputs:
        """The input topics, and the outputs of each."""
        names = (self.prospects,) if isinstance(self.prospects, str) else self.prospects
        return Inputs(names, self.allowed, self.blocked, self.singles.values())

    @property
    def singles(self) -> dict[str, str]:
        """By their roles, the topics of which there is one each, however many inputs there are."""
        return self.model_dump(exclude={"prospects", "allowed", "blocked"})

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        inputs = self.inputs
        named = [(key, name) for key, name in self.model_dump(exclude={"prospects"}).items()]
        routes = inputs.among(()) or [inputs.route("any")]
        named = [(key, name) for key, name in named if INPUT not in name]
        named += [("prospects", each.input) for each in routes]
        for key in ("allowed", "blocked"):
            if INPUT in getattr(self, key):
                named += [(key, getattr(each, key)) for each in routes]
        keys: dict[str, list[str]] = {}
        for key, name in named:
            keys.setdefault(name, []).append(key)
        for same in keys.values():
            if len(same) > 1:
                raise contradiction(same, "should be different topics")
        return self

    @model_validator(mode="after")
    def _pattern_has_outputs_of_each(self) -> Self:
        shared = [key for key in ("allowed", "blocked") if INPUT not in getattr(self, key)]
        if self.inputs.pattern is not None and shared:
            raise contradiction(
                ["prospects", *shared],
                f"should fit: a pattern needs outputs of each topic, with {INPUT} in their names",
            )
        return self

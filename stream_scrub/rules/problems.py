"""The problems of one rule file, and the readers that find them. A part of `check`, and as pure."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from stream_scrub.toml_lines import TomlLines

_DAYS_MAX = 3660  # ten years: longer than any proof is kept, and far from the end of the calendar
_NAMES_SHOWN = 12  # nobody reads a sentence that lists more


class ProblemSheet:
    """Collects what is wrong with a file, so that all problems are shown at once."""

    def __init__(self, where: str, text: str) -> None:
        self.where = where
        self._lines = TomlLines(text)
        self._found: list[tuple[int, str]] = []

    def wrong(self, rule: int | None, key: str, sentence: str) -> None:
        """Note a problem of `key` in the rule of that index (None: outside the rules)."""
        self._found.append((self._lines.of(*(() if rule is None else ("rule", rule)), key), sentence))

    def line(self, key: str) -> int:
        """The line of a key outside the rules."""
        return self._lines.of(key)

    def problems(self) -> list[str]:
        """Everything noted, in the order of the file."""
        return [f"{self.where}:{line}: {sentence}" for line, sentence in sorted(self._found)]

    def unknown(self, rule: int | None, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        """Note the keys that are unknown here: a misspelt `deny` must not let everything pass."""
        for key in table:
            if key not in known:
                self.wrong(rule, key, f'unknown key "{key}"{nearest(key, known)}')

    def text(self, rule: int | None, table: Mapping[str, Any], key: str, example: str) -> str:
        """A text that must be there; empty when it is not."""
        value = table.get(key)
        if isinstance(value, str) and value.strip():
            return value
        if value is None:
            self.wrong(rule, key, f"`{key}` is missing: add it, as in {key} = {example}")
        else:
            self.wrong(rule, key, f"`{key}` must be a text that is not empty, as in {key} = {example}")
        return ""

    def names(
        self, rule: int | None, table: Mapping[str, Any], key: str, problem: Callable[[str], str | None]
    ) -> tuple[str, ...]:
        """A list of distinct texts, empty when the key is absent. `problem` gives what is wrong with one text, or
        None."""
        return self.names_in(rule, key, key, table.get(key, []), problem)

    def names_in(
        self, rule: int | None, key: str, label: str, value: object, problem: Callable[[str], str | None]
    ) -> tuple[str, ...]:
        """As `names`, for a value inside the table `key`. Sentences call it `label`."""
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self.wrong(rule, key, f'`{label}` must be a list of texts, as in {label} = ["...", "..."]')
            return ()
        distinct = dict.fromkeys(value)
        for each in distinct:
            if (sentence := problem(each)) is not None:
                self.wrong(rule, key, f"`{label}`: {sentence}")
        if len(distinct) < len(value):
            self.wrong(rule, key, f"`{label}` names something twice: keep one of each")
        return tuple(distinct)

    def days(self, rule: int, key: str, label: str, value: object) -> int | None:
        """A number of days."""
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _DAYS_MAX:
            return value
        self.wrong(
            rule, key, f"`{label}` must be a whole number of days from 1 to {_DAYS_MAX}, as in {label} = 30"
        )
        return None


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: (a) the name that was probably meant, else (b) all known ones if
    they are few, else (c) nothing."""
    known = sorted(set(known))
    if close := get_close_matches(name, known, n=1):
        return f': did you mean "{close[0]}"?'
    return f": use one of {', '.join(known)}" if 0 < len(known) <= _NAMES_SHOWN else ""

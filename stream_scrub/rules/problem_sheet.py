"""The problems in a rule file, collected with their lines (`ProblemSheet`). Pure."""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from difflib import get_close_matches
from typing import Any

from stream_scrub.toml_lines import TomlLines

_DAYS_MAX = 3660  # ten years: longer than any proof is kept, and far from the end of the calendar
_NAMES_SHOWN = 12  # a sentence that lists more is not read


class ProblemSheet:
    """One table of a rule file, and the problems of the whole file, collected so that all are shown at once."""

    def __init__(self, where: str, text: str, table: Mapping[str, Any]) -> None:
        self.where = where
        self.table = table
        self._rule: tuple[str | int, ...] = ()
        self._text = text
        self._problems: list[tuple[tuple[str | int, ...], str]] = []

    def of_rule(self, at: int, table: Mapping[str, Any]) -> "ProblemSheet":
        """The same for the rule of that index."""
        sheet = copy(self)
        sheet.table, sheet._rule = table, ("rule", at)  # noqa: SLF001  # its own
        return sheet

    def wrong(self, key: str, sentence: str) -> None:
        """Note a problem of `key`."""
        self._problems.append(((*self._rule, key), sentence))

    def problems(self) -> list[str]:
        """Everything noted, in the order of the file."""
        if not self._problems:
            return []  # as nearly always: looking for the lines takes a fifth of reading a file
        lines = TomlLines(self._text)
        numbered = sorted((lines.of(*path), sentence) for path, sentence in self._problems)
        return [f"{self.where}:{line}: {sentence}" for line, sentence in numbered]

    def unknown(self, known: tuple[str, ...]) -> None:
        """Note unknown keys: a misspelt `deny` must not allow every call."""
        for key in self.table:
            if key not in known:
                self.wrong(key, f'unknown key "{key}"{nearest(key, known)}')

    def text(self, key: str, example: str) -> str:
        """A required text; empty if it is missing."""
        value = self.table.get(key)
        if isinstance(value, str) and value.strip():
            return value
        problem = "is missing: add it" if value is None else "must be a text that is not empty"
        self.wrong(key, f"`{key}` {problem}, as in {key} = {example}")
        return ""

    def names(self, key: str, problem: Callable[[str], str | None]) -> tuple[str, ...]:
        """A list of distinct texts, empty if the key is absent. `problem` returns a text's fault, or None."""
        return self.names_in(key, key, self.table.get(key, []), problem)

    def names_in(
        self, key: str, label: str, value: object, problem: Callable[[str], str | None]
    ) -> tuple[str, ...]:
        """As `names`, for a value inside the table `key`. Sentences call it `label`."""
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self.wrong(key, f'`{label}` must be a list of texts, as in {label} = ["...", "..."]')
            return ()
        distinct = dict.fromkeys(value)
        for each in distinct:
            if (sentence := problem(each)) is not None:
                self.wrong(key, f"`{label}`: {sentence}")
        if len(distinct) < len(value):
            self.wrong(key, f"`{label}` names something twice: keep one of each")
        return tuple(distinct)

    def days(self, key: str, label: str, value: object) -> int | None:
        """A number of days."""
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _DAYS_MAX:
            return value
        how = f"must be a whole number of days from 1 to {_DAYS_MAX}"
        self.wrong(key, f"`{label}` {how}, as in {label} = 30")
        return None


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: (a) the closest known name, else (b) all known names if they are
    few, else (c) nothing."""
    known = sorted(set(known))
    if close := get_close_matches(name, known, n=1):
        return f': did you mean "{close[0]}"?'
    return f": use one of {', '.join(known)}" if 0 < len(known) <= _NAMES_SHOWN else ""

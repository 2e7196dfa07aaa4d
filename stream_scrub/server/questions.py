"""The questions of people that the API answers beside verdicts. The console has the same ones; who assembles the
server hands them in, since rooms of one floor do not import each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.index import Index
from stream_scrub.rules import Country, Rulebook


@dataclass(frozen=True, slots=True)
class Questions:
    """`registers` answers for an index: its position, every register, and those that cannot be used. `rule` answers for a
    country and a day, `history` for a number as somebody typed it and its region: that reads the whole log. `import_list` imports a list, or sees what that would do: from its file, what was said of it, and
    whether it is a dry run. Each answer is a value that msgspec encodes. Functions of modules only: they go to other
    processes by their names."""

    registers: Callable[[Index, Rulebook, datetime], Any]
    rule: Callable[[Country, date], Any]
    history: Callable[[Settings, FilteringBoundLogger, str, str], Any]
    import_list: Callable[[Settings, FilteringBoundLogger, str, Mapping[str, str], bool], dict[str, Any]]

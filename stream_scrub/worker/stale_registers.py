"""What is told of prospects that are blocked for a register that cannot be used: at the first one, and once a minute.

One thread.
"""

import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from structlog.typing import FilteringBoundLogger

from stream_scrub.index import Index
from stream_scrub.observability.counters import Counters
from stream_scrub.observability.metric_catalogue import register_label
from stream_scrub.observability.unusable_registers import unusable
from stream_scrub.rules import Rulebook

_TELL_EVERY_S = 60.0
_OVER_S = 120.0  # without such a prospect
_DO = "import a fresh list of it, or see that its publisher runs; what was blocked is not judged again by itself"


class StaleRegisters:
    """Of one worker. `counters.stale_now` names the registers that prospects were blocked for of late."""

    def __init__(self, counters: Counters, log: FilteringBoundLogger) -> None:
        self._counters = counters
        self._log = log
        self._untold: Counter[str] = Counter()
        self._told_at: dict[str, float] = {}
        self._blocked_at: dict[str, float] = {}

    def tell_unusable(self, rulebook: Rulebook, index: Index) -> None:
        """At the start: a line on the registers that rules of today need and that cannot be used."""
        if found := unusable(rulebook, index, datetime.now(UTC)):
            self._log.info(
                "registers that rules of today need cannot be used",
                registers={each.register: f"{', '.join(each.countries)}: {each.why}" for each in found},
            )

    def blocked(self, stale: Mapping[str, int]) -> None:
        """So many prospects came out blocked, by register."""
        if not stale:
            return
        now = time.monotonic()
        for name, count in stale.items():
            label = register_label(name)
            self._untold[label] += count
            self._blocked_at[label] = now
        self._tell(now)
        self._name_them()

    def look(self) -> None:
        """To be called about once a second: counts are told also when nothing comes any more."""
        now = time.monotonic()
        self._tell(now)
        for label in [each for each, at in self._blocked_at.items() if now - at >= _OVER_S]:
            del self._blocked_at[label], self._told_at[label]
            self._log.info("no prospect is blocked for a register any more", register=label)
            self._name_them()

    def _tell(self, now: float) -> None:
        for label, count in list(self._untold.items()):
            if now - self._told_at.get(label, float("-inf")) >= _TELL_EVERY_S:
                self._told_at[label] = now
                del self._untold[label]
                self._log.warning(
                    "prospects are blocked for a register that cannot be used",
                    register=label,
                    prospects=count,
                    do=_DO,
                )

    def _name_them(self) -> None:
        self._counters.stale_now = tuple(sorted(self._blocked_at))

"""Logs prospects that are blocked because a register cannot be used: at the first one, then once a minute. One thread."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from stream_scrub.clock import Throttle
from stream_scrub.index import Index
from stream_scrub.model import Logger
from stream_scrub.ops.loop_state import WorkerState
from stream_scrub.ops.metric_catalogue import register_label
from stream_scrub.rules import Rulebook
from stream_scrub.scrub.plans import unusable

_LOG_EVERY_S = 60.0
_OVER_S = 120.0  # without such a prospect
_DO = (
    "import a fresh list of it, or check its publisher; blocked prospects are not judged again by themselves"
)


class StaleRegisters:
    """The stale registers of one worker. Keeps `state.stale_now`."""

    def __init__(self, state: WorkerState, log: Logger) -> None:
        self._state = state
        self._log = log
        self._unlogged: Counter[str] = Counter()
        self._lines: dict[str, Throttle] = {}  # by register
        self._quiet: dict[str, Throttle] = {}  # by register: due when no prospect was blocked for a while

    def log_unusable(self, rulebook: Rulebook, index: Index) -> None:
        """At the start: a line with the registers that rules of today need and that cannot be used."""
        if found := unusable(rulebook, index, datetime.now(UTC)):
            self._log.info(
                "registers of today's rules cannot be used",
                registers={each.register: f"{', '.join(each.countries)}: {each.why}" for each in found},
            )

    def blocked(self, stale: Mapping[str, int]) -> None:
        """Count prospects that were emitted as blocked, by register."""
        if not stale:
            return
        for name, count in stale.items():
            label = register_label(name)
            self._unlogged[label] += count
            self._lines.setdefault(label, Throttle(_LOG_EVERY_S))
            self._quiet.setdefault(label, Throttle(_OVER_S)).restart()
        self._write()
        self._state.stale_now = tuple(sorted(self._quiet))

    def look(self) -> None:
        """Call it about once a second: counts are logged also when no more prospects come."""
        self._write()
        for label in [label for label, quiet in self._quiet.items() if quiet.is_due()]:
            del self._quiet[label], self._lines[label]
            self._log.info("no more prospects blocked for a register", register=label)
            self._state.stale_now = tuple(sorted(self._quiet))

    def _write(self) -> None:
        for label in [label for label in self._unlogged if self._lines[label].is_due()]:
            self._log.warning(
                "prospects blocked for an unusable register",
                register=label,
                prospects=self._unlogged.pop(label),
                do=_DO,
            )

"""The arithmetic of the latency bench: when a record was due, how late it came, and how that is spread.

The load is open-loop: record i is due at `t0 + i / rate` whatever became of the ones before it, and its latency counts
from then, not from when the producer came round to it. A pause of anyone, the producer itself included, thus weighs on
every record that fell into it (no "coordinated omission"). No clock in here: times are CLOCK_MONOTONIC nanoseconds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.harness.failure import Wrong

Times = NDArray[np.int64]

_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Schedule:
    """When each record is due. What is due in the first `warm_s` and the last `cool_s` seconds is not measured."""

    t0_ns: int
    rate: int
    warm_s: float
    measured_s: float
    cool_s: float = 1.0

    @property
    def count(self) -> int:
        """Records in all."""
        return round(self.rate * (self.warm_s + self.measured_s + self.cool_s))

    def due_ns(self, ids: Times) -> Times:
        """When these are due."""
        return self.t0_ns + ids * _SECOND // self.rate

    def due_by(self, now_ns: int) -> int:
        """How many are due by now, the first one at `t0_ns`."""
        if now_ns < self.t0_ns:
            return 0
        # The largest i with t0 + i*second//rate <= now, plus one; exact, so that it agrees with `due_ns`.
        return min(self.count, ((now_ns - self.t0_ns + 1) * self.rate - 1) // _SECOND + 1)

    @property
    def window(self) -> tuple[int, int]:
        """The measured part: due from the first to before the second."""
        begin = self.t0_ns + int(self.warm_s * _SECOND)
        return begin, begin + int(self.measured_s * _SECOND)


@dataclass(frozen=True)
class Received:
    """What the consumer saw, in its order: the record's number, when it had it, and whether as blocked."""

    ids: Times
    at_ns: Times
    blocked: NDArray[np.bool_]

    def check(self, count: int, blocked: NDArray[np.bool_] | None, unsure: NDArray[np.bool_]) -> None:
        """Every record exactly once, and with its verdict: `blocked` by record, None where there are no verdicts;
        a record in `unsure` may have either. Raises Wrong."""
        times = np.bincount(self.ids, minlength=count)
        missing, doubled = int((times == 0).sum()), int((times > 1).sum())
        if missing or doubled or len(times) > count:
            raise Wrong(f"of {count} records {missing} are missing and {doubled} doubled")
        if blocked is not None:
            wrong = int(((blocked[self.ids] != self.blocked) & ~unsure[self.ids]).sum())
            if wrong:
                raise Wrong(f"{wrong} of {count} records have the wrong verdict")

    def latencies_ms(self, schedule: Schedule, begin_ns: int, end_ns: int) -> NDArray[np.float64]:
        """Of the records that were due in that time."""
        due = schedule.due_ns(self.ids)
        within = (due >= begin_ns) & (due < end_ns)
        return (self.at_ns[within] - due[within]) / 1e6

"""What a worker counts, in one place: whatever shows figures reads them here, and nothing else counts."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from stream_scrub.model import Reason, Verdict


@dataclass(slots=True)
class Counters:
    """Totals since the start of one worker. Written by its loop and its follower, read by anyone.

    Durations are in seconds. `aborts` is by class of error; `holds` by cause, in seconds spent. `swap_stall_s_max` is the
    longest that a swap kept other threads from running.
    """

    prospects: Counter[Reason] = field(default_factory=Counter)
    batches: int = 0
    batch_s: float = 0.0
    commit_s: float = 0.0
    commits: int = 0
    aborts: Counter[str] = field(default_factory=Counter)
    sessions: int = 0
    rebalances: Counter[str] = field(default_factory=Counter)
    assigned: int = 0
    held_s: Counter[str] = field(default_factory=Counter)
    holding: str = ""
    swaps: int = 0
    swap_s_max: float = 0.0
    swap_stall_s_max: float = 0.0
    position: int = -1
    heartbeat: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def emitted(self, tally: Counter[Reason], batch_s: float, commit_s: float) -> None:
        """One committed batch."""
        self.prospects.update(tally)
        self.batches += 1
        self.commits += 1
        self.batch_s += batch_s
        self.commit_s += commit_s

    def swapped(self, position: int, seconds: float, stall_s: float) -> None:
        """One new index, applied in so many seconds, and how long at a time it kept others from running. Called from
        the follower's thread."""
        with self.lock:
            self.swaps += 1
            self.swap_s_max = max(self.swap_s_max, seconds)
            self.swap_stall_s_max = max(self.swap_stall_s_max, stall_s)
            self.position = position

    @property
    def total(self) -> int:
        """Prospects emitted."""
        return sum(self.prospects.values())

    def of(self, verdict: Verdict) -> int:
        """Prospects emitted with that verdict."""
        return sum(count for reason, count in self.prospects.items() if reason.verdict is verdict)

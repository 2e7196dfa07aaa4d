"""How many records the next batch may have: halved when a batch takes too long, grown again while batches succeed.
Pure.

Additive increase, multiplicative decrease, as TCP uses a link of unknown width (RFC 5681). A batch that is too large
for a slow link, or for a producer's quota, would miss its deadline on every retry.
"""

from dataclasses import dataclass

# A batch may take ten seconds (`worker/loop.py`). One that took half of that has too many records for this link; one
# that took less than a quarter leaves room for more.
SLOW_S = 5.0
QUICK_S = 2.5
_STEPS = 20  # from nothing to a full batch


class BatchSize:
    """`records` is how many the next batch may have, at most those that are configured."""

    def __init__(self, records_max: int) -> None:
        self._max = records_max
        self.records = records_max

    def failed(self, records: int) -> None:
        """A batch with this many records was not committed in time."""
        self.records = max(1, min(self.records, records) // 2)

    def committed(self, records: int, took_s: float) -> None:
        """A batch with this many records was committed. `took_s` is the time from sending its first record to its
        commit."""
        if took_s > SLOW_S:
            self.failed(records)
        elif took_s < QUICK_S and self.records < self._max:
            self.records = min(self._max, self.records + max(1, self._max // _STEPS))


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much and how long a batch may be, and how old an index."""

    batch_records: int = 10_000
    batch_bytes: int = 8 << 20
    batch_s: float = 0.05
    index_lag_max_s: float = 30.0

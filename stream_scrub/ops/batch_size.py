"""How many records one transaction may have, by what became of the ones before it."""

# A batch may take ten seconds to be written and committed. One that took half of that has too many records for this link; one that
# took less than a quarter may have twice as many.
SLOW_S = 5.0
QUICK_S = 2.5


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
        elif took_s < QUICK_S:
            self.records = min(self._max, max(self.records, 2 * records))

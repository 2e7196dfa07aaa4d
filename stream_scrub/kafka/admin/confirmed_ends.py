"""The ends of partitions that more than one broker confirms: for a member's lag, and for who must read all that is there.

A broker that was deposed and does not know it gives old ends and no new records, so the lag of its partitions would be 0
for as long as that lasts. No verdict rests on these ends (`Witnesses.confirmed_ends` is weaker than a quorum): they decide
whether a recall or a renewal of an earlier process is seen.
"""

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import IsolationLevel

from stream_scrub import clock
from stream_scrub.clock import Throttle
from stream_scrub.errors import Unavailable
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.model import Deadline, PartitionKey

_EVERY_S = 5.0
_ASK_S = 4.0
_AGAIN_S = 0.2


class ConfirmedEnd(NamedTuple):
    """The last confirmed end of a partition."""

    at: float  # by `clock.elapsed`: when it was asked for, or else when the partition came
    offset: int = -1  # before its first open transaction; -1 before the first answer


class ConfirmedEnds:
    """The loop says which partitions it has, and reads what is known of them; another thread asks the brokers.

    A partition ends before its first open transaction; `written`: at the end of what is written.
    """

    def __init__(self, witnesses: Witnesses, *, written: bool = False) -> None:
        self._witnesses = witnesses
        self._isolation = IsolationLevel.READ_COMMITTED
        if written:
            self._isolation = IsolationLevel.READ_UNCOMMITTED
        self._due = Throttle(_EVERY_S)
        self._thread: threading.Thread | None = None
        self._answers: Mapping[PartitionKey, ConfirmedEnd] = {}
        self.known: dict[PartitionKey, ConfirmedEnd] = {}
        """The last confirmed end of each partition."""

    def look(self, partitions: Collection[PartitionKey]) -> None:
        """Take over what the brokers have answered about these, and ask them again now and then. Returns at once."""
        new, answers = ConfirmedEnd(clock.elapsed()), self._answers
        before = {key: self.known.get(key, new) for key in partitions}
        self.known = {key: max(end, answers.get(key, end)) for key, end in before.items()}
        is_asking = self._thread is not None and self._thread.is_alive()
        if partitions and not is_asking and self._due.is_due():
            self._thread = threading.Thread(
                target=self._ask, args=(sorted(partitions),), name="ends", daemon=True
            )
            self._thread.start()

    def now(self, partitions: Collection[PartitionKey], deadline: Deadline) -> dict[PartitionKey, int]:
        """The ends of these, as they are now. Raises Unavailable."""
        asked_at = clock.elapsed()
        while True:
            self._ask(sorted(partitions))
            ends = {key: end.offset for key, end in self._answers.items() if end.at >= asked_at}
            if missing := sorted(set(partitions) - ends.keys()):
                if deadline.passed:
                    topic, partition = missing[0]
                    raise Unavailable(
                        f"asking for the end of {topic}/{partition}: no second broker confirms who leads it"
                    )
                time.sleep(_AGAIN_S)
                continue
            return {key: ends[key] for key in partitions}

    def _ask(self, partitions: Sequence[PartitionKey]) -> None:
        at = clock.elapsed()
        ends = self._witnesses.confirmed_ends(partitions, self._isolation, Deadline.after(_ASK_S))
        self._answers = {key: ConfirmedEnd(at, end) for key, end in ends.items()}

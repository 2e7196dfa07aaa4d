"""The publisher's half of `call.attempts`, in memory: which numbers rest by the records that it read."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from stream_scrub.requests.rested_numbers import RestedNumbers
from stream_scrub.rules import Rulebook

BOOK = Rulebook.load()


class PolledAttempts(SimpleNamespace):
    """Polled records: each with the moment that Kafka keeps, in milliseconds."""

    def __init__(self, records: Sequence[tuple[int, bytes]]) -> None:
        messages = [
            SimpleNamespace(
                timestamp=lambda at_ms=at_ms: (1, at_ms),
                topic=lambda: "call.attempts",
                partition=lambda: 0,
                offset=lambda offset=offset: offset,
            )
            for offset, (at_ms, _) in enumerate(records)
        ]
        super().__init__(messages=messages, values=[value for _, value in records])

    def __len__(self) -> int:
        return len(self.values)


class Resting:
    """Reads records as the publisher does. `attempted` hears what each step took."""

    def __init__(
        self,
        professionals: Mapping[str, str],
        *,
        attempts_max: int = 1000,
        attempted: Callable[..., None] = lambda *_: None,
    ) -> None:
        settings: Any = SimpleNamespace(
            prospect=SimpleNamespace(default_region="FR", professionals=professionals),
            lists=SimpleNamespace(attempts_max=attempts_max),
            topics=SimpleNamespace(attempts="call.attempts"),
        )
        nobody: Any = None
        state: Any = SimpleNamespace(attempted=attempted)
        self._rested = RestedNumbers(settings, BOOK, nobody, state, nobody, nobody)

    def take(self, records: Sequence[tuple[int, bytes]], now: datetime) -> int:
        """Read records, each with its moment in milliseconds. Returns how many were taken in one step."""
        return self._rested._take(PolledAttempts(records), now)  # type: ignore[arg-type]

    def newly_resting(self) -> dict[str, dict[int, int]]:
        """The numbers with their ends that join registers since the last call, by register."""
        found = {name: dict(ends) for name, ends in self._rested._wanted.items()}
        self._rested._wanted.clear()
        return found

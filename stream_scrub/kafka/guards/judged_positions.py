"""By which position of which log the workers have judged: an index that is behind that, or of another log, is not safe.

A worker notes it with each offset that it commits (`kafka/offsets.py: CommitNote`). A log that was deleted and created again, or the
wrong topic in a setting, shows by it at the first start, also in processes that never saw the other log.
"""

from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import TopicPartition

from stream_scrub import clock
from stream_scrub.config.settings import Inputs
from stream_scrub.errors import StaleIndex
from stream_scrub.kafka.guards.background import BackgroundLook
from stream_scrub.kafka.offsets import CommitNote, earlier_log
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.model import Deadline

_LOOK_EVERY_S = 5.0
_KEPT = 16  # looks: an index that is older than all of them is not used anyway


class _Judged(NamedTuple):
    known_at: float  # by `clock.elapsed`
    position: int  # the highest on this log; -1 if there is none
    other_log: str  # the workers' log if none of them has judged by this one
    is_earlier: bool  # whether some have judged by an earlier log of this name


class JudgedPositions(BackgroundLook):
    """Any thread may call `need`, which never blocks."""

    def __init__(self, witnesses: Witnesses, group: str, inputs: Inputs, log_topic: str) -> None:
        """`group`: the workers'."""
        super().__init__(_LOOK_EVERY_S)
        self._witnesses, self._group = witnesses, group
        self._inputs, self._log_topic = inputs, log_topic
        self._judged: tuple[_Judged, ...] = ()  # the newest last

    @property
    def position(self) -> int:
        """The highest position on this log by which workers have judged, by the last look; -1 if there is none."""
        return self._judged[-1].position if self._judged else -1

    def need(self, position: int, known_at: float) -> None:
        """Check an index that had the whole log at `known_at` (`clock.elapsed`), up to `position`. Raises StaleIndex."""
        if not self._judged:
            raise StaleIndex(
                "log-behind", f"it is not known yet by which position workers have judged: {self._trouble}"
            )
        # An index from before a look may be older than what that look found.
        judged = next((each for each in reversed(self._judged) if each.known_at <= known_at), None)
        if judged is None:
            raise StaleIndex(
                "log-behind", "the opposition log's end was reached before the workers' positions were known"
            )
        if judged.is_earlier:
            raise earlier_log(self._log_topic)
        if judged.other_log:
            raise StaleIndex(
                "log-behind",
                f"the workers judge by the log {judged.other_log}, and this process follows {self._log_topic}: compare their"
                " topics.log. After a log was lost, a worker must have begun on the new one",
            )
        if position < judged.position:
            raise StaleIndex(
                "log-behind",
                f"a worker has judged by position {judged.position}, and {self._log_topic} ends at position {position}: it is not"
                " the log that it was (docs/runbook.md, Restoring a log)",
            )

    def look(self, deadline: Deadline) -> bool:
        """As `BackgroundLook.look`."""
        log_exists = bool(self._witnesses.partitions(self._log_topic, deadline))
        log_id = self._witnesses.id_of(self._log_topic, deadline) if log_exists else ""
        read = [CommitNote.read(each.metadata) for each in self._committed(deadline)]
        notes = [note for note in read if note is not None]
        logs = {note.log_topic for note in notes}
        position = max((note.position for note in notes if note.log_topic == self._log_topic), default=-1)
        other_log = "" if not logs or self._log_topic in logs else min(logs)
        is_earlier = any(note.is_of_earlier(self._log_topic, log_id) for note in notes)
        judged = _Judged(clock.elapsed(), position, other_log, is_earlier)
        self._judged = (*self._judged[-_KEPT:], judged)
        self._trouble = ""
        return True

    def _committed(self, deadline: Deadline) -> Sequence[TopicPartition]:
        """What the workers' group has committed. Raises Unavailable, Refused."""
        names: Sequence[str] = self._inputs.names
        if self._inputs.pattern is not None:
            names = [route.input for route in self._inputs.among(self._witnesses.topics(deadline))]
        partitions = []
        for name in names:
            partitions += [(name, number) for number in self._witnesses.partitions(name, deadline)]
        return self._witnesses.committed(self._group, partitions, "asking for the workers' offsets", deadline)

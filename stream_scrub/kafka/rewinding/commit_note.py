"""What is noted with a committed offset: the log, the position on it by which the records before were judged, and the
id of the topic that the offset belongs to. A topic made anew under the old name has another id. Old notes have no id.
"""

import re
from typing import NamedTuple

_NOTE = re.compile(r"index=(\d+) log=(\S+)(?: topic=(\S+))?")


class CommitNote(NamedTuple):
    """One note. `topic_id` is empty where the brokers tell none."""

    position: int
    log_topic: str
    topic_id: str = ""

    @classmethod
    def read(cls, text: str | None) -> "CommitNote | None":
        """The note in an offset's metadata; None if that is none of ours."""
        found = _NOTE.fullmatch(text or "")
        return None if found is None else cls(int(found[1]), found[2], found[3] or "")

    def __str__(self) -> str:
        return f"index={self.position} log={self.log_topic}" + (
            f" topic={self.topic_id}" if self.topic_id else ""
        )

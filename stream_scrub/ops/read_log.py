"""The index at the log's end, for commands that judge once."""

from typing import TYPE_CHECKING

from stream_scrub.config import Settings
from stream_scrub.errors import StaleIndex
from stream_scrub.index import Index
from stream_scrub.model import Deadline, Logger

if TYPE_CHECKING:
    from stream_scrub.log.replay import Replay
    from stream_scrub.log.scan import StartPoint


def replayed(
    settings: Settings,
    log: Logger,
    *,
    start: "StartPoint" = "latest-full",
    keep_ends: bool = False,
    before: "Replay | None" = None,
) -> "Replay":
    """The log replayed to its end, for commands that look once. `before`: an earlier replay to continue. `keep_ends` is as
    for `Replay`. Raises Corrupt, Unavailable, Refused."""
    from stream_scrub.kafka import clients
    from stream_scrub.log.scan import begin, replay_to_end

    with clients.reading(settings, log) as reader:
        deadline = Deadline.after(clients.ASK_S)
        if before is not None and (taken := before.known("").upto) >= 0:
            replay = before
            reader.seek(taken + 1)
        else:
            replay = begin(reader, deadline, start=start, keep_ends=keep_ends)
        replay_to_end(reader, deadline, replay=replay)
    return replay


def read_index(settings: Settings, log: Logger) -> Index:
    """The index at the log's end, for commands that judge once. Raises Corrupt, Unavailable, Refused, and StaleIndex
    if the log was renewed or is not finished."""
    replay = replayed(settings, log)
    if (mark := replay.known("").log.mark) is not None:
        raise mark.stale()
    return replay.index


def used(index: Index) -> Index:
    """The index. Raises StaleIndex if it has no register yet: it knows nothing, so it may allow nothing."""
    if not index.present():
        raise StaleIndex(
            "no-seal",
            "the index holds no register yet: import a list, as in `stream-scrub lists import FILE --register internal`",
        )
    return index

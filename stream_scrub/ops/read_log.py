"""The index at the log's end, for commands that judge once."""

import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stream_scrub import clock
from stream_scrub.config import Settings
from stream_scrub.errors import StaleIndex, Unavailable
from stream_scrub.index import Index
from stream_scrub.model import Deadline, Logger

if TYPE_CHECKING:
    from stream_scrub.log.replay import Replay
    from stream_scrub.log.scan import StartPoint

_REQUESTS_S = 5.0  # a publisher takes a request in much less
_AGAIN_S = 0.25
_CONNECT_S = 0.5


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

    with clients.Brokers(settings, log).reading() as reader:
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
    if the log was renewed or is not finished, if a request waits for the publisher, or if workers have judged by a later
    position or another log."""
    from stream_scrub.kafka import clients

    with closing(clients.Brokers(settings, log)) as brokers:
        guards = brokers.index_guards()
        for guard in guards:
            deadline = Deadline.after(_REQUESTS_S)
            while not guard.look(Deadline.after(clients.ASK_S)) and not deadline.passed:
                time.sleep(_AGAIN_S)
        known_at = clock.elapsed()
        replay = replayed(settings, log)
        if (mark := replay.known("").log.mark) is not None:
            raise mark.stale()
        if replay.index.registers:
            for guard in guards:
                guard.need(replay.index.position, known_at)
        return replay.index


def need_broker(settings: Settings) -> None:
    """Raises Unavailable if no bootstrap server accepts a connection or is known by name: the client would try again for
    its whole timeout, while a person waits."""
    servers = settings.kafka.bootstrap_servers
    for server in servers.split(","):
        address = urlsplit("//" + server.strip().rpartition("://")[2])
        try:
            socket.create_connection((address.hostname, address.port or 9092), timeout=_CONNECT_S).close()
        except (ConnectionRefusedError, socket.gaierror):
            continue
        except OSError:
            return  # it may answer later, as through a slow network
        return
    raise Unavailable(f"no broker accepts a connection at {servers} (kafka.bootstrap_servers)")


def used(index: Index) -> Index:
    """The index. Raises StaleIndex if it has no register yet: it knows nothing, so it may allow nothing."""
    if not index.present():
        raise StaleIndex(
            "no-seal",
            "the index holds no register yet: import a list, as in `stream-scrub lists import FILE --register internal`",
        )
    return index

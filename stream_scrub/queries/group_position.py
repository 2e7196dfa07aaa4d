"""Where the workers' group stands on the prospects: what it committed, and for partitions without, what came out."""

from contextlib import ExitStack
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.kafka.rewinding.commit_note import CommitNote
from stream_scrub.model import PartitionKey
from stream_scrub.queries.emitted_upto import EmittedUpto, emitted_upto
from stream_scrub.wiring import clients, scrubbing


class GroupPosition(NamedTuple):
    """By partition: the committed offset, None where there is none; and for these, what came out."""

    committed: dict[PartitionKey, int | None]
    emitted: dict[PartitionKey, EmittedUpto]


def group_position(settings: Settings, log: FilteringBoundLogger) -> GroupPosition:
    """Look at it. Raises Unavailable, Refused, Corrupt."""
    inputs, members = settings.topics.inputs, scrubbing.terms(settings).members
    with clients.group_offsets(settings, log) as group:
        committed = group.committed(clients.deadline())
    emitted = {}
    for topic, partition in [key for key, offset in committed.items() if offset is None]:
        route = inputs.route(topic)
        with ExitStack() as opened:
            prospects, *outputs = (
                opened.enter_context(clients.reading(settings, log, each, partition)) for each in route
            )
            of = topic if inputs.shared else ""
            emitted[topic, partition] = emitted_upto(prospects, outputs, partition, members, of)
    return GroupPosition(committed, emitted)


def restore(settings: Settings, log: FilteringBoundLogger, found: GroupPosition) -> None:
    """Commit what came out, where that is certain. Raises Unavailable, and Refused while a worker runs."""
    offsets = {key: each.offset for key, each in found.emitted.items() if each.offset is not None}
    if offsets:
        position = max(each.position for each in found.emitted.values())
        with clients.group_offsets(settings, log) as group:
            group.commit(offsets, CommitNote(position, settings.topics.log))

"""Registers from list files alone: the index that a log with just these lists on it would give. No broker is asked.

Each list is read, guarded and planned as an import is, becomes the records of one delta, and a follower's replay takes
them. So an index from files keeps every promise that one from the log keeps.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from stream_scrub.errors import ConfigError
from stream_scrub.index import Index
from stream_scrub.lists.intake.plan_import import ImportOrder, check_lines, plan_of, read
from stream_scrub.lists.log.encode import records_of
from stream_scrub.lists.log.replay import Replay
from stream_scrub.lists.log.wire import DeltaSource
from stream_scrub.lists.parsing.parsed_list import BadList, ParsedList
from stream_scrub.lists.parsing.unpack import digest_of
from stream_scrub.model import LogRecord, RegisterKind


def index_of(orders: Iterable[ImportOrder], now: datetime, kinds: Mapping[str, RegisterKind]) -> Index:
    """The index of these lists, each for a register of its own. `kinds` says of which kind each register without scope
    must be, as far as the rules do. A list that names no moment is of when its file was written.

    Raises ConfigError, BadList, TooMany.
    """
    replay = Replay(keep_ends=True)
    offset = 0
    for order in orders:
        dated, parsed, source = _read(order, now)
        check_lines(dated, parsed)
        plan = plan_of(dated, parsed, replay, now, kinds)
        records, _ = records_of(plan.base, plan.delta, plan.effective_at, source, known=plan.known)
        for key, value, headers in records:
            replay.take(LogRecord(offset, key, value, headers))
            offset += 1
    return replay.index


def _read(order: ImportOrder, now: datetime) -> tuple[ImportOrder, ParsedList, DeltaSource]:
    """The order with its file's moment, the list, and where it came from: the file is opened once."""
    try:
        with order.file.open("rb", buffering=0) as file:
            written = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
            digest = digest_of(file)
            file.seek(0)
            dated = replace(order, written=min(written, now))
            return (
                dated,
                read(dated, now, lambda _what, _done, _of: None, file),
                DeltaSource(order.file.name, digest),
            )
    except FileNotFoundError as error:
        raise ConfigError([f"{order.file}: there is no such file"]) from error
    except OSError as error:
        raise BadList(f"{order.file}: {error.strerror or error}") from error

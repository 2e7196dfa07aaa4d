"""A publisher on the log in memory that works like the daemon: it follows the log, and publishes from what it knows
of it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from pyroaring import BitMap64

from stream_scrub.clock import utc_seconds
from stream_scrub.index import Register, deltas
from stream_scrub.index.deltas import Delta, Ends, StatedEnds, ended, with_ends
from stream_scrub.log import wire
from stream_scrub.log.encode import PublishedDelta, marked, publish, restated
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import begin, replay_to_end
from stream_scrub.log.wire import RENEWED, RENEWING, RULES, DeltaSource, Seal
from stream_scrub.model import Deadline, RegisterKind
from tests.support.fakes.log import Log, Reader, Writer

AT = datetime(2026, 11, 24, tzinfo=UTC)
NOW = int(AT.timestamp())
SOURCE = DeltaSource("list.csv", "ab" * 32)


def bitmap(numbers) -> BitMap64:
    return BitMap64(sorted(numbers))


def stated(ends: Mapping[int, int]) -> StatedEnds:
    """Ends by number (0 for none), in the form that a delta has."""
    return StatedEnds(np.array(list(ends), np.uint64), np.array(list(ends.values()), np.int64))


def seal_of(**fields: Any) -> Seal:
    """A seal of a delta of `list` that changes nothing, but for these fields."""
    plain: dict[str, Any] = {
        "format": wire.FORMAT,
        "register": "list",
        "register_kind": wire.SealKind.DENY,
        "kind": "delta",
        "seq": 1,
        "adds": 0,
        "removes": 0,
        "ends": 0,
        "requests": 0,
        "stated": 0,
        "count": 0,
        "next_end": None,
        "effective_at": utc_seconds(AT),
        "reason": "list",
        "source": SOURCE,
        "parts": [],
        "read": wire.NOTHING_READ,
        "previous": wire.GENESIS,
        "chain": "",
    }
    return Seal(**{**plain, **fields})


def as_dict(ends: Ends) -> dict[int, int]:
    """The end of each number that has one."""
    said = ends.stated()
    return dict(zip(said.numbers.tolist(), said.ends.tolist(), strict=True))


class Publisher:
    """Publishes deltas of registers. `restart` forgets everything that it knew and reads the log again."""

    def __init__(self, log: Log, *, full_every: int = 1000, start="latest-full") -> None:
        self.log = log
        self.writer = Writer(log)
        self.full_every = full_every
        self.published: list[PublishedDelta] = []
        self.restart(start)

    def restart(self, start="latest-full") -> None:
        self._reader = Reader(self.log)
        self.replay = begin(self._reader, Deadline.after(60), start=start, keep_ends=True)
        self.catch_up()

    def catch_up(self) -> Replay:
        replay_to_end(self._reader, Deadline.after(60), replay=self.replay)
        return self.replay

    def base(self, name: str, kind: RegisterKind = RegisterKind.DENY) -> Register:
        return self.replay.index.registers.get(name) or Register.empty(name, kind, AT)

    def put(
        self, name: str, delta: Delta, kind: RegisterKind = RegisterKind.DENY, hours: int = 0
    ) -> PublishedDelta:
        """Publish a delta, and then read what is on the log."""
        made = publish(
            self.writer,
            self.base(name, kind),
            delta,
            AT + timedelta(hours=hours),
            SOURCE,
            known=self.replay.known(name),
            full_every=self.full_every,
        )
        self.catch_up()
        self.published.append(made)
        return made

    def import_list(
        self,
        name: str,
        listed: Mapping[int, int],
        kind: RegisterKind = RegisterKind.DENY,
        *,
        adding: bool = False,
    ) -> PublishedDelta:
        """Publish a full list, or one to add: each number with its end, or 0."""
        numbers = bitmap(listed)
        change = (deltas.adding if adding else deltas.full)(self.base(name, kind).numbers, numbers)
        wanted = stated({number: end for number, end in sorted(listed.items()) if end})
        return self.put(name, with_ends(change, self.replay.known(name).ends, numbers, wanted), kind)

    def remove(self, name: str, numbers) -> PublishedDelta:
        return self.put(name, deltas.removing(self.base(name).numbers, bitmap(numbers)))

    def end(self, name: str, now: int) -> PublishedDelta | None:
        """Publish what has ended by now, if anything has."""
        delta = ended(self.replay.known(name).ends, datetime.fromtimestamp(now, UTC))
        return None if delta.is_empty else self.put(name, delta)

    def request(self, name: str, delta: Delta, lines) -> PublishedDelta:
        return self.put(name, replace(delta, reason="requests", requests=lines))


def followed(
    log: Log, *, start="beginning", keep_ends: bool = False, at_once: int = 1000, digest_of=None
) -> Replay:
    """A replay of the whole log by somebody else."""
    reader = Reader(log, at_once)
    replay = begin(reader, Deadline.after(60), start=start, keep_ends=keep_ends)
    replay.terms.digest_of = digest_of
    replay_to_end(reader, Deadline.after(60), replay=replay)
    return replay


def renewed(old: Replay, began: datetime, ended: datetime) -> Log:
    """A new log that a renewal began with what the old one holds; the marks of its beginning and its end name these moments."""
    log, source = Log(), DeltaSource("the log before", "0" * 64)
    writer = Writer(log)

    def mark(reason: str, at: datetime) -> None:
        there = followed(log, keep_ends=True)
        writer.publish(marked(there.rules, reason, source, at, there.known(RULES)))

    mark(RENEWING, began)
    for name, held in old.index.registers.items():
        there = followed(log, keep_ends=True).known(name)
        writer.publish(restated(held, old.known(name), None, there, source).records)
    mark(RENEWED, ended)
    return log

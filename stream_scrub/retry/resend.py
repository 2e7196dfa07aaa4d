"""From the blocked topic back to the prospects: each exactly once, in order, with its key and partition.

What goes back and how far that is commit in one transaction. After any trouble everything begins anew at what the
broker has committed.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.config.inputs import blocked_of
from stream_scrub.errors import Migrated, Refused, ScrubError, Unavailable, Uncertain, Unwritable
from stream_scrub.kafka.fetched import Fetched
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.kafka.session import Session
from stream_scrub.model import Deadline, PartitionKey
from stream_scrub.retry.cursors import Cursors
from stream_scrub.retry.parcels import Parcel, origin, parcels
from stream_scrub.scrub.decode import Members
from stream_scrub.wiring import clients

ASK_S = 10.0
SILENT_S = 30.0
_FAILURES_MAX = 20  # in a row; with each a new session
BATCH_RECORDS = 1000
_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class RetryOrder:
    """What is to be brought back: these kinds, blocked from `since` on and before `until` (seconds since 1970), and
    retried less often than `max_tries`."""

    kinds: frozenset[str]
    since: float = 0.0
    until: float = float("inf")
    max_tries: int = 5


@dataclass(slots=True)
class Tally:
    """What became of the prospects of the kinds that were asked for, by kind: `sent`, and why others were not."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, kind: str, outcome: str) -> None:
        """Count one."""
        self.counts[kind, outcome] += 1


class Resend:
    """Brings back what an order asks for. `parcels_of` reads records as `parcels.parcels`; `is_to_go` may keep one back
    for good, and says why (empty: it goes)."""

    def __init__(
        self,
        reader: OutputReader,
        session: Session | None,
        parcels_of: Callable[[Fetched], list[Parcel]],
        *,
        is_to_go: Callable[[Parcel], str] = lambda _: "",
        before: Callable[[list[Parcel]], None] = lambda _: None,
        begin: Callable[[int, int], int | None] = lambda _low, _high: None,
    ) -> None:
        """`before` may wait before some go. Without a session nothing is sent: for a look. `begin` chooses where a partition without a committed place
        begins, given its bounds; None says that nobody knows."""
        self._reader = reader
        self._session = session
        self._parcels_of = parcels_of
        self._is_to_go = is_to_go
        self._before = before
        self._begin = begin
        self._lows: dict[PartitionKey, int] = {}
        self._cursors: dict[PartitionKey, Cursors] = {}
        self._ended: set[PartitionKey] = set()
        self._alone = 0
        self._hopeless: set[tuple[PartitionKey, int]] = set()  # refused also alone

    def start(self, order: RetryOrder) -> dict[PartitionKey, int]:
        """Take over from whoever did this before, and read from where it stands. Returns the ends, by partition.
        Raises Unavailable, Refused, Uncertain."""
        deadline = Deadline.after(ASK_S)
        if self._session is not None:
            self._session.open(deadline)
        noted = self._reader.noted(deadline)
        bounds = {p: self._reader.bounds(p, deadline) for p in noted}
        self._lows = {p: low for p, (low, _) in bounds.items()}
        known = {p: Cursors.read(note[1]) for p, note in noted.items() if note is not None}
        ids = self._reader.ids(deadline)
        self._cursors = {}
        anew = []
        for place, cursors in known.items():
            if cursors is None:
                continue
            now = ids.get(place[0], "")
            is_anew = cursors.topic_id and now and cursors.topic_id != now  # nothing was retried of it
            anew += [place] if is_anew else []
            self._cursors[place] = replace(Cursors(bounds[place][0]) if is_anew else cursors, topic_id=now)
        for partition, cursors in self._cursors.items():
            if cursors.furthest > bounds[partition][1]:
                raise Refused(
                    f"partition {_said([partition])} of the blocked prospects ends before what was retried of it: was it made anew?"
                )
        lacking = [p for p in noted if p not in self._cursors]
        if lacking or anew:
            self._begin_partitions(lacking, bounds, ids)
        self.seek(order.kinds)
        return {p: end for p, (_, end) in bounds.items()}

    def _begin_partitions(
        self,
        lacking: list[PartitionKey],
        bounds: Mapping[PartitionKey, tuple[int, int]],
        ids: Mapping[str, str],
    ) -> None:
        """Choose where partitions without a place begin, and commit that before anything goes. So all of a topic have one
        or none has: where others of it have one, these were added since, and begin at their start. Raises Refused."""
        topics = {topic for topic, _ in self._cursors}
        begun = {p: bounds[p][0] if p[0] in topics else self._begin(*bounds[p]) for p in lacking}
        if unknown := sorted(p for p, since in begun.items() if since is None):
            raise Refused(
                f"nobody knows what was retried of the partitions {_said(unknown)} before: say with --since from when on"
                " blocked prospects are to come back"
            )
        self._cursors |= {
            p: Cursors(since, {}, ids.get(p[0], "")) for p, since in begun.items() if since is not None
        }
        if self._session is not None:
            self._send([], RetryOrder(frozenset()), dict.fromkeys(self._cursors, 0))

    def seek(self, kinds: Collection[str]) -> None:
        """Read from where these kinds stand; nothing where there are none."""
        self._ended.clear()
        self._reader.assign(
            {p: max(self._lows[p], each.first(kinds)) for p, each in self._cursors.items()} if kinds else {}
        )

    def keep(self, order: RetryOrder) -> None:
        """Commit where everything stands, so that Kafka does not forget it."""
        self._send([], order, {p: self._reader.read_upto(p) for p in self._cursors})

    def run(self, order: RetryOrder, tally: Tally, beat: Callable[[], bool] = lambda: True) -> None:
        """Bring back everything up to the ends as they are now, or until `beat` says no. Raises Unavailable, Refused when
        it fails again and again."""
        failures = 0
        ends: dict[PartitionKey, int] | None = None
        silent = Deadline.after(SILENT_S)
        while beat():
            try:
                if ends is None:
                    ends, silent = self.start(order), Deadline.after(SILENT_S)
                if all(
                    p in self._ended or self._reader.read_upto(p) >= end
                    for p, end in ends.items()
                    if end > self._low(p, order)
                ):
                    self._pass_to(order, ends)
                    return
                if self._has_moved(order, tally, silent):
                    failures, silent = 0, Deadline.after(SILENT_S)
            except (Migrated, Unavailable, Uncertain) as error:
                failures += 1
                if failures >= _FAILURES_MAX:
                    raise Refused(
                        f"given up after {failures} failures in a row, perhaps another retry runs: {error}"
                    ) from error
                ends = None

    def _has_moved(self, order: RetryOrder, tally: Tally, silent: Deadline) -> bool:
        """One step. A client whose brokers are away says nothing: raises Unavailable once nothing has come for too long."""
        before = self._reader.all_upto
        self.step(order, tally)
        if silent.passed and self._reader.all_upto == before:
            raise Unavailable("the blocked prospects cannot be read: no broker answers now")
        return self._reader.all_upto != before

    def _low(self, partition: PartitionKey, order: RetryOrder) -> int:
        return self._cursors[partition].first(order.kinds)

    def step(self, order: RetryOrder, tally: Tally) -> int:
        """One batch, from poll to commit; returns how many went back. Raises Migrated, Unavailable, Uncertain: begin anew."""
        if self._session is not None and self._session.is_spent:
            self.start(order)  # another life is another owner: what it knew of its places may be old
        fetched = self._reader.poll(1 if self._alone else BATCH_RECORDS, _WAIT_S)
        if not fetched.messages:
            return 0
        self._alone = max(0, self._alone - 1)
        going, outcomes, passed = self._sorted(order, self._parcels_of(fetched))
        if self._session is not None:
            if going:
                self._before(going)
            try:
                self._send(going, order, passed)
            except Unwritable:
                self._refused(going, alone=len(fetched.messages) == 1)
                self.start(order)
                return 0
        for kind, outcome in outcomes:
            tally.add(kind, outcome)
        return len(going)

    def _refused(self, going: list[Parcel], *, alone: bool) -> None:
        """A broker refuses a whole batch for one record in it, so each is tried alone; what is refused then stays."""
        if alone:
            self._hopeless |= {((each.topic, each.partition), each.offset) for each in going}
        else:
            self._alone = BATCH_RECORDS

    def _sorted(
        self, order: RetryOrder, found: list[Parcel]
    ) -> tuple[list[Parcel], list[tuple[str, str]], dict[PartitionKey, int]]:
        """What goes back, what became of each, and up to where each partition was dealt with."""
        going, outcomes, passed = [], [], dict[PartitionKey, int]()
        for parcel in found:
            place = parcel.topic, parcel.partition
            if place in self._ended:
                continue
            if parcel.blocked_at >= order.until:
                self._ended.add(place)
                continue
            passed[place] = parcel.offset + 1
            if parcel.kind not in order.kinds or parcel.offset < self._cursors[place].of(parcel.kind):
                continue
            outcome = self._outcome(order, parcel)
            outcomes.append((parcel.kind, outcome))
            if outcome == "sent":
                going.append(parcel)
        return going, outcomes, passed

    def _outcome(self, order: RetryOrder, parcel: Parcel) -> str:
        if not parcel.is_whole:
            return "lost-bytes"
        if not parcel.goes_to:
            return "no-input"
        if ((parcel.topic, parcel.partition), parcel.offset) in self._hopeless:
            return "refused"
        if parcel.blocked_at < order.since:
            return "too-old"
        if parcel.tries >= order.max_tries:
            return "too-often"
        return self._is_to_go(parcel) or "sent"

    def _send(self, going: list[Parcel], order: RetryOrder, passed: Mapping[PartitionKey, int]) -> None:
        assert self._session is not None, "something is sent"
        count = len(going)
        self._session.emit(
            going,
            [each.partition for each in going],
            [each.headers for each in going],
            [each.goes_to for each in going],
            [each.value for each in going],
            [None] * count,
        )
        notes = {}
        moved = {p: replace(self._cursors[p], offsets=dict(self._cursors[p].offsets)) for p in passed}
        for partition, offset in passed.items():
            moved[partition].passed(order.kinds, offset)
            notes[partition] = (moved[partition].furthest, str(moved[partition]))
        deadline = Deadline.after(ASK_S)
        self._session.commit(
            self._reader.places(notes),
            self._reader.membership,
            deadline,
            lambda: self._reader.need_same(deadline),
        )
        self._cursors |= moved

    def _pass_to(self, order: RetryOrder, ends: Mapping[PartitionKey, int]) -> None:
        """Note that nothing is left before the ends, so that a place stays known."""
        if self._session is not None:
            self._send([], order, {p: end for p, end in ends.items() if p not in self._ended})

    def close(self) -> None:
        """Release the connections."""
        self._reader.close()
        if self._session is not None:
            self._session.close(Deadline.after(5.0))


def _said(partitions: Iterable[PartitionKey]) -> str:
    return ", ".join(f"{topic}/{partition}" for topic, partition in partitions)


def opened(
    settings: Settings,
    log: FilteringBoundLogger,
    members: Members,
    *,
    sends: bool,
    is_to_go: Callable[[Parcel], str],
    begin: Callable[[int, int], int | None],
    before: Callable[[list[Parcel]], None] = lambda _: None,
) -> Resend:
    """A resend of every input whose blocked topic is there; the other arguments are as for `Resend`. Raises Unavailable,
    Refused.
    """
    routes = clients.retry_routes(settings, log)
    origin_of, group = origin(routes), clients.retry_group(settings)
    reader = clients.output_reader(settings, log, blocked_of(routes), group)
    try:
        session = clients.retry_session(settings, log, [each.input for each in routes]) if sends else None
    except ScrubError:
        reader.close()
        raise
    return Resend(
        reader,
        session,
        lambda fetched: parcels(fetched, members, origin_of, int(time.time() * 1000)),
        is_to_go=is_to_go,
        before=before,
        begin=begin,
    )

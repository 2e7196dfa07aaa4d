"""From the blocked topics back to the inputs: each prospect exactly once, in order, with its key and partition.

Prospects and progress commit in one transaction. After any failure everything starts again at the committed place.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Self

from stream_scrub.config.settings import blocked_of
from stream_scrub.errors import Migrated, Refused, ScrubError, Unavailable, Uncertain, Unwritable
from stream_scrub.kafka import clients
from stream_scrub.kafka.client.producer_calls import id_of_retry
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.kafka.session import Session
from stream_scrub.model import Deadline, PartitionKey
from stream_scrub.retry.blocked import BlockedProspect, blocked_prospects, origin
from stream_scrub.scrub.decode import Members

ASK_S = 10.0
SILENT_S = 30.0
_FAILURES_MAX = 20  # in a row; with each a new session
BATCH_RECORDS = 1000
_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """Which prospects to send back: these kinds, blocked from `since` on and before `until` (seconds since 1970), and
    retried less often than `max_tries`."""

    kinds: frozenset[str]
    since: float = 0.0
    until: float = float("inf")
    max_tries: int = 5


# Prospects of the wanted kinds, by kind and outcome: `sent`, or why not.
RetryTally = Counter[tuple[str, str]]


@dataclass(eq=False)
class Resend:
    """Sends back what `RetryOptions` ask for; nothing without a session. `prospects_of` reads records as `blocked_prospects`.

    `is_to_go` may keep a prospect back for good, and says why (empty: it goes). `before` may wait before some go. `begin`
    chooses where a partition without a committed offset starts, given its bounds; None: unknown.
    """

    reader: OutputReader
    session: Session | None
    prospects_of: Callable[[PolledBatch], list[BlockedProspect]]
    _: KW_ONLY
    is_to_go: Callable[[BlockedProspect], str] = lambda _: ""
    before: Callable[[list[BlockedProspect]], None] = lambda _: None
    begin: Callable[[int, int], int | None] = lambda _low, _high: None
    _lows: dict[PartitionKey, int] = field(default_factory=dict, init=False)
    _cursors: "dict[PartitionKey, Cursors]" = field(default_factory=dict, init=False)
    _ended: set[PartitionKey] = field(default_factory=set, init=False)
    _alone: int = field(default=0, init=False)
    _hopeless: set[tuple[PartitionKey, int]] = field(default_factory=set, init=False)  # refused even alone

    def start(self, options: RetryOptions) -> dict[PartitionKey, int]:
        """Take over from an earlier retry, and read from its committed place. Returns the ends, by partition.
        Raises Unavailable, Refused, Uncertain, Migrated."""
        deadline = Deadline.after(ASK_S)
        if self.session is not None:
            self.session.open(deadline)
            self.reader.confirm(self.session, deadline)
        notes = self.reader.noted(deadline)
        bounds = {p: self.reader.bounds(p, deadline) for p in notes}
        self._lows = {p: low for p, (low, _) in bounds.items()}
        known = {p: Cursors.read(note[1]) for p, note in notes.items() if note is not None}
        ids = self.reader.ids(deadline)
        self._cursors = {}
        recreated = []
        for place, cursors in known.items():
            if cursors is None:
                continue
            now = ids.get(place[0], "")
            is_another = (
                cursors.topic_id and now and cursors.topic_id != now
            )  # no record of the new topic was retried
            recreated += [place] if is_another else []
            self._cursors[place] = replace(Cursors(bounds[place][0]) if is_another else cursors, topic_id=now)
        for partition, cursors in self._cursors.items():
            if cursors.furthest > bounds[partition][1]:
                raise Refused(
                    f"partition {_shown([partition])} of the blocked prospects ends before its retried position: was its topic created again?"
                )
        lacking = [p for p in notes if p not in self._cursors]
        if lacking or recreated:
            self._begin_partitions(lacking, bounds, ids)
        self.seek(options.kinds)
        return {p: end for p, (_, end) in bounds.items()}

    def _begin_partitions(
        self,
        lacking: list[PartitionKey],
        bounds: Mapping[PartitionKey, tuple[int, int]],
        ids: Mapping[str, str],
    ) -> None:
        """Choose where partitions without a place begin, and commit that before anything is sent. So either all partitions of
        a topic have a place or none: if others have one, these were added since, and begin at their start. Raises
        Refused."""
        topics = {topic for topic, _ in self._cursors}
        begun = {p: bounds[p][0] if p[0] in topics else self.begin(*bounds[p]) for p in lacking}
        if unknown := sorted(p for p, since in begun.items() if since is None):
            raise Refused(
                f"no record of earlier retries of the partitions {_shown(unknown)}: choose with --since which"
                " blocked prospects are sent back"
            )
        self._cursors |= {
            p: Cursors(since, {}, ids.get(p[0], "")) for p, since in begun.items() if since is not None
        }
        if self.session is not None:
            self._send([], RetryOptions(frozenset()), dict.fromkeys(self._cursors, 0))

    def seek(self, kinds: Collection[str]) -> None:
        """Read from the place of these kinds; read nothing if there are none."""
        self._ended.clear()
        self.reader.assign(
            {p: max(self._lows[p], each.first(kinds)) for p, each in self._cursors.items()} if kinds else {}
        )

    def keep(self, options: RetryOptions) -> None:
        """Commit every place again, so that it does not expire."""
        self._send([], options, {p: self.reader.read_upto(p) for p in self._cursors})

    def run(self, options: RetryOptions, tally: RetryTally, beat: Callable[[], bool] = lambda: True) -> None:
        """Send back everything up to the present ends, or until `beat` returns False. Raises Unavailable, Refused if it fails
        again and again."""
        failures = 0
        ends: dict[PartitionKey, int] | None = None
        silent = Deadline.after(SILENT_S)
        while beat():
            try:
                if ends is None:
                    ends, silent = self.start(options), Deadline.after(SILENT_S)
                if all(
                    p in self._ended or self.reader.read_upto(p) >= end
                    for p, end in ends.items()
                    if end > self._cursors[p].first(options.kinds)
                ):
                    if self.session is not None:  # nothing is left before the ends
                        self._send([], options, {p: end for p, end in ends.items() if p not in self._ended})
                    return
                if self._has_moved(options, tally, silent):
                    failures, silent = 0, Deadline.after(SILENT_S)
            except (Migrated, Unavailable, Uncertain) as error:
                failures += 1
                if failures >= _FAILURES_MAX:
                    raise Refused(
                        f"given up after {failures} failures in a row, perhaps another retry runs: {error}"
                    ) from error
                ends = None

    def _has_moved(self, options: RetryOptions, tally: RetryTally, silent: Deadline) -> bool:
        """One step. A client whose brokers are away reports nothing: raises Unavailable if nothing comes for too long."""
        before = self.reader.all_upto
        self.step(options, tally)
        if silent.passed and self.reader.all_upto == before:
            raise Unavailable("the blocked prospects cannot be read: no broker answers now")
        return self.reader.all_upto != before

    def step(self, options: RetryOptions, tally: RetryTally) -> int:
        """One batch, from poll to commit; returns how many were sent. Raises Migrated, Unavailable, Uncertain: start again."""
        if self.session is not None and self.session.is_spent:
            self.start(options)  # a new session is another owner: known places may be old
        fetched = self.reader.poll(1 if self._alone else BATCH_RECORDS, _WAIT_S)
        if not fetched.messages:
            return 0
        self._alone = max(0, self._alone - 1)
        going, outcomes, passed = self._sorted(options, self.prospects_of(fetched))
        if self.session is not None:
            if going:
                self.before(going)
            try:
                self._send(going, options, passed)
            except Unwritable:
                self._refused(going, alone=len(fetched.messages) == 1)
                self.start(options)
                return 0
        tally.update(outcomes)
        return len(going)

    def _refused(self, going: list[BlockedProspect], *, alone: bool) -> None:
        """A broker refuses a whole batch for one record, so each is tried alone; if it is refused again, it stays."""
        if alone:
            self._hopeless |= {((each.topic, each.partition), each.offset) for each in going}
        else:
            self._alone = BATCH_RECORDS

    def _sorted(
        self, options: RetryOptions, prospects: list[BlockedProspect]
    ) -> tuple[list[BlockedProspect], list[tuple[str, str]], dict[PartitionKey, int]]:
        """The prospects to send, the outcome of each, and how far each partition is dealt with."""
        going, outcomes, passed = [], [], dict[PartitionKey, int]()
        for prospect in prospects:
            partition = prospect.topic, prospect.partition
            if partition in self._ended:
                continue
            if prospect.blocked_at >= options.until:
                self._ended.add(partition)
                continue
            passed[partition] = prospect.offset + 1
            if prospect.kind not in options.kinds or prospect.offset < self._cursors[partition].of(
                prospect.kind
            ):
                continue
            outcome = self._outcome(options, prospect)
            outcomes.append((prospect.kind, outcome))
            if outcome == "sent":
                going.append(prospect)
        return going, outcomes, passed

    def _outcome(self, options: RetryOptions, prospect: BlockedProspect) -> str:
        if not prospect.is_whole:
            return "lost-bytes"
        if not prospect.goes_to:
            return "no-input"
        if ((prospect.topic, prospect.partition), prospect.offset) in self._hopeless:
            return "refused"
        if prospect.blocked_at < options.since:
            return "too-old"
        if prospect.tries >= options.max_tries:
            return "too-often"
        return self.is_to_go(prospect) or "sent"

    def _send(
        self, going: list[BlockedProspect], options: RetryOptions, passed: Mapping[PartitionKey, int]
    ) -> None:
        assert self.session is not None, "something is sent"
        count = len(going)
        self.session.emit(
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
            moved[partition].passed(options.kinds, offset)
            notes[partition] = (moved[partition].furthest, str(moved[partition]))
        deadline = Deadline.after(ASK_S)
        self.session.commit(
            self.reader.places(notes),
            self.reader.membership,
            deadline,
            lambda: self.reader.need_same(deadline),
        )
        self._cursors |= moved

    def close(self) -> None:
        """Release the connections."""
        self.reader.close()
        if self.session is not None:
            self.session.close(Deadline.after(5.0))


def _shown(partitions: Iterable[PartitionKey]) -> str:
    return ", ".join(f"{topic}/{partition}" for topic, partition in partitions)


def opened(
    brokers: clients.Brokers,
    members: Members,
    *,
    sends: bool,
    is_to_go: Callable[[BlockedProspect], str],
    begin: Callable[[int, int], int | None],
    before: Callable[[list[BlockedProspect]], None] = lambda _: None,
) -> Resend:
    """A `Resend` of every input whose blocked topic exists; the other arguments are as there. Raises Unavailable, Refused."""
    settings = brokers.settings
    with brokers.topics() as there:
        names = set(there.names(clients.deadline()))
    routes = [route for route in settings.topics.inputs.among(names) if route.blocked in names]
    origin_of, group = origin(routes), clients.side_group(settings, "retry")
    reader = brokers.output_reader(blocked_of(routes), group)
    try:
        session = None
        if sends:
            name = id_of_retry(settings.worker.group_id)
            session = brokers.side_session([route.input for route in routes], name)
    except ScrubError:
        reader.close()
        raise
    return Resend(
        reader,
        session,
        lambda fetched: blocked_prospects(fetched, members, origin_of, int(time.time() * 1000)),
        is_to_go=is_to_go,
        before=before,
        begin=begin,
    )


_NOTE = re.compile(r"retry since=(\d+)(?: topic-id=(\S+))?((?: [a-z0-9.-]+=\d+)*)")


@dataclass(slots=True)
class Cursors:
    """The cursors of one partition."""

    since: int  # where a kind begins that was never retried
    # What waits for one register must not be passed over when another one returns.
    offsets: dict[str, int] = field(default_factory=dict)  # by kind
    topic_id: str = ""  # tells the topic from an earlier one of its name; empty if unknown

    @classmethod
    def read(cls, note: str) -> Self | None:
        """From a note; None if it is not ours."""
        match = _NOTE.fullmatch(note)
        if match is None:
            return None
        pairs = (pair.split("=") for pair in match[3].split())
        return cls(int(match[1]), {kind: int(offset) for kind, offset in pairs}, match[2] or "")

    def __str__(self) -> str:
        offsets = "".join(f" {kind}={offset}" for kind, offset in sorted(self.offsets.items()))
        of = f" topic-id={self.topic_id}" if self.topic_id else ""
        return f"retry since={self.since}{of}{offsets}"

    def of(self, kind: str) -> int:
        """The first offset at which a kind was not sent back yet."""
        return self.offsets.get(kind, self.since)

    def first(self, kinds: Iterable[str]) -> int:
        """The first offset to read for these kinds."""
        return min(map(self.of, kinds))

    def passed(self, kinds: Iterable[str], offset: int) -> None:
        """Everything of these kinds before `offset` is dealt with."""
        for kind in kinds:
            self.offsets[kind] = max(offset, self.of(kind))

    @property
    def furthest(self) -> int:
        """The furthest cursor: it is committed as the offset itself."""
        return max([self.since, *self.offsets.values()])

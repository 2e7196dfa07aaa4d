"""What is outstanding and what was recalled today: for the status page and for `stream-scrub status`.

The members of the recall say what is outstanding, by their metrics: to read it again from the topics takes as long as a
start of theirs. What was recalled is on their topic, which all of them share and which outlives them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime

import msgspec

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, ScrubError, Unavailable
from stream_scrub.kafka import clients
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.model import Deadline, Logger
from stream_scrub.ops.logs import mask
from stream_scrub.ops.metric_catalogue import Side, register_label
from stream_scrub.recall_notice import decode
from stream_scrub.serve.watch.log_tail import Tail
from stream_scrub.serve.watch.scrape import OTHER, known
from stream_scrub.serve.watch.time_series import TimeSeries
from stream_scrub.serve.watch.watcher import SILENT, Watched, Watcher

_ASK_S, _WAIT_S = 10.0, 0.2
_RECORDS = 10_000
_EVERY_S = 5.0
_ROWS_MAX = 1000  # of today's recalls
_OTHERS = (OTHER, "", "")  # all that there is no row for


class OutstandingOn(msgspec.Struct, frozen=True):
    """How many numbers of a country may be called until a day. A number counts for each partition and kind of call."""

    country: str
    last_day: str
    numbers: int


class RecalledFor(msgspec.Struct, frozen=True):
    """How often something was recalled, suspended or resumed today (UTC), and why."""

    kind: str
    reason: str
    register: str  # all scopes of one name together
    count: int


class RecallStatus(msgspec.Struct, frozen=True):
    """The answer of `stream-scrub status`."""

    outstanding: Sequence[OutstandingOn]
    recalled_today: Sequence[RecalledFor]
    silent: Sequence[str]  # addresses that did not answer: what their members have is missing


def outstanding(watched: Iterable[Watched]) -> list[OutstandingOn]:
    """What all members have together."""
    total: Counter[str] = Counter()
    for each in watched:
        total.update({key: int(count) for key, count in each.loop.outstanding.items()})
    rows = ((*(key.split(" ") if " " in key else (key, "")), count) for key, count in total.items())
    return [OutstandingOn(*each) for each in sorted(rows)]


class RecallCount:
    """Counts today's recalls, and goes on where it stopped. One thread."""

    def __init__(self, settings: Settings, log: Logger) -> None:
        self._settings, self._log = settings, log
        self._reader: OutputReader | None = None
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._day = datetime.min.replace(tzinfo=UTC)

    def look(self, now: datetime) -> list[RecalledFor]:
        """Today's recalls up to now, the most frequent first. Raises Unavailable, Refused: begin with a new one then."""
        day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        topic, deadline = self._settings.topics.recalled, Deadline.after(_ASK_S)
        if self._reader is None:
            self._reader = clients.Brokers(self._settings, self._log).output_reader(
                [topic], self._settings.worker.group_id
            )
        ends = {key: self._reader.bounds(key, deadline)[1] for key in self._reader.partitions(deadline)}
        if day != self._day:
            self._counts, self._day = Counter(), day
            self._reader.assign(ends | self._reader.since(ends, day, deadline))
        while any(self._reader.read_upto(key) < end for key, end in ends.items()):
            fetched = self._reader.poll(_RECORDS, _WAIT_S)
            for why in filter(None, map(_why, filter(None, fetched.values))):
                has_row = why in self._counts or len(self._counts) < _ROWS_MAX
                self._counts[why if has_row else _OTHERS] += 1
            if deadline.passed and not fetched:
                raise Unavailable(f"reading {topic}: no broker answers now")
        return [RecalledFor(*each, count) for each, count in self._counts.most_common()]

    def close(self) -> None:
        """Release the connections."""
        if self._reader is not None:
            self._reader.close()


def _why(value: bytes) -> tuple[str, str, str] | None:
    """What the record is counted as; None for a proof that recall works."""
    try:
        notice = decode(value)
    except (ValueError, RecursionError):
        return "unreadable", "", ""
    if notice.kind == "alive":
        return None
    # Others may write the topic: their texts are neither shown as they are, nor are there more of them than rows.
    return notice.kind, notice.reason and known(notice.reason), mask(register_label(notice.register))


class RecallTail(Tail):
    """Counts today's recalls. `recalled` may be read from any thread."""

    def __init__(self, settings: Settings, watcher: Watcher, log: Logger) -> None:
        super().__init__("recall-tail")
        self._settings, self._watcher, self._log = settings, watcher, log
        self.recalled: Sequence[RecalledFor] = ()

    def start(self) -> None:
        """Start, if processes are configured."""
        if self._watcher.is_watching:
            super().start()

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            if not any(each.loop.side == Side.RECALL for each in self._watcher.rows):
                continue  # without a recall its topic may be missing
            try:
                with closing(RecallCount(self._settings, self._log)) as counted:
                    while not self._stopping.is_set():
                        self.recalled, self.trouble = counted.look(datetime.now(UTC)), ""
                        self._stopping.wait(_EVERY_S)
            except ScrubError as error:
                self.trouble = str(error)


def status(settings: Settings, log: Logger, now: datetime) -> RecallStatus:
    """What is outstanding and what was recalled today. Raises ConfigError, Unavailable, Refused."""
    if not settings.http.watch:
        raise ConfigError(
            [
                "http.watch: name the addresses of the recall, as in --set http.watch=recall-0:8080,recall-1:8080"
            ]
        )
    watcher = Watcher(settings.http.watch, TimeSeries(""), log)
    watcher.look()
    members = [each for each in watcher.rows if each.loop.side == Side.RECALL]
    silent = [each.where for each in watcher.rows if each.state == SILENT]
    if not members:
        raise Unavailable(
            f"no recall answers at {', '.join(settings.http.watch)}: check that it runs, and http.watch"
        )
    with closing(RecallCount(settings, log)) as counted:
        return RecallStatus(outstanding(members), counted.look(now), silent)

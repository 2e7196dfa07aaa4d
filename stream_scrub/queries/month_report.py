"""`report`: a month of verdicts by law, how old the lists were at each, and the recalls by reason.

Everything comes from the stamps on the output topics, the notices of recalls, and the log's dates of lists. Calls that were
abandoned, or made, are the dialler's to report. `--json` writes the members of these types in this order.
"""

from bisect import bisect_right
from calendar import monthrange
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

import msgspec
from msgspec import UNSET, UnsetType

from stream_scrub.clock import parse_zoned, utc_seconds
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.kafka import clients
from stream_scrub.log import rules_on_log
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import read_into
from stream_scrub.made_by import MadeBy
from stream_scrub.model import Deadline, Logger, LogReader, LogRecord, Progress
from stream_scrub.queries import find_emitted, side_topics
from stream_scrub.recall_notice import RecallNotice
from stream_scrub.rules import Archive, Rule, Rulebook, digest_of
from stream_scrub.scrub import scrubbing
from stream_scrub.stamp import NumberStamp, Stamp
from stream_scrub.texts import masked

_HOUR_S = 3600


class VerdictCount(msgspec.Struct, frozen=True, kw_only=True):
    """Verdicts on numbers. `country`: whose rule decided, or the number's if none did; empty for no valid number.
    `registers`: those that the verdict rests on, as on the stamp."""

    country: str
    verdict: str
    reason: str
    registers: list[str]
    rules: str
    verdicts: int


class ListAge(msgspec.Struct, frozen=True, kw_only=True):
    """How old a register's list was at the verdicts whose rule bounds its age: in days, the middle one, that of 99 in 100,
    and the oldest. `allowed_at_most_days`: the oldest at a verdict that allowed; None if none did."""

    register: str
    country: str
    max_age_days: int
    verdicts: int
    middle_days: float
    most_days: float
    oldest_days: float
    allowed_at_most_days: float | None


class RecallTally(msgspec.Struct, frozen=True, kw_only=True):
    """Recalls of numbers, and suspensions of registers."""

    kind: str
    reason: str
    register: str
    count: int


class MonthReport(msgspec.Struct, frozen=True, kw_only=True):
    """The month. Days are those of each number's country. `notes`: the gaps. `made_by`, `at`: the maker and the moment."""

    month: str
    prospects_allowed: int
    prospects_blocked: int
    verdicts: list[VerdictCount]
    lists: list[ListAge]
    recalls: list[RecallTally]
    position: int
    notes: list[str]
    made_by: MadeBy | UnsetType = UNSET
    at: str | UnsetType = UNSET


def first_day(month: str) -> date:
    """The first day of a month, as 2026-10. Raises ConfigError if it is not a month, or has not begun."""
    try:
        first = date.fromisoformat(f"{month}-01")
    except ValueError as error:
        raise ConfigError(["--month: not a month; write it as 2026-10"]) from error
    find_emitted.need_years(first, first)
    if first > datetime.now(UTC).date():
        raise ConfigError([f"--month: {month} has not begun"])
    return first


def gather(
    settings: Settings, log: Logger, first: date, token: str = "", progress: Progress = lambda *_: None
) -> MonthReport:
    """Count a month that begins with the day `first`, for the owner of that token: one pass over the log, and one over the
    month on each output. Raises Corrupt, Unavailable, Refused."""
    last = first.replace(day=monthrange(first.year, first.month)[1])
    with clients.Brokers(settings, log).reading() as reader:
        lists = ListDates.read(reader, progress, clients.deadline())
    counts = MonthCounts(scrubbing.law(settings), lists, first, last)
    for topic, partition, reader in find_emitted.outputs(settings, log):
        if (oldest := find_emitted.oldest(reader)) is not None and oldest.date() >= first:
            counts.notes.append(
                f"{topic}, partition {partition}: Kafka has deleted what was before {oldest:%Y-%m-%d}"
            )
        for _, stamp in find_emitted.judged_between(reader, first, last, topic, progress):
            counts.take(stamp)
    _take_recalls(settings, log, counts, progress)
    report = counts.report()
    return msgspec.structs.replace(
        report, made_by=clients.made_by(settings, token), at=utc_seconds(datetime.now(UTC))
    )


def _take_recalls(settings: Settings, log: Logger, counts: "MonthCounts", progress: Progress) -> None:
    topic = settings.topics.recalled
    with clients.Brokers(settings, log).topics() as there:
        topic_state = there.describe([topic], clients.deadline()).get(topic)
    since = datetime.combine(counts.first, time(), UTC) - find_emitted.AROUND
    partitions = 0 if topic_state is None else topic_state.partitions
    for _, record, _ in side_topics.records_since(settings, log, topic, partitions, since, progress):
        if record is None:
            continue
        if (notice := side_topics.notice_in(record)) is not None:
            counts.take_notice(notice)


class ListDates:
    """The date of each register's list at any position of the log, and the texts of rules."""

    def __init__(self) -> None:
        self.position = -1
        self.archive = Archive()
        self._seals = {-1}  # every position that a verdict by this log may have
        self._positions: dict[str, list[int]] = defaultdict(list)
        self._dates: dict[str, list[datetime]] = defaultdict(list)

    @classmethod
    def read(cls, reader: LogReader, progress: Progress, deadline: Deadline) -> "ListDates":
        """Read the whole log. Raises Corrupt, Unavailable, Refused."""
        history, replay = cls(), Replay(digest_of=digest_of)

        def take(record: LogRecord) -> None:
            delta = replay.take(record)
            if delta is None:
                return
            history._seals.add(delta.offset)
            register = replay.index.registers.get(delta.register)
            if register is not None:
                history._note(register.name, delta.offset, register.effective_at)

        read_into(
            reader,
            take,
            deadline,
            on_read=lambda offset, end: progress("reading the log", offset, end),
        )
        history.position, history.archive = replay.index.position, rules_on_log.kept(replay.rules)
        return history

    def _note(self, register: str, position: int, effective_at: datetime) -> None:
        dates = self._dates[register]
        if not dates or dates[-1] != effective_at:
            self._positions[register].append(position)
            dates.append(effective_at)

    def knows(self, position: int) -> bool:
        """Whether a verdict may be by that position: those of another log, as of before a renewal, mean nothing here."""
        return position in self._seals

    def at(self, register: str, position: int) -> datetime | None:
        """The date of the register's list at that position; None if it was not on the log."""
        seal_at = bisect_right(self._positions.get(register, []), position)
        return self._dates[register][seal_at - 1] if seal_at else None


class MonthCounts:
    """Counts the stamps of a month. `first`, `last`: its days."""

    def __init__(self, book: Rulebook, lists: ListDates, first: date, last: date) -> None:
        self.first, self.last = first, last
        self.notes: list[str] = []
        self._book, self._lists = book, lists
        self._prospects: Counter[bool] = Counter()
        self._verdicts: Counter[tuple[str, str, str, tuple[str, ...], str]] = Counter()
        # By register, country and age in hours: how many verdicts allowed, and how many did not.
        self._ages: dict[tuple[str, str, int], Counter[tuple[int, bool]]] = defaultdict(Counter)
        self._recalls: Counter[tuple[str, str, str]] = Counter()
        self._elsewhere = 0
        self._rule_of = lru_cache(maxsize=4096)(self._rule)

    def take(self, stamp: Stamp) -> None:
        """A stamp; one of another month changes nothing."""
        counted = False
        for each in stamp.each:
            region = self._region(each.number)
            if self.first <= find_emitted.day_of(self._book, region, stamp.at) <= self.last:
                counted = True
                self._take(each, stamp, region)
        if counted:
            self._prospects[stamp.allowed] += 1

    def _take(self, each: Stamp | NumberStamp, stamp: Stamp, region: str) -> None:
        rules = [
            self._rule_of(digest, stamp.at.date(), stamp.channel) if digest else None
            for digest in (each.rules, each.residence)
        ]
        country = region if rules[0] is None else rules[0].country
        self._verdicts[country, each.verdict, each.reason, tuple(each.registers), each.rules] += 1
        if not self._lists.knows(stamp.index):
            self._elsewhere += 1
            return
        for rule in filter(None, rules):
            for register, most in rule.max_age_days.items():
                dated = self._lists.at(register, stamp.index)
                if dated is not None:
                    hours = int((stamp.at - dated).total_seconds() // _HOUR_S)
                    self._ages[register, rule.country, most][hours, each.allowed] += 1

    def take_notice(self, notice: RecallNotice) -> None:
        """A recall; one of another month changes nothing."""
        region = self._region(notice.number)
        if self.first <= find_emitted.day_of(self._book, region, parse_zoned(notice.at)) <= self.last:
            self._recalls[notice.kind, notice.reason, notice.register] += 1

    def _region(self, number: str | None) -> str:
        return find_emitted.region_of(self._book, int(number[1:])) if number else ""

    def _rule(self, digest: str, day: date, channel: str) -> Rule | None:
        """The rule of a stamp, from the log or as installed."""
        text = self._lists.archive.text(digest) or self._book.texts.get(digest)
        country = None if text is None else Archive([text]).country(digest)
        if country is None:
            return None
        # A text has one rule only; the day may be another one where the number is.
        return next(
            (rule for at in (0, 1, -1) if (rule := country.on(day + timedelta(days=at), channel))), None
        )

    def report(self) -> MonthReport:
        """What was counted."""
        elsewhere = (
            f"{self._elsewhere:,} verdicts by a position that is not on this log, as of before its renewal: the ages of their"
            " lists are not counted."
        )
        return MonthReport(
            month=f"{self.first:%Y-%m}",
            prospects_allowed=self._prospects[True],
            prospects_blocked=self._prospects[False],
            verdicts=[
                VerdictCount(
                    country=country,
                    verdict=verdict,
                    reason=reason,
                    registers=[masked(each) for each in registers],  # a foreign stamp may name anything
                    rules=masked(rules),
                    verdicts=count,
                )
                for (country, verdict, reason, registers, rules), count in sorted(self._verdicts.items())
            ],
            lists=[_age(*key, ages) for key, ages in sorted(self._ages.items())],
            recalls=[
                RecallTally(kind=kind, reason=masked(reason), register=masked(register), count=count)
                for (kind, reason, register), count in sorted(self._recalls.items())
            ],
            position=self._lists.position,
            notes=[
                *self.notes,
                *([elsewhere] if self._elsewhere else []),
                "Calls, abandoned calls and attempts are not counted here.",
            ],
        )


def _age(register: str, country: str, most: int, ages: Counter[tuple[int, bool]]) -> ListAge:
    ordered = sorted(ages.items())
    total = sum(ages.values())
    allowed = [hours for (hours, is_allowed) in ages if is_allowed]

    def at(share: float) -> float:
        """The age that so large a share of verdicts does not exceed."""
        counted = 0
        for (hours, _), count in ordered:
            counted += count
            if counted >= share * total:
                return _days(hours)
        return _days(ordered[-1][0][0])

    return ListAge(
        register=register,
        country=country,
        max_age_days=most,
        verdicts=total,
        middle_days=at(0.5),
        most_days=at(0.99),
        oldest_days=at(1),
        allowed_at_most_days=_days(max(allowed)) if allowed else None,
    )


def _days(hours: int) -> float:
    return round(hours / 24, 1)

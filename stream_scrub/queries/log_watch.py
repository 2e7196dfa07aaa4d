"""Follows the log for a dossier: the number's changes, what a plain call would have got on each day, and when the log
forbade what a verdict had allowed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from stream_scrub.call import Call
from stream_scrub.clock import from_millis, parse_zoned
from stream_scrub.config import Settings
from stream_scrub.index import Index
from stream_scrub.languages import say
from stream_scrub.model import LogRecord, RegisterKind
from stream_scrub.numbering import e164, line_of
from stream_scrub.queries import answer as answers
from stream_scrub.queries import check, find_emitted, lawful_days
from stream_scrub.queries import explain as explaining
from stream_scrub.queries.find_emitted import FoundProspect
from stream_scrub.queries.history import LoggedChange
from stream_scrub.queries.lawful_days import Ending, PlainJudgement
from stream_scrub.queries.side_topics import SideRecords
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Terms
from stream_scrub.stamp import CallHours, NumberStamp

if TYPE_CHECKING:
    from stream_scrub.queries.dossier import DossierRequest


class LogWatch:
    """Follows the log: the changes of the number, what a plain call would have got at the end of each day, and when the log
    forbade what a verdict allowed."""

    def __init__(
        self,
        asked: "DossierRequest",
        settings: Settings,
        terms: Terms,
        now: datetime,
        found: Sequence[FoundProspect],
        replays: explaining.Replays,
        sides: SideRecords,
    ) -> None:
        """A dossier of everything is about the days of verdicts and calls."""
        book, line = scrubbing.law(settings), line_of(asked.number)
        self.region, self.line = find_emitted.region_of(book, asked.number), "" if line is None else line.type
        self.zone = find_emitted.zone_of(book, asked.number)
        count = 0 if asked.whole else (asked.last - asked.first).days + 1
        self.days = [asked.first + timedelta(days=each) for each in range(count)]
        if asked.whole:
            moments = [*(each.stamp.at for each in found), *(attempt.at for attempt in sides.attempts)]
            self.days = sorted({moment.astimezone(self.zone).date() for moment in moments})
        self._days = frozenset(self.days)
        self.changes: list[LoggedChange] = []
        self.plain: dict[date, PlainJudgement] = {}
        self.endings: dict[int, Ending] = {}  # by the place of the verdict
        self._blocked_before: dict[date, str] = {}
        self._ends: dict[str, datetime] = {}  # of the number's consents, by register
        self._found, self._replays = found, replays
        self._open = {at for at, each in enumerate(found) if each.stamp.allowed}
        self._asked, self._book, self._terms, self._now = asked, book, terms, now
        call = Call(campaign=asked.campaign or None)
        self._value = check.prospect_of(e164(asked.number), call, None, settings)
        self._waiting = [day for day in reversed(self.days) if lawful_days.bounds(day, self.zone)[0] <= now]
        self._next_ms = self._end_ms()

    def take(self, record: LogRecord, before: Index, changes: Mapping[int, LoggedChange]) -> None:
        """The next record, the index before it, and its change. Days that were over by then have that index."""
        moment = from_millis(record.timestamp_ms)
        while self._waiting and (record.timestamp_ms or 0) >= self._next_ms:
            self._judge(before)
        change = changes.get(self._asked.number)
        if moment is not None:
            self._end(before, moment)
        if change is None:
            return
        if moment is not None:
            self._judge_before(before, moment)
        self.changes.append(change)
        self._ends.pop(change.register, None)
        if change.end is not None and change.kind == RegisterKind.ALLOW:
            self._ends[change.register] = parse_zoned(change.end)
        self._judge_open(
            self._replays.past.index, record.offset, moment, by_calls=change.reason == "attempts"
        )

    def finish(self, index: Index) -> None:
        """The log's end: the index of all days since."""
        while self._waiting:
            self._judge(index)
        self._end(index, self._now)

    def _end(self, index: Index, upto: datetime) -> None:
        """Consents that ended by that moment, whether or not the publisher has taken them off the register."""
        for register, end in sorted(self._ends.items(), key=lambda each: each[1]):
            if end <= upto:
                del self._ends[register]
                self._judge_open(index, index.position + 1, end)

    def _judge_open(
        self, index: Index, offset: int, moment: datetime | None, *, by_calls: bool = False
    ) -> None:
        """Judge the verdicts again that still allow, and are of an index before that offset."""
        for place in sorted(self._open):
            stamp = self._found[place].stamp
            if stamp.index >= offset:
                continue
            # Without a moment, and by a clock that is behind, the change counts from the verdict on.
            at = max(stamp.at, moment or stamp.at)
            again = self._replays.again(place, index, at) or {}
            typed = e164(self._asked.number)
            entry = next((each for each in explaining.entries(again) if each.get("number") == typed), None)
            if entry is not None and entry.get("verdict") == "blocked":
                reasons = self._reasons(entry)
                self.endings[place] = Ending(at, reasons[0], "; ".join(reasons), by_calls)
                self._open.remove(place)

    def _reasons(self, entry: Mapping[str, Any]) -> list[str]:
        """Why the number got that verdict, in words, the shortest first."""
        source = msgspec.convert(
            {name: entry[name] for name in NumberStamp.__struct_fields__ if name in entry}, NumberStamp
        )
        return list(answers.answer(source, None, self.changes).reasons)

    def _judge_before(self, before: Index, moment: datetime) -> None:
        """Whether a plain call was blocked on that day until the number's change."""
        day = moment.astimezone(self.zone).date()
        if day in self._blocked_before or not before.present() or day not in self._days:
            return
        stamp = explaining.judged(self._value, self._book, before, moment, self._terms) or {}
        if stamp.get("verdict") == "blocked":
            self._blocked_before[day] = self._reasons(stamp)[0]

    def _end_ms(self) -> float:
        return lawful_days.bounds(self._waiting[-1], self.zone)[1].timestamp() * 1000 if self._waiting else 0

    def _judge(self, index: Index) -> None:
        day = self._waiting.pop()
        self._next_ms = self._end_ms()
        if not index.present():
            self.plain[day] = PlainJudgement(False, "", "", before_log=True)
            return
        at = min(self._now, datetime.combine(day, time(23, 59), self.zone).astimezone(UTC))
        stamp = explaining.judged(self._value, self._book, index, at, self._terms) or {}
        parts, allowed = self._reasons(stamp), stamp.get("verdict") == "allowed"
        blocked_before = self._blocked_before.get(day, "")
        self.plain[day] = PlainJudgement(allowed, parts[0], "; ".join(parts), blocked_before=blocked_before)
        if allowed and (hours := self._closed_on(day, index)):
            closed = say("the law allows no call on that day (%(hours)s)", hours=hours)
            self.plain[day] = PlainJudgement(True, closed, "; ".join((*parts, closed)), has_hours=False)

    def _closed_on(self, day: date, index: Index) -> str:
        """The hours in words, if none of them is on that day."""
        begins, ends = lawful_days.bounds(day, self.zone)
        # Windows begin with the day of the verdict in UTC, which may end before that of the country.
        stamp = explaining.judged(self._value, self._book, index, begins, self._terms) or {}
        hours = msgspec.convert(stamp["call"], CallHours) if "call" in stamp else None
        return "" if hours is None or lawful_days.has_hours(hours, begins, ends) else hours.local

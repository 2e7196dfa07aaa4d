"""Whether a call was lawful on each day, by the verdicts, what ended them, and the law. Pure.

What ends a verdict is replayed: the number's own changes on the log, and the calls and refusals that diallers reported.
Recalls are the notices to diallers. The earliest of these ends a verdict.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import groupby
from typing import Literal, NamedTuple

import msgspec

from stream_scrub.clock import parse_zoned
from stream_scrub.languages import day_in_words, say, translatable
from stream_scrub.model import Reason
from stream_scrub.queries.answer import means
from stream_scrub.recall_notice import ONE_LOG_MS, RecallNotice
from stream_scrub.requests.rests import ReportedCall
from stream_scrub.scrub.hours import DAYS_AHEAD
from stream_scrub.stamp import CallHours

Lawful = Literal["yes", "no", "part", "unproven"]
_SPANS_SHOWN = 4
_ONE_LOG = timedelta(milliseconds=ONE_LOG_MS)
_A_SECOND = timedelta(seconds=1)


class Ending(NamedTuple):
    """From this moment on the log, or the reported calls, forbid what a verdict allowed."""

    at: datetime
    reason: str  # in a few words
    why: str
    by_calls: bool = (
        False  # by calls and refusals, whether or not the publisher had put the number on the log by then
    )
    by: ReportedCall | None = None  # that call; None: by the log


class JudgedCall(NamedTuple):
    """A verdict on the number, and its basis."""

    at: datetime
    day: date
    campaigns: tuple[str, ...]
    allowed: bool
    reason: str  # in a few words
    why: str  # with everything that decided
    until: date | None  # the last day on which it may be used
    position: int  # of its index
    registers: frozenset[str]  # that its rule asks
    hours: CallHours | None
    proven: bool  # its replay is the same
    professionals: tuple[str, ...] = ()  # for whom the call may be
    endings: tuple[Ending, ...] = ()  # in the order of their moments


class PlainJudgement(NamedTuple):
    """What a call that states nothing but its campaign would have got at the end of a day, or now."""

    allowed: bool
    reason: str
    why: str
    has_hours: bool = True  # the law allows calls on that day
    before_log: bool = False  # no register was on the log by then, so nothing is known
    blocked_before: str = ""  # why it would have been blocked at another moment of that day


class Gap(NamedTuple):
    """What deleted records leave open up to a moment."""

    before: datetime
    why: str


class Gaps(NamedTuple):
    """`releases`: the days on which a verdict that is gone may have counted. `endings`: the verdicts that may have been ended
    by a record that is gone."""

    releases: Gap | None = None
    endings: Gap | None = None
    scrubbed: Sequence[date] = ()  # days on which files were scrubbed whose results were not read
    counts_days: int = 0  # for how many days a verdict may count

    def on(self, day: date, begins: datetime) -> str:
        """Why it is not known whether a lead was released that counts on a day; empty if it is."""
        deleted = [
            each for each in (self.releases, self.endings) if each is not None and begins < each.before
        ]
        if deleted:
            return deleted[0].why
        if any(timedelta(0) <= day - each <= timedelta(days=self.counts_days) for each in self.scrubbed):
            return say("files of leads were scrubbed whose results are not here")
        return ""


NO_GAPS = Gaps()


class DayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one day. `released`: a prospect with the number was allowed, and might be called on that day.
    `reason`: why, in a few words; `says`: with everything that decided."""

    day: date
    lawful: Lawful
    released: bool
    reason: str
    says: str


class _Change(NamedTuple):
    """From a moment of a day on a call was, or was not, covered by a verdict."""

    at: datetime
    open: bool
    reason: str
    why: str
    proven: bool = True
    since: datetime = datetime.max.replace(tzinfo=UTC)  # the verdict that counts


def _stop_of(
    call: JudgedCall, notices: Sequence[RecallNotice], upto: datetime, judged: ReportedCall | None = None
) -> Ending | None:
    """What ended an allowing verdict by that moment. `judged`: the call that is judged: neither it nor a later one forbids
    it."""
    endings = [ending for ending in call.endings if _ended(ending, upto, judged)]
    if (notice := _recall_of(call, notices, upto)) is not None:
        endings.append(Ending(parse_zoned(notice.at), _by(notice), _by(notice)))
    return min(endings, key=lambda each: each.at, default=None)


def _ended(ending: Ending, upto: datetime, judged: ReportedCall | None) -> bool:
    if judged is None:
        return ending.at <= upto
    if ending.by is not None:
        return ending.by.nth < judged.nth and ending.by.id != judged.id
    # An attempt has the second in which it began. The number rests within that second by the call itself.
    return ending.at <= upto if ending.by_calls else ending.at < upto + _A_SECOND


def _recall_of(call: JudgedCall, notices: Sequence[RecallNotice], upto: datetime) -> RecallNotice | None:
    """The recall, or the suspension of a register, by which an allowed prospect may not be called at that moment."""
    # As a dialler reads them (`dialler.recalls`).
    suspended: dict[str, RecallNotice] = {}
    for notice in notices:
        at = parse_zoned(notice.at)
        if at > upto:
            break
        if notice.kind == "recalled" and (at >= call.at or _overtakes(at, notice.index, call)):
            return notice
        if notice.kind == "suspended" and notice.register in call.registers and at >= call.at:
            suspended[notice.register] = notice
        elif notice.kind == "resumed":
            suspended.pop(notice.register, None)
    return next(iter(suspended.values()), None)


def _overtakes(at: datetime, position: int, call: JudgedCall) -> bool:
    """Whether a moment and a position, given before a verdict by the clocks of others, are of a newer index."""
    return position > call.position and call.at - at <= _ONE_LOG


def without_overtaken(calls: Iterable[JudgedCall]) -> list[JudgedCall]:
    """Leave out verdicts that allow, by an older index than that of one before them that blocks for the same campaigns: they
    are of another worker, whose index was older or whose clock is ahead. `calls` are in the order of their moments."""
    judged_calls: list[JudgedCall] = []
    blocking: dict[tuple[str, ...], deque[JudgedCall]] = defaultdict(deque)  # the newest index first
    for call in calls:
        before = blocking[call.campaigns]
        while before and call.at - before[0].at > _ONE_LOG:
            before.popleft()
        if call.allowed and before and before[0].position > call.position:
            continue
        judged_calls.append(call)
        if not call.allowed:
            while before and before[-1].position <= call.position:
                before.pop()
            before.append(call)
    return judged_calls


def answers(
    days: Sequence[date],
    zone: tzinfo,
    calls: Sequence[JudgedCall],
    notices: Sequence[RecallNotice],
    plain: Mapping[date, PlainJudgement],
    gaps: Gaps = NO_GAPS,
) -> list[DayAnswer]:
    """Return the answer for each day. `plain` lacks the days to come. `calls` and `notices` are in the order of their
    moments. No day that a gap may concern is lawful."""
    return [_answer(day, zone, calls, notices, plain.get(day), gaps) for day in days]


def _answer(
    day: date,
    zone: tzinfo,
    calls: Sequence[JudgedCall],
    notices: Sequence[RecallNotice],
    plain: PlainJudgement | None,
    gaps: Gaps,
) -> DayAnswer:
    if plain is None:
        why = say("the day has not come yet")
        return DayAnswer(day=day, lawful="unproven", released=False, reason=why, says=why)
    by_campaigns = {
        campaigns: changes
        for campaigns in dict.fromkeys(call.campaigns for call in calls)
        if (changes := _changes(day, zone, [c for c in calls if c.campaigns == campaigns], notices))
    }
    if not by_campaigns:
        begins, _ = bounds(day, zone)
        return _unreleased(day, plain, gaps.on(day, begins))
    every = [change for changes in by_campaigns.values() for change in changes]
    opens = [change.open for change in every]
    lawful: Lawful = "yes" if all(opens) else "part" if any(opens) else "no"
    if any(change.open and not change.proven for change in every):
        lawful = "unproven"
    open_since = [change.since for change in every if change.open]
    gap = gaps.endings
    if gap is not None and open_since and min(open_since) < gap.before:
        return DayAnswer(
            day=day,
            lawful="unproven",
            released=True,
            reason=gap.why,
            says="; ".join([gap.why, _said_of(by_campaigns, day, zone)]),
        )
    decided = {
        campaigns: [each for each in changes if lawful != "part" or not each.open]
        for campaigns, changes in by_campaigns.items()
    }
    several = len(by_campaigns) > 1
    return DayAnswer(
        day=day,
        lawful=lawful,
        released=any(opens),
        reason="; ".join(
            dict.fromkeys(
                _of_campaigns(campaigns if several else (), each.reason)
                for campaigns, changes in decided.items()
                for each in changes
            )
        ),
        says=_said_of(by_campaigns, day, zone),
    )


def _said_of(by_campaigns: Mapping[tuple[str, ...], Sequence["_Change"]], day: date, zone: tzinfo) -> str:
    return "; ".join(
        _of_campaigns(campaigns, _said(changes, day, zone)) for campaigns, changes in by_campaigns.items()
    )


def _of_campaigns(campaigns: tuple[str, ...], why: str) -> str:
    campaign_names = ", ".join(filter(None, campaigns))
    return say("for %(campaigns)s: %(why)s", campaigns=campaign_names, why=why) if campaign_names else why


def _unreleased(day: date, plain: PlainJudgement, unknown: str) -> DayAnswer:
    """The answer for a day on which no verdict that is left allowed or blocked the number. `unknown`: why it is not
    known whether a lead was released."""
    if plain.before_log:
        why = say("the log begins later")
        return DayAnswer(day=day, lawful="unproven", released=False, reason=why, says=why)
    lawful: Lawful = "no"
    if not plain.allowed:
        would = say("a call that states nothing more would have been blocked: %(why)s", why=plain.why)
    elif not plain.has_hours:
        would = say(
            "a call that states nothing more would have been allowed, but at no hour of that day: %(why)s",
            why=plain.why,
        )
    elif plain.blocked_before:
        lawful = "part"
        would = say(
            "a call that states nothing more would have been blocked for a part of that day: %(why)s",
            why=plain.blocked_before,
        )
    else:
        lawful = "yes"
        would = say("a call that states nothing more would have been allowed: %(why)s", why=plain.why)
    released = say("no lead with this number was released")
    if unknown:
        released = say("%(gap)s: whether a lead with this number was released is not known", gap=unknown)
        lawful = "no" if lawful == "no" else "unproven"
    return DayAnswer(
        day=day,
        lawful=lawful,
        released=False,
        reason=unknown if unknown and lawful == "unproven" else plain.blocked_before or plain.reason,
        says=f"{released}; {would}",
    )


def _changes(
    day: date, zone: tzinfo, calls: Sequence[JudgedCall], notices: Sequence[RecallNotice]
) -> list[_Change]:
    """What was so at the beginning of the day, if an earlier verdict still counted, and each change on it."""
    begins, ends = bounds(day, zone)
    since = begins  # from when on a verdict has allowed calls
    earlier = [call for call in calls if call.day < day]
    last = earlier[-1] if earlier else None
    changes = list[_Change]()
    if last is not None and _covers(last, day) and _stop_of(last, notices, begins) is None:
        why = say("the verdict of %(day)s still counted: %(why)s", day=last.day, why=last.why)
        changes.append(_allowed(last, day, begins, (begins, ends), why))
    else:
        last = None
    for each in [call for call in calls if call.day == day]:
        changes += _stopped(last, notices, each.at)
        since = each.at if last is None else since
        last = None
        if not each.allowed:
            changes.append(_Change(each.at, False, each.reason, each.why, each.proven))
        elif (stop := _stop_of(each, notices, each.at)) is not None:
            changes.append(_Change(each.at, False, stop.reason, stop.why))
        else:
            changes.append(_allowed(each, day, each.at, (since, ends), each.why))
            last = each
    return [*changes, *_stopped(last, notices, ends)]


def bounds(day: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """The first moment of a day, and that of the next one."""
    begins, ends = (datetime.combine(each, time(), zone) for each in (day, day + timedelta(1)))
    return begins.astimezone(UTC), ends.astimezone(UTC)


def has_hours(hours: CallHours, begins: datetime, ends: datetime) -> bool:
    """Whether a call may begin at some moment between these."""
    return any(opens < ends and begins < closes for opens, closes in hours.spans())


def _allowed(
    call: JudgedCall, day: date, at: datetime, within: tuple[datetime, datetime], why: str
) -> _Change:
    """That a verdict allows calls from `at` on, if its hours do at some moment `within` the day."""
    if call.hours is None or has_hours(call.hours, *within):
        return _Change(at, True, call.reason, why, call.proven, call.at)
    if _is_after_hours(call, day):
        unknown = say("the verdict of %(day)s names no hours of this day", day=call.day)
        return _Change(at, True, unknown, f"{unknown}; {why}", False, call.at)
    closed = say("the law allows no call at that time (%(hours)s)", hours=call.hours.local)
    return _Change(at, False, closed, f"{closed}; {why}", call.proven)


def _is_after_hours(call: JudgedCall, day: date) -> bool:
    """Whether a stamp states no windows so late. Whoever calls later must ask again."""
    return day - call.at.astimezone(UTC).date() >= timedelta(days=DAYS_AHEAD)


def _covers(call: JudgedCall, day: date) -> bool:
    return call.allowed and (call.until is None or day <= call.until)


def _stopped(call: JudgedCall | None, notices: Sequence[RecallNotice], upto: datetime) -> Iterator[_Change]:
    stop = None if call is None else _stop_of(call, notices, upto)
    if stop is not None:
        yield _Change(stop.at, False, stop.reason, stop.why)


def _by(stop: RecallNotice) -> str:
    if stop.kind == "suspended":
        return say("the register %(register)s could not be used", register=stop.register)
    # A notice of a later release may have a reason that is not known here.
    why = means(stop.reason) if stop.reason in {*Reason} else stop.reason
    if not stop.register:
        return say("the number was recalled: %(why)s", why=why)
    return say("the number was recalled: %(why)s (%(register)s)", why=why, register=stop.register)


def _said(changes: Sequence[_Change], day: date, zone: tzinfo) -> str:
    """The changes of a day in words, with their times where there are several. Those that change nothing are left out."""
    spans = [next(same) for _, same in groupby(changes, key=lambda each: (each.open, each.why))]
    if len(spans) == 1:
        first = spans[0]
        if not first.open or first.at.astimezone(zone).time() == time():
            return first.why
        return say("from %(time)s: %(why)s", time=_clock(first.at, day, zone), why=first.why)
    return "; ".join(
        say(_ALLOWED_FROM if each.open else _FORBIDDEN_FROM, time=_clock(each.at, day, zone), why=each.why)
        for each in spans
    )


_ALLOWED_FROM = translatable("from %(time)s allowed: %(why)s")
_FORBIDDEN_FROM = translatable("from %(time)s not allowed: %(why)s")


def _clock(at: datetime, day: date, zone: tzinfo) -> str:
    """The time of a moment on that day, or else its day."""
    local = at.astimezone(zone)
    return f"{local:%H:%M}" if local.date() == day else day_in_words(local.date())


class AttemptJudgement(NamedTuple):
    """Whether the last verdict before an attempt covers it, and why."""

    covered: bool
    says: str


def of_attempt(
    at: datetime,
    campaigns: Sequence[str],
    zone: tzinfo,
    calls: Sequence[JudgedCall],
    notices: Sequence[RecallNotice],
    judged: ReportedCall | None = None,
    gap: Gap | None = None,
) -> AttemptJudgement:
    """Return whether a call at that moment rests on a verdict. An attempt without a campaign may be for any."""
    before = [
        call
        for call in calls
        # An attempt has the second in which it began, and a dialler may call in that of the verdict.
        if call.at.replace(microsecond=0) <= at
        and (not campaigns or not call.campaigns or {*campaigns} & {*call.campaigns})
    ]
    if not before:
        return AttemptJudgement(False, say("no verdict before it is left on the topics"))
    last = before[-1]
    covered, text, values = _judged_by(last, at, at.astimezone(zone).date(), notices, judged, gap)
    judged_at = f"{last.at.astimezone(zone):%H:%M}"
    says = say(text, day=last.day, time=judged_at, **values)
    if covered and not last.proven:
        says = "; ".join([says, say("the replay does not give that verdict again")])
    return AttemptJudgement(covered and last.proven, says)


_ = translatable


def _judged_by(
    last: JudgedCall,
    at: datetime,
    day: date,
    notices: Sequence[RecallNotice],
    judged: ReportedCall | None,
    gap: Gap | None,
) -> tuple[bool, str, dict[str, str | date]]:
    """Whether a verdict allows a call at that moment, and a text of why, with its values."""
    if not last.allowed:
        return False, _("the verdict of %(day)s, %(time)s blocked it: %(why)s"), {"why": last.why}
    if not _covers(last, day):
        counted = _("the verdict of %(day)s, %(time)s counted until %(until)s only")
        return False, counted, {"until": last.until or day}
    if (stop := _stop_of(last, notices, at, judged)) is not None:
        return False, _("the verdict of %(day)s, %(time)s no longer counted: %(why)s"), {"why": stop.why}
    if gap is not None and last.at < gap.before:
        return False, _("the verdict of %(day)s, %(time)s allowed it, but %(why)s"), {"why": gap.why}
    if last.hours is None:
        return True, _("the verdict of %(day)s, %(time)s allowed it"), {}
    if last.hours.at(at):
        return True, _("the verdict of %(day)s, %(time)s allowed it, within its hours"), {}
    closed = _("the verdict of %(day)s, %(time)s allowed it, but not at this hour (%(hours)s)")
    if _is_after_hours(last, day):
        closed = _("the verdict of %(day)s, %(time)s names no hours of this day (%(hours)s)")
    return False, closed, {"hours": last.hours.local}


# -- The answer at the top.


# By the kind of a day's answer.
_ON_A_DAY = {
    "yes": translatable("On %(day)s, a call to %(number)s was lawful."),
    "part": translatable("On %(day)s, a call to %(number)s was lawful in part."),
    "no": translatable("On %(day)s, a call to %(number)s was not lawful."),
    "unproven": translatable("On %(day)s, a call to %(number)s cannot be shown to be lawful."),
    "unreleased": translatable(
        "On %(day)s, a call to %(number)s would have been lawful, but no lead was released."
    ),
    "unreleased-part": translatable(
        "On %(day)s, a call to %(number)s would have been lawful in part, but no lead was released."
    ),
}
_ON_DAYS = {
    "yes": translatable("A call to %(number)s was lawful on these days: %(days)s."),
    "part": translatable("A call to %(number)s was lawful in part on these days: %(days)s."),
    "no": translatable("A call to %(number)s was not lawful on these days: %(days)s."),
    "unproven": translatable("A call to %(number)s cannot be shown to be lawful on these days: %(days)s."),
    "unreleased": translatable(
        "A call to %(number)s would have been lawful on these days, but no lead was released: %(days)s."
    ),
    "unreleased-part": translatable(
        "A call to %(number)s would have been lawful in part on these days, but no lead was released: %(days)s."
    ),
}
_WHY = {
    "yes": translatable("Why it was lawful: %(why)s."),
    "part": translatable("Why it was lawful in part: %(why)s."),
    "no": translatable("Why it was not lawful: %(why)s."),
    "unproven": translatable("Why it cannot be shown to be lawful: %(why)s."),
    "unreleased": translatable("Why it would have been lawful: %(why)s."),
    "unreleased-part": translatable("Why it would have been lawful in part: %(why)s."),
}


def sentences(number: str, days: Sequence[DayAnswer]) -> list[str]:
    """Return two paragraphs: on which days a call was lawful, and why."""
    if len(days) == 1:
        on = say(_ON_A_DAY[kind_of(days[0])], day=days[0].day, number=number)
        return [on, say("The reason: %(why)s.", why=days[0].reason)]
    by_kind: dict[str, list[DayAnswer]] = {}
    for day in days:
        by_kind.setdefault(kind_of(day), []).append(day)
    which = [
        say(_ON_DAYS[kind], number=number, days=_spans(answers, len(days)))
        for kind, answers in by_kind.items()
    ]
    why = [say(_WHY[kind], why=_reasons(answers)) for kind, answers in by_kind.items()]
    return [" ".join(which), " ".join(why)]


def kind_of(answer: DayAnswer) -> str:
    """`lawful` of a day; of one on which no lead was released and calls would have been lawful, "unreleased"."""
    if answer.released or answer.lawful not in {"yes", "part"}:
        return answer.lawful
    return "unreleased" if answer.lawful == "yes" else "unreleased-part"


_SUMMARIES = {
    "yes": translatable("yes"),
    "part": translatable("in part"),
    "no": translatable("no"),
    "unproven": translatable("not proven"),
    "unreleased": translatable("would have been; no lead was released"),
    "unreleased-part": translatable("would have been in part; no lead was released"),
}


def summary(answer: DayAnswer) -> str:
    """Whether a call was lawful, in a few words."""
    return say(_SUMMARIES[kind_of(answer)])


def _reasons(answers: Sequence[DayAnswer]) -> str:
    """The reason of most of these days, and that there are others."""
    counts = Counter(answer.reason for answer in answers)
    ((why, days),) = counts.most_common(1)
    if len(counts) == 1:
        return why
    return say(
        "%(why)s (on %(count)s of these %(all)s days; part 1 has the other reasons)",
        why=why,
        count=days,
        all=len(answers),
    )


def _spans(answers: Sequence[DayAnswer], days: int) -> str:
    spans = list(spans_of(answer.day for answer in answers))
    if len(spans) > _SPANS_SHOWN:
        return say("%(count)s of %(all)s", count=len(answers), all=days)
    return "; ".join(span(first, last) for first, last in spans)


def span(first: date, last: date) -> str:
    """The days from one to another in words."""
    if first == last:
        return day_in_words(first)
    return say("%(first)s to %(last)s", first=first, last=last)


def spans_of(days: Iterable[date]) -> Iterator[tuple[date, date]]:
    """Join days that follow each other: (first, last) of each span."""
    ordered = list(days)
    begin = 0
    for at in range(1, len(ordered) + 1):
        if at == len(ordered) or ordered[at] - ordered[at - 1] != timedelta(1):
            yield ordered[begin], ordered[at - 1]
            begin = at


def merged(days: Sequence[DayAnswer]) -> list[tuple[date, date, DayAnswer]]:
    """Join days with the same answer: (first, last, answer) of each span."""
    spans: list[tuple[date, date, DayAnswer]] = []
    for day in days:
        follows = bool(spans) and day.day - spans[-1][1] == timedelta(1)
        if follows and (spans[-1][2].lawful, spans[-1][2].says) == (day.lawful, day.says):
            spans[-1] = (spans[-1][0], day.day, spans[-1][2])
        else:
            spans.append((day.day, day.day, day))
    return spans

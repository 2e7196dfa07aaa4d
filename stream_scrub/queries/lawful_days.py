"""Whether a call was lawful on each day, by the verdicts, what ended them, and the law. Pure.

What ends a verdict is replayed: the number's own changes on the log, and the calls and refusals that diallers reported.
The recalls are what diallers were told. A verdict ends by whichever comes first.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import groupby
from typing import Literal, NamedTuple

import msgspec

from stream_scrub.clock import parse_zoned
from stream_scrub.model import Reason
from stream_scrub.queries.answer import day as in_words
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
    """A verdict on the number, and what it rests on."""

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
            return "files of leads were scrubbed whose results are not here"
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
    endings = [each for each in call.endings if _ended(each, upto, judged)]
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
    for each in notices:
        at = parse_zoned(each.at)
        if at > upto:
            break
        if each.kind == "recalled" and (at >= call.at or _overtakes(at, each.index, call)):
            return each
        if each.kind == "suspended" and each.register in call.registers and at >= call.at:
            suspended[each.register] = each
        elif each.kind == "resumed":
            suspended.pop(each.register, None)
    return next(iter(suspended.values()), None)


def _overtakes(at: datetime, position: int, call: JudgedCall) -> bool:
    """Whether a moment and a position, given before a verdict by the clocks of others, are of a newer index."""
    return position > call.position and call.at - at <= _ONE_LOG


def without_overtaken(calls: Iterable[JudgedCall]) -> list[JudgedCall]:
    """Leave out verdicts that allow, by an older index than that of one before them that blocks for the same campaigns: they
    are of another worker, whose index was older or whose clock is ahead. `calls` are in the order of their moments."""
    kept: list[JudgedCall] = []
    blocking: dict[tuple[str, ...], deque[JudgedCall]] = defaultdict(deque)  # the newest index first
    for call in calls:
        before = blocking[call.campaigns]
        while before and call.at - before[0].at > _ONE_LOG:
            before.popleft()
        if call.allowed and before and before[0].position > call.position:
            continue
        kept.append(call)
        if not call.allowed:
            while before and before[-1].position <= call.position:
                before.pop()
            before.append(call)
    return kept


def answers(
    days: Sequence[date],
    zone: tzinfo,
    calls: Sequence[JudgedCall],
    notices: Sequence[RecallNotice],
    plain: Mapping[date, PlainJudgement],
    gaps: Gaps = NO_GAPS,
) -> list[DayAnswer]:
    """Return the answer for each day. `calls` and `notices` are in the order of their moments. No day that a gap may concern
    is lawful."""
    return [_answer(day, zone, calls, notices, plain.get(day), gaps) for day in days]


def _answer(
    day: date,
    zone: tzinfo,
    calls: Sequence[JudgedCall],
    notices: Sequence[RecallNotice],
    plain: PlainJudgement | None,
    gaps: Gaps,
) -> DayAnswer:
    by_campaigns = {
        campaigns: changes
        for campaigns in dict.fromkeys(each.campaigns for each in calls)
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
            says=f"{gap.why}; {_said_of(by_campaigns, day, zone)}",
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
                f"{_for(campaigns) if several else ''}{each.reason}"
                for campaigns, changes in decided.items()
                for each in changes
            )
        ),
        says=_said_of(by_campaigns, day, zone),
    )


def _said_of(by_campaigns: Mapping[tuple[str, ...], Sequence["_Change"]], day: date, zone: tzinfo) -> str:
    return "; ".join(
        f"{_for(campaigns)}{_said(changes, day, zone)}" for campaigns, changes in by_campaigns.items()
    )


def _for(campaigns: tuple[str, ...]) -> str:
    named = " and ".join(filter(None, campaigns))
    return f"for {named}: " if named else ""


def _unreleased(day: date, plain: PlainJudgement | None, unknown: str) -> DayAnswer:
    """The answer for a day on which no verdict that is left allowed or blocked the number. `unknown`: why it is not
    known whether a lead was released."""
    why = "the day has not come yet" if plain is None else "the log begins later"
    if plain is None or plain.before_log:
        return DayAnswer(day=day, lawful="unproven", released=False, reason=why, says=why)
    would = "would have been allowed" if plain.allowed else "would have been blocked"
    would += "" if plain.has_hours else ", but at no hour of that day"
    lawful: Lawful = "yes" if plain.allowed and plain.has_hours else "no"
    why = plain.why
    if lawful == "yes" and plain.blocked_before:
        lawful, would, why = "part", "would have been blocked for a part of that day", plain.blocked_before
    released = "no lead with this number was released"
    if unknown:
        released = f"{unknown}: whether a lead with this number was released is not known"
        lawful = "no" if lawful == "no" else "unproven"
    return DayAnswer(
        day=day,
        lawful=lawful,
        released=False,
        reason=unknown if unknown and lawful == "unproven" else plain.blocked_before or plain.reason,
        says=f"{released}; a call that states nothing more {would}: {why}",
    )


def _changes(
    day: date, zone: tzinfo, calls: Sequence[JudgedCall], notices: Sequence[RecallNotice]
) -> list[_Change]:
    """What was so at the beginning of the day, if an earlier verdict still counted, and each change on it."""
    begins, ends = bounds(day, zone)
    since = begins  # from when on a verdict has allowed calls
    earlier = [each for each in calls if each.day < day]
    last = earlier[-1] if earlier else None
    changes = list[_Change]()
    if last is not None and _covers(last, day) and _stop_of(last, notices, begins) is None:
        why = f"the verdict of {in_words(last.day)} still counted: {last.why}"
        changes.append(_allowed(last, day, begins, (begins, ends), why))
    else:
        last = None
    for each in [each for each in calls if each.day == day]:
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
        unknown = f"the verdict of {in_words(call.day)} names no hours of this day"
        return _Change(at, True, unknown, f"{unknown}; {why}", False, call.at)
    closed = f"the law allows no call at that time ({call.hours.local})"
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
        return f"the register {stop.register} could not be used"
    register = f" ({stop.register})" if stop.register else ""
    return f"the number was recalled, because {_means(stop.reason)}{register}"


def _means(reason: str) -> str:
    """A notice of a later release may have a reason that is not known here."""
    return means(reason).replace("the number", "it", 1) if reason in {*Reason} else reason


def _said(changes: Sequence[_Change], day: date, zone: tzinfo) -> str:
    """The changes of a day in words, with their times where there are several. Those that change nothing are left out."""
    spans = [next(same) for _, same in groupby(changes, key=lambda each: (each.open, each.why))]
    if len(spans) == 1:
        begins = spans[0].at.astimezone(zone)
        since = f"{_clock(spans[0].at, day, zone)}: " if spans[0].open and begins.time() > time() else ""
        return f"{since}{spans[0].why}"
    return "; ".join(
        f"{_clock(each.at, day, zone)} {'allowed' if each.open else 'not allowed'}, because {each.why}"
        for each in spans
    )


def _clock(at: datetime, day: date, zone: tzinfo) -> str:
    local = at.astimezone(zone)
    return f"from {local:%H:%M}" if local.date() == day else f"from {in_words(local)}"


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
        each
        for each in calls
        # An attempt has the second in which it began, and a dialler may call in that of the verdict.
        if each.at.replace(microsecond=0) <= at
        and (not campaigns or not each.campaigns or {*campaigns} & {*each.campaigns})
    ]
    if not before:
        return AttemptJudgement(False, "no verdict before it is left on the topics")
    last, day = before[-1], at.astimezone(zone).date()
    given = f"the verdict of {in_words(last.day)}, {last.at.astimezone(zone):%H:%M}"
    if not last.allowed:
        return AttemptJudgement(False, f"{given} blocked it: {last.why}")
    if not _covers(last, day):
        return AttemptJudgement(False, f"{given} counted until {in_words(last.until or day)} only")
    if (stop := _stop_of(last, notices, at, judged)) is not None:
        return AttemptJudgement(False, f"{given} no longer counted: {stop.why}")
    if gap is not None and last.at < gap.before:
        return AttemptJudgement(False, f"{given} allowed it, but {gap.why}")
    if last.hours is not None and not last.hours.at(at):
        when = (
            "names no hours of this day" if _is_after_hours(last, day) else "allowed it, but not at this hour"
        )
        return AttemptJudgement(False, f"{given} {when} ({last.hours.local})")
    hours = ", within its hours" if last.hours is not None else ""
    proven = "" if last.proven else "; the replay does not give that verdict again"
    return AttemptJudgement(last.proven, f"{given} allowed it{hours}{proven}")


# -- The answer at the top.


def sentences(number: str, days: Sequence[DayAnswer]) -> list[str]:
    """Return two sentences: on which days a call was lawful, and why."""
    kinds: dict[str, list[DayAnswer]] = {}
    for each in days:
        kinds.setdefault(_kind(each), []).append(each)
    if len(days) == 1:
        (kind,) = kinds
        return [
            f"On {in_words(days[0].day)}, a call to {number} {kind.rstrip(',')}.",
            f"The reason: {days[0].reason}.",
        ]
    when = "; ".join(f"{kind} {_spans(found, len(days))}" for kind, found in kinds.items())
    why = "; ".join(f"where it {kind.rstrip(',')}, {_reasons(found)}" for kind, found in kinds.items())
    return [f"A call to {number} {when}.", f"{why[:1].upper()}{why[1:]}."]


def _kind(each: DayAnswer) -> str:
    if not each.released and each.lawful in {"yes", "part"}:
        part = "" if each.lawful == "yes" else " in part"
        return f"would have been lawful{part}, but no lead was released,"
    return {
        "yes": "was lawful",
        "no": "was not lawful",
        "part": "was lawful in part",
        "unproven": "cannot be shown to be lawful",
    }[each.lawful]


def _reasons(found: Sequence[DayAnswer]) -> str:
    """The reason of most of these days, and that there are others."""
    counts = Counter(each.reason for each in found)
    ((most, days),) = counts.most_common(1)
    return (
        most
        if len(counts) == 1
        else f"on {days} of these {len(found)} days {most} (the others are in part 1)"
    )


def _spans(found: Sequence[DayAnswer], of: int) -> str:
    spans = list(spans_of(each.day for each in found))
    if len(spans) > _SPANS_SHOWN:
        return f"on {len(found)} of {of} days"
    return " and ".join(_span(first, last) for first, last in spans)


def _span(first: date, last: date) -> str:
    return f"on {in_words(first)}" if first == last else f"from {in_words(first)} to {in_words(last)}"


def spans_of(days: Iterable[date]) -> Iterator[tuple[date, date]]:
    """Join days that follow each other: (first, last) of each span."""
    ordered = list(days)
    begin = 0
    for place in range(1, len(ordered) + 1):
        if place == len(ordered) or ordered[place] - ordered[place - 1] != timedelta(1):
            yield ordered[begin], ordered[place - 1]
            begin = place


def merged(days: Sequence[DayAnswer]) -> list[tuple[date, date, DayAnswer]]:
    """Join days with the same answer: (first, last, answer) of each span."""
    spans: list[tuple[date, date, DayAnswer]] = []
    for each in days:
        follows = bool(spans) and each.day - spans[-1][1] == timedelta(1)
        if follows and (spans[-1][2].lawful, spans[-1][2].says) == (each.lawful, each.says):
            spans[-1] = (spans[-1][0], each.day, spans[-1][2])
        else:
            spans.append((each.day, each.day, each))
    return spans

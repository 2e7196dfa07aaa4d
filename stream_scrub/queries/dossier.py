"""`dossier`: everything that is known of one number over some days, for a complaint or an access request.

One pass over the log gives the history of the number, the replay of every verdict, and the answer for days without one.
`--json` writes the members of these types in this order. It contains no other person's number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from stream_scrub import __version__
from stream_scrub.call import VOICE
from stream_scrub.clock import parse_zoned, utc_seconds
from stream_scrub.config import Settings
from stream_scrub.config.settings import outputs_of
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.fanout.receipt import FanoutReceipt
from stream_scrub.kafka import clients
from stream_scrub.languages import ENGLISH, need_language, read_in, say, translatable
from stream_scrub.log import rules_on_log
from stream_scrub.model import Deadline, Logger, LogReader, Progress
from stream_scrub.numbering import e164
from stream_scrub.ops import scrubbed_files
from stream_scrub.ops.scrubbed_files import ScrubbedFile
from stream_scrub.queries import explain as explaining
from stream_scrub.queries import file_results, find_emitted, gaps, history, lawful_days, side_topics
from stream_scrub.queries.dossier_verdicts import DossierVerdict, verdict_of
from stream_scrub.queries.explain import RuleThen
from stream_scrub.queries.find_emitted import EmittedBetween, FoundProspect
from stream_scrub.queries.history import LoggedChange, Membership
from stream_scrub.queries.lawful_days import DayAnswer, Ending, Gap, JudgedCall, PlainJudgement
from stream_scrub.queries.log_watch import LogWatch
from stream_scrub.queries.side_topics import ReportedAttempt, SideRecords, TopicKept
from stream_scrub.recall_notice import RecallNotice
from stream_scrub.registry.records import JSON, RecordReader, read_all, records
from stream_scrub.requests import rests
from stream_scrub.requests.rests import RestPeriod
from stream_scrub.rules import Archive, Rulebook
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Terms
from stream_scrub.scrub.facts import Facts
from stream_scrub.stamp import CallHours
from stream_scrub.texts import plain

DAYS_MAX = 3_660  # of one dossier: ten years
_EVER = date(2001, 1, 1)  # before any log
_READ_WITH = {
    "stream-scrub": __version__,
    "phonenumbers": version("phonenumbers"),
    "tzdata": version("tzdata"),
}


@dataclass(frozen=True, slots=True)
class DossierRequest:
    """What a dossier is about. The days are those of the number's country; `whole`: everything that is held. `case`: the case
    number of who asks. Raises ConfigError for days that cannot be, and for a language without a catalogue."""

    number: int
    region: str  # of requests and attempts that name none
    first: date
    last: date
    campaign: str = ""
    made_by: str = ""
    case: str = ""
    language: str = ENGLISH
    whole: bool = False

    @classmethod
    def of_everything(cls, number: int, region: str, **more: str) -> "DossierRequest":
        """Everything that is held on a number. `more`: its other members."""
        return cls(number, region, _EVER, datetime.now(UTC).date() + timedelta(days=1), **more, whole=True)

    def __post_init__(self) -> None:
        need_language(self.language)
        if self.whole:
            return
        if self.last < self.first:
            why = say("this day is before the first day")
            raise ConfigError([f"--to: {why}"])
        if (self.last - self.first).days >= DAYS_MAX:
            why = say("at most %(days)s days", days=DAYS_MAX)
            raise ConfigError([f"--from and --to: {why}"])
        find_emitted.need_years(self.first, self.last)


class GoneRecords(msgspec.Struct, frozen=True, kw_only=True):
    """Records that Kafka has deleted from a topic: those written before that moment may be gone."""

    topic: str
    before: str


class DossierAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt to call, as its dialler reported it, without members that no schema knows. `covered`: the last verdict before
    it allowed it at that moment."""

    at: str
    refused: bool
    covered: bool
    says: str
    partition: int
    offset: int
    record: msgspec.Raw


class LawSpan(msgspec.Struct, frozen=True, kw_only=True):
    """Days with one rule. `by`: `stamp`, the rule on the stamps of those days; `installed`, the rule that is installed
    now, on days without a verdict; `none`, no rule."""

    first: date
    last: date
    rules: str
    by: str


class RegisterHead(msgspec.Struct, frozen=True, kw_only=True):
    """A register at the log's end: the position of its last delta, and the head of its hash chain."""

    register: str
    seq: int
    position: int
    effective_at: str
    chain: str


class LogState(msgspec.Struct, frozen=True, kw_only=True):
    """The log that was read, each delta of which continued its register's hash chain."""

    topic: str
    end: int
    position: int
    time: str | None
    registers: list[RegisterHead]


class Dossier(msgspec.Struct, frozen=True, kw_only=True):
    """The dossier. `first`, `last`: None if it is about everything that is held; `days` are those with a verdict or a call then.
    `times_of`: the zone of the days. `made_by`: who made it, as the system knows it. `answer`: two
    paragraphs. Moments are in UTC, but for those in sentences, which are in `language`."""

    company: str
    case: str
    language: str
    number: str
    region: str
    line: str
    first: date | None
    last: date | None
    campaign: str
    times_of: str
    made_at: str
    made_by: str
    answer: list[str]
    gone: list[GoneRecords]
    days: list[DayAnswer]
    verdicts: list[DossierVerdict]
    changes: list[LoggedChange]
    registers: list[Membership]
    attempts: list[DossierAttempt]
    recalls: list[RecallNotice]
    deliveries: list[FanoutReceipt]
    scrubbed: list[ScrubbedFile] | None
    read_proofs: list[str]
    law: list[LawSpan]
    rules: list[RuleThen]
    log: LogState
    kept: list[TopicKept]
    not_proven: list[str]
    read_with: dict[str, Any]


def gather(
    settings: Settings, log: Logger, asked: DossierRequest, progress: Progress, results: Sequence[Path] = ()
) -> Dossier:
    """Read the topics and the log. `results`: folders with the results of files. Raises ConfigError (a folder without sound results), Corrupt, Unavailable, Refused, StaleIndex."""
    book = scrubbing.law(settings)
    since = asked.first - timedelta(days=gaps.look_back_days(book, asked.number))
    try:
        emitted = find_emitted.emitted_between(settings, log, asked.number, since, asked.last, progress)
    except OSError as error:
        raise Refused(f"files.index_dir: {error.strerror or error}: name another folder, or none") from error
    beginning = datetime.combine(since, time(), UTC) - find_emitted.AROUND
    sides = side_topics.of_number(settings, log, asked.number, beginning, progress)
    in_files = file_results.read(results, asked.number, settings, book)
    released = [each for each in in_files.found if since <= each.day <= asked.last]
    emitted = emitted._replace(found=sorted([*emitted.found, *released], key=lambda each: each.stamp.at))
    sides = sides._replace(read_proofs=in_files.proofs)
    sides = sides._replace(
        scrubbed=scrubbed_files.between(settings.worker.state_dir, beginning.date(), asked.last)
    )
    brokers = clients.Brokers(settings, log)
    with brokers.topics() as there:
        outputs = outputs_of(brokers.routes(there))
        topic_states = there.describe([*outputs, settings.topics.log], clients.deadline())
    topics_kept = [
        TopicKept(topic=name, holds=_holds(settings, name), keep_days=side_topics.keep_days(each))
        for name, each in topic_states.items()
    ]
    with brokers.reading() as reader:
        return of(
            reader,
            asked,
            emitted,
            sides._replace(kept={**{each.topic: each for each in topics_kept}, **sides.kept}),
            settings,
            progress,
            clients.deadline(),
            reads=records(settings, scrubbing.terms(settings).members, log),
        )


def _holds(settings: Settings, topic: str) -> str:
    if topic == settings.topics.log:
        return translatable("every change of every register, and the requests behind them")
    if settings.topics.inputs.verdict_of(topic) == "allowed":
        return translatable("allowed prospects with their verdicts")
    return translatable("blocked prospects with their verdicts")


def of(
    reader: LogReader,
    asked: DossierRequest,
    emitted: EmittedBetween,
    sides: SideRecords,
    settings: Settings,
    progress: Progress,
    deadline: Deadline,
    now: datetime | None = None,
    reads: RecordReader = JSON,
) -> Dossier:
    """Make the dossier from the records, in one pass over the log. `now`: the moment, for the tests. Raises Corrupt,
    Unavailable, Refused, StaleIndex, ConfigError (a stamp that is none)."""
    book, now = scrubbing.law(settings), now or datetime.now(UTC)
    with read_in(asked.language, find_emitted.zone_of(book, asked.number)):
        terms = scrubbing.terms(settings, header=True, hold=False)
        found = [each for each in emitted.found if _is_of_campaign(each, asked.campaign, terms, reads)]
        prospects, numbers = [each.prospect for each in found], [asked.number]
        replays = explaining.Replays(reader, prospects, settings, progress, deadline, None, numbers, reads)
        resting = rests.rests([attempt.attempt for attempt in sides.attempts], book)
        watch = LogWatch(asked, settings, terms, now, found, replays, sides)
        explained = replays.each(watch.take)
        history.need_finished(replays.past.mark)
        replays.past.need_keys()
        watch.finish(replays.past.index)
        verdicts = [
            verdict_of(each, explanation, asked.number, asked.first)
            for each, explanation in zip(found, explained, strict=True)
        ]
        calls = _calls(found, verdicts, replays.read, terms, watch.endings, resting)
        lost = gaps.gone_from(emitted, sides, (settings.topics.log, reader.bounds()[0]), now)
        open_left = gaps.gaps_of(lost, _unread_days(sides, watch.zone), settings, book, asked.number)
        plain = _rested(watch.plain, resting, watch.zone)
        days = lawful_days.answers(watch.days, watch.zone, calls, sides.notices, plain, open_left)
        archive = rules_on_log.kept(replays.past.rules)
        law, rules = _law(watch.days, verdicts, book, watch.region, archive)
        return Dossier(
            company=settings.evidence.company,
            case=asked.case,
            language=asked.language,
            number=e164(asked.number),
            region=watch.region,
            line=watch.line,
            first=None if asked.whole else asked.first,
            last=None if asked.whole else asked.last,
            campaign=asked.campaign,
            times_of=str(watch.zone),
            made_at=utc_seconds(now),
            made_by=asked.made_by,
            answer=_answer(asked, days, found, watch, sides),
            gone=[GoneRecords(topic=topic, before=utc_seconds(before)) for topic, before in lost.items()],
            days=days,
            verdicts=[verdict for verdict in verdicts if not verdict.before or _counts(verdict, asked.first)],
            changes=watch.changes,
            registers=[history.membership(each) for each in replays.past.standing(asked.number)],
            attempts=_attempts(sides.attempts, asked, calls, sides.notices, watch, open_left.endings),
            recalls=_recalls(sides.notices, calls),
            deliveries=sides.deliveries,
            scrubbed=None if sides.scrubbed is None else list(sides.scrubbed),
            read_proofs=sorted(sides.read_proofs),
            law=law,
            rules=rules,
            log=_log_state(settings.topics.log, reader, replays.past),
            kept=list(sides.kept.values()),
            not_proven=gaps.not_proven(
                emitted, sides, lost, by_installed=any(each.by == "installed" for each in law)
            ),
            read_with=_READ_WITH,
        )


def _is_of_campaign(found: FoundProspect, campaign: str, terms: Terms, reads: RecordReader) -> bool:
    (value,) = read_all(reads, [found.prospect.value], [found.prospect.headers]) if campaign else [None]
    campaigns = explaining.facts_in(value, terms).campaigns
    return not campaign or plain(campaign) in campaigns


def _counts(verdict: DossierVerdict, first: date) -> bool:
    """Whether a verdict of an earlier day allowed a call on the first day."""
    return verdict.verdict == "allowed" and (verdict.until is None or verdict.until >= first)


# -- Verdicts.


def _calls(
    found: Sequence[FoundProspect],
    verdicts: Sequence[DossierVerdict],
    read: Sequence[bytes | None],
    terms: Terms,
    endings: Mapping[int, Ending],
    resting: Sequence[RestPeriod],
) -> list[JudgedCall]:
    """The verdicts on calls as the days need them: without prospects that were blocked for another of their numbers."""
    calls = []
    for at, (each, verdict, value) in enumerate(zip(found, verdicts, read, strict=True)):
        if each.stamp.channel != VOICE or verdict.blocked_for_another:
            continue
        facts = explaining.facts_in(value, terms)
        ends = [endings[at]] if at in endings else []
        ends += [
            Ending(max(rest.since, each.stamp.at), rest.why, rest.why, True, rest.by)
            for rest in resting
            if rest.until > each.stamp.at and rest.concerns(facts.professionals)
        ]
        calls.append(_call(each, verdict, facts, tuple(sorted(ends, key=lambda end: end.at))))
    return lawful_days.without_overtaken(calls)


def _call(
    found: FoundProspect, verdict: DossierVerdict, facts: Facts, endings: tuple[Ending, ...]
) -> JudgedCall:
    explanation, allowed = verdict.explanation, verdict.verdict == "allowed"
    hours = found.stamp.call
    if hours is None and explanation is not None and "call" in explanation.stamp:  # of a row of a file
        hours = msgspec.convert(explanation.stamp["call"], CallHours)
    entry = next(iter(explanation.numbers), None) if explanation is not None else None
    if entry is None:
        parts = [verdict.reason]
    elif entry.verdict != verdict.verdict:
        parts = [
            say(
                "its stamp says %(stamped)s, and the log gives %(logged)s",
                stamped=verdict.reason,
                logged=entry.reason,
            )
        ]
    else:
        parts = list(entry.reasons)
    if allowed and hours is not None:
        parts[0] = say("%(why)s, within the hours (%(hours)s)", why=parts[0], hours=hours.local)
    if allowed and verdict.until is not None:
        parts.append(say("the verdict counts until %(day)s", day=verdict.until))
    return JudgedCall(
        at=found.stamp.at,
        day=found.day,
        campaigns=facts.campaigns,
        allowed=allowed,
        reason=parts[0],
        why="; ".join(parts),
        until=verdict.until,
        position=found.stamp.index,
        registers=frozenset(register.register for register in entry.registers) if entry else frozenset(),
        hours=hours,
        proven=explanation is not None and explanation.same,
        professionals=facts.professionals,
        endings=endings,
    )


# -- What else was found.


def _rested(
    plain: Mapping[date, PlainJudgement], resting: Sequence[RestPeriod], zone: tzinfo
) -> dict[date, PlainJudgement]:
    """What plain calls would have got, with the rests by the calls that were reported."""
    judged = dict(plain)
    for day, each in plain.items():
        begins, ends = lawful_days.bounds(day, zone)
        for rest in resting if each.allowed else ():
            if rest.since <= begins and rest.until >= ends:
                judged[day] = PlainJudgement(False, rest.why, rest.why)
                break
            if rest.since < ends and rest.until > begins:
                judged[day] = each._replace(blocked_before=each.blocked_before or rest.why)
    return judged


ACCESS = translatable(
    "Article 15 GDPR asks besides: why the data are processed, who receives them, for how long they are kept, the rights to"
    " correction, erasure and complaint, and whether a decision is automated. Add what only the operator knows."
)


def _answer(
    asked: DossierRequest,
    days: Sequence[DayAnswer],
    found: Sequence[FoundProspect],
    watch: LogWatch,
    sides: SideRecords,
) -> list[str]:
    """Two sentences at the top."""
    if not asked.whole:
        return lawful_days.sentences(e164(asked.number), days)
    listed = say(
        "Held on %(number)s: verdicts %(verdicts)s, changes in registers %(changes)s, reported calls and refusals"
        " %(calls)s, deliveries to other systems %(deliveries)s.",
        number=e164(asked.number),
        verdicts=len(found),
        changes=len(watch.changes),
        calls=len(sides.attempts),
        deliveries=len(sides.deliveries),
    )
    return [listed, say(ACCESS)]


def _unread_days(sides: SideRecords, zone: tzinfo) -> list[date]:
    """The days of scrubs of files that allowed leads, and whose results were not read."""
    unread = [each for each in sides.scrubbed or () if each.allowed and each.proof not in sides.read_proofs]
    return [parse_zoned(each.at).astimezone(zone).date() for each in unread]


def _attempts(
    attempts: Sequence[ReportedAttempt],
    asked: DossierRequest,
    calls: Sequence[JudgedCall],
    notices: Sequence[RecallNotice],
    watch: LogWatch,
    gap: Gap | None,
) -> list[DossierAttempt]:
    pages = []
    for each, call in zip(attempts, rests.calls_in([attempt.attempt for attempt in attempts]), strict=True):
        day = each.at.astimezone(watch.zone).date()
        of_another = asked.campaign and each.campaigns and plain(asked.campaign) not in each.campaigns
        if asked.first <= day <= asked.last and not of_another:
            judged = lawful_days.of_attempt(each.at, each.campaigns, watch.zone, calls, notices, call, gap)
            pages.append(
                DossierAttempt(
                    at=utc_seconds(each.at),
                    refused=each.attempt.refused,
                    covered=judged.covered,
                    says=judged.says,
                    partition=each.partition,
                    offset=each.offset,
                    record=each.record,
                )
            )
    return pages


def _recalls(notices: Sequence[RecallNotice], calls: Sequence[JudgedCall]) -> list[RecallNotice]:
    """The recalls of the number, and the suspensions of registers that its verdicts rest on. Without keys of leads: one may
    be another person's number."""
    register_names = {name for call in calls for name in call.registers}
    return [
        msgspec.structs.replace(notice, key="")
        for notice in notices
        if notice.kind == "recalled" or notice.register in register_names
    ]


def _law(
    days: Sequence[date],
    verdicts: Sequence[DossierVerdict],
    book: Rulebook,
    region: str,
    archive: Archive,
) -> tuple[list[LawSpan], list[RuleThen]]:
    """The rule of each day, joined, and every rule that is named."""
    entries = [
        entry
        for verdict in verdicts
        if verdict.explanation is not None
        for entry in verdict.explanation.numbers
    ]
    rules = {
        rule.rules: msgspec.structs.replace(rule, text=_text(archive, book, rule.rules))
        for entry in entries
        for rule in (entry.rule, entry.residence)
        if rule is not None
    }
    by_day = {
        verdict.day: verdict.explanation.numbers[0].rule.rules
        for verdict in verdicts
        if verdict.explanation is not None
        and verdict.explanation.numbers
        and verdict.explanation.numbers[0].rule
        if "channel" not in verdict.explanation.stamp  # of calls
    }
    spans: list[LawSpan] = []
    for day in days:
        digest, by = by_day.get(day, ""), "stamp"
        if not digest:
            rule = book.on(region, day)
            digest, by = ("", "none") if rule is None else (rule.digest, "installed")
            if rule is not None and digest not in rules:
                where = "log" if archive.text(digest) is not None else "installed"
                rules[digest] = explaining.rule_then(rule, where)
        if spans and (spans[-1].rules, spans[-1].by) == (digest, by):
            spans[-1] = msgspec.structs.replace(spans[-1], last=day)
        else:
            spans.append(LawSpan(first=day, last=day, rules=digest, by=by))
    return spans, list(rules.values())


def _text(archive: Archive, book: Rulebook, digest: str) -> str:
    return (archive.text(digest) or book.texts.get(digest, b"")).decode("utf-8", "replace")


def _log_state(topic: str, reader: LogReader, past: history.NumberHistory) -> LogState:
    return LogState(
        topic=topic,
        end=reader.bounds()[1],
        position=past.index.position,
        time=history.millis(past.at_ms),
        registers=[
            RegisterHead(
                register=each.name,
                seq=each.seq,
                position=each.position,
                effective_at=utc_seconds(each.effective_at),
                chain=each.chain,
            )
            for _, each in sorted(past.index.registers.items())
        ],
    )

"""`explain`: replays the verdict on an emitted prospect and compares the result with its stamp.

The index is rebuilt from the log up to the stamp's position, the rule is the one of the stamp's digest, the time is the
stamp's, and the verdict comes from the `Scrubber` that workers run. Only the names of the prospect's members, and how
several numbers are combined, come from today's settings. `--json` writes the members of these types in this order.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from stream_scrub import __version__
from stream_scrub.clock import parse_zoned, utc_seconds
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Refused, Unavailable
from stream_scrub.files.report.notes import on_purposes
from stream_scrub.index import Index, Register
from stream_scrub.log import rules_on_log
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import read_into
from stream_scrub.model import (
    HASHED,
    INTERNAL,
    Deadline,
    Fault,
    Header,
    LogReader,
    LogRecord,
    Progress,
    RegisterName,
    Why,
    family,
)
from stream_scrub.queries import answer as answers
from stream_scrub.queries import history as histories
from stream_scrub.queries.history import LoggedChange, Membership, NumberHistory, Standing
from stream_scrub.registry.records import JSON, RecordReader, read_all
from stream_scrub.rules import Archive, Rule, Rulebook, digest_of, in_words, period
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decode import Unreadable, read_strictly
from stream_scrub.scrub.facts import NO_FACTS, Facts
from stream_scrub.stamp import STAMP, NumberStamp, header_in, written_on


class JudgingMembership(Membership, frozen=True, kw_only=True):
    """A membership at the time of the verdict, with the register's list, its age and allowed age in days, and whether it
    still had expired numbers."""

    source: str
    effective_at: str
    age_days: float | None
    max_age_days: int | None
    ends_overdue: bool


class StampDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A member of the stamp that differs, by its path."""

    field: str
    stamp: Any
    replayed: Any


class RuleThen(msgspec.Struct, frozen=True, kw_only=True):
    """The rule that decided. `text_from`: where its text is from (on the log, installed here, later on the log)."""

    rules: str
    country: str
    in_force: str
    source: str
    says: list[str]
    uncertain: list[str]
    text_from: str
    text: str


class NumberVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The verdict on one number and its grounds. `says`: the answer for people. `reasons`: why, each as a part of a
    sentence, the shortest first. `decided`: the rule's sentences that decided. `residence`: the rule of the person's residence, if in another country.
    `missing`: registers that the rule needs and that were not on the log."""

    number: str | None
    verdict: str
    reason: str
    says: str
    reasons: list[str]
    decided: list[str]
    rule: RuleThen | None
    registers: list[JudgingMembership]
    missing: list[str]
    residence: RuleThen | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The replayed verdict, and whether it is the same."""

    same: bool
    differences: list[StampDifference]
    stamp: dict[str, Any]
    replayed: dict[str, Any] | None
    index: dict[str, Any]  # its position, and the time of its last seal
    facts: dict[str, Any]  # of the prospect; rare ones are absent by default
    numbers: list[NumberVerdict]
    read_with: dict[str, Any]  # the versions and settings of the replay
    notes: list[str]


@dataclass(frozen=True, slots=True)
class EmittedProspect:
    """An emitted record."""

    value: bytes | None
    header: bytes | None = None  # `scrub`
    topic_verdict: str = ""  # the verdict of the topic it was read from
    headers: Sequence[Header] = ()


def emitted_at(
    reader: LogReader, topic: str, partition: int, offset: int, verdict: str, deadline: Deadline
) -> EmittedProspect:
    """Read the prospect at an offset of an output topic. Raises Refused if there is none, Unavailable."""
    first, end = reader.bounds()
    where = f"{topic}, partition {partition}"
    if not first <= offset < end:
        there = f"only {first} to {end - 1}" if first < end else "it is empty"
        raise Refused(f"{where} has no offset {offset}: {there}")
    reader.seek(offset)
    while not deadline.passed:
        records, at_end = reader.read(0.5)
        for record in records:
            if record.offset == offset:
                return EmittedProspect(record.value, header_in(record.headers), verdict, record.headers)
        if records or at_end:
            raise Refused(f"{where}: no committed prospect at offset {offset}")
    raise Unavailable(f"{where} could not be read in time")


def stamp_of(emitted: EmittedProspect) -> dict[str, Any]:
    """Return the stamp's members from the header or the value. Raises ConfigError if none can be replayed."""
    stamp: Any = None
    with suppress(ValueError, RecursionError):
        stamp = msgspec.json.decode(written_on(emitted.header, emitted.value) or b"")
    if not isinstance(stamp, dict):
        raise ConfigError([f"no stamp: the prospect has no member `{STAMP}`; give its header with --header"])
    position, at = stamp.get("index"), stamp.get("at")
    if not isinstance(position, int) or isinstance(position, bool) or not isinstance(at, str):
        raise ConfigError(["not a stamp of stream-scrub: `index` or `at` is missing"])
    moment_of(at)
    return stamp


def moment_of(text: str) -> datetime:
    """Parse `at` of a stamp. Raises ConfigError."""
    moment: datetime | None = None
    with suppress(ValueError):
        moment = parse_zoned(text)
    if moment is None or not 1970 < moment.year < 9000:
        raise ConfigError(["the stamp's `at` is not a time with a zone (RFC 3339)"])
    return moment


_ALWAYS = ("purposes", "contract", "campaigns")  # facts that are shown without a value too


class _StampRules(NamedTuple):
    """The rules that a stamp names, and where each text is from."""

    archive: Archive
    book: Rulebook
    text_from: Mapping[str, str]


def explain(
    reader: LogReader,
    emitted: Sequence[EmittedProspect],
    settings: Settings,
    progress: Progress,
    deadline: Deadline,
    limit: int | None = None,
    records: RecordReader = JSON,
) -> list[Explanation]:
    """Replay the verdicts, in one pass over the log.

    `limit`: the topic's record limit then; a prospect that exceeded it with its stamp was blocked. The deadline restarts
    with each record, as in `scan`, and applies to each pass over the log. `records` reads the prospects.
    Raises ConfigError if a stamp cannot be replayed, Corrupt, Unavailable, Refused.
    """
    replayed = Replays(reader, emitted, settings, progress, deadline, limit, records=records).each()
    if wrong := next((each for each in replayed if isinstance(each, ConfigError)), None):
        raise wrong
    return [each for each in replayed if isinstance(each, Explanation)]


# Gets a record, the index before it, and its change of the numbers.
Watch = Callable[[LogRecord, Index, Mapping[int, LoggedChange]], None]


class Replays:
    """The replay of some verdicts in one pass over the log. `also`: more numbers whose history it follows."""

    def __init__(
        self,
        reader: LogReader,
        emitted: Sequence[EmittedProspect],
        settings: Settings,
        progress: Progress,
        deadline: Deadline,
        limit: int | None = None,
        also: Sequence[int] = (),
        records: RecordReader = JSON,
    ) -> None:
        """Raises ConfigError if a record has no stamp that can be replayed."""
        self._reader, self._emitted, self._settings, self._limit = reader, emitted, settings, limit
        self._progress, self._patience_s = progress, deadline.left()
        self._stamps = [stamp_of(each) for each in emitted]
        self._terms = scrubbing.terms(settings, header=True, hold=False)
        # The prospects as JSON.
        self.read = read_all(records, [each.value for each in emitted], [each.headers for each in emitted])
        self._faults = [
            records.fault(each.value, each.headers) if value is None else None
            for value, each in zip(self.read, emitted, strict=True)
        ]
        numbers = [
            number
            for value, stamp in zip(self.read, self._stamps, strict=True)
            for number in _named(value, stamp, self._terms)
        ]
        region, keys = settings.prospect.default_region, self._terms.hash_keys
        self.past = NumberHistory([*also, *numbers], region, keys)
        self._since, (_, self._end) = 0, reader.bounds()
        self._rules: dict[tuple[int, str], _StampRules] = {}

    def each(self, watch: Watch | None = None) -> list[Explanation | ConfigError]:
        """Return the verdicts in the order of the records; an error for one whose rule's text is nowhere.

        `watch` gets every record, up to the log's end. Raises Corrupt, Unavailable, Refused.
        """
        explained = dict[int, Explanation | ConfigError]()
        positions = [stamp["index"] for stamp in self._stamps]
        last = self._end - 1 if watch else max(positions, default=-1)
        for at in sorted(range(len(positions)), key=positions.__getitem__):
            self._read(positions[at], last, watch)
            explained[at] = self._replayed(at)
        if watch is not None:
            self._read(None, last, watch)
        return [explained[at] for at in range(len(positions))]

    def again(self, place: int, index: Index, at: datetime) -> Mapping[str, Any] | None:
        """The stamp that a record's prospect would have got by an index at a moment, and by the rules of its own stamp. None
        if their text is nowhere."""
        try:
            rules = self._rules_of(self._stamps[place])
        except ConfigError:
            return None
        emitted, read = self._emitted[place], self.read[place]
        own = None if read is emitted.value else emitted.value
        return judged(read, rules.book, index, at, self._terms, emitted=own, fault=self._faults[place])

    def _read(self, upto: int | None, last: int, watch: Watch | None) -> None:
        """Read on up to a position; None: to the log's end."""
        if self._since > (self._end if upto is None else upto) or self._since >= self._end:
            return

        def take(record: LogRecord) -> None:
            before = self.past.index
            changes = self.past.take(record)
            if watch is not None:
                watch(record, before, changes)

        read_into(
            self._reader,
            take,
            Deadline.after(self._patience_s),
            since=self._since,
            upto=upto,
            on_read=lambda offset, _end: self._progress("reading the log", offset, last + 1),
        )
        self._since = self._end if upto is None else upto + 1

    def _replayed(self, place: int) -> Explanation | ConfigError:
        """Replay one verdict by the log up to its stamp's position."""
        emitted, read, stamp = self._emitted[place], self.read[place], self._stamps[place]
        past, terms, settings = self.past, self._terms, self._settings
        try:
            rules = self._rules_of(stamp)
        except ConfigError as error:
            return error
        at = moment_of(stamp["at"])
        # The stamp of an unreadable prospect names no rule, but a prospect that was too large is measured with the stamp
        # it would have had: use today's rules.
        book = scrubbing.law(settings) if stamp.get("reason") == "unreadable" else rules.book
        # The scrubber cuts the stamp out of an emitted value, so nothing but the stamp can differ.
        spoilt: dict[str, Any] = {
            name: stamp[name] for name in ("cause", "from", "timestamp") if name in stamp
        }
        spoilt_at = {0: spoilt} if "cause" in spoilt else {}  # a record that was blocked for its form
        asks_now = "callable_now" in stamp
        own = None if read is emitted.value else emitted.value
        replayed = judged(
            read,
            book,
            past.index,
            at,
            terms,
            self._limit,
            spoilt_at,
            asks_now=asks_now,
            emitted=own,
            fault=self._faults[place],
        )
        differences = list(differences_of(stamp, replayed or {}))
        if emitted.topic_verdict and emitted.topic_verdict != stamp.get("verdict"):
            differences.append(
                StampDifference(field="topic", stamp=stamp.get("verdict"), replayed=emitted.topic_verdict)
            )
        facts, prospect = facts_in(read, terms), settings.prospect.model_dump()
        of_stamp = (_of_stamp(digest, rules, facts, at) for digest in dict.fromkeys(_digests(stamp)))
        deciding = [rule for rule in of_stamp if rule is not None]
        return Explanation(
            same=not differences,
            differences=differences,
            stamp=stamp,
            replayed=replayed,
            index={"position": past.index.position, "time": histories.millis(past.at_ms)},
            facts=_shown(facts),
            numbers=[_number_verdict(entry, past, rules, facts, at) for entry in entries(replayed or {})],
            read_with={
                "stream-scrub": __version__,
                "phonenumbers": version("phonenumbers"),
                "tzdata": version("tzdata"),
                "prospect": {name: prospect[name] for name in prospect if name not in ("format", "stamp")},
            },
            notes=[
                f"rule {digest} was not on the log at that position; the installed text was used. {rules_on_log.HOW}"
                for digest, text_from in rules.text_from.items()
                if text_from == "installed"
            ]
            + list(_notes(stamp, replayed, past, self._end))
            + [note.said() for note in on_purposes(facts.purposes, deciding)],
        )

    def _rules_of(self, stamp: Mapping[str, Any]) -> _StampRules:
        """The rules of a stamp by the log as it is read now. Raises ConfigError."""
        digests = _digests(stamp)
        key = self.past.rules.position, " ".join(digests)
        if key not in self._rules:
            self._rules[key] = _resolved(
                digests, rules_on_log.kept(self.past.rules), self._settings, lambda: self._whole_log
            )
        return self._rules[key]

    @cached_property
    def _whole_log(self) -> Archive:
        """The texts of rules at the log's end, read in another pass."""
        replay = Replay(digest_of=digest_of)
        read_into(self._reader, replay.take, Deadline.after(self._patience_s))
        return rules_on_log.kept(replay.rules)


def _named(value: bytes | None, stamp: Mapping[str, Any], terms: Terms) -> list[int]:
    """Return the numbers of the stamp and of the prospect."""
    without_rules = judged(value, Rulebook([]), Index.empty(), moment_of(stamp["at"]), terms)
    return [*_numbers(stamp), *_numbers(without_rules or {})]


def judged(
    value: bytes | None,
    book: Rulebook,
    index: Index,
    at: datetime,
    terms: Terms,
    limit: int | None = None,
    spoilt: Mapping[int, Mapping[str, Any]] = MappingProxyType({}),
    *,
    asks_now: bool = False,
    emitted: bytes | None = None,
    fault: Fault | None = None,
) -> dict[str, Any] | None:
    """Return the stamp that the value gets; None if the value is too large for any stamp. `emitted`: as for `Scrubber.scrub`.
    `fault`: why the value is None."""
    scrubber = Scrubber(terms, book)
    context = scrubber.context(index, at, asks_now=asks_now)
    batch = scrubber.scrub(
        [value],
        index,
        at,
        limit=limit,
        floor=0,
        spoilt=spoilt,
        context=context,
        emitted=None if emitted is None else [emitted],
        fault_at=lambda _: fault or Fault(Why.NULL),
    )
    stamp = batch.stamps[0]
    return None if stamp is None else msgspec.json.decode(stamp, type=dict[str, Any])


def _resolved(
    digests: Iterable[str], on_log: Archive, settings: Settings, later: Callable[[], Archive]
) -> _StampRules:
    """Find the rules by digest: (a) on the log up to that position, else (b) among the installed rules, else (c) on the
    rest of the log. Raises ConfigError for an unknown rule."""
    digests_wanted, text_from, texts = sorted(set(digests)), dict[str, str](), list[bytes]()

    def take(where: str, text_of: Callable[[str], bytes | None]) -> None:
        for digest in digests_wanted:
            if digest not in text_from and (text := text_of(digest)) is not None:
                text_from[digest] = where
                texts.append(text)

    take("log", on_log.text)
    take("installed", scrubbing.law(settings).texts.get)
    if len(text_from) < len(digests_wanted):
        take("log, from later", later().text)
    if missing := [digest for digest in digests_wanted if digest not in text_from]:
        raise ConfigError(
            [
                f"rule {digest}: its text is neither on the log nor installed here. Put the old rule file into"
                f" rules.folder; {rules_on_log.HOW}"
                for digest in missing
            ]
        )
    archive = Archive(texts)
    return _StampRules(archive, archive.book(digests_wanted), text_from)


def differences_of(stamp: Any, replayed: Any, field: str = "") -> Iterable[StampDifference]:
    """Yield every member that differs, by its path."""
    if isinstance(stamp, dict) and isinstance(replayed, dict):
        for name in [*stamp, *(name for name in replayed if name not in stamp)]:
            path = f"{field}.{name}" if field else name
            yield from differences_of(stamp.get(name), replayed.get(name), path)
    elif isinstance(stamp, list) and isinstance(replayed, list) and field == "numbers":
        for i in range(max(len(stamp), len(replayed))):
            before, now = (each[i] if i < len(each) else None for each in (stamp, replayed))
            yield from differences_of(before, now, f"{field}[{i}]")
    elif stamp != replayed or type(stamp) is not type(replayed):
        yield StampDifference(field=field, stamp=stamp, replayed=replayed)


def _number_verdict(
    entry: Mapping[str, Any], past: NumberHistory, rules: _StampRules, facts: Facts, at: datetime
) -> NumberVerdict:
    """Return one number's verdict with its grounds: the rule and the memberships that count."""
    rule, home = (_of_stamp(entry.get(name, ""), rules, facts, at) for name in ("rules", "residence"))
    both = [each for each in (rule, home) if each is not None]
    number = _integer(entry.get("number"))
    standings = past.standing(number) if number is not None and number in past.numbers else []
    plain = answers.answer(
        msgspec.convert(entry, NumberStamp),
        rule,
        [standing.since for standing in standings if standing.held and standing.since is not None],
        artificial=facts.artificial,
    )
    return NumberVerdict(
        number=entry.get("number"),
        verdict=entry["verdict"],
        reason=entry["reason"],
        says=" ".join([f"{plain.headline}.", *plain.because]),
        reasons=list(plain.reasons),
        decided=list(plain.rule),
        rule=None if rule is None else rule_then(rule, rules.text_from[rule.digest]),
        registers=[
            _register(standing, rule, at)
            for standing in standings
            if any(_counts(standing, by, facts) for by in (rule, *both))
        ],
        missing=sorted({name for each in both for name in _missing(each, past.index)}) if number else [],
        residence=None if home is None else rule_then(home, rules.text_from[home.digest]),
    )


def _of_stamp(digest: str, rules: _StampRules, facts: Facts, at: datetime) -> Rule | None:
    """Return the rule that a stamp names, as in force then."""
    country = rules.archive.country(digest) if digest else None
    day = rules.book.day(country.code, at) if country is not None else None
    return country.on(day, facts.channel) if country is not None and day is not None else None


def rule_then(rule: Rule, text_from: str) -> RuleThen:
    """A rule in words, with its text."""
    return RuleThen(
        rules=rule.digest,
        country=rule.country,
        in_force=period(rule),
        source=rule.source,
        says=in_words(rule),
        uncertain=list(rule.uncertain),
        text_from=text_from,
        text=rule.text.decode("utf-8", "replace"),
    )


def _register(standing: Standing, rule: Rule | None, at: datetime) -> JudgingMembership:
    register: Register = standing.register
    return JudgingMembership(
        **msgspec.structs.asdict(histories.membership(standing)),
        source=register.source,
        effective_at=utc_seconds(register.effective_at),
        age_days=histories.age_days(register.effective_at, at),
        max_age_days=None if rule is None else rule.max_age_days.get(family(register.name)),
        ends_overdue=register.ends_overdue(at),
    )


def _counts(standing: Standing, rule: Rule | None, facts: Facts) -> bool:
    """Whether a register can change the verdict: the rule names it, and its scope, if any, is the prospect's. For a
    prospect without a campaign every opposition counts."""
    name = RegisterName.split(standing.register.name)
    if name.base in (INTERNAL, HASHED):
        to_caller = name.campaign in ("", *facts.campaigns) or facts.unnamed
        return name.purpose in ("", facts.channel) and to_caller
    if rule is None or name.base not in rule.registers | set(rule.scoped):
        return False
    purpose = name.purpose if name.window is None else name.window.purpose
    is_for_purpose = not purpose or purpose in map(rule.purpose, facts.purposes)
    return not name.scope or (name.campaign in facts.campaigns and is_for_purpose)


def _missing(rule: Rule, index: Index) -> list[str]:
    """Return the registers that the rule needs and that were not on the log."""
    on_log = index.registers.keys() | (index.families() & {*rule.needed})
    return sorted(rule.registers - {INTERNAL} - on_log)


def facts_in(value: bytes | None, terms: Terms) -> Facts:
    """The facts of a prospect; none if it cannot be read."""
    try:
        prospect = read_strictly(value or b"", terms.members)
    except Unreadable:
        return NO_FACTS
    return terms.facts_of(*prospect.facts)


def _shown(facts: Facts) -> dict[str, Any]:
    members = {
        name: fact
        for name, fact in facts._asdict().items()
        if name in _ALWAYS or fact != getattr(NO_FACTS, name)
    }
    return members if facts.relation is None else {**members, "relation": facts.relation._asdict()}


def _notes(
    stamp: Mapping[str, Any], replayed: Mapping[str, Any] | None, past: NumberHistory, end: int
) -> Iterable[str]:
    position = stamp["index"]
    if position >= end:
        yield f"the log ends at offset {end}, before the stamp's position {position}: another log, or a truncated one"
    elif past.index.position != position:
        yield f"the log has no seal at offset {position}: it is not the log of this stamp"
    reasons = [entry.get("reason") for entry in entries(stamp)]
    if "no-rule" in reasons:
        yield "a stamp without rules cannot prove that none was known: it was replayed without one"
    if "cause" in stamp:
        yield "the original record was unreadable: the cause is only in the stamp and cannot be verified"
    elif stamp.get("reason") == "unreadable" and (replayed or {}).get("reason") != "unreadable":
        yield "a prospect that exceeds the topic's record limit with its stamp is unreadable too: try --limit"


def entries(stamp: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the stamp's entries, one per number."""
    several = stamp.get("numbers")
    if isinstance(several, list) and all(isinstance(entry, dict) for entry in several):
        return several
    return [stamp] if "reason" in stamp else []


def _numbers(stamp: Mapping[str, Any]) -> list[int]:
    numbers = (_integer(entry.get("number")) for entry in entries(stamp))
    return [number for number in numbers if number is not None]


def _digests(stamp: Mapping[str, Any]) -> list[str]:
    digests = [entry.get(name) for entry in entries(stamp) for name in ("rules", "residence")]
    return [digest for digest in digests if isinstance(digest, str)]


def _integer(number: Any) -> int | None:
    """Parse a number in E.164."""
    digits = number.removeprefix("+") if isinstance(number, str) else ""
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else None

"""`explain`: judges an emitted prospect again, as it was judged then, and compares the result with its stamp.

The index is rebuilt from the log up to the stamp's position. The rule is the one that the stamp's digest names, the
moment is the stamp's, and the verdict comes from the very `Scrubber` that workers run. Only the names of the
prospect's members, and how several numbers are combined, come from today's configuration.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from stream_scrub import __version__
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.index import Index, Register
from stream_scrub.lists.audit import rules_on_log
from stream_scrub.lists.audit.number_history import NumberHistory, Standing
from stream_scrub.lists.log.replay import Replay
from stream_scrub.lists.log.scan import read_into
from stream_scrub.model import INTERNAL, Deadline, LogReader, Progress, RegisterName, family
from stream_scrub.queries import number_history
from stream_scrub.queries.emitted_prospect import EmittedProspect, moment_of, stamp_of
from stream_scrub.queries.evidence import (
    Difference,
    Explanation,
    IndexThen,
    JudgingMembership,
    NumberVerdict,
    ProspectFacts,
    ProspectRelation,
    ReadWith,
    RuleThen,
)
from stream_scrub.rules import CALLERS, FACTS, Archive, Rule, Rulebook, digest_of, in_words, period
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decode import Unreadable, read_strictly
from stream_scrub.scrub.facts import NO_FACTS, Facts
from stream_scrub.timestamps import utc_seconds
from stream_scrub.wiring import scrubbing

_SAYS = {
    "clear": "no register that the rule names holds the number",
    "consented": "a register of consents, or of numbers washed clean, that the rule asks for, or lets lift an opposition, holds it",
    "contract": "the prospect has a contract, and the rule lets that lift what would block it",
    "exempt": "the rule exempts a call for such purposes, to such a person, or under such a relation",
    "opposed": "a register of oppositions holds the number",
    "no-consent": "no register of consents to this caller, or of numbers washed clean, that the rule requires holds the number",
    "banned-purpose": "the rule bans calls for the prospect's purpose",
    "unknown-purpose": "the rule bans calls for some purposes, and what the prospect is for is not said, or not known",
    "not-callable": "the rule says that a number of this type or prefix is never a consumer's line",
    "invalid-number": "what stands in the prospect is no valid number, or more than a hundred numbers",
    "unreadable": "the prospect is not one JSON object that every parser reads alike, or was too large for its topic",
    "no-rule": "no country's rule governs the number",
    "stale-register": "a register that the rule names was missing, too old, or silent about the number's area",
}


@dataclass(frozen=True, slots=True)
class _Past:
    """What the log holds at the stamp's position."""

    index: Index
    at_ms: int | None
    standings: Mapping[int, list[Standing]]


class _StampRules(NamedTuple):
    """The rules that a stamp names, and where the text of each was found."""

    archive: Archive
    book: Rulebook
    found: Mapping[str, str]


def explain(
    reader: LogReader,
    emitted: EmittedProspect,
    settings: Settings,
    progress: Progress,
    deadline: Deadline,
    limit: int | None = None,
) -> Explanation:
    """The verdict given again, and whether it is the same.

    `limit` is the size up to which the topic took records then: a prospect that its stamp made larger was blocked. The
    deadline is for silence, as in `scan`; where the log is read twice, it holds for each time.
    Raises ConfigError when the stamp cannot be replayed, Corrupt, Unavailable, Refused.
    """
    stamp, patience_s = stamp_of(emitted), deadline.left()
    at, position = moment_of(stamp["at"]), stamp["index"]
    terms = scrubbing.terms(settings, header=True, hold=False)
    # Earlier releases judged however many numbers a prospect had.
    terms = replace(terms, numbers_max=max(terms.numbers_max, len(_entries(stamp))))
    found = _judged(emitted.value, Rulebook([]), Index.empty(), at, terms)
    history = NumberHistory([*_numbers(stamp), *_numbers(found or {})], settings.prospect.default_region)
    passage = read_into(
        reader,
        history.take,
        deadline,
        upto=position,
        on_read=lambda offset, _end: progress("reading the log", offset, position + 1),
    )
    past = _Past(history.index, history.at_ms, {n: history.standing(n) for n in history.numbers})
    rules = _resolved(_digests(stamp), rules_on_log.kept(history.rules), settings, reader, patience_s)
    # A stamp of an unreadable prospect names no rule, and a prospect that was too large must be measured with the
    # stamp that it would have had: so today's rules are taken.
    book = scrubbing.rulebook(settings) if stamp.get("reason") == "unreadable" else rules.book
    made, terms = _as_then(
        stamp, book, lambda by: _judged(emitted.value, book, past.index, at, by, limit, _spoilt(stamp)), terms
    )
    differences = list(_differences(stamp, made or {}))
    if emitted.topic_verdict and emitted.topic_verdict != stamp.get("verdict"):
        differences.append(
            Difference(field="topic", stamp=stamp.get("verdict"), replayed=emitted.topic_verdict)
        )
    facts = _facts(emitted.value, terms, book)
    return Explanation(
        same=not differences,
        differences=differences,
        stamp=stamp,
        replayed=made,
        index=IndexThen(position=past.index.position, time=number_history.millis(past.at_ms)),
        facts=_prospect_facts(facts),
        numbers=[_number_verdict(entry, past, rules, facts, at) for entry in _entries(made or {})],
        read_with=_read_with(settings),
        notes=[
            *_rule_notes(rules),
            *_notes(stamp, made, position, past, passage.end),
            *_notes_of_terms(terms, settings),
        ],
    )


def _read_with(settings: Settings) -> ReadWith:
    prospect = settings.prospect.model_dump()
    return ReadWith(
        stream_scrub=__version__,
        phonenumbers=version("phonenumbers"),
        prospect={name: prospect[name] for name in prospect if name not in ("format", "stamp")},
    )


_EXACTLY = (
    "as prospect.case is set now the verdict would be another: it was given with the case of members' names compared"
    ' exactly, as earlier releases did and "exact" does'
)


_OF_THREE = (
    "it is the verdict of an earlier release, which read a prospect's purpose, contract and campaign alone: `channel` and"
    " what else it says of itself were not looked at"
)


def _notes_of_terms(terms: Terms, settings: Settings) -> Iterable[str]:
    if terms.members.case != settings.prospect.case:
        yield _EXACTLY
    if not terms.members.channel:
        yield _OF_THREE


def _as_then(
    stamp: Mapping[str, Any],
    book: Rulebook,
    judged: Callable[[Terms], dict[str, Any] | None],
    terms: Terms,
) -> tuple[dict[str, Any] | None, Terms]:
    """The stamp given again, and the terms that gave it: (a) those of today's configuration, or (b) where only these
    give the same stamp, the terms of the releases that compared members' names exactly, or took three facts from a
    prospect. A stamp by a rule of the newest reading was given by none of the latter."""
    made = judged(terms)
    if any(_differences(stamp, made or {})):
        now = terms.members
        known = [now] if book.reading >= FACTS and _digests(stamp) else [now, now.of_three]
        for members in (
            each._replace(case=case) for each in known for case in dict.fromkeys((now.case, "exact"))
        ):
            older = replace(terms, members=members)
            again = judged(older) if members != now else made
            if not any(_differences(stamp, again or {})):
                return again, older
    return made, terms


def _spoilt(stamp: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """The facts of a stamp whose record was blocked for what it was, whatever its value says (`refused_records`)."""
    says = {name: stamp[name] for name in ("cause", "from", "timestamp") if name in stamp}
    return {0: says} if "cause" in says else {}


def _judged(
    value: bytes | None,
    book: Rulebook,
    index: Index,
    at: datetime,
    terms: Terms,
    limit: int | None = None,
    spoilt: Mapping[int, Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, Any] | None:
    """The stamp that the value gets; None for a value that is too large for any stamp."""
    batch = Scrubber(terms, book).scrub([value], index, at, limit=limit, floor=0, spoilt=spoilt)
    made = batch.stamps[0]
    return None if made is None else msgspec.json.decode(made, type=dict[str, Any])


def _resolved(
    digests: Iterable[str], on_log: Archive, settings: Settings, reader: LogReader, patience_s: float
) -> _StampRules:
    """The rules by their digests: (a) from the log at that position, else (b) from the rules installed here, else (c)
    from the rest of the log. Raises ConfigError for a rule that is nowhere."""
    wanted = sorted(set(digests))
    found = {digest: "log" for digest in wanted if digest in on_log}
    here = scrubbing.rulebook(settings).texts
    texts = [text for digest in found if (text := on_log.text(digest)) is not None]
    for digest in wanted:
        if digest not in found and digest in here:
            found[digest] = "installed"
            texts.append(here[digest])
    if len(found) < len(wanted):
        replay = Replay(digest_of=digest_of)
        read_into(reader, replay.take, Deadline.after(patience_s))
        later = rules_on_log.kept(replay.rules)
        for digest in wanted:
            if digest not in found and (text := later.text(digest)) is not None:
                found[digest] = "log, from later"
                texts.append(text)
    if missing := [digest for digest in wanted if digest not in found]:
        raise ConfigError(
            [
                f"rule {digest}: its text is neither on the log nor among the rules here. Whoever still has the rule"
                f" file puts it into rules.folder; {rules_on_log.HOW}"
                for digest in missing
            ]
        )
    made = Archive(texts)
    return _StampRules(made, made.book(wanted), found)


def _differences(stamp: Any, made: Any, field: str = "") -> Iterable[Difference]:
    """Every field that differs, by its path."""
    if isinstance(stamp, dict) and isinstance(made, dict):
        for name in [*stamp, *(name for name in made if name not in stamp)]:
            yield from _differences(stamp.get(name), made.get(name), f"{field}.{name}" if field else name)
    elif isinstance(stamp, list) and isinstance(made, list) and field == "numbers":
        for i in range(max(len(stamp), len(made))):
            ours, theirs = (each[i] if i < len(each) else None for each in (stamp, made))
            yield from _differences(ours, theirs, f"{field}[{i}]")
    elif stamp != made or type(stamp) is not type(made):
        yield Difference(field=field, stamp=stamp, replayed=made)


def _number_verdict(
    entry: Mapping[str, Any], past: _Past, rules: _StampRules, facts: Facts, at: datetime
) -> NumberVerdict:
    """One number's verdict with its grounds: the rule, and how each register that counts stood to the number."""
    rule, home = (_of_stamp(entry.get(name, ""), rules, facts, at) for name in ("rules", "residence"))
    both = [each for each in (rule, home) if each is not None]
    number = _integer(entry.get("number"))
    standings = past.standings.get(number, []) if number is not None else []
    return NumberVerdict(
        number=entry.get("number"),
        verdict=entry["verdict"],
        reason=entry["reason"],
        says=_SAYS.get(entry["reason"], ""),
        rule=None if rule is None else _rule(rule, rules.found[rule.digest]),
        registers=[
            _register(each, rule, at)
            for each in standings
            if any(_counts(each, by, facts) for by in (rule, *both))
        ],
        missing=sorted({name for each in both for name in _missing(each, past.index)}) if number else [],
        residence=None if home is None else _rule(home, rules.found[home.digest]),
    )


def _of_stamp(digest: str, rules: _StampRules, facts: Facts, at: datetime) -> Rule | None:
    """The rule that a stamp names, as it was in force then."""
    country = rules.archive.country(digest) if digest else None
    day = rules.book.day(country.code, at) if country is not None else None
    return country.on(day, facts.channel) if country is not None and day is not None else None


def _rule(rule: Rule, found: str) -> RuleThen:
    return RuleThen(
        rules=rule.digest,
        country=rule.country,
        in_force=period(rule),
        source=rule.source,
        says=in_words(rule),
        uncertain=list(rule.uncertain),
        text_from=found,
        text=rule.text.decode("utf-8", "replace"),
    )


def _register(standing: Standing, rule: Rule | None, at: datetime) -> JudgingMembership:
    register: Register = standing.register
    return JudgingMembership(
        **msgspec.structs.asdict(number_history.membership(standing)),
        source=register.source,
        effective_at=utc_seconds(register.effective_at),
        age_days=number_history.age_days(register.effective_at, at),
        max_age_days=None if rule is None else rule.max_age_days.get(family(register.name)),
        ends_overdue=register.ends_overdue(at),
    )


def _counts(standing: Standing, rule: Rule | None, facts: Facts) -> bool:
    """Whether a register can change the verdict: the rule names it, and its scope, if any, is the prospect's; of a
    prospect that names no campaign every opposition is."""
    standing_name = RegisterName.split(standing.register.name)
    base, scope = standing_name
    named = {INTERNAL} | (rule.registers | set(rule.scoped) if rule is not None else set())
    if base not in named or not scope or scope in facts.campaigns:
        return base in named
    if rule is None or rule.reading < CALLERS:
        return False
    purpose, campaign = standing_name.purpose, standing_name.campaign
    if base == INTERNAL:
        return purpose in ("", facts.channel) and (campaign in ("", *facts.campaigns) or facts.unnamed)
    meant = not purpose or purpose in map(rule.purpose, facts.purposes)
    return campaign in facts.campaigns and meant


def _missing(rule: Rule | None, index: Index) -> list[str]:
    """The registers that the rule needs and the log had never held."""
    if rule is None:
        return []
    held = index.registers.keys() | (index.families() & {*rule.needed})
    return sorted(rule.registers - {INTERNAL} - held)


def _facts(value: bytes | None, terms: Terms, book: Rulebook) -> Facts:
    try:
        prospect = read_strictly(value or b"", terms.members)
    except Unreadable:
        return NO_FACTS
    return terms.facts_of(book)(*prospect.facts)


def _prospect_facts(facts: Facts) -> ProspectFacts:
    relation = None if facts.relation is None else ProspectRelation(*facts.relation)
    return ProspectFacts(**{**facts._asdict(), "relation": relation})


def _rule_notes(rules: _StampRules) -> Iterable[str]:
    for digest, found in rules.found.items():
        if found == "installed":
            yield f"rule {digest} was not on the log at that position; its text is the one installed here. {rules_on_log.HOW}"


def _notes(
    stamp: Mapping[str, Any], made: Mapping[str, Any] | None, position: int, past: _Past, end: int
) -> Iterable[str]:
    if position >= end:
        yield f"the log ends at offset {end}, before the stamp's position {position}: it is another log, or was cut"
    elif past.index.position != position:
        yield f"the log has no seal at offset {position}: it is not the log that the stamp speaks of"
    reasons = [entry.get("reason") for entry in _entries(stamp)]
    if "no-rule" in reasons:
        yield "a stamp without rules cannot prove that none was known: it is replayed as it says, without one"
    if "cause" in stamp:
        yield "the record that came was unreadable, whatever its value says: why is only in the stamp, and is not proven"
    elif stamp.get("reason") == "unreadable" and (made or {}).get("reason") != "unreadable":
        yield "a prospect that its stamp would make too large for the topic is unreadable as well: try with --limit"


def _entries(stamp: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The stamp's entries, one for each number."""
    entries = stamp.get("numbers")
    if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
        return entries
    return [stamp] if "reason" in stamp else []


def _numbers(stamp: Mapping[str, Any]) -> list[int]:
    found = (_integer(entry.get("number")) for entry in _entries(stamp))
    return [number for number in found if number is not None]


def _digests(stamp: Mapping[str, Any]) -> list[str]:
    digests = [entry.get(name) for entry in _entries(stamp) for name in ("rules", "residence")]
    return [digest for digest in digests if isinstance(digest, str)]


def _integer(number: Any) -> int | None:
    """The integer of a number in E.164."""
    digits = number.removeprefix("+") if isinstance(number, str) else ""
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else None

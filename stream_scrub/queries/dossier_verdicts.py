"""A verdict on one number, for a dossier: the emitted prospect and its replay without anybody else's numbers."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from stream_scrub.errors import ConfigError
from stream_scrub.numbering import e164
from stream_scrub.queries import explain as explaining
from stream_scrub.queries import file_results
from stream_scrub.queries.explain import Explanation, NumberVerdict
from stream_scrub.queries.find_emitted import FoundProspect
from stream_scrub.stamp import Stamp
from stream_scrub.texts import masked

_STAMPED = frozenset(field.encode_name for field in msgspec.structs.fields(Stamp))


class DossierVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on the number. `explanation`: its replay, without other people's numbers (`others_left_out` of them);
    None with `not_replayed`. `before`: the verdict is of an earlier day, and still counted on the first one.
    `blocked_for_another`: the number may be called, and its prospect was blocked for another of its numbers."""

    topic: str
    partition: int
    offset: int
    day: date
    at: str
    verdict: str
    reason: str
    until: date | None
    before: bool
    others_left_out: int
    blocked_for_another: bool
    explanation: Explanation | None
    not_replayed: str = ""


def verdict_of(
    found: FoundProspect, explained: Explanation | ConfigError, number: int, first: date
) -> DossierVerdict:
    """The verdict on one number of a prospect. `first`: the dossier's first day."""
    typed = e164(number)
    entry = next(each for each in found.stamp.each if each.number == typed)
    allowed = entry.allowed and found.stamp.allowed
    others = len(found.stamp.each) - sum(each.number == typed for each in found.stamp.each)
    return DossierVerdict(
        topic=found.topic,
        partition=found.partition,
        offset=found.offset,
        day=found.day,
        at=found.stamp.at_text,
        verdict="allowed" if allowed else "blocked",
        reason=found.stamp.reason if entry.allowed and not allowed else entry.reason,
        until=entry.until or found.stamp.until,
        before=found.day < first,
        others_left_out=others,
        blocked_for_another=entry.allowed and not allowed,
        explanation=None if isinstance(explained, ConfigError) else _alone(explained, typed, found.topic),
        not_replayed=masked("; ".join(explained.problems)) if isinstance(explained, ConfigError) else "",
    )


def _alone(explanation: Explanation, typed: str, topic_read: str) -> Explanation:
    """The explanation of one number: other numbers of the prospect are left out, and texts of rules are elsewhere."""
    stamp, replayed = _stamp_alone(explanation.stamp, typed), _stamp_alone(explanation.replayed or {}, typed)
    if topic_read.startswith(file_results.FILE):
        # A row of a file has no stamp: the missing members are those of the repeated verdict.
        differs = {difference.field for difference in explanation.differences} & file_results.REPEATED
        stamp = stamp if differs else {**replayed, **stamp}
        explanation = msgspec.structs.replace(explanation, same=not differs)
    topic = [difference for difference in explanation.differences if difference.field == "topic"]
    return msgspec.structs.replace(
        explanation,
        stamp=stamp,
        replayed=replayed,
        differences=[*explaining.differences_of(stamp, replayed), *topic],
        numbers=[_without_text(number) for number in explanation.numbers if number.number == typed],
    )


def _stamp_alone(stamp: Mapping[str, Any], typed: str) -> dict[str, Any]:
    # A foreign stamp may name other people anywhere.
    alone = {name: value for name, value in stamp.items() if name in _STAMPED}
    for name in ("rules", "residence", "registers"):
        if name in alone:
            alone[name] = _masked(alone[name])
    if isinstance(stamp.get("numbers"), list):
        alone["numbers"] = [
            each for each in stamp["numbers"] if isinstance(each, dict) and each.get("number") == typed
        ]
    if "callable" in stamp:
        alone["callable"] = [each for each in stamp["callable"] if each == typed]
    return alone


def _masked(named: Any) -> Any:
    return list(map(_masked, named)) if isinstance(named, list) else masked(str(named))


def _without_text(entry: NumberVerdict) -> NumberVerdict:
    rule, residence = (
        None if each is None else msgspec.structs.replace(each, text="")
        for each in (entry.rule, entry.residence)
    )
    return msgspec.structs.replace(entry, rule=rule, residence=residence)

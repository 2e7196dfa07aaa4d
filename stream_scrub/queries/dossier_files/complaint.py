"""The answer to a complaint, for the server's page: a sentence, the number's timeline on one clock, and what erasing it
takes. Pure: everything is in the dossier.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from operator import attrgetter
from typing import Literal

import msgspec

from stream_scrub.clock import parse_zoned, zone
from stream_scrub.languages import day_in_words, local, offset, read_in, say, translatable
from stream_scrub.log import wire
from stream_scrub.model import INTERNAL, RESTED, Reason, RegisterKind, family
from stream_scrub.ops.logs import mask
from stream_scrub.queries import lawful_days
from stream_scrub.queries.answer import means
from stream_scrub.queries.dossier import Dossier, DossierAttempt
from stream_scrub.queries.dossier_verdicts import DossierVerdict
from stream_scrub.queries.history import LoggedChange
from stream_scrub.recall_notice import RecallNotice

_ = translatable


class TimelineRow(msgspec.Struct, frozen=True):
    """Something that happened to the number: its moment, the same by the clock of the number's country, and what it was."""

    at: str
    clock: str
    says: str


class ErasureStep(msgspec.Struct, frozen=True):
    """A step of an erasure. `state`: to be done by people, done by the system later, not to be done, or done."""

    state: Literal["open", "automatic", "keep", "done"]
    says: str


class ComplaintAnswer(msgspec.Struct, frozen=True):
    """`lawful`: whether calls were lawful, as `lawful_days.kind_of`, "mixed" on days that differ, "" without days.
    `answer`: two paragraphs. `gone`: whether Kafka has deleted records, so that the timeline may lack some."""

    number: str
    language: str
    lawful: str
    answer: list[str]
    zone: str
    timeline: list[TimelineRow]
    gone: bool
    erasure: list[ErasureStep]


def of(made: Dossier) -> ComplaintAnswer:
    """Return the answer of a dossier, in its language."""
    kinds = {lawful_days.kind_of(day) for day in made.days}
    lawful = "" if made.first is None else kinds.pop() if len(kinds) == 1 else "mixed"
    with read_in(made.language, zone(made.times_of)):
        return ComplaintAnswer(
            number=made.number,
            language=made.language,
            lawful=lawful,
            answer=made.answer,
            zone=made.times_of,
            timeline=sorted(_timeline(made), key=attrgetter("at")),
            gone=bool(made.gone),
            erasure=list(_erasure(made)),
        )


def _timeline(made: Dossier) -> Iterator[TimelineRow]:
    for change in made.changes:
        if change.time:
            yield _row(change.time, _of_change(change))
    for verdict in made.verdicts:
        yield _row(verdict.at, _of_verdict(verdict))
    for attempt in made.attempts:
        yield _row(attempt.at, _of_attempt(attempt))
    for recall in made.recalls:
        yield _row(recall.at, _of_recall(recall))
    for delivery in made.deliveries:
        text = _("Sent to %(system)s (%(event)s): %(outcome)s.")
        says = say(text, system=delivery.target, event=delivery.event, outcome=delivery.outcome)
        yield _row(delivery.at, says)


def _row(at: str, says: str) -> TimelineRow:
    moment = parse_zoned(at)
    there = local(moment)
    return TimelineRow(
        f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}", f"{day_in_words(there)}, {there:%H:%M} {offset(there)}", says
    )


# By what the publisher read and the register's kind.
_ADDED: Mapping[tuple[str, RegisterKind], str] = {
    ("requests", RegisterKind.DENY): _("Added to %(register)s: the person opted out."),
    ("attempts", RegisterKind.DENY): _("Added to %(register)s because of the reported calls."),
    ("requests", RegisterKind.ALLOW): _("Consent recorded in %(register)s, by a request."),
}
# By the register's kind.
_ADDED_BY_LIST: Mapping[RegisterKind, str] = {
    RegisterKind.DENY: _("Added to %(register)s by the list %(list)s."),
    RegisterKind.ALLOW: _("Consent recorded in %(register)s, by the list %(list)s."),
}
_RENEWED = _("Carried over to the renewed log, in %(register)s.")
_CHANGED: Mapping[str, str] = {
    "removed": _("Removed from %(register)s."),
    "ended": _("Expired in %(register)s."),
    "renewed": _("Renewed in %(register)s."),
    "asked": _("Named in a request that changed nothing in %(register)s."),
}


def _of_change(change: LoggedChange) -> str:
    kind = RegisterKind(change.kind)
    if change.reason == wire.RENEWED:
        text = _RENEWED
    else:
        text = _CHANGED.get(change.change) or _ADDED.get((change.reason, kind), _ADDED_BY_LIST[kind])
    return say(text, register=change.register, list=mask(change.source.name))


def _of_verdict(verdict: DossierVerdict) -> str:
    text = _("Lead allowed: %(why)s.") if verdict.verdict == "allowed" else _("Lead blocked: %(why)s.")
    return say(text, why=_meaning(verdict.reason))


def _meaning(reason: str) -> str:
    """What a reason means; itself if it is of a later release."""
    return means(reason) if reason in {*Reason} else reason


def _of_attempt(attempt: DossierAttempt) -> str:
    if attempt.refused:
        return say("The person refused a call.")
    covered, uncovered = _("Call, covered by a verdict: %(why)s."), _("Call, not covered: %(why)s.")
    return say(covered if attempt.covered else uncovered, why=attempt.says)


def _of_recall(recall: RecallNotice) -> str:
    if recall.kind == "suspended":
        return say("Calls suspended: %(register)s could not be used.", register=recall.register)
    if recall.kind == "resumed":
        return say("Calls resumed: %(register)s could be used again.", register=recall.register)
    return say("Recalled from the diallers: %(why)s.", why=_meaning(recall.reason))


def _erasure(made: Dossier) -> Iterator[ErasureStep]:
    """What erasing the number takes (docs/privacy.md), the steps for people first."""
    steps = [
        ErasureStep("open", say("Delete the lead in your own systems, and have your diallers delete it.")),
        *_of_opposition(made),
        *_of_topics(made),
        ErasureStep(
            "automatic",
            say("Incoming prospects and requests: Kafka deletes them after their topics' period."),
        ),
        ErasureStep("open", say("Delete exported lists, saved dossiers and results of files yourself.")),
    ]
    for state in ("open", "automatic", "keep", "done"):
        yield from (step for step in steps if step.state == state)


def _of_opposition(made: Dossier) -> Iterator[ErasureStep]:
    """The number's registers that stay."""
    held = [each for each in made.registers if each.held]
    opposed = [each.register for each in held if family(each.register) == INTERNAL]
    if opposed:
        text = _(
            "Keep the number in %(registers)s: without it the person would be called again (GDPR art. 17(3)(b), 21(3))."
        )
        yield ErasureStep("keep", say(text, registers=", ".join(opposed)))
    if INTERNAL not in opposed:  # in none, or in those of single campaigns alone
        text = _(
            "Record the objection first: no opt-out from all calls is on the log, so another lead would be called."
        )
        yield ErasureStep("open", say(text))
    consents = [each.register for each in held if each.kind == RegisterKind.ALLOW]
    if consents:
        text = _(
            "Keep the proof of the consent in %(registers)s as long as a claim can be made (GDPR art. 17(3)(e)). Leave the"
            " consent out of the next log: stream-scrub lists renew --without."
        )
        yield ErasureStep("keep", say(text, registers=", ".join(consents)))


def _of_topics(made: Dossier) -> Iterator[ErasureStep]:
    for topic in made.kept:
        if topic.topic == made.log.topic:
            yield _of_log(made)
        elif topic.keep_days is None:
            text = _(
                "%(topic)s (%(holds)s): Kafka deletes nothing here. Have the operator set kafka.keep_days."
            )
            yield ErasureStep("open", say(text, topic=topic.topic, holds=say(topic.holds)))
        else:
            last = parse_zoned(made.made_at).date() + timedelta(days=topic.keep_days)
            text = _("%(topic)s (%(holds)s): Kafka deletes what is there today soon after %(day)s.")
            yield ErasureStep("automatic", say(text, topic=topic.topic, holds=say(topic.holds), day=last))


def _of_log(made: Dossier) -> ErasureStep:
    if not made.changes:
        return ErasureStep("done", say("%(topic)s: the number is not there.", topic=made.log.topic))
    # A renewal leaves requests and proofs behind. The oppositions that it states must stay; counts of calls need not.
    if all(
        each.reason == wire.RENEWED and each.kind == RegisterKind.DENY and family(each.register) != RESTED
        for each in made.changes
    ):
        registers = ", ".join(sorted({each.register for each in made.changes}))
        text = _(
            "%(topic)s: only the opposition in %(registers)s is left, which must stay. Ask the operator whether the earlier"
            " log is deleted."
        )
        return ErasureStep("done", say(text, topic=made.log.topic, registers=registers))
    text = _(
        "%(topic)s: changes of the number: %(count)s. They stay until the operator renews the log (stream-scrub lists"
        " renew) and deletes the old one. After that, this page shows only what still holds."
    )
    return ErasureStep("open", say(text, topic=made.log.topic, count=len(made.changes)))

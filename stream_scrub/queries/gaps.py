"""What Kafka has deleted, and what that leaves open: no day and no call that rests on it is lawful. And what else a dossier does
not prove. Pure."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from stream_scrub.config import Settings
from stream_scrub.languages import say, translatable
from stream_scrub.queries import find_emitted
from stream_scrub.queries.find_emitted import EmittedBetween
from stream_scrub.queries.lawful_days import Gap, Gaps
from stream_scrub.queries.side_topics import SideRecords
from stream_scrub.rules import Rulebook

_NEVER_PROVEN = (
    translatable(
        "Whether anybody dialled. A verdict says that a call was allowed. A call is known only if a dialler reported it,"
        " and that report is the dialler's own."
    ),
    translatable(
        "The moments. They are by the clocks of the computers that judged, published or reported. The order of changes in"
        " a register is proven by its hash chain."
    ),
    translatable(
        "That a list was the authority's, or a request the person's own. The log proves which bytes changed the register."
    ),
    translatable("Answers that were given over HTTP just before a call: they are on no topic."),
)
_NO_LEDGER = translatable(
    "Which files of leads were scrubbed: there is no ledger of them here (worker.state_dir of the server). Leads may have been"
    " released in a file."
)
_BY_INDEX = translatable(
    "That there is no other verdict: an index on the computer of this dossier said where to look (files.index_dir)."
)
_BY_INSTALLED = translatable(
    "The rule of days without a verdict: no stamp names it, so the rule that is installed now was used."
)
_LOOK_BACK_DAYS = 31  # for verdicts that still count on the first day, at least


def look_back_days(book: Rulebook, number: int) -> int:
    """For how many days a verdict may count: a list's verdicts end with its lawful age."""
    country = book.country(find_emitted.region_of(book, number))
    rules = () if country is None else country.rules
    ages = [days for rule in rules for days in rule.max_age_days.values()]
    valid = [rule.valid_days or 0 for rule in rules]
    return max(_LOOK_BACK_DAYS, *ages, *valid, _attempts_days(book, number))


def _attempts_days(book: Rulebook, number: int) -> int:
    """For how many days a call or a refusal may forbid the next one; 0: no rule of the number's country limits them."""
    country = book.country(find_emitted.region_of(book, number))
    limits = [
        each.attempts for each in (() if country is None else country.rules) if each.attempts is not None
    ]
    # The days are counted from the next midnight on, and an overseas region has one more.
    return max(
        (max(limit.days, limit.hours // 24 + 1, limit.refusal_days) + 2 for limit in limits), default=0
    )


def gone_from(
    emitted: EmittedBetween, sides: SideRecords, log: tuple[str, int], now: datetime
) -> dict[str, datetime]:
    """The topics that have lost records, and the moment before which their records may be gone."""
    # A register whose records were all deleted looks like one that never was.
    log_topic, first = log
    gaps = [(log_topic, now)] if first else []
    gaps += [(each.topic, each.judged_at) for each in emitted.deleted]
    gaps += [(each.topic, each.oldest) for each in sides.kept.values() if each.oldest is not None]
    latest: dict[str, datetime] = {}
    for topic, oldest in gaps:
        latest[topic] = max(oldest, latest.get(topic, oldest))
    return latest


def gaps_of(
    gone: Mapping[str, datetime], scrubbed: Sequence[date], settings: Settings, book: Rulebook, number: int
) -> Gaps:
    """What the deleted records leave open. What a blocked prospect says follows from the log, and deliveries to other systems
    end no verdict."""
    topics = settings.topics
    counted = timedelta(days=_attempts_days(book, number))
    look_back = timedelta(days=look_back_days(book, number))
    releases, endings = dict[str, datetime](), dict[str, datetime]()
    for topic, before in gone.items():
        if topic == topics.log:
            releases[topic] = before + look_back
            endings[topic] = before
        elif topic == topics.recalled:
            endings[topic] = before
        elif topic == topics.attempts and counted:
            endings[topic] = before + counted
        elif topics.inputs.verdict_of(topic) == "allowed":
            releases[topic] = before + look_back
    return Gaps(_gap(releases), _gap(endings), scrubbed, look_back.days)


def _gap(befores: Mapping[str, datetime]) -> Gap | None:
    if not befores:
        return None
    topics = ", ".join(sorted(befores))
    return Gap(max(befores.values()), say("Kafka has deleted records of %(topics)s", topics=topics))


def not_proven(
    emitted: EmittedBetween, sides: SideRecords, gone: Mapping[str, datetime], *, by_installed: bool
) -> list[str]:
    """What a reader might take for proven."""
    sentences = [say(text) for text in _NEVER_PROVEN]
    for topic, before in gone.items():
        sentences.append(
            say(
                "What was on %(topic)s before %(moment)s: Kafka has deleted it, at least in part.",
                topic=topic,
                moment=before,
            )
        )
    if sides.scrubbed is None:
        sentences.append(say(_NO_LEDGER))
    if emitted.by_index:
        sentences.append(say(_BY_INDEX))
    if by_installed:
        sentences.append(say(_BY_INSTALLED))
    return sentences

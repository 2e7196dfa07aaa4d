"""`retry`: sends blocked prospects back once, or shows what would happen."""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime

import msgspec

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.index import Index
from stream_scrub.kafka import clients
from stream_scrub.model import Logger, Reason, RegisterName, Verdict
from stream_scrub.ops import read_log
from stream_scrub.registry.records import records
from stream_scrub.retry.blocked import BlockedProspect, kind_of, verdict_kind
from stream_scrub.retry.resend import RetryOptions, RetryTally, opened
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.scrub.plans import unusable

BLOCKED = tuple(reason for reason in Reason if reason.verdict is Verdict.BLOCKED)


class RetryQuestion(msgspec.Struct, frozen=True):
    """The options of the command. `since` and `until` are seconds since 1970, None if not given."""

    reasons: tuple[Reason, ...]
    register: str = ""
    since: float | None = None
    until: float | None = None
    max_tries: int = 5
    dry_run: bool = False


class KindReport(msgspec.Struct, frozen=True):
    """A kind of blocked prospects (`blocked.kind_of`), and their number by outcome."""

    kind: str
    outcomes: dict[str, int]


class RetryReport(msgspec.Struct, frozen=True):
    """The outcome, or with a dry run what would happen."""

    dry_run: bool
    kinds: list[KindReport]
    waiting: dict[str, str]  # registers that still cannot be used, each with the reason


def reasons_of(text: str) -> tuple[Reason, ...]:
    """Reasons from a comma-separated text. Raises ConfigError."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    reason_of = {str(reason): reason for reason in BLOCKED}
    if problems := [
        f"--reason {word}: one of {', '.join(reason_of)}" for word in words if word not in reason_of
    ]:
        raise ConfigError(problems)
    if not words:
        raise ConfigError(["--reason: name at least one"])
    return tuple(reason_of[word] for word in dict.fromkeys(words))


def need_sense(question: RetryQuestion) -> None:
    """Raises ConfigError if the options contradict each other."""
    if question.register:
        if question.reasons != (Reason.STALE_REGISTER,):
            raise ConfigError(["--register goes with --reason stale-register alone"])
        name = RegisterName.parse(question.register)
        if name is None or name.scope:
            raise ConfigError(["--register: a register's name without scope, as in tps"])
    if None not in (question.since, question.until) and question.since >= question.until:  # type: ignore[operator]
        raise ConfigError(["--since must be before --until"])


def need_followable(question: RetryQuestion) -> None:
    """Raises ConfigError for options that a daemon lacks: it sends back what waits for registers, for all of them."""
    if (
        question.reasons != (Reason.STALE_REGISTER,)
        or question.register
        or question.dry_run
        or question.until is not None
    ):
        raise ConfigError(["--follow goes with --since and --max-tries alone"])


def run(settings: Settings, log: Logger, question: RetryQuestion) -> RetryReport:
    """Send them back, or only look. Raises Unavailable, Refused, Corrupt, ConfigError."""
    need_sense(question)
    scrubber = scrubbing.scrubber(settings, hold=False)
    if question.register and question.register not in (registers := scrubber.rulebook.registers):
        raise ConfigError(
            [f"--register: no rule uses a register {question.register}, only {', '.join(sorted(registers))}"]
        )
    index: Index | None = None
    if question.dry_run or Reason.STALE_REGISTER in question.reasons:
        index = read_log.read_index(settings, log)
    kinds, waiting = chosen(question, scrubber.rulebook, index)
    options = RetryOptions(
        frozenset(kinds),
        question.since or 0.0,
        float("inf") if question.until is None else question.until,
        question.max_tries,
    )
    tally = RetryTally()
    if kinds:
        _resend(settings, log, question, options, tally, scrubber, index)
    outcomes: dict[str, dict[str, int]] = {}
    for (kind, outcome), count in sorted(tally.items()):
        outcomes.setdefault(kind, {})[outcome] = count
    return RetryReport(question.dry_run, [KindReport(*pair) for pair in outcomes.items()], waiting)


def _resend(
    settings: Settings,
    log: Logger,
    question: RetryQuestion,
    options: RetryOptions,
    tally: RetryTally,
    scrubber: Scrubber,
    index: Index | None,
) -> None:
    reads = records(settings, scrubber.terms.members, log)

    def foreseen(prospect: BlockedProspect) -> str:
        assert index is not None, "a dry run has an index to judge by"
        return f"would be {verdict_kind(scrubber, reads, prospect, index, datetime.now(UTC))}"

    knows = question.dry_run or question.since is not None
    with closing(
        opened(
            clients.Brokers(settings, log),
            scrubber.terms.members,
            sends=not question.dry_run,
            is_to_go=foreseen if question.dry_run else (lambda _: ""),
            begin=lambda low, end: low if knows or low == end else None,
        )
    ) as resend:
        resend.run(options, tally)


def chosen(
    question: RetryQuestion, rulebook: Rulebook, index: Index | None
) -> tuple[Sequence[str], dict[str, str]]:
    """The kinds to send back, without those whose register still cannot be used, and the reasons for those. A dry run
    includes all. Raises Refused if the only register of the question cannot be used."""
    kinds, waiting = [], {}
    for reason in question.reasons:
        if reason is not Reason.STALE_REGISTER:
            kinds.append(kind_of(reason))
            continue
        assert index is not None, "registers are looked at"
        names = [question.register] if question.register else sorted(rulebook.registers)
        cannot = {each.register: each.why for each in unusable(rulebook, index, datetime.now(UTC))}
        waiting = {name: cannot[name] for name in names if name in cannot}
        kinds += [kind_of(reason, [n]) for n in names if question.dry_run or n not in waiting]
    if question.register in waiting and not question.dry_run:
        raise Refused(f"{question.register} still cannot be used: {waiting[question.register]}")
    return kinds, waiting

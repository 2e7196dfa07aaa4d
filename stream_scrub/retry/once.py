"""`retry`: brings back what is blocked now, once, or shows what would come of it."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.index import Index
from stream_scrub.model import Reason, RegisterName, Verdict
from stream_scrub.observability.unusable_registers import unusable
from stream_scrub.retry.parcels import Parcel, kind_of, verdict_kind
from stream_scrub.retry.resend import RetryOrder, Tally, opened
from stream_scrub.rules import Rulebook
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.wiring import clients, scrubbing

BLOCKED = tuple(reason for reason in Reason if reason.verdict is Verdict.BLOCKED)


class RetryQuestion(msgspec.Struct, frozen=True):
    """What somebody wants to have back. `since` and `until` are seconds since 1970, None where nobody said."""

    reasons: tuple[Reason, ...]
    register: str = ""
    since: float | None = None
    until: float | None = None
    max_tries: int = 5
    dry_run: bool = False


class KindReport(msgspec.Struct, frozen=True):
    """A kind of blocked prospects (a reason, with `stale-register` its register too), and what became of how many."""

    kind: str
    outcomes: dict[str, int]


class RetryReport(msgspec.Struct, frozen=True):
    """What was brought back, or with a dry run what would come of it; and the registers that still cannot be used, each
    with why."""

    dry_run: bool
    kinds: list[KindReport]
    waiting: dict[str, str]


def reasons_of(text: str) -> tuple[Reason, ...]:
    """Reasons that somebody wrote, with commas between. Raises ConfigError."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = {str(reason): reason for reason in BLOCKED}
    if problems := [f"--reason {word}: one of {', '.join(known)}" for word in words if word not in known]:
        raise ConfigError(problems)
    if not words:
        raise ConfigError(["--reason: name at least one"])
    return tuple(known[word] for word in dict.fromkeys(words))


def need_sense(question: RetryQuestion) -> None:
    """Raises ConfigError when a question contradicts itself."""
    if question.register:
        if question.reasons != (Reason.STALE_REGISTER,):
            raise ConfigError(["--register goes with --reason stale-register alone"])
        name = RegisterName.parse(question.register)
        if name is None or name.scope:
            raise ConfigError(["--register: a register's name without scope, as in tps"])
    if None not in (question.since, question.until) and question.since >= question.until:  # type: ignore[operator]
        raise ConfigError(["--since must be before --until"])


def need_followable(question: RetryQuestion) -> None:
    """Raises ConfigError for what a daemon cannot do: it brings back what waits for registers, of all of them."""
    if (
        question.reasons != (Reason.STALE_REGISTER,)
        or question.register
        or question.dry_run
        or question.until is not None
    ):
        raise ConfigError(["--follow goes with --since and --max-tries alone"])


def run(settings: Settings, log: FilteringBoundLogger, question: RetryQuestion) -> RetryReport:
    """Bring it back, or look. Raises Unavailable, Refused, Corrupt, ConfigError."""
    need_sense(question)
    scrubber = scrubbing.scrubber(settings, hold=False)
    index: Index | None = None
    if question.dry_run or Reason.STALE_REGISTER in question.reasons:
        index = clients.read_index(settings, log)
    kinds, waiting = chosen(question, scrubber.rulebook, index)
    order = RetryOrder(
        frozenset(kinds),
        question.since or 0.0,
        float("inf") if question.until is None else question.until,
        question.max_tries,
    )
    tally = Tally()
    if kinds:
        _resend(settings, log, question, order, tally, scrubber, index)
    found: dict[str, dict[str, int]] = {}
    for (kind, outcome), count in sorted(tally.counts.items()):
        found.setdefault(kind, {})[outcome] = count
    return RetryReport(question.dry_run, [KindReport(*pair) for pair in found.items()], waiting)


def _resend(
    settings: Settings,
    log: FilteringBoundLogger,
    question: RetryQuestion,
    order: RetryOrder,
    tally: Tally,
    scrubber: Scrubber,
    index: Index | None,
) -> None:
    def foreseen(parcel: Parcel) -> str:
        assert index is not None, "a dry run has an index to judge by"
        return f"would be {verdict_kind(scrubber, parcel, index, datetime.now(UTC))}"

    knows = question.dry_run or question.since is not None
    resend = opened(
        settings,
        log,
        scrubber.terms.members,
        sends=not question.dry_run,
        is_to_go=foreseen if question.dry_run else (lambda _: ""),
        begin=lambda low, end: low if knows or low == end else None,
    )
    try:
        resend.run(order, tally)
    finally:
        resend.close()


def chosen(
    question: RetryQuestion, rulebook: Rulebook, index: Index | None
) -> tuple[Sequence[str], dict[str, str]]:
    """The kinds that a question is about, without those whose register still cannot be used, and why these cannot. A dry
    run looks at all. Raises Refused when the one register that was asked for cannot be used."""
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

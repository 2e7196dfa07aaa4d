"""When a number had to rest, by the calls and refusals that diallers reported and the rules of those days. Pure.

It is counted again from the reports: the publisher may have been down, or have counted later than the next call began.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from stream_scrub.languages import say
from stream_scrub.requests.attempts import NO_ID, CallAttempt, rested_until
from stream_scrub.rules import Rulebook
from stream_scrub.rules.country import Attempts
from stream_scrub.rules.rule import ATTEMPTS_MAX


class ReportedCall(NamedTuple):
    """A call that a dialler reported: the place of the report in the order of their moments, and the call's id."""

    nth: int
    id: int


class RestPeriod(NamedTuple):
    """From a reported call until a moment the number must not be called for a professional (empty: for anyone)."""

    since: datetime
    until: datetime
    professional: str
    by: ReportedCall
    why: str

    def concerns(self, professionals: Sequence[str]) -> bool:
        """Whether a call that may be for these professionals must wait."""
        return not self.professional or not professionals or self.professional in professionals


def calls_in(reported: Sequence[CallAttempt]) -> list[ReportedCall]:
    """The call of each report."""
    # A refusal without an id is identified by its moment.
    ids = [each.at if each.id == NO_ID else each.id for each in reported]
    return [ReportedCall(nth, id_) for nth, id_ in enumerate(ids)]


def rests(reported: Sequence[CallAttempt], book: Rulebook) -> list[RestPeriod]:
    """Return the rests that the calls to one number caused. `reported` is in the order of their moments."""
    found: list[RestPeriod] = []
    # By professional ("": anyone) and the call's id. The latest report of a call counts, as the publisher counts it.
    moments: dict[str, dict[int, int]] = defaultdict(dict)
    refusals: dict[str, int] = defaultdict(int)
    regions: dict[str, None] = {}
    for attempt, call in zip(reported, calls_in(reported), strict=True):
        since = datetime.fromtimestamp(attempt.at, UTC)
        regions |= dict.fromkeys(
            name for name in (book.region_of(attempt.number, attempt.region), attempt.residence) if name
        )
        _count(moments[attempt.professional], call.id, attempt.at)
        if attempt.refused:
            refusals[attempt.professional] = max(attempt.at, refusals[attempt.professional])
        # A call without a professional may have been for any of them.
        whose = [attempt.professional] if attempt.professional else ["", *filter(None, moments)]
        for professional in whose:
            made = sorted([*moments[professional].values(), *(moments[""].values() if professional else ())])
            refused = max(refusals[professional], refusals[""])
            for limit, end in _ends(made, refused, regions, book, since):
                if end > attempt.at:
                    until = datetime.fromtimestamp(end, UTC)
                    found.append(RestPeriod(since, until, professional, call, _why(limit, refused, attempt)))
    return found


def _count(moments: dict[int, int], call: int, at: int) -> None:
    """Count a call at its latest moment, among the latest ones: no rule counts more."""
    moments.pop(call, None)
    moments[call] = at
    if len(moments) > ATTEMPTS_MAX:
        del moments[next(iter(moments))]


def _ends(
    made: Sequence[int], refused: int, regions: Iterable[str], book: Rulebook, at: datetime
) -> Iterator[tuple[Attempts, int]]:
    """The limits of the rules of that day, and until when the number rests by each; 0: not at all."""
    for region in regions:
        rule, country = book.rule(region, at), book.country(region)
        if rule is None or rule.attempts is None or country is None:
            continue
        limit = rule.attempts
        nth = made[-limit.most] if 0 < limit.most <= len(made) else 0
        more_days = int(region != country.regions[0])
        yield limit, rested_until(limit, nth, refused, country.zone, more_days)


def _why(limit: Attempts, refused: int, attempt: CallAttempt) -> str:
    if attempt.refused or (refused and not limit.most):
        return say("the person refused")
    if limit.hours:
        return say(
            "the number had been called %(count)s times, which is the law's limit within %(hours)s hours",
            count=limit.most,
            hours=limit.hours,
        )
    return say(
        "the number had been called %(count)s times, which is the law's limit within %(days)s days",
        count=limit.most,
        days=limit.days,
    )

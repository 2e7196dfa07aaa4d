"""`shadow report`: how many verdicts would change, by reason, country and campaign, with examples."""

from collections.abc import Iterator

import msgspec
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import Unavailable
from stream_scrub.model import Deadline
from stream_scrub.shadow.differences import Difference
from stream_scrub.wiring import clients

# Examples of each kind of difference.
EXAMPLES_MAX = 3
# Kinds that are told apart; the campaigns of the others are left out.
KINDS_MAX = 10_000
_ANSWER_S = 15.0


class ChangeReport(msgspec.Struct):
    """Prospects that came out with one reason and would with another: of which country and campaign, how many, and some
    of them as `topic/partition/offset`."""

    was: str
    would: str
    country: str
    campaign: str
    prospects: int
    examples: list[str]


class ShadowReport(msgspec.Struct, frozen=True):
    """All that is on the shadow topic: records, how many of them would change the verdict, and how many only the
    reason; then each kind of change, the most frequent first."""

    records: int
    verdicts: int
    reasons: int
    changes: list[ChangeReport]


def report(settings: Settings, log: FilteringBoundLogger, since: float | None) -> ShadowReport:
    """What was found from that moment on (seconds since 1970). Raises Unavailable, Refused."""
    records = verdicts = reasons = 0
    kinds: dict[tuple[str, ...], ChangeReport] = {}
    for each, moment in _read(settings, log):
        if since is not None and moment < since:
            continue
        records += 1
        if each.was is each.would:
            continue
        if each.changes_verdict:
            verdicts += 1
        else:
            reasons += 1
        key = (each.was, each.would, each.country, each.campaign)
        if key not in kinds and len(kinds) >= KINDS_MAX:
            key = (each.was, each.would, each.country, "")
        found = kinds.setdefault(key, ChangeReport(str(key[0]), str(key[1]), key[2], key[3], 0, []))
        found.prospects += 1
        if len(found.examples) < EXAMPLES_MAX:
            found.examples.append(f"{each.topic}/{each.partition}/{each.offset}")
    ordered = sorted(kinds.values(), key=lambda c: (-c.prospects, c.was, c.would, c.country, c.campaign))
    return ShadowReport(records, verdicts, reasons, ordered)


def _read(settings: Settings, log: FilteringBoundLogger) -> Iterator[tuple[Difference, float]]:
    """Everything on the shadow topic up to its ends, each with its moment."""
    group = clients.shadow_group(settings)
    reader = clients.output_reader(settings, log, [settings.topics.shadow], group)
    decode = msgspec.json.Decoder(Difference).decode
    try:
        deadline = Deadline.after(_ANSWER_S)
        bounds = {p: reader.bounds(p, deadline) for p in reader.noted(deadline)}
        reader.assign({p: low for p, (low, _) in bounds.items()})
        while any(reader.read_upto(p) < end for p, (_, end) in bounds.items()):
            fetched = reader.poll(1000, 0.5)
            if fetched.messages:
                deadline = Deadline.after(_ANSWER_S)
            elif deadline.passed:
                raise Unavailable("the shadow topic could not be read in time")
            for message, value in zip(fetched.messages, fetched.values, strict=True):
                yield decode(value or b""), message.timestamp()[1] / 1000
    finally:
        reader.close()

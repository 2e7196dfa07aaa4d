"""Compares emitted verdicts with the shadow's, and reports the differences. No phone number is in the result."""

from collections.abc import Iterator, Sequence

import msgspec

from stream_scrub.call import FACTS
from stream_scrub.config import Settings
from stream_scrub.errors import Unavailable
from stream_scrub.kafka import clients
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.model import Deadline, Logger, Reason, Verdict
from stream_scrub.scrub.batch import Batch
from stream_scrub.scrub.decode import Members, Unreadable, read_strictly
from stream_scrub.scrub.stamp import without_stamp
from stream_scrub.stamp import Stamp, header_in, stamp_on
from stream_scrub.texts import names_a_number

_CAMPAIGN = list(FACTS).index("campaign")
_CAMPAIGN_MAX = 80  # characters


class ShadowDifference(msgspec.Struct, frozen=True):
    """One emitted prospect, and what the shadow would emit."""

    was: Reason
    would: Reason
    was_rules: str  # the rule's digest
    would_rules: str
    topic: str
    partition: int
    offset: int
    country: str  # of the rule
    campaign: str

    @property
    def changes_verdict(self) -> bool:
        """Whether a dialler would act differently."""
        return (self.was.verdict is Verdict.ALLOWED) is not (self.would.verdict is Verdict.ALLOWED)


_DIFFERENCE = msgspec.json.Decoder(ShadowDifference)


def own_values(fetched: PolledBatch, members: Members) -> list[bytes | None]:
    """The producers' own bytes of emitted prospects."""
    return [
        without_stamp(value, members, header_in(headers))
        for value, headers in zip(fetched.values, fetched.headers.each, strict=True)
    ]


def differences(
    fetched: PolledBatch, values: Sequence[bytes | None], batch: Batch, members: Members, *, every: bool
) -> list[ShadowDifference]:
    """The prospects with another reason, or with `every` all of them. Records without their bytes are left out."""
    different = []
    for at, message in enumerate(fetched.messages):
        was = stamp_on(header_in(fetched.headers.each[at]), fetched.values[at])
        would = stamp_on(batch.stamps[at], batch.values[at])
        if was is None or would is None or (was.cause and fetched.values[at] is None):
            continue
        if was.reason is would.reason and not every:
            continue
        rules = _rules(was), _rules(would)
        difference = ShadowDifference(
            was.reason,
            would.reason,
            *rules,
            fetched.topics[at],
            fetched.partitions[at],
            message.offset() or 0,
            (rules[1] or rules[0]).split("@")[0].upper(),
            _campaign(values[at], members),
        )
        different.append(difference)
    return different


def _rules(stamp: Stamp) -> str:
    """The digest of the first rule on a stamp, as in `fr@9c01f2`; empty without one."""
    return next((each.rules for each in stamp.each if each.rules), "")


def _campaign(value: bytes | None, members: Members) -> str:
    try:
        campaign = read_strictly(value or b"", members).facts[_CAMPAIGN]
    except Unreadable:
        return ""
    return campaign[:_CAMPAIGN_MAX] if isinstance(campaign, str) and not names_a_number(campaign) else ""


# Examples of each kind of difference.
EXAMPLES_MAX = 3
# Distinct kinds; beyond that campaigns are left out.
KINDS_MAX = 10_000
_ANSWER_S = 15.0


class ChangeReport(msgspec.Struct):
    """Prospects emitted with one reason that would be emitted with another."""

    was: str
    would: str
    country: str
    campaign: str
    prospects: int
    examples: list[str]  # topic/partition/offset


class ShadowReport(msgspec.Struct, frozen=True):
    """The shadow topic in figures."""

    records: int
    verdicts: int  # records with another verdict
    reasons: int  # records with another reason only
    changes: list[ChangeReport]  # the most frequent first


def report(settings: Settings, log: Logger, since: float | None) -> ShadowReport:
    """The differences from that moment on (seconds since 1970). Raises Unavailable, Refused."""
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
        change = kinds.setdefault(key, ChangeReport(str(key[0]), str(key[1]), key[2], key[3], 0, []))
        change.prospects += 1
        if len(change.examples) < EXAMPLES_MAX:
            change.examples.append(f"{each.topic}/{each.partition}/{each.offset}")
    ordered = sorted(kinds.values(), key=lambda c: (-c.prospects, c.was, c.would, c.country, c.campaign))
    return ShadowReport(records, verdicts, reasons, ordered)


def _read(settings: Settings, log: Logger) -> Iterator[tuple[ShadowDifference, float]]:
    """Everything on the shadow topic up to its ends, each with its moment."""
    group = clients.side_group(settings, "shadow")
    reader = clients.Brokers(settings, log).output_reader([settings.topics.shadow], group)
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
                yield _DIFFERENCE.decode(value or b""), message.timestamp()[1] / 1000
    finally:
        reader.close()

"""What `offsets`, `retry` and `shadow report` show."""

import msgspec

from stream_scrub import terminal
from stream_scrub.queries.group_position import GroupPosition
from stream_scrub.retry.once import RetryReport
from stream_scrub.shadow.report import ShadowReport


class PartitionReport(msgspec.Struct, frozen=True):
    """One partition of a topic: the committed offset, null where there is none; then the offset of the first prospect that has
    not come out, null where that is not certain, why, and whether it was committed now."""

    topic: str
    partition: int
    committed: int | None
    emitted_upto: int | None = None
    why: str = ""
    restored: bool = False


class OffsetsReport(msgspec.Struct, frozen=True):
    """Every partition of the prospects, in order."""

    partitions: list[PartitionReport]

    @classmethod
    def of(cls, found: GroupPosition, *, restored: bool) -> "OffsetsReport":
        """What was found, and whether it was committed."""
        rows = []
        for key, committed in sorted(found.committed.items()):
            emitted = found.emitted.get(key)
            if emitted is None:
                rows.append(PartitionReport(*key, committed))
            else:
                done = restored and emitted.offset is not None
                rows.append(PartitionReport(*key, committed, emitted.offset, emitted.why, done))
        return cls(rows)


def offsets(report: OffsetsReport) -> None:
    """One row a partition."""
    terminal.People().rows(
        ("topic", "partition", "committed", "came out up to", ""),
        [
            (
                each.topic,
                each.partition,
                "-" if each.committed is None else each.committed,
                "" if each.committed is not None else "?" if each.emitted_upto is None else each.emitted_upto,
                "; ".join(filter(None, (each.why, "committed now" if each.restored else ""))),
            )
            for each in report.partitions
        ],
    )


def retried(report: RetryReport) -> None:
    """One row for each kind and outcome, then the registers that are still waited for."""
    out = terminal.People()
    rows = [(each.kind, outcome, count) for each in report.kinds for outcome, count in each.outcomes.items()]
    if rows:
        out.rows(("blocked for", "would" if report.dry_run else "outcome", "prospects"), rows)
    else:
        out.print("nothing to bring back")
    for register, why in report.waiting.items():
        out.print(f"{register} still cannot be used: {why}")


def shadowed(report: ShadowReport) -> None:
    """What would change in all, and then one row for each kind of change."""
    out = terminal.People()
    out.print(f"{report.verdicts} verdicts would change, and {report.reasons} reasons alone")
    if report.changes:
        out.rows(
            ("was", "would be", "country", "campaign", "prospects", "as in"),
            [
                (each.was, each.would, each.country, each.campaign, each.prospects, ", ".join(each.examples))
                for each in report.changes
            ],
        )

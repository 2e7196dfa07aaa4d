"""`lists status`: every register at the log's end, with its size and the age of its list. Pure."""

from datetime import datetime

from stream_scrub.index import Index
from stream_scrub.lists.log.ledger import LogMark
from stream_scrub.observability.unusable_registers import unusable
from stream_scrub.queries.evidence import LogStatus, RegisterStatus
from stream_scrub.rules import Rulebook
from stream_scrub.timestamps import utc_seconds


def status(index: Index, rulebook: Rulebook, now: datetime, mark: LogMark | None = None) -> LogStatus:
    """Every register of an index, by name, and what rules of today lack. `mark` is the log's."""
    registers = [
        RegisterStatus(
            register=each.name,
            kind=each.kind,
            count=len(each.numbers),
            effective_at=utc_seconds(each.effective_at),
            age_days=round((now - each.effective_at).total_seconds() / 86400, 2),
            seq=each.seq,
            position=each.position,
            source=each.source,
            chain=each.chain,
        )
        for _, each in sorted(index.registers.items())
    ]
    return LogStatus(
        position=index.position,
        registers=registers,
        unusable=unusable(rulebook, index, now),
        mark=None if mark is None else mark.why,
    )

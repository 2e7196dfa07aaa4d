"""The record of `prospects.recalled` (schemas/recall.schema.json): the one struct, with its encoder and decoder."""

from datetime import timedelta
from typing import Literal

import msgspec

# Positions begin again on a renewed log, so they are compared within this time alone: no index is so old, and no clock so
# wrong.
ONE_LOG_MS = 86_400_000
# A recall stops a verdict that is up to a day later (`ONE_LOG_MS`), and its moment is up to a day after its record's
# timestamp (a worker's clock that is ahead). The third day is for the clocks of brokers and diallers.
WRITTEN_BEFORE = timedelta(days=3)


class RecallNotice(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A number that may no longer be called, a register that became unusable or usable again, or the proof that recall
    works."""

    kind: Literal["recalled", "suspended", "resumed", "alive"]
    number: str = ""  # E.164 with a plus; of "recalled" only
    reason: str = ""  # as on a stamp
    register: str = ""  # that decided, or that is suspended
    since: str = ""  # when the opposition was in force at the latest
    index: int
    rules: str = ""  # the rule's digest, as on a stamp
    at: str
    key: str = ""  # of the lead, if it is known and a text
    origin: str = msgspec.field(default="", name="from")  # its partition and offset, if they are known
    # Of "alive" only. All leads that these partitions held so long before the record was written are judged by position
    # `index`, and their recalls are on the topic.
    partitions: tuple[str, ...] = ()  # as in prospects.allowed/0
    lag_ms: int = 0


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(RecallNotice).decode

"""The record of `fanout.receipts` and `fanout.dead` (schemas/receipt.schema.json)."""

from typing import Literal

import msgspec

Outcome = Literal["confirmed", "accepted", "retrying", "superseded", "dead"]


class FanoutReceipt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The receipt of an event: the system, the moment and the answer."""

    target: str
    event: str  # its type
    id: str
    number: str  # E.164 with a plus
    list: str = ""  # by the target's name
    register: str = ""
    reason: str = ""
    since: str  # when the event was committed
    at: str
    outcome: Outcome
    tries: int = 1
    answer: str = ""  # shortened, without numbers


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(FanoutReceipt).decode

"""A verdict that was given beside the one that a shadow gives. Pure. Nothing here holds a number."""

from typing import Any

import msgspec

from stream_scrub.kafka.fetched import Fetched
from stream_scrub.model import Reason, Verdict
from stream_scrub.redaction import names_a_number
from stream_scrub.scrub.batch import Batch
from stream_scrub.scrub.decode import STAMP, Members, Unreadable, read_strictly
from stream_scrub.scrub.stamp import without_stamp

_CAMPAIGN_MAX = 80  # characters


class Difference(msgspec.Struct, frozen=True):
    """One prospect that came out: the reasons that it came out with and would now, each with its rule's digest; where it
    is; the country of the rule, and its campaign."""

    was: Reason
    would: Reason
    was_rules: str
    would_rules: str
    topic: str
    partition: int
    offset: int
    country: str
    campaign: str

    @property
    def changes_verdict(self) -> bool:
        """Whether a dialler would do otherwise."""
        return (self.was.verdict is Verdict.ALLOWED) is not (self.would.verdict is Verdict.ALLOWED)


def own_values(fetched: Fetched, members: Members) -> list[bytes | None]:
    """The producers' own bytes of what came out."""
    return [_own(fetched, at, members) for at in range(len(fetched.messages))]


def differences(
    fetched: Fetched, values: list[bytes | None], batch: Batch, members: Members, *, every: bool
) -> list[Difference]:
    """What would come out otherwise, or with `every` all of it. Records whose bytes are not there are left out."""
    found = []
    for at, message in enumerate(fetched.messages):
        was = _stamp(fetched, at)
        if "reason" not in was or ("cause" in was and fetched.values[at] is None):
            continue
        would = _decoded(batch.stamps[at], batch.values[at])
        reasons = Reason(was["reason"]), Reason(would["reason"])
        if reasons[0] is reasons[1] and not every:
            continue
        rules = _rules(was), _rules(would)
        made = Difference(
            *reasons,
            *rules,
            fetched.topics[at],
            fetched.partitions[at],
            message.offset() or 0,
            (rules[1] or rules[0]).split("@")[0].upper(),
            _campaign(values[at], members),
        )
        found.append(made)
    return found


def _header(fetched: Fetched, at: int) -> bytes | None:
    return next((value for name, value in fetched.headers.each[at] or () if name == STAMP), None)


def _stamp(fetched: Fetched, at: int) -> dict[str, Any]:
    return _decoded(_header(fetched, at), fetched.values[at])


def _decoded(in_header: bytes | None, value: bytes | None) -> dict[str, Any]:
    try:
        if in_header is not None:
            return msgspec.json.decode(in_header, type=dict[str, Any])
        found = msgspec.json.decode(value or b"", type=dict[str, Any]).get(STAMP)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _rules(stamp: dict[str, Any]) -> str:
    """The digest of the first rule on a stamp, `fr@9c01f2`; empty where there is none."""
    entries = [stamp, *stamp.get("numbers", ())]
    return next((str(entry["rules"]) for entry in entries if "rules" in entry), "")


def _own(fetched: Fetched, at: int, members: Members) -> bytes | None:
    value = fetched.values[at]
    if value is None or _header(fetched, at) is not None:
        return value
    return without_stamp(value, members)


def _campaign(value: bytes | None, members: Members) -> str:
    try:
        told = read_strictly(value or b"", members).facts[2]
    except Unreadable:
        return ""
    return told[:_CAMPAIGN_MAX] if isinstance(told, str) and not names_a_number(told) else ""

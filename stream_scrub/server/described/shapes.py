"""What answers hold, as types: from them the description is made. The answers themselves are made elsewhere
(`stream_scrub/scrub/stamp.py`); a test holds that they fit."""

import msgspec

from stream_scrub.model import Reason, Verdict


class NumberStamp(msgspec.Struct, kw_only=True):
    """The verdict on one number of several."""

    verdict: Verdict
    reason: Reason
    number: str | msgspec.UnsetType = msgspec.UNSET
    registers: list[str] | msgspec.UnsetType = msgspec.UNSET
    rules: str | msgspec.UnsetType = msgspec.UNSET
    until: str | msgspec.UnsetType = msgspec.UNSET


class Stamp(NumberStamp, kw_only=True):
    """A verdict with its evidence: docs/dialler.md has every member."""

    index: int
    at: str
    numbers: list[NumberStamp] | msgspec.UnsetType = msgspec.UNSET
    callable: list[str] | msgspec.UnsetType = msgspec.UNSET
    channel: str | msgspec.UnsetType = msgspec.UNSET


class Stamps(msgspec.Struct):
    """One stamp for each prospect, in order."""

    stamps: list[Stamp]


class AskedRequest(msgspec.Struct):
    """An opt-out, a consent or a withdrawal: docs/requests.md has every member. Others are kept as evidence."""

    request: str
    number: str | int | list[str | int]


class ProblemDetails(msgspec.Struct, kw_only=True):
    """A problem by RFC 9457. docs/check-api.md has the types and their further members."""

    type: str
    title: str
    status: int
    detail: str

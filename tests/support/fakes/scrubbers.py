"""Makes scrubbers over hand-made rules, and takes apart what comes out of them."""

import json
from typing import Any, NamedTuple

from stream_scrub.index import Index
from stream_scrub.model import Verdict
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decode import Members
from tests.support.fakes import law

MEMBERS = Members.of(["phone"], "country")
NUMBER, OTHER, CONSENTING = 33612345678, 33611111111, 33622222222


def scrubber(text: str = law.OPT_OUT, *, numbers: tuple[str, ...] = ("phone",), **terms: Any) -> Scrubber:
    """A scrubber with these rules. `terms` are as for Terms."""
    members = terms.pop("members", None) or MEMBERS._replace(
        numbers=tuple(tuple(name.split(".")) for name in numbers)
    )
    return Scrubber(
        Terms(members, **{"stale": "block", "default_purpose": "other", **terms}), law.rulebook(text)
    )


def index() -> Index:
    """An index in which NUMBER is opposed, CONSENTING consents, and OTHER is in no register."""
    return law.index(
        law.register("list", [NUMBER]),
        law.register("internal"),
        law.allow("consent", [CONSENTING]),
        law.allow("washed"),
    )


def read(value: bytes) -> Any:
    """A JSON value, read with the standard library, without its limit on the digits of an integer, which JSON does
    not have."""
    return json.loads(value, parse_int=lambda digits: int(digits) if len(digits) < 40 else digits)


class Out(NamedTuple):
    """What became of one value."""

    allowed: bool
    value: bytes | None
    header: bytes | None
    stamp: dict[str, Any]

    @property
    def reason(self) -> str:
        return str(self.stamp["reason"])


def scrub(value: bytes | None, by: Scrubber | None = None, at: Index | None = None, **limits: Any) -> Out:
    """Scrub one value as a batch of one. The stamp must agree with the batch."""
    batch = (by or scrubber()).scrub([value], at or index(), law.NOW, **limits)
    (allowed,), (out,), (header,) = batch.allowed, batch.values, batch.stamps
    stamp = read(header) if header is not None else read(out or b"{}").get("scrub", {})
    if stamp:
        assert stamp["verdict"] == (Verdict.ALLOWED if allowed else Verdict.BLOCKED)
        assert +batch.tally == {stamp["reason"]: 1}
    return Out(allowed, out, header, stamp)

"""Requests as people send them, and what registers must come to by plain dicts: shares no code with the product."""

import json
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import strategies as st

from stream_scrub.model import Request
from stream_scrub.requests.parse_request import RequestTerms

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TERMS = RequestTerms(now=NOW)
SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "request.schema.json").read_text())
NUMBERS = {"0612345678": 33612345678, "+33612345679": 33612345679, "06 11 11 11 11": 33611111111}
BAD = ["06", "x", None, True]
UNTIL = {
    "2027-01-01": datetime(2027, 1, 1, 10, tzinfo=UTC),
    "2028-05-05T00:00:00Z": datetime(2028, 5, 5, tzinfo=UTC),
}


@st.composite
def requests(draw):
    """A request as bytes; most of them are valid."""
    kind = draw(st.sampled_from(["opt-out", "opt-out", "consent", "withdrawal", "correction", "nonsense"]))
    good = st.sampled_from(list(NUMBERS))
    number = draw(
        st.one_of(good, good, good, st.lists(st.one_of(good, good, st.sampled_from(BAD)), max_size=3))
    )
    made = {"request": kind, "number": number, "source": "t"}
    if draw(st.integers(0, 3)) == 0:
        made["scope"] = "acme"
    if kind == "consent":
        if draw(st.booleans()):
            made["until"] = draw(st.sampled_from([*UNTIL, "2020-01-01", "soon"]))
        if draw(st.booleans()):
            made["after_opt_out"] = draw(st.sampled_from([True, True, False, "true"]))
    if kind == "correction":
        made["remove_from"] = draw(st.sampled_from(["internal", "consent"]))
        if draw(st.integers(0, 4)):
            made["reason"] = "wrong number typed"
    return json.dumps(made).encode()


class Model:
    """Registers as dicts of numbers with their ends (0: none), the requests that each register was told, and those
    that were refused. `older` are the requests that a register was told because they ended older consents in it.

    A publisher that was killed between two registers may take for lifted what was not: with `doubting` every consent
    after an opt-out ends the older ones.
    """

    def __init__(self, *, doubting: bool = False) -> None:
        self.registers: dict[str, dict[int, int]] = {}
        self.evidence: list[tuple[str, int, int]] = []
        self.older: list[tuple[str, int, int]] = []
        self.refused: list[Request] = []
        self._doubting = doubting

    def take(self, topic: list[Request]) -> None:
        for request in topic:
            self._one(request, json.loads(request.value))

    def _one(self, request: Request, said: dict) -> None:
        spelled = said["number"] if isinstance(said["number"], list) else [said["number"]]
        numbers = [NUMBERS[each] for each in spelled if isinstance(each, str) and each in NUMBERS]
        bad = len(numbers) < len(spelled)
        at = "@acme" if "scope" in said else ""
        lifts = said["request"] in ("consent", "correction")
        wrong = not numbers or (lifts and bad) or said["request"] == "nonsense"
        wrong |= said.get("until", "2027-01-01") not in UNTIL
        wrong |= said.get("after_opt_out", False) not in (True, False)
        wrong |= said["request"] == "correction" and "reason" not in said
        out = said.get("after_opt_out") is True or said.get("remove_from") == "internal"
        wrong |= out and not request.may_lift
        if wrong or bad:
            self.refused.append(request)
        if wrong:
            return
        match said["request"]:
            case "opt-out":
                self._say(request, "internal" + at, numbers, 0)
            case "withdrawal":
                self._say(request, "internal" + at, numbers, 0)
                self._say(request, "consent" + at, numbers, None)
                if not at:
                    self._end_older(request, numbers, but="consent")
            case "consent":
                end = int(UNTIL[said["until"]].timestamp()) if "until" in said else 0
                if said.get("after_opt_out"):
                    opposed = self.registers.get("internal" + at, {})
                    lifted = [each for each in numbers if self._doubting or each in opposed]
                    self._end_older(request, lifted, but="consent" + at)
                    self._say(request, "internal" + at, numbers, None)
                self._say(request, "consent" + at, numbers, end)
            case "correction":
                self._say(request, said["remove_from"] + at, numbers, None)

    def _end_older(self, request: Request, numbers: list[int], but: str) -> None:
        for name in {"consent", "consent@acme"} - {but}:
            held = self.registers.get(name, {})
            if ended := [number for number in numbers if number in held]:
                self.older.append((name, request.partition, request.offset))
                for number in ended:
                    held.pop(number, None)

    def _say(self, request: Request, register: str, numbers: list[int], end: int | None) -> None:
        held = self.registers.setdefault(register, {})
        self.evidence.append((register, request.partition, request.offset))
        for number in numbers:
            if end is None:
                held.pop(number, None)
            else:
                held[number] = end

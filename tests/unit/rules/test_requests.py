"""What the law says of what people say, sentence by sentence, through the very code that a publisher runs."""

import json
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from stream_scrub.imports.consents import ConsentLaw
from stream_scrub.model import Request
from stream_scrub.requests.lifts import Oppositions
from stream_scrub.requests.parse_request import RequestTerms
from stream_scrub.requests.requests_to_delta import KnownScopes, take
from stream_scrub.rules import Rulebook
from tests.support.fakes import law

ROWS = tomllib.loads((Path(__file__).parents[2] / "golden" / "rules" / "requests.toml").read_text("utf-8"))[
    "row"
]
NUMBER = 33612345678
OWN = frozenset({"internal", "consent", "consent-sms"})
LAW = ConsentLaw(Rulebook.load())
AT = int(law.NOW.timestamp() * 1000)


class Desk:
    """Takes requests in batches, as the publisher does."""

    def __init__(self, house: str = "") -> None:
        self.house = house
        self.index = law.index()
        self.said = Oppositions()
        self.refused: list[str] = []

    def take(self, batch: list[Request]) -> None:
        terms = RequestTerms(OWN, LAW.book.kinds, "FR", law.NOW, self.index.parts(), LAW, self.house)
        registers = self.index.registers
        wanted, turned, _ = take(batch, terms, lambda _: None, self.said, registers, KnownScopes())
        self.refused += [each.reason.value for each in turned]
        for name, asked in wanted.items():
            before = set(registers[name].numbers) if name in registers else set()
            gone = {number for number, end in asked.numbers.items() if end < 0}
            held = (before | asked.numbers.keys()) - gone
            self.index = self.index.with_register(law.register(name, held, kind=asked.kind))

    @property
    def held(self) -> list[str]:
        return sorted(name for name in self.index.registers if NUMBER in self.index.registers[name].numbers)


@pytest.mark.parametrize("at_once", [True, False], ids=["at-once", "one-by-one"])
@pytest.mark.parametrize("row", ROWS, ids=[row["law"][:60] for row in ROWS])
def test_what_becomes_of_what_people_say(row, at_once):
    """Somebody who took a consent back would be called by it, or a consent that somebody gave be lost."""
    made = []
    for at, said in enumerate(row["said"]):
        when = (law.NOW + timedelta(milliseconds=at)).isoformat(timespec="milliseconds")
        value = json.dumps({"number": f"+{NUMBER}", "at": when, **said}).encode()
        made.append(Request(0, at, AT + at, None, value, may_lift=True))
    desk = Desk(row.get("house", ""))
    for batch in [made] if at_once else [[each] for each in made]:
        desk.take(batch)

    assert desk.held == sorted(row["held"]), row["law"]
    assert desk.refused == row.get("refused", [])


def test_every_sentence_has_its_source():
    """What becomes of a consent would rest on nobody knows what."""
    assert all(row["law"].endswith(".") and len(row["source"]) > 5 for row in ROWS)
    assert len({row["law"] for row in ROWS}) == len(ROWS)

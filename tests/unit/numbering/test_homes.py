"""National numbers that phonenumbers gives to the wrong country: one person has one number, whoever spells it."""

import random
import re

import numpy as np
import pytest

from stream_scrub.homes import BEGINNINGS
from stream_scrub.numbering import line_of, lines_many, normalise, valid_many
from stream_scrub.numbering.library import ask, ask_line
from stream_scrub.numbering.row_cache import Learnt, normaliser
from stream_scrub.numbering.tables import ASK, Tables

# Each number with the ways to spell it, and where it lives.
HOMES = [
    (596596601234, "MQ", [("0596 60 12 34", "FR"), ("+33596601234", "GB"), ("0596601234", "MQ"), ("0033596601234", "FR")]),
    (508412345, "PM", [("0508 41 23 45", "FR"), ("+33508412345", "FR"), ("+508 41 23 45", "FR")]),
    (262269601234, "YT", [("0269601234", "FR"), ("+33 269601234", "FR"), ("0269601234", "RE")]),
    (262263123456, "RE", [("02 63 12 34 56", "FR"), ("+33263123456", "FR"), ("+262263123456", "FR")]),
    (262692123456, "RE", [("0692123456", "FR"), ("+33692123456", "FR"), ("0692 12 34 56", "RE")]),
    (590690123456, "GP", [("0690123456", "FR"), ("+590690123456", "FR")]),
    (442890123456, "GB", [("048 9012 3456", "IE"), ("+353 48 90123456", "IE"), ("028 9012 3456", "GB")]),
    (3780549886377, "SM", [("0549 886377", "IT"), ("+39 0549 886377", "FR"), ("+378 0549 886377", "IT")]),
]  # fmt: skip


@pytest.mark.parametrize(("number", "region", "spelt"), HOMES)
def test_a_number_has_one_form(number, region, spelt):
    """An opt-out from Martinique would be missed, and the other form of the number be given to a dialler."""
    for text, where in spelt:
        answer = normalise(text, where)
        assert answer is not None and (answer[0], answer[1].region) == (number, region), (text, where)
        assert answer == ask(text, where)


def test_another_form_and_a_number_whose_home_nobody_knows_are_none():
    """A number that nobody has, or that may be two people's, would be opposed or called in place of the right one."""
    for alias in (33596601234, 33508412345, 33269601234, 353489012345, 3534890123456, 390549886377):
        assert line_of(alias) is None and ask_line(alias) is None
        assert not valid_many(np.array([alias], np.uint64)).any()
    for text in ("0268 00 00 00", "0947999999", "+33939999999", "0598 00 00 00", "+594 947 999999"):
        assert normalise(text, "FR") is None


def test_neighbours_stay_what_they_are():
    """All of the Loire, Cork or Rimini would be lost."""
    for text, region, number in [
        ("0597 12 34 56", "FR", 33597123456),
        ("0270 12 34 56", "FR", 33270123456),
        ("09 75 12 34 56", "FR", 33975123456),
        ("021 490 1234", "IE", 353214901234),
        ("0541 123456", "IT", 390541123456),
        ("06 12 34 56 78", "FR", 33612345678),
    ]:
        answer = normalise(text, region)
        assert answer is not None and answer[0] == number == int(re.sub(r"\D", "", str(answer[0])))
    assert set(BEGINNINGS) == {"33", "262", "590", "594", "596", "353", "39"}


def spelt_in_every_way():
    """Numbers of every block that has another home, or several, as they are typed and with a region to type them in."""
    draw = random.Random(41)
    lengths = {"353": 10, "39": 10}
    for code, beginnings in BEGINNINGS.items():
        for beginning in beginnings:
            for _ in range(4):
                rest = draw.choices("0123456789", k=lengths.get(code, 9) - len(beginning))
                significant = beginning + "".join(rest)
                yield f"+{code}{significant}", "GB"
                yield f"0{significant}", {"33": "FR", "353": "IE"}.get(code, "MQ")


def test_every_home_is_that_of_the_reference():
    """A person of Guadeloupe would be looked up under a number of Martinique."""
    texts = [*spelt_in_every_way()]
    for text, region in texts:
        assert normalise(text, region) == ask(text, region), (text, region)
    for region in ("FR", "GB", "IE", "MQ"):
        lines = [text for text, typed_in in texts if typed_in == region]
        numbers, codes = lines_many("".join(f"{line}\n" for line in lines).encode(), region)
        for line, number, code in zip(lines, numbers.tolist(), codes.tolist(), strict=True):
            if code != ASK:
                answer = ask(line, region)
                assert (number if code > ASK else None) == (answer and answer[0]), line


def test_a_number_with_several_homes_needs_no_library(monkeypatch):
    """Some thousand leads a second from overseas would take a core: the library needs a hundred microseconds for each."""

    def refuse(*_):
        pytest.fail("asked the library")

    monkeypatch.setattr("stream_scrub.numbering.row_cache.ask", refuse)
    read = normaliser(Learnt(Tables.shipped()))
    for text, region in spelt_in_every_way():
        if not text.startswith(("+39", "0549")):
            read(text, region)

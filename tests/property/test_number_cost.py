"""A number's text costs what its length costs, whatever it is; and what makes it so changes no answer."""

import json
import random
import re

import phonenumbers
import pytest

from stream_scrub.numbering import library, normalise
from stream_scrub.numbering.library import ASKED_MAX
from stream_scrub.requests.parse_request import RequestRefusal, RequestTerms, read
from tests.support.fakes.scrubbers import scrub
from tests.support.machine.effort import examples
from tests.support.oracles.mistreated_numbers import given_by, reference

BLANKS = [" ", "\u00a0", "\t", "-", ",", "."]
LABELS = [
    "extn",
    "ext. 12",
    "x",
    "x12",
    "#",
    "12#",
    "int 7",
    "~3",
    ";ext=7",
    ",,9",
    "anexo 4",
    "/x3",
    "",
    "a",
    "\u0434\u043e\u0431 5",
]


def padded(chance):
    """A number with separators repeated anywhere in it, and perhaps an extension, or half of one."""
    number = chance.choice(
        ["06 12 34 56 78", "+33612345678", "0612345678", "07400 123456", "+1 212-555-2368", "061234"]
    )
    text = (
        chance.choice(["", "", "Tel. ", "mobile (soir): "])
        + number
        + chance.choice([" ", ""])
        + chance.choice(LABELS)
    )
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(text) + 1)
        text = text[:at] + chance.choice(BLANKS) * chance.choice([1, 2, 3, 9, 40, 90]) + text[at:]
    return text


def test_padding_changes_no_answer():
    """A number with many blanks in it would be read as another one, or its lead be lost."""
    chance = random.Random("cost 20261124")
    answered = 0
    for _ in range(examples(9000)):
        text, region = padded(chance), chance.choice(["FR", "GB", "US"])
        wanted = reference(text, region)
        got = given_by(normalise(text, region))

        if got is None and wanted is not None:  # only what is stated to be none
            rest = re.sub("([ \u00a0\t-])\\1+", r"\1", text[re.search(r"[+\d]", text).start() :])
            assert len(rest) > ASKED_MAX or re.search("[ \u00a0\t,-]{7}", rest), (text, region)
        else:
            assert got == wanted, (text, region)
            answered += wanted is not None
    assert answered > examples(9000) / 6


def costly():
    yield "06123456" + " " * 236 + "extn"
    for head in ("06123456", "+33612345678"):
        for body in (
            " ",
            "\u00a0",
            "\t",
            "-",
            ",",
            " \u00a0",
            "- ",
            " ,",
            "1",
            "1-",
            "1 -",
            "x ",
            "1 \u00a0\t ,-",
            ".-",
        ):
            for tail in ("#", "extn", "1#", "x", ""):
                for length in (60, 80, 120, 250):
                    yield (head + body * length)[: length - len(tail)] + tail


def test_work_grows_no_faster_than_the_text(monkeypatch):
    """A body of costly numbers would keep a process from everybody else, however few bytes it has."""
    work = []

    def counted(text, region):
        work.append(len(text))
        return phonenumbers.parse(text, region)

    monkeypatch.setattr(library, "parse", counted)
    chance = random.Random("work 20261128")
    pairs = (f"{padded(chance)[0]}{chance.choice(LABELS)}{padded(chance)}" for _ in range(examples(3000)))
    for text in (*costly(), *pairs, *(padded(chance) for _ in range(examples(3000)))):
        for region in ("FR", "DE", "AR"):
            work.clear()
            normalise(text, region)
            assert max(work, default=0) <= ASKED_MAX
            assert sum(work) <= 3 * len(text), (text, region, work)


def test_the_work_for_a_request_is_bounded_by_its_bytes(monkeypatch):
    """A sender of odd opt-outs would keep everybody else's from counting."""
    work = []

    def counted(text, region):
        work.append(len(text))
        return phonenumbers.parse(text, region)

    monkeypatch.setattr(library, "parse", counted)
    chance = random.Random("requests 20261128")
    for _ in range(examples(100)):
        spelt = [padded(chance) for _ in range(chance.choice([1, 1, 30, 300]))]
        members = {"request": "opt-out", "number": spelt, "region": chance.choice(["FR", "GB", "nowhere"])}
        value = json.dumps(members, ensure_ascii=False).encode()
        work.clear()
        read(value, RequestTerms())
        everywhere = 5 * 300 * ASKED_MAX  # five numbers in every region
        assert sum(work) <= 3 * len(value) + everywhere, value


@pytest.mark.parametrize(
    ("text", "legible"),
    [
        ("06123456" + " \u00a0" * 110 + "#", ()),
        ("0612345678" + "1" * 200, ()),
        ("+33612345678" + ", " * 60, (33612345678,)),
    ],
)
def test_what_would_take_long_is_no_number_wherever_it_stands(text, legible):
    """The prospect would come out otherwise than the list with the same text. An opposition opposes what is legible."""
    assert phonenumbers.is_possible_number_string("0612345678", "FR")
    assert scrub(b'{"phone":"%s"}' % text.encode()).reason == "invalid-number"
    opposed = read(b'{"request":"opt-out","number":"%s"}' % text.encode(), RequestTerms())
    assert opposed.numbers == legible if legible else opposed is RequestRefusal.INVALID_NUMBER

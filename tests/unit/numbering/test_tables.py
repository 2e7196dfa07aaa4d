"""The tables that are shipped: made from the installed phonenumbers, and ignored when they were not."""

import hashlib
import json
import os
import random
import re
import zlib

import phonenumbers
import pytest

from stream_scrub.numbering import DATA_VERSION, REGIONS, Line, tables_in_use
from stream_scrub.numbering.library import ask, ask_line
from stream_scrub.numbering.row_cache import Learnt, liner, normaliser
from stream_scrub.numbering.tables import FOLDER, Tables
from tools import numbering_tables
from tools.numbering_tables import alternatives

ALL = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
# Every calling code takes ten seconds; the long differential run of tests/property asks for it.
SOME = ALL if "STREAM_SCRUB_DIFFERENTIAL" in os.environ else [33, 352, 39, 590, 800]
TYPED = [
    "06 12 34 56 78",
    "+33612345678",
    "+33 (0)6 12 34 56 78",
    "0701234567",
    "0033612345678",
    "²612345678",
    "",
]


def test_made_from_the_installed_version():
    """Scrubbing would be fifty times slower after an upgrade of phonenumbers whose tables were forgotten."""
    assert phonenumbers.__version__ == DATA_VERSION, "run `make tables` and commit the result"
    assert tables_in_use()


@pytest.mark.parametrize("calling_code", SOME)
def test_made_exactly_from_the_metadata(calling_code):
    """A table that was edited, or made by other code than this, would hand diallers numbers that do not exist."""
    shipped = zlib.decompress((FOLDER / f"{calling_code}.z").read_bytes())

    assert shipped == numbering_tables.content_of(calling_code)


def test_index_names_every_file():
    """A country would silently go to the slow library if its file were not the one that the index speaks of."""
    index = json.loads((FOLDER / "index.json").read_bytes())

    assert sorted(map(int, index["sha256"])) == ALL
    assert sorted(int(path.stem) for path in FOLDER.glob("*.z")) == ALL
    for calling_code, digest in index["sha256"].items():
        content = zlib.decompress((FOLDER / f"{calling_code}.z").read_bytes())
        assert hashlib.sha256(content).hexdigest() == digest


def test_another_version_is_asked_itself(monkeypatch):
    """A number assigned since the tables were made would be lost, or one withdrawn be called."""
    tables = Tables.shipped()
    monkeypatch.setattr(phonenumbers, "__version__", "99.0.0")

    assert not tables.in_use
    assert not tables_in_use()
    assert normaliser(Learnt(tables)) is ask
    assert liner(tables) is ask_line
    for text in TYPED:
        assert normaliser(Learnt(tables))(text, "FR") == normaliser(Learnt(Tables("99.0.0", {})))(text, "FR")


def test_a_file_that_is_not_the_index_s_is_not_used():
    """A half-updated package would judge by two versions at once."""
    wrong = Tables(phonenumbers.__version__, {"33": "0" * 64})
    normalise = normaliser(Learnt(wrong))

    assert wrong.in_use
    assert wrong.plan(33) is None
    assert [normalise(text, "FR") for text in TYPED] == [ask(text, "FR") for text in TYPED]
    assert liner(wrong)(33612345678) is Line.of("FR", "mobile")


def test_plain_shapes_never_reach_the_library(monkeypatch):
    """The worker's budget of a microsecond would go to a parser that takes fifteen."""

    def refuse(*_):
        pytest.fail("asked the library")

    monkeypatch.setattr("stream_scrub.numbering.row_cache.ask", refuse)
    normalise = normaliser(Learnt(Tables.shipped()))
    for region in "FR RE GP GB GG JE IM US CA BE IT ES IE DE NL PL LU".split():
        number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        for style in ("E164", "INTERNATIONAL", "NATIONAL"):
            text = phonenumbers.format_number(number, getattr(phonenumbers.PhoneNumberFormat, style))
            assert normalise(text, region) is not None, (text, region)


def test_prefix_alternatives_match_as_the_pattern_does():
    """A national prefix told apart wrongly would add or drop a digit of every number of a country."""
    draw = random.Random(1)
    patterns = {
        phonenumbers.PhoneMetadata.metadata_for_region(r).national_prefix_for_parsing for r in REGIONS
    } - {None}
    for pattern in patterns:
        for _ in range(400):
            start = draw.choice(["", "0", "1", "8", "9", "90", "0015", "000", "0111", "549", "03"])
            digits = start + "".join(draw.choices("0123456789", k=draw.randint(1, 11)))
            whole = re.match(pattern, digits)
            ways = (re.match(way, digits) for way in alternatives(pattern))
            first = next((match for match in ways if match), None)

            assert (whole and whole.end()) == (first and first.end()), (pattern, digits)

"""The country of national numbers in a file of leads: said, asked for, or unknown."""

import csv
import json

import pytest

from stream_scrub.errors import BadFile
from tests.support.running.files import Bureau

SWISS = "".join(f"+4179123{place:04d}\n" for place in range(50))
FRENCH = "".join(f"+3361234{place:04d}\n" for place in range(50))


@pytest.fixture
def bureau(tmp_path):
    return Bureau(tmp_path)


@pytest.mark.parametrize(
    ("numbers", "stops"),
    [
        ("0470123450\n" + FRENCH + SWISS[:26], True),  # 2 of 52 are 3.8 %
        ("0470123450\n" + FRENCH + SWISS[:13], False),  # 1 of 51 is less than 2 %
        ("0470123450\n" + FRENCH + SWISS, True),
        ("0470123450\n0032470123451\n", True),
        ('"0470 12.34.50"\n"(+32) 470 12.34.51"\n', True),
        ("0470123450\n+262692123456\n", False),  # a territory of France
        (FRENCH + SWISS, False),  # no national number
        ("0470123450\n", False),
    ],
)
def test_a_column_that_speaks_against_the_default_region_stops_the_run(bureau, numbers, stops):
    """Belgian and Swiss leads would be judged, and called, as French numbers: 410 of 606 were."""
    cells = ["".join(row) for row in csv.reader(numbers.splitlines())]
    prospects = "".join(json.dumps({"phone": cell}) + "\n" for cell in cells)
    for content, name in ((f"phone\n{numbers}", "leads.csv"), (prospects, "leads.ndjson")):
        leads = content.encode()
        if not stops:
            bureau.scrub(leads, name)
            continue
        with pytest.raises(BadFile, match=r"belong to other countries than FR .*--region .*--region-column"):
            bureau.scrub(leads, name)
        assert bureau.scrub(leads, name, region="FR").summary.rows == len(cells), (
            "the user says that it is so"
        )


def test_rows_that_name_their_country_say_nothing_of_the_others(bureau):
    """A file with a country for each row would stop for the people from abroad in it."""
    rows = "".join(f"{number};CH\n" for number in SWISS.split()) + "0612345678;\n0470123450;BE\n"

    assert bureau.scrub(("phone;country\n" + rows).encode()).summary.rows == 52
    members = [dict(zip(("phone", "country"), row.split(";"), strict=True)) for row in rows.split()]
    lines = "".join(json.dumps(each) + "\n" for each in members)
    assert bureau.scrub(lines.encode(), "leads.ndjson").summary.rows == 52


def test_a_row_of_an_unknown_country_is_blocked(bureau):
    """A Dutch person who objected would be called under a French number."""
    content = b"phone;country\n0660869198;31\n0660869198;nl-NL\n0660869198;Nederland (NL)\n0612345678;\n"

    outcome = bureau.scrub(content)

    assert outcome.summary.reasons["unknown-country"] == 1
    assert {(each.region, each.type) for each in outcome.summary.lines} == {
        ("NL", "pager"),
        ("FR", "mobile"),
    }
    assert b"0660869198;31;blocked;unknown-country;;" in outcome.read("annotated")


BELGIAN = ["0470123450", "0470123451", "0470123452"]


@pytest.mark.parametrize(
    ("title", "country"),
    [
        *(("nation", "BE"), ("Staat", "+32"), ("locale", "nl-BE"), ("Lang", "nl-BE"), ("iso2", "BE")),
        *(("pays", "Belgia"), ("country_code", "32"), ("Country of residence", "XX")),
    ],
)
def test_a_column_that_may_name_countries_stops_the_run(bureau, title, country):
    """A Belgian who objected would be called, as a French number: the column with `BE` was not looked at, and nobody said so."""
    content = "".join([f"phone;{title}\n", *(f"{number};{country}\n" for number in BELGIAN)]).encode()
    with pytest.raises(
        BadFile, match=r"may name each row's country, and 3 .* read as FR.*--region.*--region-column"
    ):
        bureau.scrub(content)
    assert bureau.scrub(content, region="BE").summary.rows == 3


@pytest.mark.parametrize(
    ("title", "cells"),
    [
        *(("nation", ["FR", "FR", "FR"]), ("client", ["NO", "YES", "NO"]), ("cliente", ["SI", "NO", "SI"])),
        *(("Land", ["Bayern", "Hessen", ""]), ("pays", ["", "", ""]), ("nom", ["Dupont", "Durand", "Petit"])),
        *(("Civilité", ["MR", "MS", "MR"]), ("vendeur", ["AL", "BG", "MA"])),
    ],
)
def test_a_column_of_something_else_stops_no_run(bureau, title, cells):
    """Every file with a column of answers, or of Bavarians, would stop."""
    rows = "".join(f"061234567{place};{cell}\n" for place, cell in enumerate(cells))
    assert bureau.scrub(f"phone;{title}\n{rows}".encode()).summary.rows == 3


def test_a_country_far_below_the_first_rows_counts(bureau):
    """A file that is sorted by its empty countries would be read as French to its end."""
    french = "".join(f"061234{place:04d};\n" for place in range(2_000))
    outcome = bureau.scrub(f"phone;pays\n{french}0470123450;BE\n".encode())
    assert ("BE", "mobile") in {(each.region, each.type) for each in outcome.summary.lines}


@pytest.mark.parametrize(
    "others",
    [
        "".join(f'{{"phone": "+3247012{place:04d}"}}\n' for place in range(30)),
        '{"phone": "0470123451", "nation": "BE"}\n',
        '{"phone": "0470123451", "pays": "Belgia"}\n',
    ],
)
def test_prospects_that_speak_against_the_default_region_stop_the_run(bureau, others):
    """The same Belgians would be called if their file is NDJSON."""
    content = ('{"phone": "0470123450"}\n' + others).encode()
    with pytest.raises(BadFile, match=r"--region "):
        bureau.scrub(content, name="leads.ndjson")
    assert bureau.scrub(content, name="leads.ndjson", region="BE").summary.rows > 1

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

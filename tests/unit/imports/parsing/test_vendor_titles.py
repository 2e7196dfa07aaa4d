"""The titles that vendors give to the column of numbers, where another column holds numbers of the same form."""

from datetime import UTC, datetime

import pytest

from stream_scrub.imports import plan_import

VENDORS = {
    "Five9": "number1",
    "Salesforce": "MobilePhone",
    "VICIdial": "phone_number",
    "Convoso": "primary_phone",
}


@pytest.mark.parametrize("title", VENDORS.values(), ids=VENDORS)
def test_a_vendors_title_says_which_column_holds_the_numbers(tmp_path, title):
    """Whoever exports opt-outs from this dialler would have to name the column each time, or oppose the lead's id."""
    file = tmp_path / "list.csv"
    file.write_text(f"lead_id,{title},first_name\n100200300,0612345678,Ann\n100200301,0612345679,Bob\n")
    order = plan_import.ImportOptions(file=file, register="internal", region="FR", max_bad=0.0)
    with file.open("rb", buffering=0) as opened:
        reading = plan_import.read(order, datetime.now(UTC), lambda *_: None, opened)
    assert list(reading.bitmap()) == [33612345678, 33612345679]

"""Lists of every format, as they are handed out: tests/golden/lists. Beside each lies what a reader with a pencil takes
from it, never written by the product: `<file>.json`.

| member | is |
|---|---|
| `columns` | what the operator says of it, where a format needs that |
| `format`, `packed`, `described` | how it is read, with no other option given |
| `numbers`, `removals` | the distinct numbers, ascending |
| `ends` | of numbers that end: the moment, RFC 3339 |
| `refused`, `refused_in` | line numbers, and the files of a zip of several |
| `blank`, `titles`, `passed`, `duplicates` | counts |
| `kind`, `change`, `scope`, `base`, `effective_at` | what the list says of itself |
"""

import json
from datetime import UTC, datetime

import pytest

from stream_scrub.imports.formats import FORMATS
from tests.support.fakes.lists import read
from tests.support.golden.files import GOLDEN

FOLDER = GOLDEN / "lists"
FILES = sorted(path.name for path in FOLDER.iterdir() if not (FOLDER / path.stem).is_file())
UNSAID = {"removals": [], "refused": [], "refused_in": []}
UNSAID |= dict.fromkeys(("blank", "titles", "passed", "duplicates"), 0)
UNSAID |= {"ends": {}, "kind": None, "change": "full", "scope": "", "base": None, "effective_at": None}


def rfc3339(moment):
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("name", FILES)
def test_a_list_gives_the_numbers_that_stand_in_it(name, tmp_path):
    """An operator would import a list with nothing but its register's name, and other people would be opposed."""
    expected = UNSAID | json.loads((FOLDER / f"{name}.json").read_text())

    columns = expected.pop("columns", {})
    reading = read(tmp_path, (FOLDER / name).read_bytes(), name=name, columns=columns)

    said = ", ".join(filter(None, (expected.pop(key) for key in ("format", "packed", "described"))))
    assert reading.described.rpartition(", like ")[0] == said
    numbers, ends = reading.ends()
    assert {
        "numbers": sorted(reading.bitmap()),
        "removals": sorted(reading.removals()),
        "ends": {
            str(number): rfc3339(datetime.fromtimestamp(end, UTC))
            for number, end in zip(numbers.tolist(), ends.tolist(), strict=True)
        },
        "refused": reading.first_refused,
        "refused_in": reading.refused_in,
        "kind": reading.kind,
        "change": reading.change,
        "blank": reading.blank,
        "titles": reading.titles,
        "passed": reading.passed,
        "duplicates": reading.duplicates,
        "scope": reading.scope,
        "base": reading.base,
        "effective_at": reading.effective_at and rfc3339(reading.effective_at),
    } == expected


def test_every_format_has_a_list():
    """A format would be promised that nobody ever read a file of."""
    formats = {json.loads((FOLDER / f"{name}.json").read_text())["format"] for name in FILES}

    assert formats == {each.name for each in FORMATS}

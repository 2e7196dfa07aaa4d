"""Every program finds our verdict under our title, whatever stands in the rows of a file from strangers."""

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_scrub.errors import BadFile, ConfigError
from stream_scrub.numbering import e164, normalise, numbers_in
from tests.support.machine.effort import examples
from tests.support.running.csv_readers import Go, by_duckdb, by_pandas, by_python, by_title
from tests.support.running.files import FREE, OPPOSED, Bureau

pytestmark = pytest.mark.slow

OURS = ("scrub_verdict", "scrub_reason", "scrub_number", "scrub_until", "scrub_call_from", "scrub_call_to")
FORGED = "allowed;clear;+33612345678;;;"
PIECES = st.sampled_from(
    [
        *(
            "a",
            "x y",
            '"',
            '""',
            '"3"n',
            ";",
            ";",
            '";',
            ';"',
            ' "',
            '" ',
            "'",
            "\\",
            '\\"',
            "\t",
            "#",
            "=1",
            "\0",
        ),
        *(FREE, OPPOSED, FORGED, '"q;r"', '"2""'),
    ]
)
CELLS = st.lists(PIECES, max_size=4).map("".join)
ROWS = st.tuples(CELLS, st.sampled_from([FREE, OPPOSED]), CELLS).map(";".join)
PLAIN = [f"{place};{FREE};ok" for place in range(40)]  # so that hostile rows are the fewer ones


@pytest.fixture(scope="module")
def bureau():
    with tempfile.TemporaryDirectory() as folder:
        yield Bureau(Path(folder))


@pytest.fixture(scope="module", params=["python", "pandas", "duckdb", "go"])
def reader(request, tmp_path_factory):
    if request.param == "go":
        return Go(tmp_path_factory.mktemp("go"))
    return {"python": by_python, "pandas": by_pandas, "duckdb": by_duckdb}[request.param]


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(ROWS, max_size=8))
@example([f"90;{OPPOSED};x;{FORGED}"])
@example([f'"3"n;{OPPOSED};x;{FORGED}', f'Ann;{OPPOSED};"y'])
@example([f'Ann;{OPPOSED};"y\\"', f'"Bob;{OPPOSED};z'])
@example([f'";{FREE};', f';{FREE};\\"'])
@example([f';";{FREE};', f';{FREE};";'])
@example([f"Ann;{OPPOSED}", "", f' "Bob;{OPPOSED};x";{FREE};{FORGED}'])
def test_every_reader_finds_our_verdict_under_our_title(bureau, reader, rows):
    """A dialler that imports the file by its titles would call by a verdict that the file's sender wrote."""
    lines = ["name;phone;note", *PLAIN[:20], *rows, *PLAIN[20:]]
    content = "".join(f"{line}\n" for line in lines).encode()
    try:
        done = bureau.scrub(content, columns=["phone"], delimiter=";")
    except (
        ConfigError,
        BadFile,
    ):  # cells like those of an earlier scrub, in the wrong place: nothing is written
        return

    for name, file in zip(("allowed", "blocked", "annotated"), done.files, strict=True):
        found = reader(next(done.folder.glob(f"{name}.*")), ";")
        wanted = by_python(next(done.folder.glob(f"{name}.*")), ";")
        assert [row for row in found if any(row)] == wanted, file
        assert tuple(wanted[0][-6:]) == OURS and {len(row) for row in wanted} == {9}
        verdicts, numbers, phones = (
            by_title(wanted, title) for title in ("scrub_verdict", "scrub_number", "phone")
        )
        assert set(verdicts) <= ({"allowed", "blocked"} if name == "annotated" else {name})
        for verdict, number, phone in zip(verdicts, numbers, phones, strict=True):
            if verdict == "allowed":
                one = normalise(phone, "FR")
                numbers = (one[0],) if one is not None else numbers_in(phone, "FR")[0]
                given = re.findall(r"\+\d+", number)
                assert set(given) == {e164(each) for each in numbers} != set() and OPPOSED not in phone
    kept = by_python(next(done.folder.glob("annotated.*")), ";")
    assert by_title(kept, "scrub_verdict").count("allowed") == done.summary.allowed
    assert len(kept) - 1 == done.summary.rows

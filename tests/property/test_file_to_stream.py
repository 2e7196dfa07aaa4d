"""Tables as nobody would write them: the prospect that `produce` makes of a row says what the file judged of that row."""

import csv
import io
import json
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scrub import Checker, ListFile
from stream_scrub.call import FACTS
from stream_scrub.config import load
from stream_scrub.errors import ConfigError
from stream_scrub.files.cells import FactsReader
from stream_scrub.files.options import REGION, Asked, FileOptions
from stream_scrub.files.produce import records_of
from stream_scrub.files.rows import Duplicates, Judging, Targets
from stream_scrub.files.scrub_file import leads_of
from stream_scrub.files.source import open_input
from stream_scrub.scrub.decode import Members, read_strictly
from tests.support.fakes.lists import consents
from tests.support.machine.effort import examples
from tests.support.running.files import written

MOMENT = datetime(2026, 9, 1, 12, tzinfo=UTC)
FREE, CONSENTED, OPPOSED = "0611111111", "0622222222", "0612345678"
LISTS = {"internal": [OPPOSED], "internal@acme": [CONSENTED], "consent": [FREE, CONSENTED]}
SETTINGS = {"prospect.contract_shapes": ["C-#+"], "prospect.default_purpose": "insurance"}
LEADS = [FREE, CONSENTED, OPPOSED]
CELLS = st.sampled_from(
    [
        *(
            "",
            " ",
            "?",
            "energy",
            "insurance",
            "sms",
            "voice",
            "artificial",
            "live",
            "acme",
            "company",
            "true",
        ),
        *(
            "C-17",
            "purchase:2026-08-01",
            "DE",
            "FR",
            "\u00a0energy",
            "x" * 300,
            'a "quoted"',
            "two\nlines",
            ";",
        ),
        *("6.12345678E+08", "6.12E+08", "612345678.0", "+447400123456", "0612345678\u200b", *LEADS),
        *("n.c.", "-", f"{FREE} / {OPPOSED}", f"{FREE} {CONSENTED}", f"{FREE};+447400123456", f"{FREE} / 12"),
    ]
)
# Titles that the stream, or a careless parser, takes for a member: only the column that the file takes may keep one.
TITLES = st.sampled_from(
    [
        *("", " ", "name", "scrub", "Scrub", "a.b", "column_2", "phone_2", "\ufeffnote", "20260131"),
        *("phone", "Phone", "mobile", "country", "Country", "pays", *FACTS, "Voice kind", "PURPOSE", "vo\u0131ce_k\u0131nd"),
    ]
)  # fmt: skip
ROWS = st.lists(st.tuples(st.sampled_from(LEADS), st.lists(CELLS, max_size=6)), min_size=3, max_size=9)
PLACES = st.dictionaries(st.sampled_from([*FACTS, REGION]), st.integers(1, 6).map(str), max_size=3)


@pytest.fixture(scope="module")
def checker():
    with tempfile.TemporaryDirectory() as folder:
        lists = {}
        for name, numbers in LISTS.items():
            file = Path(folder) / f"{name}.txt"
            plain = "".join(f"{number}\n" for number in numbers)
            file.write_text(consents(numbers) if name.startswith("consent") else plain)
            lists[name] = ListFile(file, effective_at=datetime(2026, 8, 30, tzinfo=UTC))
        yield Checker.from_lists(lists, settings=SETTINGS | {"rules.stale": "block"})


class Kept(io.BytesIO):
    """An output in memory."""

    name = ""


def judged_by_file(leads):
    """By row: what the file read beside its number, and our first four cells."""
    told, read = [], FactsReader.read

    def watched(reader, columns):
        facts, ids = read(reader, columns)
        told.append((facts, ids))
        return facts, ids

    annotated = Kept()
    with patch.object(FactsReader, "read", watched):
        leads.scrub(Targets(Kept(), Kept(), annotated), lambda: None)
    text = io.StringIO(annotated.getvalue().decode(), newline="")
    rows = [row for row in csv.reader(text, delimiter=";") if row][leads.titles :]
    facts = [
        each
        for found, ids in told
        for each in (found * len(rows) if ids is None else map(found.__getitem__, ids))
    ]
    return [(fact, *row[-6:-2]) for fact, row in zip(facts, rows, strict=True)]


def judged_by_stream(values, checker, prospect):
    """The same of prospects."""
    members = Members.of(prospect.numbers, prospect.region, prospect.facts)
    batch = checker.scrubber.scrub(values, checker.index, MOMENT)
    for value, out in zip(values, batch.values, strict=True):
        stamp = json.loads(out)["scrub"]
        each = [entry for entry in stamp.get("numbers", [stamp]) if entry["verdict"] == "allowed"]
        numbers = [entry["number"] for entry in each if stamp["verdict"] == "allowed"]
        shown = " ".join(f"({number})" for number in numbers) if len(numbers) > 1 else "".join(numbers)
        facts = checker.scrubber.facts_of(*read_strictly(value, members).facts)
        yield facts, stamp["verdict"], stamp["reason"], shown, stamp.get("until", "")


@settings(max_examples=examples(120))
@given(st.lists(TITLES, max_size=6), ROWS, PLACES, st.sampled_from([None, "1", "2"]))
def test_a_prospect_says_what_the_file_judged(checker, titles, rows, places, second):
    """A column that the file looked at would not be on the topic, and a machine call people whom the file keeps from it."""
    width = len(titles) or min(len(cells) for _, cells in rows)  # longer rows are blocked, and no prospects
    table = [[number, *cells[:width]] for number, cells in rows]
    content = written([["phone", *titles], *table] if titles else table)
    made = load(flags=SETTINGS, environ={}, config_file=None, extra_checks=[])
    numbers = ("1",) if second is None else ("1", second)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "leads.csv").write_text(content, newline="")
        order = FileOptions(
            input=str(folder / "leads.csv"),
            output=folder,
            columns=Asked(numbers, places, titles=1 if titles else 0),
            delimiter=";",
        )
        judging = Judging(made, checker.scrubber, checker.index, MOMENT)

        def leads():
            file = stack.enter_context(open_input(order.input))
            scratch = stack.enter_context(tempfile.TemporaryFile())
            return leads_of(file, order, judging, Duplicates(scratch), lambda: folder)

        try:
            found = judged_by_file(leads())
        except ConfigError:
            return
        values = [record.value for record in records_of(leads(), order, "", made)]
    assert found == list(judged_by_stream(values, checker, made.prospect))

"""What rows say of themselves in columns, and options of all rows: the file, the stream by way of `produce`, and `Checker`
give one verdict."""

import csv
import io
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scrub import Call, Checker, ListFile
from stream_scrub.call import FACTS, relation_in
from stream_scrub.config import load
from stream_scrub.files.options import Asked, FileOptions
from stream_scrub.files.produce import records_of
from stream_scrub.files.rows import Duplicates, Judging
from stream_scrub.files.scrub_file import leads_of
from stream_scrub.files.source import open_input
from stream_scrub.scrub import scrubbing
from tests.support.fakes.lists import consents
from tests.support.machine.effort import examples
from tests.support.running.files import Bureau, written

MOMENT = datetime(2026, 9, 1, 12, tzinfo=UTC)
FREE, CONSENTED, OPPOSED, ACMES = "0611111111", "0622222222", "0612345678", "0633333333"
NUMBERS = [FREE, CONSENTED, OPPOSED, ACMES, "+34600000001", "+12125550123", "+447400123456", "x"]
LISTS = {
    "internal": [OPPOSED],
    "internal@acme": [CONSENTED],
    "consent": ["+33622222222", "+34600000001"],
    "consent@acme": [ACMES],
    "consent-artificial@acme": [ACMES],
    "consent-sms@acme": [ACMES],
    "robinson-clean": ["+34600000002"],
    "us-dnc": ["+12125550123"],
    "tps": ["+447400123457"],
}
CELLS = {
    "purpose": ["", "insurance", "Isolation", "heat-pump", "survey", "press", "?"],
    "contract": ["", "true", "TRUE", "no", "C-17", "résilié"],
    "campaign": ["", "acme", "ACME", "other", "!"],
    "channel": ["", "voice", "sms", "Voice", "fax line"],
    "who": ["", "company", "consumer", "Dupont"],
    "relation": [
        "",
        "purchase:2026-08-01",
        "inquiry:2026-08-01",
        "purchase:2019-01-01",
        "purchase",
        "client",
    ],
    "voice_kind": ["", "live", "artificial", "AI"],
    "residence": ["", "FR", "es", "DE", "nowhere"],
}
ROWS = st.lists(
    st.tuples(
        st.sampled_from(NUMBERS),
        st.sampled_from(["FR", "ES", "", "france"]),
        *(st.one_of(st.just(""), st.sampled_from(CELLS[fact])) for fact in FACTS),
    ),
    min_size=4,
    max_size=12,
)
TITLES = ("phone", "pays", *FACTS)
NAMED = ("phone", "pays", *(f"x {fact}" for fact in FACTS))
SAID = {"prospect.region": "pays", "prospect.contract_shapes": ["C-#+"], "rules.folder": ""}


@pytest.fixture(scope="module")
def bureau():
    with tempfile.TemporaryDirectory() as folder:
        made = Bureau(Path(folder))
        made.lists = {}
        for name, numbers in LISTS.items():
            file = made.folder / f"{name}.txt"
            plain = "".join(f"{number}\n" for number in numbers)
            file.write_text(consents(numbers) if name.startswith("consent") else plain)
            made.lists[name] = ListFile(file, effective_at=datetime(2026, 8, 30, tzinfo=UTC))
        made.checker = Checker.from_lists(made.lists, settings=SAID | {"rules.stale": "block"})
        yield made


def by_file(bureau, rows, titles, **options):
    """Verdict, reason and last day of each row, by the file."""
    content = written([titles, *rows]).encode()
    done = bureau.scrub(content, settings=SAID, on=MOMENT, delimiter=";", columns=["phone"], **options)
    text = io.StringIO(done.read("annotated").decode(), newline="")
    return [(row[-6], row[-5], row[-3]) for row in csv.reader(text, delimiter=";")][1:]


def by_stream(bureau, rows, titles, **options):
    """The same of what `produce` puts on the topic."""
    made = load(flags=SAID, environ={}, config_file=None, extra_checks=[])
    file = bureau.folder / "produced.csv"
    file.write_text(written([titles, *rows]), newline="")
    order = FileOptions(
        input=str(file),
        output=bureau.folder,
        columns=Asked(("phone",), options.get("fact_columns", {})),
        call=options.get("call", Call()),
        region=options.get("region"),
        delimiter=";",
    )
    judging = Judging(made, scrubbing.scrubber(made), bureau.checker.index, MOMENT)
    with tempfile.TemporaryFile() as scratch, open_input(str(file)) as opened:
        leads = leads_of(opened, order, judging, Duplicates(scratch), lambda: bureau.folder)
        values = [record.value for record in records_of(leads, order, "", made)]
    batch = bureau.checker.scrubber.scrub(values, bureau.checker.index, MOMENT)
    stamps = [json.loads(value)["scrub"] for value in batch.values]
    return [(each["verdict"], each["reason"], each.get("until", "")) for each in stamps]


def by_checker(bureau, rows):
    """The same of numbers that a program asks about."""
    for number, region, *cells in rows:
        said = dict(zip(FACTS, cells, strict=True))
        said["relation"] = relation_in(said["relation"])
        call = Call(**said)
        where = region if region in {"FR", "ES"} else None
        stamp = bureau.checker.check(number, call, region=where, on=MOMENT)
        yield str(stamp.verdict), str(stamp.reason), "" if stamp.until is None else stamp.until.isoformat()


@settings(max_examples=examples(40))
@given(ROWS)
def test_columns_say_to_the_file_what_they_say_on_the_stream(bureau, rows):
    """Somebody would be called by a machine, or for a banned purpose, because the file did not look at that column."""
    # The region is named, since foreign numbers among them speak against it.
    found = by_file(bureau, rows, TITLES, region="FR")
    named = {fact: f"x {fact}" for fact in FACTS}

    assert found == by_stream(bureau, rows, TITLES, region="FR")
    assert found == by_file(bureau, rows, NAMED, region="FR", fact_columns=named)
    assert found == by_stream(bureau, rows, NAMED, region="FR", fact_columns=named)
    assert found == list(by_checker(bureau, rows))


@settings(max_examples=examples(15))
@given(ROWS, st.sampled_from(["FR", "ES"]))
def test_options_say_of_all_rows_what_columns_say_of_each(bureau, rows, region):
    """Whoever says it once for the whole file would get other verdicts than with a column of the same words."""
    cells = rows[0][2:]
    said = {fact: cell for fact, cell in zip(FACTS, cells, strict=True) if cell}
    if "relation" in said and ":" not in said["relation"]:
        del said["relation"]
    if said.get("purpose") == "?":  # an option with an unknown purpose is an error
        del said["purpose"]
    options = {fact: FACTS[fact].given(cell) for fact, cell in said.items()}
    each = [said.get(fact, "") for fact in FACTS]
    bare = [row[:2] for row in rows]
    filled = [(number, where, *each) for number, where, *_ in rows]

    found = by_file(bureau, bare, ("phone", "pays"), region=region, **options)
    assert found == by_file(bureau, filled, TITLES, region=region)
    assert found == by_stream(bureau, bare, ("phone", "pays"), region=region, call=Call(**options))

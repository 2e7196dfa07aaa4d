"""Files that were made to do harm, or came out so by accident: no lead passes unjudged, and nothing ends in a fault."""

import io
import json
import time
import zipfile

import pytest

from stream_scrub import BadFile, ConfigError
from stream_scrub.files import rows as row_judging
from stream_scrub.files import source
from stream_scrub.files.csv_records import records_of
from stream_scrub.scrub.batch import Scrubber
from tests.support.running.files import FREE, OPPOSED

PLAIN = "".join(f"x;06111111{place:02}\n" for place in range(40))
LINE = json.dumps({"number": FREE}).encode() + b"\n"


@pytest.mark.parametrize(
    "first", [f"Ann;tel:+33612345678{' ' * 30}\n", f'Ann;"tel. {" " * 40}06 12 34 56 78"\n']
)
def test_a_first_lead_with_a_long_cell_is_no_title(bureau, first):
    """A person who opposed would stand in the file of those who may be called, as its heading."""
    done = bureau.scrub((first + PLAIN).encode())
    assert done.summary.input.titles == 0 and done.summary.reasons == {"clear": 40, "opposed": 1}
    assert b"12345678" not in done.read("allowed").replace(b" ", b"")


@pytest.mark.parametrize("titles", ["id;phone;x\n", ""])
def test_the_place_of_a_column_is_not_looked_for_among_leads(bureau, titles):
    """Leads above a cell that holds the digit of `--column` would pass as a preamble, whoever they are."""
    leads = f"1;{OPPOSED};a\n2;n/a;b\n3;{FREE};c\n"
    done = bureau.scrub((titles + leads).encode(), columns=["2"])
    assert done.summary.input.titles == len(titles.splitlines())
    assert done.summary.reasons == {"clear": 1, "opposed": 1, "invalid-number": 1}
    assert OPPOSED.encode() not in done.read("allowed")


def test_a_column_of_numbers_that_begins_late_is_judged(bureau):
    """A mobile number below the thousandth row would be called, though its owner opposed."""
    early, late = f"{FREE};\n" * 1_200, f"{FREE};{OPPOSED}\n"
    done = bureau.scrub(("phone;mobile\n" + early + late).encode())
    assert done.summary.input.columns == "phone, mobile: 2 number columns"
    assert done.summary.allowed == 1_200 or OPPOSED not in done.read("allowed").decode().split(";")[-2:]
    assert done.summary.reasons != {"clear": 1_201}


@pytest.mark.parametrize("delimiter", ["-", "_", " "])
def test_cells_of_ours_that_hold_the_delimiter_are_quoted(bureau, delimiter):
    """A program would read a piece of a date, or of a reason, as a cell of its own."""
    rows = [["n", "phone", "mobile"], ["a", FREE, "0622222222"], ["b", OPPOSED, ""]]
    content = "".join(delimiter.join(row) + "\n" for row in rows).encode()
    done = bureau.scrub(content, delimiter=delimiter, columns=["2", "3"])
    for record in records_of(iter([done.read("annotated")]), delimiter.encode()):
        for place in range(len(record.starts)):
            assert len(record.cells().texts(place)) == 9


def test_stray_quotes_take_no_time(bureau):
    """A file of one megabyte would keep the machine busy for an hour."""
    began = time.process_time()
    done = bureau.scrub(b"n,phone\n" + b'""ACME,0611111111\n' * 30_000)
    assert done.summary.rows == 30_000 and time.process_time() - began < 20


@pytest.mark.parametrize("filling", [b"\0", b",", b" "])
def test_a_long_line_that_holds_nothing_hides_no_lead(bureau, filling):
    """The only lead would not be seen, and a file that is well would be refused."""
    content = f"n,phone\na,{FREE}\n".encode() + filling * 400_000 + b"\n"
    done = bureau.scrub(content)
    assert done.summary.reasons == {"clear": 1} and len(done.read("annotated")) > len(content)


@pytest.mark.parametrize("name", ["hex", "rot13", "idna", "punycode", "undefined", "no such"])
def test_an_encoding_that_reads_no_text_is_refused(bureau, name):
    """Somebody who mistypes an option would see a fault of Python."""
    with pytest.raises(ConfigError, match="--encoding"):
        bureau.scrub(b"n\xe9,phone\na,0611111111\n", encoding=name)


@pytest.mark.parametrize(
    "line",
    [
        b'{"name":"Ren\xe9","number":"0612345678"}',
        b'{"number":"0612345678","a":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
        *(
            b'{"x":bad,"scrub":{"verdict":"allowed","reason":"clear","number":' + number + b"}}"
            for number in (b'"abc"', b'"-5"', b'"99999999999999999999999"', b'"\xff"', b'"+33612345678"')
        ),
    ],
    ids=range(7),
)
@pytest.mark.parametrize("first", [True, False])
def test_lines_that_cannot_be_read_are_counted_and_not_believed(bureau, line, first):
    """One bad line would end the run in a fault, or count as a number that may be called."""
    content = line + b"\n" + LINE if first else LINE + line + b"\n"
    done = bureau.scrub(content, "leads.ndjson")
    assert done.summary.reasons == {"clear": 1, "unreadable": 1}
    assert done.read("blocked") == line + b"\n" and done.summary.invalid_lines == [1 if first else 2]
    assert [(each.region, each.allowed, each.blocked) for each in done.summary.lines] == [("FR", 1, 0)]


def test_lines_that_cannot_be_read_are_bad_rows(bureau):
    """A file that nobody could read would end well, with nearly all of its leads blocked."""
    with pytest.raises(BadFile, match="9 of 10 rows"):
        bureau.scrub(LINE + b"{broken\n" * 9, "leads.ndjson", max_bad=0.2)


def test_a_broken_archive_of_any_method_is_refused(bureau):
    """Somebody whose download broke would see a fault of Python."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("leads.csv", b"n,phone\n" + b"a,0611111111\n" * 1_000)
    content = bytearray(out.getvalue())
    content[60] ^= 0xFF
    with pytest.raises(BadFile, match="broken"):
        bureau.scrub(bytes(content), "leads.zip")


def test_rows_that_each_say_something_else_are_forgotten(bureau, monkeypatch):
    """A file with another campaign in each row would grow until the machine ends the run."""
    made, context = [], Scrubber.context
    monkeypatch.setattr(row_judging, "_CASES_BYTES", 100_000)
    monkeypatch.setattr(Scrubber, "context", lambda *of: made.append(context(*of)) or made[-1])
    monkeypatch.setattr(source, "HEAD_BYTES", 2_000)
    monkeypatch.setattr(source, "BLOCK_BYTES", 2_000)
    rows = "".join(f"{(FREE, OPPOSED)[at % 2]};c{at};{f'sms{at}' if at % 3 else ''}\n" for at in range(3_000))
    done = bureau.scrub(f"phone;campaign;channel\n{rows}".encode())

    assert done.summary.reasons == {"clear": 500, "opposed": 500, "no-rule": 2_000}
    assert len(made) > 10 and all(len(each._cases) < 1_000 for each in made)


def test_two_columns_for_one_fact_are_refused(bureau):
    """The column that says nothing would be looked at, and not the one that says that a machine speaks."""
    content = f"phone;voice_kind;Voice kind\n{FREE};;artificial\n".encode()
    with pytest.raises(
        ConfigError, match="2 columns are titled voice_kind: name one with --voice-kind-column"
    ):
        bureau.scrub(content)
    named = bureau.scrub(content, fact_columns={"voice_kind": "3"})
    assert named.summary.reasons == {"no-consent": 1}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fact_columns": {"porpose": "note"}}, "'porpose' is none of region, purpose, contract"),
        ({"fact_columns": {"purpose": "porpose"}}, "--purpose-column: no column is called 'porpose'"),
    ],
)
def test_a_fact_that_is_none_is_refused(bureau, options, says):
    """A slip would say nothing of anybody, and all rows be judged as if nothing had been said."""
    with pytest.raises(ConfigError, match=says):
        bureau.scrub(f"phone;note\n{FREE};press\n".encode(), **options)


def test_a_column_that_may_decide_and_is_not_looked_at_is_told(bureau):
    """A call for a banned purpose would be allowed, though a column with another title says what it is for."""
    content = (
        f"phone;Objet;Voix;ville\n{FREE};isolation;artificial;Lyon\n{FREE};Assurance;live;Ulm\n".encode()
    )
    told = bureau.scrub(content, purpose="insurance").summary.input.columns
    assert told == (
        "phone: 1 number column; not looked at: Objet (--purpose-column?); not looked at: Voix (--voice-kind-column?)"
    )
    named = bureau.scrub(content, fact_columns={"purpose": "Objet", "voice_kind": "Voix"})
    assert named.summary.input.columns == "phone: 1 number column; purpose: Objet; voice_kind: Voix"


def test_a_column_that_decides_is_told(bureau):
    """Nobody would know that the column was looked at, or see why all leads of one source are blocked."""
    content = f"phone;Purpose;Channel\n{FREE};press;facebook\n".encode()
    done = bureau.scrub(content)
    assert done.summary.input.columns == "phone: 1 number column; purpose: Purpose; channel: Channel"
    assert done.summary.reasons == {"no-rule": 1}
    with pytest.raises(
        ConfigError, match=r"--channel: the file has a column Channel .* --set prospect.channel=other"
    ):
        bureau.scrub(content, channel="voice")
    other = bureau.scrub(content, channel="voice", settings={"prospect.channel": "other"})
    assert other.summary.reasons == {"clear": 1} and other.summary.facts == {
        "region": "FR",
        "channel": "voice",
    }


def test_a_row_that_ends_before_a_fact_says_nothing_that_lifts(bureau):
    """A row that lost its purpose would be called for whatever is usual, though the law bans what it was for."""
    rows = f"phone;name;purpose;channel\n{FREE};Ann;press;\n{FREE};Bob;;\n{FREE};Cid;press\n{FREE};Dan\n{OPPOSED};Eve;press;\n{OPPOSED};Flo\n"
    done = bureau.scrub(rows.encode(), settings={"prospect.default_purpose": "press"})
    reasons = [line.split(";")[-5] for line in done.read("annotated").decode().splitlines()[1:]]
    assert reasons == ["clear", "clear", "no-rule", "no-rule", "exempt", "no-rule"]
    assert done.summary.uneven == 3
    spoken = bureau.scrub(
        f"phone;name;purpose\n{OPPOSED};Ann;\n{OPPOSED};Bob\n".encode(),
        settings={"prospect.default_purpose": "press"},
    )
    assert spoken.summary.reasons == {"exempt": 1, "opposed": 1}


@pytest.mark.parametrize(
    ("column", "cells", "named"),
    [
        ("statut", ("opposition", "accord"), "statut, where rows say no to calls"),
        ("opt-in", ("no", "yes"), "opt-in, where rows say no to calls"),
        ("work", ("n.c.", FREE), "work, which holds numbers too"),
    ],
)
def test_a_column_that_says_no_or_holds_numbers_is_told(bureau, column, cells, named):
    """People who said no, or whose other number is opposed, would be called, and nobody have read that column."""
    rows = "".join(f"{FREE};{cells[at % 3 % 2]}\n" for at in range(9))
    told = bureau.scrub(f"phone;{column}\n{rows}".encode(), columns=()).summary.input.columns
    assert f"not looked at: {named}" in told

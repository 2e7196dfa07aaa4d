"""NDJSON and spreadsheets: the same verdicts, and what was in them comes back."""

import csv
import datetime as dt
import io
import json
import re
import zipfile
from html import escape
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet
import pytest
import python_calamine
import xlsxwriter

from stream_scrub import BadFile, ConfigError
from tests.support.running.files import FREE, OPPOSED

ADDED = [
    "scrub_verdict",
    "scrub_reason",
    "scrub_number",
    "scrub_until",
    "scrub_call_from",
    "scrub_call_to",
]
OK = ["allowed", "clear", "+33611111111", "2026-06-19", "", ""]
NO = ["blocked", "opposed", "", "", "", ""]
DAY = dt.date(2026, 3, 1)
# As xlwt 1.3 wrote it, with a formula that gives an error.
XLS = (Path(__file__).parents[2] / "golden" / "files" / "leads.xls").read_bytes()
ROWS = [
    ["Leads", "", "", ""],
    ["name", "phone", "since", "price"],
    ["Ann", FREE, DAY, 1.5],
    ["", "", "", ""],
    ["Bob", 612345678, DAY, 7],
    ["=1+1", "+33 6 12 34 56 78", "", "http://x.example"],
]


def book(sheets: dict) -> bytes:
    """A workbook with these sheets."""
    out = io.BytesIO()
    made = xlsxwriter.Workbook(out, {"strings_to_formulas": False, "strings_to_urls": False})
    day = made.add_format({"num_format": "dd/mm/yyyy"})
    for name, rows in sheets.items():
        sheet = made.add_worksheet(name)
        for at, row in enumerate(rows):
            for place, cell in enumerate(row):
                sheet.write_datetime(at, place, cell, day) if isinstance(cell, dt.date) else sheet.write(
                    at, place, cell
                )
    made.close()
    return out.getvalue()


def rows_of(content: bytes) -> list[list]:
    return (
        python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()
    )


def test_a_workbook_comes_back_as_one(bureau):
    """The manager who has nothing but Excel would get her numbers back without their zeros."""
    done = bureau.scrub(book({"Leads": ROWS}), "leads.csv")
    allowed, blocked, annotated = map(rows_of, done.files)

    assert annotated == [
        ["Leads", *[""] * 9],
        ["name", "phone", "since", "price", *ADDED],
        ["Ann", FREE, DAY, 1.5, *OK],
        ["Bob", "612345678", DAY, 7, *NO],
        ["=1+1", "+33 6 12 34 56 78", "", "http://x.example", *NO],
    ]
    assert allowed == annotated[:3] and blocked == annotated[:2] + annotated[3:]
    assert done.summary.input.kind == "spreadsheet" and done.summary.input.written_as == "sheet Leads"
    assert (done.folder / "allowed.xlsx").exists() and not [
        p for p in done.folder.iterdir() if p.name[0] == "."
    ]


def test_a_workbook_that_comes_back_can_be_read_and_filtered_at_once(bureau):
    """The manager would widen each column and lose the header while she scrolls, before she sees a reason."""
    long = [["name", "phone"], ["A" * 200, FREE], ["Bob", OPPOSED]]
    done = bureau.scrub(book({"Leads": long}), "leads.xlsx")
    with zipfile.ZipFile(io.BytesIO(done.files[2])) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>' in sheet
    assert '<autoFilter ref="A1:H3"/>' in sheet
    assert re.findall(r'<col min="(\d)" max="\1" width="(\d+)"', sheet)[:3] == [
        ("1", "60"),
        ("2", "12"),
        ("3", "24"),
    ]


def test_a_workbook_may_come_back_as_csv(bureau):
    """A dialler that reads no workbooks could not take the callable leads."""
    done = bureau.scrub(book({"Leads": ROWS}), "leads.xlsx", to="csv")
    text = done.files[2].decode("utf-8-sig")

    assert list(csv.reader(io.StringIO(text)))[2:4] == [
        ["Ann", FREE, "2026-03-01", "1.5", *OK],
        ["Bob", "612345678", "2026-03-01", "7", *NO],
    ]


def test_words_in_our_columns_of_a_workbook_are_refused(bureau):
    """What somebody wrote beside a lead would be gone from the file that comes back."""
    leads = [["phone", "note", *ADDED], [FREE, "a", *OK], ["", "", OPPOSED, "my own words"]]
    with pytest.raises(BadFile, match="row 3: the columns of the earlier scrub"):
        bureau.scrub(book({"A": leads}), "leads.xlsx")


def test_a_workbook_without_titles_keeps_no_old_verdict(bureau):
    """The old verdicts would stand before the new ones, and somebody call by them."""
    leads = [["Ann", OPPOSED, *OK], ["Bob", FREE, *NO[:2]], ["Cid", FREE]]
    again = bureau.scrub(book({"A": leads}), "leads.xlsx", columns=["2"])
    # No row has hours, and nobody reads empty columns at the end.
    assert rows_of(again.read("annotated")) == [
        ["Ann", OPPOSED, *NO[:4]], ["Bob", FREE, *OK[:4]], ["Cid", FREE, *OK[:4]],
    ]  # fmt: skip


def test_of_several_sheets_one_must_be_named(bureau):
    """The first sheet would be scrubbed, and the leads on the second one called untested."""
    leads = [["phone"], [FREE]]
    content = book({"Old": [["phone"], [OPPOSED]], "Empty": [], "New": leads, "More": leads, "Last": leads})
    with pytest.raises(
        ConfigError, match=r"2 sheets \(Old, New\) with rows, and 2 more: name one with --sheet"
    ):
        bureau.scrub(content)
    with pytest.raises(ConfigError, match="no sheet is called 'Older'"):
        bureau.scrub(content, sheet="Older")
    for sheet in ("New", "3"):
        assert bureau.scrub(content, sheet=sheet).summary.reasons == {"clear": 1}


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (book({"A": []}), {}, "no rows"),
        (book({"A": [["phone"], [FREE]]})[:-30], {}, "broken|cannot be opened"),
        (b"\xd0\xcf\x11\xe0" + b"x" * 600, {}, "cannot be opened"),
        (book({"A": [["phone"], [FREE]]}), {"delimiter": ";"}, "the file is a spreadsheet"),
        (b"\n\n", {}, "no rows"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(bureau, content, options, says):
    """An option would do nothing, or a damaged workbook end with a traceback and half a file."""
    with pytest.raises((BadFile, ConfigError), match=says):
        bureau.scrub(content, **options)
    assert not (bureau.folder / f"out{bureau.runs}").exists()


LINES = [
    json.dumps({"id": 1, "phone": FREE, "note": "é"}),
    '{ "id":2,\t"phone":"06 12 34 56 78","country":"FR" }',
    json.dumps({"id": 3, "phone": "x", "scrub": "old"}),
    "{broken",
]


def test_ndjson_gets_the_stamp_of_the_stream(bureau):
    """A program that reads the stream's prospects could not read the file's, or they would say something else."""
    content = b"\xef\xbb\xbf" + "".join(f"{line}\n" for line in LINES).encode() + b"\n"
    done = bureau.scrub(content, "leads.json")
    allowed, blocked, annotated = (made.removeprefix(b"\xef\xbb\xbf").splitlines() for made in done.files)

    stamps = [json.loads(line)["scrub"] for line in annotated[:3]]
    assert [(each["verdict"], each["reason"]) for each in stamps] == [
        ("allowed", "clear"), ("blocked", "opposed"), ("blocked", "invalid-number"),
    ]  # fmt: skip
    assert annotated[0].startswith(LINES[0].encode()[:-1]) and annotated[1].startswith(LINES[1].encode()[:20])
    assert annotated[3] == b"{broken" and allowed == annotated[:1] and blocked == annotated[1:]
    made = done.summary
    assert made.reasons == {"clear": 1, "opposed": 1, "invalid-number": 1, "unreadable": 1}
    assert made.invalid_lines == [3, 4] and str(made.scrub_again_by) == "2026-06-19"
    assert [(each.region, each.type, each.allowed, each.blocked) for each in made.lines] == [
        ("FR", "mobile", 1, 1)
    ]
    assert (
        made.input.columns == "phone: 1 number member; region: country"
        and (done.folder / "allowed.ndjson").exists()
    )


def test_the_members_of_ndjson_are_found_or_named(bureau):
    """A file whose members have other names would come out as all invalid."""
    rows = [{"who": "Ann", "mobile": FREE, "land": "FR"}, {"who": "Bob", "mobile": OPPOSED, "land": "FR"}]
    content = "".join(json.dumps(row) + "\r\n" for row in rows).encode()

    found = bureau.scrub(content)
    named = bureau.scrub(content.replace(b"mobile", b"a"), columns=("a",), fact_columns={"region": "land"})
    deep = bureau.scrub(json.dumps({"c": {"p": OPPOSED}}).encode(), columns=("c.p",))
    assert found.summary.reasons == named.summary.reasons == {"clear": 1, "opposed": 1}
    assert deep.summary.reasons == {"opposed": 1} and found.files[2].count(b"\r\n") == 2


ODS = """<?xml version="1.0"?><office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0">
<office:body><office:spreadsheet><table:table table:name="a/b">{rows}</table:table></office:spreadsheet></office:body>
</office:document-content>"""


def ods_cells(*texts: str) -> str:
    cell = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
    return f"<table:table-row>{''.join(map(cell.format, texts))}</table:table-row>"


def ods_rows(*texts: str) -> str:
    return "".join(map(ods_cells, texts))


def ods(rows: str) -> bytes:
    """A document of LibreOffice with these rows."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "META-INF/manifest.xml",
            '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
        )
        archive.writestr("content.xml", ODS.format(rows=rows))
    return packed.getvalue()


def test_any_text_comes_back_in_a_workbook_that_opens(bureau):
    """One prospect's note that looks like markup would make the whole result unreadable."""
    notes = ["<r>a & b</r>", "_x0041_", 'say "yes" > <t>', "a]]>b", "é\U0001f600", " two  "]
    rows = ods_rows("phone", FREE) + "".join(
        ods_cells(FREE, escape(note).replace("  ", '<text:s text:c="2"/>')) for note in notes
    )
    done = bureau.scrub(ods(rows), "leads.ods", titles=1)

    assert [row[1] for row in rows_of(done.files[0])[2:]] == notes


def test_dates_and_times_come_back(bureau):
    """A callback at half past eight would come back as the number 0.35, or a day early."""
    told = {
        "yyyy-mm-dd": [DAY, dt.date(1900, 2, 28), dt.date(1900, 3, 1)],
        "yyyy-mm-dd hh:mm:ss": [
            dt.datetime(2026, 3, 1, 12, 30, 15),
            dt.datetime(1900, 2, 28, 18),
            dt.datetime(1999, 12, 31, 23, 59, 59),
        ],
        "hh:mm:ss": [dt.time(8, 30), dt.time(23, 59, 59), dt.time(0, 0, 1)],
        "[h]:mm:ss": [dt.timedelta(hours=30), dt.timedelta(days=400), dt.timedelta(seconds=1)],
    }
    out = io.BytesIO()
    made = xlsxwriter.Workbook(out)
    sheet = made.add_worksheet()
    for place, (shape, values) in enumerate(told.items()):
        for row, value in enumerate(values):
            sheet.write_datetime(row, place, value, made.add_format({"num_format": shape}))
            sheet.write_string(row, len(told), FREE)
    made.close()
    done = bureau.scrub(out.getvalue(), "leads.xlsx", titles=0)

    given = rows_of(out.getvalue())
    assert [row[: len(told)] for row in rows_of(done.files[0])] == [row[:-1] for row in given]
    assert given[0][:4] == [values[0] for values in told.values()]


def test_an_old_workbook_is_read(bureau):
    """Whoever has an old Excel, or a broker who has one, could not scrub that workbook."""
    done = bureau.scrub(XLS, "leads.xls")

    assert rows_of(done.files[2]) == [
        ["nom", "téléphone", "depuis", "prix", "ok", *ADDED],
        ["Zoé", FREE, DAY, 1.5, True, *OK],
        ["Bob", "612345678", DAY + dt.timedelta(1), 7, False, *NO],
        ["Eve", "n/a", "", "", "", "blocked", "invalid-number", *NO[2:]],
    ]


def test_an_old_workbook_with_a_cell_far_out_is_refused(bureau):
    """A workbook of five kilobytes would ask for 50 GB, and take the process down."""
    cell = bytes.fromhex("fd000a00 03000100")  # a text in the fourth row and second column
    assert XLS.count(cell) == 1
    with pytest.raises(BadFile, match="a cell stands far out"):
        bureau.scrub(XLS.replace(cell, bytes.fromhex("fd000a00 ffffff7f")), "leads.xls")


def test_a_workbook_that_the_library_did_not_foresee_is_refused(bureau, monkeypatch):
    """One damaged byte would end the run in a fault of the library, which is no Exception."""
    damaged = bytearray(XLS)
    damaged[1489] = 0
    with pytest.raises(BadFile, match="it is damaged"):
        bureau.scrub(bytes(damaged), "leads.xls")


def cell(place: str, value: str) -> str:
    kind = ' t="inlineStr"' if value.startswith("<is>") else ""
    return f'<c r="{place}"{kind}>{value}</c>'


def text(value: str) -> str:
    return f"<is><t>{value}</t></is>"


def raw_book(cells: str) -> bytes:
    """A workbook whose second row has these cells behind a number, as XML that no program would write."""
    content, out = book({"S": [["phone", "x"]]}), io.BytesIO()
    rows = f'<row r="1">{cell("A1", text("phone"))}</row><row r="2">{cell("A2", text(FREE))}{cells}</row>'
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            held = old.read(name)
            if name == "xl/worksheets/sheet1.xml":
                head, _, rest = held.partition(b"<sheetData>")
                held = head + b"<sheetData>" + rows.encode() + rest[rest.index(b"</sheetData>") :]
            new.writestr(name, held)
    return out.getvalue()


@pytest.mark.parametrize(("value", "kept"), [("NaN", "nan"), ("-1e999", "-inf")])
def test_a_cell_beyond_every_number_comes_back_as_text(bureau, value, kept):
    """One odd cell would end the run in a fault of a library."""
    done = bureau.scrub(raw_book(cell("B2", f"<v>{value}</v>")), "leads.xlsx")
    assert rows_of(done.read("allowed"))[1] == [FREE, kept, *OK]


def test_a_sheet_without_room_for_our_cells_is_refused(bureau):
    """The verdicts would be missing from the file of those who may be called, and nobody would be told."""
    content = raw_book(cell("XFC2", text("z")))
    with pytest.raises(BadFile, match="--to csv"):
        bureau.scrub(content, "leads.xlsx")
    assert bureau.scrub(content, "leads.xlsx", to="csv").summary.allowed == 1


def unplaced(value: str) -> str:
    return cell("", value).replace(' r=""', "")


@pytest.mark.parametrize(
    "cells",
    [
        f'</row><row r="9">{cell("xfd1048576", text("z"))}',
        f'</row><row r="9">{cell("B9999999999", text("z"))}',
        f'</row><row r="4000000000">{unplaced(text("z"))}',
        f'</row><row r="1000000">{unplaced("") * 200}{unplaced(text("z"))}',
        f'</row><row r="9"><c{" " * 3_000_000}r="XFD1048576"><v>1</v></c>',
        '</row><row r="9"><c x=">" r="XFD1048576"><v>1</v></c>',
        '</row><row r="9"><y:c xmlns:y="z" r="XFD1048576"><v>1</v></y:c>',
    ],
    ids=range(7),
)
def test_a_cell_far_out_is_refused(bureau, cells):
    """A workbook of one kilobyte would ask for 400 GB, and take the process down."""
    with pytest.raises(BadFile, match="a cell stands far out"):
        bureau.scrub(raw_book(cells), "leads.xlsx")


def test_a_million_empty_rows_are_no_rows(bureau):
    """Every document of LibreOffice would be refused, which says so of the rows behind its last one."""
    empty = '<table:table-row table:number-rows-repeated="1048000"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
    assert bureau.scrub(ods(ods_rows("phone", FREE) + empty), "leads.ods").summary.rows == 1


@pytest.mark.parametrize("broken", ["<c r='AB1'", '<c r="AB9999999999999">'])
def test_a_sheet_whose_cells_cannot_be_placed_is_refused(bureau, broken):
    """What cannot be told would be taken for near."""
    with pytest.raises(BadFile, match=r"cannot be opened|stands far out"):
        bureau.scrub(raw_book(f"</row>{broken}"), "leads.xlsx")


def test_a_binary_workbook_is_refused(bureau):
    """Nobody could tell beforehand how much memory it takes."""
    out = io.BytesIO(book({"A": [["phone"]]}))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("xl/workbook.bin", b"")
    with pytest.raises(BadFile, match="save it as XLSX"):
        bureau.scrub(out.getvalue(), "leads.xlsb")


def test_cells_that_hold_an_error_come_back_with_it(bureau):
    """A row would come back without the cell that says what went wrong in it, as if it had been empty."""
    wrong = f'<c r="B2" t="e"><v>#N/A</v></c></row><row r="3">{cell("A3", text(FREE))}<c t="e"><f>1/0</f><v>#DIV/0!</v></c>'
    done = bureau.scrub(raw_book(wrong), "leads.xlsx")
    assert [row[:2] for row in rows_of(done.read("allowed"))] == [
        ["phone", ""],
        [FREE, "#N/A"],
        [FREE, "#DIV/0!"],
    ]


def test_cells_far_out_that_are_only_formatted_are_no_cells(bureau):
    """Whoever coloured whole rows and columns would be told that the workbook is too large."""
    formatted = '</row><row r="9"><c r="XFD9" s="0"/></row><row r="1048576"><c r="A1048576" s="0"/>'
    assert bureau.scrub(raw_book(formatted), "leads.xlsx").summary.rows == 1


RECORDS = [
    {"name": "Ann", "phone": FREE, "more": [], "since": DAY, "price": 1.5, "of": None},
    {"name": "é;\n", "phone": OPPOSED, "more": [FREE], "since": None, "price": None, "of": {"a": 1}},
]


def in_avro(records):
    day = {"type": "int", "logicalType": "date"}
    inner = {"type": "record", "name": "Of", "fields": [{"name": "a", "type": "int"}]}
    types = {"name": "string", "phone": "string", "more": {"type": "array", "items": "string"}}
    types |= {"since": ["null", day], "price": ["null", "double"], "of": ["null", inner]}
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    out = io.BytesIO()
    fastavro.writer(out, {"type": "record", "name": "Lead", "fields": fields}, records, codec="deflate")
    return out.getvalue()


def in_parquet(records):
    out = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(records), out)
    return out.getvalue()


@pytest.mark.parametrize("made", [in_avro, in_parquet])
def test_a_table_comes_back_as_csv(bureau, made):
    """Leads that lie in a data lake would have to be converted first, and lose their dates or lists on the way."""
    done = bureau.scrub(made(RECORDS), "leads", columns=("phone", "more"))
    text = done.files[2].decode("utf-8-sig")

    assert done.summary.input.written_as == made.__name__[3:].capitalize()
    assert list(csv.reader(io.StringIO(text))) == [
        ["name", "phone", "more", "since", "price", "of", *ADDED],
        ["Ann", FREE, "", "2026-03-01", "1.5", "", *OK],
        ["é;\n", OPPOSED, FREE, "", "", '{"a": 1}', *NO],
    ]


def in_short_avro(records):
    fields = [{"name": "phone", "type": ["null", "float"]}, {"name": "price", "type": "float"}]
    out = io.BytesIO()
    fastavro.writer(out, {"type": "record", "name": "Lead", "fields": fields}, records)
    return out.getvalue()


def in_short_parquet(records):
    out = io.BytesIO()
    schema = pa.schema([("phone", pa.float32()), ("price", pa.float32())])
    pyarrow.parquet.write_table(pa.Table.from_pylist(records, schema), out)
    return out.getvalue()


@pytest.mark.parametrize("made", [in_short_avro, in_short_parquet])
def test_a_number_in_a_float_of_32_bits_has_lost_its_last_digits(bureau, made):
    """Somebody else would be called, who has never been a lead: of the number eight digits are right."""
    records = [{"phone": float(number), "price": 1.5} for number in (33611111111, 611111111)]
    done = bureau.scrub(made([*records, {"phone": None, "price": 12345678}]), "leads", columns=("phone",))

    assert (done.summary.reasons, done.summary.destroyed) == ({"invalid-number": 3}, 2)
    assert b",1.5," in done.files[2] and b",12345678," in done.files[2]


@pytest.mark.parametrize("made", [in_avro, in_parquet])
@pytest.mark.parametrize("cut", [5, -3])
def test_a_table_that_is_cut_off_is_not_opened(bureau, made, cut):
    """A part of the leads would be taken for all of them."""
    with pytest.raises(BadFile, match="cannot be opened"):
        bureau.scrub(made(RECORDS)[:cut], "leads")


@pytest.mark.parametrize(("content", "extra"), [(b"Obj\x01", "avro"), (b"PAR1", "arrow")])
def test_a_library_that_is_missing_is_named(bureau, monkeypatch, content, extra):
    """The user would see a trace instead of what to install."""
    monkeypatch.setattr("stream_scrub.imports.parsing.workbook.find_spec", lambda _: None)
    with pytest.raises(BadFile, match=rf"pip install 'stream-scrub\[{extra}\]'"):
        bureau.scrub(content, "leads")

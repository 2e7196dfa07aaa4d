"""Lists as workbooks, which most companies keep their opt-outs and consents in."""

import io
import zipfile
from datetime import date
from pathlib import Path

import pytest

from stream_scrub.imports.formats import BadList
from tests.support.fakes.lists import accounted, read
from tests.unit.files.test_other_kinds import book, in_avro, in_parquet, ods, ods_cells

pytestmark = pytest.mark.process

FREE, OTHER = 33612345678, 33698765432
ROWS = [["Name", "Mobile"], ["Ann; x", "06 12 34 56 78"], [], ["Bob\nC", float(698765432)], ["Cid", "none"]]


def zipped(**files: bytes) -> bytes:
    """A zip of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.xlsx", content)
    return out.getvalue()


def test_a_list_may_be_a_workbook(tmp_path):
    """Opt-outs kept in Excel would have to be saved as CSV first, which loses zeros and accents."""
    found = read(tmp_path, book({"Opt-outs": ROWS, "Notes": []}), "Mobile", name="out.xlsx")
    assert [*found.bitmap()] == [FREE, OTHER]
    # The line is the row that a person sees in the sheet.
    assert (found.first_refused, accounted(found)) == ([5], 5)
    assert "workbook" in found.described


def test_a_list_may_be_an_open_document_an_old_workbook_or_a_zip_of_workbooks(tmp_path):
    """Whoever has no Excel could not hand in her list, and a list in several workbooks would have to be unpacked first."""
    rows = "".join(map(ods_cells, ("Phone", "06 12 34 56 78", "0698765432")))
    assert [*read(tmp_path, ods(rows), name="out.ods").bitmap()] == [FREE, OTHER]
    archive = zipped(a=book({"A": [["Phone"], ["0612345678"]]}), b=book({"B": [["Phone"], ["0698765432"]]}))
    assert [*read(tmp_path, archive, name="out.zip").bitmap()] == [FREE, OTHER]
    old = Path(__file__).parents[3] / "golden" / "files" / "leads.xls"
    assert read(tmp_path, old.read_bytes(), "2", name="out.xls").bitmap()


@pytest.mark.parametrize("made", [in_avro, in_parquet])
def test_a_list_may_be_a_table_of_a_data_lake(tmp_path, made):
    """A data engineer could not hand in the opt-outs of a warehouse, though the page of formats promises it."""
    row = {"name": "Ann", "more": [], "since": date(2026, 3, 1), "price": 1.5, "of": None}
    records = [{**row, "phone": f"+{FREE + at}"} for at in range(10_000)]
    found = read(tmp_path, made(records), "phone", name="out.table")
    assert len(found.bitmap()) == 10_000


def formulas(path, cell):
    """A workbook whose cells from the third row on are that."""
    rows = "".join(f'<row r="{at}">{cell.format(at)}</row>' for at in range(3, 6))
    cells = '<row r="1"><c r="A1" t="inlineStr"><is><t>Phone</t></is></c></row><row r="2"><c r="A2"><v>33612345678</v></c></row>'
    made = book({"A": []})
    with zipfile.ZipFile(io.BytesIO(made)) as archive, zipfile.ZipFile(path, "w") as out:
        for name in archive.namelist():
            content = archive.read(name).decode()
            out.writestr(name, content.replace("<sheetData/>", f"<sheetData>{cells}{rows}</sheetData>"))
    return path.read_bytes()


@pytest.mark.parametrize(
    "cell",
    [
        '<c r="A{0}"><f>"+3368765432{0}"</f><v></v></c>',
        '<c r="A{0}"><f>"+3368765432{0}"</f><v/></c>',
        '<c r="A{0}"><f t="shared" si="0"/></c>',
    ],
)
def test_formulas_whose_results_no_program_has_stored_are_refused(cell, tmp_path):
    """The opt-outs in these rows would vanish without a word, and the people be called."""
    with pytest.raises(BadList, match=r"formulas without results.*save it"):
        read(tmp_path, formulas(tmp_path / "x", cell), name="out.xlsx")
    rows = ods_cells("Phone", "+33612345678") + (
        '<table:table-row><table:table-cell table:formula="of:=1"/></table:table-row>'
    )
    with pytest.raises(BadList, match=r"formulas without results.*save it"):
        read(tmp_path, ods(rows), name="out.ods")


def test_a_formula_whose_result_is_empty_or_a_number_is_read(tmp_path):
    """A list that Excel calculated would be refused."""
    cell = '<c r="A{0}"><f>B{0}</f><v>3369876543{0}</v></c><c r="B{0}" t="str"><f>""</f><v></v></c>'
    assert len(read(tmp_path, formulas(tmp_path / "x", cell), name="out.xlsx").bitmap()) == 4


def test_consents_in_a_workbook_count_by_their_named_columns(tmp_path):
    """A row without a yes would become a consent, or one without an end would count as broken."""
    day = date(2026, 11, 20)
    rows = [["Tel", "Opt-in", "On", "Ends"], ["0612345678", True, day, ""], ["0698765432", False, day, day]]
    columns = {"phone": "Tel", "consent": "Opt-in", "given": "On", "until": "Ends"}
    found = read(tmp_path, book({"CRM": rows}), columns=columns, name="crm.xlsx")
    assert ([*found.bitmap()], [*found.removals()], found.dated) == ([FREE], [OTHER], True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            book({"A\u202ecba": [["0612345678"]], "B": [["0698765432"]]}),
            r"several sheets have rows \(Acba, B\)",
        ),
        (zipped(a=zipped(b=book({"A": [["0612345678"]]}))), "packed twice"),
        (book({"A": [["0612345678"]]})[:-30], "fetch the file again"),
        (book({"A": []}), "no rows"),
    ],
)
def test_a_workbook_that_is_no_clear_list_is_refused(content, says, tmp_path):
    """Nobody would learn which sheet was taken, or a sender turn the error around that an operator reads."""
    with pytest.raises(BadList, match=says):
        read(tmp_path, content, name="out.xlsx")

"""Plain lists as people really send them: what is taken, what is refused, and by which line."""

import gzip
import io
import zipfile

import pytest

from stream_scrub.imports.formats import BadList, open_list
from tests.support.fakes.lists import read

ONE, TWO, THREE = 33612345678, 33611111111, 33622222222
LINES = "0612345678\n06 11 11 11 11\n+33622222222\n"
FIRST, SECOND = "column 1 of CSV by", "column 2 of CSV by"


def taken_by(reading):
    return set(reading.bitmap())


def zipped(*files, how=zipfile.ZIP_DEFLATED):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", how) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return held.getvalue()


PACKED = {
    "no last line end": (LINES.rstrip().encode(), "UTF-8, one number a line"),
    "CRLF": (LINES.replace("\n", "\r\n").encode(), "UTF-8, one number a line"),
    "CR": (LINES.replace("\n", "\r").encode(), "UTF-8, one number a line"),
    "BOM and header": (b"\xef\xbb\xbfphone\n" + LINES.encode(), "UTF-8, one number a line"),
    "header in Latin-1": (b"Num\xe9ro\r\n" + LINES.encode(), "Latin-1, one number a line"),
    "quotes": (b'"phone"\n"0612345678"\n"06 11 11 11 11"\n\'+33622222222\'\n', "UTF-8, one number a line"),
    "UTF-16": (LINES.encode("utf-16"), "UTF-16, one number a line"),
    "UTF-16, big end first": (b"\xfe\xff" + LINES.encode("utf-16-be"), "UTF-16, one number a line"),
    "NBSP": (LINES.replace(" ", "\u00a0").encode(), "UTF-8, one number a line"),
    "NBSP in Latin-1": (LINES.replace(" ", "\u00a0").encode("latin-1"), "Latin-1, one number a line"),
    "gzip, two members": (gzip.compress(b"06", mtime=0) + gzip.compress(LINES[2:].encode()), "gzip, UTF-8, one number a line"),
    "zip, stored": (zipped(("list.txt", LINES), how=zipfile.ZIP_STORED), "zip, UTF-8, one number a line"),
    "zip with a folder": (zipped(("a/", ""), ("a/list.txt", LINES)), "zip, UTF-8, one number a line"),
    "semicolons": (b"nom;tel\nA;0612345678\nB;0611111111\nC;+33622222222\n", f"UTF-8, {SECOND} semicolon, with header"),
    "commas, no header": (b"A,0612345678\nB,06 11 11 11 11\nC,+33622222222\n", f"UTF-8, {SECOND} comma"),
    "tabs": (b"0612345678\tA\n0611111111\tB\n0622222222\tC\n", f"UTF-8, {FIRST} tab"),
    "bars": (b"0612345678|x\n0611111111|x\n0622222222|x\n", f"UTF-8, {FIRST} bar"),
    "accents in Latin-1": (
        "nom;tel\nRenée;0612345678\nZoë;0611111111\nÇa;0622222222\n".encode("latin-1"),
        f"Latin-1, {SECOND} semicolon, with header",
    ),
    "quoted separators": (
        b'name,phone\n"Doe, ""J""",0612345678\n"x\ny",0611111111\n,"0622222222"\n',
        f"UTF-8, {SECOND} comma, with header",
    ),
    "two number columns, one named": (
        b"fax;phone\n0199999999;0612345678\n0199999999;0611111111\n;0622222222\n",
        f"UTF-8, {SECOND} semicolon, with header",
    ),
    "a number in somebody's words": (
        b'tel;nom\n0612345678;"Mme A,\nrappeler au 0698765432; merci"\n0611111111;B\n0622222222;C\n',
        f"UTF-8, {FIRST} semicolon, with header",
    ),
    "a customer's number of as many digits": (
        b"id;phone\n123456789;0612345678\n223456789;0611111111\n323456789;0622222222\n",
        f"UTF-8, {SECOND} semicolon, with header",
    ),
    "a header below a blank line": (
        b"\n;\nname;phone\nA;0612345678\nB;0611111111\nC;0622222222\n",
        f"UTF-8, {SECOND} semicolon, with header",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "described"), PACKED.values(), ids=PACKED)
def test_a_list_is_read_however_it_is_packed(tmp_path, content, described):
    """People who opposed would be missing from the register because of how their list was saved."""
    reading = read(tmp_path, content)

    assert taken_by(reading) == {ONE, TWO, THREE}
    assert (reading.refused, reading.refused_share) == (0, 0.0)
    assert reading.described.rpartition(", like ")[0] == f"plain, {described}"


@pytest.mark.parametrize(
    ("head", "column", "taken"),
    [
        ("fax;phone;mail", "PHONE", ONE),
        ("fax;phone;mail", "2", ONE),
        ("fax;phone;mail", "fax", THREE),
        ('"x"', "x", ONE),
        ("Phone", "1", ONE),
    ],
)
def test_a_column_is_chosen_by_name_or_number(tmp_path, head, column, taken):
    """Fax numbers would be opposed instead of telephones."""
    row = "0622222222;0612345678;a@b.c" if ";" in head else "0612345678"

    assert taken_by(read(tmp_path, f"{head}\n{row}\n".encode(), column)) == {taken}


CHOOSE = "choose one with --column"
UNREADABLE = {
    "one of two columns is named": (b"tel;work\n0612345678;0142685300\n", "", CHOOSE),
    "another one is digits and named": (b"tel;GSM 2\n+33612345678;33698765432\n", "", CHOOSE),
    "another one in a CRM's": (b"phone,mobile,email,reason\n0612345678,0698765432,a@b.fr,x\n", "", CHOOSE),
    "another one among ends": (b"phone,fixe,expires\n0612345678,33698765432,2027-01-01\n", "", CHOOSE),
    "another one is digits with a calling code": (b"tel;secondary\n33612345678;33142685300\n", "", CHOOSE),
    "another one is empty at first": (
        b"phone;mobile\n" + b"0612345678;\n" * 250 + b"0612345678;0698765432\n",
        "",
        "line 252: column 2 holds a phone number too",
    ),
    "another one is mostly words": (
        b"tel;GSM\n" + b"0612345678;n.c.\n" * 9 + b"0612345678;0698765432\n",
        "",
        "line 11: column 2 holds",
    ),
    "another one is empty at first in a CRM's": (
        b"phone,mobile,email,reason\n" + b"0612345678,,a@b.fr,x\n" * 60 + b",0698765432,a@b.fr,x\n",
        "",
        "line 62: column 2 holds",
    ),
    "another one is empty at first among ends": (
        b"phone,fixe,expires\n" + b"0612345678,,2027-01-01\n" * 60 + b"0612345678,0698765432,2027-01-01\n",
        "",
        "line 62: column 2 holds",
    ),
    "another one is of the morning": (b"phone,phone (am)\n+33612345678,+33698765432\n", "", CHOOSE),
    "another one is fixed": (
        b"phone;NumFixe\n+33612345678;33142685300\n+33612345679;142685301\n",
        "",
        CHOOSE,
    ),
    "rows within quotes": (
        b'tel;nom\n0612345678;"Le Bistrot\n0611111111;Bar "Chez Max"\n0622222222;B\n',
        "",
        "line 2: .*a cell holds other rows.*never closed",
    ),
    "two columns hold numbers": (b"a;b\n0612345678;0611111111\n", "", CHOOSE),
    "two columns, no header": (b"0612345678;0611111111\n0612345678;0611111111\n", "", "a number from 1"),
    "no column holds numbers": (b"a;b\nx;y\nz;w\n", "", "0 of the list's 2 columns"),
    "nothing but separators": (b";\n;;\n", "", "0 of the list's 0 columns"),
    "no such name": (b"a;phone\nx;0612345678\n", "mobile", "columns: a, phone"),
    "a name without a header": (b"x;0612345678\ny;0612345678\n", "phone", "the first line is no header"),
    "two of the same name": (
        b"phone;phone\n0612345678;0611111111\n",
        "Phone",
        "2 columns are called 'Phone'",
    ),
    "no such place": (b"a;phone\nx;0612345678\n", "3", "the list has 2"),
    "place zero": (b"a;phone\nx;0612345678\n", "0", "the list has 2"),
    "a column of a list of lines": (LINES.encode(), "phone", "has one column"),
    "an open quote": (b'a;phone\n"x;0612345678\n' + b"y;0612345678\n" * 20_000, "phone", "never closed"),
    "an open quote further down": (
        b"a;phone\n" + b"y;0612345678\n" * 100 + b'"' + b"y;0612345678\n" * 20_000,
        "",
        "line 102: .*never closed",
    ),
    "an open quote in one long line": (b'a;phone\n"' + b"x" * 200_000 + b";0612345678\n", "", "never closed"),
    "half a zip": (zipped(("a", LINES * 100))[:-30], "", "fetch the file again"),
    "half a gzip": (gzip.compress(LINES.encode() * 100)[:-12], "", "fetch the file again"),
    "half a sign of UTF-16": (LINES.encode("utf-16")[:-1], "", "UTF-16"),
    "a lone half of UTF-16": (b"\xff\xfe\x00\xd8\x30\x00", "", "UTF-16"),
}


@pytest.mark.parametrize(("content", "column", "text"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_no_list_says_what_to_change(tmp_path, content, column, text):
    """Half a list would be published as the whole, or the operator be left with a traceback."""
    with pytest.raises(BadList, match=text) as caught:
        read(tmp_path, content, column)
    assert "061" not in str(caught.value)


@pytest.mark.parametrize(
    ("region", "head", "cell"),
    [
        ("DE", "Telefon;phone_opt_out", "2026-11-01"),
        ("IT", "Telefon;Handy", "01.11.2026 10:11:12"),
        ("AT", "Telefon;phone_id", "48213377"),
        ("GB", "Telefon;cancelled", "1764500000"),
    ],
)
def test_a_day_or_an_id_beside_a_number_is_no_second_number(tmp_path, region, head, cell):
    """A nightly list would be refused in each country where such digits are a valid number."""
    assert taken_by(read(tmp_path, f"{head}\n+33612345678;{cell}\n".encode(), region=region)) == {ONE}


def test_a_file_that_is_not_there_is_refused(tmp_path):
    """An operator would be left with a traceback."""
    for path in (tmp_path / "lost.csv", tmp_path):
        with pytest.raises(BadList, match=str(path)), open_list(path):
            pass


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\xef\xbb\xbf", b"phone\n", gzip.compress(b"", mtime=0), b"\xff\xfe"]
)
def test_an_empty_list_has_no_numbers_and_no_refusals(tmp_path, content):
    """An empty list would be taken for a broken one, or end in a division by zero."""
    reading = read(tmp_path, content)

    assert (reading.taken, reading.refused, reading.refused_share) == (0, 0, 0.0)


def test_refused_lines_are_told_by_their_line(tmp_path):
    """An operator could not find the bad lines, or would find telephone numbers in the report."""
    reading = read(tmp_path, b"phone\n0612345678\nnone\n\n0611111111\n12\n  \n+33 6 22 22 22 22\nphone\n")

    assert taken_by(reading) == {ONE, TWO, THREE}
    assert (reading.first_refused, reading.refused, reading.blank, reading.lines) == ([3, 6, 9], 3, 2, 6)
    assert reading.refused_share == 0.5


@pytest.mark.parametrize("first", ["Rose;0612345678 / 0611111111", "<p>0612345678<br>0611111111</p>"])
def test_a_first_line_with_numbers_is_no_header(tmp_path, first):
    """Two people who opposed would be missing from the register, and no line of the file be refused for it."""
    rest = "Max;0622222222\n" if ";" in first else "0622222222\n"
    reading = read(tmp_path, f"{first}\n{rest}".encode())

    assert (taken_by(reading), reading.first_refused, reading.titles) == ({THREE}, [1], 0)


@pytest.mark.parametrize(
    ("content", "country"),
    [
        ("phone;country\n0470 12 34 56;{}\n0612345678;\n", "Belgique"),
        ("phone;country\n0470 12 34 56;{}\n0612345678;\n", "+32"),
        ("phone;Land der Rufnummer;expires\n0470 12 34 56;{};2027-01-01\n0612345678;;\n", "BE"),
        ("phone;email;reason;pays\n0470 12 34 56;a@b.be;x;{}\n0612345678;a@b.fr;x;FR\n", "bel"),
    ],
)
def test_a_national_number_is_one_of_the_country_in_its_row(tmp_path, content, country):
    """A Belgian who opposed would be called, and a French number of the same digits be opposed instead."""
    assert taken_by(read(tmp_path, content.format(country).encode())) == {ONE, 32470123456}


@pytest.mark.parametrize("title", ["number1", "MobilePhone", "phone_number", "primary_phone"])
def test_a_vendors_title_says_which_column_holds_the_numbers(tmp_path, title):
    """Whoever exports opt-outs from a dialler would have to name the column each time, or oppose the lead's id."""
    content = f"lead_id,{title},name\n100200300,0612345678,Ann\n100200301,0611111111,Bob\n"
    assert taken_by(read(tmp_path, content.encode())) == {ONE, TWO}


def test_refused_lines_of_csv_are_told_by_the_line_they_start_on(tmp_path):
    """An operator would look at the wrong line of a file with quoted line ends."""
    content = b'name;phone\nA;0612345678\n"B\nB";x\n\nC;\n;0611111111\nD\n;\n"E\n\nE";0622222222\nF;y\n'

    reading = read(tmp_path, content)

    assert taken_by(reading) == {ONE, TWO, THREE}
    assert (reading.first_refused, reading.blank) == ([3, 6, 8, 13], 2)


def test_numbers_may_stand_behind_the_last_title(tmp_path):
    """A list whose first row is short would end in a traceback, and a nightly import with it."""
    reading = read(tmp_path, b"Name\nAnn;0612345678\nBob;0611111111\n", format="plain")
    assert taken_by(reading) == {ONE, TWO}


def test_progress_is_told_in_bytes_of_the_file(tmp_path):
    """A long import would look as if it hung."""
    path = tmp_path / "list.txt"
    path.write_bytes(LINES.encode() * 50_000)
    told = []

    with open_list(path, told.append) as packed:
        for _ in packed.members[0].source.chunks():
            pass
    assert told == sorted(told) and told[-1] == path.stat().st_size and len(told) > 4

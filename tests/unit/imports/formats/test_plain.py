"""Plain lists as people really send them: what is taken, what is refused, and by which line."""

import gzip
import io
import zipfile

import pytest

from stream_scrub.imports.formats import BadList, open_list
from tests.support.fakes.lists import read

ONE, TWO, THREE = 33612345678, 33611111111, 33622222222
LINES = "0612345678\n06 11 11 11 11\n+33622222222\n"


def taken_by(reading):
    return set(reading.bitmap())


def zipped(*files, how=zipfile.ZIP_DEFLATED):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", how) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return held.getvalue()


PACKED = {
    "lines": (LINES.encode(), "UTF-8, one number a line"),
    "no last line end": (LINES.rstrip().encode(), "UTF-8, one number a line"),
    "CRLF": (LINES.replace("\n", "\r\n").encode(), "UTF-8, one number a line"),
    "CR": (LINES.replace("\n", "\r").encode(), "UTF-8, one number a line"),
    "BOM": (b"\xef\xbb\xbf" + LINES.encode(), "UTF-8, one number a line"),
    "BOM and header": (b"\xef\xbb\xbfphone\n" + LINES.encode(), "UTF-8, one number a line"),
    "header": (b"Num\xc3\xa9ro\n" + LINES.encode(), "UTF-8, one number a line"),
    "header in Latin-1": (b"Num\xe9ro\r\n" + LINES.encode(), "Latin-1, one number a line"),
    "quotes": (b'"phone"\n"0612345678"\n"06 11 11 11 11"\n\'+33622222222\'\n', "UTF-8, one number a line"),
    "UTF-16": (LINES.encode("utf-16"), "UTF-16, one number a line"),
    "UTF-16, big end first": (b"\xfe\xff" + LINES.encode("utf-16-be"), "UTF-16, one number a line"),
    "NBSP": (LINES.replace(" ", "\u00a0").encode(), "UTF-8, one number a line"),
    "NBSP in Latin-1": (LINES.replace(" ", "\u00a0").encode("latin-1"), "Latin-1, one number a line"),
    "gzip": (gzip.compress(LINES.encode()), "gzip, UTF-8, one number a line"),
    "gzip, two members": (
        gzip.compress(b"0612345678\n") + gzip.compress(b"0611111111\n0622222222\n"),
        "gzip, UTF-8, one number a line",
    ),
    "zip": (zipped(("list.txt", LINES)), "zip, UTF-8, one number a line"),
    "zip, stored": (zipped(("list.txt", LINES), how=zipfile.ZIP_STORED), "zip, UTF-8, one number a line"),
    "zip with a folder": (zipped(("a/", ""), ("a/list.txt", LINES)), "zip, UTF-8, one number a line"),
    "semicolons": (
        b"nom;tel\nRose;0612345678\nMax;06 11 11 11 11\nBo;+33622222222\n",
        "UTF-8, column 2 of CSV by semicolon, with header",
    ),
    "commas, no header": (
        b"Rose,0612345678\nMax,06 11 11 11 11\nBo,+33622222222\n",
        "UTF-8, column 2 of CSV by comma",
    ),
    "tabs": (b"0612345678\tRose\n0611111111\tMax\n0622222222\tBo\n", "UTF-8, column 1 of CSV by tab"),
    "bars": (b"0612345678|x\n0611111111|x\n0622222222|x\n", "UTF-8, column 1 of CSV by bar"),
    "accents in Latin-1": (
        "nom;tel\nRenée;0612345678\nZoë;0611111111\nÇa;0622222222\n".encode("latin-1"),
        "Latin-1, column 2 of CSV by semicolon, with header",
    ),
    "quoted separators": (
        b'name,phone\n"Doe, ""J""",0612345678\n"x\ny",0611111111\n,"0622222222"\n',
        "UTF-8, column 2 of CSV by comma, with header",
    ),
    "line ends in quotes": (
        b'phone;note\n0612345678;"a\nb\nc\nd"\n0611111111;"e\n\nf"\n0622222222;"g\nh\ni"\n',
        "UTF-8, column 1 of CSV by semicolon, with header",
    ),
    "two number columns, one named": (
        b"fax;phone\n0199999999;0612345678\n0199999999;0611111111\n;0622222222\n",
        "UTF-8, column 2 of CSV by semicolon, with header",
    ),
    "a number in somebody's words": (
        b'tel;nom\n0612345678;"Mme A,\nrappeler au 0698765432; merci"\n0611111111;B\n0622222222;C\n',
        "UTF-8, column 1 of CSV by semicolon, with header",
    ),
    "a customer's number of as many digits": (
        b"id;phone\n123456789;0612345678\n223456789;0611111111\n323456789;0622222222\n",
        "UTF-8, column 2 of CSV by semicolon, with header",
    ),
}


@pytest.mark.parametrize(("content", "described"), PACKED.values(), ids=PACKED)
def test_a_list_is_read_however_it_is_packed(tmp_path, content, described):
    """People who opposed would be missing from the register because of how their list was saved."""
    reading = read(tmp_path, content)

    assert taken_by(reading) == {ONE, TWO, THREE}
    assert (reading.refused, reading.blank, reading.refused_share) == (0, 0, 0.0)
    assert reading.described.rpartition(", like ")[0] == f"plain, {described}"


@pytest.mark.parametrize(
    ("column", "taken"),
    [
        ("phone", {ONE, TWO}),
        ("PHONE", {ONE, TWO}),
        ("2", {ONE, TWO}),
        ("fax", {THREE}),
        ("1", {THREE}),
    ],
)
def test_a_column_is_chosen_by_name_or_number(tmp_path, column, taken):
    """Fax numbers would be opposed instead of telephones."""
    content = b"fax;phone;mail\n0622222222;0612345678;a@b.c\n0622222222;0611111111;\n"

    assert taken_by(read(tmp_path, content, column)) == taken


@pytest.mark.parametrize("column", ["Phone", '"x"', "1", ""])
def test_a_list_of_one_column_may_be_asked_for_it(tmp_path, column):
    """A script that always names its column would fail on the shortest list."""
    header = b'"x"' if column == '"x"' else b'"Phone"'

    assert taken_by(read(tmp_path, header + b"\n0612345678\n", column.strip('"'))) == {ONE}


UNREADABLE = {
    "one of two columns is named": (b"tel;work\n0612345678;0142685300\n", "", "choose one with --column"),
    "another one is digits and named": (
        b"tel;GSM 2\n+33612345678;33698765432\n",
        "",
        "choose one with --column",
    ),
    "another one in a CRM's": (
        b"phone,mobile,email,date_added\n0612345678,0698765432,a@b.fr,2026-01-01\n",
        "",
        "choose one with --column",
    ),
    "another one among ends": (b"phone,fixe,expires\n0612345678,33698765432,2027-01-01\n", "", "choose one"),
    "another one is digits with a calling code": (
        b"tel;secondary\n33612345678;33142685300\n",
        "",
        "choose one with --column",
    ),
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
    "another one is of the morning": (b"phone,phone (am)\n+33612345678,+33698765432\n", "", "choose one"),
    "another one is of Austria": (b"phone,telefon (at)\n+33612345678,+436641234567\n", "", "choose one"),
    "another one is fixed, in one word": (
        b"phone;NumFixe\n+33612345678;33142685300\n+33612345679;142685301\n",
        "",
        "choose one",
    ),
    "rows within quotes": (
        b'tel;nom\n0612345678;"Le Bistrot\n0611111111;Bar "Chez Max"\n0622222222;B\n',
        "",
        "line 2: .*a cell holds other rows.*never closed",
    ),
    "two columns hold numbers": (b"a;b\n0612345678;0611111111\n", "", "choose one with --column"),
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
    "a zip with none": (zipped(("a/", "")), "", "holds 0 files"),
    "half a zip": (zipped(("a", LINES * 100))[:-30], "", "fetch the file again"),
    "half a gzip": (gzip.compress(LINES.encode() * 100)[:-12], "", "fetch the file again"),
    "a broken gzip": (gzip.compress(LINES.encode())[:20] + b"x" * 20, "", "fetch the file again"),
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
        ("DE", "Telefon;Telefon seit", "20261101"),
        ("DE", "Telefon;phone_opt_out", "2026-11-01"),
        ("IT", "Telefon;Handy", "01.11.2026 10:11:12"),
        ("AT", "Telefon;phone_id", "48213377"),
        ("GB", "Telefon;cancelled_at", "1764500000"),
        ("GB", "Telefon;cancelled", "1764500000"),
    ],
)
def test_a_day_or_an_id_beside_a_number_is_no_second_number(tmp_path, region, head, cell):
    """A nightly list would be refused in each country where such digits are a valid number."""
    assert taken_by(read(tmp_path, f"{head}\n+33612345678;{cell}\n".encode(), region=region)) == {ONE}


def test_a_locked_zip_is_refused(tmp_path):
    """An operator would be left with a traceback."""
    content = bytearray(zipped(("a", LINES)))
    content[6] |= 1  # the flag of encryption, in both headers
    content[content.index(b"PK\x01\x02") + 8] |= 1

    with pytest.raises(BadList, match="locked"):
        read(tmp_path, bytes(content))


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

    assert (reading.taken, reading.refused, reading.refused_share, len(reading.bitmap())) == (
        0,
        0,
        0.0,
        0,
    )


def test_refused_lines_are_told_by_their_line(tmp_path):
    """An operator could not find the bad lines, or would find telephone numbers in the report."""
    reading = read(tmp_path, b"phone\n0612345678\nnone\n\n0611111111\n12\n  \n+33 6 22 22 22 22\nphone\n")

    assert taken_by(reading) == {ONE, TWO, THREE}
    assert (reading.first_refused, reading.refused, reading.blank, reading.lines) == ([3, 6, 9], 3, 2, 6)
    assert reading.refused_share == 0.5


@pytest.mark.parametrize(
    "first",
    ["0612345678 / 0611111111 Rose", "Rose;0612345678 / 0611111111", "<p>0612345678<br>0611111111</p>"],
)
def test_a_first_line_with_numbers_is_no_header(tmp_path, first):
    """Two people who opposed would be missing from the register, and no line of the file be refused for it."""
    rest = "Max;0622222222\n" if ";" in first else "0622222222\n"
    reading = read(tmp_path, f"{first}\n{rest}".encode())

    assert (taken_by(reading), reading.first_refused, reading.titles) == ({THREE}, [1], 0)


@pytest.mark.parametrize(
    "content",
    [
        "phone;country\n0470 12 34 56;{}\n0612345678;\n",
        "phone;Land der Rufnummer;expires\n0470 12 34 56;{};2027-01-01\n0612345678;;\n",
        "phone;email;reason;pays\n0470 12 34 56;a@b.be;x;{}\n0612345678;a@b.fr;x;FR\n",
    ],
)
@pytest.mark.parametrize("country", ["BE", "Belgique", "+32", "bel"])
def test_a_national_number_is_one_of_the_country_in_its_row(tmp_path, content, country):
    """A Belgian who opposed would be called, and a French number of the same digits be opposed instead."""
    assert taken_by(read(tmp_path, content.format(country).encode())) == {ONE, 32470123456}


def test_refused_lines_of_csv_are_told_by_the_line_they_start_on(tmp_path):
    """An operator would look at the wrong line of a file with quoted line ends."""
    content = b'name;phone\nA;0612345678\n"B\nB";x\n\nC;\n;0611111111\nD\n;\n"E\n\nE";0622222222\nF;y\n'

    reading = read(tmp_path, content)

    assert taken_by(reading) == {ONE, TWO, THREE}
    assert (reading.first_refused, reading.blank) == ([3, 6, 8, 13], 2)


def test_a_header_below_a_blank_line_is_a_header(tmp_path):
    """The one refused line would be the header, and its percentage stop a short list."""
    for content in (b"\n;\nname;phone\nA;0612345678\n", b"\nname;phone\nA;0612345678\n"):
        reading = read(tmp_path, content)
        assert (taken_by(reading), reading.refused, reading.titles) == ({ONE}, 0, 1)


def test_numbers_may_stand_behind_the_last_title(tmp_path):
    """A list whose first row is short would end in a traceback, and a nightly import with it."""
    reading = read(tmp_path, b"Name\nAnn;0612345678\nBob;0611111111\n", format="plain")
    assert taken_by(reading) == {ONE, TWO}


def test_only_the_first_refused_lines_are_kept(tmp_path):
    """A million bad lines would fill the memory and the terminal."""
    reading = read(tmp_path, b"0612345678\n" + b"bad\n" * 1000)

    assert reading.refused == 1000
    assert reading.first_refused == list(range(2, 22))


def test_a_number_listed_twice_is_one_number(tmp_path):
    """The counts of a register would be wrong, and its seal with them."""
    reading = read(tmp_path, b"0612345678\n06 12 34 56 78\n+33612345678\n0611111111\n")

    assert (reading.taken, reading.duplicates) == (4, 2)
    assert set(reading.bitmap()) == {ONE, TWO}


def test_national_numbers_are_read_in_the_lists_region(tmp_path):
    """A British list would be refused line by line, or give French numbers."""
    reading = read(tmp_path, b"07400 123456\n+33612345678\n0612345678\n", region="GB")

    assert taken_by(reading) == {ONE, 447400123456}
    assert reading.first_refused == [3]


def test_progress_is_told_in_bytes_of_the_file(tmp_path):
    """A long import would look as if it hung."""
    path = tmp_path / "list.txt"
    path.write_bytes(LINES.encode() * 50_000)
    told = []

    with open_list(path, told.append) as packed:
        for _ in packed.members[0].source.chunks():
            pass
    assert told == sorted(told) and told[-1] == path.stat().st_size and len(told) > 4

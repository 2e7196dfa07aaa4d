"""Which format a file is read as, and what an operator is told about it."""

import io
import zipfile

import pytest

from stream_scrub.imports.formats import FORMATS, BadList, FormatSpec, ListOptions, ListSample, open_list
from stream_scrub.imports.parsing.format import mostly, read_list
from tests.support.fakes.lists import NOW, read

PAIRS = b"416,5550123\n905,5550142\n"
PLAIN = b"0612345678\n06 11 11 11 11\n"


def zipped(*files):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
    return held.getvalue()


def fake(name, score, described="read"):
    def reads(source, options, reading):
        for _ in source.chunks():
            pass
        reading.described = described

    return FormatSpec(name, name, lambda sample: score, reads)


def read_by(formats, tmp_path, content, named="auto", **options):
    (tmp_path / "list").write_bytes(content)
    with open_list(tmp_path / "list") as packed:
        return read_list(formats, packed, ListOptions("FR", NOW, **options), named)


def test_the_surest_format_reads_it(tmp_path):
    """A list would be read by the first format that can make something of it, or by one of two on a guess."""
    formats = (fake("plain", 1), fake("b", 40), fake("c", 90), fake("d", 0))
    assert read_by(formats, tmp_path, b"x\n").described.startswith("c, UTF-8, read")

    with pytest.raises(BadList, match=r"b or c: choose one with --format"):
        read_by((fake("plain", 1), fake("b", 90), fake("c", 90)), tmp_path, b"x\n")


def test_a_format_is_named(tmp_path):
    """An operator could not read a list that looks like another one."""
    assert read(tmp_path, PAIRS, format="nanp-pair").described.startswith("nanp-pair")
    with pytest.raises(BadList, match=r"no format is called 'x': there is plain"):
        read(tmp_path, PAIRS, format="x")
    with pytest.raises(BadList, match=r"^read as plain: "):
        read(tmp_path, PAIRS, format="plain")


def test_who_names_columns_has_said_which_formats_it_may_be(tmp_path):
    """Columns that were named would be ignored, and others taken."""
    dated = FormatSpec("dated", "", lambda sample: 5, FORMATS[0].read, frozenset({"number", "day"}))
    formats = (FORMATS[0], fake("b", 90), dated)

    assert read_by(formats, tmp_path, b"0612345678\n", columns={"day": "2"}).described.startswith("dated")
    with pytest.raises(BadList, match=r"no format has all of area, day: dated day, number$"):
        read_by(formats, tmp_path, b"0612345678\n", columns={"day": "2", "area": "1"})
    with pytest.raises(BadList, match=r"--columns: plain knows none, not day$"):
        read_by(formats, tmp_path, b"0612345678\n", named="plain", columns={"day": "2"})
    suppression = b"phone,email,date_added,reason\n0612345678,,,\n"
    assert read(tmp_path, suppression, "phone").described.startswith("plain"), "one column: a plain list"


def test_what_a_file_is_read_as_is_said_without_a_number(tmp_path):
    """An operator would not see that the wrong columns were taken, or would see somebody's number."""
    content = b"Ren\xe9e;06.12.34.56.78\nA-B;+33 6 11 11 11 11\nZo\xeb;0622222222\n"
    assert read(tmp_path, content).described == (
        "plain, Latin-1, column 2 of CSV by semicolon, like xxxxx;99.99.99.99.99"
    )
    long = read(tmp_path, b"\xd9\xa0612345678 caf\xc3\xa9 " + b"x" * 60).described
    assert long.endswith("like 9999999999 xxxx xxxxxxxxxxxxxxxxxxxxxxxx...")


def test_the_files_of_a_zip_are_read_one_after_another(tmp_path):
    """A national list in hundreds of files would have to be imported by hand, and be a part of itself each time."""
    content = zipped(
        *(("b/905.csv", b"905,5550142\nx\n905,5550142\n"), ("a/416.csv", b"416,5550123\n"), ("a/", b"")),
        *(("__MACOSX/a/._416.csv", b"\0"), ("a/.DS_Store", b"\0"), ("c/empty.csv", b"")),
    )
    reading = read(tmp_path, content)

    assert set(reading.bitmap()) == {14165550123, 19055550142}
    assert (reading.first_refused, reading.refused_in) == ([2], ["b/905.csv"])
    assert reading.described == "nanp-pair, zip of 3, UTF-8, area code and number, like 999,9999999"


def test_files_of_several_formats_are_not_one_list(tmp_path):
    """A leaflet beside the list would be imported as numbers, or the list as a leaflet."""
    content = zipped(("a.csv", PAIRS), ("b.txt", PLAIN))

    with pytest.raises(BadList, match=r"a.csv looks like nanp-pair, b.txt looks like plain"):
        read(tmp_path, content)
    with pytest.raises(BadList, match=r"read as plain: a.csv: 0 of"):
        read(tmp_path, content, format="plain")


def test_a_sample_ends_where_its_last_whole_line_does():
    """A format would be taken for another by half a line."""
    assert ListSample(b"a\r\nb\rc\nd", "x").lines == ["a", "b", "c"]
    assert ListSample(b"a\r\nb\rc\nd", "x", whole=True).lines == ["a", "b", "c", "d"]
    assert ListSample(b"a\n\n \n", "x", whole=True).filled == ["a"]
    assert len(ListSample(b"a\n" * 1000, "x").lines) == 50


@pytest.mark.parametrize(
    ("alike", "lines", "enough"),
    [
        (0, 0, False),
        (0, 1, False),
        (1, 1, True),
        (1, 2, False),
        (2, 3, True),
        (44, 50, False),
        (45, 50, True),
    ],
)
def test_a_few_odd_lines_do_not_hide_a_format(alike, lines, enough):
    """One bad line at the beginning would change what the file is read as."""
    assert mostly(alike, lines) is enough

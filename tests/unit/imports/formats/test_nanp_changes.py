"""North American changes, as CSV and as XML: what each column or element means, and what is not read at all."""

import tracemalloc
from datetime import UTC, datetime

import pytest

from stream_scrub.imports.formats import BadList, ListOptions, ListSource, ParsedList, nanp_change, nanp_xml
from tests.support.fakes.lists import NOW, read

ONE = 14165550123
ASKED = "unclear which column is what: name them, as in --columns area=1,number=2,date=3,change=4"


@pytest.mark.parametrize(
    ("added", "removed"),
    [
        ("416,5550123,20261120,A", "416,5550199,20261120,D"),
        ("11/20/2026,A,416,5550123", "11/20/2026,D,416,5550199"),
        ("416;5550123;A", "416;5550199;D"),
        ("4165550123,add", "4165550199,delete"),
        ("When|Change|Phone\n2026-11-20 06:00:00|Added|416-555-0123", "2026-11-20 06:00:00|Deleted|416-555-0199"),
    ],
)  # fmt: skip
def test_columns_are_told_apart_in_whatever_order(added, removed, tmp_path):
    """The register's change list, whose order is published nowhere, could not be imported without asking."""
    reading = read(tmp_path, f"{added}\n{removed}\n".encode(), format="nanp-change")

    assert (list(reading.bitmap()), list(reading.removals())) == ([ONE], [14165550199])


@pytest.mark.parametrize(
    ("content", "columns", "says"),
    [
        (
            b"416,905,5550123,A\n",
            {},
            ASKED,
        ),
        (b"416,5550123\n905,5550143\n", {}, ASKED),
        (b"416,5550123,A,D\n", {}, ASKED),
        (b"5550123,A\n", {}, ASKED),
        (b"4165550123,A\n", {"number": "1"}, "number and change"),
        (b"4165550123,A\n", {"what": "1"}, "nanp-change knows area"),
        (b"4165550123,A\n", {"number": "1", "change": "9"}, "column 9"),
    ],
)
def test_columns_in_doubt_are_asked_for(content, columns, says, tmp_path):
    """A removal would be taken for an addition, or one area's numbers for another's."""
    with pytest.raises(BadList, match=says):
        read(tmp_path, content, format="nanp-change", columns=columns)


def test_an_operator_may_say_the_columns(tmp_path):
    """A list with two columns of three digits could not be imported at all."""
    content = b"905,416,5550123,A,20261101\n905,416,5550124,D,20261102\n"
    columns = {"area": "2", "number": "3", "change": "4", "date": "5"}
    reading = read(tmp_path, content, columns=columns)

    assert (list(reading.bitmap()), list(reading.removals())) == ([ONE], [14165550124])
    assert reading.effective_at == datetime(2026, 11, 2, tzinfo=UTC)


def test_an_american_day_has_the_month_first(tmp_path):
    """A removal in April would come after an addition in May."""
    content = b"04/05/2026,416,5550123,D\n05/04/2026,416,5550123,A\n12/31/2025,905,5550143,A\n"
    reading = read(tmp_path, content)

    assert ONE in reading.bitmap()
    assert reading.effective_at == datetime(2026, 5, 4, tzinfo=UTC)


def test_without_days_an_addition_holds(tmp_path):
    """A removal that may have come first would lift an opposition."""
    reading = read(tmp_path, b"416,5550123,A\n416,5550123,D\n")

    assert (list(reading.bitmap()), list(reading.removals())) == ([ONE], [])
    assert "an addition holds over a deletion" in reading.described


def test_a_day_to_come_does_not_make_the_list_fresher(tmp_path):
    """A slip in one line would make the register look fresh for years."""
    reading = read(tmp_path, b"20301103,416,5550123,A\n20261101,905,5550143,A\n")

    assert reading.effective_at is None


def test_too_many_changes_are_a_full_list(tmp_path, monkeypatch):
    """A change list without bound would fill the memory."""
    monkeypatch.setattr(nanp_change, "_ROWS_MAX", 1)
    with pytest.raises(BadList, match="full list"):
        read(tmp_path, b"416,5550123,A\n416,5550124,A\n")


FULL = "<list type='full' level='ac' val='416'><ac val='416'>{}</ac></list>"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE list [<!ENTITY a '1'>]><list><ph val='&a;'/></list>", "document type of its own"),
        (
            b"<!DOCTYPE list SYSTEM 'file:///x' [<!ENTITY % p SYSTEM 'http://x/y'> %p;]><list/>",
            "document type",
        ),
        (b"<list><ac val='416'>\n<ph val='&a;'/></ac></list>", "line 2: broken XML"),
        (b"<list><ac val='416'>", "line 1: broken XML"),
        (b"<list/><list/>", "broken XML"),
        (b"<contacts/>", "not a North American list"),
        (b"<list type='wat'/>", "not of type full"),
        (b"<list type='change'><ac val='416'><ph val='5550123' type='A'/></ac></list>", "nanp-change"),
        (b"<a>" * 40, "deep"),
        (b"<list>" + b"<x a='1'/>" * 12_000 + b"</list>", "holds much"),
        (b"<list><x " + b" ".join(b"a%d='1'" % n for n in range(40)) + b"/></list>", "more names"),
        (b"<list>" + b"".join(b"<x%d:ph val='1'/>" % n for n in range(300)) + b"</list>", "more names"),
        (b"<list " + b"x" * 200 + b"='1'/>", "longer ones"),
        (b"<list>" + b"<ph val='" + b" " * 100_000 + b"'/></list>", "longer than 64 KiB"),
    ],
)
def test_xml_that_is_no_list_is_refused_and_says_why(content, says, tmp_path):
    """A crafted file would read the machine's files, fill its memory, or pass for an empty list."""
    with pytest.raises(BadList, match=says):
        read(tmp_path, content, format="nanp-xml")


def test_a_document_type_without_a_subset_is_not_fetched(tmp_path):
    """A list with an ordinary DOCTYPE, a namespace or capitals would be refused, or the importer would call its address."""
    content = (
        b"<!DOCTYPE list SYSTEM 'http://192.0.2.1/list.dtd'>"
        b"<r:LIST xmlns:r='urn:r' type='FULL'><r:AC val=' 416 '><r:PH val=' 5550123 '/></r:AC></r:LIST>"
    )
    assert list(read(tmp_path, content, format="nanp-xml").bitmap()) == [ONE]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_xml_in_any_encoding(encoding, tmp_path):
    """A name in a comment would stop a list of numbers."""
    head = f"<?xml version='1.0' encoding='{encoding}'?><!-- Québec -->"
    content = (head + FULL.format("<ph val='5550123'/>")).encode(encoding)

    assert list(read(tmp_path, content, format="nanp-xml").bitmap()) == [ONE]


def test_a_number_in_an_unknown_shape_is_refused(tmp_path):
    """A register that renamed an element would look empty, or a number to delete be added."""
    odd = "<ph val='5550123'/><phone val='5550124'/><ph/><ph value='5550125'/><ph val='5550126' type='D'/>"
    reading = read(tmp_path, FULL.format(odd + "<deletes><ph val='4165550123'/></deletes>").encode())

    assert (list(reading.bitmap()), reading.first_refused[:4]) == ([ONE], [2, 3, 4, 5])
    assert reading.refused > 4


def test_a_long_list_is_read_in_bounded_memory():
    """A national list would need as much memory as it has bytes."""
    some = b"".join(b"<ph val='%07d'/>" % (5550000 + n) for n in range(10_000))

    def blocks(_size):
        yield b"<list type='full'><ac val='416'>"
        yield from (some for _ in range(6))
        yield b"</ac></list>"

    tracemalloc.start()
    reading = ParsedList()
    nanp_xml.FORMAT.read(ListSource(blocks, "x.xml"), ListOptions("US", NOW), reading)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert reading.taken + reading.refused == 60_000
    assert peak < 8 << 20


def test_something_without_an_end_is_refused_early():
    """A comment of gigabytes would be held whole."""

    def blocks(_size):
        yield b"<list type='full'><!-- "
        while True:
            yield b"x" * (1 << 20)

    with pytest.raises(BadList, match="longer than 64 KiB"):
        nanp_xml.FORMAT.read(ListSource(blocks, "x.xml"), ListOptions("US", NOW), ParsedList())

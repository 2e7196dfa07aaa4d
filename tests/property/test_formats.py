"""Whatever stands in a file, an import reads a list or says in words that it cannot."""

import gzip
import re
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.imports.formats import FORMATS, BadList, ParsedList
from stream_scrub.numbering import normalise
from tests.support.fakes.lists import accounted, read
from tests.support.golden.files import GOLDEN

FOLDER = tempfile.TemporaryDirectory()
WORDS = [
    *(
        b"0612345678",
        b"+33 6 11 11 11 11",
        b"06.22.22.22.22",
        b"Ren\xc3\xa9e",
        b"Ren\xe9e",
        b"",
        b" ",
        b"phone",
    ),
    *(
        b'"',
        b'"a;b"',
        b"\xa0",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"'0612345678'",
        b"tel",
        b"x" * 40,
        b"\x1c",
        b"\x85",
    ),
]
SEPARATORS = [b"\n", b"\r\n", b"\r", b";", b",", b"\t", b"|", b"\n", b"\n"]
CONTENTS = st.one_of(
    st.binary(max_size=60),
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(SEPARATORS)), max_size=30).map(
        lambda pairs: b"".join(word + end for word, end in pairs)
    ),
)


def zipped(content):
    held = BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("liste é.csv", content)
    return held.getvalue()


PACKINGS = {
    "as it is": lambda content: content,
    "gzip": gzip.compress,
    "zip": zipped,
    "UTF-16": lambda content: content.decode("latin-1").encode("utf-16"),
}


def attempt(content, column="", region="FR", named="auto"):
    try:
        return read(Path(FOLDER.name), content, column, region, format=named)
    except BadList as error:
        return error


@given(
    CONTENTS,
    st.sampled_from(list(PACKINGS)),
    st.sampled_from(["", "1", "2", "phone", "x", "²", "9" * 30]),
    st.data(),
)
def test_any_bytes_are_a_list_or_a_bad_one(content, packing, column, data):
    """An import would end in a traceback, or publish half of what it could read."""
    packed = bytearray(PACKINGS[packing](content))
    for _ in range(data.draw(st.integers(0, 2))):
        if packed:
            at = data.draw(st.integers(0, len(packed) - 1))
            if data.draw(st.booleans()):
                packed[at] = data.draw(st.sampled_from([0, 1, 255, packed[at] ^ 16]))
            else:
                packed = packed[:at]

    found = attempt(bytes(packed), column)
    assert isinstance(found, ParsedList | BadList)
    if isinstance(found, BadList):
        assert "0612345678" not in str(found).replace(" ", "")


LINE = st.one_of(
    st.sampled_from(
        ["0612345678", "+33 6 11 11 11 11", '"0622222222"', "", "  ", "12", "none", "+", "06/11/11/11/11"]
    ),
    st.text(st.characters(exclude_characters="\r\n,;\t|", codec="utf-8"), max_size=12),
)


@given(
    st.lists(LINE, max_size=30), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(list(PACKINGS)[:3])
)
def test_every_line_is_taken_refused_blank_or_the_header(lines, end, packing):
    """A line would vanish without being counted, and with it somebody's opposition."""
    reading = attempt(PACKINGS[packing]("".join(line + end for line in lines).encode()))
    if lines and lines[0].startswith("\ufeff"):
        lines = [lines[0][1:], *lines[1:]]
    numbers = [normalise(line.strip().strip("\"'").strip(), "FR") for line in lines]
    blank = sum(not line.strip() for line in lines)
    header = bool(lines) and numbers[0] is None and any(map(str.isalpha, lines[0]))

    assert set(reading.bitmap()) == {number for number, _ in filter(None, numbers)}
    assert reading.taken == sum(number is not None for number in numbers)
    assert (reading.blank, reading.refused) == (blank, len(lines) - blank - reading.taken - header)
    assert all(numbers[at - 1] is None for at in reading.first_refused)


CELL = st.sampled_from(["Rose", "", "75001", 'Doe; "J"', "x\ny", "Renée", "a,b|c", "12"])
PHONE = st.sampled_from(["0612345678", "+33 6 11 11 11 11", "06-22-22-22-22", "none", ""])


@given(
    st.lists(st.tuples(CELL, PHONE, CELL), min_size=1, max_size=20),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_a_named_column_gives_its_numbers_whatever_stands_beside_it(rows, separator, encoding, end):
    """A name with a quote or a line end in it would hide the number beside it."""

    def quoted(cell):
        return '"' + cell.replace('"', '""') + '"'

    text = separator.join(["name", "phone", "place"]) + end
    text += "".join(separator.join(map(quoted, row)) + end for row in rows)
    reading = attempt(text.encode(encoding), "phone")
    if isinstance(reading, BadList):
        pytest.fail(str(reading))
    numbers = [normalise(phone, "FR") for _, phone, _ in rows]

    assert set(reading.bitmap()) == {number for number, _ in filter(None, numbers)}
    assert reading.taken == sum(number is not None for number in numbers)
    assert reading.refused + reading.blank == numbers.count(None)


# Of these an entry is not a line: a JSON array and XML may stand on one line, or each entry on several.
OF_ENTRIES = {"nanp-xml", "webex-json", "ringcentral-json"}
TEXTS = {".txt", ".csv", ".jsonl", ".xml"}
SAMPLES = sorted(path.read_bytes() for path in (GOLDEN / "lists").iterdir() if path.suffix in TEXTS)
PIECES = [
    *(
        b"416,5550123\n",
        b"905,5550142\r\n",
        b"01204 523456\r\n",
        b"01204523456 \n",
        b"0612345678\n",
        b"+33611111111\n",
    ),
    *(
        b"416,555012\n",
        b"0612*\n",
        b"0612345678-0612345699\n",
        b"\n",
        b"  \n",
        b"phone;date\n",
        b"0612345678;2026-11-24\n",
    ),
    *(
        b"phone,expires\n",
        b"0612345678,2027-01-01T00:00Z\n",
        b'{"phoneNumber":"+33612345678"}\n',
        b"A,416,5550123\n",
    ),
    *(
        b"Number,Status\n",
        b"81234567,Clean\n",
        b"\xff",
        b"\0",
        b"\r",
        b"\x85",
        b",",
        b";",
        b"x",
        b"-",
        b"*",
        b"<",
        b"&",
        b">",
        b"{",
        b"]",
        b"\xed\xa0\x80",
        b"9" * 30,
    ),
]
FILES = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join),
    st.tuples(st.sampled_from(SAMPLES), st.integers(0, 60), st.integers(0, 20), st.sampled_from(PIECES)).map(
        lambda cut: cut[0][: cut[1]] + cut[3] + cut[0][cut[1] + cut[2] :]
    ),
)


def lines_of(content):
    """How many lines a text editor shows, the last one without an end included."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        content = content.decode("utf-16").encode("utf-8", "replace")
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return content.count(b"\n") + (content[-1:] not in (b"", b"\n"))


@given(FILES)
def test_every_format_accounts_for_every_line_of_any_file(content):
    """A line would vanish without being counted, and with it somebody's opposition; or an import end in a traceback."""
    for named in ("auto", *(each.name for each in FORMATS)):
        found = attempt(content, named=named)
        if isinstance(found, BadList):
            assert re.search(r"\d{7}", re.sub(r"\d[\d,]*,\d{3}\b", "", str(found))) is None, (
                named,
                str(found),
            )
            continue
        assert found.taken >= (len(found.bitmap()) > 0)
        assert found.refused >= len(found.first_refused)
        assert found.bitmap().isdisjoint(found.removals())
        assert all(number in found.bitmap() for number in found.ends().numbers.tolist())
        name = found.described.partition(",")[0]
        if b'"' in content or name in OF_ENTRIES:
            continue
        if " columns of phones" in found.described:  # each phone of a line is counted, or the line is blank
            assert accounted(found) >= lines_of(content), name
        else:
            assert accounted(found) == lines_of(content), name

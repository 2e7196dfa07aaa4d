"""Whatever stands in a file, an import reads a list or says in words that it cannot."""

import gzip
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.lists.formats import BadList, Reading
from stream_scrub.numbering import normalise
from tests.fakes.lists import read

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


def attempt(content, column="", region="FR"):
    try:
        return read(Path(FOLDER.name), content, column, region)
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
    assert isinstance(found, Reading | BadList)
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

    assert list(reading.numbers) == [number for number, _ in filter(None, numbers)]
    assert (reading.blank, reading.refused) == (blank, len(lines) - blank - len(reading.numbers) - header)
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

    assert list(reading.numbers) == [number for number, _ in filter(None, numbers)]
    assert reading.refused + reading.blank == numbers.count(None)

"""How a delimited file is cut: nothing lost, nothing added, whatever the blocks, and as Python's csv module cuts it."""

import csv
import io

from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_scrub.files.csv_records import records_of
from tests.support.machine.effort import examples
from tests.support.running.files import written

SIGNS = st.sampled_from(
    [b"a", b"b", b";", b'"', b"\n", b"\r", b"\r\n", b" ", b'""', b'"a"', b';"', b'";', b"\xe9", b"\0"]
)
FILES = st.lists(SIGNS, max_size=40).map(b"".join)
CELLS = st.text(st.sampled_from('ab1 ";,\n\r\u00e9'), max_size=6)


def blocks(content: bytes, size: int):
    for start in range(0, len(content), size):
        yield content[start : start + size]


def cut(content: bytes, size: int):
    """Each record's cells, its bytes and what follows it; and all bytes in the order that they come out."""
    records, written = [], []
    for found in records_of(blocks(content, size), b";"):
        written.append(found.lead)
        if records and found.lead:
            records[-1][2] += found.lead
        cells = found.cells()
        for place, (start, end, following) in enumerate(
            zip(found.starts, found.ends, found.nexts, strict=True)
        ):
            texts = cells.texts(place)
            for column in range(len(texts) + 2):
                begin, stop = (int(each[place]) for each in cells.column(column))
                assert found.block[begin:stop] == (texts[column] if column < len(texts) else b"")
            assert b";".join(texts) == found.block[start:end]
            records.append([texts, bytes(found.block[start:end]), bytes(found.block[end:following])])
            written.append(found.block[start:following])
    return records, b"".join(written)


@settings(max_examples=examples(400))
@given(FILES, st.integers(1, 9))
@example(b'a;"b\nc;"d"\n', 3)
@example(b'"a\r', 1)
def test_every_byte_comes_out_once_and_blocks_make_no_difference(content, size):
    """A row would be lost, doubled or cut in two where a block ends, and somebody called who is opposed."""
    whole, written = cut(content, 1 << 20)
    pieces, again = cut(content, size)

    assert written == again == content
    assert pieces == whole


@settings(max_examples=examples(200))
@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_a_sound_file_is_cut_as_the_csv_module_cuts_it(rows, end):
    """A dialler that reads the file with any other program would see other rows than were judged."""
    rows = [row for row in rows if "".join(row).strip(' ";\r\n')]
    text_written = written(rows, end=end)
    records, _ = cut(text_written.encode(), 1 << 20)

    def text(cell: bytes) -> str:
        quoted = cell.startswith(b'"')
        return (cell[1:-1].replace(b'""', b'"') if quoted else cell).decode()

    found = [[text(cell) for cell in cells] for cells, _, _ in records]
    assert found == rows == list(csv.reader(io.StringIO(text_written, newline=""), delimiter=";"))


def test_a_quote_that_is_never_closed_costs_its_own_row_and_no_other():
    """One stray quote would hide every row behind it from the registers."""
    content = b'a;"b\nc;d\n"e";f\ng;h"i\n'
    records, _ = cut(content, 1 << 20)

    assert [cells for cells, _, _ in records] == [[b"a", b'"b'], [b"c", b"d"], [b'"e"', b"f"], [b"g", b'h"i']]

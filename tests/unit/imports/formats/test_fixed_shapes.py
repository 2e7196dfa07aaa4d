"""nanp-pair and tps-fixed: lines of fixed width, read by the whole chunk."""

import random

import pytest

from stream_scrub.imports.formats import FORMATS, ListSample
from stream_scrub.imports.parsing import unpack
from stream_scrub.numbering import normalise
from tests.support.fakes.lists import accounted, read

BY_NAME = {each.name: each for each in FORMATS}


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("odd", [b"", b"416,5550", b'"416","5550199"', b"416,\xb5550123"])
@pytest.mark.parametrize("chunk", [64, 1 << 18])
def test_an_odd_line_changes_nothing_for_its_neighbours(tmp_path, monkeypatch, end, odd, chunk):
    """One bad line would shift the digits of all that follow it."""
    monkeypatch.setattr(unpack.ListSource.chunks, "__defaults__", (chunk,))
    draw = random.Random(4)
    pairs = [(draw.choice([416, 905, 212]), draw.randint(2000000, 9999999)) for _ in range(60)]
    lines = [b"%d,%d" % pair for pair in pairs]
    content = end.join([*lines[:31], odd, *lines[31:]])

    reading = read(tmp_path, content, format="nanp-pair")

    known = {number for area, rest in pairs if (number := normalise(f"+1{area}{rest}", "US")) is not None}
    expected = {number for number, _ in known} | ({14165550199} if b"5550199" in odd else set())
    assert set(reading.bitmap()) == expected
    assert (accounted(reading), reading.blank) == (61, not odd)
    assert (32 in reading.first_refused) == (bool(odd) and b"5550199" not in odd)
    assert reading.first_refused == sorted(reading.first_refused)


def test_bytes_that_only_look_like_digits_to_arithmetic_are_refused(tmp_path):
    """A damaged file would give numbers that nobody has."""
    for place in (0, 2, 3, 4, 10):
        for byte in (0x2F, 0x3A, 0x00, 0x80, 0xB0, 0xFF):
            line = bytearray(b"416,5550123\n")
            line[place] = byte
            content = b"416,5550142\n" * 3 + bytes(line) + b"905,5550142\n"
            reading = read(tmp_path, content, format="nanp-pair")
            assert (reading.taken, reading.first_refused) == (4, [4]), (place, byte)
            assert set(reading.bitmap()) == {14165550142, 19055550142}


@pytest.mark.parametrize(
    ("name", "content", "is_one"),
    [
        ("nanp-pair", b"416,5550123\n", True),
        ("nanp-pair", b"AreaCode,Phone\n416,5550123\n", True),
        ("nanp-pair", b"416,5550123\n" * 40 + b"x\n", True),
        ("nanp-pair", b'"416","5550123"\r\n"905","5550142"\r\n', True),
        ("nanp-pair", b"", False),
        ("nanp-pair", b"116,5550123\n", False),
        ("nanp-pair", b"416,5550123,x\n", False),
        ("nanp-pair", b"416;5550123\n", False),
        ("nanp-pair", b"416,555012\n", False),
        ("tps-fixed", b"01204 523456\r\n0161 4960123\r\n", True),
        ("tps-fixed", b"01204523456 \r\n02079460123 \r\n", True),
        ("tps-fixed", b"01204 523456\n" * 20 + b"\n" + b"x" * 12 + b"\n", True),
        ("tps-fixed", b"", False),
        ("tps-fixed", b"0612345678  \n06 12345678  \n", False),
        ("tps-fixed", b"+33612345678\n", False),
        ("tps-fixed", b"447700900123\n", False),
        ("tps-fixed", b"01204523456\n", False),
    ],
)
def test_a_fixed_shape_is_recognised_and_no_other_list(name, content, is_one):
    """An operator would have to know the name of the format, or French numbers would become American or British ones."""
    score = BY_NAME[name].recognise(ListSample(content, "list.txt", whole=True))
    assert score >= 90 if is_one else score == 0


def test_fixed_width_is_read_in_its_own_country(tmp_path):
    """Whoever imports a British list with a French configuration would refuse all of it."""
    reading = read(tmp_path, b"01204 523456\r\n" * 3 + b"0161 4960123\r\n", region="FR")

    assert set(reading.bitmap()) == {441204523456, 441614960123}
    assert (reading.duplicates, reading.refused) == (2, 0)

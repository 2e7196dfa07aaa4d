"""What people type, and the number and line that it must become."""

import copy
import pickle

import pytest

from stream_scrub.numbering import REGIONS, Line, e164, line_of, normalise, read_lines

FR_MOBILE = Line.of("FR", "mobile")


@pytest.mark.parametrize(
    "text",
    [
        "06.12.34.56.78", "06\u00a012\u00a034\u00a056\u00a078", "(06) 12 34 56 78", "612345678", "33612345678",
        "+33 (0)6 12 34 56 78", "+330612345678", "0033 (0)6 12 34 56 78", "++33612345678", "\uff0b33612345678",
        "tel:+33612345678", "06 12 34 56 78 ext. 9", "06 12 34 56 78x9", "²612345678",
        "\u0660\u0666\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668", "06\u201012\u201034\u201056\u201078",
    ],
)  # fmt: skip
def test_french_mobile(text):
    """An opposed prospect would be called if the way they typed their number hid it from the registers."""
    assert normalise(text, "FR") == (33612345678, FR_MOBILE)


@pytest.mark.parametrize(
    "text",
    [
        "", "+", "0", "061234567", "06123456789", "0701234567", "0722345678", "06+12345678", "+330701234567",
        "+999612345678", "abc", "\x00", "\ud800", "06 12 34 56 78" + " " * 240, "6" * 5000, "06_12_34_56_78_",
    ],
)  # fmt: skip
def test_not_a_number_in_france(text):
    """A dialler would burn calls on numbers that cannot exist, 070 to 072 among them."""
    assert normalise(text, "FR") is None


@pytest.mark.parametrize(
    ("text", "region", "number", "line"),
    [
        ("06 1234 5678", "IT", 390612345678, ("IT", "fixed_line")),  # the zero stays
        ("+39 06 698 12345", "FR", 390669812345, ("VA", "fixed_line")),
        ("312 345 6789", "IT", 393123456789, ("IT", "mobile")),
        ("+262 639 01 23 45", "FR", 262639012345, ("YT", "mobile")),
        ("0690 00 12 34", "GP", 590690001234, ("GP", "mobile")),
        ("01481 256789", "GG", 441481256789, ("GG", "fixed_line")),
        ("256789", "GG", 441481256789, ("GG", "fixed_line")),  # the region's own rewriting
        ("(204) 234-5678", "US", 12042345678, ("CA", "fixed_line_or_mobile")),
        ("011 33 6 12 34 56 78", "US", 33612345678, ("FR", "mobile")),
        ("8 912 345-67-89", "RU", 79123456789, ("RU", "mobile")),
        ("1-800-FLOWERS", "US", 18003569377, ("US", "toll_free")),
        ("+800 1234 5678", "FR", 80012345678, ("001", "toll_free")),
        ("+979 123 456 789", "FR", 979123456789, ("001", "premium_rate")),
        ("06 12 34 56 78", "BE", None, None),
        ("+33612345678", "ZZ", 33612345678, ("FR", "mobile")),
        ("06 12 34 56 78", "ZZ", None, None),
        ("06 12 34 56 78", "fr", None, None),  # regions are upper case, as phonenumbers has them
    ],
)
def test_elsewhere(text, region, number, line):
    """Another country's rule would judge the prospect if the number's own region or type came out wrong."""
    expected = None if number is None else (number, Line.of(*line))

    assert normalise(text, region) == expected


def test_a_float_of_a_spreadsheet_gains_no_zero_in_a_list():
    """Where numbers have no fixed length, an opt-out would protect another person's number."""
    texts = ["12345.0", "664123456.0", "+43664123456.00", "16123456.0 "]
    lines = "".join(f'"{text}"\n{text}\n' for text in texts).encode()
    read = read_lines(lines, "AT", lambda at: texts[at // 2]).numbers.tolist()
    assert read == [43 * 10**5 + 12345] * 2 + [43664123456] * 4 + [4316123456] * 2


def test_line_of_stored_numbers():
    """A register's number would be judged by no rule if its line were lost on the way from the typed text."""
    assert line_of(33612345678) is FR_MOBILE
    assert line_of(390612345678) is Line.of("IT", "fixed_line")
    assert line_of(80012345678) is Line.of("001", "toll_free")
    for number in (330612345678, 33712345678 - 10**7, 0, -33612345678, 33, 999612345678, 10**30, 10**5000):
        assert line_of(number) is None


def test_a_line_is_one_object_everywhere():
    """A rule chosen by a line would be missed if a copy, or one from another process, were another key."""
    for travelled in (pickle.loads(pickle.dumps(FR_MOBILE)), copy.copy(FR_MOBILE), copy.deepcopy(FR_MOBILE)):
        assert travelled is FR_MOBILE


def test_e164_and_regions():
    """A stamp would name a number that no dialler can dial."""
    assert e164(33612345678) == "+33612345678"
    assert {"FR", "RE", "YT", "GB", "GG", "US", "CA", "IT", "VA"} <= REGIONS

"""Results of washes: who is clean, until when, and what nobody may guess."""

from datetime import UTC, datetime

import pytest

from stream_scrub.imports.formats import BadList
from tests.support.fakes.lists import read


def iso(reading):
    numbers, ends = reading.ends()
    return {
        number: datetime.fromtimestamp(end, UTC).isoformat()
        for number, end in zip(numbers.tolist(), ends.tolist(), strict=True)
    }


AUSTRALIAN = b"0412345678,N\n02 5550 1234,Y\n0412345679,I\n12,I\n0412345670,X\n"


def test_australian_letters_mean_what_the_register_says(tmp_path):
    """Registered numbers would be called: Y means registered there, and clean elsewhere."""
    reading = read(tmp_path, AUSTRALIAN, region="AU", format="wash", name="washed_20261120.csv")

    assert iso(reading) == {61412345678: "2026-12-19T10:00:00+00:00"}
    assert sorted(reading.removals()) == [61255501234, 61412345679]
    assert (reading.first_refused, reading.passed) == ([5], 1)
    assert (reading.kind, reading.change) == ("allow", "delta")


@pytest.mark.parametrize(
    ("content", "region", "columns", "says"),
    [
        (AUSTRALIAN, "GB", {}, "--region AU"),
        (b"name;telephone;x\nRose;0612345678;O\n", "FR", {}, "listed=clean"),
        (b"phone;status;result\n0612345678;clean;listed\n", "FR", {}, "several columns may hold the result"),
        (b"phone;mobile;status\n0655555555;;clean\n0612345678;0611111111;listed\n", "FR", {}, "--column"),
        (
            b'phone;status\n0612345678;"A\n0611111111;listed\n0622222222;C"\n',
            "FR",
            {},
            "a cell holds other rows",
        ),
        (b"+4915112345678\n", "DE", {}, "days=N"),
        (b"0612345678\n", "FR", {"days": "0"}, "--columns"),
        (b"0612345678\n", "FR", {"days": "9" * 30}, "--columns"),
        (b"0612345678\n", "FR", {"stat": "1"}, "--columns"),
    ],
)
def test_what_an_answer_is_about_is_not_guessed(content, region, columns, says, tmp_path):
    """A Y for "yes, registered" would be read as "yes, callable", or an opposed person be clean by another one's answer."""
    with pytest.raises(BadList, match=says):
        read(tmp_path, content, region=region, format="wash", columns=columns)


def test_named_columns_say_what_an_answer_is_about(tmp_path):
    """A file whose answers have to be chosen could not be used, or would be taken the wrong way round."""
    content = b"phone;status;result\n0612345678;clean;clean\n0611111111;clean;listed\n"
    reading = read(tmp_path, content, columns={"status": "result"})
    assert ([*reading.bitmap()], [*reading.removals()]) == ([33612345678], [33611111111])

    content = b"name;telephone;x\nRose;0612345678;O\n"
    for listed, taken in (("clean", ([33612345678], [])), ("opposed", ([], [33612345678]))):
        reading = read(tmp_path, content, format="wash", columns={"listed": listed})
        assert ([*reading.bitmap()], [*reading.removals()]) == taken


def test_the_answers_of_the_turkish_ledger(tmp_path):
    """Who refused in the ledger would be called with those who agreed."""
    content = b"Number,Status\n+905012345678,ONAY\n+905012345679,RET\n"
    reading = read(tmp_path, content, region="TR", columns={"days": "3"}, name="iys-2026-11-20.csv")
    assert [*iso(reading)] == [905012345678] and [*reading.removals()] == [905012345679]


def test_an_answer_about_two_numbers_is_not_read_as_about_one(tmp_path):
    """The second number would stay clean until its older answer ends, although the person opposed."""
    rows = "0612345678;;clean\n" * 60 + "0622222222;0611111111;listed"
    with pytest.raises(BadList, match="--column"):
        read(tmp_path, f"phone;mobile;status\n{rows}\n".encode())


def test_an_operator_may_say_which_status_is_clean(tmp_path):
    """A wash of a service with codes of its own could not be used."""
    content = b"phone,code\n0612345678,C\n0611111111,D\n0622222222,W\n0633333333,\n"
    reading = read(tmp_path, content, format="wash", columns={"status": "code", "clean": "c", "days": "7"})

    assert iso(reading) == {33612345678: "2026-12-01T12:00:00+00:00"}
    assert sorted(reading.removals()) == [33611111111, 33622222222]
    assert reading.first_refused == [5]


def test_one_column_is_what_was_left_of_a_file(tmp_path):
    """Bloctel's returned files could not be kept: absence from them is the only sign of an opposition."""
    reading = read(tmp_path, b"0612345678\n0611111111\n12\n", format="wash", name="bloctel-2026-11-01.csv")

    assert set(iso(reading)) == {33612345678, 33611111111}
    assert set(iso(reading).values()) == {"2026-11-30T10:00:00+00:00"}
    assert reading.first_refused == [3]
    assert "whatever is listed is clean" in reading.described


def test_a_number_that_is_clean_and_opposed_is_opposed(tmp_path):
    """A client who stands in the file twice would be called by his older result."""
    rows = b"0612345678,clean\n0612345678,registered\n0611111111,registered\n0611111111,clean\n"
    reading = read(tmp_path, b"phone,status\n" + rows)

    assert (list(reading.bitmap()), sorted(reading.removals())) == ([], [33611111111, 33612345678])


@pytest.mark.parametrize(
    ("title", "yes_is_clean"), [("Registered", False), ("Bloctel", False), ("Callable", True)]
)
def test_a_column_that_says_yes_or_no(title, yes_is_clean, tmp_path):
    """Yes would be taken the wrong way round."""
    reading = read(tmp_path, f"phone,{title}\n0612345678,Yes\n0611111111,n\n".encode(), format="wash")

    clean, opposed = (33612345678, 33611111111) if yes_is_clean else (33611111111, 33612345678)
    assert (list(reading.bitmap()), list(reading.removals())) == ([clean], [opposed])


def test_a_day_to_come_in_a_name_is_not_believed(tmp_path):
    """A campaign's day in a file's name would stretch the results' life."""
    reading = read(tmp_path, b"0612345678\n", format="wash", name="campaign-2027-01-01.csv")

    assert set(iso(reading).values()) == {"2026-12-24T12:00:00+00:00"}
    assert reading.effective_at is None
    old = read(tmp_path, b"0612345678\n", format="wash", name="bloctel_20260101.csv")
    assert "that had ended" in old.described


def test_an_answer_is_about_the_country_in_its_row(tmp_path):
    """A French number that nobody has washed would be clean, because a Belgian one of the same digits is."""
    reading = read(tmp_path, b"phone;pays;status\n0470123456;BE;clean\n0612345678;FR;listed\n")

    assert ([*reading.bitmap()], [*reading.removals()]) == ([32470123456], [33612345678])

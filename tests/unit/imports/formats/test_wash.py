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


def test_letters_are_not_guessed_elsewhere(tmp_path):
    """A Y that means "yes, registered" would be read as "yes, callable"."""
    with pytest.raises(BadList, match="--region AU"):
        read(tmp_path, AUSTRALIAN, region="GB", format="wash")


def test_the_answers_of_the_turkish_ledger(tmp_path):
    """Who refused in the ledger would be called with those who agreed."""
    content = b"Number,Status\n+905012345678,ONAY\n+905012345679,RET\n"
    reading = read(tmp_path, content, region="TR", columns={"days": "3"}, name="iys-2026-11-20.csv")
    assert [*iso(reading)] == [905012345678] and [*reading.removals()] == [905012345679]


def test_an_answer_is_about_the_country_in_its_row(tmp_path):
    """A French number that nobody has washed would be clean, because a Belgian one of the same digits is."""
    reading = read(tmp_path, b"phone;pays;status\n0470123456;BE;clean\n0612345678;FR;listed\n")

    assert ([*reading.bitmap()], [*reading.removals()]) == ([32470123456], [33612345678])


def test_of_two_columns_with_results_none_is_guessed(tmp_path):
    """Somebody whom one of them calls opposed would be called, because the other one says clean."""
    content = b"phone;status;result\n0612345678;clean;clean\n0611111111;clean;listed\n"
    with pytest.raises(BadList, match="several columns may hold the result"):
        read(tmp_path, content)
    reading = read(tmp_path, content, columns={"status": "result"})
    assert ([*reading.bitmap()], [*reading.removals()]) == ([33612345678], [33611111111])


@pytest.mark.parametrize(
    "rows", ["0612345678;0611111111;listed", "0612345678;;clean\n" * 60 + "0622222222;0611111111;listed"]
)
def test_an_answer_about_two_numbers_is_not_read_as_about_one(tmp_path, rows):
    """The second number would stay clean until its older answer ends, although the person opposed."""
    with pytest.raises(BadList, match="--column"):
        read(tmp_path, f"phone;mobile;status\n0655555555;;clean\n{rows}\n".encode())


def test_an_answer_within_a_cell_is_not_lost(tmp_path):
    """Somebody whom the registry found opposed would stay clean until the older answer ends."""
    content = b'phone;status;note\n0612345678;clean;"A\n0611111111;listed;B\n0622222222;clean;C"\n'
    with pytest.raises(BadList, match=r"line 2: .*a cell holds other rows"):
        read(tmp_path, content)


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


def test_more_columns_without_a_status_are_not_taken_for_clean(tmp_path):
    """A column under a name unknown here would hold the verdict, and everybody would be clean."""
    content = b"name;telephone;x\nRose;0612345678;O\nAnn;0611111111;N\n"
    with pytest.raises(BadList, match="listed=clean"):
        read(tmp_path, content, format="wash")

    reading = read(tmp_path, content, format="wash", columns={"listed": "clean"})
    assert sorted(reading.bitmap()) == [33611111111, 33612345678]


def test_a_file_of_registered_numbers_takes_them_out(tmp_path):
    """A service that returns the opposed numbers only would fill the register with them."""
    reading = read(tmp_path, b"0612345678\n", format="wash", columns={"listed": "opposed"})

    assert (len(reading.bitmap()), sorted(reading.removals())) == (0, [33612345678])


def test_a_number_that_is_clean_and_opposed_is_opposed(tmp_path):
    """A client who stands in the file twice would be called by his older result."""
    content = (
        b"phone,status\n0612345678,clean\n0612345678,registered\n0611111111,registered\n0611111111,clean\n"
    )
    reading = read(tmp_path, content)

    assert (list(reading.bitmap()), sorted(reading.removals())) == ([], [33611111111, 33612345678])


@pytest.mark.parametrize(
    ("title", "yes_is"),
    [("Registered", "opposed"), ("On register", "opposed"), ("Bloctel", "opposed"), ("Callable", "clean")],
)
def test_a_column_that_says_yes_or_no(title, yes_is, tmp_path):
    """Yes would be taken the wrong way round."""
    reading = read(tmp_path, f"phone,{title}\n0612345678,Yes\n0611111111,n\n".encode(), format="wash")

    clean, opposed = (33612345678, 33611111111) if yes_is == "clean" else (33611111111, 33612345678)
    assert (list(reading.bitmap()), list(reading.removals())) == ([clean], [opposed])


def test_no_validity_is_guessed(tmp_path):
    """Results of a register that nobody knows the rules of would be relied on for ever, or for another one's time."""
    with pytest.raises(BadList, match="days=N"):
        read(tmp_path, b"+4915112345678\n", region="DE", format="wash")


@pytest.mark.parametrize("columns", [{"days": "0"}, {"days": "9" * 30}, {"stat": "1"}])
def test_what_cannot_be_is_said(columns, tmp_path):
    """A slip in an option would make results good for years."""
    with pytest.raises(BadList, match="--columns"):
        read(tmp_path, b"0612345678\n", format="wash", columns=columns)


def test_a_day_to_come_in_a_name_is_not_believed(tmp_path):
    """A campaign's day in a file's name would stretch the results' life."""
    reading = read(tmp_path, b"0612345678\n", format="wash", name="campaign-2027-01-01.csv")

    assert set(iso(reading).values()) == {"2026-12-24T12:00:00+00:00"}
    assert reading.effective_at is None


def test_an_old_wash_says_that_it_is_over(tmp_path):
    """An operator would wonder why nobody became callable."""
    reading = read(tmp_path, b"0612345678\n", format="wash", name="bloctel_20260101.csv")

    assert "that had ended" in reading.described

"""When the leads of a file may be called: the windows of their stamps, added up."""

import json
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from stream_scrub.files.added import call_cells
from stream_scrub.files.summary import plan_of
from stream_scrub.stamp import CallHours
from tests.support.running.files import FREE, OPPOSED, RULES
from tests.unit.files.test_other_kinds import book, rows_of
from tests.unit.files.test_report import page

HOURS = 'hours = { mon-fri = ["10:00-13:00", "14:00-20:00"], source = "hours made for the tests" }\n'
PARIS = ZoneInfo("Europe/Paris")


def parts(made) -> list[tuple[str, str, int]]:
    return [(f"{part.begin:%m-%d %H:%M}", f"{part.end:%H:%M}", part.rows) for part in made.plan]


def test_a_campaign_is_planned_by_its_file(bureau):
    """A manager would have ten people at the telephones at an hour when nobody may be called."""
    (bureau.folder / "rules" / "fr.toml").write_text(RULES + HOURS)
    leads = f"phone\n{FREE}\n{OPPOSED}\n+262692123456\n0622222222\n".encode()
    done = bureau.scrub(leads)
    lines = [b'{"phone":"%s"}\n' % cell for cell in leads.split(b"\n")[1:5]]
    as_stamps = bureau.scrub(b"".join(lines), "leads.ndjson").summary
    assert (done.summary.plan, done.summary.any_hour) == (as_stamps.plan, as_stamps.any_hour)
    # 1 June 2026 is a Monday, judged at noon in UTC; Reunion is two hours ahead of Paris.
    assert parts(done.summary)[:6] == [
        ("06-01 14:00", "18:00", 3),
        ("06-01 18:00", "20:00", 2),
        ("06-02 08:00", "10:00", 1),
        ("06-02 10:00", "11:00", 3),
        ("06-02 11:00", "12:00", 2),
        ("06-02 12:00", "13:00", 3),
    ]
    found = page(done)
    assert "Tuesday, 2 June 2026 10:00 11:00 3" in found and "on the clock of Europe/Paris" in found
    written = json.loads(done.read("summary"))["plan"][0]
    assert written == {"from": "2026-06-01T14:00:00+02:00", "to": "2026-06-01T18:00:00+02:00", "rows": 3}


def test_each_row_says_from_when_to_when_it_may_be_called(bureau):
    """A dialler that reads the file would call at lunch, or never in the afternoon."""
    (bureau.folder / "rules" / "fr.toml").write_text(RULES + HOURS)
    leads = f"phone\n{FREE}\n{OPPOSED}\n+262692123456\n+33162000000\n".encode()
    rows = [line.split(",")[-2:] for line in bureau.scrub(leads).read("annotated").decode().splitlines()]
    assert rows == [
        ["scrub_call_from", "scrub_call_to"],
        ["2026-06-01T10:00+02:00 2026-06-01T14:00+02:00", "2026-06-01T13:00+02:00 2026-06-01T20:00+02:00"],
        ["", ""],
        ["2026-06-01T10:00+04:00 2026-06-01T14:00+04:00", "2026-06-01T13:00+04:00 2026-06-01T20:00+04:00"],
        ["", ""],
    ]
    sheet = rows_of(bureau.scrub(book({"A": [["phone"], [FREE]]}), "leads.xlsx").read("allowed"))
    assert sheet[1][-2:] == rows[1]
    again = bureau.scrub(bureau.scrub(leads).read("annotated"))
    assert [line.split(",")[-2:] for line in again.read("annotated").decode().splitlines()] == rows


def test_a_row_without_an_hour_left_does_not_look_like_one_for_any_hour(bureau):
    """Somebody would be called on a Sunday because the cell of the hours is empty."""
    rule = RULES.replace("valid_days = 28", "valid_days = 1") + HOURS
    (bureau.folder / "rules" / "fr.toml").write_text(rule)
    kept = bureau.scrub(f"phone\n{FREE}\n".encode(), on=date(2026, 5, 30)).read("allowed")
    assert kept.decode().splitlines()[1].endswith(",none,none")
    again = bureau.scrub(kept).read("allowed").decode().splitlines()
    assert len(again) == 2 and again[1].count("2026-06-01T") == 4


@pytest.mark.parametrize(
    ("now", "opens", "closes"),
    [
        ("2026-06-01T10:59", "01T10:00 01T14:00", "01T13:00 01T20:00"),
        ("2026-06-01T11:00", "01T14:00", "01T20:00"),
        ("2026-06-01T18:00", "02T10:00", "02T13:00"),
        ("2026-06-02T11:00", "none", "none"),
    ],
)
def test_hours_that_are_over_are_not_in_a_row(now, opens, closes):
    """A dialler would wait for hours of this morning, and not call in those of tomorrow."""
    windows = ("2026-06-01T08:00Z/2026-06-01T11:00Z", "2026-06-01T12:00Z/2026-06-01T18:00Z", "2026-06-02T08:00Z/2026-06-02T11:00Z")  # fmt: skip
    hours = CallHours(("Europe/Paris",), windows, "")
    made = call_cells(hours, datetime.fromisoformat(now).replace(tzinfo=UTC), whole_day=False)
    assert tuple(each.replace("2026-06-", "").replace("+02:00", "") for each in made) == (opens, closes)


def test_a_named_day_is_that_of_the_person():
    """A call of the evening before, in the west, would stand for the day that was asked for."""
    windows = ("2026-08-09T15:00Z/2026-08-10T04:00Z", "2026-08-10T15:00Z/2026-08-11T04:00Z")
    hours, noon = CallHours(("America/Los_Angeles",), windows, ""), datetime(2026, 8, 10, 12, tzinfo=UTC)
    made = call_cells(hours, noon, whole_day=True)
    assert made == ("2026-08-10T08:00-07:00", "2026-08-10T21:00-07:00")


def test_without_hours_there_is_no_plan(bureau):
    """A page about hours that no law asks for would keep people from calling."""
    done = bureau.scrub(f"phone\n{FREE}\n{OPPOSED}\n".encode())
    assert done.summary.plan == [] and done.summary.any_hour == 1
    assert "When they may be called" not in page(done)


def test_each_day_has_its_own_parts():
    """A part that lasts over midnight would be read as one of the day before, also when the clock changes."""
    now = datetime(2026, 10, 24, 12, tzinfo=UTC)
    leads = {("2026-10-24T20:00Z/2026-10-26T01:00Z", "2026-10-26T02:00Z/2026-10-26T03:00Z"): 5, (): 2}
    made = plan_of(leads, now, PARIS)
    assert [(f"{p.begin:%d %H:%M}", f"{p.end:%d %H:%M}", p.rows) for p in made] == [
        ("24 22:00", "25 00:00", 5),
        ("25 00:00", "26 00:00", 5),
        ("26 00:00", "26 02:00", 5),
        ("26 03:00", "26 04:00", 5),
    ]
    assert made[1].end.astimezone(UTC) - made[1].begin.astimezone(UTC) == timedelta(hours=25)
    assert plan_of(leads, now + timedelta(days=3), PARIS) == []

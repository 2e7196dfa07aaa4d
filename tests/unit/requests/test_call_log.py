"""Rows of diallers' call logs, as the records that they become."""

import json
from datetime import datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from stream_scrub.client.client import _attempt
from stream_scrub.errors import BadFile
from stream_scrub.requests import call_log
from stream_scrub.requests.attempts import AttemptReader
from stream_scrub.requests.call_log import CallLogOptions, send_call_log

TITLES = "uniqueid,campaign_id,call_date,status,phone_code,phone_number"
SETTINGS = SimpleNamespace(
    prospect=SimpleNamespace(default_region="FR"),
    topics=SimpleNamespace(attempts="call.attempts", requests="opposition.requests"),
)


@pytest.fixture
def sent(monkeypatch, tmp_path):
    """Send rows; by topic the values of the records that came."""

    def send(*rows, zone="Europe/Paris", encoding="utf-8", name="log.csv"):
        found = {}
        monkeypatch.setattr(call_log.clients, "requests_writer", lambda _settings, _log, topic: topic)
        monkeypatch.setattr(call_log, "Deliveries", lambda topic, _: topic)
        monkeypatch.setattr(
            call_log,
            "send_all",
            lambda topic, records: found.update({topic: [each.value for each in records]}),
        )
        file = tmp_path / name
        if rows:
            file.write_text("\n".join([TITLES, *rows]), encoding)
        options = CallLogOptions.of([], [], zone, None, None)
        return send_call_log(file, options, SETTINGS, None), found

    return send


@pytest.mark.parametrize(
    ("local", "at"),
    [
        ("2026-10-25 02:30:00", "2026-10-25T02:30:00+01:00"),
        ("2026-03-29 02:30:00", "2026-03-29T03:30:00+02:00"),
        ("2026-07-01 12:00:00", "2026-07-01T12:00:00+02:00"),
    ],
)
def test_a_moment_that_the_clock_shows_twice_is_the_later_one(sent, local, at):
    """A person in Oklahoma would be called again after 23 hours, at the hour that the server's clock shows twice."""
    _, found = sent(f"1.1,spring,{local},NA,33,612345601")
    (record,) = found["call.attempts"]
    assert datetime.fromisoformat(json.loads(record)["at"]) == datetime.fromisoformat(at)


def test_a_day_without_an_hour_is_read_so_that_it_protects(sent):
    """A person in Florida would be called a fourth time on the morning after three calls of an evening, because an export
    has the day and the hour of a call in two columns."""
    _, found = sent("1.1,spring,2026-07-01,NA,1,3055550123", zone="America/New_York")
    (record,) = found["call.attempts"]
    evening = datetime(2026, 7, 1, 21, tzinfo=ZoneInfo("America/New_York")).timestamp()
    written = int(evening * 1000) + 86_400_000
    assert AttemptReader("FR", {}).read(record, written).at > evening


def test_a_status_means_the_same_in_small_letters(sent):
    """Somebody who said never again would be called once more, because an export writes statuses small."""
    report, found = sent(
        "1.1,spring,2026-07-01 12:00:00,dnc,33,612345601", "2,spring,2026-07-01 12:00:00,ni,33,612345601"
    )
    assert (report.opt_outs, report.refusals, report.unknown) == (1, 1, {})
    assert len(found["opposition.requests"]) == 1


@pytest.mark.parametrize(
    ("rows", "what"), [((), "give the path"), (("1.1,été,",), "save it as CSV in UTF-8")]
)
def test_a_log_that_cannot_be_read_is_named_without_a_number(sent, rows, what):
    """A recording's file, which is named by the number that was called, would put that number into the job's log."""
    with pytest.raises(BadFile) as caught:
        sent(*rows, encoding="cp1252", name="33612345678.csv")
    assert what in str(caught.value) and "612345678" not in str(caught.value)


def test_a_call_is_the_same_by_each_door(sent):
    """A dialler that reports by a client and by its log would use up two calls of a person for each."""
    noon = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Paris"))
    _, found = sent("1.1,spring,2026-07-01 12:00:00,NI,33,612345601")
    by_client = _attempt(
        "06 12 34 56 01", "1.1", True, noon, region="FR", campaign="Spring", residence=None, outcome="NI"
    )
    written = int(noon.timestamp() * 1000) + 1000
    first, second = (
        AttemptReader("FR", {"spring": "acme", "other": "beta"}).read(each, written)
        for each in (*found["call.attempts"], by_client)
    )
    assert first == second and first.professional == "acme"

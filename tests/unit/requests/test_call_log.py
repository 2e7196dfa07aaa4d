"""Rows of diallers' call logs, as the records that they become."""

import json
import zipfile
from datetime import datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from stream_scrub.client.client import _attempt
from stream_scrub.errors import ConfigError
from stream_scrub.imports.formats import BadList
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

    def send(*rows, zone="Europe/Paris", encoding="utf-8", name="log.csv", titles=TITLES, requests=None):
        found = {} if requests is None else {"opposition.requests": requests}
        brokers = SimpleNamespace(requests_writer=lambda topic: topic)
        monkeypatch.setattr(call_log.clients, "Brokers", lambda *_: brokers)
        monkeypatch.setattr(call_log, "Deliveries", lambda topic, _: topic)
        monkeypatch.setattr(
            call_log,
            "send_all",
            lambda topic, records: found.setdefault(topic, []).extend(each.value for each in records),
        )
        file = tmp_path / name
        if rows:
            file.write_text("\n".join([titles, *rows]), encoding)
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


def test_a_log_that_cannot_be_read_is_named_without_a_number(sent):
    """A recording's file, which is named by the number that was called, would put that number into the job's log."""
    with pytest.raises(BadList, match="No such file") as caught:
        sent(name="33612345678.csv")
    assert "612345678" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_log_is_read_in_every_encoding_of_a_list(sent, encoding):
    """The calls of a dialler that exports for Excel would not be counted, and the people be called too often."""
    report, found = sent("1.1,été,2026-07-01 12:00:00,NA,33,612345601", encoding=encoding)
    (record,) = found["call.attempts"]
    assert (report.attempts, json.loads(record)["campaign"]) == (1, "été")


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


@pytest.mark.parametrize("other", ["dst", "number"])
def test_the_number_that_was_called_is_the_one_that_the_dialler_names_first(sent, other):
    """Who says never again would not be opted out, because the log has the trunk's or an own number beside it."""
    titles = f"uniqueid,phone_number,{other},call_date,status"
    _, found = sent("1,0612345601,0155550000,2026-07-01 12:00:00,DNC", titles=titles)
    (request,) = found["opposition.requests"]
    assert json.loads(request)["number"] == "0612345601"


def test_no_title_that_may_be_anybodys_is_taken_for_the_number(sent):
    """The agent would be opted out, and the person who asked for it called again."""
    titles = "call id,agent,mobile,start,disposition,caller"
    with pytest.raises(ConfigError, match="--column number=TITLE"):
        sent("1,Ann,0612345601,2026-07-01 12:00:00,DNC,0155550000", titles=titles)


def test_each_file_of_a_packed_log_is_whole_before_the_next_one(sent, tmp_path):
    """Opt-outs of the first day would be on no topic, because the second day's file has other titles."""
    rows = {
        "day1.csv": f"{TITLES}\n1,spring,2026-07-01 12:00:00,DNC,33,612345601\n",
        "day2.csv": "a,b\n1,2\n",
    }
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        for name, text in rows.items():
            archive.writestr(name, text)
    requests = []
    with pytest.raises(ConfigError, match=r"day2\.csv.*--column id=TITLE"):
        sent(name="log.zip", requests=requests)
    assert len(requests) == 1

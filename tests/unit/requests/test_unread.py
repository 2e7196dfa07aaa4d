"""Requests that may be a person's opposition and could not be read: open until somebody settles them."""

import json

import pytest

from stream_scrub.config import load
from stream_scrub.kafka import clients
from stream_scrub.model import LogRecord
from stream_scrub.ops.logs import configure
from stream_scrub.requests import unread
from stream_scrub.requests.unread import open_places, open_requests, still_open
from tests.support.fakes.desk import Desk

UNREADABLE = b'{"request":"opt-out","number":"call me never"}'


@pytest.fixture
def desk(monkeypatch) -> Desk:
    made = Desk()

    def last(_brokers, count):
        return iter(made.refused if count is None else made.refused[-count:])

    monkeypatch.setattr(clients.Brokers, "last_refused", last)
    return made


def test_an_opt_out_that_cannot_be_read_is_open_until_it_is_settled(desk):
    """Nobody would know for whom to look, or the alert would go on after the person was found."""
    settings, log = load(environ={}), configure("info", "json")
    desk.ask(UNREADABLE, b"crm-7", headers=[("unread", b"another's"), ("settles", b"anId/0/0")])
    desk.ask(None)
    desk.ask(b'{"request":"consent","number":"x"}')
    newest, oldest = sorted(open_requests(settings, log), key=lambda each: each.place, reverse=True)
    told = ("anId/0/0", "invalid-number", "0", "opposition.requests", "0/0", "crm-7", UNREADABLE.decode())
    assert oldest[1:] == (0, *told)
    assert (newest.place, newest.reason, newest.value) == ("anId/0/1", "unreadable", "")
    assert open_places(settings, log) == {"anId/0/0", "anId/0/1"}

    desk.ask(b'{"request":"opt-out","number":"06 12 34 56 78","settles":"anId/0/0"}')
    assert desk.opposed == [("internal", 33612345678)]
    assert [each.place for each in open_requests(settings, log)] == ["anId/0/1"]
    desk.ask(b'{"request":"settled","settles":"anId/0/1","source":"page:anna"}')
    assert open_requests(settings, log) == [] and open_places(settings, log) == set()
    assert desk.refused[-1].value == b'{"request":"settled","settles":"anId/0/1","source":"page:anna"}'
    assert dict(desk.refused[-1].headers)["reason"] == b"settled"


@pytest.mark.parametrize(
    "more",
    [
        {"request": "settled"},
        {"request": "settled", "settles": ["anId/0/0"]},
        {"request": "opt-out", "number": "x", "settles": "anId/0/0"},
        {"request": "consent", "number": "+33612345678", "settles": "anId/0/0"},
    ],
)
def test_what_settles_nothing_leaves_it_open(desk, more):
    """A person would be taken off the page by a settlement that names no number."""
    desk.ask(UNREADABLE)
    desk.ask(json.dumps(more).encode())
    assert "anId/0/0" in open_places(load(environ={}), configure("info", "json"))


def test_a_publisher_goes_on_from_what_is_open(desk):
    """The alert would be silent after each restart, or count a request that is settled."""
    desk.ask(UNREADABLE)
    before = still_open((), desk.refused)
    desk.refused.clear()
    desk.ask(UNREADABLE)
    assert still_open(before, desk.refused) == {"anId/0/0", "anId/0/1"}
    desk.ask(b'{"request":"settled","settles":"anId/0/0"}')
    assert still_open(before, desk.refused) == {"anId/0/1"}


def record(at, *headers):
    return LogRecord(at, None, b"", headers, at)


def test_an_open_request_counts_however_many_others_are_refused_after_it(desk):
    """Ten thousand refused lifts of some neighbour would end the alert, and nobody would look for the person."""
    desk.ask(UNREADABLE)
    desk.refused += [record(at, ("reason", b"may-not-lift")) for at in range(20_000)]
    settings, log = load(environ={}), configure("info", "json")
    assert open_places(settings, log) == {"anId/0/0"}
    assert open_requests(settings, log) == [], "the page looks through the last ones"

    desk.refused.insert(0, record(0, ("settles", b"anId/0/0")))
    assert open_places(settings, log) == set(), "the settlement is on a partition that is read first"


def test_the_alert_goes_on_while_more_requests_are_open_than_are_counted(desk, monkeypatch):
    """Once the counted ones are settled, nobody would look for the people behind the others."""
    monkeypatch.setattr(unread, "OPEN_MAX", 100)
    many = [record(at, ("unread", b"anId/0/%d" % at)) for at in range(101)]
    settled = [record(at, ("settles", b"anId/0/%d" % at)) for at in range(101)]
    desk.refused += [*many, *settled]
    assert open_places(load(environ={}), configure("info", "json"))
    assert still_open(still_open((), many), settled)

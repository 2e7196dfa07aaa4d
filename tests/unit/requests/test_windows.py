"""A consent to calls within a stated window: from the request to the verdict, its replay and its dossier."""

import json
from datetime import UTC, date, datetime

import pytest

from stream_scrub.config.settings import Settings
from stream_scrub.imports.consents import ConsentLaw
from stream_scrub.model import OWN, RegisterKind, Request
from stream_scrub.queries.find_emitted import EmittedBetween
from stream_scrub.queries.side_topics import SideRecords
from stream_scrub.requests.lifts import Oppositions
from stream_scrub.requests.parse_request import RequestRefusal, RequestTerms
from stream_scrub.requests.requests_to_delta import KnownScopes, take
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.stamp import decode
from tests.support.fakes.log import Log
from tests.support.fakes.publisher import Publisher
from tests.support.golden import dossier as golden
from tests.support.golden.evidence import timed

BOOK = Rulebook.load()
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
KINDS = {**OWN, "consent-hours": RegisterKind.ALLOW}
SETTINGS = Settings.model_validate({"prospect": {"default_purpose": "telecom"}})
NUMBER = 33612345678
CONSENT = {"request": "consent", "number": f"+{NUMBER}", "scope": "acme", "at": "2026-11-23T10:00:00Z"}
HOUR = {"from": "2026-11-25T20:30:00+01:00", "until": "2026-11-25T21:30:00+01:00"}
TO_HOURS = {**CONSENT, "register": "consent-hours", **HOUR}
LEAD = b'{"phone":"0612345678","campaign":"acme"}'
# The usual hours of that Tuesday and Wednesday, in UTC; the verdict is good until the Wednesday.
USUAL = (
    *("2026-11-24T09:00Z/2026-11-24T12:00Z", "2026-11-24T13:00Z/2026-11-24T19:00Z"),
    *("2026-11-25T09:00Z/2026-11-25T12:00Z", "2026-11-25T13:00Z/2026-11-25T19:00Z"),
)


class Requested:
    """A log on which the number consented to acme's calls, and what requests make of it."""

    def __init__(self) -> None:
        self.log = Log()
        self.publisher = Publisher(self.log)
        self.publisher.import_list("internal", {})
        self.refused: list[RequestRefusal] = []
        self.send(CONSENT)

    def send(self, *batch: dict) -> None:
        """Publish what one batch of requests makes of the registers."""
        index, at_ms = self.publisher.replay.index, int(NOW.timestamp() * 1000)
        terms = RequestTerms(frozenset(KINDS), KINDS, now=NOW, parts=index.parts(), law=ConsentLaw(BOOK))
        requests = [
            Request(0, offset, at_ms, None, json.dumps(each).encode()) for offset, each in enumerate(batch)
        ]
        wanted, refused, _ = take(
            requests, terms, lambda _: None, Oppositions(), index.registers, KnownScopes()
        )
        self.refused = [each.reason for each in refused]
        for register, changes in wanted.items():
            base, known = self.publisher.base(register, changes.kind), self.publisher.replay.known(register)
            self.publisher.put(register, changes.delta(base, known.ends), changes.kind)

    def windows(self, lead: bytes = LEAD, now: datetime = NOW) -> tuple[str, ...]:
        """The windows on the lead's stamp."""
        scrubber = Scrubber(scrubbing.terms(SETTINGS, header=True, hold=False), BOOK)
        (stamp,) = scrubber.scrub([lead], self.publisher.replay.index, now).stamps
        call = decode(stamp).call
        assert call is not None
        return tuple(call.windows)


@pytest.fixture
def requested():
    return Requested()


@pytest.mark.parametrize(
    ("begin", "end", "window"),
    [
        (HOUR["from"], HOUR["until"], "2026-11-25T19:30Z/2026-11-25T20:30Z"),
        ("2026-11-25T14:30:00-05:00", "2026-11-25T20:30:00Z", "2026-11-25T19:30Z/2026-11-25T20:30Z"),
        ("2026-11-25T20:29:30+01:00", "2026-11-25T21:30:59+01:00", "2026-11-25T19:30Z/2026-11-25T20:30Z"),
        ("2026-11-24T21:30:00+01:00", "2026-11-25T09:30:00+01:00", "2026-11-24T20:30Z/2026-11-25T08:30Z"),
    ],
)
def test_a_stated_window_is_open_beside_the_usual_hours_whatever_its_zone(requested, begin, end, window):
    """Who asked to be called at half past eight in the evening would never be called, or at an hour that nobody agreed to."""
    assert requested.windows() == USUAL
    requested.send({**TO_HOURS, "from": begin, "until": end})
    assert requested.refused == []
    assert sorted({*requested.windows()} - {*USUAL}) == [window]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"until": "2026-11-26T20:31:00+01:00"}, RequestRefusal.INVALID_UNTIL),  # a day and a minute
        ({"until": "2026-11-25T20:30:00+01:00"}, RequestRefusal.INVALID_UNTIL),
        ({"until": "2026-11-25"}, RequestRefusal.INVALID_UNTIL),
        ({"until": None}, RequestRefusal.INVALID_UNTIL),
        ({"from": "2026-11-25T20:30:00"}, RequestRefusal.INVALID_UNTIL),
        ({"from": 1764099000}, RequestRefusal.INVALID_UNTIL),
        ({"from": "2026-11-31T20:30:00+01:00"}, RequestRefusal.INVALID_UNTIL),
        ({"from": "2026-11-23T20:30:00Z", "until": "2026-11-23T21:30:00Z"}, RequestRefusal.ENDED),
        # The consent is over by law before its window ends.
        ({"from": "2027-11-24T20:30:00Z", "until": "2027-11-24T21:30:00Z"}, RequestRefusal.ENDED),
        ({"register": None}, RequestRefusal.INVALID_REGISTER),  # a consent that begins later is none
        ({"register": "consent-hours@acme+60m", "scope": None}, RequestRefusal.INVALID_REGISTER),
        ({"scope": None}, RequestRefusal.INVALID_REGISTER),
        ({"purpose": "60m", "from": None}, RequestRefusal.INVALID_PURPOSE),
        ({"From": HOUR["from"]}, RequestRefusal.UNREADABLE),
        ({"at": None}, RequestRefusal.NO_DAY),
    ],
)
def test_no_other_window_is_taken(requested, odd, reason):
    """A person would be called at an hour to which they never agreed."""
    requested.send({**TO_HOURS, **odd})
    assert requested.refused == [reason]
    assert requested.windows() == USUAL


def test_a_consent_to_other_hours_without_a_window_opens_none(requested):
    """A French company would call at night, which the law accepts for no consent."""
    requested.send({**TO_HOURS, "from": None, "until": None})
    assert requested.refused == []
    assert requested.windows() == USUAL


def test_the_latest_window_counts(requested):
    """A person who moved the call to another hour would be called at both."""
    requested.send(TO_HOURS)
    requested.send({**TO_HOURS, "from": "2026-11-25T21:00:00+01:00"})
    assert requested.windows() == (*USUAL, "2026-11-25T20:00Z/2026-11-25T20:30Z")
    later = {"from": "2026-11-25T22:00:00+01:00", "until": "2026-11-25T22:30:00+01:00"}
    requested.send(TO_HOURS, {**TO_HOURS, **later})
    assert requested.windows() == (*USUAL, "2026-11-25T21:00Z/2026-11-25T21:30Z")


def test_a_withdrawal_ends_the_window(requested):
    """A person who takes the consent back would be called in the evening all the same."""
    requested.send(TO_HOURS)
    requested.send({**CONSENT, "request": "withdrawal", "register": "consent-hours", "at": NOW.isoformat()})
    held = requested.publisher.replay.index.registers["consent-hours@acme+60m"].numbers
    assert NUMBER not in held


def test_a_window_counts_for_its_campaign_and_purpose_alone(requested):
    """Another company, or a call about something else, would use the hour that was given to one."""
    requested.send({**CONSENT, "scope": "zeta"}, {**TO_HOURS, "purpose": "insurance"})
    assert requested.windows() == USUAL  # about telecom
    assert requested.windows(b'{"phone":"0612345678","campaign":"zeta","purpose":"insurance"}') == USUAL
    opened = requested.windows(b'{"phone":"0612345678","campaign":"acme","purpose":"insurance"}')
    assert opened == (*USUAL, "2026-11-25T19:30Z/2026-11-25T20:30Z")


@pytest.mark.parametrize(
    ("moment", "covered"),
    [("20:29", False), ("20:30", True), ("21:29", True), ("21:30", False)],
)
def test_a_dossier_judges_a_call_by_the_window(requested, moment, covered):
    """A company could not show that the person agreed to the hour, or would call any hour of that evening lawful."""
    requested.send(TO_HOURS)
    records = timed(requested.log, int(NOW.timestamp() * 1000))
    position = records[-1].offset
    verdict = golden.judged(records, position, golden.at("2026-11-25T09:00"), LEAD, SETTINGS)
    call = golden.attempt(1, f"2026-11-25T{moment}")
    story = golden.Story(records, EmittedBetween([verdict], []), SideRecords([call], [], [], {}), SETTINGS)
    made = golden.made(story, first=date(2026, 11, 25), last=date(2026, 11, 25))
    assert [each.covered for each in made.attempts] == [covered]
    (explained,) = [each.explanation for each in made.verdicts]
    assert explained is not None and explained.same
    (number,) = explained.numbers
    assert "consent-hours@acme+60m" in [each.register for each in number.registers]

"""Which numbers rest by the attempts that were read, and for whom."""

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest

from stream_scrub.requests import rested_numbers
from tests.support.fakes.attempts import Resting

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NUMBER = 33612345678
PROFESSIONALS = {"spring": "acme", "autumn": "acme", "other": "beta"}


def resting(
    campaigns,
    *,
    a_batch=100,
    written=NOW - timedelta(days=1),
    request="attempt",
    ids=range(100),
    number=NUMBER,
    residence=None,
    apart=timedelta(minutes=1),
    attempted=lambda *_: None,
):
    """The registers in which the number rests after an attempt for each of these campaigns; with the ends. `written`: of
    the first record, as its producer says (milliseconds, or a moment). `apart`: between two records, or how long after
    `written` each of them came."""
    resting = Resting(PROFESSIONALS, attempted=attempted)
    at_ms = written if isinstance(written, int) else int(written.timestamp() * 1000)
    said = {"request": request, "number": f"+{number}", "residence": residence}
    values = [
        json.dumps(said | {"id": id_, "campaign": campaign}).encode()
        for id_, campaign in zip(ids, campaigns, strict=False)
    ]
    after = apart if isinstance(apart, list) else [at * apart for at in range(len(values))]
    moments = [at_ms + each // timedelta(milliseconds=1) for each in after]
    records = [*zip(moments, values, strict=True)]
    while records:
        records = records[resting.take(records[:a_batch], NOW) :]
    return {name: ends[number] for name, ends in resting.newly_resting().items() if number in ends}


@pytest.mark.parametrize("a_batch", [1, 100])
@pytest.mark.parametrize(
    ("campaigns", "registers"),
    [
        (["spring", "autumn", "spring", "spring"], {"rested@acme"}),
        (["spring", "spring", "other", "other"], set()),
        ([None, "spring", "spring", "spring"], {"rested@acme"}),
        (["spring", "spring", ["spring", "other"], "misspelt"], {"rested@acme"}),
        (["spring", "spring", "other", "misspelt"], set()),
        (["other", None, None, "spring", None], {"rested@acme", "rested@beta"}),
        ([None] * 4, {"rested"}),
    ],
)
def test_an_attempt_that_may_be_for_anyone_counts_for_each_professional(campaigns, registers, a_batch):
    """A dialler that leaves the campaign out of some reports would call a person seven times in thirty days.

    Source: code de la consommation D.223-9: four times in thirty calendar days for a professional.
    """
    assert resting(campaigns, a_batch=a_batch).keys() == registers


@pytest.mark.parametrize("request_", ["attempt", "refusal"])
@pytest.mark.parametrize("written", [2**62, 2**33 * 1000, NOW + timedelta(days=3650)], ids=str)
def test_a_record_of_the_future_is_of_now(written, request_):
    """One record with a made-up time would end the publisher at each start again, or make a number rest for years."""
    (end,) = resting(["spring"] * 4, written=written, request=request_).values()
    assert end == resting(["spring"] * 4, written=NOW - timedelta(minutes=5), request=request_)["rested@acme"]


def test_attempts_that_take_long_to_read_end_the_step(monkeypatch):
    """An opt-out would wait for minutes behind attempts that somebody made slow to read."""
    moments = itertools.count(0, 0.06)
    monkeypatch.setattr(rested_numbers, "elapsed", lambda: next(moments))
    steps = []
    found = resting(["spring"] * 10, attempted=lambda taken, *_: steps.append(taken))
    assert steps == [2] * 5 and set(found) == {"rested@acme"}


def test_a_forged_report_hides_no_later_call_of_the_same_id():
    """Someone who may write attempts would report a dialler's coming ids as calls of 2016, and no call would count."""
    forged = resting(["spring"] * 4, ids=range(4), written=NOW - timedelta(days=40))
    ids = [*range(4), *range(4)]
    days = [*[timedelta(days=-3000)] * 4, *[timedelta(hours=at) for at in range(4)]]
    for a_batch in (1, 4, 8):
        called = resting(["spring"] * 8, ids=ids, a_batch=a_batch, apart=days)
        assert not forged.keys() & called.keys()
        assert called == resting(["spring"] * 4, ids=range(4), apart=days[4:])


def test_a_repeated_report_without_a_moment_is_of_its_last_try():
    """A number would rest until another day after each start of the publisher, by which reports came in one batch."""

    def end(a_batch):
        written = datetime(
            2026, 11, 23, 22, 30, tzinfo=UTC
        )  # those after the first one come after midnight in Paris
        ids, apart = [0, 1, 2, 3, 0], timedelta(hours=1)
        return resting(["spring"] * 5, a_batch=a_batch, ids=ids, written=written, apart=apart)

    assert end(1) == end(2) == end(100)


@pytest.mark.parametrize(
    ("residence", "rests"), [("US-FL", True), ("us-fl", True), ("US-GA", False), (None, False)]
)
def test_the_law_of_a_residence_counts_attempts(residence, rests):
    """A person in Florida with a number of New York would be called a fourth time within 24 hours.

    Source: Fla. Stat. 501.616(6)(b).
    """
    found = resting(["spring"] * 3, number=12125550123, residence=residence, written=NOW - timedelta(hours=1))
    assert found.keys() == ({"rested@acme"} if rests else set())


@pytest.mark.parametrize(("apart", "rests"), [(timedelta(minutes=1), True), (timedelta(0), False)])
def test_each_refusal_without_an_id_is_a_call(apart, rests):
    """A person in Florida who refused three times today would be called a fourth time; a report that is repeated with its
    moment counts once."""
    found = resting(
        ["spring"] * 3,
        number=13055550123,
        request="refusal",
        ids=[None] * 3,
        written=NOW - timedelta(hours=1),
        apart=apart,
    )
    assert found.keys() == ({"rested@acme"} if rests else set())

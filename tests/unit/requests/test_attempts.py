"""Attempts: how a record is read, until when a number rests, and how attempts are counted."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from stream_scrub.requests.attempts import AttemptCounts, AttemptReader, CallAttempt, rested_until
from stream_scrub.rules import rule
from stream_scrub.rules.country import Attempts

EXAMPLES = Path(__file__).parents[3] / "schemas" / "examples"
FRANCE, FLORIDA = Attempts(most=4, days=30, refusal_days=60), Attempts(most=3, hours=24)
PARIS = ZoneInfo("Europe/Paris")
WRITTEN = datetime(2026, 11, 24, 12, tzinfo=UTC)
SAID = {"request": "attempt", "id": "4711", "number": "06 12 34 56 78", "at": "2026-11-24T10:00:00+01:00"}


def read(professionals=(), **changed):
    said = {name: value for name, value in (SAID | changed).items() if value is not None}
    value = json.dumps(said).encode()
    return AttemptReader("FR", dict(professionals)).read(value, int(WRITTEN.timestamp() * 1000))


def at_hour(hour):
    return int(datetime(2026, 11, 24, hour, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("changed", "counted"),
    [
        ({"campaign": "Spring", "outcome": "NA"}, {"professional": "acme", "refused": False}),
        ({}, {"number": 33612345678, "region": "FR", "at": at_hour(9)}),
        ({"number": 612345678}, {"number": 33612345678}),  # as a prospect's number may be
        ({"number": 33612345678}, {"number": 33612345678}),
        ({"request": "refusal"}, {"refused": True}),
        # A refusal protects without an id.
        ({"request": "refusal", "id": None}, {"refused": True}),
        ({"request": "refusal", "id": {}}, {"refused": True}),
        # No attempt is later than its record.
        ({"at": None}, {"at": at_hour(12)}),
        ({"at": "2031-01-01T00:00:00Z"}, {"at": at_hour(12)}),
        ({"at": "yesterday"}, {"at": at_hour(12)}),
        ({"at": 1795514400}, {"at": at_hour(12)}),
        # One that may be anybody's counts for all.
        ({"campaign": None}, {"professional": ""}),
        ({"campaign": "autumn"}, {"professional": ""}),
        ({"campaign": ["spring", "winter"]}, {"professional": ""}),
        ({"campaign": ["spring", "autumn"]}, {"professional": ""}),
        ({"campaign": {"name": "spring"}}, {"professional": ""}),
        ({"campaign": 1.5}, {"professional": ""}),
        ({"residence": {}}, {"residence": ""}),
    ],
)
def test_an_attempt_says_whom_when_and_for_whom(changed, counted):
    """A call would be counted for somebody else, for years, or not at all, by what a dialler writes into a member."""
    found = read([("spring", "acme"), ("winter", "beta")], **changed)

    assert isinstance(found, CallAttempt)
    assert {name: getattr(found, name) for name in counted} == counted


def test_an_id_is_the_same_as_a_text_and_as_a_number():
    """A call that is reported by two systems would use up two calls of a person."""
    assert read(id=4711).id == read().id != read(id="4712").id


def sized(size):
    """A record of so many bytes."""
    value = json.dumps(SAID | {"campaign": []}).encode()
    return value[:-1] + b" " * (size - len(value)) + b"}"


def with_broken_bytes(member):
    return json.dumps(SAID | {member: "~"}).encode().replace(b"~", b"\xff")


@pytest.mark.parametrize(
    ("value", "at_fault"),
    [
        (json.dumps(SAID | {"number": "06"}), "number"),
        (json.dumps(SAID | {"region": "Atlantis"}), "number"),
        (json.dumps({**SAID, "id": None}), "id"),
        (json.dumps(SAID | {"id": {}}), "id"),
        (json.dumps(SAID | {"id": True}), "id"),
        (json.dumps(SAID | {"id": " "}), "id"),
        (json.dumps(SAID | {"request": "opt-out"}), "request"),
        ('{"request":"attempt","id":"4711"}', "the whole record"),
        # Long records take long to fold; bytes that are no UTF-8 would end the publisher at each start.
        (sized(4097), "the whole record"),
        (with_broken_bytes("id"), "the whole record"),
        (with_broken_bytes("campaign"), "the whole record"),
    ],
)
def test_what_cannot_be_counted_is_named_by_its_member(value, at_fault):
    """Nobody would learn why a dialler's attempts do not count; or a log line would hold the number."""
    value = value.encode() if isinstance(value, str) else value
    assert AttemptReader("FR", {"spring": "acme"}).read(value, 0) == at_fault


@pytest.mark.parametrize("value", [(EXAMPLES / "attempt.json").read_bytes(), sized(4096)])
def test_the_example_and_the_longest_record_are_counted(value):
    """A sender that follows the example would send what is not counted."""
    assert isinstance(AttemptReader("FR", {}).read(value, 0), CallAttempt)


def moment(text: str, zone=PARIS) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp())


@pytest.mark.parametrize(
    ("limit", "nth", "refused", "more_days", "end"),
    [
        # The thirty days of 1 November end with the 30th: a fifth call on the 30th would be one too many.
        (FRANCE, "2026-11-01T23:59:59", None, 0, "2026-12-01"),
        (FRANCE, "2026-11-02T00:00:00", None, 0, "2026-12-02"),
        (FRANCE, "2026-03-01T12:00:00", None, 0, "2026-03-31"),  # over the change of clocks
        (FRANCE, "2026-11-01T12:00:00", None, 1, "2026-12-02"),
        # Sixty whole days after the day of the refusal.
        (FRANCE, None, "2026-11-01T12:00:00", 0, "2027-01-01"),
        (FRANCE, "2026-11-20T12:00:00", "2026-11-01T12:00:00", 0, "2027-01-01"),
        (FRANCE, None, None, 0, None),
        (FLORIDA, "2026-11-01T12:00:30", None, 0, "2026-11-02T12:01:00"),
        (FLORIDA, "2026-10-24T12:00:00", None, 0, "2026-10-25T11:00:00"),  # over the change of clocks
        (FLORIDA, None, "2026-11-01T12:00:00", 0, None),
    ],
)
def test_a_number_rests_as_long_as_the_law_says(limit, nth, refused, more_days, end):
    """A day too few is an unlawful call, and a day too many a lost one."""
    told = [0 if each is None else moment(each) for each in (nth, refused)]
    assert rested_until(limit, *told, PARIS, more_days) == (0 if end is None else moment(end))


@pytest.mark.parametrize("rows", [7, 50])
def test_attempts_are_counted_once_whatever_their_order(rows):
    """A retried report would make a number rest too early, a late one too late."""
    rng, counts, told = random.Random(rows), AttemptCounts(rows), []
    numbers = [33612000000 + at for at in range(8)]
    keys = [(number, who) for number in numbers for who in (0, 1)]

    def column(of, at, kind):
        return np.array([each[at] for each in of], kind)

    for _ in range(60):
        batch = {}
        for _ in range(rng.randint(1, min(rows, 20))):
            number, who, id_ = rng.choice(numbers), rng.randint(0, 1), rng.randint(0, 60)
            batch.setdefault((number, who, id_), (number, who, rng.randint(1, 10**6), id_))
        batch = list(batch.values())
        kept = {(n, w, i) for n, w, _, i in told[-rows:]}
        new = [each for each in batch if (each[0], each[1], each[3]) not in kept]
        reported = {(n, w, i): at for n, w, at, i in batch}
        told[-rows:] = [(n, w, max(at, reported.get((n, w, i), 0)), i) for n, w, at, i in told[-rows:]]
        overwritten = told[-rows:][: max(0, len(told[-rows:]) + len(new) - rows)]
        lost = counts.add(
            column(batch, 0, np.uint64),
            column(batch, 1, np.uint16),
            column(batch, 2, np.int64),
            column(batch, 3, np.uint64),
            500_000,
        )
        assert lost == sum(at >= 500_000 for _, _, at, _ in overwritten)
        told += new
        for nth in (0, 1, 4):
            found = counts.nth_last(
                column(keys, 0, np.uint64), column(keys, 1, np.uint16), np.full(len(keys), nth)
            )
            for (number, who), at in zip(keys, found.tolist(), strict=True):
                moments = sorted((m for n, w, m, _ in told[-rows:] if (n, w) == (number, who)), reverse=True)
                assert at == (moments[nth - 1] if 0 < nth <= len(moments) else 0)


def test_one_number_with_many_attempts_costs_no_more_than_others():
    """A sender that reports one number for ever would stop the publisher's thread, and with it every opt-out."""
    counts, size, links = AttemptCounts(100_000), 1000, 0
    number, who = np.full(size, 33612345678, np.uint64), np.zeros(size, np.uint16)
    moments = random.Random(5).sample(range(1, 10**6), 20 * size)
    for at in range(0, len(moments), size):
        ids = np.arange(at, at + size, dtype=np.uint64)
        counts.add(number, who, np.array(moments[at : at + size]), ids, 0)
        links = sum(1 for _ in counts._each(number[:1], who[:1]))
        latest = sorted(moments[: at + size], reverse=True)
        for nth in (1, 4, 50):
            assert counts.nth_last(number[:1], who[:1], np.array([nth])).tolist() == [latest[nth - 1]]
    assert links < 100
    last = np.array([moments.index(latest[0])], np.uint64)
    counts.add(number[:1], who[:1], np.array([latest[0]]), last, 0)
    assert counts.nth_last(number[:1], who[:1], np.array([2])).tolist() == [latest[1]], "counted twice"


def test_the_largest_limit_that_a_rule_may_state_is_counted():
    """A rule with a high limit would load, and no number would ever rest by it."""
    counts, most = AttemptCounts(1000), rule.ATTEMPTS_MAX
    for each in range(most):
        only = np.array([33612345678], np.uint64), np.zeros(1, np.uint16)
        counts.add(*only, np.array([1000 + each]), np.array([each], np.uint64), 0)
    nth = np.array([most])
    assert counts.nth_last(np.array([33612345678], np.uint64), np.zeros(1, np.uint16), nth).tolist() == [1000]


@pytest.mark.parametrize(("at", "hour"), [(None, 12), ("2031-01-01T00:00:00Z", 12), ("yesterday", 12)])
def test_no_attempt_is_later_than_its_record(at, hour):
    """A dialler whose clock is years ahead would make its numbers rest for years."""
    assert read(at=at).at == datetime(2026, 11, 24, hour, tzinfo=UTC).timestamp()

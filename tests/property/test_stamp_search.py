"""Where a member begins to read what was handed out, against plain lists of verdicts' moments."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.recall.restore import StampSearch

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MOMENT = BEGIN + timedelta(50)
PLACES = [("allowed", 0), ("allowed", 1)]
NEAR = 4

# For each record the days since the one before; None: a record of somebody else, or a transaction's marker.
LOGS = st.lists(st.none() | st.sampled_from([0, 0, 0, 1, 7, 40]), max_size=80)


def moments(days):
    at, found = BEGIN, []
    for each in days:
        at += timedelta(each or 0)
        found.append(None if each is None else at)
    return found


@given(st.lists(LOGS, min_size=2, max_size=2), st.integers(0, 5), st.integers(1, 5))
def test_no_lead_that_counts_is_before_the_place_that_is_found(days, low, count):
    """A lead that may still be called would never be taken back, or each start would read what nobody may call any more."""
    logs = {place: moments(each) for place, each in zip(PLACES, days, strict=True)}
    ends = {place: len(log) for place, log in logs.items()}
    lows = {place: min(low, end) for place, end in ends.items()}
    search = StampSearch(lows, ends, MOMENT, NEAR)
    while probes := search.probes():
        for place, offset in probes.items():
            there = [each for each in logs[place][offset:] if each is not None]
            for at in there[:count]:
                search.take(place, at)
        assert search.is_answered(ends)
    for place, log in logs.items():
        first = search.firsts[place]
        assert all(each is None or each < MOMENT for each in log[lows[place] : first])
        if None not in log:
            last_old = max((at for at, each in enumerate(log) if each < MOMENT), default=-1)
            assert first >= min(last_old, ends[place]) - NEAR - count

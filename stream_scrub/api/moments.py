"""The moment that a program means by a day."""

from datetime import UTC, date, datetime, time


def moment_of(on: date | datetime) -> datetime:
    """A day at noon UTC, when it is that day nearly everywhere; a moment as it is. Raises ValueError for a moment
    without a time zone."""
    if not isinstance(on, datetime):
        return datetime.combine(on, time(12), UTC)
    if on.tzinfo is None:
        raise ValueError("on: a moment needs a time zone, as in datetime(2026, 8, 10, tzinfo=UTC)")
    return on

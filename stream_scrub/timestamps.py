"""Moments (a) as texts: RFC 3339 in UTC, as every surface writes them, (b) as numbers: seconds or milliseconds since
1970-01-01T00:00Z, as the log and Kafka keep them.
"""

from datetime import UTC, datetime


def utc_seconds(moment: datetime) -> str:
    """`2026-11-24T12:00:00Z`."""
    return _utc(moment, "seconds")


def utc_minutes(moment: datetime) -> str:
    """`2026-11-24T12:00Z`."""
    return _utc(moment, "minutes")


def utc_millis(moment: datetime) -> str:
    """`2026-11-24T12:00:00.123Z`."""
    return _utc(moment, "milliseconds")


def _utc(moment: datetime, timespec: str) -> str:
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def from_seconds(seconds: int | None) -> datetime | None:
    """The moment so many seconds since 1970, in UTC; None for None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def from_millis(timestamp_ms: int | None) -> datetime | None:
    """The moment that Kafka keeps with a record, in UTC; None if it keeps none. Kafka writes -1 for none."""
    if timestamp_ms is None or timestamp_ms < 0:
        return None
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)


def parse_zoned(text: str) -> datetime:
    """The moment that an ISO 8601 text names. Raises ValueError for any other text, and for a moment without a time
    zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment has no zone")
    return moment

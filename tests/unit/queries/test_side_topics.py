"""Records of other topics, as a dossier and a report read them: whatever somebody wrote there."""

import json
from datetime import UTC, datetime

import pytest

from stream_scrub.config import Settings
from stream_scrub.model import LogRecord
from stream_scrub.queries.side_topics import _attempt_reader, _receipt, notice_in

NUMBER = 33612345678


def record(value: bytes) -> LogRecord:
    return LogRecord(offset=1, key=None, value=value, headers=[], timestamp_ms=1_790_000_000_000)


@pytest.mark.parametrize("more", [b'"note":"caf\xe9"', b'"cost":1e999', b'"cost":' + b"9" * 3900])
def test_an_attempt_that_counts_is_shown_whatever_else_its_dialler_adds(more):
    """One call record in another coding would keep every dossier of that number from being made."""
    value = b'{"request":"attempt","id":7,"number":"06 12 34 56 78","campaign":["Acme"],' + more + b"}"
    found = _attempt_reader(Settings(), NUMBER)(0, record(value))
    assert found is not None and found.campaigns == ["acme"]
    assert json.loads(bytes(found.record))["number"] == "06 12 34 56 78"


@pytest.mark.parametrize("timestamp_ms", [253_402_300_799_000, 253_402_300_800_000, 2**63 - 1])
def test_an_attempt_of_a_day_that_has_not_come_began_by_now(timestamp_ms):
    """One record with a timestamp of the year 9999 would keep every dossier of that number from being made."""
    value = b'{"request":"attempt","id":7,"number":"0612345678"}'
    late = record(value)._replace(timestamp_ms=timestamp_ms)
    found = _attempt_reader(Settings(), NUMBER)(0, late)
    assert found is not None and found.at <= datetime.now(UTC)


def test_what_a_dialler_adds_to_an_attempt_is_left_out():
    """An access request would be answered with the agent's number, or that of whoever the call was passed to."""
    value = b'{"request":"attempt","id":7,"number":"0612345678","transferred_to":"+33699998888"}'
    found = _attempt_reader(Settings(), NUMBER)(0, record(value))
    assert found is not None
    assert json.loads(bytes(found.record)) == {"request": "attempt", "id": 7, "number": "0612345678"}


@pytest.mark.parametrize(
    "member",
    [*({"at": at} for at in ("yesterday", "", "2026-11-27T09:00:01")), {"number": "Rose"}, {"number": "+"}],
)
def test_a_recall_without_a_moment_or_a_number_is_none(member):
    """A foreign record on the topic would keep every dossier and every report from being made."""
    said = {"kind": "recalled", "register": "list", "index": 3, "at": "2026-11-27T09:00:01Z"} | member
    assert notice_in(record(json.dumps(said).encode())) is None


def test_a_receipt_without_a_moment_is_none():
    """A foreign record on the topic would keep the page from being made."""
    said = {
        "target": "crm",
        "event": "recalled",
        "id": "r-1",
        "number": f"+{NUMBER}",
        "since": "",
        "outcome": "confirmed",
    }
    good, foreign = (json.dumps(said | {"at": at}).encode() for at in ("2026-11-27T09:00:02Z", "now"))
    assert _receipt(record(good), f"+{NUMBER}") is not None
    assert _receipt(record(foreign), f"+{NUMBER}") is None

"""Today's recalls on the status page: what records that are no recalls do to it."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from stream_scrub.config import Settings
from stream_scrub.recall_notice import RecallNotice, encode
from stream_scrub.serve.watch import recalls
from stream_scrub.serve.watch.recalls import RecallCount

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DEEP = b'{"kind":"recalled","index":1,"rules":"","at":"","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
KEY = ("prospects.recalled", 0)


class Reader:
    """A topic of one partition with these values."""

    def __init__(self, values):
        self.values, self.upto = values, 0

    def partitions(self, _deadline):
        return [KEY]

    def bounds(self, _key, _deadline):
        return 0, len(self.values)

    def since(self, _ends, _day, _deadline):
        return {KEY: 0}

    def assign(self, places):
        self.upto = places[KEY]

    def read_upto(self, _key):
        return self.upto

    def poll(self, _count, _wait_s):
        begin, self.upto = self.upto, len(self.values)
        return SimpleNamespace(values=self.values[begin:])


@pytest.fixture
def counted(monkeypatch):
    """Today's recalls of a topic with these values."""

    def look(values):
        monkeypatch.setattr(recalls.clients.Brokers, "output_reader", lambda *_: Reader(values))
        return RecallCount(Settings(topics={"recalled": KEY[0]}), None).look(NOW)

    return look


def notice(**members):
    return encode(RecallNotice(kind="recalled", index=1, rules="", at="", **members))


def test_recalls_are_counted_by_why(counted):
    """An operator would not see that a list took back what was handed out."""
    sent = [notice(reason="opposed", register=name) for name in ("internal@a", "internal@b", "bloctel")]
    found = [(each.reason, each.register, each.count) for each in counted(sent)]
    assert found == [("opposed", "internal@*", 2), ("opposed", "bloctel", 1)]


def test_a_record_that_is_nested_too_deeply_is_unreadable(counted):
    """One record would end the thread that counts, and the page show the count of that moment from then on."""
    found = {each.kind: each.count for each in counted([DEEP, notice(reason="opposed"), b"{"])}
    assert found == {"unreadable": 2, "recalled": 1}


def test_made_up_reasons_and_registers_take_a_few_rows(counted):
    """A neighbour who may write the topic would fill the server's memory, and the page with numbers."""
    sent = [notice(reason=f"+336{at:08}", register=f"r{at}") for at in range(5_000)]
    found = counted(sent)
    assert len(found) <= 1001 and sum(each.count for each in found) == 5_000
    assert {each.reason for each in found} <= {"other", ""}

"""The opposition log in memory, for `lists import`."""

from contextlib import nullcontext
from datetime import datetime

import pytest

from stream_scrub.imports import import_list
from stream_scrub.log.scan import begin, replay_to_end
from stream_scrub.model import Deadline
from tests.support.fakes.lists import NOW
from tests.support.fakes.log import Log, Reader, Writer


class Frozen(datetime):
    """The clock stands at NOW: the lists of tests/golden speak of days around it."""

    @classmethod
    def now(cls, tz=None):
        return NOW.astimezone(tz)


@pytest.fixture
def log(monkeypatch):
    """The opposition log, in memory, in place of Kafka's."""
    monkeypatch.setattr(import_list, "datetime", Frozen)
    made = Log()

    def replayed(settings, said, *, keep_ends=False, before=None, **_):
        reader = Reader(made)
        if before is not None and before.known("").upto >= 0:
            reader.seek(before.known("").upto + 1)
            return replay_to_end(reader, Deadline.after(60), replay=before) and before
        replay = begin(reader, Deadline.after(60), start="latest-full", keep_ends=keep_ends)
        replay_to_end(reader, Deadline.after(60), replay=replay)
        return replay

    monkeypatch.setattr(import_list.read_log, "replayed", replayed)
    monkeypatch.setattr(import_list.clients.Brokers, "reading", lambda *_, **__: nullcontext(Reader(made)))
    made.opened = []

    def log_writer(_brokers, register, also=(), nbytes=0):
        writer = Writer(made, at_most=max(3_000, 2 * nbytes))
        made.opened.append(writer)
        if made.meanwhile:
            made.meanwhile.pop(0)()
        return writer

    made.meanwhile = []
    monkeypatch.setattr(import_list.clients.Brokers, "log_writer", log_writer)
    monkeypatch.setattr(import_list.clients.Brokers, "topics", lambda *_: nullcontext())
    monkeypatch.setattr(import_list.preflight, "need", lambda *_: None)
    monkeypatch.setattr(import_list.preflight, "need_log", lambda *_: None)
    monkeypatch.setattr(import_list.ownership, "leave_to_daemon", lambda *_: None)
    monkeypatch.setattr(import_list.publish_rules, "keep_rules", lambda *_: None)
    made.replayed = lambda: replayed(None, None, keep_ends=True)
    monkeypatch.setattr(import_list.clients.Brokers, "last_prospects", lambda *_: [])
    return made

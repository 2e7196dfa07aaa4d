"""What is told again after a crash, in which order events are tried, and what the log's records mean."""

import json
import random
from pathlib import Path

import pytest

from stream_scrub.config.settings import FanoutTarget
from stream_scrub.errors import Corrupt
from stream_scrub.fanout.events import Event, LogEvents, Progress, recall_of
from stream_scrub.fanout.queue import GIVE_UP_S, EventQueue
from stream_scrub.recall_notice import RecallNotice, encode


def event(number=1, at=(5, 0), *, type_="opted-out", list_="all", start=None):
    return Event(type_, number, list_, "internal", "", 0, ("log", 0), at, at[0] if start is None else start)


def read_again(progress, events):
    """The events that a new process hands out after what was committed."""
    offset, note = progress.commit()
    again = Progress("id", offset, note)
    return again, [each for each in events if each.place[0] >= offset and again.takes(each.place)]


def test_after_a_crash_exactly_the_open_events_are_told_again_in_any_history():
    """An opt-out would be lost, or a month of them told again for one that the target refuses."""
    choose = random.Random(29)
    for _ in range(200):
        events = [event(n, (offset, n)) for offset in range(8) for n in range(choose.randrange(1, 4))]
        told: set[tuple[int, int]] = set()
        progress, waiting = Progress("id"), list(events)
        while len(told) < len(events):
            batch = waiting[: choose.randrange(1, 6)]
            for each in batch:
                progress.hand_out(each)
            done = [each for each in batch if choose.random() < 0.5]
            for each in done:
                progress.done(each)
            told |= {each.place for each in done}
            rest = waiting[len(batch) :]
            upto = rest[0].place[0] if rest else 8
            progress.read_upto(upto, upto)
            progress, waiting = read_again(progress, events)
            assert {each.place for each in waiting} == {each.place for each in events} - told


def test_more_open_events_than_a_note_holds_are_told_again_and_none_is_lost():
    """A broker refuses a note of more than 4 KiB, and then nothing would be committed any more."""
    events = [event(n, (10**12 + n, 0)) for n in range(10_000)]
    progress = Progress("id")
    for each in events:
        progress.hand_out(each)
    progress.read_upto(10**12 + 10_000, 10**12 + 10_000)
    for each in events[1::2]:
        progress.done(each)
    assert len(progress.commit()[1]) < 4000
    _, again = read_again(progress, events)
    assert {each.number for each in again} >= {each.number for each in events[::2]}


def test_a_topic_that_was_made_anew_is_told_from_its_start():
    """The offsets of the old topic would hide the opt-outs of the new one."""
    progress = Progress("old")
    progress.hand_out(event(at=(70, 0)))
    progress.read_upto(71, 71)
    offset, note = progress.commit()
    again = Progress("new", offset, note)
    assert again.start == 0 and again.takes((5, 0))


def test_a_later_event_about_a_number_replaces_the_one_that_still_waits():
    """A lifting that is tried late would end the opposition that came after it."""
    queue = EventQueue()
    queue.add(event(type_="lifted"))
    (tried,) = queue.take(0.0, 1)
    queue.failed([tried], 0.0, away=False)
    assert queue.add(event(at=(9, 0))) == tried.event
    told = [each.event for each in queue.take(1e6, 10)]
    assert told == [event(at=(9, 0))] and not queue.take(1e9, 10)
    assert queue.add(event(list_="another")) is None and queue.add(event(type_="recalled", list_="")) is None


def test_a_number_that_changes_for_ever_while_the_target_is_away_takes_no_memory():
    """One person's opt-outs and consents would end the process in an outage."""
    queue = EventQueue()
    for at in range(10_000):
        queue.add(event(1, (at, 0), type_="lifted" if at % 2 else "opted-out"))
        queue.add(event(2, (at, 1)))
    assert len(queue) == 2 and len(queue._due) < 1000
    assert [each.event.place for each in queue.take(0.0, 10)] == [(9_999, 0)]
    assert [each.event.place for each in queue.take(0.0, 10)] == [(9_999, 1)]


def test_one_number_that_is_refused_delays_no_other_and_is_tried_for_a_month():
    """The law gives ten business days, and nobody's opt-out may wait for somebody else's."""
    queue, now, tries = EventQueue(), 0.0, 0
    queue.add(event(1))
    for number in range(2, 100):
        queue.add(event(number, (number, 0)))
    told, dead = set(), []
    while not dead:
        batch = queue.take(now, 10)
        if 1 in {each.event.number for each in batch}:
            tries += 1
            dead = queue.failed(batch, now, away=False)
        elif batch:
            told |= {each.event.number for each in batch}
            queue.done(batch)
        else:
            now += 600
        assert now < 32 * 86_400
    assert told == set(range(2, 100)) and len(queue) == 0
    assert now >= GIVE_UP_S >= 21 * 86_400 and tries > 30 * 20, "hourly, to the end"


def test_a_target_that_was_away_is_told_everything_as_soon_as_it_is_back():
    """Opt-outs would wait an hour longer than the outage."""
    queue, now = EventQueue(), 0.0
    for number in range(20):
        queue.add(event(number, (number, 0)))
    tries = 0
    while now < 7200:
        if batch := queue.take(now, 1):
            queue.failed(batch, now, away=True)
            tries += 1
        now += 0.5
    assert queue.is_away and 100 < tries < 200, "about once a minute"
    while not (batch := queue.take(now, 1)):
        now += 0.5
    queue.done(batch)
    assert len([each for _ in range(19) for each in queue.take(now, 1)]) == 19


def test_a_target_that_asks_to_wait_is_not_asked_before():
    """It would shut us out."""
    queue = EventQueue()
    queue.add(event())
    queue.failed(queue.take(0.0, 1), 0.0, away=True, wait_s=120)
    assert not queue.take(119.0, 1) and queue.take(121.0, 1)


def test_a_notice_of_a_register_is_no_event_and_a_foreign_record_is_told_apart():
    """Somebody's record on the topic would stop every target."""
    place = ("recalled", 3), 7
    notice = RecallNotice(kind="recalled", number="+33612345678", index=1, at="x", reason="opposed")
    (found,) = recall_of(*place, encode(notice), 1000)
    assert (found.type, found.number, found.reason, found.place) == (
        "recalled",
        33612345678,
        "opposed",
        (7, 0),
    )
    suspended = RecallNotice(kind="suspended", register="tps", index=1, at="x")
    assert recall_of(*place, encode(suspended), 1000) == []
    assert (
        recall_of(*place, b"nonsense", 1000)
        is recall_of(*place, b'{"kind":"recalled","index":1,"at":""}', 1)
        is None
    )


EXAMPLES = Path(__file__).parents[3] / "schemas" / "examples"


def record(name):
    """A record of the examples' log: its value and headers."""
    headers = json.loads((EXAMPLES / f"{name}.headers.json").read_text())
    (file,) = [each for each in EXAMPLES.glob(f"{name}.*") if not each.name.endswith("headers.json")]
    return file.read_bytes(), [(key, value.encode()) for key, value in headers.items()]


def test_a_delta_that_is_read_from_its_middle_after_a_crash_is_passed_over_if_it_was_told():
    """Two publishers' deltas mingle on the log, so a process that resumed at one of them would end on the other, for ever."""
    part, seal = record("list-1.part-0"), record("list-1.seal")
    register = dict(seal[1])["register"].decode()
    target = FanoutTarget(connector="webhook", lists={register: "all", "internal": "all"})
    log, key = LogEvents(target), ("log", 0)
    progress = Progress("id")
    assert not list(log.read(key, 10, *part, 0)) and log.unsealed == 10
    # The first part of another delta, whose seal is not there yet.
    assert not list(log.read(key, 11, b"", [("register", b"internal"), ("part", b"adds")], 0))
    for each in (told := list(log.read(key, 12, *seal, 1000))):
        progress.hand_out(each)
        progress.done(each)
    assert told and {(each.type, each.start, each.place[0]) for each in told} == {("opted-out", 10, 12)}
    assert log.unsealed == 11
    progress.read_upto(11, 13)
    again = Progress("id", *progress.commit())
    assert again.start == 11 and again.has_delivered(12) and not again.has_delivered(13)
    assert not list(LogEvents(target).read(key, 12, *seal, 1000, is_delivered=again.has_delivered(12)))
    with pytest.raises(Corrupt):
        LogEvents(target).read(key, 12, *seal, 1000)


def test_a_delta_that_comes_again_with_more_open_events_than_a_note_holds_is_read_from_its_start():
    """It would be read without its first parts: the process would end, and end again at each start."""
    part, seal = record("list-1.part-0"), record("list-1.seal")
    register = dict(seal[1])["register"].decode()
    target = FanoutTarget(connector="webhook", lists={register: "all", "internal": "all"})
    log, key, progress = LogEvents(target), ("log", 0), Progress("id")
    assert not list(log.read(key, 10, *part, 0))
    # Another register's delta, within this one, whose numbers the target refuses.
    for n in range(90):
        progress.hand_out(event(n, (12, n), start=11))
    for each in log.read(key, 13, *seal, 1000):
        progress.hand_out(each)
        progress.done(each)
    progress.read_upto(14, 14)
    again = Progress("id", *progress.commit())
    assert again.takes((12, 80)) and again.takes((12, 89))
    assert again.has_delivered(13) or again.start <= 10
    for n in range(90):
        progress.done(event(n, (12, n), start=11))
    progress.read_upto(20, 20)
    assert progress.commit()[0] == 20, "the log would be read again from there for ever"


def test_a_delta_that_is_damaged_on_the_log_is_no_event():
    """A target would be told numbers that nobody opposed."""
    events = LogEvents(FanoutTarget(connector="webhook", lists={"internal": "all"}))
    headers = [("register", b"internal"), ("part", b"seal")]
    with pytest.raises(Corrupt):
        events.read(("log", 0), 4, b"{}", headers, 0)
    assert not list(events.read(("log", 0), 5, b"{}", [("register", b"tps"), ("part", b"seal")], 0))

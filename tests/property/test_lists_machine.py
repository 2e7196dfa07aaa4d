"""The whole list plane against dictionaries: publisher, log, follower and snapshot, with crashes between any two steps.

The model is one dictionary a register: number to end, 0 for none. Whatever happens, a follower that serves an index
serves exactly the model at that position, and whatever was damaged is found.
"""

import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream_scrub.errors import Corrupt, Uncertain
from stream_scrub.index import deltas
from stream_scrub.log import snapshot, wire
from stream_scrub.log.encode import rules_records
from stream_scrub.log.scan import begin, replay_to_end
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.model import Deadline, RegisterKind
from tests.support.fakes.log import Log, Reader
from tests.support.fakes.publisher import AT, NOW, SOURCE, Publisher, as_dict, bitmap, followed

KINDS = {"list": RegisterKind.DENY, "internal": RegisterKind.DENY, "consent": RegisterKind.ALLOW}
NAMES = st.sampled_from(list(KINDS))
NUMBERS = st.one_of(st.integers(33_600_000_000, 33_600_000_009), st.integers(1, 2**50))
LISTS = st.dictionaries(NUMBERS, st.sampled_from([0, 0, 1, 2, 3, 50]), max_size=8)


def digest_of(text):
    return "fr@" + sha256(text).hexdigest()[:6]


class Lists(RuleBasedStateMachine):
    """One publisher of three registers, one follower with a snapshot."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[str, dict[int, int]] = {}
        self.texts: dict[str, bytes] = {}
        self.past: dict[int, dict[str, set[int]]] = {-1: {}}  # what the registers held at each position
        self.now = NOW
        self.read_by_follower = 0

    @initialize(full_every=st.sampled_from([1, 5, 1000]), start=st.sampled_from([0, 77]))
    def open(self, full_every, start):
        self.log = Log.behind_aborted(start)
        self.publisher = Publisher(self.log, full_every=full_every)
        self.publisher.replay.terms.digest_of = digest_of
        self.follow("beginning")

    def teardown(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    # What a publisher does.

    def published(self):
        self.past[self.publisher.replay.index.position] = {n: set(ends) for n, ends in self.model.items()}

    def ends_of(self, listed):
        return {number: end and self.now + end for number, end in listed.items()}

    @rule(name=NAMES, listed=LISTS, adding=st.booleans())
    def import_list(self, name, listed, adding):
        listed = self.ends_of(listed)
        self.publisher.import_list(name, listed, KINDS[name], adding=adding)
        self.model[name] = {**(self.model.get(name, {}) if adding else {}), **listed}
        self.published()

    @precondition(lambda self: self.model)
    @rule(data=st.data(), listed=LISTS)
    def import_removals(self, data, listed):
        name = data.draw(st.sampled_from(sorted(self.model)))
        self.publisher.remove(name, listed)
        self.model[name] = {n: end for n, end in self.model[name].items() if n not in listed}
        self.published()

    @rule(name=NAMES, numbers=st.sets(NUMBERS, min_size=1, max_size=4))
    def take_requests(self, name, numbers):
        lines = [wire.request_line(0, n, NOW, b'{"request":"opt-out","number":"+%d"}' % n) for n in numbers]
        base = self.publisher.base(name, KINDS[name])
        delta = deltas.adding(base.numbers, bitmap(numbers))
        self.publisher.put(name, replace(delta, reason="requests", requests=lines), KINDS[name])
        self.model[name] = {**dict.fromkeys(numbers, 0), **self.model.get(name, {})}
        self.published()

    @rule(seconds=st.integers(1, 3))
    def let_end(self, seconds):
        self.now += seconds
        for name, ends in self.model.items():
            if self.publisher.end(name, self.now) is not None:
                self.model[name] = {n: end for n, end in ends.items() if not 0 < end <= self.now}
                self.published()
        for name, ends in self.model.items():
            assert all(end == 0 or end > self.now for end in ends.values()), name

    @rule(text=st.binary(min_size=1, max_size=3))
    def put_rules(self, text):
        replay = self.publisher.replay
        if None in replay.rules.texts.values():
            return
        records, _ = rules_records(
            replay.rules,
            {digest_of(text): text},
            AT,
            SOURCE,
            known=replay.known(wire.RULES),
            full_every=self.publisher.full_every,
        )
        self.publisher.writer.publish(records)
        self.publisher.catch_up()
        self.texts[digest_of(text)] = text
        self.published()

    @rule(
        name=NAMES, listed=LISTS, committed=st.booleans(), start=st.sampled_from(["beginning", "latest-full"])
    )
    def crash_while_publishing(self, name, listed, committed, start):
        """The transaction is on the log or is not; the publisher that starts again reads which."""
        listed = self.ends_of(listed)
        if committed:
            self.publisher.import_list(name, listed, KINDS[name])
            self.model[name] = dict(listed)
        else:
            self.publisher.writer.trouble = [Uncertain("killed")]
            with suppress(Uncertain):
                self.publisher.import_list(name, listed, KINDS[name])
        self.restart_publisher(start)
        if committed:
            self.published()

    @rule(start=st.sampled_from(["beginning", "latest-full"]))
    def restart_publisher(self, start):
        self.publisher._reader = Reader(self.log)
        replay = begin(self.publisher._reader, Deadline.after(60), start=start, keep_ends=True)
        replay.terms.digest_of = digest_of
        self.publisher.replay = replay
        self.publisher.catch_up()

    # What a follower does.

    def follow(self, start):
        self.reader = Reader(self.log, at_once=3)
        self.follower = begin(self.reader, Deadline.after(60), start=start)

    @rule()
    def follow_on(self):
        replay_to_end(self.reader, Deadline.after(60), replay=self.follower)
        assert self.follower.index.position == self.publisher.replay.index.position
        assert {n: set(r.numbers) for n, r in self.follower.index.registers.items()} == {
            n: set(ends) for n, ends in self.model.items()
        }

    @rule(start=st.sampled_from(["beginning", "latest-full"]))
    def restart_follower(self, start):
        self.follow(start)
        self.follow_on()

    @rule()
    def write_snapshot(self):
        state = self.follower.state
        if state is not None and state.index.position >= 0:
            snapshot.save(self.folder, "log", state)

    @rule()
    def restart_from_snapshot(self):
        reader = Reader(self.log, at_once=3)
        replay = SnapshotWriter(self.folder, "log").begin(reader, Deadline.after(60))
        if replay is not None:
            assert {n: set(r.numbers) for n, r in replay.index.registers.items()} == self.past[
                replay.index.position
            ]
            self.reader, self.follower = reader, replay
            self.follow_on()

    # What a disk does.

    @rule(data=st.data())
    def damage_the_snapshot(self, data):
        files = sorted(path for path in self.folder.iterdir() if path.suffix != ".lock")
        if not (self.folder / snapshot.MANIFEST).exists():
            return
        path = data.draw(st.sampled_from(files))
        value = bytearray(path.read_bytes())
        value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(value)
        told = []
        snapshots = SnapshotWriter(self.folder, "log", on_unused=told.append)
        assert snapshots.begin(Reader(self.log), Deadline.after(60)) is None
        assert len(told) == 1

    @precondition(lambda self: self.log.records)
    @rule(data=st.data())
    def damage_the_log(self, data):
        """In a copy: the machine goes on with the sound one."""
        place = data.draw(st.integers(0, len(self.log.records) - 1))
        value = bytearray(self.log.records[place].value)
        value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        log = Log(self.log.start)
        log.records = list(self.log.records)
        log.records[place] = log.records[place]._replace(value=bytes(value))
        log.end = self.log.end
        with pytest.raises(Corrupt, match="log offset"):
            followed(log, keep_ends=True)
        try:
            late = followed(log, start="latest-full")
        except Corrupt:
            return
        assert {n: set(r.numbers) for n, r in late.index.registers.items()} == {
            n: set(ends) for n, ends in self.model.items()
        }

    # What always holds.

    @invariant()
    def the_publisher_knows_the_model(self):
        if not hasattr(self, "publisher"):
            return
        for name, ends in self.model.items():
            assert set(self.publisher.base(name).numbers) == set(ends)
            known = as_dict(self.publisher.replay.known(name).ends)
            assert known == {n: end for n, end in ends.items() if end}
        assert self.publisher.replay.rules.texts == self.texts

    @invariant()
    def the_follower_serves_what_was_at_its_position(self):
        if hasattr(self, "follower"):
            index = self.follower.index
            held = {name: set(register.numbers) for name, register in index.registers.items()}
            assert held == self.past[index.position]


TestLists = Lists.TestCase
TestLists.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)

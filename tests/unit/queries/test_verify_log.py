"""`lists history`, `at` and `verify`: what lasts in the files of an authority, word for word and byte for byte.

The files of tests/golden/evidence are never made anew; a member may be added to them, none goes.
"""

import dataclasses
import json

import msgspec
import numpy as np
import pytest

from stream_scrub.errors import ConfigError, Corrupt
from stream_scrub.log import snapshot
from stream_scrub.log.scan import read_into
from stream_scrub.model import RESTED, Deadline
from stream_scrub.queries import history as histories
from stream_scrub.queries import verify_log
from tests.support.fakes.log import Log, Reader
from tests.support.fakes.publisher import NOW, Publisher, bitmap
from tests.support.golden import files as golden
from tests.support.golden.evidence import (
    CALLED,
    NUMBERS,
    OPPOSED,
    OTHER,
    POSITIONS,
    reader,
    taken,
)

RECORDS = list(golden.log("evidence"))


def quiet(_what, _done, _of):
    pass


def silence():
    return Deadline.after(15)


def as_json(told):
    return json.loads(msgspec.json.encode(told))


@pytest.mark.parametrize("name", NUMBERS)
def test_the_history_of_an_old_log_is_what_it_was(name):
    """Two exports of one history, years apart, would contradict each other before a court."""
    told = histories.history(reader(RECORDS), NUMBERS[name], "FR", quiet, silence())

    assert as_json(told) == golden.expected(f"evidence/history-{name}.json")


@pytest.mark.parametrize("position", POSITIONS)
def test_what_was_at_a_position_of_an_old_log_is_what_it_was(position):
    """What was in force on a day would depend on the release that is asked."""
    told = histories.at(reader(RECORDS), position, OPPOSED, "FR", quiet, silence())

    assert as_json(told) == golden.expected(f"evidence/at-{position}.json")


def test_the_proof_of_an_old_log_is_what_it_was():
    """A release would prove less of the log than the one before it."""
    told = as_json(verify_log.verify(reader(RECORDS), quiet, silence()))

    assert told.pop("took_s") >= 0
    assert told == golden.expected("evidence/verify.json")


def test_a_damaged_log_is_told_in_full():
    """An operator would learn that something is wrong, and not what and where."""
    records = list(RECORDS)
    records[2] = records[2]._replace(value=records[2].value[:-1] + b"\0")

    told = as_json(verify_log.verify(reader(records), quiet, silence()))

    assert told["sound"] is False
    assert told["problems"] == [
        {"offset": 3, "register": "list", "what": "its bytes are not the ones that were sealed"}
    ]
    (of_it,) = [each for each in told["registers"] if each["register"] == "list"]
    assert of_it["problems"] == 1 and of_it["unproven"] == [[3, 19]]


class Damaged(Reader):
    """A reader whose client finds some stretches of offsets damaged, and can only be sent past them."""

    stretches = ((6, 14), (30, 31))

    def read(self, timeout_s):
        for first, last in self.stretches:
            if first <= self._next <= last:
                raise Corrupt(f"a batch is damaged: MessageSet at offset {first} failed CRC32C check")
        since = self._next
        records, at_end = super().read(timeout_s)
        ahead = [f for f, _ in self.stretches if records and since <= f <= records[-1].offset]
        if ahead:
            records = [record for record in records if record.offset < ahead[0]]
            self._next = ahead[0]
        return records, at_end and not ahead


def test_what_the_broker_cannot_read_any_more_is_told_and_the_rest_is_proven():
    """The first damaged batch on a disk would hide what else was done to the log."""
    log_reader = reader(RECORDS)
    log_reader.__class__ = Damaged
    log_reader._at_once = 4

    told = verify_log.verify(log_reader, quiet, silence())

    offsets = [problem.offset for problem in told.problems]
    assert offsets[:1] == [6] and 30 in offsets and not told.sound
    assert {each.register: each.unproven for each in told.registers} == {
        "internal": [],
        "list": [(33, 33)],
        "rules": [],
        "washed": [(22, 23)],
    }
    again = reader(RECORDS)
    again.__class__ = Damaged
    with pytest.raises(Corrupt, match="damaged"):
        histories.history(again, OTHER, "FR", quiet, silence())


def test_offsets_that_are_deleted_meanwhile_are_a_problem():
    """A log that retention deletes while it is verified would look sound."""

    def deleting(_what, done, _of):
        if done == 4:
            log_reader.log.start = 24

    log_reader = reader(RECORDS)
    log_reader._at_once = 4
    told = verify_log.verify(log_reader, deleting, silence())
    assert not told.sound and "are gone" in told.problems[0].what
    assert told.records == len([r for r in RECORDS if r.offset <= 4 or r.offset >= 24])


def test_parts_whose_seal_comes_a_moment_later_are_waited_for():
    """A sound log would look broken to whoever verifies it while a list is being published."""
    log_reader = reader(RECORDS[:-1])
    log_reader.log.end = RECORDS[-1].offset
    taken_in = []

    def settled():
        if len(taken_in) == len(RECORDS) - 1:
            log_reader.log.records.append(RECORDS[-1])
            log_reader.log.end = RECORDS[-1].offset + 2
            return False
        return True

    read_into(log_reader, taken_in.append, Deadline.after(60), settled=settled)

    assert taken_in == RECORDS


def saved(folder, position=RECORDS[-1].offset, change=None):
    state = taken(RECORDS, position).state
    snapshot.save(folder, "opposition.log", state if change is None else change(state))


def test_a_snapshot_that_is_the_logs_is_sound(tmp_path):
    """An operator would throw a good snapshot away."""
    for position in (4, 23, RECORDS[-1].offset):
        saved(tmp_path, position)

        told = verify_log.verify(reader(RECORDS), quiet, silence(), tmp_path, "opposition.log")

        assert told.sound, told.snapshot
        assert told.snapshot.position == position and told.snapshot.problems == []


def other_numbers(state):
    register = state.index.registers["list"]
    registers = {
        **state.index.registers,
        "list": dataclasses.replace(register, numbers=register.numbers - bitmap([OTHER])),
    }
    return dataclasses.replace(state, index=dataclasses.replace(state.index, registers=registers))


WRONG = {
    "other numbers": other_numbers,
    "full sets": lambda state: dataclasses.replace(state, starts={**state.starts, "list": (0, 43)}),
    "rules": lambda state: dataclasses.replace(state, rules=dataclasses.replace(state.rules, seq=1)),
    "the log ends": lambda state: dataclasses.replace(
        state, index=dataclasses.replace(state.index, position=900)
    ),
}


@pytest.mark.parametrize("word", WRONG)
def test_a_snapshot_that_is_not_the_logs_is_not_sound(word, tmp_path):
    """A worker would judge by what somebody wrote into its folder."""
    saved(tmp_path, change=WRONG[word])

    told = verify_log.verify(reader(RECORDS), quiet, silence(), tmp_path, "opposition.log")

    assert not told.sound and told.problems == []
    assert word in told.snapshot.problems[0]


@pytest.mark.parametrize("forged", [None, {OPPOSED: NOW + 60}, {OTHER: NOW + 60}])
def test_a_snapshot_with_other_ends_is_not_sound(forged, tmp_path):
    """A number that was called too often would be called again before its rest is over."""
    log = Log()
    publisher = Publisher(log)
    for ends in ({OPPOSED: NOW + 86_400}, {CALLED: NOW + 7200}, {OPPOSED: NOW + 172_800}):
        publisher.import_list(RESTED, ends, adding=True)
    state = taken(log.records).state
    rested = state.index.registers[RESTED]
    if forged is not None:
        numbers = np.array([*forged], np.uint64)
        ends = rested.ends.changed(numbers[:0], numbers, np.array([*forged.values()], np.int64))
        registers = {**state.index.registers, RESTED: dataclasses.replace(rested, ends=ends)}
        state = dataclasses.replace(state, index=dataclasses.replace(state.index, registers=registers))
    snapshot.save(tmp_path, "opposition.log", state)

    told = verify_log.verify(reader(log.records), quiet, silence(), tmp_path, "opposition.log")

    assert told.sound is (forged is None) and told.problems == []
    assert forged is None or f"{RESTED}: its numbers end at other moments" in told.snapshot.problems[0]


def test_a_snapshot_that_cannot_be_read_is_not_sound(tmp_path):
    """A damaged snapshot would pass for a good one."""
    saved(tmp_path)
    manifest = tmp_path / snapshot.MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b"list", b"lost", 1))

    told = verify_log.verify(reader(RECORDS), quiet, silence(), tmp_path, "opposition.log")

    assert not told.sound and told.snapshot.problems


def test_no_snapshot_is_a_mistake_and_no_proof(tmp_path):
    """A wrong folder would be called sound."""
    with pytest.raises(ConfigError, match="snapshot"):
        verify_log.verify(reader(RECORDS), quiet, silence(), tmp_path, "opposition.log")


@pytest.mark.parametrize(("text", "region"), [("", "FR"), ("06123", "FR"), ("0612345678", "XX")])
def test_what_is_no_number_is_refused_and_not_repeated(text, region):
    """A typing error would end as "never in any register", or stand in somebody's log."""
    with pytest.raises(ConfigError) as error:
        histories.number_of(text, region)
    assert "06123" not in str(error.value)


def test_an_earlier_proof_is_held_against_the_log(tmp_path):
    """What was filed a year ago could not be compared with what is there now."""
    file = tmp_path / "verify.json"
    file.write_bytes(msgspec.json.encode(verify_log.verify(reader(RECORDS[:19]), quiet, silence())))
    filed = verify_log.filed_in(file)

    assert verify_log.verify(reader(RECORDS), quiet, silence(), filed=filed).sound
    assert not verify_log.verify(reader(RECORDS[:7]), quiet, silence(), filed=filed).sound
    for content in (b"", b"[]", b'{"registers":[1]}'):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="--against"):
            verify_log.filed_in(file)
    with pytest.raises(ConfigError, match="--against"):
        verify_log.filed_in(tmp_path / "none.json")


def test_a_log_whose_end_cannot_be_read_is_told():
    """The proof of a log would never end, or leave out what it could not read."""
    log_reader = reader(RECORDS)
    log_reader.__class__ = type("Cut", (Damaged,), {"stretches": ((41, 10**9),)})

    told = verify_log.verify(log_reader, quiet, silence())

    assert [problem.offset for problem in told.problems] == [41]


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("+33612345678", "FR", 33612345678),
        ("07400 123456", "GB", 447400123456),
        ("+33 0999 99", "FR", 33099999),  # not valid now; it may have been
    ],
)
def test_a_number_is_read_as_a_prospects_is(text, region, number):
    """The history of another number than the one asked for would be shown."""
    assert histories.number_of(text, region) == number

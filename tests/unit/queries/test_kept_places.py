"""What `files.index_dir` keeps: the same records as without it, and nothing read twice that need not be."""

import os
import random
from pathlib import Path

import pytest

from stream_scrub.queries import kept_places
from stream_scrub.queries.kept_places import KeptPlaces
from tests.support.fakes.log import Log, Reader

NUMBER = 33612345678
NEIGHBOURS = (NUMBER + 1, 33698765432)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Files of few offsets."""
    monkeypatch.setattr(kept_places, "SPAN", 64)


def quiet(_what, _done, _of):
    pass


def grown(log: Log, count: int, seed: int = 1, share: float = 0.05) -> Log:
    """More prospects, a share of them with the number; some have their stamp in the header, some offsets are nobody's."""
    chance = random.Random(seed)
    for _ in range(count):
        if chance.random() < 0.05:
            log.skip(chance.randrange(1, 200))
        number = NUMBER if chance.random() < share else chance.choice(NEIGHBOURS)
        stamp = f'{{"number":"+{number}"}}'.encode()
        if chance.random() < 0.3:
            log.append(b"k", b"\x00 Avro", [("scrub", stamp)])
        else:
            log.append(b"k", b'{"phone":"0612345678","scrub":' + stamp + b"}")
    return log


def wanted(log: Log) -> list[int]:
    return [
        each.offset
        for each in log.records
        if each.offset >= log.start
        and b'"+%d"' % NUMBER in (each.value or b"") + dict(each.headers).get("scrub", b"")
    ]


def found(tmp_path, log: Log, identity: str = "id1", topic: str = "allowed", partition: int = 0):
    """The offsets with the number, by the index, and how many records were read."""
    reader = Reader(log, at_once=10)
    places = KeptPlaces(tmp_path, topic, identity, partition)
    records = list(places.records(reader, NUMBER, quiet))
    named = [
        each.offset
        for each in records
        if b'"+%d"' % NUMBER in (each.value or b"") + dict(each.headers).get("scrub", b"")
    ]
    return named, len(reader.read_offsets)


def files(tmp_path) -> list:
    return sorted(each for each in tmp_path.rglob("*") if each.is_file())


@pytest.mark.parametrize("seed", range(3))
def test_an_index_gives_what_the_whole_topic_gives(tmp_path, seed):
    """An authority would be told that a person was never called, because an index had a gap."""
    log = Log(start=seed * 37)
    for more in (1, 500, 0, 63, 700):
        grown(log, more, seed * 10 + more)
        assert found(tmp_path, log)[0] == wanted(log)
    assert {each.stat().st_mode & 0o777 for each in files(tmp_path)} == {0o600}


def test_the_next_dossier_reads_little(tmp_path):
    """Each complaint would take as long as the topic is large."""
    log = grown(Log(), 5_000, share=0.002)
    assert found(tmp_path, log)[1] >= 5_000
    named, read = found(tmp_path, log)
    assert named == wanted(log) and 0 < len(named) < 30
    assert read <= 2 * 64 + 20 * len(named), "the last file, the rest, and a few records around each"


@pytest.mark.parametrize("number", [49301234567890123, NUMBER])
@pytest.mark.parametrize("other", [NEIGHBOURS[0], NUMBER + (1 << 32)])
def test_a_number_of_any_length_is_found(tmp_path, number, other):
    """The calls to a number longer than E.164 has, or with the same last bits as a stranger's, would be missing."""
    log = Log()
    for each in (other, number) * 100:
        log.append(b"k", b'{"scrub":{"number":"+%d"}}' % each)
    places = KeptPlaces(tmp_path, "allowed", "id1", 0)
    for _ in range(2):
        records = places.records(Reader(log), number, quiet)
        named = [each.offset for each in records if b"+%d" % number in each.value]
        assert named == list(range(1, 200, 2))


def test_a_record_that_names_a_thousand_numbers_takes_no_more_room(tmp_path):
    """A producer of leads would fill the memory of the server that makes dossiers."""
    log = Log()
    many = b" ".join(b"+%d" % number for number in range(NUMBER + 10, NUMBER + 1010))
    for number in (NEIGHBOURS[0], NUMBER) * 100:
        log.append(b"k", b'{"note":"%s","scrub":{"number":"+%d"}}' % (many, number))
    for _ in range(2):
        assert found(tmp_path, log)[0] == wanted(log)
    assert max(each.stat().st_size for each in files(tmp_path)) < 1_000


@pytest.mark.parametrize("kept", [0, 63, 64, 65, 512, 513, 640])
@pytest.mark.parametrize("is_quiet", [False, True])
def test_records_that_brokers_lost_are_forgotten(tmp_path, kept, is_quiet):
    """Calls would be missing for good after an unclean election, with other records where those of the index were."""
    log = Log()
    for _ in range(513):
        log.append(b"k", b'{"scrub":{"number":"+%d"}}' % NEIGHBOURS[0])
    log.skip(65 if is_quiet else 0)  # aborted ones
    assert found(tmp_path, log)[0] == []
    del log.records[kept:]
    log.end = min(log.end, kept)
    for _ in range(3):
        for _ in range(150):
            log.append(b"k", b'{"scrub":{"number":"+%d"}}' % NUMBER)
        if len(log.records) > 513:
            assert found(tmp_path, log)[0] == wanted(log)


@pytest.mark.parametrize("how", ["flipped", "cut", "emptied", "moved", "writable"])
@pytest.mark.parametrize("left_sound", [0, 1])
def test_a_file_that_may_be_wrong_is_made_again(tmp_path, how, left_sound):
    """A full disk, or a neighbour on the machine, would hide a call from an authority."""
    log = grown(Log(), 500)
    assert found(tmp_path, log)[0] == wanted(log)
    spans = sorted(files(tmp_path), key=lambda file: int(file.name))
    sound = {file: file.read_bytes() for file in spans}
    for at, file in enumerate(spans[: len(spans) - left_sound]):
        content = bytearray(sound[file])
        if how == "flipped":
            content[(at * 7) % len(content)] ^= 1
        elif how == "moved":
            content = bytearray(list(sound.values())[at - 1])
        file.write_bytes({"cut": content[:-6], "emptied": b""}.get(how, content))
        file.chmod(0o620 if how == "writable" else 0o600)

    assert found(tmp_path, log)[0] == wanted(log)
    assert {file: file.read_bytes() for file in files(tmp_path)} == sound


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_file_ends_the_dossier(tmp_path, make):
    """A neighbour on the machine would have the server wait for ever for a reader of its pipe."""
    log = grown(Log(), 500)
    found(tmp_path, log)
    file = files(tmp_path)[2]
    file.unlink()
    make(file)
    with pytest.raises(OSError, match=file.name):
        found(tmp_path, log)


def test_a_topic_that_was_created_again_has_an_index_of_its_own(tmp_path):
    """The verdicts of the new topic would be looked for where those of the old one were."""
    found(tmp_path, grown(Log(), 500, 1))
    renewed = grown(Log(), 500, 2)
    for _ in range(2):
        assert found(tmp_path, renewed, "a/b+c==")[0] == wanted(renewed)
        assert {each.parts[-3] for each in files(tmp_path)} == {"a-b+c=="}


def test_what_kafka_has_deleted_is_forgotten(tmp_path):
    """Numbers would be kept for years after the topic's own period, or the reader look for what is gone."""
    log = grown(Log(), 1_000)
    found(tmp_path, log)
    log.start = log.end - 100
    assert found(tmp_path, log)[0] == wanted(log)
    assert {int(each.name) for each in files(tmp_path)} >= {log.start // 64}
    assert min(int(each.name) for each in files(tmp_path)) == log.start // 64

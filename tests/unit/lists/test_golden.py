"""Logs and lists that were written once: this release reads them as the one that wrote them did."""

import pytest

from stream_scrub.errors import Corrupt
from stream_scrub.lists.follow import Replay
from tests.fakes import golden
from tests.fakes.lists import read

CORRUPT = golden.expected("log/corrupt.expected.json")
LISTS = golden.expected("lists/expected.json")


def take_all(replay, records):
    for record in records:
        replay.take(record)


def test_an_old_log_gives_the_registers_that_it_gave():
    """After an upgrade the evidence of years could not be read, or said something else."""
    index = golden.replayed("sound").index
    expected = golden.expected("log/sound.expected.json")

    assert index.position == expected["position"]
    assert set(index.registers) == set(expected["registers"])
    for name, register in index.registers.items():
        assert {
            "kind": register.kind,
            "seq": register.seq,
            "chain": register.chain,
            "position": register.position,
            "effective_at": register.effective_at.isoformat(),
            "source": register.source,
            "count": len(register.numbers),
            "numbers": sorted(register.numbers),
        } == expected["registers"][name]


@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_log_is_refused_at_the_same_offset(name):
    """After an upgrade a damaged log would be believed."""
    replay = Replay()

    with pytest.raises(Corrupt, match=f"log offset {CORRUPT[name]['offset']}:"):
        take_all(replay, golden.log(f"corrupt-{name}"))
    assert replay.index.position == CORRUPT[name]["position"]


def test_every_corrupt_log_is_expected_to_be():
    """A file would lie there that proves nothing."""
    names = {path.name for path in (golden.GOLDEN / "log").glob("corrupt-*.jsonl")}

    assert names == {f"corrupt-{name}.jsonl" for name in CORRUPT}


@pytest.mark.parametrize("name", LISTS)
def test_an_old_list_gives_the_numbers_that_it_gave(name, tmp_path):
    """After an upgrade the same list would oppose other people."""
    reading = read(tmp_path, (golden.GOLDEN / "lists" / name).read_bytes(), name=name)

    assert {
        "numbers": sorted(reading.bitmap()),
        "refused": reading.first_refused,
        "blank": reading.blank,
        "read_as": reading.described,
    } == LISTS[name]

"""Who is asked before a register is taken over, and who is believed to be gone."""

import os
import subprocess
import sys

import pytest

from stream_scrub.errors import Migrated, Refused
from stream_scrub.kafka.requests_reader import OwnerNote
from stream_scrub.publisher import ownership

OWN = frozenset({"internal", "consent"})
SOMEBODY = "elsewhere/abcdef012345/77/1234"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(ownership, "_WATCH_S", 0.05)
    monkeypatch.setattr(ownership, "_LOOK_S", 0.01)


def answers(*notes):
    """Gives one note after the other, the last of them for ever."""
    left = list(notes)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_nobody_need_be_asked_about_registers_that_nobody_has():
    """The first publisher would wait for one that never was."""
    ownership.need_free(answers(OwnerNote("", 7, OWN)), ["internal"])
    ownership.need_free(answers(OwnerNote(SOMEBODY, 7, OWN), OwnerNote(SOMEBODY, 8, OWN)), ["bloctel"])


def test_a_publisher_whose_beat_goes_on_is_named():
    """A second daemon would put the first one out of work, and the first the second."""
    with pytest.raises(Refused, match="process 77 on elsewhere is the live publisher of consent, internal"):
        ownership.need_free(
            answers(OwnerNote(SOMEBODY, 7, OWN), OwnerNote(SOMEBODY, 7, OWN), OwnerNote(SOMEBODY, 8, OWN)),
            OWN,
        )


def test_a_publisher_whose_beat_has_stopped_is_gone():
    """After a machine has died nobody could ever publish again."""
    ownership.need_free(answers(OwnerNote(SOMEBODY, 7, OWN)), OWN)


def test_a_publisher_that_ends_meanwhile_leaves_the_registers():
    """A restart would fail whenever the old process is quick to end."""
    ownership.need_free(answers(OwnerNote(SOMEBODY, 7, OWN), OwnerNote("", 8, OWN)), OWN)


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(monkeypatch):
    """Opt-outs would wait for seconds after every crash."""
    child = subprocess.run(
        [sys.executable, "-c", "from stream_scrub.publisher.ownership import identity; print(identity())"],
        capture_output=True,
        text=True,
        check=True,
    )
    monkeypatch.setattr(ownership, "_WATCH_S", 60)
    gone = child.stdout.strip()
    assert gone.split("/")[:2] == ownership.identity().split("/")[:2]
    ownership.need_free(answers(OwnerNote(gone, 7, OWN)), OWN)


def test_a_process_id_that_another_process_has_by_now_is_not_the_publisher():
    """A restarted machine, where every process has a number that another one had, would wait for itself."""
    host, space, pid, began = ownership.identity().split("/")
    assert not ownership._is_gone(f"{host}/{space}/{pid}/{began}")
    assert ownership._is_gone(f"{host}/{space}/{pid}/{int(began) - 1}")
    assert not ownership._is_gone(f"{host}/{'0' * 12}/{pid}/{began}"), (
        "another container's ids say nothing here"
    )
    assert not ownership._is_gone("nonsense") and not ownership._is_gone("")


def test_a_note_survives_its_way_through_a_commit():
    """Who owns the registers would be unreadable to the one who asks."""
    for note in (
        OwnerNote(ownership.identity(), 12, OWN),
        OwnerNote("", 3, OWN),
        OwnerNote("h/s/1/2", 0, frozenset()),
    ):
        assert OwnerNote.of(str(note)) == note
    for text in (None, "", "owner=", "index=5 log=x", "owner=a b beat=1 registers="):
        assert OwnerNote.of(text) == OwnerNote("", 0, frozenset())
    assert ownership.named(ownership.identity()) == f"process {os.getpid()} on {os.uname().nodename}"


def test_whoever_was_relieved_does_not_go_on():
    """Requests that a newer publisher has refused would be refused once more, and consents be taken again."""
    note = OwnerNote("b/1/2/3", 7, OWN)
    ownership.need_ours(lambda: note, "b/1/2/3")
    with pytest.raises(Migrated, match="process 2 on b has published"):
        ownership.need_ours(lambda: note, "a/1/2/3")

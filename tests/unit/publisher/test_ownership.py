"""Who is asked before a register is taken over, and who is believed to be gone."""

import os

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


@pytest.mark.parametrize(
    "notes",
    [
        [OwnerNote("", 7, OWN)],
        # Others' registers.
        [OwnerNote(SOMEBODY, 7, frozenset({"bloctel"})), OwnerNote(SOMEBODY, 8, frozenset({"bloctel"}))],
        # Its beat has stopped: its machine has died.
        [OwnerNote(SOMEBODY, 7, OWN)],
        # It ends meanwhile.
        [OwnerNote(SOMEBODY, 7, OWN), OwnerNote("", 8, OWN)],
    ],
)
def test_registers_that_no_live_publisher_has_are_free(notes):
    """The first publisher would wait for one that never was, and after a crash nobody could ever publish again."""
    ownership.need_free(answers(*notes), OWN)


def test_a_publisher_whose_beat_goes_on_is_named():
    """A second daemon would put the first one out of work, and the first the second."""
    notes = [OwnerNote(SOMEBODY, 7, OWN), OwnerNote(SOMEBODY, 7, OWN), OwnerNote(SOMEBODY, 8, OWN)]
    with pytest.raises(Refused, match="process 77 on elsewhere is the live publisher of consent, internal"):
        ownership.need_free(answers(*notes), OWN)


HOST, SPACE, PID, BEGAN = ownership.identity().split("/")
LIVING = [
    f"{HOST}/{SPACE}/{PID}/{BEGAN}",
    f"{HOST}/{'0' * 12}/{PID}/{int(BEGAN) - 1}",  # another container's ids say nothing here
    "nonsense",
]
GONE = [
    f"{HOST}/{SPACE}/{PID}/{int(BEGAN) - 1}",  # another process has its id by now
    f"{HOST}/{SPACE}/{2**22 + 1}/{BEGAN}",  # no process has such an id
]


@pytest.mark.parametrize(
    ("owner", "is_gone"),
    [*((each, False) for each in LIVING), *((each, True) for each in GONE)],
    ids=["this one", "another container's", "nonsense", "its id is another's", "no such id"],
)
def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(owner, is_gone):
    """Opt-outs would wait for seconds after every crash; or a second daemon would put the first one out of work."""
    beats = answers(*(OwnerNote(owner, beat, OWN) for beat in (7, 7, 8)))
    if is_gone:
        ownership.need_free(beats, OWN)
    else:
        with pytest.raises(Refused, match="is the live publisher"):
            ownership.need_free(beats, OWN)


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

"""The note of a worker in its committed offset."""

import pytest

from stream_scrub.kafka.offsets import CommitNote


@pytest.mark.parametrize("position", ["9" * 5000, "-1", "x"])
def test_a_note_of_another_program_is_none(position):
    """Whoever may commit offsets of the group could end every worker and server, for ever."""
    assert CommitNote.read(f"index={position} log=l/i topic=t") is None

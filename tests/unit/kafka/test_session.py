"""What a session does by itself, without a broker."""

from types import SimpleNamespace

import pytest

from stream_scrub.errors import Migrated
from stream_scrub.kafka.session import Session


def test_only_a_member_of_a_group_takes_over_in_the_middle():
    """A retry would go on from places that another one has passed since: its leads would go out twice."""
    for is_member in (True, False):
        session = Session({"batch.size": 1}, ["prospects"], is_member=is_member)
        opened = []
        session._repeats = SimpleNamespace(possible=True)
        session.open = lambda deadline, opened=opened: opened.append(deadline)
        session._producer = SimpleNamespace(poll=lambda _s: 0, begin_transaction=lambda: None, produce=None)
        if is_member:
            session.emit((), (), (), (), (), ())
        else:
            with pytest.raises(Migrated, match="new session"):
                session.emit((), (), (), (), (), ())
        assert bool(opened) is is_member

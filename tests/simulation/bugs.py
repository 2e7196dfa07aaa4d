"""Bugs planted in the product, to see that the simulator finds them. Each is a bug that somebody could write.

`BUGS` has for each what it replaces (owner, name, replacement) and a seed that is known to find it. If the model has
changed since, the next seeds with a plan of that shape are tried. Faults of the product that the simulator found are here too, since a
change of the plans gives every seed another history.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from confluent_kafka import TopicPartition

from stream_scrub import clock
from stream_scrub.dialler.recalls import ProofOfLife
from stream_scrub.errors import Uncertain
from stream_scrub.kafka import resume
from stream_scrub.kafka.admin.votes import Votes
from stream_scrub.kafka.client.repeated_requests import RepeatedRequests
from stream_scrub.kafka.dialler.allowed_reader import AllowedReader
from stream_scrub.kafka.guards.judged_positions import JudgedPositions
from stream_scrub.kafka.guards.waiting_requests import WaitingRequests
from stream_scrub.kafka.log_reader import KafkaLogReader
from stream_scrub.kafka.log_writer import KafkaLogWriter
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.kafka.requests_reader import RequestsReader
from stream_scrub.kafka.resume import Resume, StartOffsets
from stream_scrub.kafka.session import CommitTimes, Session
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.log import snapshot
from stream_scrub.log.follower import Follower
from stream_scrub.log.replay import Replay
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.model import Deadline
from stream_scrub.publisher import ownership
from stream_scrub.publisher.delta_publisher import DeltaPublisher
from stream_scrub.recall.daemon import RecallLoop
from stream_scrub.recall.outstanding import OutstandingWatch
from stream_scrub.recall.record import PastRecalls
from stream_scrub.requests.daemon import PublisherDaemon
from stream_scrub.requests.ended_numbers import EndedNumbers
from stream_scrub.retry.resend import Resend
from stream_scrub.worker.loop import WorkerLoop
from stream_scrub.worker.outputs import Outputs
from tests.simulation.install import Plugin

Exchange = tuple[Any, str, Any]


class Bug(NamedTuple):
    """What the bug is, in words, what it replaces, and a seed that finds it."""

    what: str
    exchanges: Callable[[], list[Exchange]]
    seed: int


def _never(*_: Any, **__: Any) -> None:
    """Does nothing."""


def _offsets_first() -> list[Exchange]:
    emit, commit = Session.emit, Session.commit
    nothing: Any = ((), (), (), (), (), ())

    def late(self: Any, *columns: Any) -> None:
        self.kept = columns

    def first(
        self: Any, offsets: Any, membership: Any, deadline: Any, still_good: Any = _never
    ) -> CommitTimes:
        emit(self, *nothing)
        took = commit(self, offsets, membership, deadline, still_good)
        emit(self, *self.kept)
        commit(self, [], membership, deadline)
        return took

    return [(Session, "emit", late), (Session, "commit", first)]


def _own_memory() -> list[Exchange]:
    offsets = ProspectSource.offsets

    def remembers(self: Any, fetched: Any, position: int) -> Any:
        begun = self.__dict__.setdefault("first", {})
        for partition, message in zip(reversed(fetched.partitions), reversed(fetched.messages), strict=True):
            begun[partition] = message.offset()
        return offsets(self, fetched, position)

    rewind = ProspectSource._rewind

    def by_heart(self: Any, deadline: Any) -> None:
        consumer = self._consumer
        ask, begun = consumer.committed, self.__dict__.get("first", {})

        def told(assigned: Any, timeout: float) -> Any:
            found = ask(assigned, timeout=timeout)
            for each in found:
                each.offset = begun.get(each.partition, each.offset)
            return found

        with patch.object(consumer, "committed", told):
            rewind(self, deadline)

    return [(ProspectSource, "offsets", remembers), (ProspectSource, "_rewind", by_heart)]


def _assumed() -> list[Exchange]:
    commit = Session.commit

    def hopes(self: Any, *arguments: Any) -> CommitTimes:
        try:
            return commit(self, *arguments)
        except Uncertain:
            self._in_transaction = False
            self._drop()
            return CommitTimes(0.0, 0.0)

    recover = Session._ready

    def opens(self: Any) -> Any:
        if self._producer is None:
            self.open(Deadline.after(10.0))
        return recover(self)

    return [(Session, "commit", hopes), (Session, "_ready", opens)]


def _older_index() -> list[Exchange]:
    judge = Outputs.judge

    def late(self: Any, fetched: Any, index: Any, *more: Any) -> Any:
        before = self.__dict__.get("before", index)
        self.before = index
        return judge(self, fetched, replace(before, position=index.position), *more)

    return [(Outputs, "judge", late)]


def _seal_apart() -> list[Exchange]:
    publish = KafkaLogWriter.publish

    def apart(self: Any, records: Any, *more: Any) -> int:
        publish(self, records[:-1])
        return publish(self, records[-1:], *more)

    return [(KafkaLogWriter, "publish", apart)]


def _one_short() -> list[Exchange]:
    offsets = ProspectSource.offsets

    def short(self: Any, *arguments: Any) -> Any:
        found = offsets(self, *arguments)
        for each in found:
            each.offset -= 1
        return found

    return [(ProspectSource, "offsets", short)]


def _brought_back_apart() -> list[Exchange]:
    send, emit, commit = Resend._send, Session.emit, Session.commit
    nothing: Any = ((), (), (), (), (), ())

    def apart(self: Any, going: Any, order: Any, passed: Any) -> None:
        session = self.session

        def twice(offsets: Any, *more: Any) -> CommitTimes:
            commit(session, [], *more)
            emit(session, *nothing)
            return commit(session, offsets, *more)

        with patch.object(session, "commit", twice):
            send(self, going, order, passed)

    return [(Resend, "_send", apart)]


def _consumed_first() -> list[Exchange]:
    commit = PublisherDaemon._commit

    def first(self: Any, consumed: Any, made: Any = (), refused: Any = ()) -> None:
        commit(self, consumed, (), refused)
        if made:
            self._delta_publisher.publish(made)

    return [(PublisherDaemon, "_commit", first)]


def _consumed_later() -> list[Exchange]:
    commit = PublisherDaemon._commit

    def later(self: Any, consumed: Any, made: Any = (), refused: Any = ()) -> None:
        if made:
            self._delta_publisher.publish(made)
        commit(self, consumed, (), refused)

    return [(PublisherDaemon, "_commit", later), (PublisherDaemon, "_cursor_of", lambda *_: None)]


def _trusted_snapshot() -> list[Exchange]:
    def begins(self: Any, reader: Any, _: Any) -> Any:
        state = snapshot.load(self.folder, self.log)
        if state is None:
            return None
        reader.seek(state.index.position + 1)
        return Replay.resuming(state)

    return [(SnapshotWriter, "begin", begins)]


def _one_place_for_all() -> list[Exchange]:
    offsets = ProspectSource.offsets

    def of_the_first(self: Any, *arguments: Any) -> Any:
        found = offsets(self, *arguments)
        return [TopicPartition(self.topics[0], each.partition, each.offset, each.metadata) for each in found]

    return [(ProspectSource, "offsets", of_the_first)]


def _an_old_end() -> list[Exchange]:
    end = Witnesses.end

    def remembers(self: Any, key: Any, deadline: Any, *asked: Any) -> Any:
        kept = self.__dict__.setdefault("kept", {})
        if (key, asked) not in kept:
            kept[key, asked] = end(self, key, deadline, *asked)
        return kept[key, asked]._replace(at=clock.elapsed())

    return [(Witnesses, "end", remembers)]


def _one_word() -> list[Exchange]:
    def first(self: Any) -> Any:
        return {key: next(iter(leaders.values())) for key, leaders in self.leaders.items()}

    return [(Votes, "by_quorum", first)]


def _an_old_answer() -> list[Exchange]:
    begin = Witnesses.begin_ids

    def unless_asked(self: Any, topics: Any) -> None:
        if not self._asked_ids:
            begin(self, topics)

    return [(Witnesses, "begin_ids", unless_asked), (Resume, "is_another", lambda *_: False)]


def _ends_at_once() -> list[Exchange]:
    publish = EndedNumbers._publish

    def at_once(self: Any, group: Any, now: Any, *, opposing: bool) -> None:
        del opposing
        publish(self, group, now, opposing=False)

    return [(EndedNumbers, "_publish", at_once)]


def _fetched_and_forgotten() -> list[Exchange]:
    restore = RecallLoop._restore

    def forgets(self: Any) -> None:
        self._source._must_rewind = False
        restore(self)

    return [(RecallLoop, "_restore", forgets)]


def _own_word_of_recalls() -> list[Exchange]:
    def asks(self: Any, deadline: Any) -> dict[Any, int]:
        return {key: self.bounds(key, deadline)[1] for key in self.partitions(deadline)}

    return [(OutputReader, "written_ends", asks)]


def _no_doubt_of_recalls() -> list[Exchange]:
    turn = RecallLoop._turn

    def remembers(self: Any, index: Any) -> None:
        with patch.object(self._outstanding, "drop", _never):
            turn(self, index)

    return [(RecallLoop, "_turn", remembers)]


def _held_too_early() -> list[Exchange]:
    emit = RecallLoop._emit

    def early(self: Any, emission: Any, *more: Any) -> None:
        member = self._member
        member.committed(emission)
        with patch.object(member, "committed", _never):
            emit(self, emission, *more)

    return [(RecallLoop, "_emit", early)]


def _never_there(ends: Any, place: Any, deadline: Any) -> bool:
    low, high = ends.ask(place, deadline)
    return bool(low < high)


def _lock_across_a_commit() -> list[Exchange]:
    join = AllowedReader._join

    def locking(self: Any) -> Any:
        consumer = join(self)
        told = consumer.options["on_commit"]

        def took(*outcome: Any) -> None:
            with self._lock:
                told(*outcome)

        consumer.options["on_commit"] = took
        return consumer

    def commits(self: Any) -> str:
        places = self._changed(all_=False)
        with self._lock:
            if places:
                self._consumer.commit(offsets=places)
        return ""

    # The thread that follows the recalls asks for it again and again.
    return [(AllowedReader, "_join", locking), (AllowedReader, "commit_failure", property(commits))]


def _whichever_log() -> list[Exchange]:
    note = RequestsReader.note
    return [
        (RequestsReader, "note", lambda self: note(self)._replace(log="")),
        (DeltaPublisher, "holds", lambda *_: True),
    ]


BUGS: dict[str, Bug] = {
    "offsets before records": Bug("The offsets are committed, and then the records.", _offsets_first, 1),
    "no rewind": Bug("After an abort it reads on where it was.", lambda: [(ProspectSource, "drop", _never)], 0),
    "no doubt": Bug(
        "A late request is never thought of.",
        lambda: [(RepeatedRequests, "possible", property(lambda _: False)), (Plugin, "in_doubt", property(lambda _: False))],
        94,
    ),
    "batch of others": Bug(
        "A batch is kept whose partitions went away while it was polled.",
        lambda: [(ProspectSource, "_has_moved", lambda self: bool(self._moves.clear()))],
        216,
    ),
    "any age": Bug(
        "An index is good, however old.",
        lambda: [(Follower, "usable", lambda self, _, usable=Follower.usable: usable(self, float("inf")))],
        380,
    ),
    "own memory": Bug("It rewinds to where the batch began, and does not ask the broker.", _own_memory, 0),
    "hope": Bug("A commit of which nothing is known is taken for done.", _assumed, 28),
    "an older index": Bug("A batch is judged by the index before the one on its stamp.", _older_index, 0),
    "a seal apart": Bug("A delta's parts and its seal are two transactions.", _seal_apart, 7),
    "one short": Bug("The last record's own offset is committed.", _one_short, 0),
    "a poison record": Bug("What a topic refuses is tried again and again.", lambda: [(Outputs, "failed", _never)], 27),
    "no wait for others": Bug(
        "A register is read while another's open transaction hides its end.",
        lambda: [(KafkaLogWriter, "wait_for_others", _never), (KafkaLogWriter, "_need_none_unread", _never)],
        740,
    ),
    "no new producer": Bug(
        "After a failure the same producer goes on.",
        lambda: [(Session, "recover", lambda self, **_: setattr(self, "_in_transaction", False))],
        13,
    ),
    "membership of the commit": Bug(
        "Group and generation are asked for when the batch is committed.",
        lambda: [(ProspectSource, "metadata", property(lambda self: self._consumer.consumer_group_metadata(), _never))],
        16056,
    ),
    "no floor": Bug(
        "An older index than another worker's judges.", lambda: [(ProspectSource, "floor", property(lambda _: -1, _never))], 1299
    ),
    "no check at the commit": Bug(
        "A batch is committed that was good when it was polled.", lambda: [(WorkerLoop, "_need_fresh", _never)], 634
    ),
    "retry's places apart": Bug("What is brought back and up to where are two transactions.", _brought_back_apart, 834),
    "requests' offsets first": Bug("Requests are consumed, and then published.", _consumed_first, 417),
    "no cursor": Bug("Requests are published, and then consumed, and no seal says which it has.", _consumed_later, 153),
    "a borrowed one is nobody's": Bug(
        "An import that took a borrowed register over is not noticed: the same writer goes on.",
        lambda: [(DeltaPublisher, "_give_back", _never)],
        263,
    ),
    "no offsets, no hold": Bug(
        "Where the group's offsets are gone it begins at the start.",
        lambda: [(StartOffsets, "_choose", lambda _, ends, place, deadline: ends.ask(place, deadline)[0])],
        930,
    ),
    "one place for all": Bug(
        "What was read of one input is committed as if it were another's.", _one_place_for_all, 16
    ),
    "an old end": Bug("Where the log ends is asked for once.", _an_old_end, 0),
    "never there": Bug(
        "Of what retention deleted nothing is known.",
        lambda: [(resume, "_has_held_records", _never_there)],
        990,
    ),
    "any topic of that name": Bug(
        "An offset of a topic that was deleted is used in the one that was made anew.",
        lambda: [(Resume, "need_same", _never), (Resume, "_is_of_another", lambda *_: False)],
        626,
    ),
    "an old answer": Bug(
        "Which topic it is was asked for a batch that was given up, and counts for the next one.",
        _an_old_answer,
        1168,
    ),
    "no look while nothing comes": Bug(
        "A topic made anew is noticed by what comes from it.", lambda: [(Resume, "is_another", lambda *_: False)], 1316
    ),
    "a newer publisher is fenced unseen": Bug(
        "A publisher that was stopped while its writer was replaced goes on where it was, whatever another has taken.",
        lambda: [(ownership, "need_ours", _never)],
        1583,
    ),
    "an emptied log is a new one": Bug(
        "That the log's first records were deleted is not seen.",
        lambda: [(KafkaLogReader, "bounds", lambda self, bounds=KafkaLogReader.bounds: (0, bounds(self)[1]))],
        467,
    ),
    "whichever leader": Bug(
        "A delta is published by what whichever broker says that the log holds.",
        lambda: [*_one_word(), (KafkaLogWriter, "_need_none_unread", _never)],
        716,
    ),
    "whichever coordinator": Bug(
        "It rewinds to whatever offset some broker says is committed.",
        lambda: [(ProspectSource, "_need_no_older", _never)],
        5808,
    ),
    "whichever coordinator, after a doubt": Bug(
        "Whether a commit of unknown outcome was made is asked of whichever broker says that it knows.",
        lambda: [(ProspectSource, "rejoin", ProspectSource.drop)],
        17520,
    ),
    "whichever coordinator, for retry": Bug(
        "What was brought back is asked of whichever broker says that it knows.",
        lambda: [(OutputReader, "confirm", _never)],
        98346,
    ),
    "fetched and forgotten": Bug(
        "What was fetched before its partition is restored is not read again.", _fetched_and_forgotten, 516
    ),
    "as it was judged": Bug(
        "A lead that comes is believed, however old the index of its worker is.",
        lambda: [(OutstandingWatch, "judge", lambda *_: {})],
        1668,
    ),
    "recalled again": Bug(
        "Whoever takes a partition over does not ask what was recalled.",
        lambda: [(PastRecalls, "is_left", lambda _, __, numbers, ___: np.ones(len(numbers), np.bool_))],
        113,
    ),
    "whichever leader, for recalls": Bug(
        "What was recalled is asked of whichever broker says that it leads.", _own_word_of_recalls, 1620
    ),
    "a gap before the place to go on": Bug(
        "A coordinator that was deposed says that nothing is committed, and leads in between are never judged.",
        lambda: [(RecallLoop, "_forget_gaps", _never)],
        444,
    ),
    "not judged again": Bug(
        "What a restore finds outstanding is not judged.", lambda: [(OutstandingWatch, "forget", _never)], 1644
    ),
    "as if never in doubt": Bug(
        "After a commit of unknown outcome the leads are held as before it.", _no_doubt_of_recalls, 396
    ),
    "held too early": Bug(
        "What is outstanding changes before the commit.", _held_too_early, 1428
    ),
    "of no partition": Bug(
        "A recall does not say which leads it takes back.",
        lambda: [(PastRecalls, "take", _never)],
        113,
    ),
    "ends by any clock": Bug(
        "What has ended by this machine's clock has ended.", _ends_at_once, 95
    ),
    "requests may wait": Bug(
        "Whether accepted requests wait for a publisher that is dead is not asked.",
        lambda: [(WaitingRequests, "need", _never), (WaitingRequests, "need_none", _never)],
        161,
    ),
    "whichever position": Bug(
        "An index is served that is behind the positions by which workers have judged.",
        lambda: [(JudgedPositions, "need", _never)],
        373,
    ),
    "whichever log": Bug("A publisher goes on from the offsets that are for a lost log.", _whichever_log, 545),
    "a silent recall": Bug(
        "A dialler hands out leads while recall is dead.",
        lambda: [(ProofOfLife, "since", lambda *_: clock.elapsed())],
        281,
    ),
    "a lock across a commit": Bug("A dialler stands still in a commit for ever.", _lock_across_a_commit, 13),
    "recalls that are gone": Bug(
        "Recall never looks at its own topic, which is deleted and made anew.",
        lambda: [(RecallLoop, "_need_recalls", lambda _: None)],
        1141,
    ),
    "a trusted snapshot": Bug("A snapshot that is not whole ends the follower.", _trusted_snapshot, 98),
}  # fmt: skip


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The product with this bug, for as long as the context lasts."""
    with ExitStack() as stack:
        for exchange in bug.exchanges():
            # Some replace what an instance has of its own.
            stack.enter_context(patch.object(*exchange, create=True))
        yield

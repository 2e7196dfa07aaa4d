"""The group coordinator of KIP-848: the brokers choose who reads what, and tell each member with its heartbeat.

Rules and their sources (kafka: group-coordinator/.../modern/consumer): (a) every change of the members raises the
group's epoch, and a new target is computed (TargetAssignmentBuilder); (b) a member first gives up what its target does
not have, and keeps its epoch until it has said so; only then it gets the group's epoch, and what nobody else has or
still has to give up (CurrentAssignmentBuilder); (c) a heartbeat with another epoch than the member's is fenced, but the
one before is accepted, if what the member owns is what it was given: its last answer was lost
(GroupMetadataManager.throwIfConsumerGroupMemberEpochIsInvalid); (d) the commit of a transaction must name a member,
and an epoch in which it had the partitions already (KIP-1251; ConsumerGroup.validateOffsetCommit: UNKNOWN_MEMBER_ID,
STALE_MEMBER_EPOCH; a real Kafka shows it in tests/contract/test_simulation_model.py); (e) who has not beaten for
group.consumer.session.timeout.ms, or not given up in time what it should, is out; (f) a static member that goes keeps
its place for that long, and whoever comes under its instance's name has it at once; while the member has not gone, the
newcomer is refused (UNRELEASED_INSTANCE_ID; getOrMaybeSubscribeStaticConsumerMember), and so is an elder that comes
back when its session is over and another has its place (tests/chaos/test_static_members.py).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from confluent_kafka import KafkaError

from tests.simulation.records import Place

if TYPE_CHECKING:
    from tests.simulation.broker import Broker

Answer = Callable[[int, Any], None]


class _Placed(Protocol):
    @property
    def instance(self) -> str: ...


Placed = TypeVar("Placed", bound=_Placed)


def elder_of(members: Mapping[str, Placed], instance: str) -> Placed | None:
    """The member that has this instance's place, by either protocol; nobody has one without a name."""
    return next((each for each in members.values() if instance and each.instance == instance), None)


class Member:
    """One member: what it is to own in the end, what it was given, and what it was told to give up."""

    def __init__(self, name: str, instance: str) -> None:
        self.name, self.instance = name, instance
        self.has_gone = False
        self.epoch = self.before = 0
        self.target: set[Place] = set()
        self.given: set[Place] = set()
        self.since: dict[Place, int] = {}  # the epoch in which it was given each
        self.leaving: set[Place] = set()
        self.seen = self.told_at = 0.0


class Members:
    """The members of one group, who all read the same topics."""

    def __init__(self, broker: "Broker") -> None:
        self.broker = broker
        self.epoch = 0
        self.members: dict[str, Member] = {}
        self._topics: tuple[str, ...] = ()

    def beat(
        self,
        name: str,
        instance: str,
        epoch: int,
        topics: tuple[str, ...],
        owned: set[Place],
        times: tuple[float, float],
        answer: Answer,
    ) -> None:
        """ConsumerGroupHeartbeat; with epoch 0 it joins."""
        world = self.broker.world
        member = self.members.get(name)
        self._topics = topics
        if member is None:
            elder = elder_of(self.members, instance)
            if epoch or (elder is not None and not elder.has_gone):
                answer(KafkaError.UNKNOWN_MEMBER_ID if epoch else KafkaError.UNRELEASED_INSTANCE_ID, None)
                return
            member = self.members[name] = Member(name, instance)
            member.seen = world.now
            if elder is None:
                self._changed()
            else:
                member.target = elder.target
                del self.members[elder.name]
            self._watch(member, *times)
        elif epoch == 0:  # it has begun anew
            member.epoch, member.given, member.leaving = 0, set(), set()
        elif epoch != member.epoch and not (epoch == member.before and owned <= member.given):
            answer(KafkaError.FENCED_MEMBER_EPOCH, None)
            return
        member.seen = world.now
        member.leaving &= owned
        self._reconcile(member)
        answer(0, (member.epoch, set(member.given)))

    def _reconcile(self, member: Member) -> None:
        if member.leaving:
            return
        if gone := member.given - member.target:
            member.given -= gone
            member.leaving, member.told_at = gone, self.broker.world.now
            return
        if member.epoch != self.epoch:
            member.before, member.epoch = member.epoch, self.epoch
        others = [each for each in self.members.values() if each is not member]
        taken = set().union(*(each.given | each.leaving for each in others))
        for partition in member.target - taken - member.given:
            member.since[partition] = member.epoch
        member.given = member.given | (member.target - taken)

    def topic_made(self, topic: str) -> None:
        """A topic is there (again)."""
        if topic in self._topics and self.members:
            self._changed()

    def topic_deleted(self, topic: str) -> None:
        """A topic is gone. Its members give it up, also if one of the same name is there when they hear of it."""
        for member in self.members.values():
            if gone := {place for place in member.given if place[0] == topic}:
                member.given -= gone
                member.leaving, member.told_at = member.leaving | gone, self.broker.world.now
        self.topic_made(topic)

    def _changed(self) -> None:
        """A new target: even shares, and everybody keeps what it can."""
        self.epoch += 1
        places = self.broker.places(self._topics)
        members = sorted(self.members.values(), key=lambda each: (-len(each.target), each.name))
        least, more = divmod(len(places), max(1, len(members)))
        for at, member in enumerate(members):
            member.target = set(sorted(member.target & set(places))[: least + (at < more)])
        free = [p for p in places if not any(p in each.target for each in members)]
        for at, member in enumerate(members):
            while free and len(member.target) < least + (at < more):
                member.target.add(free.pop(0))

    def _watch(self, member: Member, session_s: float, poll_s: float) -> None:
        world = self.broker.world

        def look() -> None:
            if self.members.get(member.name) is not member:
                return
            due = member.seen + session_s
            if member.leaving:
                due = min(due, member.told_at + poll_s)
            if world.now < due or not self.broker.up:
                world.at(max(min(due, world.now + session_s), world.now + 0.1), look)
                return
            world.tell(f"the session of {member.name} is over")
            self.out(member)

        world.at(world.now + session_s, look)

    def out(self, member: Member) -> None:
        """It is no member any more."""
        del self.members[member.name]
        self._changed()

    def leave(self, name: str, answer: Answer) -> None:
        """Its last heartbeat."""
        if (member := self.members.get(name)) is not None:
            if member.instance:
                member.has_gone, member.given, member.leaving = True, set(), set()
            else:
                self.out(member)
        answer(0, None)

    def refusal(self, name: str, epoch: int, places: Iterable[Place]) -> int:
        """The error code that refuses a transaction's commit for these places; 0 if it is accepted."""
        member = self.members.get(name)
        if member is None or member.has_gone:
            return KafkaError.UNKNOWN_MEMBER_ID
        if epoch == member.epoch:
            return 0
        had = member.given | member.leaving
        ours = all(p in had and member.since.get(p, 0) <= epoch for p in places)
        return 0 if ours and epoch < member.epoch else KafkaError.STALE_MEMBER_EPOCH

"""The group coordinator: members, generations, assignments, and the offsets that transactions commit.

Rules and their sources: (a) an offset commit of a transaction is checked against the member and the generation
(kafka: group-coordinator/.../classic/ClassicGroup.java, validateOffsetCommit, KIP-447); a client that names no member
and no generation may commit, in a transaction, to a group that has members; (b) pending offsets count when their
transaction's marker is written (OffsetMetadataManager.completeTransaction), and are hidden behind
UNSTABLE_OFFSET_COMMIT until then (KIP-447, require_stable); (c) a partition goes to another member only after its
owner gave it up (KIP-429, cooperative-sticky). JoinGroup and SyncGroup are one exchange here: what the leader chose
comes with the answer; (d) a static member (KIP-345) that comes
again under its instance's name takes the elder's place: of a stable group without a rebalance and with what the elder
had, and the elder is fenced (GroupMetadataManager.classicGroupJoinNewStaticMember).
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError

from tests.simulation.members import Members, elder_of
from tests.simulation.records import Place

if TYPE_CHECKING:
    from tests.simulation.broker import Broker

Answer = Callable[[int, Any], None]
Offset = tuple[int, str]  # and what is noted with it


class Member:
    """One member. `claims` is what it said it owns when it joined, `share` what it was given."""

    def __init__(self, name: str, instance: str, session_s: float, rebalance_s: float) -> None:
        self.name, self.instance, self.session_s, self.rebalance_s = name, instance, session_s, rebalance_s
        self.seen = 0.0
        self.claims: set[Place] = set()
        self.share: set[Place] = set()
        self.answer: Answer | None = None


class Group:
    """One group, whose members all read the same topics."""

    def __init__(self, broker: "Broker", name: str) -> None:
        self.broker, self.name = broker, name
        self.topics: tuple[str, ...] = ()
        self.generation = 0
        self.preparing = False
        self.members: dict[str, Member] = {}
        self.committed: dict[Place, Offset] = {}
        self.pending: dict[int, dict[Place, Offset]] = {}
        self.went_back: list[tuple[Place, Offset, Offset]] = []
        self.modern: Members | None = None  # its members, if they are KIP-848's

    # -- members

    def join(
        self,
        name: str,
        instance: str,
        topics: tuple[str, ...],
        claims: set[Place],
        times: tuple[float, float],
        answer: Answer,
    ) -> None:
        """JoinGroup: answered when all have joined."""
        world = self.broker.world
        member = self.members.get(name)
        if member is None:
            if name:
                answer(self._stranger(instance), None)
                return
            elder = elder_of(self.members, instance)
            member = Member(f"m{next(world.names)}", instance, *times)
            if elder is not None:
                self._replace(elder, member)
            self.members[member.name] = member
            self._watch(member)
            if elder is not None and not self.preparing:
                member.seen = world.now
                answer(0, (member.name, self.generation, member.share))
                return
        self.topics = topics
        member.claims, member.answer, member.seen = claims, answer, world.now
        if not self.preparing:
            self.preparing = True
            world.at(world.now + times[1], self._late, self.generation)
        self._complete()

    def _stranger(self, instance: str) -> int:
        """The error code for a member that the group does not know (ClassicGroup.validateMember)."""
        return (
            KafkaError.FENCED_INSTANCE_ID
            if elder_of(self.members, instance)
            else KafkaError.UNKNOWN_MEMBER_ID
        )

    def _replace(self, elder: Member, member: Member) -> None:
        """ClassicGroup.replaceStaticMember."""
        self.broker.world.tell(f"{member.name} takes the place of {elder.name}")
        del self.members[elder.name]
        member.share = elder.share
        if elder.answer is not None:
            elder.answer(KafkaError.FENCED_INSTANCE_ID, None)

    def _late(self, generation: int) -> None:
        """Remove the members that have not joined again in time (rebalance.timeout.ms)."""
        if self.preparing and self.generation == generation:
            for member in [each for each in self.members.values() if each.answer is None]:
                del self.members[member.name]
            self._complete()

    def _watch(self, member: Member) -> None:
        world = self.broker.world

        def look() -> None:
            if self.members.get(member.name) is not member:
                return
            if (
                member.answer is not None
            ):  # ClassicGroupMember.hasSatisfiedHeartbeat: who waits in JoinGroup lives
                member.seen = world.now
            due = member.seen + member.session_s
            if world.now < due or not self.broker.up:
                world.at(max(due, world.now + 1.0), look)
                return
            world.tell(f"the session of {member.name} is over")
            self._out(member)

        world.at(world.now + member.session_s, look)

    def _out(self, member: Member) -> None:
        del self.members[member.name]
        if member.answer is not None:
            member.answer(KafkaError.UNKNOWN_MEMBER_ID, None)
        self.preparing = bool(self.members)
        if self.members:
            self.broker.world.at(
                self.broker.world.now + member.rebalance_s, self._late, self.generation
            )  # else who never joins again would be waited for
            self._complete()

    def topic_made(self) -> None:
        """A topic is there (again): the members that hear of it with their metadata join again, if nobody has it."""
        shared = set().union(*(each.share for each in self.members.values()))
        if self.members and not self.preparing and not shared >= set(self.broker.places(self.topics)):
            self.preparing = True
            longest = max(each.rebalance_s for each in self.members.values())
            self.broker.world.at(self.broker.world.now + longest, self._late, self.generation)

    def leave(self, name: str, answer: Answer) -> None:
        if (member := self.members.get(name)) is not None:
            self._out(member)
        answer(0, None)

    def heartbeat(self, name: str, instance: str, generation: int, answer: Answer) -> None:
        member = self.members.get(name)
        if member is None:
            answer(self._stranger(instance), None)
            return
        if generation != self.generation:
            answer(KafkaError.ILLEGAL_GENERATION, None)
            return
        member.seen = self.broker.world.now
        answer(KafkaError.REBALANCE_IN_PROGRESS if self.preparing else 0, None)

    def _complete(self) -> None:
        if not self.preparing or any(member.answer is None for member in self.members.values()):
            return
        self.preparing = False
        self.generation += 1
        shares = self._shares()
        for member in self.members.values():
            answer, member.answer = member.answer, None
            member.seen = self.broker.world.now
            assert answer is not None, "all have joined"
            member.share = shares[member.name]
            answer(0, (member.name, self.generation, member.share))

    def _shares(self) -> dict[str, set[Place]]:
        """Assign partitions evenly. Every member keeps what it can. A partition that another member still owns is
        given to nobody this time."""
        places = self.broker.places(self.topics)
        members = sorted(self.members.values(), key=lambda each: (-len(each.claims), each.name))
        owner = {p: each.name for each in reversed(members) for p in each.claims}
        least, more = divmod(len(places), max(1, len(members)))
        shares: dict[str, set[Place]] = {}
        for at, member in enumerate(members):
            mine = sorted(p for p in member.claims if owner[p] == member.name and p in places)
            shares[member.name] = set(mine[: least + (at < more)])
        free = [p for p in places if not any(p in share for share in shares.values())]
        for at, member in enumerate(members):
            while free and len(shares[member.name]) < least + (at < more):
                shares[member.name].add(free.pop(0))
        return {name: {p for p in share if owner.get(p, name) == name} for name, share in shares.items()}

    # -- offsets

    def refusal(self, name: str, instance: str, generation: int, places: Iterable[Place]) -> int:
        """The error code that refuses a transaction's commit; 0 if it is accepted."""
        if generation < 0 and not name:
            return 0
        if self.modern is not None:
            return self.modern.refusal(name, generation, places)
        if not (self.generation or self.members or self.committed):
            return KafkaError.ILLEGAL_GENERATION  # there is no such group: validateTransactionalOffsetCommit
        if name not in self.members:
            return self._stranger(instance)
        return 0 if generation == self.generation else KafkaError.ILLEGAL_GENERATION

    def commit(
        self, name: str, instance: str, generation: int, offsets: dict[Place, Offset], answer: Answer
    ) -> None:
        """OffsetCommit, without a transaction."""
        code = self.refusal(name, instance, generation, offsets)
        if not code:
            self.committed.update(offsets)
        answer(code, None)

    def mark(self, pid: int, *, commit: bool) -> None:
        """Take the marker of a transaction."""
        for place, (offset, note) in self.pending.pop(pid, {}).items():
            if not commit:
                continue
            before = self.committed.get(place)
            if before is not None and before[0] > offset:
                self.went_back.append((place, before, (offset, note)))
            self.committed[place] = (offset, note)

    def fetch(self, places: list[Place], answer: Answer, *, stable: bool = True) -> None:
        """OffsetFetch. A reader of committed records waits for pending offsets (librdkafka: rdkafka_request.c,
        rd_kafka_OffsetFetchRequest, require_stable)."""
        if stable and any(place in pending for pending in self.pending.values() for place in places):
            answer(KafkaError.UNSTABLE_OFFSET_COMMIT, None)
            return
        answer(0, {place: self.committed.get(place, (-1001, "")) for place in places})

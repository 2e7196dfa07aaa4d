"""The daemon's work on both topics of requests without Kafka: what is committed is what a group's offsets would be."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from stream_scrub.lists.intake.consents import ConsentLaw
from stream_scrub.lists.intake.lifts import Oppositions, recall
from stream_scrub.lists.intake.parse_request import RequestTerms
from stream_scrub.lists.intake.requests_to_delta import KnownScopes, RefusedRequest, in_turn, steps, take
from stream_scrub.lists.log.encode import records_of
from stream_scrub.lists.log.replay import Replay
from stream_scrub.lists.log.restate import marked, restated
from stream_scrub.lists.log.wire import RENEWED, RENEWING, RULES, Cursor, DeltaSource
from stream_scrub.model import OWN, Request
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import Publisher, followed
from tests.support.oracles.requests import NOW

NEVER = 99


class Crashed(Exception):
    """The publisher was killed here."""


class RequestOffice:
    """One publisher of `internal` and `consent`, with a campaign of its own, `house`. `most` scopes may exist. `seen` is
    called after every transaction."""

    def __init__(
        self, *, house: str = "house", most: int = 20_000, seen: Callable[[], None] = lambda: None
    ) -> None:
        self.publisher = Publisher(Log(), full_every=20)
        self.ids = {False: "AAAAAAAAAAAAAAAAAAAAAQ", True: "AAAAAAAAAAAAAAAAAAAAAg"}
        self.committed: dict[tuple[bool, int], int] = {}
        self.turned: list[RefusedRequest] = []
        self.said = Oppositions()
        self._law, self._house, self._most, self._seen = ConsentLaw(), house, most, seen

    def restart(self) -> None:
        """What it knew is gone with its process."""
        self.publisher.restart()
        self.said = recall(Reader(self.publisher.log), self.terms(), 5.0)

    def renew(self, at_ms: int) -> None:
        """Its log is begun anew at that moment, and it begins on the new one."""
        old, log = self.publisher.replay, Log()
        source, at = DeltaSource("the log before", "0" * 64), datetime.fromtimestamp(at_ms / 1000, UTC)
        there = Replay(keep_ends=True)
        Writer(log).publish(marked(there.rules, RENEWING, source, at, there.known(RULES)))
        for name, held in old.index.registers.items():
            there = followed(log, keep_ends=True)
            made = restated(held, old.known(name), None, there.known(name), source)
            Writer(log).publish(made.records)
        there = followed(log, keep_ends=True)
        Writer(log).publish(marked(there.rules, RENEWED, source, at, there.known(RULES)))
        log.records = [each._replace(timestamp_ms=at_ms) for each in log.records]
        self.publisher = Publisher(log, full_every=20)
        self.restart()

    def terms(self) -> RequestTerms:
        """What requests are read by, as the log stands."""
        index = self.publisher.replay.index
        kinds = {**OWN, **{name: register.kind for name, register in index.registers.items()}}
        return RequestTerms(frozenset(OWN), kinds, "FR", NOW, index.spelt(), self._law, self._house)

    def told(self, register: str, *, lifts: bool) -> Cursor | None:
        """Up to which requests of a topic the register was told."""
        asked = self.publisher.replay.known(register).asked
        return None if asked is None else asked.of(self.ids[lifts], lifts=lifts)

    def waiting(self, topic: Sequence[Request]) -> list[Request]:
        """Those of the requests that are not committed."""
        return [r for r in topic if r.offset >= self.committed.get((r.may_lift, r.partition), 0)]

    def holding(self, number: int) -> set[str]:
        """The registers that hold the number."""
        registers = self.publisher.replay.index.registers
        return {name for name, register in registers.items() if number in register.numbers}

    def answer(self, batch: Sequence[Request], crash: int = NEVER) -> None:
        """A batch of one topic's requests. Raises Crashed before the transaction of that number, from 0."""
        for step in steps(batch, self.terms()):
            crash = self._step(list(step), crash)

    def _step(self, batch: list[Request], crash: int) -> int:
        """One part of a batch; the transactions that are left until the crash."""
        lifts = any(request.may_lift for request in batch)
        known = KnownScopes(most=self._most)
        registers = self.publisher.replay.index.registers
        wanted, turned = take(
            batch, self.terms(), lambda name: self.told(name, lifts=lifts), self.said, registers, known
        )
        groups = in_turn(wanted) or [[]]
        for group in groups:
            if crash == 0:
                raise Crashed
            crash -= 1
            records = []
            for name in group:
                asks, view = wanted[name], self.publisher.replay.known(name)
                base = self.publisher.base(name, asks.kind)
                reached = asks.cursor("requests", self.ids[lifts], self.told(name, lifts=lifts))
                before = Cursor("requests", self.ids[False], {}) if view.asked is None else view.asked
                made, _ = records_of(
                    base,
                    asks.delta(base, view.ends),
                    NOW,
                    DeltaSource("requests", "0" * 64),
                    known=view,
                    full_every=20,
                    cursor=before.with_(reached, lifts=lifts),
                )
                records += made
            if records:
                self.publisher.writer.publish(records)
            if group is groups[-1]:
                self.turned += turned
                for request in batch:
                    of = lifts, request.partition
                    self.committed[of] = max(self.committed.get(of, 0), request.offset + 1)
            self.publisher.catch_up()
            self._seen()
        return crash

"""Numbers whose end has come leave their registers.

An opposition that ends too early allows calls that cannot be undone, so it needs more than this machine's clock: two
looks a minute apart, and then a timestamp of the brokers'.
"""

from collections.abc import Collection
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from stream_scrub import clock
from stream_scrub.config import Settings
from stream_scrub.imports.consents import belated
from stream_scrub.imports.register_law import RegisterLaw
from stream_scrub.index.deltas import ended
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import Logger, RegisterKind, family
from stream_scrub.ops.log_lines import RecurringProblem
from stream_scrub.ops.loop_state import PublisherState
from stream_scrub.publisher.delta_publisher import DeltaPublisher, PendingDelta, RegisterBusy
from stream_scrub.requests.requests_to_delta import families
from stream_scrub.rules.book import Rulebook

_APART_S = 60.0


class _Look(NamedTuple):
    """When ends were first found due: by a clock that only goes on, and by the wall clock."""

    since: float
    now: datetime


class EndedNumbers:
    """Publishes due removals, of every register. One thread."""

    def __init__(
        self,
        settings: Settings,
        rulebook: Rulebook,
        publisher: DeltaPublisher,
        state: PublisherState,
        log: Logger,
    ) -> None:
        self._settings, self._rulebook = settings, rulebook
        self._publisher, self._state, self._log = publisher, state, log
        self._looks: dict[str, _Look] = {}
        self._clock = RecurringProblem(log, "ends of oppositions delayed", "ends of oppositions continue")
        self.unlimited: set[str] = set()  # registers whose consents may lack their lawful ends

    def publish(self, now: datetime) -> None:
        """One transaction for each register with its scoped ones. Raises as `DeltaPublisher`."""
        registers = self._publisher.registers
        due = [
            each.name
            for each in registers.values()
            if each.name in self.unlimited
            or (each.next_end is not None and each.next_end <= each.ends_by(now))
        ]
        kinds = {name: registers[name].kind for name in due}
        self._looks = {name: look for name, look in self._looks.items() if name in map(family, due)}
        for group in reversed(families(due, kinds.__getitem__)):  # a consent ends before an opposition does
            try:
                self._publish(group, now, opposing=kinds[group[0]] is RegisterKind.DENY)
            except RegisterBusy as busy:
                self._log.info("ends wait", register=family(group[0]), why=str(busy))
        self._publisher.give_back()

    def _publish(self, group: Collection[str], now: datetime, *, opposing: bool) -> None:
        mine = family(next(iter(group)))
        upto = now
        if opposing:
            first = self._looks.setdefault(mine, _Look(clock.elapsed(), now))
            if clock.elapsed() - first.since < _APART_S:
                return
            upto = min(first.now, now)
        if not self._publisher.ready(mine):
            return  # its writer is being opened: the next second asks again
        if opposing and not self._is_right(mine, now):
            return
        deltas = [self._delta(name, upto) for name in group]
        due = [each for each in deltas if not each.delta.is_empty]
        if due:
            self._publisher.publish(due)
        self._looks.pop(mine, None)
        self.unlimited.difference_update(group)
        for each in due:
            self._state.ended(len(each.delta.removes))
            self._log.info("ended", register=each.base.name, removes=len(each.delta.removes))

    def _is_right(self, register: str, now: datetime) -> bool:
        """Whether the brokers' clocks show that `now` is not yet to come. If not, the looks start again."""
        earliest = now.timestamp() - self._settings.rules.clock_skew_max_s
        theirs = self._publisher.brokers_time(register, earliest)
        self._state.ends_held = theirs is None or theirs < earliest
        if not self._state.ends_held:
            self._clock.end()
            return True
        self._looks[register] = _Look(clock.elapsed(), now)
        why = (
            "the log's latest timestamp is no broker's, but of a publisher whose clock was ahead"
            if theirs is None
            else f"this machine's clock is {now.timestamp() - theirs:.0f} s ahead of the brokers': synchronise it"
        )
        self._clock.occurred(why, register=register)
        return False

    def _delta(self, name: str, upto: datetime) -> PendingDelta:
        base, known = self._publisher.registers[name], self._publisher.replay.known(name)
        source = DeltaSource("ends", sha256(base.chain.encode()).hexdigest())
        due = ended(known.ends, base.ends_by(upto))
        if name in self.unlimited:
            law = RegisterLaw.of(self._rulebook, name, upto)
            days, dated = law.good_days, law.dated_consents
            if days or dated:
                due = belated(base.numbers, known.ends, days, base.effective_at, upto, dated)
        return PendingDelta(base, due, base.effective_at, source, known)

"""A dialler over sixty days, on a clock of the test's own: its publisher and its stamps are the product's."""

import json
import random
from dataclasses import replace
from datetime import timedelta

import numpy as np

from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.stamp import decode
from tests.support.fakes import law
from tests.support.fakes.attempts import BOOK, Resting
from tests.support.fakes.scrubbers import MEMBERS
from tests.support.oracles.dialling import PROFESSIONALS, Dialler


class Memory:
    """The topic of attempts, the register of what rests, and the people who opposed."""

    def __init__(self, rng):
        self.rng, self.records = rng, []
        self.rests, self.opposed = {}, set()
        self.begin()

    def begin(self):
        """A publisher that knows nothing, as after a kill: it reads the topic again."""
        self.publisher, self.read = Resting(PROFESSIONALS, attempts_max=10_000), 0

    def report(self, records, opposed, now):
        self.records += [(int(now.timestamp() * 1000), record) for record in records]
        self.opposed.update(opposed)
        if self.rng.random() < 0.02:
            self.begin()

    def settle(self, rests, now):
        """Read what is new, in a batch of any size, and publish what rests by it; what has ended leaves the register."""
        while self.read < len(self.records):
            batch = self.records[self.read : self.read + self.rng.randint(1, 50)]
            self.read += self.publisher.take(batch, now)
        for name, wanted in self.publisher.newly_resting().items():
            known = self.rests.setdefault(name, {})
            known |= {number: max(end, known.get(number, 0)) for number, end in wanted.items()}
        self.end(now)
        assert {
            (number, name.removeprefix("rested@")): end
            for name, ends in self.rests.items()
            for number, end in ends.items()
        } == {pair: end.timestamp() for pair, end in rests.items()}

    def end(self, now):
        for known in self.rests.values():
            for number in [number for number, end in known.items() if end <= now.timestamp()]:
                del known[number]

    def index(self, now):
        age = (law.NOW - now) / timedelta(days=1)
        made = [law.register("internal", self.opposed, days_old=age)]
        for name, ends in self.rests.items():
            numbers = np.array(sorted(ends), np.uint64)
            register = law.register(name, ends, days_old=age)
            until = np.array([ends[number] for number in sorted(ends)], np.int64)
            made.append(replace(register, ends=register.ends.changed(numbers[:0], numbers, until)))
        return law.index(*made)

    def stamps(self, asks, now):
        self.end(now)
        terms = Terms(MEMBERS, stamp="header", default_purpose="insurance", professionals=PROFESSIONALS)
        scrubber, index = Scrubber(terms, BOOK), self.index(now)
        leads = [
            json.dumps({"phone": f"+{number}", "campaign": campaign, "contract": True}).encode()
            for number, campaign in asks
        ]
        context = scrubber.context(index, now, asks_now=True)
        found = [decode(each) for each in scrubber.scrub(leads, index, now, context=context).stamps]
        assert all(each.callable_now is each.callable_at(now) for each in found if each.allowed)
        return found


def test_a_dialler_that_calls_whatever_it_may_keeps_the_law():
    """In France a fifth call in thirty days, one in the silence after a refusal or one at night costs 75 000 euros."""
    rng = random.Random(0)
    dialler = Dialler(Memory(rng), rng)
    dialler.work(a_day=6)
    assert len(dialler.calls) > 40 and dialler.refusals and len(dialler.told) > 5

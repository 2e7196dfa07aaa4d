"""The desk that answers questions: who waits for whom, and when no verdict is given. Without a server."""

import asyncio
import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pyroaring import BitMap64

from stream_scrub import clock
from stream_scrub.config import load
from stream_scrub.index import Index, Register
from stream_scrub.model import RegisterKind
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.serve import check, guard
from stream_scrub.serve.bodies import Problem
from stream_scrub.serve.check import CheckEndpoint

free = guard.Caller(
    guard.Account("", guard.Bucket(math.inf), 1 << 30), guard.Account("", guard.Bucket(math.inf), 1 << 30)
)


def desk(rules, usable) -> tuple[CheckEndpoint, list]:
    made = load(flags={"rules.folder": str(rules)}, environ={})
    told: list = []
    return CheckEndpoint(made, usable, lambda tally, seconds: told.append((tally, seconds))), told


def test_an_index_that_grew_old_while_it_was_judged_by_is_not_answered_from(rules, monkeypatch):
    """A question that takes long would be answered by a list that is no longer good."""
    made, told = desk(rules, Index.empty)
    moments = iter([0.0, 31.0])
    monkeypatch.setattr(clock, "elapsed", lambda: next(moments))
    with pytest.raises(Problem) as found:
        asyncio.run(made.answer(b'{"number":"0611111111"}', 0, free))
    assert found.value.kind.status == 503 and told == []


def test_a_question_of_many_lets_others_through(rules, monkeypatch):
    """One dialler's page of ten thousand would make every other dialler wait for all of it."""
    made, told = desk(rules, Index.empty)
    asked = json.dumps({"prospects": [{"number": "0611111111"}] * 5000}).encode()
    turns = 0

    async def both() -> bytes:
        nonlocal turns
        answering = asyncio.create_task(made.answer(asked, 0, free))
        while not answering.done():
            turns += 1
            await asyncio.sleep(0)
        return answering.result()

    assert len(json.loads(asyncio.run(both()))["stamps"]) == 5000
    assert turns >= 10 and sum(told[0][0].values()) == 5000


def test_prospects_that_cost_much_are_judged_a_few_at_a_time(rules, monkeypatch):
    """Prospects that are made to cost would stop the answers to everybody else."""
    found = []
    scrub = Scrubber.scrub

    def counted(self, values, *arguments, enough, **more):
        batch = scrub(self, values, *arguments, enough=lambda: True, **more)
        found.append(len(batch.stamps))
        return batch

    monkeypatch.setattr(Scrubber, "scrub", counted)
    made, _ = desk(rules, Index.empty)
    odd = {"number": ["0611111111", "0622222222"]}
    answer = asyncio.run(made.answer(json.dumps({"prospects": [odd] * 7}).encode(), 0, free))
    assert len(json.loads(answer)["stamps"]) == 7 and found == [1] * 7


def test_questions_of_one_moment_are_judged_together(rules, monkeypatch):
    """At two thousand questions a second most of a processor would go into what one batch needs once."""
    made, told = desk(rules, Index.empty)
    batches = []
    scrub = Scrubber.scrub

    def counted(self, values, *arguments, **more):
        batches.append(len(values))
        return scrub(self, values, *arguments, **more)

    monkeypatch.setattr(Scrubber, "scrub", counted)

    async def many() -> list[bytes]:
        bodies = [b'{"number":"+336%08d"}' % at for at in range(300)]
        return await asyncio.gather(*(made.answer(body, 0, free) for body in bodies))

    stamps = [json.loads(each) for each in asyncio.run(many())]
    assert [stamp["number"] for stamp in stamps] == [f"+336{at:08d}" for at in range(300)]
    assert batches == [200, 100] and sum(sum(tally.values()) for tally, _ in told) == 300


def test_an_index_that_was_replaced_is_used_no_more(rules, monkeypatch):
    """Somebody who just said no would be called for as long as others ask; or a server that nobody asks would keep two
    indexes in memory."""
    monkeypatch.setattr(check, "_MOMENT_S", 0.5)  # long enough for two questions on a busy machine
    newest = [Index.empty()]
    made, _ = desk(rules, lambda: newest[0])

    async def ask() -> tuple[dict, dict, dict]:
        said = [json.loads(await made.answer(b'{"number":"0611111111"}', 0, free)) for _ in range(2)]
        opposed = Register.empty("internal", RegisterKind.DENY, datetime.now(UTC))
        newest[0] = newest[0].with_register(replace(opposed, numbers=BitMap64([33611111111]), position=7))
        after = json.loads(await made.answer(b'{"number":"0611111111"}', 0, free))
        for _ in range(1000):
            if made._shared is None:
                break
            await asyncio.sleep(0.005)
        assert made._shared is None, "nothing holds an index when nobody asks"
        return said[0], said[1], after

    first, second, after = asyncio.run(ask())
    assert first["at"] == second["at"], "one moment"
    assert (after["index"], after["reason"]) == (7, "opposed")


def test_who_must_wait_for_a_register_waits_alone(rules):
    """One question about a country whose list is late would leave all others of that moment without an answer."""
    made = load(flags={"rules.folder": str(rules), "rules.stale": "hold"}, environ={})
    desk_ = CheckEndpoint(made, Index.empty, lambda *_: None)

    async def both() -> list:
        asked = [b'{"number":"x"}', b'{"number":"+447400123456"}', b'{"number":"y"}']
        return await asyncio.gather(*(desk_.answer(each, 0, free) for each in asked), return_exceptions=True)

    first, held, last = asyncio.run(both())
    assert b"invalid-number" in first and b"invalid-number" in last
    assert isinstance(held, Problem) and json.loads(held.body)["cause"] == "register"


def test_a_fault_leaves_nobody_waiting(rules, monkeypatch):
    """Diallers would wait for ever for a verdict that nobody works on."""
    made, _ = desk(rules, Index.empty)
    faults = [KeyError("x")]

    def broken(*_arguments, **_more):
        raise faults[0]

    async def several() -> list:
        asked = [made.answer(b'{"number":"0611111111"}', 0, free) for _ in range(3)]
        return await asyncio.gather(*asked, return_exceptions=True)

    with monkeypatch.context() as patch:
        patch.setattr(Scrubber, "scrub_each", broken)
        assert asyncio.run(several()) == faults * 3
    assert b"verdict" in asyncio.run(made.answer(b'{"number":"0611111111"}', 0, free))

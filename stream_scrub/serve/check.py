"""`POST /v1/check`: stamps for prospects that are about to be called.

Each prospect goes to the `Scrubber` as the bytes that came in, as from the stream: there is only one way to a verdict.
A list of prospects is judged by one index at one moment, in slices, so that single checks are answered in between.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from stream_scrub import clock
from stream_scrub.call import FACTS
from stream_scrub.config import Settings
from stream_scrub.errors import StaleIndex
from stream_scrub.index import Index
from stream_scrub.model import Reason
from stream_scrub.numbering import UNKNOWN, is_blank, region_named
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import FEW, Batch, Scrubber
from stream_scrub.scrub.decide_batch import BatchContext
from stream_scrub.scrub.decode import Members
from stream_scrub.serve import bodies
from stream_scrub.serve.bodies import Problem, invalid, stale
from stream_scrub.serve.guard import Caller
from stream_scrub.serve.turns import Turns

PROSPECTS_MAX = 10_000  # of one question, and its numbers
PROSPECT_BYTES_MAX = 16_384
_WAITING_MAX = 8  # lists of one token
_BYTES_A_NUMBER = 1024  # a list of fewer numbers costs the token's rate as much as one of so many
_VALIDATED = 2000  # prospects of a list, in one turn of the loop
_SLICE_ROWS = 500  # of a list; a plain prospect takes half a microsecond
_BATCH_ROWS = 200  # single checks that are judged together
_MOMENT_S = 0.05  # single checks within this time share one moment on their stamps
_TURN_S = 0.002  # a slice of slow prospects yields to other requests after this time
_MEMBERS = Members.of(["number"], "region", case="exact")

# A body with one list and nothing else: up to the first prospect, between two, after the last one.
_SPACE = rb"[ \t\n\r]*"
_BEGINS = re.compile(rb'%b\{%b"(?:[^"\\]|\\.)*"%b:%b\[%b' % ((_SPACE,) * 5))
_BETWEEN = re.compile(rb"%b,?%b" % (_SPACE, _SPACE))
_ENDS = re.compile(rb"%b\]%b\}%b" % ((_SPACE,) * 3))
_TWICE = "this member occurs twice, and parsers differ in which one they read"

Numbers = str | int | None | list[str | int | None]


CheckProspect = msgspec.defstruct(
    "CheckProspect",
    [
        ("number", Numbers),
        ("region", str | None, None),
        *((name, fact.wire, None) for name, fact in FACTS.items()),
    ],
    forbid_unknown_fields=True,
    module=__name__,
    namespace={
        "__doc__": """One prospect to check: `number` in any spelling, `region` for national numbers, and the facts of the call."""
    },
)


# The body: the members of one prospect, or `prospects`.
_ONE = CheckProspect.__struct_fields__
_Question = msgspec.defstruct(
    "_Question",
    [
        *((name, Any, msgspec.UNSET) for name in _ONE),
        ("prospects", list[msgspec.Raw] | msgspec.UnsetType, msgspec.UNSET),
    ],
    forbid_unknown_fields=True,
)
_QUESTION: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Question)
_PROSPECT: msgspec.json.Decoder[Any] = msgspec.json.Decoder(CheckProspect)
_UNCOUNTED: Counter[Reason] = Counter()  # a check's verdict counts with its batch


class CheckEndpoint:
    """Answers checks. `usable` returns the current index or raises StaleIndex. `count` counts verdicts, and the seconds
    of a single check."""

    def __init__(
        self,
        settings: Settings,
        usable: Callable[[], Index],
        count: Callable[[Counter[Reason], float | None], None],
    ) -> None:
        terms = replace(scrubbing.terms(settings, header=True), members=_MEMBERS)
        self._scrubber = Scrubber(terms, scrubbing.rulebook(settings))
        self._usable = usable
        self._count = count
        self._lag_max_s = settings.rules.index_lag_max_s
        self._batcher = CheckBatcher(self._judge_singles)
        self._shared: BatchContext | None = None  # by single checks within a few milliseconds, until `_ends`
        self._ends = 0.0  # by `time.monotonic`
        self._turns = Turns(_WAITING_MAX)

    async def answer(self, body: bytes, since: float, caller: Caller) -> bytes:
        """Return the stamp, or `{"stamps": [...]}` in the order of the prospects. `since` is when the request arrived
        (`time.perf_counter`). Raises Problem (422, 429, 503)."""
        if len(body) <= PROSPECT_BYTES_MAX:
            question = bodies.decoded(_QUESTION, body)
            if isinstance(question.prospects, msgspec.UnsetType):
                prospect = bodies.decoded(_PROSPECT, body)
                _need_region(prospect, "region")
                numbers = _numbers(prospect.number)
                caller.spend(len(numbers))
                stamp = await self._batcher.stamp(body)
                caller.asked(numbers)
                self._count(_UNCOUNTED, time.perf_counter() - since)
                return stamp
        async with self._turns.turn(caller.name):
            return await self._answer_list(body, caller)

    async def _answer_list(self, body: bytes, caller: Caller) -> bytes:
        spent = len(body) // _BYTES_A_NUMBER if len(body) > PROSPECT_BYTES_MAX else 0
        caller.spend(spent)  # before a large body costs anything
        question = bodies.decoded(_QUESTION, body)
        if isinstance(question.prospects, msgspec.UnsetType):
            raise invalid([("body", f"a prospect has at most {PROSPECT_BYTES_MAX} bytes")])
        if any(getattr(question, name) is not msgspec.UNSET for name in _ONE):
            raise invalid([("body", "send the members of one prospect, or `prospects`, not both")])
        if len(question.prospects) > PROSPECTS_MAX:
            raise invalid([("prospects", f"send at most {PROSPECTS_MAX} prospects in one request")])
        values, numbers = await _values(question.prospects)
        if len(numbers) > PROSPECTS_MAX:
            raise invalid([("prospects", f"send at most {PROSPECTS_MAX} numbers in one request")])
        try:
            caller.spend(max(0, len(numbers) - spent))
        except Problem:
            caller.spend(-spent)
            raise
        _need_once(body, values)
        stamps = await self._judge_list(values)
        caller.asked(numbers)
        return b'{"stamps":[' + b",".join(stamps) + b"]}"

    def _judge_singles(self, values: list[bytes]) -> Batch:
        """Judge single checks for one turn; the batch may cover only the first ones. Raises StaleIndex."""
        started, index = clock.elapsed(), self._usable()
        context = self._shared
        if context is None or context.index is not index or time.monotonic() >= self._ends:
            context = self._shared = self._scrubber.context(index, datetime.now(UTC), asks_now=True)
            self._ends = time.monotonic() + _MOMENT_S
            asyncio.get_running_loop().call_later(_MOMENT_S, self._end, context)
        ends = _passed(time.perf_counter() + _TURN_S)
        if len(values) < FEW:
            batch = self._scrubber.scrub_each(values, context, enough=ends)
        else:
            batch = self._scrubber.scrub(values, index, context.now, enough=ends, context=context)
        self._need_fresh(started)
        self._count(batch.tally, None)
        return batch

    def _end(self, context: BatchContext) -> None:
        """Drop what was shared for a moment, and with it an index that may have been replaced."""
        if self._shared is context:
            self._shared = None

    async def _judge_list(self, values: list[bytes]) -> list[bytes]:
        """Return a stamp for each prospect, by one index at one moment. Raises Problem (503)."""
        stamps: list[bytes] = []
        tally: Counter[Reason] = Counter()
        try:
            started, index, now = clock.elapsed(), self._usable(), datetime.now(UTC)
            context = self._scrubber.context(index, now, asks_now=True)
            while len(stamps) < len(values):
                if stamps:
                    await asyncio.sleep(0)
                rows = values[len(stamps) : len(stamps) + _SLICE_ROWS]
                ends = _passed(time.perf_counter() + _TURN_S)
                batch = self._scrubber.scrub(rows, index, now, enough=ends, context=context)
                stamps += [stamp or b"" for stamp in batch.stamps]
                tally += batch.tally
                self._need_fresh(started)
        except StaleIndex as error:
            raise stale(error) from error
        self._count(tally, None)
        return stamps

    def _need_fresh(self, started: float) -> None:
        """Raises StaleIndex if the index taken at `started` may be too old by now."""
        if clock.elapsed() - started > self._lag_max_s:
            raise StaleIndex(
                "log-behind",
                "judging took too long: send fewer prospects in one request",
            )


def _passed(ends: float) -> Callable[[], bool]:
    return lambda: time.perf_counter() >= ends


def _need_once(body: bytes, values: list[bytes]) -> None:
    """Raises Problem (422) for a body with two lists: another parser would take the first one. `values` is the list
    that msgspec took."""
    if body.count(b"prospects") == 1 and b"\\" not in body:
        return  # without escapes there is no other spelling of the name
    opening = _BEGINS.match(body)
    assert opening is not None
    at = opening.end()
    for value in values:
        if not body.startswith(value, at):
            raise invalid([("prospects", _TWICE)])
        between = _BETWEEN.match(body, at + len(value))
        assert between is not None
        at = between.end()
    if _ENDS.fullmatch(body, at) is None:
        raise invalid([("prospects", _TWICE)])


def _numbers(spelt: Numbers) -> list[str]:
    """The numbers of a prospect as they are spelt; at least one, if empty."""
    return [str(each) for each in spelt] if isinstance(spelt, list) and spelt else [str(spelt)]


async def _values(prospects: list[msgspec.Raw]) -> tuple[list[bytes], list[str]]:
    """Return the bytes of each prospect after validating all, and their numbers. Raises Problem (422)."""
    values: list[bytes] = [*map(bytes, prospects)]
    numbers: list[str] = []
    for first in range(0, len(values), _VALIDATED):
        if first:
            await asyncio.sleep(0)
        some = values[first : first + _VALIDATED]
        fit = max(map(len, some)) <= PROSPECT_BYTES_MAX
        try:
            read = [*map(_PROSPECT.decode, some if fit else ())]
        except (ValueError, RecursionError):
            read = []
        if len(read) < len(some):  # `_prospect` says which one is wrong, and why
            read = [_prospect(value, first + at) for at, value in enumerate(some)]
        for at, prospect in enumerate(read, first):
            _need_region(prospect, f"prospects[{at}].region")
        spelt = [each.number for each in read]
        if {*map(type, spelt)} == {str}:  # the quick way for nearly all
            numbers += spelt
        else:
            numbers += [number for each in spelt for number in _numbers(each)]
    return values, numbers


def _need_region(prospect: Any, path: str) -> None:
    """Raises Problem (422) for an unknown region."""
    if prospect.region is not None and not (is_blank(prospect.region) or region_named(prospect.region)):
        raise invalid([(path, UNKNOWN)])


def _prospect(value: bytes, place: int) -> Any:
    """Validate one of a list. Raises Problem (422)."""
    at = f"prospects[{place}]"
    if len(value) > PROSPECT_BYTES_MAX:
        raise invalid([(at, f"a prospect has at most {PROSPECT_BYTES_MAX} bytes")])
    return bodies.decoded(_PROSPECT, value, at)


# One prospect's bytes, and the future of its stamp.
_Waiting = tuple[bytes, asyncio.Future[bytes]]


class CheckBatcher:
    """Judges the single checks that wait at one moment as one batch.

    One prospect or a hundred cost nearly the same, so the load per check falls as traffic rises, and a delay is caught
    up at once. `judge` returns a batch that covers at least the first value; it may raise StaleIndex.
    """

    def __init__(self, judge: Callable[[list[bytes]], Batch]) -> None:
        self._judge = judge
        self._waiting: list[_Waiting] = []

    async def stamp(self, value: bytes) -> bytes:
        """Return the stamp of one prospect. Raises Problem (503)."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._run, loop)  # after the loop has read all that arrived
        self._waiting.append((value, answer))
        return await answer

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Judge a batch of the waiting checks, and the next one after what else the loop has to do. Every future gets a result
        or an exception."""
        batch = self._waiting[:_BATCH_ROWS]
        try:
            done = self._answer(batch)
        except Exception as fault:  # noqa: BLE001 - each waiting request raises it
            for _, answer in batch:
                _fail(answer, fault)
            done = len(batch)
        del self._waiting[:done]
        if self._waiting:
            loop.call_soon(self._run, loop)

    def _answer(self, waiting: list[_Waiting]) -> int:
        """Answer the first ones; returns how many."""
        try:
            batch = self._judge([value for value, _ in waiting])
        except StaleIndex as error:
            if len(waiting) == 1:
                _fail(waiting[0][1], stale(error))
            else:  # possibly only one of them needs a register that is missing
                for each in waiting:
                    self._answer([each])
            return len(waiting)
        for (_, answer), stamp in zip(waiting, batch.stamps, strict=False):
            if not answer.done():  # the client may have disconnected
                answer.set_result(stamp or b"")
        return len(batch.stamps)


def _fail(answer: asyncio.Future[bytes], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)

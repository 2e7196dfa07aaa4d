"""`POST /v1/check`: stamps for prospects that somebody is about to call.

Each prospect goes to `Scrubber.scrub` with the bytes that it came with, as from the stream: there is no second way to a
verdict. A question of many prospects is judged by one index at one moment, a little at a time, so that questions of
single prospects are answered in between.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from stream_scrub import clock
from stream_scrub.config import Settings
from stream_scrub.errors import StaleIndex
from stream_scrub.index import Index
from stream_scrub.model import Reason
from stream_scrub.scrub.batch import Batch, Scrubber
from stream_scrub.scrub.batch_context import BatchContext
from stream_scrub.scrub.decode import Members
from stream_scrub.server import bodies
from stream_scrub.server.guard import Spend
from stream_scrub.server.problems import invalid, stale
from stream_scrub.server.together import Together
from stream_scrub.wiring import scrubbing

PROSPECTS_MAX = 10_000
_AT_ONCE = 500  # prospects; plain ones take half a microsecond each
_MOMENT_S = 0.01  # single questions within so many seconds have one moment on their stamps
_TURN_S = 0.002  # after this a question lets the others go on, where its prospects are not plain
_MEMBERS = Members.of(["number"], "region", "purpose", "contract", "campaign", case="exact")

# A body that holds one list and nothing else: up to its first prospect, between two, and after the last one.
_SPACE = rb"[ \t\n\r]*"
_BEGINS = re.compile(rb'%b\{%b"(?:[^"\\]|\\.)*"%b:%b\[%b' % ((_SPACE,) * 5))
_BETWEEN = re.compile(rb"%b,?%b" % (_SPACE, _SPACE))
_ENDS = re.compile(rb"%b\]%b\}%b" % ((_SPACE,) * 3))
_TWICE = "this member stands twice, and parsers differ in which one they read"

Numbers = str | int | None | list[str | int | None]


class AskedProspect(msgspec.Struct, forbid_unknown_fields=True):
    """One prospect as a dialler asks about it: `number` as a prospect would spell it, `region` in which national
    numbers are read, and what the prospect would say about the call."""

    number: Numbers
    region: str | None = None
    purpose: str | list[str] | None = None
    contract: Any = None
    campaign: str | int | list[str | int] | None = None
    channel: str | None = None
    who: str | None = None
    relation: Any = None
    voice_kind: str | None = None
    residence: str | None = None


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """What a body may hold: the members of one prospect, or `prospects`."""

    number: Any = msgspec.UNSET
    region: Any = msgspec.UNSET
    purpose: Any = msgspec.UNSET
    contract: Any = msgspec.UNSET
    campaign: Any = msgspec.UNSET
    channel: Any = msgspec.UNSET
    who: Any = msgspec.UNSET
    relation: Any = msgspec.UNSET
    voice_kind: Any = msgspec.UNSET
    residence: Any = msgspec.UNSET
    prospects: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET

    @property
    def asks_for_one(self) -> bool:
        """Whether it holds a member of a single prospect."""
        members = (getattr(self, name) for name in self.__struct_fields__ if name != "prospects")
        return any(member is not msgspec.UNSET for member in members)


_QUESTION = msgspec.json.Decoder(Question)
_PROSPECT = msgspec.json.Decoder(AskedProspect)


class _Moment(NamedTuple):
    """What single questions of a few milliseconds share: one moment, which is on their stamps, and one index. `ends` is by
    `time.monotonic`."""

    now: datetime
    ends: float
    context: BatchContext


class CheckDesk:
    """Answers questions. `usable` gives the index to judge by now, or raises StaleIndex; `tell` counts verdicts, and
    the seconds of a question with one prospect."""

    def __init__(
        self,
        settings: Settings,
        usable: Callable[[], Index],
        tell: Callable[[Counter[Reason], float | None], None],
    ) -> None:
        terms = replace(scrubbing.terms(settings, header=True), members=_MEMBERS)
        self._scrubber = Scrubber(terms, scrubbing.rulebook(settings))
        self._usable = usable
        self._tell = tell
        self._lag_max_s = settings.rules.index_lag_max_s
        self._together = Together(self._some)
        self._moment: _Moment | None = None

    async def answer(self, body: bytes, since: float, spend: Spend) -> bytes:
        """The stamp, or `{"stamps": [...]}` with one for each prospect, in order. `since` is when the question came
        (`time.perf_counter`), `spend` takes how many prospects it is about. Raises Problem (422, 429, 503)."""
        asked = bodies.decoded(_QUESTION, body)
        if isinstance(asked.prospects, msgspec.UnsetType):
            bodies.decoded(_PROSPECT, body)
            spend(1)
            stamp = await self._together.stamp(body)
            self._tell(Counter(), time.perf_counter() - since)
            return stamp
        if asked.asks_for_one:
            raise invalid([("body", "give the members of one prospect, or `prospects`, and not both")])
        if len(asked.prospects) > PROSPECTS_MAX:
            raise invalid([("prospects", f"ask about at most {PROSPECTS_MAX} prospects at once")])
        spend(len(asked.prospects))
        values = await _values(asked.prospects)
        _need_once(body, values)
        return b'{"stamps":[' + b",".join(await self._judged(values)) + b"]}"

    def _some(self, values: list[bytes]) -> Batch:
        """A batch of single questions, as far as a turn goes. Raises StaleIndex."""
        taken, index = clock.elapsed(), self._usable()
        moment = self._moment
        if moment is None or moment.context.index is not index or time.monotonic() >= moment.ends:
            now, ends_at = datetime.now(UTC), time.monotonic() + _MOMENT_S
            moment = self._moment = _Moment(now, ends_at, self._scrubber.context(index, now))
            asyncio.get_running_loop().call_later(_MOMENT_S, self._end, moment)
        ends = _passed(time.perf_counter() + _TURN_S)
        batch = self._scrubber.scrub(values, index, moment.now, enough=ends, context=moment.context)
        self._need_fresh(taken)
        self._tell(batch.tally, None)
        return batch

    def _end(self, moment: "_Moment") -> None:
        """A moment is over; with it goes an index that may have been replaced."""
        if self._moment is moment:
            self._moment = None

    async def _judged(self, values: list[bytes]) -> list[bytes]:
        """A stamp for each prospect, by one index at one moment. Raises Problem (503)."""
        stamps: list[bytes] = []
        tally: Counter[Reason] = Counter()
        try:
            taken, index, now = clock.elapsed(), self._usable(), datetime.now(UTC)
            while len(stamps) < len(values):
                if stamps:
                    await asyncio.sleep(0)
                some = values[len(stamps) : len(stamps) + _AT_ONCE]
                batch = self._scrubber.scrub(some, index, now, enough=_passed(time.perf_counter() + _TURN_S))
                stamps += [stamp or b"" for stamp in batch.stamps]
                tally += batch.tally
                self._need_fresh(taken)
        except StaleIndex as found:
            raise stale(found) from found
        self._tell(tally, None)
        return stamps

    def _need_fresh(self, taken: float) -> None:
        """An index that was taken long ago may be too old by now. Raises StaleIndex."""
        if clock.elapsed() - taken > self._lag_max_s:
            raise StaleIndex("log-behind", "judging took longer than an index may be used: ask about fewer")


def _passed(ends: float) -> Callable[[], bool]:
    return lambda: time.perf_counter() >= ends


def _need_once(body: bytes, values: list[bytes]) -> None:
    """A body with two lists is refused: another parser would take the first one. `values` is the list that was found.
    Raises Problem (422)."""
    if body.count(b"prospects") == 1 and b"\\" not in body:
        return  # no second name can be there, however it is spelled
    begun = _BEGINS.match(body)
    assert begun is not None
    at = begun.end()
    for value in values:
        if not body.startswith(value, at):
            raise invalid([("prospects", _TWICE)])
        between = _BETWEEN.match(body, at + len(value))
        assert between is not None
        at = between.end()
    if _ENDS.fullmatch(body, at) is None:
        raise invalid([("prospects", _TWICE)])


async def _values(prospects: list[msgspec.Raw]) -> list[bytes]:
    """The bytes of each prospect, once all are known to have the shape. Raises Problem (422)."""
    values = []
    for place, raw in enumerate(prospects):
        bodies.decoded(_PROSPECT, raw, f"prospects[{place}]")
        values.append(bytes(raw))
        if place % 2000 == 1999:
            await asyncio.sleep(0)
    return values

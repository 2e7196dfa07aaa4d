"""`GET /v1/report` and `POST /v1/verify`: what `stream-scrub report` and `lists verify` say, for the scope `evidence`.

A reading takes as long as its topics are large, so it has a process of its own, which yields the processors to checks. One
goes on at a time, and it ends when its caller leaves.
"""

import threading
from asyncio import wrap_future
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Corrupt, Refused, StaleIndex, Unavailable
from stream_scrub.log.audit import FiledProof
from stream_scrub.ops import logs, processes
from stream_scrub.ops.processes import in_daemon_thread
from stream_scrub.queries import month_report, verify_log
from stream_scrub.serve import bodies
from stream_scrub.serve.bodies import invalid, stale
from stream_scrub.serve.files import process
from stream_scrub.serve.turns import Turns

READ_S_MAX = 3600
_TOO_LONG = "the reading takes more than an hour: use a terminal"
_WAITING_MAX = 2  # questions of one token


class VerifyQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """An earlier answer, which must still hold."""

    against: FiledProof | None = None


_QUESTION = msgspec.json.Decoder(VerifyQuestion)


class _Outcome(msgspec.Struct):
    """The answer as JSON; without one, the cause and why."""

    answer: bytes = b""
    cause: str = ""
    why: str = ""


_OUTCOME = msgspec.msgpack.Decoder(_Outcome)


def _child(
    settings: Settings,
    query: Callable[..., Any],
    asked: Any,
    token: str,
    parent: Connection,
    alive: Connection,
) -> None:
    log = process.begin_reading(settings, alive)

    def made() -> _Outcome:
        try:
            return _Outcome(msgspec.json.encode(query(settings, log, asked, token)))
        except Corrupt as error:
            return _Outcome(cause="log-corrupt", why=logs.mask(str(error)))
        except (Unavailable, Refused) as error:
            return _Outcome(cause="log-unreachable", why=logs.mask(str(error)))

    process.send_outcome(parent, made)


def _outcome(
    settings: Settings, query: Callable[..., Any], asked: Any, token: str, left: Callable[[], bool]
) -> _Outcome:
    """Ask a query in a child process until the caller has left. Blocks."""
    child = processes.one_child(_child, settings, query, asked, token, name="evidence")
    try:
        return processes.answer(
            child, _OUTCOME, (READ_S_MAX, _TOO_LONG), lambda: "its caller has left" if left() else ""
        )
    except processes.NoAnswer as error:
        if error.code is None:
            return _Outcome(cause="log-unreachable", why=str(error))
        raise RuntimeError(f"the process of the reading ended with code {error.code}") from error


class EvidenceEndpoint:
    """Answers what was judged in a month, and whether the log is what publishers wrote."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turns = Turns(_WAITING_MAX)

    async def report(self, month: str, caller: str) -> bytes:
        """Return the report of a month, as 2026-10. `caller` is the token's name. Raises Problem (422, 429, 503)."""
        try:
            first = month_report.first_day(month)
        except ConfigError as error:
            raise invalid([("month", error.problems[0].partition(": ")[2])]) from error
        return await self._read(month_report.gather, first, caller)

    async def verify(self, body: bytes, caller: str) -> bytes:
        """Return the proof of the log. Raises Problem (422, 429, 503)."""
        question = bodies.decoded(_QUESTION, body)
        bodies.need_once(body)
        return await self._read(verify_log.of_log, question.against, caller)

    async def _read(self, query: Callable[..., Any], asked: Any, caller: str) -> bytes:
        left = threading.Event()
        try:
            async with self._turns.turn(caller):
                reading = in_daemon_thread(_outcome, self._settings, query, asked, caller, left.is_set)
                outcome = await wrap_future(reading)
        finally:
            left.set()
        if outcome.cause:
            raise stale(StaleIndex(outcome.cause, outcome.why))
        return outcome.answer

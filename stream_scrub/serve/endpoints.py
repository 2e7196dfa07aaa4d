"""What a server process is made of (`AppContext`), and the endpoints that the API and the page share: checks, and
`POST /v1/history` and `POST /v1/requests`."""

import asyncio
import threading
from asyncio import wrap_future
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Corrupt, Refused, ScrubError, StaleIndex, TooLarge, Unavailable
from stream_scrub.imports.consents import ConsentLaw
from stream_scrub.index import Index
from stream_scrub.kafka import clients
from stream_scrub.kafka.requests_writer import Delivered, RequestPlace
from stream_scrub.languages import say, translatable
from stream_scrub.log.follower import Follower
from stream_scrub.made_by import HEADER
from stream_scrub.model import OWN, Header, Logger
from stream_scrub.numbering import UNKNOWN, e164, region_named
from stream_scrub.ops.loop_state import ServerState
from stream_scrub.ops.metrics import Board
from stream_scrub.ops.processes import in_daemon_thread
from stream_scrub.queries import history
from stream_scrub.requests.attempts import NO_ID, AttemptReader, CallAttempt
from stream_scrub.requests.lifts import takes_out
from stream_scrub.requests.parse_request import ParsedRequest, RequestRefusal, RequestTerms, read
from stream_scrub.requests.unread import UnreadRequest, open_requests
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import scrubbing
from stream_scrub.serve import bodies
from stream_scrub.serve.bodies import Kind, Problem, invalid, stale
from stream_scrub.serve.check import CheckEndpoint
from stream_scrub.serve.guard import Caller, Guard
from stream_scrub.serve.turns import Turns
from stream_scrub.serve.watch.log_tail import LogTail
from stream_scrub.serve.watch.recalls import RecallTail
from stream_scrub.serve.watch.watcher import Watcher

if TYPE_CHECKING:  # it imports this module
    from stream_scrub.serve.files.jobs import Jobs
    from stream_scrub.serve.uploads import Uploads

# A route's function.
Handler = Callable[[Request], Awaitable[Response]]
# Hands a request to the brokers: its topic, its key, its bytes, what to call with the outcome, and its headers.
Send = Callable[[str, bytes, bytes, Delivered, Sequence[Header]], None]


@dataclass(frozen=True, slots=True)
class AppContext:
    """The parts of one server process."""

    settings: Settings
    follower: Follower
    rulebook: Rulebook
    counters: ServerState
    board: Board  # the status of every process of this server
    log: Logger
    guard: Guard
    send: Send
    watcher: Watcher
    log_tail: LogTail
    recall_tail: RecallTail
    pending_lists: "Uploads"
    jobs: "Jobs"
    dossiers: "Jobs"
    trial: bool = False  # the page says that the lists are made up


HISTORY_BYTES_MAX = 4096  # of a body: one number
REQUEST_BYTES_MAX = 524_288  # of a body: the publisher's 10 000 numbers a request, and a proof
_HISTORIES_WAITING_MAX = 2  # of one token
_UNREAD_WAITING_MAX = 2  # the same
_REQUESTS_WAITING_MAX = 8  # large ones of one token
_LARGE_BYTES = 2048  # a larger request is parsed beside the loop
_BYTES_A_NUMBER = 64  # that a request costs of the token's rate
_DELIVERY_S = 15.0  # longer than the producer retries


def why_stale(follower: Follower, lag_max_s: float) -> StaleIndex | None:
    """Return why the index must not be used now; None if it may."""
    try:
        follower.usable(lag_max_s)
    except StaleIndex as error:
        return error
    return None


class HistoryQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """A number in any spelling, and the region for national numbers."""

    number: str | int
    region: str | None = None


_HISTORY_QUESTION = msgspec.json.Decoder(HistoryQuestion)


class HistoryEndpoint:
    """Answers when a number was in which register, and by which list or request.

    A history reads the whole log in another thread, one at a time, so that checks do not wait for it. It ends when its
    caller leaves.
    """

    def __init__(self, settings: Settings, log: Logger) -> None:
        self._settings = settings
        self._log = log
        self._turns = Turns(_HISTORIES_WAITING_MAX)

    @property
    def is_busy(self) -> bool:
        """Whether another history is being read."""
        return self._turns.is_taken

    async def answer(self, body: bytes, caller: str) -> Any:
        """Return the history. `caller` is the token's name. Raises Problem (422, 429, 503)."""
        question = bodies.decoded(_HISTORY_QUESTION, body)
        bodies.need_once(body)
        region = region_named(question.region or self._settings.prospect.default_region)
        if not region:
            raise invalid([("region", UNKNOWN)])
        left = threading.Event()
        arguments = (self._settings, self._log, str(question.number), region, left.is_set)
        try:
            async with self._turns.turn(caller):
                return await wrap_future(in_daemon_thread(history.of, *arguments))
        except ConfigError as error:
            raise invalid([_no_number()]) from error
        except StaleIndex as error:
            raise stale(error) from error
        except Corrupt as error:
            raise stale(StaleIndex("log-corrupt", str(error))) from error
        except (Unavailable, Refused) as error:
            raise stale(StaleIndex("log-unreachable", str(error))) from error
        finally:
            left.set()


def _no_number() -> tuple[str, str]:
    return translatable("number"), say("no valid number: write it as +33612345678")


class AcceptedRequest(msgspec.Struct, frozen=True):
    """The place of a request on its topic, after the brokers confirmed it. `invalid` counts the entries that are not
    numbers. `note` says which part of an opposition was not understood; it then counts for every caller."""

    topic: str
    partition: int
    offset: int
    invalid: int
    note: str | None


class RequestEndpoint:
    """Writes an opt-out, a consent, a withdrawal or an attempt to its topic, and answers after the brokers have confirmed it.

    The request is parsed here as the publisher will parse it, so that the client gets a refusal at once. Requests that
    lift an opposition are not accepted over HTTP: they need a separate permission (docs/requests.md). `index` returns
    the newest index, for the kinds of its registers.
    """

    def __init__(
        self, settings: Settings, rulebook: Rulebook, index: Callable[[], Index], send: Send, log: Logger
    ) -> None:
        self._settings, self._log = settings, log
        self._attempts = AttemptReader(settings.prospect.default_region, {})
        self._kinds = {**rulebook.kinds, **OWN}
        self._law = ConsentLaw(rulebook, proof_required=settings.lists.consent_proof == "required")
        self._index = index
        self._send = send
        self._turns, self._reading = Turns(_REQUESTS_WAITING_MAX), Turns(_UNREAD_WAITING_MAX)

    async def answer(self, body: bytes, caller: Caller) -> AcceptedRequest:
        """Write the request. Raises Problem (413, 422, 429, 503)."""
        caller.spend(1 + len(body) // _BYTES_A_NUMBER)
        if len(body) <= _LARGE_BYTES:
            request = self._parsed(body)
        else:
            async with self._turns.turn(caller.name):
                request = await wrap_future(in_daemon_thread(self._parsed, body))
        return await self._write(request, body, caller)

    def _parsed(self, body: bytes) -> ParsedRequest | CallAttempt:
        """Parse as the publisher does, with the same leniency for what restricts. Raises Problem (422)."""
        prospect = self._settings.prospect
        attempt = self._attempts.read(body, 0)
        on_log = {name: each.kind for name, each in self._index().registers.items()}
        terms = RequestTerms(
            frozenset(self._settings.lists.registers),
            {**self._kinds, **on_log},
            prospect.default_region,
            datetime.now(UTC),
            self._index().parts(),
            self._law,
        )
        request = read(body, terms)
        # An attempt is read leniently: of a member that occurs twice the last one would count, and the first be an opt-out.
        # And a refusal without an id may mean an opt-out, which protects longer.
        readable = request is not RequestRefusal.UNREADABLE
        if isinstance(attempt, CallAttempt) and attempt.id != NO_ID and readable:
            return attempt
        if request is RequestRefusal.UNKNOWN_REQUEST and attempt == "number":
            raise _refused(RequestRefusal.INVALID_NUMBER)
        if isinstance(request, RequestRefusal):
            raise _refused(request)
        if takes_out(request):
            raise _refused(RequestRefusal.MAY_NOT_LIFT)
        if not request.numbers:
            raise _refused(RequestRefusal.NO_NUMBER)
        return request

    async def unread(self, caller: Caller) -> list[UnreadRequest]:
        """Return the refused requests that may be oppositions and that nobody has settled, the newest first: read from
        their topic at each question, one at a time. Raises Problem (429, 503)."""
        caller.spend(1)
        try:
            async with self._reading.turn(caller.name):
                return await wrap_future(in_daemon_thread(open_requests, self._settings, self._log))
        except (Unavailable, Refused) as error:
            raise stale(StaleIndex("log-unreachable", str(error))) from error

    async def settle(self, settlement: Mapping[str, str], caller: Caller) -> AcceptedRequest:
        """Write that an unread request is no opposition; for administrators. Raises Problem (422, 429, 503)."""
        caller.spend(1)
        body = msgspec.json.encode(settlement)
        request = read(body, RequestTerms())
        if isinstance(request, RequestRefusal):
            raise _refused(request)
        return await self._write(request, body, caller)

    async def _write(
        self, request: ParsedRequest | CallAttempt, body: bytes, caller: Caller
    ) -> AcceptedRequest:
        if isinstance(request, CallAttempt):
            topic, key = self._settings.topics.attempts, e164(request.number)
            invalid_numbers, note = 0, None
        else:
            topic = self._settings.topics.requests
            key = e164(request.numbers[0]) if request.numbers else request.settles
            invalid_numbers, note = request.refused, None if request.odd is None else str(request.odd)
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[RequestPlace | ScrubError] = loop.create_future()

        def delivered(what: RequestPlace | ScrubError) -> None:
            loop.call_soon_threadsafe(_settle, outcome, what)

        try:
            made_by = msgspec.json.encode(clients.made_by(self._settings, caller.name))
            self._send(topic, key.encode(), body, delivered, [(HEADER, made_by)])
        except ScrubError as error:
            raise _unavailable(str(error)) from error
        try:
            async with asyncio.timeout(_DELIVERY_S):
                place = await outcome
        except TimeoutError as error:
            raise _unavailable("the brokers did not answer") from error
        if isinstance(place, TooLarge):
            raise Problem(Kind.TOO_LARGE, "the request is larger than the topic's record limit") from place
        if isinstance(place, ScrubError):
            raise _unavailable(str(place)) from place
        return AcceptedRequest(topic, *place, invalid_numbers, note)


def _settle(outcome: asyncio.Future[RequestPlace | ScrubError], what: RequestPlace | ScrubError) -> None:
    if not outcome.done():
        outcome.set_result(what)


_CURES = {
    RequestRefusal.UNREADABLE: 'send one JSON object, as in {"request": "opt-out", "number": ...}',
    RequestRefusal.UNKNOWN_REQUEST: 'state the request, as in {"request": "opt-out", "number": ...}',
    RequestRefusal.MAY_NOT_LIFT: "it ends an opposition, so publish it to opposition.lifts",
}


def _refused(reason: RequestRefusal) -> Problem:
    if reason is RequestRefusal.INVALID_NUMBER:
        return invalid([_no_number()], reason=str(reason))
    cure = _CURES.get(reason, "docs/requests.md has the meaning")
    return invalid([("body", f"the publisher would refuse it as {reason}: {cure}")], reason=str(reason))


def _unavailable(why: str) -> Problem:
    return Problem(
        Kind.NOT_WRITTEN,
        f"{why}; the request may not be written: send it again, a duplicate does no harm",
        {"Retry-After": "1"},
    )


class Endpoints:
    """The endpoints that the API and the page share."""

    def __init__(self, context: AppContext) -> None:
        follower, lag_max_s = context.follower, context.settings.rules.index_lag_max_s
        self.check = CheckEndpoint(
            context.settings, lambda: follower.usable(lag_max_s), context.counters.checked
        )
        self.history = HistoryEndpoint(context.settings, context.log)
        self.requests = RequestEndpoint(
            context.settings,
            scrubbing.law(context.settings),
            lambda: follower.index,
            context.send,
            context.log,
        )

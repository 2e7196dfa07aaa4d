"""`serve`: one server process from settings, from its socket to its end.

The event loop answers; a follower beside it keeps the index. It serves before the log was read: until then, and whenever
no verdict would be safe, the API says so.
"""

import asyncio
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn
import uvloop
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Http, Settings, address_of
from stream_scrub.errors import ConfigError, Refused, ScrubError, StaleIndex
from stream_scrub.kafka.requests_writer import LateWriter
from stream_scrub.observability import http_server, logs
from stream_scrub.observability.collect import ServerCollector
from stream_scrub.observability.counters import ServerCounters
from stream_scrub.observability.limits_hit import Limit
from stream_scrub.observability.metric_catalogue import Side
from stream_scrub.observability.recurring_problem import RecurringProblem
from stream_scrub.server.app import application
from stream_scrub.server.connections import KEEP_ALIVE_S, Connection, Connections
from stream_scrub.server.guard import Guard, is_loopback
from stream_scrub.server.parts import Parts
from stream_scrub.server.questions import Questions
from stream_scrub.server.tls import Certificate
from stream_scrub.wiring import clients, following, garbage, scrubbing

_BACKLOG = 1024
_BEAT_S = 0.25
# Since the last heartbeat: the loop's longest step is the reading of a body of ten thousand prospects.
BEAT_LIMIT_S = 15.0
_KEEP_USE_S = 60.0
_STOP_S = 10.0  # for requests that are being answered
# A thread that computes gives way to the event loop after this, not after Python's 5 ms: a delta of many numbers is
# applied meanwhile.
_SWITCH_S = 0.0005


def run(settings: Settings, questions: Questions) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log = logs.configure(settings.log.level, settings.log.format)
    collector = ServerCollector(
        settings.worker.id,
        ServerCounters(),
        limit_s=BEAT_LIMIT_S,
        index_lag_max_s=settings.rules.index_lag_max_s,
    )
    try:
        with http_server.serving_probes(settings.http, Side.SERVER, lambda: [collector()], log):
            one(settings, questions, collector, log, stopping)
    except ScrubError as error:
        log.error("cannot serve", why=str(error))
        return 1
    return 0


def problems(settings: Settings) -> list[str]:
    """What keeps these settings from being served by: for `config.load`. Without tokens whoever may connect may ask,
    so only this machine may connect."""
    http = settings.http
    address = address_of(http.listen)
    if address is None:
        return ["http.listen: `serve` needs an address, as in 127.0.0.1:8080"]
    if http.tokens and not Path(http.tokens).is_file():
        return [f"http.tokens: {http.tokens} is not there: make it with `stream-scrub tokens add`"]
    if not http.tokens and not is_loopback(address[0]):
        where = f"http.listen: {address[0]} can be reached from elsewhere"
        return [f"{where}: set http.tokens (`stream-scrub tokens add`), or serve on 127.0.0.1 or ::1"]
    return []


def one(
    settings: Settings,
    questions: Questions,
    collector: ServerCollector,
    log: FilteringBoundLogger,
    stopping: threading.Event,
) -> None:
    """Serve as one process until `stopping`. Raises Refused when the address cannot be used."""
    counters = collector.counters
    sys.setswitchinterval(_SWITCH_S)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # what clients do wrong is no news
    guard, certificate = Guard(settings.http, log), _certificate(settings.http, log)
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(settings.http.listen))
        follower = following.counted(
            settings, counters, log, lambda: clients.client_log(settings, log, "follower")
        )
        rulebook = scrubbing.rulebook(settings)
        collector.attach(follower, rulebook)
        follower.start()
        stack.callback(follower.stop)
        writer = LateWriter(lambda: clients.requests_writer(settings, log))
        stack.callback(writer.close)
        counters.waiting = None  # from here on the index says what it waits for
        app = application(
            Parts(
                settings,
                follower,
                rulebook,
                counters,
                lambda: [collector()],
                questions,
                log,
                guard,
                writer.send,
            )
        )
        _tell(listening, settings.http, log)
        lag_max_s = settings.rules.index_lag_max_s
        round_ = _Round(guard, certificate, counters, lambda: follower.usable(lag_max_s))
        uvloop.run(_serve(app, listening, round_, log, stopping))


def _certificate(http: Http, log: FilteringBoundLogger) -> Certificate | None:
    if not http.tls_cert:
        return None
    problem = RecurringProblem(
        log, "the new certificate cannot be used: the last one stays", "the new certificate is in use"
    )

    def tell(why: str) -> None:
        if why:
            problem.tell(why)
        else:
            problem.end()

    return Certificate(http, tell)


def _tell(listening: socket.socket, http: Http, log: FilteringBoundLogger) -> None:
    host, port = listening.getsockname()[:2]
    shown = f"[{host!s}]" if ":" in str(host) else host
    log.info(
        "listening",
        listen=f"{shown!s}:{port}",
        port=port,
        serves="the check API, the status page, health and metrics",
        tls=bool(http.tls_cert),
        asked_by="whoever has a token" if http.tokens else "whoever is on this machine: there are no tokens",
    )


@contextmanager
def _listening(where: str) -> Iterator[socket.socket]:
    """A socket at that address. Raises Refused."""
    address = address_of(where)
    if address is None:
        raise ConfigError(["http.listen: `serve` needs an address"])
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
            made.listen(_BACKLOG)  # from here on the kernel keeps whoever connects
        except OSError as error:
            raise Refused(
                f"http.listen: {where} cannot be listened on ({error.strerror}): choose another address"
            ) from error
        yield made


class _Server(uvicorn.Server):
    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        """Signals are ours."""
        return nullcontext()


async def _serve(
    app: ASGIApp,
    listening: socket.socket,
    round_: "_Round",
    log: FilteringBoundLogger,
    stopping: threading.Event,
) -> None:
    connections = Connections(Limit("http-connections", round_.counters.limits, log).hit)
    config = uvicorn.Config(
        app,
        http=partial(Connection, connections=connections),  # type: ignore[arg-type]  # it is only called
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(_STOP_S),
    )
    config.load()
    if round_.certificate is not None:
        config.ssl = round_.certificate.context
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    while not stopping.is_set() and not running.done():
        await round_()
        await asyncio.sleep(_BEAT_S)
    round_.counters.stopping = True
    server.should_exit = True
    await running
    await round_.keep_use()


class _Round:
    """What is done several times a second beside the answers: beat, see whether the first index is there, and whether
    tokens or certificate have changed."""

    def __init__(
        self,
        guard: Guard,
        certificate: Certificate | None,
        counters: ServerCounters,
        usable: Callable[[], object],
    ) -> None:
        self.certificate = certificate
        self.counters = counters
        self._tokens = guard.tokens
        self._usable = usable
        self._kept_at = time.monotonic()

    async def __call__(self) -> None:
        """One round."""
        self.counters.beat()
        if not self.counters.begun:
            try:
                self._usable()
            except StaleIndex:
                pass
            else:
                garbage.settle()
                self.counters.begins()
        if self._tokens is not None:
            self._tokens.look()
        if self.certificate is not None:
            self.certificate.look()
        if time.monotonic() - self._kept_at > _KEEP_USE_S:
            await self.keep_use()

    async def keep_use(self) -> None:
        """Write down which tokens were used; another thread waits for the disk."""
        self._kept_at = time.monotonic()
        if self._tokens is not None:
            await asyncio.to_thread(self._tokens.keep_use)

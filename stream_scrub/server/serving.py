"""`serve`: one server process from settings, from its socket to its end.

The event loop answers; a follower beside it keeps the index. It serves before the log was read: until then, and whenever
no verdict would be safe, the API says so.
"""

import asyncio
import ipaddress
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from types import FrameType

import uvicorn
import uvloop
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings, address_of
from stream_scrub.errors import ConfigError, Refused, ScrubError, StaleIndex
from stream_scrub.lists.log.follower import Follower
from stream_scrub.observability import http_server, logs
from stream_scrub.observability.collect import ServerCollector
from stream_scrub.observability.counters import ServerCounters
from stream_scrub.observability.limits_hit import Limit
from stream_scrub.observability.metric_catalogue import Side
from stream_scrub.server.app import Parts, application
from stream_scrub.server.connections import KEEP_ALIVE_S, Connection, Connections
from stream_scrub.server.questions import Questions
from stream_scrub.wiring import clients, following, garbage, scrubbing

_BACKLOG = 1024
_BEAT_S = 0.25
# Since the last heartbeat: the loop's longest step is the reading of a body of ten thousand prospects.
BEAT_LIMIT_S = 15.0
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


def need_loopback(settings: Settings) -> list[str]:
    """Whoever may connect may ask, so only this machine may connect: for `config.load`."""
    address = address_of(settings.http.listen)
    if address is None:
        return ["http.listen: `serve` needs an address, as in 127.0.0.1:8080"]
    if not _is_loopback(address[0]):
        return [f"http.listen: {address[0]} can be reached from elsewhere: serve on 127.0.0.1 or ::1"]
    return []


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(settings.http.listen))
        follower = following.counted(
            settings, counters, log, lambda: clients.client_log(settings, log, "follower")
        )
        rulebook = scrubbing.rulebook(settings)
        collector.attach(follower, rulebook)
        follower.start()
        stack.callback(follower.stop)
        counters.waiting = None  # from here on the index says what it waits for
        app = application(
            Parts(settings, follower, rulebook, counters, lambda: [collector()], questions, log)
        )
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log.info(
            "listening", listen=f"{shown!s}:{port}", port=port, serves="the check API, health and metrics"
        )
        lag_max_s = settings.rules.index_lag_max_s
        uvloop.run(_serve(app, listening, follower, lag_max_s, counters, log, stopping))


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
    follower: Follower,
    lag_max_s: float,
    counters: ServerCounters,
    log: FilteringBoundLogger,
    stopping: threading.Event,
) -> None:
    connections = Connections(Limit("http-connections", counters.limits, log).hit)
    server = _Server(
        uvicorn.Config(
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
    )
    watching = asyncio.create_task(_watch(server, follower, lag_max_s, counters, stopping))
    await server.serve(sockets=[listening])
    await watching


async def _watch(
    server: uvicorn.Server,
    follower: Follower,
    lag_max_s: float,
    counters: ServerCounters,
    stopping: threading.Event,
) -> None:
    """Beat, see when the first index is there, and end the server when it is told to stop."""
    while not stopping.is_set():
        counters.beat()
        if not counters.begun:
            try:
                follower.usable(lag_max_s)
            except StaleIndex:
                pass
            else:
                garbage.settle()
                counters.begins()
        await asyncio.sleep(_BEAT_S)
    counters.stopping = True
    server.should_exit = True

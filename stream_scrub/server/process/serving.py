"""`serve`: server processes from settings, from their socket to their end.

The event loop answers; a follower beside it keeps the index. It serves before the log was read: until then, and whenever
no verdict would be safe, the API says so.
"""

import asyncio
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import uvicorn
import uvloop
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Http, Settings, address_of
from stream_scrub.errors import ConfigError, Refused, ScrubError, StaleIndex
from stream_scrub.kafka.requests_writer import LateWriter
from stream_scrub.lists.log.follower import Follower
from stream_scrub.observability import crash_report, http_server, logs
from stream_scrub.observability.child_processes import ChildProcesses, SharedBoard, report_to_parent
from stream_scrub.observability.collect import ServerCollector
from stream_scrub.observability.counters import ServerCounters
from stream_scrub.observability.limits_hit import Limit
from stream_scrub.observability.metric_catalogue import Side
from stream_scrub.observability.process_status import Board, ProcessStatus
from stream_scrub.observability.recurring_problem import RecurringProblem
from stream_scrub.server.app import application
from stream_scrub.server.guard import Guard, is_loopback
from stream_scrub.server.page.staged import Staged
from stream_scrub.server.parts import Parts
from stream_scrub.server.process.connections import KEEP_ALIVE_S, Connection, Connections
from stream_scrub.server.process.tls import Certificate
from stream_scrub.server.questions import Questions
from stream_scrub.server.watch.history import History
from stream_scrub.server.watch.log_tail import LogTail
from stream_scrub.server.watch.watcher import Watcher
from stream_scrub.wiring import clients, following, garbage, process_family, scrubbing

_BACKLOG = 1024
_BEAT_S = 0.25
# Since the last heartbeat: the loop's longest step is the reading of a body of ten thousand prospects.
BEAT_LIMIT_S = 15.0
_MINUTE_S = 60.0
_REPORT_S = 1.0  # for the last figures of a child
_STOP_S = 10.0  # for requests that are being answered
# A thread that computes gives way to the event loop after this, not after Python's 5 ms: a delta of many numbers is
# applied meanwhile.
_SWITCH_S = 0.0005


def run(settings: Settings, questions: Questions, *, trial: bool = False) -> int:
    """Serve until SIGTERM or SIGINT, as one process or as several that share the port; returns the exit code. `trial`:
    the page says that nothing of it is real."""
    stopping = threading.Event()
    process_family.stop_on_signals(stopping)
    log = logs.configure(settings.log.level, settings.log.format)
    try:
        if settings.http.processes > 1:
            return _several(settings, questions, log, stopping, trial=trial)
        collector = _collector(settings, settings.worker.id)

        def board() -> Sequence[ProcessStatus]:
            return [collector()]

        with http_server.serving_probes(settings.http, Side.SERVER, board, log):
            one(settings, questions, collector, board, log, stopping, trial=trial)
    except ScrubError as error:
        log.error("cannot serve", why=str(error))
        return 1
    return 0


def _several(
    settings: Settings,
    questions: Questions,
    log: FilteringBoundLogger,
    stopping: threading.Event,
    *,
    trial: bool,
) -> int:
    """Keep the processes. The kernel gives each connection to one of them; this one holds the port and accepts none."""
    names = [f"{settings.worker.id}-{n}" for n in range(settings.http.processes)]
    children = ChildProcesses(names, BEAT_LIMIT_S, shared=True)
    with (
        http_server.serving_probes(settings.http, Side.SERVER, children, log),
        _bound(settings.http) as held,
    ):
        host, port = held.getsockname()[:2]
        listen = f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"
        http = settings.http.model_copy(update={"listen": listen, "probes": ""})
        given = (settings.model_copy(update={"http": http}), questions, trial)
        return process_family.keep(names, _child, given, children, log, stopping)


def _child(
    settings: Settings,
    questions: Questions,
    trial: bool,
    identity: str,
    link: process_family.Link,
) -> None:
    crash_report.watch()
    collector = _collector(settings, identity)
    board, ended, stopping = SharedBoard(collector), threading.Event(), threading.Event()
    reporter = report_to_parent(collector, link.parent, ended, hear=board.hear)
    process_family.stop_on_signals(stopping)
    link.stop_with_parent(stopping)
    log = logs.configure(settings.log.level, settings.log.format).bind(server=identity)

    def serve() -> int:
        try:
            one(settings, questions, collector, board, log, stopping, trial=trial)
        except ScrubError as error:
            log.error("cannot serve", why=str(error))
            return 1
        return 0

    code = crash_report.coded(serve)
    ended.set()
    reporter.join(_REPORT_S)
    sys.exit(code)


def _collector(settings: Settings, identity: str) -> ServerCollector:
    lag_max_s = settings.rules.index_lag_max_s
    return ServerCollector(identity, ServerCounters(), limit_s=BEAT_LIMIT_S, index_lag_max_s=lag_max_s)


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
    board: Board,
    log: FilteringBoundLogger,
    stopping: threading.Event,
    *,
    trial: bool = False,
) -> None:
    """Serve as one process until `stopping`. Raises Refused when the address cannot be used."""
    counters = collector.counters
    sys.setswitchinterval(_SWITCH_S)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # what clients do wrong is no news
    guard, certificate = Guard(settings.http, log), _certificate(settings.http, log)
    with ExitStack() as stack:
        listening = stack.enter_context(_bound(settings.http))
        listening.listen(_BACKLOG)  # from here on the kernel keeps whoever connects
        follower = _follower(settings, counters, log, trial=trial)
        rulebook = scrubbing.rulebook(settings)
        collector.attach(follower, rulebook)
        follower.start()
        stack.callback(follower.stop)
        writer = LateWriter(lambda: clients.requests_writer(settings, log))
        stack.callback(writer.close)
        watcher = Watcher(settings.http.watch, History(settings.worker.state_dir), log)
        watcher.start()
        stack.callback(watcher.stop)
        log_tail = LogTail(lambda: clients.reading(settings, log), lambda: follower.index.position)
        log_tail.start()
        stack.callback(log_tail.stop)
        staged = Staged(settings.worker.state_dir)
        stack.callback(staged.close)
        staged.forget_old()
        counters.waiting = None  # from here on the index says what it waits for
        app = application(
            Parts(
                settings,
                follower,
                rulebook,
                counters,
                board,
                questions,
                log,
                guard,
                writer.send,
                watcher,
                log_tail,
                staged,
                trial,
            )
        )
        scrubbing.warn(settings, rulebook, log)
        _tell(listening, settings.http, log)
        lag_max_s = settings.rules.index_lag_max_s
        round_ = _Round(guard, certificate, counters, staged, lambda: follower.usable(lag_max_s))
        uvloop.run(_serve(app, listening, round_, log, stopping))


def _follower(
    settings: Settings, counters: ServerCounters, log: FilteringBoundLogger, *, trial: bool
) -> Follower:
    identity_of = clients.no_identity if trial else clients.topic_identity
    return following.counted(
        settings, counters, log, lambda: clients.client_log(settings, log, "follower"), identity_of
    )


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
def _bound(http: Http) -> Iterator[socket.socket]:
    """A socket at the address, which several processes share if there are several. Raises Refused."""
    address = address_of(http.listen)
    if address is None:
        raise ConfigError(["http.listen: `serve` needs an address"])
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if http.processes > 1:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            made.bind(address)
        except OSError as error:
            raise Refused(
                f"http.listen: {http.listen} cannot be listened on ({error.strerror}): choose another address"
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
        proxy_headers=False,  # who asks is known by a token
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
    tokens or certificate have changed; and once a minute what waits for the disk."""

    def __init__(
        self,
        guard: Guard,
        certificate: Certificate | None,
        counters: ServerCounters,
        staged: Staged,
        usable: Callable[[], object],
    ) -> None:
        self.certificate = certificate
        self.counters = counters
        self._tokens = guard.tokens
        self._staged = staged
        self._usable = usable
        self._minute_at = time.monotonic()

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
        if time.monotonic() - self._minute_at > _MINUTE_S:
            self._minute_at = time.monotonic()
            await self.keep_use()
            await asyncio.to_thread(self._staged.forget_old)

    async def keep_use(self) -> None:
        """Write down which tokens were used; another thread waits for the disk."""
        if self._tokens is not None:
            await asyncio.to_thread(self._tokens.keep_use)

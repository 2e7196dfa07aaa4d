"""`stream-scrub serve`: from settings to a running server.

The event loop answers; a follower's thread keeps the index. It serves before the log is read: until then, and whenever no
verdict would be safe, the API says so.
"""

import asyncio
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from stream_scrub.clock import Throttle
from stream_scrub.config import Http, Settings, address_of
from stream_scrub.errors import Refused
from stream_scrub.kafka import clients
from stream_scrub.kafka.requests_writer import LateWriter
from stream_scrub.model import Logger
from stream_scrub.ops import following
from stream_scrub.ops.daemon import Daemon, Process, settle_garbage
from stream_scrub.ops.log_lines import Limit, RecurringProblem
from stream_scrub.ops.loop_state import ServerState
from stream_scrub.scrub import scrubbing
from stream_scrub.serve.asgi import application
from stream_scrub.serve.connections import KEEP_ALIVE_S, Connection, Connections, Handshake, room
from stream_scrub.serve.endpoints import AppContext, why_stale
from stream_scrub.serve.files.jobs import Jobs
from stream_scrub.serve.guard import Guard, is_loopback
from stream_scrub.serve.page.list_import import pending_lists
from stream_scrub.serve.tokens import file_state
from stream_scrub.serve.watch.log_tail import LogTail
from stream_scrub.serve.watch.recalls import RecallTail
from stream_scrub.serve.watch.time_series import TimeSeries
from stream_scrub.serve.watch.watcher import Watcher

_ANOTHER_PORT = 8081
_BACKLOG = 1024
_BEAT_S = 0.25
# Since the last heartbeat: the loop's longest step is the reading of a body of ten thousand prospects.
BEAT_LIMIT_S = 15.0
_MINUTE_S = 60.0
_STOP_S = 10.0  # for requests that are being answered
# A thread that computes gives way to the event loop after this, not after Python's 5 ms: a delta of many numbers is
# applied meanwhile.
_SWITCH_S = 0.0005


class Certificate:
    """A certificate that may be renewed. `context`: for new connections. `on_reload` gets the reason if new files cannot be
    used, "" if they are. Raises Refused if the first ones cannot be used."""

    def __init__(self, http: Http, on_reload: Callable[[str], None]) -> None:
        self._files = (Path(http.tls_cert), Path(http.tls_key))
        self._on_reload = on_reload
        self.context = _context()
        self._seen = self._state()
        if why := self._load(self.context):
            raise Refused(f"http.tls_cert, http.tls_key: {why}")

    def look(self) -> None:
        """Load the files again if they have changed. A pair that does not fit (for instance if only one file is replaced
        yet) fails in a context of its own; the last good one stays in use."""
        seen = self._state()
        if seen == self._seen:
            return
        self._seen = seen
        why = self._load(_context()) or self._load(self.context)
        self._on_reload(why)

    def _state(self) -> list[tuple[int, ...] | None]:
        return [file_state(path) for path in self._files]

    def _load(self, context: ssl.SSLContext) -> str:
        """Why the files cannot be used; empty if they are in use now."""
        try:
            context.load_cert_chain(*self._files, password=_no_password)
        except ssl.SSLError as error:
            return (
                f"{self._files[0]} and {self._files[1]} are not a certificate with its key ({error.reason})"
            )
        except (OSError, ValueError) as error:
            return f"the files cannot be read ({getattr(error, 'strerror', None) or error})"
        return ""


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    raise ValueError("the key has a password: store it without one, readable only by this user")


def run(settings: Settings, *, trial: bool = False) -> int:
    """Serve until SIGTERM or SIGINT, as one process or as several that share the port; returns the exit code. `trial`:
    the page says that nothing is real."""
    return Daemon(
        settings,
        ServerState,
        partial(serve, trial),
        BEAT_LIMIT_S,
        processes=settings.http.processes,
        own_pages=True,
        around_children=_shared_port,
    ).run()


@contextmanager
def _shared_port(settings: Settings) -> Iterator[Settings]:
    """In the parent of several processes: holds the port. The kernel gives each connection to a child."""
    with _bound(settings.http) as bound:
        http = settings.http.model_copy(update={"listen": _shown(bound), "probes": ""})
        yield settings.model_copy(update={"http": http})


def problems(settings: Settings) -> list[str]:
    """What is wrong with these settings for a server: for `config.load`. Without tokens anyone who can connect may ask,
    so it must be localhost only."""
    http = settings.http
    address = address_of(http.listen)
    if address is None:
        return ["http.listen: `serve` needs an address, as in 127.0.0.1:8080"]
    if http.tokens and not Path(http.tokens).is_file():
        return [f"http.tokens: {http.tokens} does not exist: create it with `stream-scrub tokens add`"]
    if not http.tokens and not is_loopback(address[0]):
        where = f"http.listen: {address[0]} can be reached from elsewhere"
        return [f"{where}: set http.tokens (`stream-scrub tokens add`), or serve on 127.0.0.1 or ::1"]
    return []


def _late_writer(topic: str, settings: Settings, log: Logger) -> LateWriter:
    return LateWriter(lambda: clients.Brokers(settings, log).requests_writer(topic))


def serve(trial: bool, process: Process[ServerState]) -> None:
    """Serve as one process until `process.stopping`. Raises Refused if the address cannot be used."""
    settings, state, log = process.settings, process.state, process.log
    sys.setswitchinterval(_SWITCH_S)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # clients' mistakes are not logged
    guard, certificate = Guard(settings.http, log), _certificate(settings.http, log)
    with ExitStack() as stack:
        listening = stack.enter_context(_bound(settings.http))
        listening.listen(_BACKLOG)  # from here on the kernel queues connections
        follower = following.counted(clients.Brokers(settings, log, embedded=trial), state)
        rulebook = scrubbing.rulebook(settings)
        state.attach(follower, rulebook)
        topics = (settings.topics.requests, settings.topics.attempts)
        writers = {topic: _late_writer(topic, settings, log) for topic in topics}
        for writer in writers.values():
            stack.callback(writer.close)
        watcher = Watcher(settings.http.watch, TimeSeries(settings.worker.state_dir), log)
        log_tail = LogTail(lambda: clients.Brokers(settings, log).reading(), lambda: follower.index.position)
        recall_tail = RecallTail(settings, watcher, log)
        lists = pending_lists(settings.worker.state_dir)
        kept = settings.worker.state_dir, settings.files.keep_minutes * 60.0
        jobs, dossiers = Jobs.of_files(*kept), Jobs.of_dossiers(*kept)
        for part in (follower, watcher, log_tail, recall_tail, lists, jobs, dossiers):
            part.start()
            stack.callback(part.stop)
        state.waiting = None  # from here on the status says what the index waits for
        context = AppContext(
            settings,
            follower,
            rulebook,
            state,
            process.board,
            log,
            guard,
            lambda topic, *record: writers[topic].send(*record),
            watcher,
            log_tail,
            recall_tail,
            lists,
            jobs,
            dossiers,
            trial,
        )
        scrubbing.warn(settings, rulebook, log)
        _log_address(listening, settings.http, log)
        uvloop.run(_serve(context, certificate, listening, process.stopping))


def _certificate(http: Http, log: Logger) -> Certificate | None:
    if not http.tls_cert:
        return None
    problem = RecurringProblem(
        log, "new certificate unusable, keeping the last one", "new certificate in use"
    )
    return Certificate(http, problem.report)


def _shown(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"


def _log_address(listening: socket.socket, http: Http, log: Logger) -> None:
    log.info(
        "listening",
        listen=_shown(listening),
        port=listening.getsockname()[1],
        serves="the check API, the status page, health and metrics",
        tls=bool(http.tls_cert),
        access="with a token" if http.tokens else "localhost only (no tokens)",
    )


@contextmanager
def _bound(http: Http) -> Iterator[socket.socket]:
    """A socket at the address, which all processes share. Raises Refused."""
    address = address_of(http.listen)
    assert address is not None, "see `problems`"
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if http.processes > 1:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listening.bind(address)
        except OSError as error:
            raise Refused(
                f"http.listen: {http.listen} cannot be listened on ({error.strerror}): choose another"
                f" address, as in --set http.listen={address[0]}:{_ANOTHER_PORT}"
            ) from error
        yield listening


def need_address(http: Http) -> None:
    """Raises Refused if the address cannot be used, before anybody is told of it."""
    with _bound(http):
        pass


class _UvicornServer(uvicorn.Server):
    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        """Leave signals to `ops/daemon.py`."""
        return nullcontext()


async def _serve(
    context: AppContext, certificate: Certificate | None, listening: socket.socket, stopping: threading.Event
) -> None:
    state, tokens = context.counters, context.guard.tokens
    limit = Limit("http-connections", state.limit_hit, context.log)
    connections = Connections(room(context.log), limit.hit)

    def connect(**kwargs: Any) -> asyncio.Protocol:
        connection = partial(Connection, connections=connections, **kwargs)
        return (
            connection() if certificate is None else Handshake(connections, certificate.context, connection)
        )

    config = uvicorn.Config(
        application(context),
        http=connect,  # type: ignore[arg-type]  # it is only called
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a token identifies the caller
        backlog=_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(_STOP_S),
    )
    server = _UvicornServer(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    minute = Throttle(_MINUTE_S, at_once=False)
    while not stopping.is_set() and not running.done():
        _look(context)
        if certificate is not None:
            certificate.look()
        if tokens is not None and minute.is_due():
            await asyncio.to_thread(tokens.keep_use)  # it waits for the disk
        await asyncio.sleep(_BEAT_S)
    state.stopping = True
    server.should_exit = True
    await running
    if tokens is not None:
        await asyncio.to_thread(tokens.keep_use)


def _look(context: AppContext) -> None:
    """Several times a second between answers: the heartbeat, and a look at the index and the tokens."""
    state = context.counters
    state.beat()
    context.guard.count(state.asked, datetime.now(UTC))
    if not state.begun and why_stale(context.follower, context.settings.rules.index_lag_max_s) is None:
        settle_garbage()
        state.begins()
    if context.guard.tokens is not None:
        context.guard.tokens.look()

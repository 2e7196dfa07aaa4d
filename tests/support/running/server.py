"""The server in this process, over a log in memory: with a real socket, the real follower, and no broker."""

import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
from pyroaring import BitMap64

from stream_scrub.config import Settings, load
from stream_scrub.index import Register
from stream_scrub.lists import deltas
from stream_scrub.lists.log.encode import records_of
from stream_scrub.lists.log.scan import replay_to_end
from stream_scrub.lists.log.wire import DeltaSource
from stream_scrub.model import Deadline, RegisterKind
from stream_scrub.observability import logs
from stream_scrub.observability.collect import ServerCollector
from stream_scrub.observability.counters import ServerCounters
from stream_scrub.publisher import import_list
from stream_scrub.queries import log_status, number_history, rules_report
from stream_scrub.server.process import serving
from stream_scrub.server.questions import Questions
from stream_scrub.wiring import clients
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.running.stage import Stage
from tests.support.running.worker import SCRIPT, WorkerProcess

logging.getLogger("httpx").setLevel(logging.WARNING)  # the test's own client, in the server's process

QUESTIONS = Questions(
    registers=log_status.status,
    rule=rules_report.of_day,
    history=number_history.of,
    import_list=import_list.asked,
)


def publish(
    log: Log,
    register: str,
    numbers: Iterable[int],
    kind: RegisterKind = RegisterKind.DENY,
    name: str = "list",
) -> None:
    """One delta that adds these numbers, of now."""
    now = datetime.now(UTC)
    held = replay_to_end(Reader(log), Deadline.after(5)).registers
    base = held.get(register) or Register.empty(register, kind, now)
    change = deltas.adding(base.numbers, BitMap64(numbers))
    records, _ = records_of(base, change, now, DeltaSource(name, "ab" * 32))
    Writer(log).publish(records)


@dataclass
class Served:
    """One running server. `reader` is how it sees the log, `out` is what it logs."""

    log: Log
    reader: Reader
    out: io.BytesIO
    collector: ServerCollector
    settings: Settings
    port: int = 0
    client: httpx.Client = field(default_factory=httpx.Client)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    def check(self, body: object, **headers: str) -> httpx.Response:
        return self.client.post("/v1/check", json=body, headers=headers)

    def until(self, condition: Callable[[], bool], timeout_s: float = 10) -> None:
        ends = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < ends, "it did not happen in time"
            time.sleep(0.005)


@contextmanager
def served(monkeypatch, log: Log, **settings: object) -> Iterator[Served]:
    """A server over that log. It has been asked whether it listens, and not whether it is ready."""
    flags = {"http.listen": "127.0.0.1:0", "worker.id": "s1", "log.format": "json"}
    made = load(
        flags={**flags, **{key.replace("__", "."): value for key, value in settings.items()}}, environ={}
    )
    reader, out = Reader(log), io.BytesIO()
    monkeypatch.setattr(clients, "log_reader", lambda *_: reader)
    monkeypatch.setattr(clients, "reading", lambda _settings, _log: nullcontext(Reader(log)))
    collector = ServerCollector(
        "s1", ServerCounters(), limit_s=60, index_lag_max_s=made.rules.index_lag_max_s
    )
    running = Served(log, reader, out, collector, made)
    stopping, ended = threading.Event(), []

    def run() -> None:
        try:
            serving.one(
                made,
                QUESTIONS,
                collector,
                lambda: [collector()],
                logs.configure("info", "json", out),
                stopping,
            )
        except BaseException as error:  # told to the test below
            ended.append(error)

    thread = threading.Thread(target=run, name="server")
    thread.start()
    try:
        running.until(lambda: ended != [] or any(line["event"] == "listening" for line in running.lines()))
        assert ended == []
        running.port = next(line["port"] for line in running.lines() if line["event"] == "listening")
        with httpx.Client(base_url=running.url, timeout=20) as running.client:
            yield running
    finally:
        stopping.set()
        thread.join(20)
        assert not thread.is_alive() and ended == []


class ServerProcess(WorkerProcess):
    """`stream-scrub serve`, at an address of its own."""

    def __init__(self, stage: Stage, listen: str, name: str = "server", **settings: object) -> None:
        given = {"http__listen": listen, "worker__id": name, **settings}
        env = stage.env | {f"STREAM_SCRUB_{key.upper()}": str(value) for key, value in given.items()}
        super().__init__(env, name, stage.folder / f"{name}.log")
        self._command = [SCRIPT, "serve"]
        self.url = f"http://{listen}"

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def check(self, question: object) -> dict:
        answer = httpx.post(f"{self.url}/v1/check", json=question)
        assert answer.status_code == 200, answer.text
        return answer.json()

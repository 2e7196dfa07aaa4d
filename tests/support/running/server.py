"""The server in this process, over a log in memory: with a real socket, the real follower, and no broker."""

import io
import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import httpx
import msgspec
from pyroaring import BitMap64

from stream_scrub.config import Settings, load
from stream_scrub.errors import Unavailable
from stream_scrub.index import Register, deltas
from stream_scrub.kafka import clients
from stream_scrub.log import wire
from stream_scrub.log.audit import FiledProof
from stream_scrub.log.encode import records_of
from stream_scrub.log.scan import replay_to_end
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import Deadline, Logger, Progress, RegisterKind
from stream_scrub.ops import logs
from stream_scrub.ops.daemon import Process
from stream_scrub.ops.loop_state import ServerState
from stream_scrub.queries import month_report, verify_log
from stream_scrub.queries.dossier import DossierRequest
from stream_scrub.queries.dossier_files import build
from stream_scrub.queries.dossier_files.complaint import ComplaintAnswer, ErasureStep, TimelineRow
from stream_scrub.queries.month_report import ListDates, MonthCounts, MonthReport
from stream_scrub.queries.verify_log import LogProof
from stream_scrub.scrub import scrubbing
from stream_scrub.serve import serving, uploads
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.running.stage import Stage
from tests.support.running.worker import SCRIPT, WorkerProcess
from tests.support.waiting import WAIT_S, wait_until

logging.getLogger("httpx").setLevel(logging.WARNING)  # the test's own client, in the server's process

SHARED = tempfile.gettempdir()
UNREADABLE_MONTH = date(2026, 1, 1)
SLOW, UNREADABLE = "slow", "unreadable"  # campaigns whose dossiers are never read, or cannot be


def read_dossier(
    _settings: Settings, _log: Logger, asked: DossierRequest, progress: Progress
) -> dict[str, bytes]:
    """A dossier without any topic."""
    progress("searching prospects.allowed", 1, 2)
    while asked.campaign == SLOW:
        time.sleep(0.05)
    if asked.campaign == UNREADABLE:
        raise Unavailable(f"no broker answers, not even for +{asked.number} (fe80::1%eth0 <b>)")
    named = ("first", "last", "made_by", "case", "language")
    made = {"number": f"+{asked.number}", **{name: getattr(asked, name) for name in named}}
    answer = ComplaintAnswer(
        number=f"+{asked.number}",
        language=asked.language,
        lawful="" if asked.whole else "no",
        answer=[f"A call to +{asked.number} was not lawful.", "The reason: the person opted out."],
        zone="Europe/Paris",
        timeline=[
            TimelineRow("2026-11-11T09:00:00Z", "11 November 2026, 10:00 +01:00", "The person opted out.")
        ],
        gone=True,
        erasure=[ErasureStep("open", "Delete the lead in your own systems.")],
    )
    return {
        "dossier.html": b"<h1>A dossier</h1>",
        "dossier.json": msgspec.json.encode(made),
        "answer.json": msgspec.json.encode(answer),
    }


def read_month(settings: Settings, _log: Logger, first: date, token: str) -> MonthReport:
    """The report of a month without a record, or without any broker."""
    if first == UNREADABLE_MONTH:
        raise Unavailable("no broker answers")
    report = MonthCounts(scrubbing.rulebook(settings), ListDates(), first, first).report()
    return msgspec.structs.replace(
        report, made_by=clients.made_by(settings, token), at="2026-11-24T12:00:00Z"
    )


def verify_nothing(settings: Settings, _log: Logger, filed: FiledProof | None, token: str) -> LogProof:
    """The proof of an empty log."""
    proof = verify_log.verify(Reader(Log()), lambda *_: None, Deadline.after(60), filed=filed)
    return msgspec.structs.replace(proof, made_by=clients.made_by(settings, token), at="2026-11-24T12:00:00Z")


def publish(
    log: Log,
    register: str,
    numbers: Iterable[int],
    kind: RegisterKind = RegisterKind.DENY,
    name: str = "list",
    requests: Sequence[dict] = (),
    days_old: int = 0,
) -> None:
    """One delta that adds these numbers: of a list, or of `requests`."""
    now = datetime.now(UTC) - timedelta(days=days_old)
    held = replay_to_end(Reader(log), Deadline.after(60)).registers
    base = held.get(register) or Register.empty(register, kind, now)
    change = deltas.adding(base.numbers, BitMap64(numbers))
    if requests:
        lines = [
            wire.request_line(0, place, 1_795_000_000_000, json.dumps(each).encode())
            for place, each in enumerate(requests)
        ]
        change = replace(change, reason="requests", requests=lines)
    records, _ = records_of(base, change, now, DeltaSource(name, "ab" * 32))
    Writer(log).publish(records)


@dataclass
class Served:
    """One running server. `reader` is how it sees the log, `out` is what it logs."""

    log: Log
    reader: Reader
    out: io.BytesIO
    state: ServerState
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

    def until(self, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        wait_until(condition, timeout_s, every=0.005)


@contextmanager
def served(monkeypatch, log: Log, **settings: object) -> Iterator[Served]:
    """A server over that log. It has been asked whether it listens, and not whether it is ready."""
    flags = {"http.listen": "127.0.0.1:0", "worker.id": "s1", "log.format": "json"}
    made = load(
        flags={**flags, **{key.replace("__", "."): value for key, value in settings.items()}}, environ={}
    )
    reader, out, folder = Reader(log), io.BytesIO(), tempfile.TemporaryDirectory()
    # Else all servers of one machine share a folder: its places, whose file is not finished, and who deletes what is old.
    if tempfile.gettempdir() == SHARED:  # not a test's own
        monkeypatch.setattr(uploads, "tempfile", SimpleNamespace(gettempdir=lambda: folder.name))
    monkeypatch.setattr(build, "files_of", read_dossier)
    monkeypatch.setattr(month_report, "gather", read_month)
    monkeypatch.setattr(verify_log, "of_log", verify_nothing)
    monkeypatch.setattr(clients.Brokers, "log_reader", lambda *_: reader)
    monkeypatch.setattr(clients.Brokers, "reading", lambda _brokers: nullcontext(Reader(log)))
    monkeypatch.setattr(
        clients.Brokers, "index_guards", lambda *_, **__: []
    )  # they ask brokers, and there is none
    state = ServerState("s1", made, 60)
    running = Served(log, reader, out, state, made)
    stopping, ended = threading.Event(), []

    def run() -> None:
        try:
            log_ = logs.configure("info", "json", out)
            serving.serve(False, Process(made, state, log_, stopping, lambda: [state.status()]))
        except BaseException as error:  # told to the test below
            ended.append(error)

    thread = threading.Thread(target=run, name="server")
    thread.start()
    try:
        running.until(lambda: ended != [] or any(line["event"] == "listening" for line in running.lines()))
        assert ended == []
        running.port = next(line["port"] for line in running.lines() if line["event"] == "listening")
        with httpx.Client(base_url=running.url, timeout=60) as running.client:
            yield running
    finally:
        stopping.set()
        thread.join(WAIT_S)
        folder.cleanup()
        assert not thread.is_alive() and ended == []


class ServerProcess(WorkerProcess):
    """`stream-scrub serve`, at an address of its own."""

    def __init__(self, stage: Stage, listen: str, name: str = "server", **settings: object) -> None:
        given = {"http__listen": listen, "worker__id": name, **settings}
        env = stage.env | {f"STREAM_SCRUB_{key.upper()}": str(value) for key, value in given.items()}
        env["TMPDIR"] = str(stage.folder)  # as above
        super().__init__(env, name, stage.folder / f"{name}.log")
        self._command = [SCRIPT, "serve"]
        self.url = f"http://{listen}"

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def check(self, question: object, token: str = "") -> dict:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = httpx.post(f"{self.url}/v1/check", json=question, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

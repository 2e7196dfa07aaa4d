"""What a worker or a publisher says of itself on its own pages: `/metrics` for figures, `/readyz` for reasons.

Only the few metrics that the page shows are read, and only in the form in which `observability/prometheus.py` writes them.
Whoever answers there may be anybody: so the time of a question, the size of its answer and everything that is kept of it
have bounds.
"""

import io
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import httptools
import msgspec

from stream_scrub.model import Deadline, Reason
from stream_scrub.observability import metric_catalogue as catalogue
from stream_scrub.observability.logs import mask
from stream_scrub.observability.metric_catalogue import Side

ASK_S = 2.0  # for all of a question: both pages
LOOPS_MAX = 64  # of one page
_PAGES = {"/metrics": frozenset({200}), "/readyz": frozenset({200, 503})}
_METRICS_BYTES_MAX = 4_194_304
_READY_BYTES_MAX = 524_288
_NAME_CHARS_MAX = 100
_SENTENCE_CHARS_MAX = 500
FIGURE_MAX = 2**53  # what a float counts up to
_RECEIVED_AT_ONCE = 65_536
OTHER = "other"  # every reason that this release does not know
_REASONS = frozenset(map(str, Reason))
_SERIES = re.compile(r'^(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$', re.ASCII)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"', re.ASCII)
_WANTED = tuple(
    metric.name
    for metric in (catalogue.READY, catalogue.PROSPECTS, catalogue.LAG, catalogue.ASSIGNED, catalogue.LOG_LAG)
)


class Loop(msgspec.Struct, frozen=True):
    """One loop of a process, as it says. `side` is the kind of process, `who` its identity (empty for a publisher).
    `verdicts` are its prospects so far, by reason (`other`: one that we do not know); `lag` the prospects that wait,
    `log_lag_s` the age of its index: None where it says nothing of that. `why` and `do` are a sentence each, empty while
    it is ready."""

    side: str
    who: str
    ready: bool
    why: str
    do: str
    partitions: int | None
    lag: float | None
    log_lag_s: float | None
    verdicts: Mapping[str, float]


class _Cause(msgspec.Struct):
    why: str
    do: str


class _Said(msgspec.Struct):
    worker: str = ""
    causes: tuple[_Cause, ...] = ()


class _Ready(msgspec.Struct):
    loops: tuple[_Said, ...]


class Address(NamedTuple):
    """Where to ask: the name and the port as they are configured, and one address that the name has now."""

    host: str
    port: int
    ip: str


class Unheard(Exception):
    """There was no answer, or none that can be read. The text says why."""


def ask(at: Address) -> list[Loop]:
    """Every loop that answers there, after `ASK_S` at most. Raises Unheard."""
    ends = Deadline.after(ASK_S)
    try:
        metrics = _got(at, "/metrics", _METRICS_BYTES_MAX, ends).decode()
        said = msgspec.json.decode(_got(at, "/readyz", _READY_BYTES_MAX, ends), type=_Ready)
        return _loops(metrics, {each.worker: each for each in said.loops})
    except TimeoutError as error:
        raise Unheard(f"it has not answered for {ASK_S:.0f} s") from error
    except OSError as error:
        raise Unheard(f"it does not answer ({error.strerror or type(error).__name__})") from error
    except Unheard:
        raise
    except Exception as error:  # whatever answers there, it harms nobody but itself
        raise Unheard("what answers there is no process of ours") from error


def known(reason: str) -> str:
    """The reason, if this release knows it, else `other`: names that others make up have no end."""
    return reason if reason in _REASONS else OTHER


def addresses(host: str, port: int) -> list[Address]:
    """Every address that the name has now: one for each pod where it is the name of a headless service. Blocks for as
    long as the resolver does. Raises Unheard."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unheard("its name is not known") from error
    return [Address(host, port, ip) for ip in sorted({str(each[4][0]) for each in found})]


class _Answer:
    """An answer as the parser finds it."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.is_whole = False

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.is_whole = True


def _got(at: Address, path: str, most: int, ends: Deadline) -> bytes:
    """One page. Raises OSError, ValueError, HttpParserError."""
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    size = 0
    with socket.create_connection((at.ip, at.port), timeout=_left(ends)) as connection:
        asked = f"GET {path} HTTP/1.1\r\nHost: {at.host}:{at.port}\r\nConnection: close\r\n\r\n"
        connection.settimeout(_left(ends))
        connection.sendall(asked.encode())
        while not answer.is_whole:
            connection.settimeout(_left(ends))  # of the whole question: a page may come a byte at a time
            piece = connection.recv(_RECEIVED_AT_ONCE)
            size += len(piece)
            if not piece or size > most:
                raise ValueError("this is no such page")
            parser.feed_data(piece)
    if parser.get_status_code() not in _PAGES[path]:
        raise ValueError("this is no such page")
    return bytes(answer.body)


def _left(ends: Deadline) -> float:
    """Raises TimeoutError when nothing is: for a socket zero would mean not to wait, and not that it is late."""
    left = ends.left()
    if left <= 0:
        raise TimeoutError
    return left


@dataclass(slots=True)
class _Figures:
    """What the series of one loop come to."""

    alone: dict[str, float] = field(default_factory=dict)
    lag: float | None = None
    verdicts: dict[str, float] = field(default_factory=dict)

    def take(self, metric: str, labels: Mapping[str, str], value: float) -> None:
        if metric == catalogue.LAG.name:
            self.lag = (self.lag or 0.0) + value
        elif metric == catalogue.PROSPECTS.name:
            reason = known(labels.get("reason", ""))
            self.verdicts[reason] = self.verdicts.get(reason, 0.0) + value
        else:
            self.alone[metric] = value


def _loops(metrics: str, said: Mapping[str, _Said]) -> list[Loop]:
    found: dict[tuple[Side, str], _Figures] = {}
    for line in io.StringIO(metrics):
        match = _SERIES.match(line) if line.startswith(_WANTED) else None
        if match is None or match[1] not in _WANTED:
            continue
        value = float(match[3])
        if not 0 <= value <= FIGURE_MAX:  # nor is one that is no number
            continue
        labels: dict[str, str] = dict(_LABEL.findall(match[2] or ""))
        side = next((side for side in Side if str(side) in labels), Side.PUBLISHER)
        found.setdefault((side, labels.get(str(side), "")), _Figures()).take(match[1], labels, value)
        if len(found) > LOOPS_MAX:
            raise Unheard(f"it tells of more than {LOOPS_MAX} loops")
    return [_loop(side, who, figures, said.get(who)) for (side, who), figures in found.items()]


def _loop(side: Side, who: str, figures: _Figures, said: _Said | None) -> Loop:
    ready = figures.alone.get(catalogue.READY.name) == 1
    cause = said.causes[0] if said is not None and said.causes and not ready else _Cause("", "")
    partitions = figures.alone.get(catalogue.ASSIGNED.name)
    return Loop(
        side=str(side),
        who=who[:_NAME_CHARS_MAX],
        ready=ready,
        why=mask(cause.why[:_SENTENCE_CHARS_MAX]),
        do=mask(cause.do[:_SENTENCE_CHARS_MAX]),
        partitions=None if partitions is None else int(partitions),
        lag=0.0 if figures.lag is None and side == Side.WORKER else figures.lag,
        log_lag_s=figures.alone.get(catalogue.LOG_LAG.name),
        verdicts=figures.verdicts,
    )

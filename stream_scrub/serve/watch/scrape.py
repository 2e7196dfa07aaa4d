"""Scrapes a daemon's `/metrics` for figures and `/readyz` for causes.

Only the metrics that the page shows are read, in the format that `ops/metrics.py` writes. The answering
process is not trusted: its time, its size and everything kept of it are bounded.
"""

import io
import re
import socket
from collections.abc import Mapping
from typing import NamedTuple

import httptools
import msgspec

from stream_scrub.model import Deadline, Reason
from stream_scrub.ops import metric_catalogue as catalogue
from stream_scrub.ops.health import Cause
from stream_scrub.ops.logs import mask
from stream_scrub.ops.metric_catalogue import Side

SCRAPE_S = 2.0  # for both pages
LOOPS_MAX = 64  # of one page
_PAGES = {"/metrics": frozenset({200}), "/readyz": frozenset({200, 503})}
_METRICS_BYTES_MAX = 4_194_304
_READY_BYTES_MAX = 524_288
_NAME_CHARS_MAX = 100
_SENTENCE_CHARS_MAX = 500
FIGURE_MAX = 2**53  # what a float counts up to
_SERIES_MAX = 10_000  # of one metric
_RECV_BYTES = 65_536
OTHER = "other"  # every reason that this release does not know
_REASONS = frozenset(map(str, Reason))
_SERIES = re.compile(r'^(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$', re.ASCII)
_OF_DAY = re.compile(r"[A-Z0-9]{2,3} \d{4}-\d{2}-\d{2}", re.ASCII)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"', re.ASCII)
_WANTED = tuple(
    metric.name
    for metric in (
        *(catalogue.READY, catalogue.PROSPECTS, catalogue.LAG, catalogue.ASSIGNED),
        *(catalogue.OPPOSITIONS_UNREAD, catalogue.POSITION, catalogue.OUTSTANDING),
    )
)


class LoopStatus(msgspec.Struct, frozen=True):
    """The status of one loop of a process. Figures are None if the process does not report them."""

    side: str = ""  # the kind of process; empty if that is unknown
    identity: str = ""  # empty for a publisher
    ready: bool = False
    why: str = ""  # a sentence; empty while ready
    do: str = ""
    partitions: int | None = None
    lag: float | None = None  # prospects that wait
    verdicts: Mapping[str, float] = {}  # prospects so far, by reason
    unread: int = 0  # requests that may be oppositions, could not be read, and are not settled
    position: int = -1  # of its index
    outstanding: Mapping[str, float] = {}  # numbers by country and last day, as in "FR 2026-12-24"


class _LoopCauses(msgspec.Struct):
    worker: str = ""
    causes: tuple[Cause, ...] = ()


class _Ready(msgspec.Struct):
    loops: tuple[_LoopCauses, ...]


_READY = msgspec.json.Decoder(_Ready)


class Address(NamedTuple):
    """A target: the configured name and port, and one of the name's current addresses."""

    host: str
    port: int
    ip: str


class ScrapeError(Exception):
    """The target did not answer, or not with our pages. The text says why."""


def scrape(target: Address) -> list[LoopStatus]:
    """Return the status of every loop there, within `SCRAPE_S`. Raises ScrapeError."""
    ends = Deadline.after(SCRAPE_S)
    try:
        metrics = _get(target, "/metrics", _METRICS_BYTES_MAX, ends).decode()
        ready = _READY.decode(_get(target, "/readyz", _READY_BYTES_MAX, ends))
        return _loops(metrics, {each.worker: each for each in ready.loops})
    except TimeoutError as error:
        raise ScrapeError(f"no answer for {SCRAPE_S:.0f} s") from error
    except OSError as error:
        raise ScrapeError(f"no answer ({error.strerror or type(error).__name__})") from error
    except ScrapeError:
        raise
    except Exception as error:  # a hostile page must harm only its own row
        raise ScrapeError("not a stream-scrub process") from error


def known(reason: str) -> str:
    """Return the reason if this release knows it, else `other`: an untrusted page could make up any number."""
    return reason if reason in _REASONS else OTHER


def addresses(host: str, port: int) -> list[Address]:
    """Return every current address of the name, one per pod of a headless service. Raises ScrapeError."""
    try:
        resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ScrapeError("its name does not resolve") from error
    return [Address(host, port, ip) for ip in sorted({str(each[4][0]) for each in resolved})]


class _Response:
    """The response as the parser reads it."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.is_complete = False

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.is_complete = True


# httpx and urllib apply a timeout per read: a page that drips a byte at a time would never end.
def _get(target: Address, path: str, most: int, ends: Deadline) -> bytes:
    """Return one page. Raises OSError, ValueError, HttpParserError."""
    response = _Response()
    parser = httptools.HttpResponseParser(response)
    size = 0
    with socket.create_connection((target.ip, target.port), timeout=_left(ends)) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\nConnection: close\r\n\r\n"
        connection.settimeout(_left(ends))
        connection.sendall(request.encode())
        while not response.is_complete:
            connection.settimeout(_left(ends))
            piece = connection.recv(_RECV_BYTES)
            size += len(piece)
            if not piece or size > most:
                raise ValueError("page cut short or too large")
            parser.feed_data(piece)
    if parser.get_status_code() not in _PAGES[path]:
        raise ValueError("unexpected status")
    return bytes(response.body)


def _left(ends: Deadline) -> float:
    """Return the time left. Raises TimeoutError if there is none: a socket timeout of 0 means non-blocking."""
    left = ends.left()
    if left <= 0:
        raise TimeoutError
    return left


# One loop's figures, by metric; those of a metric with reasons by reason, of outstanding numbers by country and last day,
# all others summed under "".
_Figures = dict[str, dict[str, float]]


def _loops(metrics: str, causes: Mapping[str, _LoopCauses]) -> list[LoopStatus]:
    loops: dict[tuple[Side, str], _Figures] = {}
    for line in io.StringIO(metrics):
        match = _SERIES.match(line) if line.startswith(_WANTED) else None
        if match is None or match[1] not in _WANTED:
            continue
        value = float(match[3])
        if not 0 <= value <= FIGURE_MAX:  # false for NaN too
            continue
        labels: dict[str, str] = dict(_LABEL.findall(match[2] or ""))
        side = next((side for side in Side if str(side) in labels), Side.PUBLISHER)
        series = loops.setdefault((side, labels.get(str(side), "")), {}).setdefault(match[1], {})
        key = _key(match[1], labels)
        key = key if key in series or len(series) < _SERIES_MAX else OTHER
        series[key] = series.get(key, 0.0) + value
        if len(loops) > LOOPS_MAX:
            raise ScrapeError(f"it reports more than {LOOPS_MAX} loops")
    return [
        _loop(side, identity, figures, causes.get(identity)) for (side, identity), figures in loops.items()
    ]


def _key(metric: str, labels: Mapping[str, str]) -> str:
    if metric == catalogue.OUTSTANDING.name:
        named = f"{labels.get('country', '')} {labels.get('last_day', '')}"
        return named if _OF_DAY.fullmatch(named) else OTHER
    return known(labels.get("reason", "")) if metric == catalogue.PROSPECTS.name else ""


def _loop(side: Side, identity: str, figures: _Figures, causes: _LoopCauses | None) -> LoopStatus:
    ready, lag, partitions = (
        figures.get(metric.name, {}).get("")
        for metric in (catalogue.READY, catalogue.LAG, catalogue.ASSIGNED)
    )
    cause = causes.causes[0] if causes is not None and causes.causes and ready != 1 else Cause("", "", "")
    return LoopStatus(
        side=str(side),
        identity=identity[:_NAME_CHARS_MAX],
        ready=ready == 1,
        why=mask(cause.why[:_SENTENCE_CHARS_MAX]),
        do=mask(cause.do[:_SENTENCE_CHARS_MAX]),
        partitions=None if partitions is None else int(partitions),
        lag=0.0 if lag is None and side == Side.WORKER else lag,
        verdicts=figures.get(catalogue.PROSPECTS.name, {}),
        unread=int(figures.get(catalogue.OPPOSITIONS_UNREAD.name, {}).get("", 0)),
        position=int(figures.get(catalogue.POSITION.name, {}).get("", -1)),
        outstanding=figures.get(catalogue.OUTSTANDING.name, {}),
    )

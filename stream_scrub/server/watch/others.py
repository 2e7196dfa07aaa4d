"""What a worker or a publisher says of itself on its own pages: `/metrics` for figures, `/readyz` for reasons.

Only the few metrics that the page shows are read, and only in the form in which `observability/prometheus.py` writes them.
"""

import http.client
import math
import re
import socket
from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

import msgspec

from stream_scrub.observability import metric_catalogue as catalogue
from stream_scrub.observability.metric_catalogue import Side

_ASK_S = 2.0
_PAGE_BYTES_MAX = 4_194_304
_STATUSES = {"/metrics": {200}, "/readyz": {200, 503}}
_SERIES = re.compile(r'^(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$', re.ASCII)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"', re.ASCII)
_WANTED = {
    metric.name
    for metric in (catalogue.READY, catalogue.PROSPECTS, catalogue.LAG, catalogue.ASSIGNED, catalogue.LOG_LAG)
}


class Loop(msgspec.Struct, frozen=True):
    """One loop of a process, as it says. `side` is the kind of process, `who` its identity (empty for a publisher).
    `verdicts` are its prospects so far, by reason; `lag` the prospects that wait, `log_lag_s` the age of its index: None
    where it says nothing of that. `why` and `do` are a sentence each, empty while it is ready."""

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
    """Every loop that answers there. Raises Unheard."""
    try:
        metrics = _got(at, "/metrics").decode()
        said = msgspec.json.decode(_got(at, "/readyz"), type=_Ready)
        return _loops(metrics, {each.worker: each for each in said.loops})
    except socket.gaierror as error:
        raise Unheard("its name is not known") from error
    except TimeoutError as error:
        raise Unheard(f"it has not answered for {_ASK_S:.0f} s") from error
    except OSError as error:
        raise Unheard(f"it does not answer ({error.strerror or type(error).__name__})") from error
    except (http.client.HTTPException, ValueError, msgspec.MsgspecError) as error:
        raise Unheard("what answers there is no process of ours") from error


def addresses(host: str, port: int) -> list[Address]:
    """Every address that the name has now: one for each pod where it is the name of a headless service. Raises
    Unheard."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unheard("its name is not known") from error
    return [Address(host, port, ip) for ip in sorted({str(each[4][0]) for each in found})]


def _got(at: Address, path: str) -> bytes:
    with closing(http.client.HTTPConnection(at.ip, at.port, timeout=_ASK_S)) as connection:
        connection.request("GET", path, headers={"Host": f"{at.host}:{at.port}"})
        answer = connection.getresponse()
        body = answer.read(_PAGE_BYTES_MAX + 1)
    if len(body) > _PAGE_BYTES_MAX or answer.status not in _STATUSES[path]:
        raise ValueError("this is no such page")
    return body


def _loops(metrics: str, said: Mapping[str, _Said]) -> list[Loop]:
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for line in metrics.splitlines():
        match = _SERIES.match(line)
        if match is None or match[1] not in _WANTED:
            continue
        labels: dict[str, str] = dict(_LABEL.findall(match[2] or ""))
        side = next((side for side in Side if str(side) in labels), Side.PUBLISHER)
        who = labels.get(str(side), "")
        series = found.setdefault((str(side), who), {}).setdefault(match[1], {})
        place = ",".join(value for name, value in labels.items() if name not in {str(side), "verdict"})
        series[place] = float(match[3])
    return [_loop(side, who, series, said.get(who)) for (side, who), series in found.items()]


def _loop(side: str, who: str, series: Mapping[str, Mapping[str, float]], said: _Said | None) -> Loop:
    def one(metric: catalogue.Metric) -> float | None:
        value = series.get(metric.name, {}).get("")
        return None if value is None or math.isnan(value) else value

    ready = one(catalogue.READY) == 1
    cause = said.causes[0] if said is not None and said.causes else None
    partitions = one(catalogue.ASSIGNED)
    lags = series.get(catalogue.LAG.name)
    if ready or cause is None:
        cause = _Cause("", "")
    return Loop(
        side=side,
        who=who,
        ready=ready,
        why=cause.why,
        do=cause.do,
        partitions=None if partitions is None else int(partitions),
        lag=sum(lags.values()) if lags is not None else (0.0 if side == Side.WORKER else None),
        log_lag_s=one(catalogue.LOG_LAG),
        verdicts=dict(series.get(catalogue.PROSPECTS.name, {})),
    )

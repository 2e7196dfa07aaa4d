"""The status of one process at one moment: its metric values and its health. Plain values, so that they can go
through a pipe.

With `--processes` each child sends its status to the parent about once a second. A single worker and the publisher
make theirs when a page is asked for.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import msgspec

from stream_scrub.observability import metric_catalogue
from stream_scrub.observability.counters import Histogram

Sample = tuple[tuple[str, ...], float]


class Cause(msgspec.Struct, frozen=True):
    """Why something is not well: a short word, a sentence, and the next step to take."""

    cause: str
    why: str
    do: str


class Health(msgspec.Struct, frozen=True):
    """The health of a loop: the age of its last heartbeat and the limit for that, in seconds; whether it was ever
    ready to work; why it is not ready now (empty when it is); and what it does only in part while it is ready."""

    heartbeat_age_s: float
    limit_s: float
    begun: bool
    causes: tuple[Cause, ...] = ()
    degraded: tuple[Cause, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether it does its work, or stands by for it."""
        return not self.causes

    @property
    def is_alive(self) -> bool:
        """Whether the last heartbeat is within its limit."""
        return self.heartbeat_age_s <= self.limit_s


class ProcessStatus(msgspec.Struct, frozen=True):
    """`who` is a worker's identity; `values` are counters and gauges by the metric's name, each with the values of its
    labels; `histograms` the counts and the sum of each histogram."""

    who: str
    health: Health
    values: dict[str, list[Sample]]
    histograms: dict[str, tuple[list[int], float]] = {}

    def encoded(self) -> bytes:
        """The status as bytes. Not JSON, which has no NaN."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decoded(cls, content: bytes) -> Self:
        """The status from the bytes of `encoded`."""
        return msgspec.msgpack.decode(content, type=cls)

    def older(self, seconds: float, *, begun: bool) -> "ProcessStatus":
        """The same status some seconds later, when nothing newer has come: its ages have grown. `begun` says whether
        this worker, or a predecessor with its name, was ever ready to work."""
        age_s = self.health.heartbeat_age_s + seconds
        health = msgspec.structs.replace(self.health, heartbeat_age_s=age_s, begun=begun)
        grown = {
            metric.name: [(labels, value + seconds) for labels, value in self.values[metric.name]]
            for metric in metric_catalogue.CATALOGUE
            if metric.grows and metric.name in self.values
        }
        return msgspec.structs.replace(self, health=health, values={**self.values, **grown})


Board = Callable[[], Sequence[ProcessStatus]]


class MetricValues:
    """Collects metric values by the names of the catalogue."""

    def __init__(self) -> None:
        self.values: dict[str, list[Sample]] = {}
        self.histograms: dict[str, tuple[list[int], float]] = {}

    def put(self, metric: metric_catalogue.Metric, value: float | None, *labels: str) -> None:
        """Add one value; None adds nothing."""
        if value is not None:
            self.values.setdefault(metric.name, []).append((labels, float(value)))

    def put_each(self, metric: metric_catalogue.Metric, found: Mapping[str, float]) -> None:
        """Add a metric with one label: every value of the label's closed set, with zero where nothing was found, and
        whatever else was found."""
        known = [value for (value,) in metric.values]
        for label in dict.fromkeys([*known, *found]):
            self.put(metric, found.get(label, 0), label)

    def put_histograms(self, found: Mapping[metric_catalogue.Metric, Histogram]) -> None:
        """Every histogram."""
        for metric, shape in found.items():
            self.histograms[metric.name] = (list(shape.counts), shape.total)


def seconds_or_nan(value: float | None) -> float:
    """NaN for what is not known yet."""
    return math.nan if value is None else value

"""The metrics of one process, the status that it reports, and the page that Prometheus reads.

prometheus_client counts and renders. Its registry is our own, so another library's metrics in this process stay apart.
Its multiprocess mode is not used: it needs an emptied folder at every start, knows no collectors and no identity, and
keeps a dead process's gauges. Instead each child sends its status through a pipe (`processes.py`).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from email.message import Message
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, make_wsgi_app
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from stream_scrub.ops import metric_catalogue
from stream_scrub.ops.health import Health
from stream_scrub.ops.metric_catalogue import Metric, MetricKind, Side

_KINDS = {MetricKind.COUNTER: Counter, MetricKind.GAUGE: Gauge, MetricKind.HISTOGRAM: Histogram}


def family_of(metric: Metric) -> str:
    """The name of a metric's family in the Prometheus formats."""
    return metric.name.removesuffix("_total")


_AGES = {family_of(metric) for metric in metric_catalogue.CATALOGUE if metric.grows}
# ProcessCollector sets these; what else it collects is not in the catalogue.
_OF_PROCESS = {metric for metric in metric_catalogue.CATALOGUE if metric.name.startswith("process_")}


class Metrics:
    """The metrics of one process. Index it by a metric of the catalogue to get prometheus_client's object."""

    def __init__(self, side: Side, identity: str, only: Sequence[Metric] = ()) -> None:
        wanted = only or metric_catalogue.of(side)
        self._identity = dict.fromkeys(side.identity, identity)
        self._names = {family_of(metric) for metric in wanted}
        self._registry = CollectorRegistry(auto_describe=False)
        self._metrics = {
            metric: _created(metric, self._registry) for metric in wanted if metric not in _OF_PROCESS
        }
        ProcessCollector(registry=self._registry)

    def __getitem__(self, metric: Metric) -> Any:
        return self._metrics[metric]

    def samples(self, metric: Metric) -> Sequence[Sample]:
        """The present values of one metric."""
        (family,) = self._metrics[metric].collect()
        return [sample for sample in family.samples if not sample.name.endswith("_created")]

    def families(self) -> Iterator[Family]:
        """Everything, with the identity as a label."""
        for family in self._registry.collect():
            if family.name in self._names:
                family.samples = [
                    sample._replace(labels={**self._identity, **sample.labels})
                    for sample in family.samples
                    if not sample.name.endswith("_created")
                ]
                yield family


def _created(metric: Metric, registry: CollectorRegistry) -> Any:
    more: dict[str, Any] = {"buckets": metric.buckets} if metric.buckets else {}
    created = _KINDS[metric.kind](
        metric.name, metric.help, metric.labels, unit=metric.unit, registry=registry, **more
    )
    for values in metric.values:
        created.labels(*values)
    return created


class ProcessStatus(NamedTuple):
    """What a process reports: its identity (empty for a publisher), its health and its metrics. It can be pickled."""

    who: str
    health: Health
    families: Sequence[Family]

    def samples(self, metric: Metric) -> list[Sample]:
        """The values of one metric."""
        name = family_of(metric)
        return [sample for family in self.families if family.name == name for sample in family.samples]

    def older(self, seconds: float, *, begun: bool) -> "ProcessStatus":
        """The status after some seconds without news: its ages have grown. `begun`: whether this worker, or an
        earlier process of its name, was ever ready."""
        families = _revalued(self.families, _AGES, lambda sample: sample.value + seconds)
        return ProcessStatus(self.who, self.health.older(seconds, begun=begun), families)

    def plus(self, metric: Metric, added: dict[str, int]) -> "ProcessStatus":
        """The status with a counter of one label increased, by the label's values."""
        (label,) = metric.labels
        families = _revalued(
            self.families,
            {family_of(metric)},
            lambda sample: sample.value + added.get(sample.labels[label], 0),
        )
        return self._replace(families=families)


def _revalued(
    families: Sequence[Family], names: Collection[str], value: Callable[[Sample], float]
) -> list[Family]:
    return [
        _with(each, [sample._replace(value=value(sample)) for sample in each.samples])
        if each.name in names
        else each
        for each in families
    ]


def _with(family: Family, samples: list[Sample]) -> Family:
    changed = Family(family.name, family.documentation, family.type, family.unit)
    changed.samples = samples
    return changed


Board = Callable[[], Sequence[ProcessStatus]]


class _Scrape(Collector):
    """The metrics of every process on a board, at that moment."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def describe(self) -> list[Family]:
        return []  # otherwise the registry would ask the board for the names

    def collect(self) -> Iterator[Family]:
        together: dict[str, Family] = {}
        for status in self._board():
            for family in status.families:
                known = together.setdefault(family.name, _with(family, []))
                known.samples += family.samples
        yield from together.values()


def answer(
    board: Board, query: str, headers: "Message | dict[str, str]"
) -> tuple[str, list[tuple[str, str]], bytes]:
    """The answer to a scrape: its status, headers and body, in the format and encoding that the headers accept."""
    asked = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/metrics",
        "QUERY_STRING": query,
        "HTTP_ACCEPT": headers.get("Accept", ""),
        "HTTP_ACCEPT_ENCODING": headers.get("Accept-Encoding", ""),
    }
    start: list[Any] = []
    body = b"".join(make_wsgi_app(_registry(board))(asked, lambda *given: start.extend(given)))
    return start[0], start[1], body


def text(board: Board) -> bytes:
    """The metrics in the text format that every scraper reads (`prometheus_client.CONTENT_TYPE_LATEST`)."""
    return generate_latest(_registry(board))


def _registry(board: Board) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(board))
    return registry

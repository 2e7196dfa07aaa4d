"""The statuses as Prometheus reads them: a registry of our own with one collector, which asks the board at every
scrape.

Nothing is kept between two scrapes and nothing is global: prometheus-client's own registry, its metrics and its files for
several processes are not used.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from stream_scrub.observability import metric_catalogue
from stream_scrub.observability.metric_catalogue import MetricKind, Side
from stream_scrub.observability.process_status import Board, ProcessStatus


class Scrape(Collector):
    """All metrics of one side, from the statuses on the board at that moment."""

    def __init__(self, side: Side, board: Board) -> None:
        self._side = side
        self._board = board

    def describe(self) -> list[Family]:
        """Returns nothing: otherwise the registry would ask the board for the names."""
        return []

    def collect(self) -> Iterator[Family]:
        """One family for each metric of the catalogue, with a series for each process that has it."""
        statuses = self._board()
        for metric in metric_catalogue.of(self._side):
            yield _family(metric, self._side, [(self._prefix(each), each) for each in statuses])

    def _prefix(self, each: ProcessStatus) -> list[str]:
        return [each.who] if self._side.identity else []


def _family(
    metric: metric_catalogue.Metric, side: Side, statuses: list[tuple[list[str], ProcessStatus]]
) -> Family:
    labels = metric.all_labels(side)
    if metric.kind is MetricKind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels, unit=metric.unit)
        bounds = [*map(str, map(float, metric.buckets)), "+Inf"]
        for prefix, each in statuses:
            if metric.name in each.histograms:
                counts, total = each.histograms[metric.name]
                buckets = list(zip(bounds, accumulate(counts), strict=True))
                histogram.add_metric(prefix, buckets, total)
        return histogram
    of_kind = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
    family = of_kind(metric.name, metric.help, labels=labels, unit=metric.unit)
    for prefix, each in statuses:
        for values, value in each.values.get(metric.name, ()):
            family.add_metric([*prefix, *values], value)
    return family


def page(side: Side, board: Board) -> Any:
    """A WSGI application that answers every GET with the metrics."""
    return make_wsgi_app(_registry(side, board))


def text(side: Side, board: Board) -> bytes:
    """The metrics now, in the text format that every scraper reads (`prometheus_client.CONTENT_TYPE_LATEST`)."""
    return generate_latest(_registry(side, board))


def _registry(side: Side, board: Board) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Scrape(side, board))
    return registry

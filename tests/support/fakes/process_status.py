"""The statuses of a worker and a publisher over a test's own counters, and what a scrape of them gives."""

from collections.abc import Callable
from types import SimpleNamespace

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream_scrub.index import Index
from stream_scrub.observability import prometheus
from stream_scrub.observability.collect import PublisherCollector, WorkerCollector
from stream_scrub.observability.counters import Counters, PublisherCounters
from stream_scrub.observability.metric_catalogue import Side
from tests.support.fakes import law


class Follower:
    """What a status asks of a follower. `stale` is raised while it is set."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.lag_s: float | None = 0.25
        self.stale: Exception | None = None

    def usable(self, _lag_max_s: float) -> Index:
        if self.stale is not None:
            raise self.stale
        return self.index


def worker(
    identity: str = "w1", index: Index | None = None, rules: str = law.OPT_OUT, limit_s: float = 60
) -> tuple[WorkerCollector, Counters, Follower]:
    """The status of a worker that is well, its counters and its follower."""
    counters, follower = Counters(), Follower(index or Index.empty())
    counters.begins()
    counters.member = True
    collector = WorkerCollector(identity, counters, limit_s=limit_s, index_lag_max_s=30)
    collector.attach(follower, law.rulebook(rules))
    return collector, counters, follower


def publisher(
    index: Index | None = None, rules: str = law.OPT_OUT
) -> tuple[PublisherCollector, PublisherCounters, SimpleNamespace]:
    """The status of a publisher that is well, its counters and its replay."""
    counters, replay = PublisherCounters(), SimpleNamespace(index=index or Index.empty())
    counters.begins()
    counters.owner = True
    collector = PublisherCollector(counters, limit_s=300)
    collector.attach(replay, law.rulebook(rules))
    return collector, counters, replay


def text(side: Side, board: Callable) -> str:
    """The metrics page, as Prometheus gets it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(prometheus.Scrape(side, board))
    return generate_latest(registry).decode()


class Scraped:
    """A metrics page taken apart: `value(name, label=...)`, and every sample."""

    def __init__(self, page: str) -> None:
        self.page = page
        self.families = {family.name: family for family in text_string_to_metric_families(page)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}

    def found(self, name: str, **labels: str) -> list[float]:
        return [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        (value,) = self.found(name, **labels)
        return value

    def sum(self, name: str, **labels: str) -> float:
        return sum(self.found(name, **labels))

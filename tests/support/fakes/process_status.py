"""The statuses of a worker and a publisher over a test's own counters, and what a scrape of them gives."""

from collections.abc import Callable
from types import SimpleNamespace

from prometheus_client.parser import text_string_to_metric_families

from stream_scrub.config import Settings
from stream_scrub.index import Index
from stream_scrub.ops import metrics
from stream_scrub.ops.loop_state import LoopState, PublisherState, WorkerState
from stream_scrub.ops.metric_catalogue import Metric
from stream_scrub.ops.metrics import ProcessStatus
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
) -> tuple[Callable[[], ProcessStatus], WorkerState, Follower]:
    """The status of a worker that is well, its state and its follower."""
    state, follower = WorkerState(identity, Settings(), limit_s), Follower(index or Index.empty())
    state.begins()
    state.member = True
    state.attach(follower, law.rulebook(rules))
    return state.status, state, follower


def publisher(
    index: Index | None = None, rules: str = law.OPT_OUT
) -> tuple[Callable[[], ProcessStatus], PublisherState, SimpleNamespace]:
    """The status of a publisher that is well, its state and its replay."""
    state, replay = PublisherState("", Settings(), 300), SimpleNamespace(index=index or Index.empty())
    state.begins()
    state.owner = True
    state.attach(replay, law.rulebook(rules))
    return state.status, state, replay


def value(state: LoopState, metric: Metric, **labels: str) -> float:
    """What a metric of that state has counted, for these labels together."""
    samples = state.metrics.samples(metric)
    return sum(each.value for each in samples if labels.items() <= each.labels.items())


def text(board: Callable) -> str:
    """The metrics page, as Prometheus gets it."""
    return metrics.text(board).decode()


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

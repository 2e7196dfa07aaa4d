"""The topics as they must be: what is missing is created, and what differs is reported."""

import msgspec

from stream_scrub.config import Settings
from stream_scrub.kafka.admin import durability
from stream_scrub.kafka.admin.topics import plan
from stream_scrub.model import Deadline
from stream_scrub.observability import logs
from stream_scrub.wiring import clients

_ASK_S = 30.0


class TopicReport(msgspec.Struct, frozen=True):
    """One topic: its role in the configuration, its name, its partitions, whether it is `ok`, `missing`, `created` or
    `differs`, and in what it differs."""

    role: str
    topic: str
    partitions: int
    state: str
    differences: list[str]


class TopicsReport(msgspec.Struct, frozen=True):
    """Every topic, in the order of the configuration; and what settings cost that keep acknowledged records on too few
    brokers, in words, each with its topics."""

    topics: list[TopicReport]
    costs: dict[str, list[str]] = {}

    @property
    def is_wrong(self) -> bool:
        """Whether one differs or is missing."""
        return any(each.state in {"differs", "missing"} for each in self.topics)


def prepare(settings: Settings, *, partitions: int, replication: int | None, only_look: bool) -> TopicsReport:
    """Create the topics that are missing, unless `only_look`. Raises Unavailable, Refused."""
    log = logs.configure("error", settings.log.format)
    deadline = Deadline.after(_ASK_S)
    with clients.topics(settings, log) as topics:
        routes = clients.routes(settings, topics, deadline)
        others = settings.topics.singles
        used = list(dict.fromkeys([*(name for route in routes for name in route), *others.values()]))
        found = topics.describe(used, deadline)
        states = plan(others, routes, found, partitions, settings.kafka.keep_days)
        missing = [state for state in states if state.state == "missing"]
        if missing and not only_look:
            topics.create(missing, replication, deadline)
            found = topics.describe(used, deadline)
    return TopicsReport(
        [
            TopicReport(
                state.role,
                state.name,
                state.partitions,
                "created" if state.state == "missing" and not only_look else state.state,
                list(state.differences),
            )
            for state in states
        ],
        durability.costs(found),
    )


def make_log(settings: Settings) -> None:
    """Create the log alone, where it is missing. Raises Unavailable, Refused."""
    log, deadline = logs.configure("error", settings.log.format), Deadline.after(_ASK_S)
    with clients.topics(settings, log) as topics:
        found = topics.describe([settings.topics.log], deadline)
        states = plan(settings.topics.singles, (), found, 1)
        missing = [each for each in states if each.role == "log" and each.state == "missing"]
        topics.create(missing, None, deadline)

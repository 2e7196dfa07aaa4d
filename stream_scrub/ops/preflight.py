"""Topics and rights: checked before a worker, a publisher, a retry or an import begins; created and reported."""

from collections.abc import Sequence
from contextlib import closing, suppress

import msgspec

from stream_scrub.config import Settings
from stream_scrub.config.settings import allowed_of
from stream_scrub.errors import Refused, Unavailable
from stream_scrub.kafka import clients
from stream_scrub.kafka.admin.topics import (
    TopicAdmin,
    doubts,
    durability_costs,
    kept_shorter,
    plan,
    too_short,
)
from stream_scrub.kafka.admin.topics import record_limit as plan_limit
from stream_scrub.kafka.client.options import SESSION_TIMEOUT_MS
from stream_scrub.model import Deadline
from stream_scrub.ops import logs
from stream_scrub.ops.rights import Role, required
from stream_scrub.rules import Rulebook

_ASK_S = 30.0


def need(there: TopicAdmin, brokers: clients.Brokers, role: Role) -> None:
    """Check that this client has every right that a role needs, as far as the brokers tell. Raises Refused, with all
    missing rights, and Unavailable."""
    settings = brokers.settings
    needed = required(role, settings, brokers.routes(there))
    if lacking := there.lacking(needed, clients.deadline()):
        user = settings.kafka.client.get("sasl.username", "")
        who = f"user {user}" if user else "this client"
        raise Refused(
            f"{who} has no right {' nor '.join(lacking)}: see docs/reference/rights.md, or `stream-scrub rights {role}`"
        )


def need_log(there: TopicAdmin, settings: Settings, also: Sequence[str] = ()) -> None:
    """Check that the log exists with its settings, and that the topics of the roles `also` exist. Raises Refused, with
    everything that is wrong, and Unavailable."""
    names, roles = settings.topics.singles, ("log", *also)
    found = there.describe([names[role] for role in roles], clients.deadline())
    states = {state.role: state for state in plan(names, (), found, 1)}
    wrong = [f"{names[role]} is missing" for role in roles if states[role].state == "missing"]
    wrong += [f"{names['log']}: {difference}" for difference in states["log"].differences]
    if wrong:
        raise Refused(f"topic {'; '.join(wrong)}: run `stream-scrub topics`")


def record_limit(brokers: clients.Brokers) -> int | None:
    """The largest record in bytes that the output topics take; None without the right to ask. Raises Unavailable, and
    Refused if the topics or our rights are not as a worker needs them."""
    settings, log = brokers.settings, brokers.log
    with brokers.topics() as there:
        need(there, brokers, "worker")
        routes = brokers.routes(there)
        used = dict.fromkeys([*(name for route in routes for name in route), settings.topics.log])
        found = there.describe(list(used), clients.deadline())
    states = plan(settings.topics.singles, routes, found, 1)
    if settings.topics.inputs.pattern is not None:
        # An input whose outputs are missing waits, and stops no other.
        states = [each for each in states if each.state != "missing" or each.role == "log"]
    limit = plan_limit(states)
    if costs := durability_costs(found):
        log.info("topic settings weaker than the promises need", costs=costs)
    if doubtful := doubts(states):
        log.warning(
            "an output topic refuses some prospects, which are emitted as blocked",
            topics=doubtful,
            do="see `stream-scrub topics --check`",
        )
    return limit


def recalled_topics(brokers: clients.Brokers) -> list[str]:
    """The topics of allowed prospects that recall follows. Raises Unavailable, and Refused if a topic or right is missing,
    or if allowed prospects are deleted while they may still be called."""
    settings = brokers.settings
    with brokers.topics() as there:
        need(there, brokers, "recall")
        allowed = allowed_of(brokers.routes(there))
        found = there.describe([*allowed, settings.topics.recalled], clients.deadline())
    if settings.topics.inputs.pattern is not None:
        allowed = [name for name in allowed if name in found]  # an input whose outputs are missing waits
    if missing := [name for name in (*allowed, settings.topics.recalled) if name not in found]:
        raise Refused(f"topic {', '.join(missing)} is missing: run `stream-scrub topics`")
    days = settings.recall.keep_days
    if short := kept_shorter(found, allowed, days):
        raise Refused(
            f"{', '.join(short)}: prospects are kept for less than the {days} days of recall.keep_days: what was handed out"
            " before would be forgotten at a restart. Raise retention.ms, or lower recall.keep_days to the longest time in"
            " which a dialler calls a lead"
        )
    return allowed


def warn_of_session_timeout(brokers: clients.Brokers, group: str) -> None:
    """Warn if the brokers give the partitions of a killed member of `group` to another one late: then nobody emits their
    prospects, or takes back their leads."""
    if brokers.settings.kafka.group_protocol == "classic":
        return  # the members choose it: kafka/client/options.py
    with suppress(Unavailable, Refused), brokers.topics() as there:
        timeout_s = there.session_timeout_s(group, clients.deadline())
        if timeout_s is not None and timeout_s * 1000 > SESSION_TIMEOUT_MS:
            brokers.log.warning(
                "partitions of a killed member wait for the brokers' session timeout",
                group=group,
                timeout_s=timeout_s,
                do=f"set group.consumer.session.timeout.ms and group.consumer.min.session.timeout.ms of the brokers to"
                f" {SESSION_TIMEOUT_MS} (docs/sizing.md, After a kill)",
            )


class TopicReport(msgspec.Struct, frozen=True):
    """One topic."""

    role: str  # in the configuration
    topic: str
    partitions: int
    state: str  # ok, missing, created or differs
    differences: list[str]


class TopicsReport(msgspec.Struct, frozen=True):
    """Every topic."""

    topics: list[TopicReport]  # in the order of the configuration
    costs: dict[str, list[str]] = {}  # what weak or short settings risk, in words, each with its topics

    @property
    def is_wrong(self) -> bool:
        """Whether one differs or is missing."""
        return any(each.state in {"differs", "missing"} for each in self.topics)


def prepare(settings: Settings, *, partitions: int, replication: int | None, only_look: bool) -> TopicsReport:
    """Create the missing topics, unless `only_look`. Raises Unavailable, Refused."""
    log = logs.configure("error", settings.log.format)
    deadline = Deadline.after(_ASK_S)
    # Not by `scrubbing`, which loads the index's libraries: too much for so small a command.
    countries = Rulebook.load(settings.rules.own_folder).narrowed(settings.rules.countries).countries
    asked = {code: each.evidence_days for code, each in countries.items() if each.evidence_days}
    brokers = clients.Brokers(settings, log)
    with brokers.topics() as topics:
        routes = brokers.routes(topics, deadline)
        others = settings.topics.singles
        used = list(dict.fromkeys([*(name for route in routes for name in route), *others.values()]))
        found = topics.describe(used, deadline)
        states = plan(
            others,
            routes,
            found,
            partitions,
            settings.kafka.keep_days,
            settings.recall.keep_days,
            settings.evidence.keep_days,
        )
        missing = [state for state in states if state.state == "missing"]
        if missing and not only_look:
            if any(state.role == "log" for state in missing):
                _need_new_log(brokers)
            topics.create(missing, replication, deadline)
            found = topics.describe(used, deadline)
    costs = durability_costs(found) | too_short(found, others, asked)
    recall_days = settings.recall.keep_days
    if short := kept_shorter(found, allowed_of(routes), recall_days):
        costs[
            f"kept for less than the {recall_days} days of recall.keep_days: recall does not start; raise retention.ms"
        ] = short
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
        costs,
    )


def _need_new_log(brokers: clients.Brokers) -> None:
    """Check that the missing log never existed, as far as this user may ask. Raises Refused."""
    name = brokers.settings.topics.log
    used_by = []
    with suppress(Refused, Unavailable), closing(brokers):
        judged = brokers.judged_positions()
        judged.look(clients.deadline())
        if judged.position >= 0:
            used_by.append("workers have judged by it")
    with suppress(Refused, Unavailable), closing(brokers.requests()) as requests:
        if requests.note().log.rpartition("/")[0] == name:
            used_by.append("requests were published to it")
    if used_by:
        raise Refused(
            f"{name} is missing, and once existed: {' and '.join(used_by)}. An empty log under its name would allow people who"
            " opted out: see docs/runbook.md, Restoring a log"
        )


def make_log(settings: Settings) -> None:
    """Create the log alone, if it is missing. Raises Unavailable, Refused."""
    log, deadline = logs.configure("error", settings.log.format), Deadline.after(_ASK_S)
    with clients.Brokers(settings, log).topics() as topics:
        states = plan(settings.topics.singles, (), topics.describe([settings.topics.log], deadline), 1)
        missing = [each for each in states if each.role == "log" and each.state == "missing"]
        topics.create(missing, None, deadline)

"""What a worker, a publisher or an import checks before it begins: that it has its rights, and that the topics are as
they must be."""

from collections.abc import Sequence
from typing import Literal

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.config.inputs import blocked_of, outputs_of
from stream_scrub.errors import Refused
from stream_scrub.kafka.admin import durability
from stream_scrub.kafka.admin.acls import RequiredRights
from stream_scrub.kafka.admin.topics import TopicAdmin, doubts, plan
from stream_scrub.kafka.admin.topics import record_limit as plan_limit
from stream_scrub.wiring import clients

Role = Literal["worker", "import", "publish", "retry"]


def need(there: TopicAdmin, settings: Settings, role: Role) -> None:
    """Check that the brokers give us every right that a role needs, as far as they tell. Raises Refused, which names
    all missing rights, and Unavailable.
    """
    topics, group = settings.topics, settings.worker.group_id
    routes = clients.routes(settings, there, clients.deadline())
    inputs = tuple(each.input for each in routes)
    rights = {
        "worker": RequiredRights((*inputs, topics.log), tuple(outputs_of(routes)), (group,)),
        "retry": RequiredRights(
            (*blocked_of(routes), topics.log), inputs, (group, clients.retry_group(settings))
        ),
        "import": RequiredRights((topics.log,), (topics.log,), (group,)),
        "publish": RequiredRights(
            (topics.log, topics.requests, topics.lifts),
            (topics.log, topics.refused),
            (group, settings.lists.requests_group),
        ),
    }
    if lacking := there.lacking(rights[role], clients.deadline()):
        user = settings.kafka.client.get("sasl.username", "")
        who = f"user {user}" if user else "this client"
        raise Refused(f"{who} has no right {' nor '.join(lacking)}: see docs/reference/rights.md")


def need_log(there: TopicAdmin, settings: Settings, also: Sequence[str] = ()) -> None:
    """Check that the log exists and is as it must be, and that the topics of the roles `also` exist. Raises Refused,
    which names all that is wrong, and Unavailable.
    """
    names, roles = settings.topics.singles, ("log", *also)
    found = there.describe([names[role] for role in roles], clients.deadline())
    states = {state.role: state for state in plan(names, (), found, 1)}
    wrong = [f"{names[role]} is missing" for role in roles if states[role].state == "missing"]
    wrong += [f"{names['log']}: {difference}" for difference in states["log"].differences]
    if wrong:
        raise Refused(f"topic {'; '.join(wrong)}: see `stream-scrub topics`")


def record_limit(settings: Settings, log: FilteringBoundLogger) -> int | None:
    """The largest record in bytes that the output topics take; None if the brokers do not tell. Raises Unavailable.
    Raises Refused when the topics, or our rights to them, are not as a worker needs them.
    """
    with clients.topics(settings, log) as there:
        need(there, settings, "worker")
        routes = clients.routes(settings, there, clients.deadline())
        used = dict.fromkeys([*(name for route in routes for name in route), settings.topics.log])
        found = there.describe(list(used), clients.deadline())
    states = plan(settings.topics.singles, routes, found, 1)
    if settings.topics.inputs.pattern is not None:  # whose outputs are missing waits, and stops nobody
        states = [each for each in states if each.state != "missing" or each.role == "log"]
    limit = plan_limit(states)
    if told := durability.costs(found):
        log.info("the topics keep less than the promises need", costs=told)
    if doubtful := doubts(states):
        log.warning(
            "an output topic will refuse some prospects: each of these comes out blocked",
            topics=doubtful,
            do="see `stream-scrub topics --check`",
        )
    return limit

"""The Kafka rights of each role, as docs/reference/rights.md lists them: checked at a start, and printed for an operator."""

import re
import shlex
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple, get_args

from stream_scrub.config import Settings
from stream_scrub.config.settings import Route, allowed_of, blocked_of, outputs_of
from stream_scrub.errors import ConfigError
from stream_scrub.kafka import clients
from stream_scrub.kafka.admin.acls import RequiredRights
from stream_scrub.terminal import one_line

Role = Literal[
    "worker", "import", "publish", "status", "serve", "retry", "rescrub", "shadow", "recall", "fanout", "dialler", "lifter",
    "producer", "autoscaler",
]  # fmt: skip
ROLES: tuple[str, ...] = get_args(Role)
_PUBLISHES = "scrub-publish-"
_PRINCIPAL = re.compile(r"[A-Za-z]\w*:\S.*")


class Right(NamedTuple):
    """One right: `resource` as `kafka-acls.sh` names its option."""

    resource: str
    name: str
    is_prefix: bool
    operation: str


def required(role: Role, settings: Settings, routes: Sequence[Route]) -> RequiredRights:
    """The rights of a role, for these inputs and their outputs."""
    topics, group, requests_group = settings.topics, settings.worker.group_id, settings.lists.requests_group
    inputs, allowed = [route.input for route in routes], allowed_of(routes)
    asked, lifts, asked_groups = [topics.requests, topics.lifts], [topics.lifts], [requests_group]
    if not settings.rules.request_lag_max_s:
        asked, lifts, asked_groups = [], [], []
    # Who judges, or dials, asks whether an accepted request waits.
    judging = partial(RequiredRights, describes=asked, describes_groups=asked_groups)
    recalled = [*allowed, topics.log, topics.recalled]
    recall_groups = [group, clients.side_group(settings, "recall")]
    fed_back = [topics.requests, topics.attempts]
    rights = {
        "worker": judging(
            [*inputs, topics.log], outputs_of(routes), [group], transactional_prefix=f"scrub-{group}-"
        ),
        "import": RequiredRights([topics.log], [topics.log], [group], transactional_prefix=_PUBLISHES),
        "publish": RequiredRights(
            [topics.log, topics.requests, topics.lifts, topics.refused, topics.attempts],
            [topics.log, topics.requests, topics.refused],
            [group, requests_group],
            transactional_prefix=_PUBLISHES,
        ),
        "status": judging([topics.log], [], [group], describes=[*inputs, *asked]),
        "serve": judging(
            [topics.log, topics.refused, topics.recalled], fed_back, [group], describes=[*inputs, *lifts]
        ),
        "retry": judging(
            [*blocked_of(routes), topics.log],
            inputs,
            [group, clients.side_group(settings, "retry")],
            transactional_prefix="scrub-retry-",
        ),
        "recall": judging(recalled, [topics.recalled], recall_groups, transactional_prefix="scrub-recall-"),
        "rescrub": judging(recalled, allowed, recall_groups, transactional_prefix="scrub-rescrub-"),
        "shadow": judging(
            [*outputs_of(routes), topics.log, topics.shadow],
            [topics.shadow],
            [group, clients.side_group(settings, "shadow")],
            describes=[*inputs, *asked],
            transactional_prefix="scrub-shadow-",
        ),
        "fanout": RequiredRights(
            [topics.log, topics.recalled, topics.receipts, topics.dead],
            [topics.receipts, topics.dead],
            describes=inputs,
            describes_groups=[group],
            transactional_prefix="scrub-fanout-",
            group_prefix=clients.side_group(settings, "fanout-"),
        ),
        "dialler": judging([*allowed, topics.recalled], fed_back, describes=lifts, group_prefix="dialler-"),
        "lifter": RequiredRights(writes=[topics.lifts]),
        "producer": RequiredRights(writes=inputs),
        "autoscaler": RequiredRights(describes=inputs, describes_groups=[group]),
    }
    return rights[role]


def of_role(role: str, settings: Settings) -> list[Right]:
    """The rights of a role, one by one. Raises ConfigError."""
    if role not in ROLES:
        raise ConfigError([f"{role} is not a role: choose one of {', '.join(ROLES)}"])
    if settings.topics.inputs.pattern is not None:
        raise ConfigError(
            [
                "topics.prospects is a pattern: grant the rights to the names' common prefix (docs/reference/rights.md)"
            ]
        )
    return list(_each(required(role, settings, settings.topics.inputs.among(()))))  # type: ignore[arg-type]  # one of ROLES


def _each(rights: RequiredRights) -> Iterator[Right]:
    for names, resource, operation in (
        (rights.reads, "topic", "Read"),
        (rights.writes, "topic", "Write"),
        (rights.describes, "topic", "Describe"),
        (rights.groups, "group", "Read"),
        (rights.describes_groups, "group", "Describe"),
    ):
        for name in names:
            yield Right(resource, name, False, operation)
    if rights.group_prefix:
        yield Right("group", rights.group_prefix, True, "Read")
    if rights.transactional_prefix:
        yield Right("transactional-id", rights.transactional_prefix, True, "Write")


def commands(rights: Sequence[Right], principals: Sequence[str], bootstrap: str) -> list[str]:
    """The commands of Kafka's `kafka-acls.sh` that grant these rights to the principals. Raises ConfigError for a principal
    that Kafka would not read, or that a terminal would show as another one."""
    for principal in principals:
        if not _PRINCIPAL.fullmatch(principal) or one_line(principal) != principal:
            raise ConfigError(
                [f"--kafka-acls: {principal!r} is no principal: write its type and name, as in User:worker"]
            )
    begin = [
        "kafka-acls.sh",
        "--bootstrap-server",
        bootstrap,
        "--command-config",
        "admin.properties",
        "--add",
    ]
    for principal in principals:
        begin += ["--allow-principal", principal]
    lines = []
    for right in rights:
        words = [*begin, "--operation", right.operation, f"--{right.resource}", right.name]
        if right.is_prefix:
            words += ["--resource-pattern-type", "prefixed"]
        lines.append(shlex.join(words))
    return lines

"""The rights of each role are those of docs/reference/rights.md, and become commands of Kafka's own tool."""

import shlex

import pytest

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.ops.rights import ROLES, commands, of_role
from tests.k8s.test_kafka import rights_on_the_page


@pytest.mark.parametrize("role", [role for role in ROLES if role != "rescrub"])
def test_a_role_has_the_rights_of_the_page(role):
    """An operator would grant too little, or a right that makes opposed people callable."""
    granted = {
        (
            right.resource.replace("transactional-id", "transactionalId"),
            right.name,
            "prefix" if right.is_prefix else "literal",
            right.operation,
        )
        for right in of_role(role, Settings())
    }
    assert granted == rights_on_the_page(role)


def test_the_commands_name_the_own_topics_and_each_principal():
    """Rights on topics that nobody has would be granted, and the worker be turned away."""
    settings = Settings(topics={"prospects": ["leads.fr", "leads.gb"], "log": "our.log"})
    lines = commands(of_role("worker", settings), ["User:w 1", "User:w2"], "broker:9093")

    words = [shlex.split(line) for line in lines]
    begin = shlex.split(
        "kafka-acls.sh --bootstrap-server broker:9093 --command-config admin.properties --add"
    )
    who = ["--allow-principal", "User:w 1", "--allow-principal", "User:w2"]
    assert all(line[: len(begin + who)] == begin + who for line in words)
    assert [line[-1] for line in words if "--topic" in line and "Read" in line] == [
        "leads.fr",
        "leads.gb",
        "our.log",
    ]
    assert words[-1][-4:] == [
        "--transactional-id",
        "scrub-stream-scrub-",
        "--resource-pattern-type",
        "prefixed",
    ]


@pytest.mark.parametrize("principal", ["", "-x", "worker", "User:", "User: worker", "User:a\nb"])
def test_no_command_is_printed_for_another_principal(principal):
    """The command would grant the rights to somebody else."""
    with pytest.raises(ConfigError, match="--kafka-acls"):
        commands(of_role("worker", Settings()), [principal], "broker:9093")


@pytest.mark.parametrize(
    ("role", "prospects", "why"),
    [("workers", "leads", "choose one of worker, "), ("worker", "^leads[.]", "common prefix")],
)
def test_no_command_is_printed_for_a_guess(role, prospects, why):
    """Somebody would be given another one's rights."""
    outputs = {"allowed": "{input}.allowed", "blocked": "{input}.blocked"}
    with pytest.raises(ConfigError, match=why):
        of_role(role, Settings(topics={"prospects": prospects, **outputs}))

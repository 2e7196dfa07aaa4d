"""The operator's table of rights, given to a user who has no others: everything must work."""

from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from tests.kafka.broker import Kafka, NoKafka
from tests.kafka.security import in_force
from tests.support.running.outcome import ends
from tests.support.running.prospects import produce, prospect
from tests.support.running.stage import Stage
from tests.support.running.worker import run
from tests.support.texts.pages import ROOT, rows, section, ticked
from tests.support.waiting import wait_until

RIGHTS = ROOT / "docs" / "reference" / "rights.md"

pytestmark = pytest.mark.kafka

# Every client of these tests is ANONYMOUS. A resource that has some right for anyone is closed to all who have none.
PROPERTIES = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
TYPES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
}


@pytest.fixture(scope="module")
def guarded(kafka):
    """A real Kafka with access control. Asks for the shared one first: where there is none, there is none of these."""
    try:
        with Kafka(properties=PROPERTIES) as made:
            yield made
    except NoKafka as error:
        pytest.fail(str(error), pytrace=False)


def allow(
    user: str, kind: ResourceType, name: str, operation: AclOperation, *, prefix: bool = False
) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if prefix else ResourcePatternType.LITERAL
    return AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)


def table(stage: Stage, who: str) -> list[AclBinding]:
    """The rows of one of the table's users, for a stage's topics and group."""
    roles = {"prospects": "prospects", "opposition.log": "log"}
    roles |= {f"prospects.{role}": role for role in ("allowed", "blocked", "recalled", "shadow")}
    roles |= {f"fanout.{role}": role for role in ("receipts", "dead")}
    roles |= {f"opposition.{role}": role for role in ("requests", "lifts", "refused")}
    roles |= {"call.attempts": "attempts"}
    group = stage.env["STREAM_SCRUB_WORKER__GROUP_ID"]
    rights = []
    for user, kind, name, operations in rows(section(RIGHTS, "Rights")):
        if who not in user.split(", "):
            continue
        for each in ticked(name):
            if each in {"worker.group_id", "lists.requests_group"}:
                continue
            real = stage.topics[roles[each]] if each in roles else each.replace("<group_id>", group)
            real = {
                "stream-scrub": group,
                "stream-scrub-publisher": stage.env["STREAM_SCRUB_LISTS__REQUESTS_GROUP"],
                "stream-scrub-retry": f"{group}-retry",
                "stream-scrub-shadow": f"{group}-shadow",
                "stream-scrub-fanout-": f"{group}-fanout-",
            }.get(each, real)
            rights += [
                allow(
                    "ANONYMOUS",
                    TYPES[kind],
                    real,
                    AclOperation[operation.upper()],
                    prefix="(prefix)" in name,
                )
                for operation in operations.split(", ")
            ]
    assert rights
    return rights


def closed(stage: Stage) -> list[AclBinding]:
    """Rights of somebody else on everything, which close it to us."""
    resources = [(ResourceType.TOPIC, name) for name in stage.topics.values()]
    resources += [(ResourceType.GROUP, "*"), (ResourceType.TRANSACTIONAL_ID, "*")]
    return [allow("nobody", kind, name, AclOperation.ALL) for kind, name in resources]


def grant(admin: AdminClient, rights: list[AclBinding]) -> None:
    for made in admin.create_acls(rights).values():
        made.result()
    in_force(admin, set(rights))


def revoke(admin: AdminClient, rights: list[AclBinding]) -> None:
    filters = [
        AclBindingFilter(
            each.restype,
            each.name,
            each.resource_pattern_type,
            each.principal,
            each.host,
            each.operation,
            each.permission_type,
        )
        for each in rights
    ]
    for gone in admin.delete_acls(filters).values():
        gone.result()


@pytest.mark.slow
# tests/contract/test_security.py gives every other role what the manifests give, which is what the page says.
def test_the_rights_on_the_page_are_enough(guarded: Kafka, tmp_path: Path):
    """An operator who grants what the page says would find a worker that is turned away, and guess for a day."""
    stage = Stage(guarded.bootstrap, tmp_path, partitions=2)
    stage.topics["shadow"] = stage.env["STREAM_SCRUB_TOPICS__SHADOW"] = f"{stage.topics['prospects']}.shadow"
    produce(guarded.bootstrap, stage.topics["prospects"], iter([(b"k", prospect(1, "06 12 34 56 78"))]))
    admin = AdminClient({"bootstrap.servers": guarded.bootstrap})
    admin.create_topics([NewTopic(stage.topics["shadow"], 1)])[stage.topics["shadow"]].result()
    grant(admin, closed(stage))
    refused = run(["lists", "status"], stage.env)
    assert refused.returncode == 1, "nothing was closed: proves nothing"

    grant(admin, table(stage, "status"))
    wait_until(lambda: run(["lists", "status"], stage.env).returncode == 0)
    checked = run(["check", "+33612345678"], stage.env)
    assert checked.returncode == 1 and "holds no register yet" in checked.stderr

    grant(admin, table(stage, "import"))
    stage.load("internal", [33612345678])
    stage.load("consent", [33612345678], "--kind", "allow")

    grant(admin, table(stage, "worker"))
    with stage.worker("w1") as worker:
        wait_until(lambda: ends(guarded.bootstrap, stage.outputs) > 0 or not worker.alive)
        assert worker.alive, worker.log_file.read_text()
        assert worker.stop()[0] == 0
    revoke(admin, table(stage, "worker"))
    grant(admin, table(stage, "shadow"))
    with stage.worker("s1", "--shadow") as shadow:
        wait_until(lambda: shadow.logged("shadowing") or not shadow.alive)
        assert shadow.alive, shadow.log_file.read_text()
        assert run(["shadow", "report"], stage.env).returncode == 0
        assert shadow.stop()[0] == 0
    revoke(admin, table(stage, "shadow"))
    grant(admin, table(stage, "fanout"))
    for role in ("receipts", "dead"):
        admin.create_topics([NewTopic(stage.topics[role], 1)])[stage.topics[role]].result()
    told = tmp_path / "told"
    told.mkdir()
    target = {
        "connector": "folder",
        "lists": {"internal": ""},
        "recalls": True,
        "settings": {"path": str(told)},
    }
    with stage.fanout({"files": target}) as fanout:
        wait_until(lambda: bool(list(told.glob("*.ok"))) or not fanout.alive)
        wait_until(lambda: ends(guarded.bootstrap, [stage.topics["receipts"]]) > 1 or not fanout.alive)
        assert fanout.alive, fanout.log_file.read_text()
        assert fanout.stop()[0] == 0
    assert not worker.logged("batch given up")
    assert worker.logged("stopped", blocked=1)

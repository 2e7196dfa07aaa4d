"""compose.yaml: nobody here can start it (it needs an engine and a registry of images), so all that it says is held
against what it names: settings, commands, files, services and Kafka's own properties.
"""

import json
import re
from pathlib import Path

import pytest
import yaml
from confluent_kafka.admin import AdminClient, ConfigResource
from typer.main import get_command

from stream_scrub import __version__
from stream_scrub.cli.app import app
from stream_scrub.config import load
from stream_scrub.kafka import clients
from tests.support.packaging.builder import ROOT, run

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("stream-scrub:")}
ONE_SHOT = {"topics", "tokens"}
MONITORING = ROOT / "monitoring"


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def mounts(service: dict) -> list[tuple[str, str, str]]:
    """(what, where, how) of each."""
    return [tuple([*mount.split(":"), "rw"][:3]) for mount in service.get("volumes", [])]


def test_images_are_pinned_and_come_from_no_particular_registry():
    """What worked yesterday would be another program today, or nobody could pull it but us."""
    for service in SERVICES.values():
        name, _, tag = service["image"].partition("@")[0].partition(":")
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), service["image"]
        assert "." not in name and name.count("/") <= 1, service["image"]
    assert {service["image"] for service in OURS.values()} == {f"stream-scrub:{__version__}"}
    assert {"kafka", "topics", "worker", "publisher", "prometheus", "grafana"} <= set(SERVICES)


def test_ports_are_open_to_this_laptop_only():
    """Anybody in the same café could read leads, or publish a list."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports and all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


@pytest.mark.parametrize("name", OURS)
def test_our_variables_and_commands_are_the_projects_own(name, tmp_path):
    """A service would end at once with a setting or an option that is none."""
    service = OURS[name]
    environ = {key: str(value) for key, value in service["environment"].items()}
    assert all(key.startswith("STREAM_SCRUB_") for key in environ)
    settings = load(environ=environ, cwd=tmp_path, extra_checks=[clients.refused_properties])
    assert settings.kafka.bootstrap_servers in _listeners().values()
    command, words = get_command(app), list(service["command"])
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    assert command.make_context(name, words)
    written = {place for _, place, how in mounts(service) if how == "rw"}
    assert written >= {place for place in (settings.worker.state_dir, settings.lists.folder) if place}
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]


def test_what_is_mounted_is_there():
    """Docker would make an empty folder of the missing file, and Prometheus or Grafana start with nothing to show."""
    found = []
    for service in SERVICES.values():
        for what, _, how in mounts(service):
            if what.startswith("./"):
                found.append(what)
                assert (ROOT / what).exists(), what
                assert how == "ro", what
            else:
                assert what in COMPOSE["volumes"], what
    assert found


def test_services_wait_for_what_they_need_and_tell_how_they_are():
    """A worker would start before its topics are there, and nobody see that something hangs."""
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) == (name not in ONE_SHOT), name
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            assert how == {"condition": wanted}
            assert (other in ONE_SHOT) or "healthcheck" in SERVICES[other]
    for name in ("worker", "publisher", "retry", "server"):
        assert "topics" in SERVICES[name]["depends_on"]
        assert "/livez" in " ".join(SERVICES[name]["healthcheck"]["test"])


def test_prometheus_scrapes_every_service_of_ours():
    """The dashboard would be empty, and no alert ever fire."""
    config = read(MONITORING / "prometheus" / "prometheus.yaml")
    targets = [
        target
        for job in config["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    assert sorted(targets) == sorted(f"{name}:8080" for name in OURS if name not in ONE_SHOT)
    for name in OURS.keys() - ONE_SHOT:
        assert SERVICES[name]["ports"][0].endswith(":8080")
    for rules in config["rule_files"]:
        assert read(MONITORING / "prometheus" / rules)["groups"]
    (place,) = [
        place for what, place, _ in mounts(SERVICES["prometheus"]) if what == "./monitoring/prometheus"
    ]
    assert f"--config.file={place}/prometheus.yaml" in SERVICES["prometheus"]["command"]


def test_grafana_finds_the_dashboard_and_what_it_shows():
    """The dashboard would be missing, or every panel say that its source is."""
    provisioning = MONITORING / "grafana" / "provisioning"
    (source,) = read(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = read(provisioning / "dashboards" / "stream-scrub.yaml")["providers"]
    inside = {place: what for what, place, _ in mounts(SERVICES["grafana"])}
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"] + "/")
    dashboard = json.loads((ROOT / inside[home]).read_text())
    assert dashboard["panels"]
    used = set(re.findall(r'"datasource": \{[^}]*"uid": "([^"]+)"', json.dumps(dashboard)))
    variables = {"${" + each["name"] + "}" for each in dashboard.get("templating", {}).get("list", [])}
    assert used <= {source["uid"], "-- Grafana --", "grafana", *variables}


def _listeners() -> dict[str, str]:
    told = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    return dict(each.split("://") for each in told.split(","))


def test_kafkas_variables_are_its_properties(kafka):
    """The broker would not start, or go on with a default that loses transactions on a single node."""
    environment = dict(SERVICES["kafka"]["environment"])
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", environment.pop("CLUSTER_ID"))
    asked = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in environment.items()
    }
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    broker = next(iter(admin.list_topics(timeout=60).brokers))
    (told,) = admin.describe_configs([ConfigResource(ConfigResource.Type.BROKER, str(broker))]).values()
    assert set(asked) <= set(told.result())
    named = [each.partition("://")[0] for each in asked["listeners"].split(",")]
    assert set(named) == {
        each.partition(":")[0] for each in asked["listener.security.protocol.map"].split(",")
    }
    assert set(_listeners()) == set(named) - {asked["controller.listener.names"]}


def test_dockers_own_reader_takes_it(compose_reader):
    """`docker compose up` would refuse the file, or understand it otherwise than it is meant."""
    told = json.loads(run(compose_reader))["services"]
    assert told.keys() == SERVICES.keys()
    for service in told.values():
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports") or [])
    for name in OURS:
        assert told[name]["read_only"] is True
        assert told[name]["command"] == SERVICES[name]["command"]
        assert told[name]["environment"] == SERVICES[name]["environment"]

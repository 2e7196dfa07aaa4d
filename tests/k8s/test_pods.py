"""Every pod: locked down, large enough, with settings that the product takes and deadlines that fit its code."""

from pathlib import Path

import trustme
from typer.testing import CliRunner

from bench.offline.capacity_plan import FILTER_BYTES
from stream_scrub.cli.app import app
from stream_scrub.config import Settings, load
from stream_scrub.kafka import clients
from stream_scrub.kafka.client.options import Role
from tests.support.fakes.properties import properties_of
from tests.support.k8s.manifests import Overlay, Pod, mib

UID = 10001
WORKER, PUBLISHER, RETRY = "stream-scrub-worker", "stream-scrub-publisher", "stream-scrub-retry"
ROARING_BYTES = 2.5  # a number, at French density: what the design allows
READER_MIB = 40  # the process that reads a list, before it looks at it
PYTHON_MIB = 160  # 63 before the first prospect; the rest is held by tests/property/test_memory.py
OUT_MIB = 32


def test_every_pod_is_restricted(overlay):
    """The API server would refuse the pods, at the worst hour: when the first of them is started anew."""
    for pod in overlay.pods():
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec)
        kinds = {kind for volume in pod.spec.get("volumes", []) for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "secret", "configMap", "persistentVolumeClaim"}
        for each in pod.containers:
            own = each["securityContext"]
            assert own["allowPrivilegeEscalation"] is False and own["capabilities"] == {"drop": ["ALL"]}
            assert not {"privileged", "runAsUser", "procMount"} & set(own)


def test_ours_run_as_the_image_does(overlay):
    """A worker could write into its own code, or not into its folder."""
    for pod in overlay.pods():
        for each in pod.ours:
            context = pod.spec["securityContext"]
            assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (UID, UID, UID)
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
            assert pod.spec["enableServiceLinks"] is False


def test_no_account_gets_a_token(overlay):
    """Whoever breaks into a pod would be somebody to the API server."""
    accounts = overlay.of("ServiceAccount")
    assert accounts and all(each["automountServiceAccountToken"] is False for each in accounts)


def settings_of(overlay: Overlay, pod: Pod, container: dict, folder: Path, ordinal: int = 0) -> Settings:
    """The settings as the product reads them there, with the mounted secrets under `folder`."""
    environment = overlay.environment(pod, container, ordinal)
    mounted = {
        volume["name"]: volume["secret"] for volume in pod.spec.get("volumes", []) if "secret" in volume
    }
    for mount in container.get("volumeMounts", []):
        for item in mounted.get(mount["name"], {}).get("items", []):
            file = folder / mount["mountPath"].lstrip("/") / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(CA if item["key"] == "ca.crt" else b"a password\n")
    placed = {
        name: str(folder / value.lstrip("/")) if value.startswith("/etc/stream-scrub/") else value
        for name, value in environment.items()
    }
    return load(environ=placed, cwd=folder, extra_checks=[clients.refused_properties])


CA = trustme.CA().cert_pem.bytes()


def test_the_product_takes_every_setting(overlay, tmp_path):
    """A pod would end with exit code 2 at its start; a misspelt variable is a setting that is not set."""
    for pod in overlay.pods():
        for each in pod.ours:
            settings = settings_of(overlay, pod, each, tmp_path)
            assert settings.kafka.bootstrap_servers != "localhost:9092"
            assert settings.log.format == "json"
            if "ports" in each:
                ports = {port["name"]: port["containerPort"] for port in each["ports"]}
                assert settings.http.listen == f"0.0.0.0:{ports['http']}"
                assert settings.http.probes == f"0.0.0.0:{ports['probes']}"


def test_production_speaks_tls_and_scram(production, tmp_path):
    """Prospects and passwords would go over the network for everybody to read."""
    for pod in production.pods():
        (container,) = pod.ours
        client = settings_of(production, pod, container, tmp_path).kafka.client
        assert client["security.protocol"] == "SASL_SSL" and client["sasl.mechanism"] == "SCRAM-SHA-512"
        assert client["sasl.username"] == pod.name and client["sasl.password"] == "a password"
        assert client["ssl.ca.location"].endswith("/etc/stream-scrub/kafka-ca/ca.crt")
        assert "enable.ssl.certificate.verification" not in client
        assert "ssl.endpoint.identification.algorithm" not in client


def test_each_worker_has_an_identity_of_its_own(overlay, tmp_path):
    """Two workers would put each other's producer out of work in turns."""
    pod = overlay.pod(WORKER)
    (container,) = pod.ours
    found = [settings_of(overlay, pod, container, tmp_path, ordinal).worker.id for ordinal in range(3)]
    assert found == [f"{WORKER}-{ordinal}" for ordinal in range(3)]


def test_what_is_written_goes_to_a_volume(overlay, tmp_path):
    """The root is read-only: no snapshot could be kept, and no dropped file be taken."""
    for pod in overlay.pods():
        for each in pod.ours:
            if "ports" not in each:
                continue
            settings = settings_of(overlay, pod, each, tmp_path)
            writable = {mount["mountPath"] for mount in each["volumeMounts"] if not mount.get("readOnly")}
            kept = settings.lists.folder if pod.name == PUBLISHER else settings.worker.state_dir
            assert kept and any(Path(kept).is_relative_to(path) for path in writable), pod.name
            assert "/tmp" in writable


def test_the_arguments_are_commands(overlay):
    """A container would end with exit code 2 at its start."""
    for pod in overlay.pods():
        for each in pod.ours:
            said = CliRunner().invoke(app, [*each["args"], "--help"])
            assert said.exit_code == 0, said.output


def test_probes_ask_what_the_product_answers(overlay):
    """The kubelet would restart a fleet for a broker's outage, or never start it."""
    for pod in overlay.pods():
        for each in pod.ours:
            if "ports" not in each:
                continue
            paths = {
                kind: each[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")
            }
            assert paths == {
                "startupProbe": {"path": "/startupz", "port": "probes"},
                "livenessProbe": {"path": "/livez", "port": "probes"},
                "readinessProbe": {"path": "/readyz", "port": "probes"},
            }
            noted = pod.metadata["annotations"]
            assert noted["prometheus.io/port"] == str(each["ports"][0]["containerPort"])
            assert (noted["prometheus.io/scrape"], noted["prometheus.io/path"]) == ("true", "/metrics")


def test_a_slow_start_or_step_is_no_death(overlay):
    """Workers would be restarted for ever while they read a large log, or in the middle of a slow commit."""
    for pod in overlay.pods():
        for each in pod.ours:
            if "ports" not in each:
                continue
            start, live = each["startupProbe"], each["livenessProbe"]
            assert start["periodSeconds"] * start["failureThreshold"] >= 600
            assert live["periodSeconds"] * live["failureThreshold"] >= 30


def test_memory_holds_the_registers_twice(overlay, tmp_path):
    """A worker would be killed by the first large delta, and then again, each in turn."""
    consumer = properties_of(Role.MEMBER, "b:9092")
    fetched = consumer["queued.max.messages.kbytes"] / 1024
    for pod in overlay.pods():
        numbers = int(pod.owner["metadata"].get("annotations", {}).get("stream-scrub/sized-for-numbers", "0"))
        if pod.name not in {WORKER, PUBLISHER, RETRY}:
            continue
        lists = settings_of(overlay, pod, pod.ours[-1], tmp_path).lists
        assert lists.max_numbers == numbers, pod.name
        index = numbers * (ROARING_BYTES + FILTER_BYTES) / 2**20
        needed = PYTHON_MIB + 2 * index + 2.5 * fetched + OUT_MIB
        a_list = READER_MIB + lists.read_max_mb + numbers * ROARING_BYTES / 2**20
        needed += a_list if pod.name == PUBLISHER else fetched
        resources = pod.ours[-1]["resources"]
        assert needed <= mib(resources["limits"]["memory"]) <= 1.6 * needed, pod.name
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        if pod.name != PUBLISHER:
            (state,) = [volume["emptyDir"] for volume in pod.spec["volumes"] if volume["name"] == "state"]
            assert mib(state["sizeLimit"]) >= 2 * index


def test_no_cpu_is_limited(overlay):
    """Throttled client threads miss their heartbeats: the group rebalances in the busiest hour."""
    for pod in overlay.pods():
        for each in pod.containers:
            assert "cpu" in each["resources"]["requests"] and "cpu" not in each["resources"]["limits"]


def test_workers_go_one_by_one(overlay):
    """A drain or an update would take the whole group away at once."""
    (budget,) = overlay.of("PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    spec = overlay.one("StatefulSet", WORKER)["spec"]
    assert spec["updateStrategy"] == {"type": "RollingUpdate"} and spec["podManagementPolicy"] == "Parallel"
    assert spec["minReadySeconds"] >= 5


def test_one_publisher_at_a_time(overlay):
    """A second publisher would say that there is one and end, again and again, during every update."""
    spec = overlay.one("Deployment", PUBLISHER)["spec"]
    assert spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}

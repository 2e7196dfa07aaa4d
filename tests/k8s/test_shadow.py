"""The component with a shadow of the workers, beside each overlay."""

import subprocess
from pathlib import Path

import pytest

from stream_scrub.kafka import session
from stream_scrub.kafka.client import bounded_call, options
from stream_scrub.lists.log.follower import Follower
from stream_scrub.lists.log.snapshot_writer import SnapshotWriter
from stream_scrub.shadow import daemon
from tests.k8s.test_pods import UID, waits
from tests.support.k8s.kustomize import ROOT
from tests.support.k8s.manifests import Overlay

SHADOW = "stream-scrub-shadow"


@pytest.fixture(scope="module", params=["local", "production"])
def shadowed(kustomize, request, tmp_path_factory) -> Overlay:
    """An overlay with the component."""
    folder = tmp_path_factory.mktemp("with-shadow")
    up = Path("../" * len(folder.parts[1:])) / str(ROOT).lstrip("/") / "k8s"
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: stream-scrub\n"
        f"resources: [{up}/overlays/{request.param}]\ncomponents: [{up}/components/shadow]\n"
        "images: [{name: stream-scrub, newTag: 0.1.0}]\n"
    )
    command = [kustomize, "build", "--load-restrictor=LoadRestrictionsNone", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Overlay.of_text(request.param, done.stdout, done.stderr)


def test_its_pod_is_like_all_others_and_judges_by_what_is_tried(shadowed):
    """The namespace would turn it away, or it would compare the workers with themselves."""
    pod = shadowed.pod(SHADOW)
    (container,) = pod.containers
    assert pod.spec["securityContext"]["runAsUser"] == UID and pod.spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod.spec["automountServiceAccountToken"] is False
    assert container["image"].startswith("stream-scrub:") and container["args"] == ["worker", "--shadow"]
    named = {each["name"]: each.get("value") for each in container["env"]}
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "rules"]
    assert named["STREAM_SCRUB_RULES__FOLDER"] == mount["mountPath"] and mount["readOnly"]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[kind]["httpGet"]["port"] == "probes"


def test_there_is_one_and_it_has_the_time_that_its_end_takes(shadowed):
    """Two would take the work from each other for as long as an update lasts."""
    spec = shadowed.one("Deployment", SHADOW)["spec"]
    assert spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}
    overrun, queue = bounded_call.GRACE_S, options.TRANSACTION_TIMEOUT_MS / 1000
    step = daemon._ASK_S + session.REOPEN_S + overrun + queue + daemon._ASK_S + overrun
    longest = step + daemon._RETRY_S + overrun + waits(Follower.stop) + waits(SnapshotWriter.stop)
    assert longest + 5 <= spec["template"]["spec"]["terminationGracePeriodSeconds"] <= longest + 30

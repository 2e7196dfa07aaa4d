"""kustomize for the tests of `k8s/`: found on the PATH, or built once a checkout from its Go module."""

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.support.machine import golang

ROOT = Path(__file__).parents[3]
VERSION = "v5.8.1"
BUILT = ROOT / ".cache" / f"kustomize-{VERSION}" / "kustomize"
HOW = f"install kustomize 5, or what builds it from its module: {golang.HOW}"

NO_KUSTOMIZE = "no kustomize"
BUILD_S = 900


class NoKustomize(RuntimeError):
    """There is no kustomize here and none can be built; the text says why and what would help."""


def find() -> str:
    """The kustomize to run. Raises NoKustomize."""
    found = shutil.which("kustomize")
    if found is not None and re.match(r"v?5\.", _run([found, "version"]).stdout):
        return found
    return _build()


def _build() -> str:
    """Build it; other processes wait for the one that builds. That takes half a minute the first time, and longer if
    go must be fetched too."""
    try:
        go = golang.find()
    except golang.NoGo as error:
        raise NoKustomize(f"{NO_KUSTOMIZE} 5 and {error}") from error
    BUILT.parent.mkdir(parents=True, exist_ok=True)
    with (BUILT.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not BUILT.is_file():
            part = BUILT.parent / "part"
            module = f"sigs.k8s.io/kustomize/kustomize/v5@{VERSION}"
            done = _run(go.command("install", module), GOBIN=str(part))
            if done.returncode != 0:
                raise NoKustomize(f"{NO_KUSTOMIZE}: building it failed: {done.stderr.strip()[-400:]}; {HOW}")
            (part / "kustomize").rename(BUILT)
    return str(BUILT)


def build(kustomize: str, folder: Path, *options: str) -> tuple[str, str]:
    """The manifests of a folder as text, and what kustomize said about them."""
    done = _run([kustomize, "build", *options, str(folder)])
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def build_with(kustomize: str, folder: Path, overlay: str, *components: str) -> tuple[str, str]:
    """The manifests of an overlay with more components, from this folder that is not in the checkout."""
    up = Path("../" * len(folder.parts[1:])) / str(ROOT).lstrip("/") / "k8s"
    named = ", ".join(f"{up}/components/{each}" for each in components)
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: stream-scrub\n"
        f"resources: [{up}/overlays/{overlay}]\ncomponents: [{named}]\n"
    )
    return build(kustomize, folder, "--load-restrictor=LoadRestrictionsNone")


def _run(command: list[str], **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment, timeout=BUILD_S
    )

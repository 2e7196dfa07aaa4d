#!/usr/bin/env python3
"""A kubectl for the commands of docs/kubernetes.md where there is no cluster: it knows what the overlays build.

What a command names must be there, or the command fails. `exec` runs here what it would run in the pod, with the
settings that the pod has; `wait` and `rollout status` wait for what the pods' own probes say. The rest is only checked.
KUBECTL_WORLD names a file with: objects ("kind/name"), folders (that may be applied), pods (what stands for each: its
environment, the folder that its volume is, and where its probe answers).
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

WORLD = json.loads(Path(os.environ["KUBECTL_WORLD"]).read_text())
VOLUME = "/var/lib/stream-scrub"
MADE_BY_OTHERS = {"secret/kafka-cluster-ca-cert"}


def fail(text: str) -> None:
    sys.exit(f"kubectl: {text}")


def need(name: str) -> str:
    """An object that must be there, by kind and name."""
    if name not in WORLD["objects"]:
        fail(f"{name} is not in any overlay")
    return name


def pod_of(name: str) -> dict:
    """What stands for a pod, which is named by (a) its own name or (b) its workload."""
    found = WORLD["pods"].get(name.removeprefix("pod/"))
    if found is None:
        fail(f"{name}: no such pod")
    return found


def wait_until_ready(name: str) -> None:
    ready = pod_of(name)["ready"]
    if ready is None:  # nothing runs for it
        return
    until = time.monotonic() + 240
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(ready, timeout=60) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.2)
    fail(f"{name} did not become ready")


def inside(name: str, command: list[str]) -> int:
    pod = pod_of(name)
    placed = [part.replace(VOLUME, pod["volume"]) for part in command]
    return subprocess.run(placed, env=pod["environment"], check=False).returncode


def folder(name: str) -> None:
    if str(Path(name)) not in WORLD["folders"]:
        fail(f"{name} is no overlay")


def main(arguments: list[str]) -> int:
    command = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    known = argparse.ArgumentParser(exit_on_error=False)
    known.add_argument("-n", dest="namespace", default="")
    known.add_argument("-k", dest="folder")
    known.add_argument("-f", dest="file")
    known.add_argument("-i", dest="stdin", action="store_true")
    known.add_argument("-o", dest="output")
    for flag in ("--for", "--timeout", "--from-file", "--dry-run", "--replicas"):
        known.add_argument(flag)
    for flag in ("--server-side", "--all"):
        known.add_argument(flag, action="store_true")
    known.add_argument("words", nargs="+")
    asked = known.parse_intermixed_args(own)
    verb, *words = asked.words
    if asked.namespace and asked.namespace not in WORLD["namespaces"]:
        fail(f"no namespace {asked.namespace}")
    match verb, words:
        case (("apply" | "diff" | "delete"), []) if asked.folder:
            folder(asked.folder)
        case "apply", [] if asked.file == "-":
            (made,) = [each for each in yaml.safe_load_all(sys.stdin) if each]
            Path(WORLD["applied"]).write_text(json.dumps(made))
        case "create", ["secret", "generic", name]:
            content = Path(asked.from_file).read_text()
            made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
            print(yaml.safe_dump(made | {"stringData": {asked.from_file: content}}))
        case "get", ["secret", name]:
            if (
                f"secret/{name}" not in MADE_BY_OTHERS
                or asked.output != 'go-template={{index .data "ca.crt"}}'
            ):
                fail(f"nobody makes the secret {name}")
            print("YSBjZXJ0aWZpY2F0ZQ==", end="")
        case "wait", [kind] if asked.all:
            if not any(each.startswith(f"{kind}/") for each in WORLD["objects"]):
                fail(f"there is no {kind}")
        case ("wait", [name]) | ("rollout", ["status", name]):
            need(name)
            wait_until_ready(name)
        case ("rollout", ["restart" | "undo", *names]) | ("scale" | "logs", [*names]):
            for name in names:
                need(name)
        case "annotate", [kind, "strimzi.io/managed=false"] if asked.all:
            if not any(each.startswith(f"{kind}/") for each in WORLD["objects"]):
                fail(f"there is no {kind}")
        case "exec", [name]:
            return inside(name, command)
        case _:
            fail(f"cannot {verb} {' '.join(words)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Where the real Kafka of the tests comes from: java, and the jars that `pom.xml` names, fetched once a checkout."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBS = HERE / "libs"
TARGET = HERE / "target"  # the lock and a fetch under way
KAFKA_JAR = "kafka_2.13-4.3.1.jar"  # as in pom.xml; an older one means that the folder is of another version
JARS = 47  # what pom.xml resolves to
JAVA_MIN = 17

HOW = (
    "give STREAM_SCRUB_TEST_BOOTSTRAP=host:port of a Kafka that may be written to, "
    f"or install java {JAVA_MIN}+ and mvn (Debian: apt-get install default-jre-headless maven)"
)


class NoKafka(RuntimeError):
    """There is no real Kafka here and none can be started; the text says why and what would help."""


def find_java() -> str:
    """The java to run, installed first where this is a root's machine with apt-get; raises NoKafka."""
    missing = [tool for tool in ("java", "mvn") if not _have(tool)]
    if missing and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        print(
            f"installing default-jre-headless and maven: no {' and no '.join(missing)} here", file=sys.stderr
        )
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], "apt-get update", environment)
        packages = ["default-jre-headless", "maven"]
        run(
            ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages],
            "apt-get install",
            environment,
        )
        missing = [tool for tool in ("java", "mvn") if not _have(tool)]
    if missing:
        raise NoKafka(f"no {' and no '.join(missing)} (java {JAVA_MIN} or newer): {HOW}")
    return "java"


def fetch_jars() -> None:
    """Fetch Kafka's jars once for this checkout; one process fetches, others wait for it."""
    TARGET.mkdir(exist_ok=True)
    with (TARGET / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _have_jars():
            return
        part = TARGET / "libs"
        for folder in (part, LIBS):
            shutil.rmtree(folder, ignore_errors=True)
        command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
        run([*command, f"-DoutputDirectory={part}"], "fetching Kafka's jars with mvn")
        part.rename(LIBS)


def _have_jars() -> bool:
    return (LIBS / KAFKA_JAR).is_file() and len(list(LIBS.glob("*.jar"))) >= JARS


def _have(tool: str) -> bool:
    if shutil.which(tool) is None:
        return False
    if tool != "java":
        return True
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    return version is not None and int(version[1]) >= JAVA_MIN


def run(command: list[str], doing: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode != 0:
        raise NoKafka(f"{doing} failed: {(done.stderr or done.stdout).strip()[-600:]}; {HOW}")

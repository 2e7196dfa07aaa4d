"""What every broker start would otherwise repeat, prepared once a checkout in `target/`: a formatted data folder, and an
archive of the JVM's loaded classes (class-data sharing), which makes a start three times as fast.
"""

import base64
import fcntl
import functools
import hashlib
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.kafka.jars import KAFKA_JAR, LIBS, TARGET, run

# Of several JVMs on few cores each must start soon, and none needs to be quick for long.
SMALL = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
LARGE = ("-Xmx1g",)
_MADE_OF = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listeners": "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
    "controller.listener.names": "CONTROLLER",
    "controller.quorum.voters": "1@127.0.0.1:9093",
}


def random_id() -> str:
    """A random id as Kafka spells them. Not one that starts with '-': StorageTool takes it for an option."""
    while True:
        made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not made.startswith("-"):
            return made


def format_folder(folder: Path, java: str, cluster: str, node: int) -> None:
    """Make `folder` a data folder of that node of that cluster, as `kafka-storage format` does. Raises NoKafka."""
    shutil.copytree(_once("formatted", java, lambda part: _format(part, java)), folder)
    place = folder / "meta.properties"
    text = place.read_text()
    for name, value in {"cluster.id": cluster, "node.id": node, "directory.id": random_id()}.items():
        text, count = re.subn(f"(?m)^{re.escape(name)}=.*$", f"{name}={value}", text)
        assert count == 1, f"no {name} in {place}"
    place.write_text(text)


def _format(part: Path, java: str) -> None:
    config = part.with_suffix(".properties")
    config.write_text("".join(f"{k}={v}\n" for k, v in {**_MADE_OF, "log.dirs": str(part)}.items()))
    command = [java, *SMALL, "-cp", f"{LIBS}/*", "kafka.tools.StorageTool", "format"]
    run([*command, "--cluster-id", random_id(), "--config", str(config)], "formatting the broker's folder")


def with_archive(java: str, train: Callable[[tuple[str, ...]], None]) -> tuple[str, ...]:
    """The small JVM's flags, with the archive. `train` starts and stops a broker with the flags that it is given: at its
    end the JVM writes the archive. A JVM that cannot read one goes on without it.
    """

    def make(part: Path) -> None:
        train((*SMALL, f"-XX:ArchiveClassesAtExit={part}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"))
        part.touch()  # a JVM that cannot make one is not asked again

    return (*SMALL, f"-XX:SharedArchiveFile={_once('classes.jsa', java, make)}", "-Xlog:cds=off")


def _once(name: str, java: str, make: Callable[[Path], None]) -> Path:
    """What `make` makes, if it is not there yet; other processes wait for it."""
    place = TARGET / f"{_key(java)}-{name}"
    if place.exists():
        return place
    TARGET.mkdir(exist_ok=True)
    with (TARGET / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            part = TARGET / f"part-{name}"
            shutil.rmtree(part, ignore_errors=True)
            part.unlink(missing_ok=True)
            make(part)
            part.rename(place)
    return place


@functools.cache
def _key(java: str) -> str:
    version = subprocess.run([java, "-version"], capture_output=True, check=False).stderr
    return hashlib.sha256(b"\n".join([version, KAFKA_JAR.encode(), str(LIBS).encode()])).hexdigest()[:12]

"""Makes the peers ready: Maven, Go and pip fetch and build what they need, into the bench's folder `.cache`, once.

A cache is of the sources that it was made from: others make it anew. Unavailable says why a peer cannot run here; one that
is there but does not compile raises Failed, which is no reason to go on without it.
"""

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness.failure import Failed
from bench.harness.paths import CACHE, PEERS
from tests.kafka.jars import NoKafka, find_java

JAVA_LIBRARIES = (
    "kafka-streams",
    "flink-streaming-java",
    "flink-connector-kafka",
    "kafka-clients",
    "jackson-databind",
    "libphonenumber",
    "RoaringBitmap",
    "rocksdbjni",
)
# By program; Flink's connector calls inner methods of the client that it was made for.
CLIENTS = {"Streams": "4.3.1", "Flink": "4.2.0"}
PYTHON_LIBRARIES = ("quixstreams", "confluent-kafka", "phonenumbers", "pyroaring", "orjson")
_BUILD_S = 900.0


class Unavailable(RuntimeError):
    """This peer cannot be had here; the text says why."""


def java() -> Path:
    """The folder with peers.jar and the libraries of each program, built if need be. Raises Unavailable, Failed."""
    source, made = PEERS / "java", CACHE / "java"
    try:
        find_java()
    except NoKafka as missing:
        raise Unavailable(str(missing)) from None
    with _making(made, [source / "pom.xml", *sorted(source.rglob("*.java"))]) as needed:
        if needed:
            # paths of the cache, not of the sources: a checkout may be read-only to its user but for this
            maven = ["mvn", "-q", "-B", "-f", str(source / "pom.xml"), f"-Dbuild.folder={made}"]
            _run([*maven, "package"], broken="COMPILATION ERROR")
            for main, kafka in CLIENTS.items():
                libs = f"-DoutputDirectory={made / main}"
                _run([*maven, "dependency:copy-dependencies", libs, f"-Dkafka.version={kafka}"])
    return made


def franz() -> Path:
    """The franz-go program, built if need be. Raises Unavailable, Failed."""
    source, made = PEERS / "franz", CACHE / "franz"
    with _making(made, sorted(source.iterdir())) as needed:
        if needed:
            # the compiler's own lines begin with "# PACKAGE"
            _run(["go", "build", "-C", str(source), "-o", str(made / "franz"), "."], broken="# franz")
    return made / "franz"


def quix() -> Path:
    """The interpreter of a virtual environment with Quix's pinned requirements. Raises Unavailable."""
    made, requirements = CACHE / "quix", PEERS / "quix/requirements.txt"
    with _making(made, [requirements], salt=sys.version) as needed:
        if needed:
            _run([sys.executable, "-m", "venv", str(made)])
            pip = [str(made / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
            _run([*pip, "install", "--require-hashes", "-r", str(requirements)])
    return made / "bin/python"


@contextmanager
def _making(made: Path, sources: Iterable[Path], salt: str = "") -> Iterator[bool]:
    """Whether it has to be made, then into an empty folder; if that goes well it is not made again."""
    digest = hashlib.sha256(salt.encode())
    for each in sources:
        digest.update(f"{each.name}\0{each.stat().st_size}\0".encode() + each.read_bytes())
    CACHE.mkdir(exist_ok=True)
    stamp = made / "made-from"
    with (CACHE / f"{made.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        needed = not stamp.is_file() or stamp.read_text() != digest.hexdigest()
        if needed:
            shutil.rmtree(made, ignore_errors=True)
        yield needed
        if needed:
            stamp.write_text(digest.hexdigest())


def _run(command: list[str], broken: str = "") -> None:
    tool = Path(command[0]).name
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_BUILD_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{tool}: {error}") from None
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        if broken and broken in said:
            raise Failed(f"{tool} says {broken}:\n{said[:3000]}")
        raise Unavailable(f"{tool} ended with {done.returncode}: {said[-400:]}")


def versions() -> dict[str, dict[str, str]]:
    """By peer, of what works in it; only of those that were made."""
    found: dict[str, dict[str, str]] = {}
    for program in CLIENTS:
        jars = (CACHE / "java" / program).glob("*.jar")
        named = (re.fullmatch(r"(.+?)-(\d.*)", jar.stem) for jar in sorted(jars))
        found[program] = {m[1]: m[2] for m in named if m and m[1] in JAVA_LIBRARIES}
    if (CACHE / "franz/made-from").is_file():
        lines = re.findall(r"(?m)^\t(\S+) (v\S+)$", (PEERS / "franz/go.mod").read_text())
        found["franz"] = dict(lines)
    if (CACHE / "quix/made-from").is_file():
        lines = re.findall(r"(?m)^([\w.-]+)==(\S+)", (PEERS / "quix/requirements.txt").read_text())
        found["quix"] = {name: version for name, version in lines if name in PYTHON_LIBRARIES}
    return found

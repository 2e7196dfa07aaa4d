"""Makes the peers ready: Maven and pip fetch and build what they need, into the bench's folder `.cache`, once.

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

JAVA_LIBRARIES = ("kafka-streams", "jackson-databind", "libphonenumber", "RoaringBitmap", "rocksdbjni")
PYTHON_LIBRARIES = (
    "quixstreams",
    "faust-streaming",
    "aiokafka",
    "confluent-kafka",
    "phonenumbers",
    "pyroaring",
    "orjson",
)
_BUILD_S = 900.0


class Unavailable(RuntimeError):
    """This peer cannot be had here; the text says why."""


def kstreams() -> Path:
    """The folder with kstreams.jar and libs/, built if need be. Raises Unavailable, Failed."""
    source, made = PEERS / "kstreams", CACHE / "kstreams"
    try:
        find_java()
    except NoKafka as missing:
        raise Unavailable(str(missing)) from None
    with _making(made, [source / "pom.xml", *sorted(source.rglob("*.java"))]) as needed:
        if needed:
            # paths of the cache, not of the sources: a checkout may be read-only to its user but for this
            goals = ["package", "dependency:copy-dependencies", f"-DoutputDirectory={made / 'libs'}"]
            _run(
                ["mvn", "-q", "-B", "-f", str(source / "pom.xml"), *goals, f"-Dbuild.folder={made}"],
                broken="COMPILATION ERROR",
            )
    return made


def python(peer: str) -> Path:
    """The interpreter of a virtual environment with the peer's pinned requirements. Raises Unavailable."""
    made, requirements = CACHE / peer, PEERS / peer / "requirements.txt"
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
    if jars := sorted((CACHE / "kstreams/libs").glob("*.jar")):
        named = (re.fullmatch(r"(.+?)-(\d[^-]*)", jar.stem) for jar in jars)
        found["kstreams"] = {m[1]: m[2] for m in named if m and m[1] in JAVA_LIBRARIES}
    for peer in ("quix", "faust"):
        if (CACHE / peer / "made-from").is_file():
            lines = re.findall(r"(?m)^([\w.-]+)==(\S+)", (PEERS / peer / "requirements.txt").read_text())
            found[peer] = {name: version for name, version in lines if name in PYTHON_LIBRARIES}
    return found

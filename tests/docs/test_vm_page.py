"""docs/vm.md and systemd/: the page's commands run as they stand there, below a folder, with a systemctl of the test's own
that starts what the unit says. Only the folders, the brokers, the topics' names and the ports are replaced."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.kafka.broker import Kafka, free_ports
from tests.kafka.jars import LIBS, find_java
from tests.kafka.security import ADMIN, add_user
from tests.support.fakes.lists import consents
from tests.support.running.outcome import count
from tests.support.running.prospects import produce, prospect
from tests.support.running.stage import Stage
from tests.support.running.worker import SCRIPT
from tests.support.texts.pages import ROOT, blocks
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

PAGE = ROOT / "docs" / "vm.md"
UNIT = ROOT / "systemd" / "stream-scrub@.service"
PORTS = ("8080", "8081", "8082", "8083", "8091")
TOOLS = {
    "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
}
SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"
FOLDERS = ("/opt/stream-scrub", "/etc/stream-scrub", "/etc/systemd", "/var/lib/stream-scrub")


class Host:
    """The folders of a host, its commands, and the services that run there."""

    def __init__(self, root: Path, kafka: Kafka, stage: Stage) -> None:
        self.root, self._kafka = root, kafka
        self._exported: set[str] = set()
        self._ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
        self.services: dict[str, subprocess.Popen] = {}
        shutil.copytree(ROOT / "systemd", root / "systemd")
        bin_ = root / "opt/stream-scrub/bin"
        bin_.mkdir(parents=True)
        (bin_ / "stream-scrub").symlink_to(SCRIPT)
        (root / "etc/systemd/system").mkdir(parents=True)
        self._env = {name: value for name, value in stage.env.items() if "_KAFKA__" not in name}
        self._env["PATH"] = f"{root}/bin:{os.environ['PATH']}"
        (root / "opt-outs.csv").write_text("+33612345678\n")
        (root / "consents.csv").write_text(consents(["+33612345678", "+33612345680"]))

    def run(self, block: str) -> None:
        """Run a block: systemctl and exports one by one, and what stands between them as one script."""
        script: list[str] = []
        for line in block.splitlines():
            words = line.removeprefix("sudo ").split()
            if words[0] in ("useradd", "python3") or words[0].endswith("/pip"):
                continue  # tests/packaging install wheels
            if words[0] == "export":
                name, _, value = self._placed(words[1]).partition("=")
                self._env[name] = value
                self._exported.add(name)
            elif words[0] == "systemctl":
                self._bash(script)
                script = []
                self._systemctl(*words[1:])
            else:
                script.append(line)
        self._bash(script)

    def _bash(self, lines: list[str]) -> None:
        script = self._placed("\n".join(lines)).replace("sudo ", "").replace("--owner stream-scrub ", "")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.root,
            env=self._env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (script, done.stdout + done.stderr)
        if "/examples/" in script:
            self._settle()

    def _settle(self) -> None:
        """The operator's own settings."""
        for file in (self.root / "etc/stream-scrub").iterdir():
            file.write_text(self._placed(file.read_text()))

    def _placed(self, text: str) -> str:
        for folder in FOLDERS:
            text = text.replace(folder, f"{self.root}{folder}")
        text = text.replace("localhost:9092", self._kafka.bootstrap)
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda port: self._ports[port[0]], text)

    def _systemctl(self, verb: str, *names: str) -> None:
        if verb == "daemon-reload":
            return
        for name in names:
            if name.startswith("--"):
                continue
            if verb == "restart":
                self.services[name].terminate()
                assert self.services[name].wait(240) == 0
            self._start(name)

    def _start(self, name: str) -> None:
        """Start a service as its unit says."""
        instance = name.partition("@")[2]
        unit = self._placed((self.root / "etc/systemd/system/stream-scrub@.service").read_text())
        unit = unit.replace("%i", instance)
        env = dict(self._env)
        for exported in self._exported:
            env.pop(exported, None)
        for setting in re.findall(r"^Environment=(.*)$", unit, re.MULTILINE):
            key, _, value = setting.partition("=")
            env[key] = value
        (file,) = re.findall(r"^EnvironmentFile=(.*)$", unit, re.MULTILINE)
        for setting in Path(file).read_text().splitlines():
            key, _, value = setting.partition("=")
            env[key] = value
        (state,) = re.findall(r"^StateDirectory=(.*)$", unit, re.MULTILINE)
        (self.root / "var/lib" / state).mkdir(parents=True, exist_ok=True)
        (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
        arguments = shlex.split(command.replace("$COMMAND", env.pop("COMMAND")))
        with (self.root / f"{instance}.log").open("ab") as log:
            self.services[name] = subprocess.Popen(
                arguments, cwd=self.root, env=env, stdout=log, stderr=log, start_new_session=True
            )

    def is_ready(self, port: str) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._ports[port]}/readyz", timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def logs(self) -> str:
        return "\n".join(file.read_text()[-2000:] for file in sorted(self.root.glob("*.log")))

    def close(self) -> None:
        for service in self.services.values():
            service.kill()
            service.wait()


@pytest.fixture
def secured(kafka) -> Iterator[Kafka]:
    """A Kafka that asks for passwords. Asks for the shared one first: where there is none, there is none of these."""
    with Kafka(secured=True) as made:
        yield made


def administrator(root: Path, kafka: Kafka) -> None:
    """Kafka's tools, and what an administrator has for them."""
    tools = root / "bin"
    tools.mkdir()
    for name, main in TOOLS.items():
        tool = tools / name
        tool.write_text(f'#!/bin/sh\nexec {find_java()} -Xmx128m -cp "{LIBS}/*" {main} "$@"\n')
        tool.chmod(0o755)
    add_user(kafka.admin, ADMIN, [])
    user = kafka.user(ADMIN)
    shutil.copy(user["ssl.ca.location"], root / "ca.crt")
    (root / "admin.secret").write_text(user["sasl.password"])
    jaas = f'{SCRAM_MODULE} required username="{ADMIN}" password="{user["sasl.password"]}";'
    (root / "admin.properties").write_text(
        f"security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config={jaas}\n"
        f"ssl.truststore.type=PEM\nssl.truststore.location={root}/ca.crt\n"
    )


def test_the_page_leads_to_running_services(secured, tmp_path):
    """An operator of a virtual machine would copy commands that lead to services which never start."""
    stage = Stage(secured.admin, tmp_path, partitions=2)
    host = Host(tmp_path, secured, stage)
    administrator(tmp_path, secured)
    install, users, start, look, more, upgrade = [block.text for block in blocks(PAGE)]
    try:
        host.run(install)
        host.run(users)
        host.run(start)
        for port in PORTS[:4]:
            wait_until(lambda port=port: host.is_ready(port))
        host.run(look)
        host.run(more)
        wait_until(lambda: host.is_ready("8091"))
        leads = ((b"k", prospect(at, f"+{number}")) for at, number in enumerate([33612345678, 33612345680]))
        produce(stage.bootstrap, stage.topics["prospects"], leads)
        wait_until(lambda: [count(stage.bootstrap, [topic]) for topic in stage.outputs] == [1, 1])
        host.run(upgrade)
        for port in PORTS:
            wait_until(lambda port=port: host.is_ready(port))
        assert all(service.poll() is None for service in host.services.values()), host.logs()
    finally:
        host.close()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path):
    """systemd would ignore a misspelt line that protects the host, or refuse the unit."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/stream-scrub/bin/stream-scrub", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

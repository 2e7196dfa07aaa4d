"""The kits for other languages, built, each with a program that uses it."""

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.kafka.jars import find_java
from tests.support.machine import golang
from tests.support.machine.absent import absent

ROOT = Path(__file__).parents[2]
KITS = ROOT / "kits"
BUILT = ROOT / ".cache" / "kits"


DRIVERS = {"go": "driver.go", "java": "Driver.java"}  # in tests/kits: programs that do what tests ask
CHECKING = {**DRIVERS, "typescript": "driver.mjs"}  # those that can ask the check API


class Program:
    """A driver that runs, and is asked one line at a time."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, line: object) -> str:
        """Its answer."""
        self.process.stdin.write(f"{line}\n")
        return self.process.stdout.readline().rstrip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def driver_of(kit: str, folder: Path) -> list[str]:
    """The command of a kit's driver, built in a folder of that folder."""
    own = folder / kit
    own.mkdir()
    build = {"go": go, "java": java, "typescript": typescript}[kit]
    return build((ROOT / "tests" / "kits" / CHECKING[kit]).read_text(), own)


def go(program: str, folder: Path) -> list[str]:
    """The command that runs this program (the text of a main.go)."""
    kit = folder / "kit"
    shutil.copytree(KITS / "go", kit)
    (kit / "program").mkdir()
    (kit / "program" / "main.go").write_text(program)
    _run(golang.found().command("build", "-o", "../program", "./program"), kit)
    return [str(folder / "program")]


def java(program: str, folder: Path) -> list[str]:
    """The command that runs this program (the text of a class with `main`, in one file)."""
    (name,) = re.findall(r"^public class (\w+)", program, re.MULTILINE)
    (folder / f"{name}.java").write_text(program)
    java = find_java()
    parts = os.pathsep.join(map(str, [_java_kit(), *sorted((BUILT / "libs").glob("*.jar")), folder]))
    compiler = [
        "--module",
        "jdk.compiler/com.sun.tools.javac.Main",
    ]  # a runtime without javac has it all the same
    _run([java, *compiler, "-cp", parts, "-d", str(folder), f"{name}.java"], folder)
    return [java, "-XX:TieredStopAtLevel=1", "-cp", parts, name]


def typescript(program: str, folder: Path) -> list[str]:
    """The command that runs this program (the text of a module next to the kit's)."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        absent("no node and npm: install node 20 or newer (Debian: apt-get install nodejs npm)")
    kit = folder / "kit"
    shutil.copytree(KITS / "typescript", kit, ignore=shutil.ignore_patterns("node_modules", "dist"))
    _run(["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund"], kit)
    _run(["npm", "run", "build"], kit)
    (kit / "dist" / "program.mjs").write_text(program)
    return [str(node), str(kit / "dist" / "program.mjs")]


def _java_kit() -> Path:
    """The kit's classes, compiled by Maven when its sources are newer; its jars are fetched with them."""
    pom, classes = KITS / "java" / "pom.xml", BUILT / "target" / "classes"
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = [pom, *(KITS / "java").rglob("*.java")]
        made = BUILT / "made"
        if not made.exists() or made.stat().st_mtime < max(each.stat().st_mtime for each in sources):
            goals = ["compile", "dependency:copy-dependencies", f"-DoutputDirectory={BUILT / 'libs'}"]
            shutil.rmtree(BUILT / "libs", ignore_errors=True)  # of another version
            _run(
                ["mvn", "-q", "-B", "-f", str(pom), f"-Dbuild.folder={BUILT / 'target'}", *goals],
                KITS / "java",
            )
            made.touch()
    return classes


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr

"""go for the tests: found, or unpacked once a checkout from Debian's packages.

They are unpacked, not installed. So this needs no root, and the machine stays as it was. A stable Debian has an old
go, and a newer one in its backports. From 1.21 on, a go by itself fetches the version that a module needs, as a
module.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.support.machine.absent import absent

ROOT = Path(__file__).parents[3]
UNPACKED = ROOT / ".cache" / "go"
INSTALLED = Path("/usr/local/go/bin/go")  # where Go's own instructions put it; not on every PATH
NEEDED = (1, 24)  # by kustomize and by the reader of compose files
FETCHES = (1, 21)  # from this version on GOTOOLCHAIN is heeded
TOOLCHAIN = "go1.27.3"
HOW = f"install go {NEEDED[0]}.{NEEDED[1]} or newer (Debian 13: apt-get install golang-go)"


class NoGo(RuntimeError):
    """There is no go here and none can be fetched; the text says why and what would help."""


class Go(NamedTuple):
    """A go to run, and the variables to run it with."""

    path: str
    env: dict[str, str]

    def command(self, *arguments: str) -> list[str]:
        """The command line for these arguments, with its variables."""
        return ["env", *(f"{name}={value}" for name, value in self.env.items()), self.path, *arguments]


def found() -> Go:
    """The go to run. Without one the test is skipped, or fails where real parts are required."""
    try:
        return find()
    except NoGo as error:
        absent(str(error))


def find() -> Go:
    """The go to run. It is fetched if none here is good enough. Raises NoGo."""
    for path in (shutil.which("go"), str(INSTALLED)):
        if path is not None and (go := _with(path)) is not None:
            return go
    UNPACKED.mkdir(parents=True, exist_ok=True)
    with (UNPACKED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process fetches, others wait for it
        if not (there := _unpacked()):
            _fetch()
            there = _unpacked()
    for path in there:
        if (go := _with(path)) is not None:
            return go
    raise NoGo(f"no go of {FETCHES[0]}.{FETCHES[1]} or newer: {HOW}")


def _with(path: str) -> Go | None:
    """That go, if it is new enough, or can fetch one that is."""
    try:
        told = subprocess.run([path, "version"], capture_output=True, text=True, env=_plain(), check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    number = re.search(r"go(\d+)\.(\d+)", told.stdout)
    version = (int(number[1]), int(number[2])) if number is not None else (0, 0)
    if version < FETCHES:
        return None
    return Go(path, {"GOFLAGS": "", "GOTOOLCHAIN": "local" if version >= NEEDED else TOOLCHAIN})


def _plain() -> dict[str, str]:
    """The environment in which `go version` reports that go, and fetches no other one."""
    return os.environ | {"GOTOOLCHAIN": "local"}


def _unpacked() -> list[str]:
    return sorted(map(str, UNPACKED.glob("usr/lib/go-*/bin/go")))


def _fetch() -> None:
    """The newest go of this Debian, else of its backports."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise NoGo(f"no go: {HOW}")
    print("fetching Debian's packages of go: there is none here", file=sys.stderr)
    release = _release()
    said = ""
    for suite in (release, f"{release}-backports"):
        try:
            version = _newest(suite)
        except NoGo as error:
            said = str(error)
            continue
        if version is not None:
            _download(suite, version)
            return
    raise NoGo(f"no go: this Debian has none of {FETCHES[0]}.{FETCHES[1]} or newer; {said or HOW}")


def _release() -> str:
    try:
        told = dict(
            line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
        )
        return told["VERSION_CODENAME"].strip('"')
    except (OSError, KeyError):
        raise NoGo(f"no go: {HOW}") from None


def _newest(suite: str) -> tuple[int, int] | None:
    """The newest go in the packages of a suite that is good enough. apt-get uses package lists of our own for
    this."""
    archive = _run(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(CODENAME)", "Created-By: Packages"
    )
    places = [line.split()[0] for line in archive.splitlines() if _release() in line.split()[1:]]
    if not places:
        raise NoGo(f"no go: apt-get knows no archive of {_release()}; {HOW}")
    (UNPACKED / suite / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (UNPACKED / suite / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    (UNPACKED / suite / "sources.list").write_text(f"deb {places[0]} {suite} main\n")
    _run("apt-get", *_only(suite), "update")
    names = _run("apt-cache", *_only(suite), "search", "--names-only", r"^golang-1\.[0-9]+-go$")
    versions = [(1, int(minor)) for minor in re.findall(r"^golang-1\.(\d+)-go ", names, re.MULTILINE)]
    return max((version for version in versions if version >= FETCHES), default=None)


def _only(suite: str) -> list[str]:
    here = UNPACKED / suite
    told = {
        "Dir::Etc::SourceList": here / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": here / "lists",
        "Dir::Cache": here / "cache",
        "APT::Sandbox::User": "root",  # what apt-get may write to is ours
    }
    return [word for name, value in told.items() for word in ("-o", f"{name}={value}")]


def _download(suite: str, version: tuple[int, int]) -> None:
    name = f"golang-{version[0]}.{version[1]}"
    _run("apt-get", *_only(suite), "download", "-qq", f"{name}-go", f"{name}-src")
    for package in UNPACKED.glob("golang-*.deb"):
        _run("dpkg-deb", "-x", str(package), str(UNPACKED))
        package.unlink()


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=UNPACKED, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise NoGo(f"no go: {command[0]} failed: {(done.stderr or done.stdout).strip()[-400:]}; {HOW}")
    return done.stdout

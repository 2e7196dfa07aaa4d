"""The image, built as an operator builds it (`make image`), where no registry of images can be reached.

Debian's buildah builds in a storage of its own, on a base that debootstrap makes. The base is kept for the next run,
in a folder that git ignores. This module knows nothing of pytest.
"""

import fcntl
import hashlib
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.packaging.pip_settings import secrets

ROOT = Path(__file__).parents[3]
CACHE = ROOT / ".cache" / "packaging"
SUITE = "trixie"
PACKAGES = "python3,python3-venv"
TOOLS = ("buildah", "debootstrap")
HOW = "be root on a machine with apt-get, or have buildah and debootstrap (Debian packages) and be root"


class NoImage(RuntimeError):
    """No image can be built here; the text says why and what would help."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of regular files, hard links counted once."""

    base: int
    above: int


class Image:
    """An image and a container's root made from it, for the length of a `with`. Raises NoImage, or AssertionError when the
    build itself fails.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="stream-scrub-image-"))
        self._base_name = "localhost/base"
        self._base = Path()
        self.name = f"localhost/stream-scrub:{uuid.uuid4().hex[:8]}"
        self.root = Path()
        self.config: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            need_tools()
            self._base = base()
            self._import_base()
            self._build()
            container = self._buildah("from", "--pull-never", self.name)
            self.root = Path(self._buildah("mount", container))
            self.config = json.loads(self._buildah("inspect", "--type", "image", self.name))["OCIv1"][
                "config"
            ]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def size(self) -> Size:
        """How large the base is, and how much the image adds: files that the base lacks or has with other content."""
        with tarfile.open(self._base) as packed:
            known = {member.name.removeprefix("./"): member.size for member in packed if member.isreg()}
        above, seen = 0, set()
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                told = path.lstat()
                if path.is_symlink() or not path.is_file() or told.st_ino in seen:
                    continue
                seen.add(told.st_ino)
                if known.get(path.relative_to(self.root).as_posix()) != told.st_size:
                    above += told.st_size
        return Size(sum(known.values()), above)

    @property
    def _command(self) -> list[str]:
        places = ["--root", str(self._folder / "storage"), "--runroot", str(self._folder / "run")]
        return ["buildah", *places, "--storage-driver", "vfs"]

    def _buildah(self, *arguments: str) -> str:
        return run([*self._command, *arguments]).strip()

    def _import_base(self) -> None:
        container = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", container, str(self._base), "/")
        self._buildah("commit", "--quiet", "--rm", container, self._base_name)

    def _build(self) -> None:
        build = [*self._command, "bud", "--quiet", "--isolation", "chroot", "--pull-never", *_limits()]
        given = ["--build-arg", f"BASE={self._base_name}", *secrets(self._folder)]
        command = ["make", "--no-print-directory", "image", f"IMAGE={self.name}"]
        command += [f"IMAGE_BUILD={shlex.join(build)}", f"IMAGE_ARGS={shlex.join(given)}"]
        run(command)


def _limits() -> list[str]:
    """The limits for the builder: this process's own, and no more processes than the machine can have. The builder's
    defaults may be above what is allowed or below what we need, and it gives up the right to raise limits before it
    sets them.
    """
    files, processes = (
        resource.getrlimit(limit)[1] for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
    )
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    processes = most if processes == resource.RLIM_INFINITY else min(processes, most)
    given = ["--ulimit", f"nproc={processes}:{processes}"]
    if files != resource.RLIM_INFINITY:
        given += ["--ulimit", f"nofile={files}:{files}"]
    return given


def need_tools() -> None:
    """Install what is missing, if that is possible. Otherwise raises NoImage."""
    if os.geteuid() != 0:
        raise NoImage(f"building in a chroot needs root: {HOW}")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing and shutil.which("apt-get"):
        print(f"installing {' and '.join(missing)}: there is none here", file=sys.stderr)
        for arguments in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *missing]):
            _fetch(["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments])
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise NoImage(f"no {' and no '.join(missing)}: {HOW}")


def base() -> Path:
    """A tar of the smallest Debian with Python. It is made once for each set of parameters, and then kept."""
    made_of = json.dumps({"suite": SUITE, "packages": PACKAGES, "form": 1})
    kept = CACHE / f"base-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.tar"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept.is_file():
            return kept
        print("making the base of the image with debootstrap", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="stream-scrub-base-", ignore_cleanup_errors=True) as folder:
            _fetch(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, folder])
            for litter in ("var/cache/apt/archives", "var/lib/apt/lists"):
                for path in Path(folder, litter).iterdir():
                    if path.is_file():
                        path.unlink()
            part = kept.with_suffix(".part")
            run(
                [
                    "tar",
                    "--create",
                    "--numeric-owner",
                    "--one-file-system",
                    "-C",
                    folder,
                    "-f",
                    str(part),
                    ".",
                ]
            )
        part.rename(kept)
    return kept


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Run a command in the checkout. It must succeed. Returns what it printed."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def _fetch(command: list[str]) -> None:
    try:
        run(command, os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
    except AssertionError as error:
        raise NoImage(f"{error}; {HOW}") from None

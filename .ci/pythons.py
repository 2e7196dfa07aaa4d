"""Runs the unit and property tests that start no process on every other Python that the classifiers name and this machine has.

They need no broker, take two minutes of a processor each, and run beside the whole suite, which waits a lot: with the
least claim to a processor, so that what promises a time there keeps it. Each has an environment of its own, from the
same hashes. Ends with 1, naming the Python, when one fails or does not end in time.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ("tests/unit", "tests/property")
ALL_S = 3600.0
PROBE = "import sys; print('%d.%d' % sys.version_info[:2])"


def versions() -> list[str]:
    """What the classifiers name, as in 3.12, without the Python that runs this: the whole suite does."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        classifiers = tomllib.load(file)["project"]["classifiers"]
    named = re.findall(r"Python :: (3\.\d+)$", "\n".join(classifiers), re.MULTILINE)
    return [version for version in named if version != f"{sys.version_info.major}.{sys.version_info.minor}"]


def find(version: str) -> str | None:
    """An interpreter of that version. One on the PATH may be a stand-in that only says which version is not chosen."""
    name = f"python{version}"
    folders = [Path(folder) for folder in os.get_exec_path()]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders += [path / "bin" for path in sorted(pyenv.glob(f"versions/{version}*"), reverse=True)]
    folders += [Path("/usr/bin"), Path("/usr/local/bin")]
    for path in (folder / name for folder in folders):
        if path.is_file() and os.access(path, os.X_OK):
            told = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, check=False)
            if told.returncode == 0 and told.stdout.strip() == version:
                return str(path)
    return None


def run(command: list[str], until: float) -> bool:
    """Whether it ended well, and in time. Its processes end with it."""
    environment = {
        name: value for name, value in os.environ.items() if name != "CI"
    }  # fewer examples: it is another go
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        return process.wait(max(1.0, until - time.monotonic())) == 0
    except subprocess.TimeoutExpired:
        print(f"not over after {ALL_S:.0f} s: {' '.join(command)}", flush=True)
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def make(version: str, python: str, until: float) -> bool:
    """Whether its environment could be made."""
    return run(["make", "--silent", f"VENV={_venv(version)}", f"PYTHON={python}", ".venv"], until)


def test(version: str, until: float) -> bool:
    """Whether the tests pass there."""
    pytest = [
        f"{_venv(version)}/bin/python",
        "-m",
        "pytest",
        "--quiet",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow and not process",
    ]
    return run([*pytest, *TESTS], until)


def _venv(version: str) -> str:
    return f".cache/python{version}"


def main() -> int:
    """All environments first, so that nothing is built while the suite builds its own; then one after the other."""
    os.nice(19)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    until = time.monotonic() + ALL_S
    found = {version: python for version in versions() if (python := find(version)) is not None}
    made = {version: make(version, python, until) for version, python in found.items()}
    failed = []
    for version in versions():
        print(f"== Python {version}{'' if version in found else ' is not on this machine'}", flush=True)
        if version in found and not (made[version] and test(version, until)):
            failed.append(version)
    if failed:
        print(f"FAILED on Python {', '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

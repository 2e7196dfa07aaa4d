"""Runs the unit tests that start no process on the newest Python that the classifiers name, if this machine
has it. The whole suite runs on `python3`.

They need no broker and run beside the whole suite with the least claim to a processor, so that what promises a time
there keeps it. Their environment is made from the same hashes. Ends with 1 when a test fails or time runs out.
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
TESTS = "tests/unit"
ALL_S = 5000.0
PROBE = "import sys; print('%d.%d' % sys.version_info[:2])"


def newest() -> str:
    """The newest Python that the classifiers name, as in 3.13."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        classifiers = tomllib.load(file)["project"]["classifiers"]
    named = re.findall(r"Python :: 3\.(\d+)$", "\n".join(classifiers), re.MULTILINE)
    return f"3.{max(map(int, named))}"


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
    # Where Linux shares its time between sessions, niceness counts within one only.
    with contextlib.suppress(OSError):
        Path(f"/proc/{process.pid}/autogroup").write_text("19")
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
    return run([*pytest, TESTS], until)


def _venv(version: str) -> str:
    return f".cache/python{version}"


def main() -> int:
    """Return the exit code."""
    os.nice(19)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    until = time.monotonic() + ALL_S
    version = newest()
    python = find(version)
    if python is None:
        print(f"== Python {version} is not on this machine", flush=True)
        return 0
    print(f"== Python {version}", flush=True)
    if make(version, python, until) and test(version, until):
        return 0
    print(f"FAILED on Python {version}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""Runs the unit tests that start no process on the newest Python that the classifiers name, if this machine has it.

The whole suite runs on `python3`. The environment is made from the same hashes. Ends with pytest's code.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROBE = "import sys; print('%d.%d' % sys.version_info[:2])"


def newest() -> str:
    """The newest Python that the classifiers name, as in 3.13."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        classifiers = tomllib.load(file)["project"]["classifiers"]
    minors = re.findall(r"Python :: 3\.(\d+)$", "\n".join(classifiers), re.MULTILINE)
    return f"3.{max(map(int, minors))}"


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


def main() -> int:
    """Return the exit code."""
    version = newest()
    python = find(version)
    if python is None:
        print(f"Python {version} is not on this machine")
        return 0
    venv = f".cache/python{version}"
    subprocess.run(["make", "--silent", f"VENV={venv}", f"PYTHON={python}", ".venv"], cwd=ROOT, check=True)
    pytest = [f"{venv}/bin/python", "-m", "pytest", "-n", "2", "-p", "no:cacheprovider"]
    chosen = ["-m", "not slow and not process", "tests/unit"]
    return subprocess.run([*pytest, *chosen], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

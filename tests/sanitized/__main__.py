"""`python -m tests.sanitized`: builds the extension with both sanitizers, and runs it in a process that has them loaded.

`--records` odd records go round an embedded broker: taken, judged and emitted by the extension, and compared with what
the client's binding and the Python way make of them. Then come `--moves` assignments, seeks, pauses and new clients
while records are taken. A fault of memory ends the process with a report. So does memory that grows.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache" / "sanitized"
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
# Leaks are found by the memory that must not grow: Python itself keeps what LeakSanitizer would report.
OPTIONS = "detect_leaks=0:quarantine_size_mb=16:abort_on_error=0"


def build() -> Path:
    """The extension with the sanitizers; returns its folder."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    source, made = FOLDER / "source", FOLDER / "made"
    shutil.copytree(
        ROOT / "native", source, ignore=shutil.ignore_patterns("build", "*.egg-info", "stream_scrub_native.c")
    )
    # A fortified copy would be checked by another function than the one that the sanitizer knows.
    project = source / "pyproject.toml"
    project.write_text(project.read_text().replace("-D_FORTIFY_SOURCE=2", "-D_FORTIFY_SOURCE=0"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", str(made), str(source)],
        env={
            **os.environ,
            "CC": "gcc",
            "CFLAGS": f"-g -fno-omit-frame-pointer {SANITIZERS}",
            "LDFLAGS": SANITIZERS,
        },
        check=True,
    )
    return made


def library(name: str) -> str:
    """The path of a library of the compiler's."""
    asked = ["gcc", f"-print-file-name={name}"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sanitized", description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--moves", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    env = {
        **os.environ,
        "LD_PRELOAD": f"{library('libasan.so')} {library('libubsan.so')}",
        "ASAN_OPTIONS": OPTIONS,
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # so that each object has its own bounds
        "PYTHONPATH": os.pathsep.join([str(build()), str(ROOT)]),
    }
    numbers = [str(given.records), str(given.moves), str(given.seed)]
    return subprocess.run(
        [sys.executable, "-m", "tests.sanitized.rounds", *numbers], env=env, cwd=ROOT
    ).returncode


if __name__ == "__main__":
    sys.exit(main())

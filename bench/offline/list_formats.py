"""How fast lists are read, and in how much memory: `python -m bench.offline.list_formats [FORMAT ...] [--lines N]`.

No Kafka: a file is made, read as an import reads it, compared with an empty register and made into the records of the
log, in a process of its own (`read_list.py`), whose peak memory the kernel tells. Same seed, same file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.harness import command
from bench.harness.failure import Failed
from bench.harness.list_files import MAKERS
from bench.harness.paths import ROOT

NAME = "bench.offline.list_formats"


def read(file: Path, region: str) -> dict[str, Any]:
    """What reading it cost a process of its own. Raises Failed."""
    arguments = [sys.executable, "-m", "bench.offline.read_list", str(file.resolve()), region]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def work(given: argparse.Namespace) -> int:
    """The formats asked for, one after another, or the file; a line of JSON each."""
    if given.file is not None:
        print(json.dumps(read(given.file, given.region)))
        return 0
    for name in given.formats or MAKERS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "list.txt"
            MAKERS[name](path, given.lines)
            print(json.dumps({"format": name} | read(path, given.region)), flush=True)
    return 0


def main() -> int:
    """The exit code."""
    parser = command.parser(NAME, (__doc__ or "").splitlines()[0])
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(MAKERS))
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--region", default="FR", help="region of national numbers")
    parser.add_argument("--file", type=Path, help="measure the reading of this file only")
    given = parser.parse_args()
    for name in given.formats:
        if name not in MAKERS:
            parser.error(f"no such format here: {name}; {', '.join(MAKERS)}")
    return command.ended(NAME, lambda: work(given))


if __name__ == "__main__":
    sys.exit(main())

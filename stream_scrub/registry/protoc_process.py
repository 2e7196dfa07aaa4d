"""The process that runs protoc: `python -m stream_scrub.registry.protoc_process MAX_BYTES MAX_S FOLDER FILE...`.

protoc reads texts from a folder in FOLDER, and files that are descriptors already from a descriptor set. Its messages go to
standard error.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from stream_scrub import bounded_process

SET_IN, SET_OUT, TEXTS = "set.in", "set.out", "texts"  # in FOLDER


def main(arguments: Sequence[str]) -> int:
    """Run protoc in this process; its exit code."""
    bounded_process.end_with_parent()
    max_bytes, max_s, folder, *names = arguments
    protoc = import_module("grpc_tools.protoc")  # before the bound, which counts loaded modules
    bounded_process.bound(int(max_bytes), float(max_s))
    os.chdir(Path(folder, TEXTS))  # so messages name files as imports do
    code: int = protoc.main(
        [
            *("protoc", "--proto_path=.", "--include_imports"),
            *(f"--descriptor_set_in=../{SET_IN}", f"--descriptor_set_out=../{SET_OUT}"),
            *names,
        ]
    )
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

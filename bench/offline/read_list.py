"""Reads one list as an import reads it, in this process: `python -m bench.offline.read_list FILE REGION`.

Nothing but the product is loaded, so that the peak of memory is its own. Prints a line of JSON.
"""

import json
import os
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from stream_scrub.imports.formats import FORMATS, ListOptions, open_list
from stream_scrub.imports.parsing.format import read_list
from stream_scrub.imports.parsing.unpack import digest
from stream_scrub.index import Register, deltas
from stream_scrub.log.encode import records_of
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import RegisterKind


def measure(path: Path, region: str) -> dict[str, object]:
    """Read, compare, make the records: seconds of each, in this process."""
    at = datetime.now(UTC)
    began = time.perf_counter()
    with open_list(path) as packed:
        reading = read_list(FORMATS, packed, ListOptions(region, at))
    read = time.perf_counter()
    bitmap = reading.bitmap()
    gathered = time.perf_counter()
    source = DeltaSource(path.name, digest(path))
    base = Register.empty("bench", RegisterKind.DENY, at)
    delta = deltas.full(base.numbers, bitmap)
    records, _ = records_of(base, delta, at, source)
    done = time.perf_counter()
    return {
        "read_as": reading.described,
        "lines": reading.lines,
        "refused": reading.refused,
        "distinct": len(bitmap),
        "log_mb": round(sum(len(value) for _, value, _ in records) / 1e6, 1),
        "read_s": round(read - began, 2),
        "gather_s": round(gathered - read, 2),
        "publish_s": round(done - gathered, 2),
        "total_s": round(done - began, 2),
        "cpu_s": round(sum(os.times()[:2]), 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2])))

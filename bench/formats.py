"""How fast lists are read, and in how much memory: `python -m bench.formats [FORMAT ...] [--lines N]`.

No Kafka: a file is made, read as an import reads it, compared with an empty register and made into the records of the
log, in a process of its own, whose peak memory the kernel tells. Same seed, same file.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import phonenumbers

_BLOCK = 1_000_000
_AREA_NUMBERS = 8_000_000  # of an area code: 200-0000 to 999-9999


def mixed(path: Path, lines: int) -> None:
    """French numbers in the three ways that people type them, in no order."""
    made = np.random.default_rng(7)
    with path.open("wb") as file:
        for start in range(0, lines, _BLOCK):
            count = min(_BLOCK, lines - start)
            numbers = made.choice(np.array([1, 2, 3, 4, 5, 6, 7, 9]), count) * 10**8 + made.integers(
                0, 10**8, count
            )
            text = []
            for at, number in enumerate(numbers.tolist()):
                digits = f"{number:09d}"
                if at % 3 == 0:
                    text.append(f"0{digits[0]} {digits[1:3]} {digits[3:5]} {digits[5:7]} {digits[7:]}")
                else:
                    text.append(("0" if at % 3 == 1 else "+33") + digits)
            file.write(("\n".join(text) + "\n").encode())


def pairs(path: Path, lines: int) -> None:
    """Lines `416,5550123`, ascending, as the national list of the United States is, over all area codes in use."""
    made = np.random.default_rng(7)
    areas = [area for area in range(201, 990) if _valid(f"+1{area}2345678")]
    areas = areas[:: max(1, len(areas) * 10_000 // lines)]
    each = lines // len(areas)
    with path.open("wb") as file:
        for at, area in enumerate(areas):
            count = each if at else lines - each * (len(areas) - 1)
            numbers = np.sort(made.choice(_AREA_NUMBERS, count, replace=False, shuffle=False)) + 2_000_000
            rows = np.empty((count, 12), np.uint8)
            rows[:, :4] = np.frombuffer(f"{area},".encode(), np.uint8)
            rows[:, 11] = ord("\n")
            for place in range(7):
                rows[:, 4 + place] = numbers // 10 ** (6 - place) % 10 + ord("0")
            file.write(rows.tobytes())


def fixed(path: Path, lines: int) -> None:
    """British lines of 5 and 7, CRLF, in no order."""
    made = np.random.default_rng(7)
    codes = [b"01204", b"01482", b"01792", b"0161 ", b"0113 "]
    with path.open("wb") as file:
        for start in range(0, lines, _BLOCK):
            chosen = made.integers(0, len(codes), min(_BLOCK, lines - start)).tolist()
            rest = made.integers(200_000, 999_999, len(chosen)).tolist()
            file.write(
                b"".join(
                    codes[code] + (b" %d\r\n" % number if code < 3 else b"2%d\r\n" % number)
                    for code, number in zip(chosen, rest, strict=True)
                )
            )


def _valid(number: str) -> bool:
    return phonenumbers.is_valid_number(phonenumbers.parse(number))


MAKERS = {"plain": mixed, "nanp-pair": pairs, "tps-fixed": fixed}


def measure(path: Path, region: str) -> dict[str, object]:
    """Read, compare, make the records: seconds of each, in this process."""
    from stream_scrub.index import Register
    from stream_scrub.lists import deltas
    from stream_scrub.lists.formats import FORMATS, Options, open_list
    from stream_scrub.lists.log.encode import records_of
    from stream_scrub.lists.log.wire import Source
    from stream_scrub.lists.parsing.detect_format import read_list
    from stream_scrub.lists.parsing.unpack import digest
    from stream_scrub.model import RegisterKind

    at = datetime.now(UTC)
    began = time.perf_counter()
    with open_list(path) as packed:
        reading = read_list(FORMATS, packed, Options(region, at))
    read = time.perf_counter()
    bitmap = reading.bitmap()
    gathered = time.perf_counter()
    source = Source(path.name, digest(path))
    base = Register.empty("bench", RegisterKind.DENY, at)
    delta = deltas.full(base.numbers, bitmap)
    records, _ = records_of(base, delta, at, source)
    done = time.perf_counter()
    return {
        "read_as": reading.described,
        "lines": reading.accounted,
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


def main() -> int:
    """The formats asked for, one after another; a line of JSON each."""
    asked = argparse.ArgumentParser(prog="python -m bench.formats", description=__doc__.splitlines()[0])
    asked.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(MAKERS))
    asked.add_argument("--lines", type=int, default=10_000_000)
    asked.add_argument("--region", default="FR", help="region of national numbers")
    asked.add_argument("--file", type=Path, help="measure the reading of this file only")
    chosen = asked.parse_args()
    if chosen.file is not None:
        print(json.dumps(measure(chosen.file, chosen.region)))
        return 0
    for name in chosen.formats or MAKERS:
        if name not in MAKERS:
            asked.error(f"no such format here: {name}; {', '.join(MAKERS)}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "list.txt"
            MAKERS[name](path, chosen.lines)
            command = [sys.executable, "-m", "bench.formats", "--file", str(path), "--region", chosen.region]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return 1
        print(json.dumps({"format": name} | json.loads(done.stdout)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

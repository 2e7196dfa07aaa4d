"""Writes the tables. Run `python -m stream_scrub.numbering.generate` for each new phonenumbers, and commit the
result.

It writes one file a calling code under `tables/`, and `tables/index.json`. The index names the version of
phonenumbers that they were made from and holds the sha256 of each file's content. Deterministic: the same metadata
gives the same content. `tables` reads them.
"""

import hashlib
import json
import sys
import time
import zlib
from pathlib import Path
from typing import Final

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from stream_scrub.numbering.clean import Shape, international, national
from stream_scrub.numbering.plans import plan_of

FORMAT: Final = 1
FOLDER: Final = Path(__file__).with_name("tables")


def content_of(calling_code: int) -> bytes:
    """The uncompressed content of one file: a line of JSON, then the cells of the tables in the order of its
    `tables`.

    `lines`: (region, type) of the cell values from 2 on. `tables`: (digits of the significant number, count of
    cells); the count is a power of ten. `international` and `national`: shapes as (digits, prefix, depth, runs of
    masked cells).
    """
    plan = plan_of(calling_code)
    tables = {length: table.tobytes() for length, table in plan.tables.items() if table.any()}
    regions = [region for region in COUNTRY_CODE_TO_REGION_CODE[calling_code] if region != "001"]
    head = {
        "lines": plan.lines,
        "tables": [(length, len(table)) for length, table in tables.items()],
        "international": [_row(shape) for shape in international(calling_code)],
        "national": {region: [_row(shape) for shape in national(region)] for region in regions},
    }
    return json.dumps(head, separators=(",", ":")).encode() + b"\n" + b"".join(tables.values())


def _row(shape: Shape) -> tuple[int, str, int, tuple[tuple[int, int], ...]]:
    return shape.length, shape.prefix, shape.depth, shape.masked


def main() -> None:
    """Generate every calling code's file and the index."""
    began = time.monotonic()
    FOLDER.mkdir(exist_ok=True)
    digests = {}
    for calling_code in sorted(COUNTRY_CODE_TO_REGION_CODE):
        content = content_of(calling_code)
        digests[str(calling_code)] = hashlib.sha256(content).hexdigest()
        (FOLDER / f"{calling_code}.z").write_bytes(zlib.compress(content, 9))
    for stale in {path.stem for path in FOLDER.glob("*.z")} - digests.keys():
        (FOLDER / f"{stale}.z").unlink()
    index = {"format": FORMAT, "phonenumbers": phonenumbers.__version__, "sha256": digests}
    (FOLDER / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    sys.stdout.write(f"{len(digests)} calling codes, {size} bytes, {time.monotonic() - began:.1f} s\n")


if __name__ == "__main__":
    main()

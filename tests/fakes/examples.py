"""The files of schemas/examples, as the code makes them: `python -m tests.fakes.examples` writes them anew.

Fixed moment, fixed index, fixed rules (schemas/examples/fr.toml): so they are the same bytes on every machine.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pyroaring import BitMap64

from stream_scrub.index import Register
from stream_scrub.lists import diff
from stream_scrub.lists.follow import Replay
from stream_scrub.lists.publish import records_of
from stream_scrub.lists.wire import Source
from stream_scrub.model import LogRecord, RegisterKind
from stream_scrub.rules import Rulebook, RuleFile
from stream_scrub.scrub.batch import Scrubber, Terms
from tests.fakes import law
from tests.fakes.prospects import MEMBERS

FOLDER = Path(__file__).parents[2] / "schemas" / "examples"
OPT_OUT_DAY = datetime(2026, 7, 1, 12, 0, 0, 123_000, UTC)
OPT_IN_DAY = law.NOW
OPPOSED, CONSENTING = 33612345678, 33622222222
# The name of each example: the day it is judged on, the prospect, how several numbers are taken.
STAMPS: dict[str, tuple[datetime, bytes, str]] = {
    "clear": (OPT_OUT_DAY, b'{"phone":"0611111111"}', "block"),
    "opposed": (OPT_OUT_DAY, b'{"phone":"06 12 34 56 78"}', "block"),
    "opposed-scoped": (OPT_OUT_DAY, b'{"phone":"0633333333","campaign":"acme"}', "block"),
    "contract": (OPT_OUT_DAY, b'{"phone":"0612345678","contract":"C-77"}', "block"),
    "exempt": (OPT_OUT_DAY, b'{"phone":"0612345678","purpose":"press"}', "block"),
    "several": (OPT_OUT_DAY, b'{"phone":["0611111111","0612345678"]}', "block"),
    "strip": (OPT_OUT_DAY, b'{"phone":["0611111111","0612345678","x"]}', "strip"),
    "consented": (OPT_IN_DAY, b'{"phone":"+33622222222"}', "block"),
    "no-consent": (OPT_IN_DAY, b'{"phone":"0611111111"}', "block"),
    "banned-purpose": (OPT_IN_DAY, b'{"phone":"0622222222","purpose":"Energy renovation"}', "block"),
    "not-callable": (OPT_IN_DAY, b'{"phone":"0899123456"}', "block"),
    "no-rule": (OPT_IN_DAY, b'{"phone":"+447400123456"}', "block"),
    "stale-register": (OPT_OUT_DAY, b'{"phone":"0611111111","stale":1}', "block"),
    "invalid-number": (OPT_IN_DAY, b'{"phone":"06123"}', "block"),
    "unreadable": (OPT_IN_DAY, b'{"phone":"0611111111","phone":"0622222222"}', "block"),
}


def rulebook() -> Rulebook:
    """The rules of the examples."""
    return Rulebook.of([RuleFile("fr.toml", "schemas/examples/fr.toml", (FOLDER / "fr.toml").read_bytes())])


def stamp(name: str) -> bytes:
    """One stamp, as it goes into a header; into a value go the same bytes."""
    now, value, mixed = STAMPS[name]
    days_old = (law.NOW - now).days + (40 if b"stale" in value else 1)
    index = law.index(
        law.register("list", [OPPOSED], days_old=days_old),
        law.register("internal@acme", [33633333333]),
        law.allow("consent", [CONSENTING]),
    )
    terms = Terms(MEMBERS, mixed=mixed, stamp="header", stale="block")
    (made,) = Scrubber(terms, rulebook()).scrub([value], index, now).stamps
    assert made is not None
    return made


def deltas() -> Iterator[tuple[str, bytes]]:
    """The first two deltas of a register: parts, seals and the headers of each."""
    replay = Replay()
    at = datetime(2026, 6, 30, 4, 0, 0, tzinfo=UTC)
    base = Register.empty("list", RegisterKind.DENY, at)
    offset = 0
    for listed in ({33611111111, 33612345678, 447400123456}, {33612345678, 33699999999, 447400123456}):
        change = diff.full(base.numbers, BitMap64(sorted(listed)))
        source = Source(f"opposed-{base.seq + 1}.csv", f"{base.seq + 1}" * 64)
        records, seal = records_of(base, change, at, source)
        for key, value, headers in records:
            replay.take(LogRecord(offset, key, value, headers))
            offset += 1
            told = {name: (text or b"").decode() for name, text in headers}
            name = f"list-{seal.seq}." + (f"part-{told['i']}" if "i" in told else "seal")
            yield f"{name}.headers.json", json.dumps(told, separators=(",", ":")).encode()
            yield f"{name}.{'bin' if 'i' in told else 'json'}", value
        base = replay.index.registers["list"]


def made() -> dict[str, bytes]:
    """Every example file by its name, but the rules."""
    return {**{f"stamp-{name}.json": stamp(name) for name in STAMPS}, **dict(deltas())}


if __name__ == "__main__":
    for name, content in made().items():
        (FOLDER / name).write_bytes(content)

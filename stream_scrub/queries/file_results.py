"""What folders with the results of `file` say of a number: the rows that were released, as a dossier repeats verdicts.

A result has the verdict of each row, and not its stamp. So the stamp is written from the row, from the proof and from the facts
that held for every row; a dossier compares only what the row says (`REPEATED`).
"""

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from stream_scrub.call import FACTS, Call
from stream_scrub.clock import utc_millis
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.files import proof as proofs
from stream_scrub.files.added import ADDED
from stream_scrub.files.outputs import PROOF
from stream_scrub.files.proof import Proof
from stream_scrub.numbering import e164
from stream_scrub.queries import check, find_emitted
from stream_scrub.queries.explain import EmittedProspect
from stream_scrub.queries.find_emitted import FoundProspect
from stream_scrub.rules import Rulebook
from stream_scrub.stamp import stamp_on
from stream_scrub.texts import masked

REPEATED = frozenset({"verdict", "reason", "number", "until"})
FILE = "file "  # before the file's digest, in place of a topic's name
_NDJSON = (".ndjson", ".jsonl")


class FileResults(NamedTuple):
    """The released rows with a number, and the digests of the proofs whose results were read."""

    found: list[FoundProspect]
    proofs: frozenset[str]


def kept_by_server(state_dir: str) -> list[Path]:
    """The results that a server keeps in its `worker.state_dir`."""
    return (
        sorted(path.parent for path in Path(state_dir).glob(f"leads/*/results/{PROOF}")) if state_dir else []
    )


def read(folders: Sequence[Path], number: int, settings: Settings, book: Rulebook) -> FileResults:
    """Read the results in these folders, and those that the server here keeps. Raises ConfigError for a folder without sound
    results; what the server has is passed over then, as it may delete it at any time."""
    read_all = [_in_folder(folder, number, settings, book) for folder in folders]
    for folder in kept_by_server(settings.worker.state_dir):
        with suppress(ConfigError, OSError):
            read_all.append(_in_folder(folder, number, settings, book))
    found = [each for results in read_all for each in results.found]
    # A folder may be named that the server keeps too.
    once = {(each.topic, each.offset, each.stamp.at): each for each in found}
    return FileResults(list(once.values()), frozenset().union(*(results.proofs for results in read_all)))


def _in_folder(folder: Path, number: int, settings: Settings, book: Rulebook) -> FileResults:
    proof = _proof(folder)
    if proof.source != "log" or proof.on is not None:
        why = "scrubbed by lists of its own, or for a named day (--on): the log cannot repeat it"
        raise ConfigError([f"--results {masked(str(folder))}: {why}"])
    found = [
        _found(proof, row, line, number, settings, book)
        for output in proof.outputs
        if output.path.startswith("allowed.")
        for line, row in _rows(folder / output.path, f"+{number}")
    ]
    return FileResults(found, frozenset({hashlib.sha256((folder / PROOF).read_bytes()).hexdigest()}))


def _proof(folder: Path) -> Proof:
    verified = proofs.verify(folder / PROOF, None)
    if verified.differs:
        raise ConfigError([f"--results {masked(str(folder))}: {verified.differs[0]}"])
    return msgspec.json.decode((folder / PROOF).read_bytes(), type=Proof)


def _rows(path: Path, number: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the rows with the number, by their place in the file, with the cells that we added."""
    if path.suffix in _NDJSON:
        raise ConfigError(
            [f"--results: {path.name}: only results that are CSV are read; scrub the leads as a table"]
        )
    text = _decoded(path.read_bytes())
    begin = text.find(ADDED[0])
    if path.suffix not in {".csv", ".tsv", ".txt"} or begin < 0:
        raise ConfigError(
            [f"--results: {path.name}: only CSV with titles is read; scrub the file with --to csv"]
        )
    before = text[:begin].rstrip('"')[-1:] or ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=before)
    for line, cells in enumerate(rows, 1):
        added = dict(zip(ADDED, cells[-len(ADDED) :], strict=False))
        if number in added.get("scrub_number", "").replace("(", " ").replace(")", " ").split():
            yield line, added


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    return content.decode("utf-8-sig", "replace")


def _found(
    proof: Proof, row: Mapping[str, str], line: int, number: int, settings: Settings, book: Rulebook
) -> FoundProspect:
    region = find_emitted.region_of(book, number)
    country = book.country(region)
    prefix = "" if country is None else f"{country.code.lower()}@"
    rules = [digest for digest in proof.rules if prefix and digest.startswith(prefix)]
    stamp: dict[str, Any] = {
        "verdict": row["scrub_verdict"],
        "reason": row["scrub_reason"],
        "number": e164(number),
        "index": proof.index,
        "at": utc_millis(proof.at),
    }
    stamp |= {"rules": rules[0]} if len(rules) == 1 else {}
    stamp |= {"until": row["scrub_until"]} if row.get("scrub_until") else {}
    header = msgspec.json.encode(stamp)
    read_stamp = stamp_on(header, None)
    if read_stamp is None:
        raise ConfigError([f"--results: row {line} of the allowed leads holds no verdict of ours"])
    facts = {name: FACTS[name].member(text) for name, text in proof.facts.items() if name in FACTS}
    value = check.prospect_of(e164(number), Call(**facts), None, settings)
    day = find_emitted.day_of(book, region, proof.at)
    emitted = EmittedProspect(value, header, row["scrub_verdict"])
    return FoundProspect(f"{FILE}{proof.input.sha256}", 0, line, day, read_stamp, emitted)

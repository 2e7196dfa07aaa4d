"""The rows with a number in folders with results of `file`, as verdicts of a dossier.

A line of NDJSON has its stamp. A row of a table has its verdict only: its stamp is written from the row, the proof and the
facts of every row, and a dossier compares only the cells of the row (`REPEATED`).
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
from stream_scrub.errors import BadFile, ConfigError
from stream_scrub.files import proof as proofs
from stream_scrub.files.added import ADDED
from stream_scrub.files.outputs import PROOF
from stream_scrub.files.proof import Proof
from stream_scrub.imports.parsing.workbook import read_sheet, text_of
from stream_scrub.numbering import e164
from stream_scrub.queries import check, find_emitted
from stream_scrub.queries.explain import EmittedProspect
from stream_scrub.queries.find_emitted import FoundProspect
from stream_scrub.rules import Rulebook
from stream_scrub.stamp import stamp_on
from stream_scrub.texts import masked

REPEATED = frozenset({"verdict", "reason", "number", "until"})
FILE = "file "  # before the file's digest, in place of a topic's name
_NDJSON, _WORKBOOK = ".ndjson", ".xlsx"  # the kinds of `file` other than CSV
_NO_TITLES = "the results have no titles: scrub the file again with a line of titles"


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
    prospects = [each for results in read_all for each in results.found]
    # A folder may be named that the server keeps too.
    once = {(each.topic, each.offset, each.stamp.at): each for each in prospects}
    return FileResults(list(once.values()), frozenset().union(*(results.proofs for results in read_all)))


def _in_folder(folder: Path, number: int, settings: Settings, book: Rulebook) -> FileResults:
    proof = _proof(folder)
    if proof.source != "log" or proof.on is not None:
        why = "scrubbed by lists of its own, or for a named day (--on): the log cannot repeat it"
        raise ConfigError([f"--results {masked(str(folder))}: {why}"])
    prospects: list[FoundProspect] = []
    for output in proof.outputs:
        path = folder / output.path
        if not output.path.startswith("allowed."):
            continue
        if path.suffix == _NDJSON:
            prospects += _stamped_lines(path, proof, number, book)
        else:
            rows = _sheet_rows(path) if path.suffix == _WORKBOOK else _csv_rows(path)
            prospects += [
                _found(proof, row, line, number, settings, book)
                for line, row in rows
                if f"+{number}" in _numbers_in(row)
            ]
    return FileResults(prospects, frozenset({hashlib.sha256((folder / PROOF).read_bytes()).hexdigest()}))


def _proof(folder: Path) -> Proof:
    verified = proofs.verify(folder / PROOF, None)
    if verified.differs:
        raise ConfigError([f"--results {masked(str(folder))}: {verified.differs[0]}"])
    return proofs.decode((folder / PROOF).read_bytes())


def _stamped_lines(path: Path, proof: Proof, number: int, book: Rulebook) -> Iterator[FoundProspect]:
    """Yield the lines of NDJSON whose stamp names the number."""
    typed = e164(number)
    day = find_emitted.day_of(book, find_emitted.region_of(book, number), proof.at)
    with path.open("rb") as lines:
        for nth, line in enumerate(lines, 1):
            stamp = stamp_on(None, line) if typed.encode() in line else None
            if stamp is not None and any(entry.number == typed for entry in stamp.each):
                emitted = EmittedProspect(line, None, "allowed")
                yield FoundProspect(f"{FILE}{proof.input.sha256}", 0, nth, day, stamp, emitted)


def _numbers_in(row: Mapping[str, str]) -> list[str]:
    """The numbers that may be called, of the row's cell."""
    return row.get("scrub_number", "").replace("(", " ").replace(")", " ").split()


def _sheet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the rows of a workbook with the cells that we added, each with its line."""
    try:
        with path.open("rb") as document:
            _, rows = read_sheet(path.name, document, "")
    except BadFile as error:
        raise ConfigError([f"--results: {error}"]) from error
    begin: int | None = None
    for line, cells in rows:
        texts = [text_of(cell) for cell in cells]
        if begin is not None:
            # A sheet has no empty cells at the end of a row.
            yield line, dict(zip(ADDED, texts[begin:], strict=False))
        elif ADDED[0] in texts:
            begin = texts.index(ADDED[0])
    if begin is None:
        raise ConfigError([f"--results: {path.name}: {_NO_TITLES}"])


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the rows of CSV with the cells that we added, each with its line."""
    text = _decoded(path.read_bytes())
    begin = text.find(ADDED[0])
    if begin < 0:
        raise ConfigError([f"--results: {path.name}: {_NO_TITLES}"])
    before = text[:begin].rstrip('"')[-1:] or ","
    for line, cells in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=before), 1):
        yield line, dict(zip(ADDED, cells[-len(ADDED) :], strict=False))


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

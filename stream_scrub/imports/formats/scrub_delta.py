"""`scrub-delta`: this project's own format, JSON lines: a header, then one change of one number a line.

`schemas/scrub-delta.schema.json` describes it. The header has the format's version, the register's kind, what the
changes apply on (`base`), how many lines follow and their SHA-256; anything that is not as it says raises BadList, so a
file that was cut, joined or edited is never half applied. `write` makes what `FORMAT` reads.

Dates err to the side that protects: an opposition counts from the file's import even if it speaks of a later day, and a
consent only from its day; the lifting of an opposition waits for its day as well. What waits is passed.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from datetime import MAXYEAR, datetime
from hashlib import sha256
from math import ceil, floor
from typing import IO, Final, Literal

import msgspec

from stream_scrub import strict_json
from stream_scrub.imports.parsing.cells import NO_END, EntryBuffer
from stream_scrub.imports.parsing.format import NEVER, SURELY, FormatSpec, ListOptions, ListSample
from stream_scrub.imports.parsing.parsed_list import CHANGES_ONLY, DAMAGED, BadList, ParsedList
from stream_scrub.imports.parsing.unpack import ListSource
from stream_scrub.languages import by_door, say
from stream_scrub.model import RegisterKind

NAME: Final = "scrub-delta"
VERSION: Final = 1
_MEMBERS = (b'"number"', b'"op"', b'"expires_at"')
_ONCE = strict_json.decoder(strict_json.once)
_SPOOL_BYTES = 16 << 20
_HEADER_BYTES_MAX = 1 << 16


class DeltaHeader(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a file says of itself. `register` is a name for people: the import says which one it is for."""

    kind: RegisterKind
    change: Literal["full", "delta"]
    base: int | None = None  # of a delta: the sequence number that its register must be at
    register: str = ""
    scope: str = ""  # the campaign that the numbers are for
    effective_at: datetime | None = None  # the moment that the file speaks of
    source: str = ""


class DeltaEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change. `seq` is the sequence number of the register's delta that it belongs to. Moments have a zone, and in
    the year 9999 mean never.
    """

    seq: int
    op: Literal["A", "D"]
    number: str  # E.164 with its plus
    scope: str = ""
    effective_from: datetime | None = None
    expires_at: datetime | None = None
    reason: str = ""
    source: str = ""


class _Sealed(DeltaHeader, frozen=True, kw_only=True):
    """A header as it stands in a file."""

    format: str
    version: int
    count: int
    sha256: str


_SEALED = msgspec.json.Decoder(_Sealed)
_ENTRY = msgspec.json.Decoder(DeltaEntry)


def write(out: IO[bytes], header: DeltaHeader, entries: Iterable[DeltaEntry]) -> int:
    """Write a file that `FORMAT` reads, in bounded memory; how many entries it has."""
    count, digest = 0, sha256()
    encode = msgspec.json.Encoder().encode
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as lines:
        for entry in entries:
            line = encode(entry) + b"\n"
            digest.update(line)
            lines.write(line)
            count += 1
        about = {"format": NAME, "version": VERSION, **msgspec.to_builtins(header)}
        about |= {"count": count, "sha256": digest.hexdigest()}
        out.write(json.dumps(about, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
        lines.seek(0)
        shutil.copyfileobj(lines, out)
    return count


def _recognise(sample: ListSample) -> int:
    lines = sample.filled
    first = lines[0] if lines else sample.head[:_HEADER_BYTES_MAX].decode("utf-8", "surrogateescape")
    named = first.lstrip().startswith("{") and '"format"' in first and f'"{NAME}"' in first
    return SURELY if named else NEVER


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every change, in the file's order. Raises BadList for another version, count or digest than the header's."""
    if reading.member:
        why = "the zip holds several files, and each delta applies on its own base: import them one by one"
        raise BadList(by_door(why, say(CHANGES_ONLY)))
    lines = _lines(source, reading)
    header = _header(next(lines, b""))
    reading.titles += 1
    reading.kind, reading.change, reading.base = header.kind, header.change, header.base
    reading.scope = header.scope
    reading.dated = (
        header.kind is RegisterKind.ALLOW
    )  # the log has each consent's end, by the day on which it was given
    if header.effective_at is not None:
        reading.effective_at = header.effective_at
    changes = _DeltaChanges(header, options, reading)
    digest = sha256()
    count = 0
    for at, line in enumerate(lines, 2):
        digest.update(line)
        if line.strip():
            count += 1
            changes.take(line, at)
    changes.batch.close()
    if count != header.count:
        why = f"{count} lines follow the header, which says {header.count}: the file is cut or joined"
        raise _damaged(why)
    if digest.hexdigest() != header.sha256:
        raise _damaged("the lines' SHA-256 is not the header's: the file was changed after it was written")
    reading.described = (
        f"{header.change} of kind {header.kind}, version {header.version}, complete by its digest"
        + (f", from a later day: {changes.waiting}" if changes.waiting else "")
        + (f", ended before the import: {changes.ended}" if changes.ended else "")
    )


def _damaged(why: str) -> BadList:
    return BadList(by_door(why, say(DAMAGED)))


def _lines(source: ListSource, reading: ParsedList) -> Iterator[bytes]:
    """Lines with their end. Blank ones are counted, and part of the digest."""
    for chunk in source.chunks():
        for line in chunk.splitlines(keepends=True):
            reading.blank += not line.strip()
            yield line


def _header(line: bytes) -> _Sealed:
    try:
        header = _SEALED.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(f"the first line is no header of a scrub-delta ({_member(error)})") from error
    if header.format != NAME:
        raise _damaged('the first line is no header of a scrub-delta: its "format" is another one')
    if header.version != VERSION:
        raise _damaged(
            f"version {VERSION} of scrub-delta is read here, and the file is of another one: upgrade"
        )
    if problem := _problem(header):
        raise _damaged(f"header: {problem}")
    return header


def _member(error: Exception) -> str:
    """What is wrong with a header: msgspec's path of the member, and nothing of what stands there."""
    _, sign, path = str(error).partition(" - at ")
    return (
        f"see {path}"
        if sign and path.startswith("`$.") and path.count("`") == 2
        else "no JSON object of that kind"
    )


def _problem(header: DeltaHeader) -> str:
    """What makes a header unreadable, "" for nothing."""
    if header.change == "delta" and (header.base is None or header.base < 0):
        return "a delta needs base, the sequence number of the register that it applies on"
    if header.change == "full" and header.base is not None:
        return "a full list has no base"
    if header.effective_at is not None and header.effective_at.tzinfo is None:
        return "effective_at needs a zone"
    return ""


class _DeltaChanges:
    """Entries on their way into a reading."""

    def __init__(self, header: _Sealed, options: ListOptions, reading: ParsedList) -> None:
        self.header, self.now, self.reading = header, options.now, reading
        self.batch = EntryBuffer(reading, options.region)
        self.waiting = self.ended = 0
        self._seq = 0  # of the last entry

    def take(self, line: bytes, at: int) -> None:
        """One line; one that is no entry is refused."""
        doubtful = b"\\u00" in line or any(line.count(name) > 1 for name in _MEMBERS)
        try:
            if doubtful:
                _ONCE.decode(line.decode())
            entry = _ENTRY.decode(line)
        except (ValueError, RecursionError):
            entry = None
        if entry is not None and entry.scope not in ("", self.header.scope):
            raise _damaged(f"line {at}: another scope than the header's: one register a file")
        if entry is None or not self._fits(entry):
            self.batch.refuse(at)
            return
        self._seq = entry.seq
        removed = entry.op == "D"
        protects = removed is (self.header.kind is RegisterKind.ALLOW)
        if not protects and entry.effective_from is not None and entry.effective_from > self.now:
            self.reading.passed += 1
            self.waiting += 1
        else:
            self.ended += not removed and entry.expires_at is not None and entry.expires_at <= self.now
            self.batch.put(
                entry.number, at, NO_END if removed else self._end(entry.expires_at), removed=removed
            )

    def _fits(self, entry: DeltaEntry) -> bool:
        """Whether an entry may stand in such a file, behind the entries before it."""
        moments = (entry.effective_from, entry.expires_at)
        return (
            entry.seq > (self.header.base or 0)
            and entry.seq >= self._seq
            and (self.header.change == "delta" or entry.op == "A")
            and all(at is None or at.tzinfo is not None for at in moments)
            and entry.number.startswith("+")
        )

    def _end(self, moment: datetime | None) -> int:
        """In epoch seconds: of an opposition the second after, of a consent the one before."""
        if moment is None or moment.year >= MAXYEAR:
            return NO_END
        seconds = moment.timestamp()
        return ceil(seconds) if self.header.kind is RegisterKind.DENY else floor(seconds)


FORMAT = FormatSpec(
    NAME, "this project's own: JSON lines with base, count and digest (schemas/)", _recognise, _read
)

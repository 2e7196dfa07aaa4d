"""`lists export`: writes registers to files for `lists import`, as of now or of a position.

Each register becomes a `scrub-delta` file with the expiries of its numbers and the date of its list. The log is read
and checked from its first record, as for all evidence.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import msgspec
import numpy as np

from stream_scrub.atomic_file import atomic_file
from stream_scrub.clock import utc_seconds
from stream_scrub.errors import ConfigError, Corrupt, Refused
from stream_scrub.imports.formats.scrub_delta import DeltaEntry, DeltaHeader, write
from stream_scrub.index import Index, Register
from stream_scrub.index.deltas import Ends
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import read_into
from stream_scrub.model import Deadline, LogReader, Progress
from stream_scrub.queries.history import need_finished

_SHOWN_EVERY = 50_000
_MODE = 0o600


class ExportedRegister(msgspec.Struct, frozen=True, kw_only=True):
    """One exported register. `ending`: how many of its numbers expire."""

    register: str
    kind: str
    file: str
    count: int
    ending: int
    effective_at: str
    seq: int
    position: int
    chain: str


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """The written files, as of `position`. `fault`: the log's first fault after it, if the log was salvaged."""

    position: int
    fault: str | None
    registers: list[ExportedRegister]


@dataclass(frozen=True)
class ExportOptions:
    """What to export."""

    registers: Sequence[str]  # empty: all
    folder: Path
    position: int | None = None  # None: the log's end
    salvage: bool = False  # of a corrupt log, the state before its first fault


def run(
    options: ExportOptions, reader: LogReader, topic: str, progress: Progress, deadline: Deadline
) -> Export:
    """Export from the log, called `topic`; return the files written. An exported file is whole or not there. The deadline
    is for silence, as in `scan`.

    Raises ConfigError for a register that the log does not hold and for a file that is there already, Refused when the
    folder cannot be written to, StaleIndex for a log that is not put together yet, Corrupt, Unavailable.
    """
    replay, fault = _read(options, reader, progress, deadline)
    if fault is None:  # a salvaged log is incomplete anyway
        need_finished(replay.known("").log.mark, options.position)
    index = replay.index
    _need_numbers(options, index)
    chosen = [index.registers[name] for name in _chosen(options, list(index.registers))]
    files = {register.name: options.folder / f"{register.name}.jsonl" for register in chosen}
    if existing := [str(file) for file in files.values() if os.path.lexists(file)]:
        raise ConfigError([f"{', '.join(existing)}: file exists; move it, or choose a folder with --into"])
    written = []
    for register in chosen:
        ends = replay.known(register.name).ends
        file = files[register.name]
        try:
            _write(file, register, ends, topic, progress)
        except OSError as error:
            raise Refused(f"{file}: {error.strerror or 'not writable'}") from error
        written.append(
            ExportedRegister(
                register=register.name,
                kind=register.kind,
                file=str(file),
                count=len(register.numbers),
                ending=len(ends.numbers()),
                effective_at=utc_seconds(register.effective_at),
                seq=register.seq,
                position=register.position,
                chain=register.chain,
            )
        )
    return Export(position=index.position, fault=fault, registers=written)


def _read(
    options: ExportOptions, reader: LogReader, progress: Progress, deadline: Deadline
) -> tuple[Replay, str | None]:
    """Read the log; returns also the fault that ended the reading, if it was salvaged."""
    replay = Replay(keep_ends=True)
    try:
        read_into(
            reader,
            replay.take,
            deadline,
            upto=options.position,
            on_read=lambda offset, end: progress("reading the log", offset, end),
        )
    except Corrupt as error:
        if not options.salvage:
            raise
        return replay, str(error)
    return replay, None


def _need_numbers(options: ExportOptions, index: Index) -> None:
    hashed = [register.name for register in index.registers.values() if register.hashed is not None]
    if chosen := sorted({*hashed} & {*(options.registers or hashed)}):
        why = f"REGISTER: {', '.join(chosen)}: hashes, of which no list of numbers can be made: name the other registers"
        raise ConfigError([why])


def _chosen(options: ExportOptions, on_log: list[str]) -> list[str]:
    names = list(dict.fromkeys(options.registers)) or sorted(on_log)
    if unknown := [name for name in names if name not in on_log]:
        contents = f"it has {', '.join(sorted(on_log))}" if on_log else "it has no register"
        raise ConfigError([f"REGISTER: not on the log at that position: {', '.join(unknown)}; {contents}"])
    return names


def _write(file: Path, register: Register, ends: Ends, topic: str, progress: Progress) -> None:
    about = DeltaHeader(
        kind=register.kind,
        change="full",
        register=register.name,
        scope=register.scope,
        effective_at=register.effective_at,
        source=f"{topic}, position {register.position}, chain {register.chain}",
    )
    # People's numbers: only the owner may read the file, until they share it.
    with atomic_file(file.parent, f"{file.name}.{token_hex(8)}.part", _MODE) as part:
        write(part.out, about, _entries(register, ends, progress))
        part.keep(file.name, new=True)


def _entries(register: Register, ends: Ends, progress: Progress) -> Iterator[DeltaEntry]:
    """Yield the numbers, ascending, with their expiries: a merge of two sorted sequences."""
    stated = ends.stated()
    order = np.argsort(stated.numbers)
    ending = zip(stated.numbers[order].tolist(), stated.ends[order].tolist(), strict=True)
    number, end = next(ending, (None, 0))
    for at, member in enumerate(register.numbers):
        until = None
        if member == number:
            until = datetime.fromtimestamp(end, UTC)
            number, end = next(ending, (None, 0))
        if at % _SHOWN_EVERY == 0:
            progress(f"writing {register.name}", at, len(register.numbers))
        yield DeltaEntry(seq=register.seq, op="A", number=f"+{member}", expires_at=until)

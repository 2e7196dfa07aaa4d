"""`lists export`: writes registers as files that `lists import` reads, as they are now or as they were at a position.

Each register becomes one `scrub-delta` file, with the ends of its numbers and the date of its list. The log is read
and checked from its first record, as for all evidence.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import numpy as np

from stream_scrub.atomic_file import atomic_file
from stream_scrub.errors import ConfigError, Corrupt, Refused
from stream_scrub.index import Register
from stream_scrub.lists.ends import Ends
from stream_scrub.lists.formats.scrub_delta import DeltaEntry, DeltaHeader, write
from stream_scrub.lists.log.replay import Replay
from stream_scrub.lists.log.scan import read_into
from stream_scrub.model import Deadline, LogReader, Progress
from stream_scrub.queries.evidence import Export, ExportedRegister
from stream_scrub.queries.number_history import need_finished
from stream_scrub.timestamps import utc_seconds

_SHOWN_EVERY = 50_000
_MODE = 0o600


@dataclass(frozen=True)
class ExportOrder:
    """What to export: registers by name (all when empty), as they were at `position` (None: at the log's end), into a
    folder. With `salvage`: what a corrupt log held before its first fault.
    """

    registers: Sequence[str]
    folder: Path
    position: int | None = None
    salvage: bool = False


def run(order: ExportOrder, reader: LogReader, topic: str, progress: Progress, deadline: Deadline) -> Export:
    """Export from the log, called `topic`; returns what was written. An exported file is whole or not there. The deadline
    is for silence, as in `scan`.

    Raises ConfigError for a register that the log does not hold and for a file that is there already, Refused when the
    folder cannot be written to, StaleIndex for a log that is not put together yet, Corrupt, Unavailable.
    """
    replay, fault = _read(order, reader, progress, deadline)
    if fault is None:  # what is salvaged is a part in any case
        need_finished(replay.known("").log.mark, order.position)
    index = replay.index
    chosen = [index.registers[name] for name in _chosen(order, list(index.registers))]
    files = {register.name: order.folder / f"{register.name}.jsonl" for register in chosen}
    if there := [str(file) for file in files.values() if os.path.lexists(file)]:
        raise ConfigError(
            [f"{', '.join(there)}: there already; move it away, or choose a folder with --into"]
        )
    written = []
    for register in chosen:
        ends = replay.known(register.name).ends
        file = files[register.name]
        try:
            _write(file, register, ends, topic, progress)
        except OSError as error:
            raise Refused(f"{file}: {error.strerror or 'it cannot be written'}") from error
        written.append(_exported(register, ends, file))
    return Export(position=index.position, fault=fault, registers=written)


def _read(
    order: ExportOrder, reader: LogReader, progress: Progress, deadline: Deadline
) -> tuple[Replay, str | None]:
    """The log's content, and where it was salvaged the fault that ended the reading."""
    replay = Replay(keep_ends=True)
    try:
        read_into(
            reader,
            replay.take,
            deadline,
            upto=order.position,
            on_read=lambda offset, end: progress("reading the log", offset, end),
        )
    except Corrupt as error:
        if not order.salvage:
            raise
        return replay, str(error)
    return replay, None


def _chosen(order: ExportOrder, held: list[str]) -> list[str]:
    wanted = list(dict.fromkeys(order.registers)) or sorted(held)
    if unknown := [name for name in wanted if name not in held]:
        there = f"it holds {', '.join(sorted(held))}" if held else "it holds no register"
        raise ConfigError([f"REGISTER: the log does not hold {', '.join(unknown)} there; {there}"])
    return wanted


def _write(file: Path, register: Register, ends: Ends, topic: str, progress: Progress) -> None:
    about = DeltaHeader(
        kind=register.kind,
        change="full",
        register=register.name,
        scope=register.scope,
        effective_at=register.effective_at,
        source=f"{topic}, position {register.position}, chain {register.chain}",
    )
    # They are people's numbers: only the owner may read the file until he gives it to others.
    with atomic_file(file.parent, f"{file.name}.{token_hex(8)}.part", _MODE) as made:
        write(made.out, about, _entries(register, ends, progress))
        made.keep(file.name, new=True)


def _entries(register: Register, ends: Ends, progress: Progress) -> Iterator[DeltaEntry]:
    """The register's numbers, ascending, each with its end. Both are sorted, so one pass is enough."""
    stated = ends.stated()
    order = np.argsort(stated.numbers)
    ending = zip(stated.numbers[order].tolist(), stated.ends[order].tolist(), strict=True)
    number, end = next(ending, (None, 0))
    for at, held in enumerate(register.numbers):
        until = None
        if held == number:
            until = datetime.fromtimestamp(end, UTC)
            number, end = next(ending, (None, 0))
        if at % _SHOWN_EVERY == 0:
            progress(f"writing {register.name}", at, len(register.numbers))
        yield DeltaEntry(seq=register.seq, op="A", number=f"+{held}", expires_at=until)


def _exported(register: Register, ends: Ends, file: Path) -> ExportedRegister:
    return ExportedRegister(
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

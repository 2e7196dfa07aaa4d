"""The index for a command that judges once: from the log, from list files, or from the snapshot that a worker keeps."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Corrupt, Unavailable, code_of
from stream_scrub.imports.parsing.list_columns import ListReading
from stream_scrub.imports.parsing.parsed_list import UNREADABLE, BadList, ParsedList
from stream_scrub.imports.parsing.unpack import digest_of
from stream_scrub.index import Index
from stream_scrub.languages import by_door, say
from stream_scrub.log import snapshot
from stream_scrub.log.encode import records_of
from stream_scrub.log.replay import Replay
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import LogRecord, RegisterKind
from stream_scrub.ops.read_log import used
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import scrubbing
from stream_scrub.texts import masked

if TYPE_CHECKING:
    from stream_scrub.imports.plan_import import ImportOptions


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list file, and what it does not say itself; `stream-scrub lists import` has the same options.

    `effective_at` is the moment that the list speaks of. By default it is (a) the moment that the list names, (b) the
    first day in the file's name, (c) when the file was written. A list of a register that may grow too old must say its
    day by one of the first two, as at an import. `areas` are those that were bought, as in ("212", "305"), where a
    registry sells its list by area, or ("all",); by default none counts as bought. `region` is the region of national
    numbers, by default `prospect.default_region`. `register_unknown`: no rule of any day need ask the register. `kind` is
    by default the one that the rules need. `format` is a name from docs/reference/list-formats.md. `column` is a CSV's
    column of numbers: the name in its header, or its number, counted from 1. `columns` name those of a CRM's export, as in
    {"phone": "Mobile", "consent": "Opt-in"}; with `all_consented` every person in it consented, whatever its columns say.

    After it was read, `reading` says how: the columns with their roles, and the rows by what became of them.
    """

    path: str | Path
    kind: RegisterKind | None = None
    effective_at: datetime | None = None
    region: str | None = None
    format: str = "auto"
    column: str = ""
    areas: Sequence[str] = ()
    register_unknown: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    all_consented: bool = False
    reading: ListReading | None = field(default=None, init=False, compare=False)


@dataclass(frozen=True, slots=True)
class IndexUsed:
    """An index, and where it came from: "log", "snapshot" or "lists". `files` has the list file of each register, `readings`
    how it was read."""

    index: Index
    source: str
    files: Mapping[str, Path] = field(default_factory=dict)
    readings: Mapping[str, ListReading] = field(default_factory=dict)


def offline(
    lists: Mapping[str, str | Path | ListFile], snapshot_folder: str | Path | None, settings: Settings
) -> IndexUsed:
    """The index of the snapshot in a folder, or without one of list files. Raises as `of_snapshot` and `of_lists`, and
    StaleIndex for a snapshot without registers."""
    if snapshot_folder is not None:
        return IndexUsed(used(of_snapshot(snapshot_folder, settings)), "snapshot")
    need_lists(lists)
    files = {name: Path(file.path if isinstance(file, ListFile) else file) for name, file in lists.items()}
    index, readings = of_lists(lists, settings)
    return IndexUsed(used(index), "lists", files, readings)


def need_lists(lists: object) -> None:
    """Raises ConfigError for anything but a list file for at least one register."""
    if not lists or not isinstance(lists, Mapping):
        example = '{"internal": "opt-outs.txt", "tps": "tps-2026-11-24.txt"}'
        raise ConfigError([f"lists: name a list file for at least one register, as in {example}"])


def of_lists(
    lists: Mapping[str, str | Path | ListFile], settings: Settings
) -> tuple[Index, dict[str, ListReading]]:
    """The index of a full list for each register: the one that a log with just these lists would give; and how each was
    read, by register. Each list is read, guarded and planned as an import is, and becomes the records of one delta for
    a follower's replay. A list without a date is as old as its file. Raises ConfigError, BadList (a file is no list, or
    no rule of any day asks its register), TooMany.
    """
    from stream_scrub.imports.plan_import import check_lines, plan_of, reading_of

    need_lists(lists)
    book, now = scrubbing.law(settings), datetime.now(UTC)
    all_options = [_options_of(name, file, settings, book, now) for name, file in lists.items()]
    replay, offset, readings = Replay(keep_ends=True), 0, dict[str, ListReading]()
    for each, file in zip(all_options, lists.values(), strict=True):
        options, parsed, source = _read(each, now)
        check_lines(options, parsed)
        is_undeclared = options.law.areas is not None and not options.areas
        if is_undeclared:  # an import would refuse it
            options = replace(options, law=options.law._replace(areas=None))
        plan = plan_of(options, parsed, replay, now)
        reading = reading_of(parsed, plan)
        readings[options.register] = reading
        if isinstance(file, ListFile):
            object.__setattr__(file, "reading", reading)
        if is_undeclared:  # one stray number would open its whole area
            plan = plan._replace(delta=replace(plan.delta, areas=()))
        records, _ = records_of(plan.base, plan.delta, plan.effective_at, source, known=plan.known)
        for key, value, headers in records:
            replay.take(LogRecord(offset, key, value, headers))
            offset += 1
    return replay.index, readings


def of_snapshot(folder: str | Path, settings: Settings) -> Index:
    """The index of the snapshot in a worker's `worker.state_dir`. Its files must belong to this user.

    Raises ConfigError (there is none), Corrupt (it is damaged), Unavailable (it cannot be read).
    """
    try:
        state = snapshot.load(Path(folder), settings.topics.log)
    except ValueError as error:
        raise Corrupt(f"the snapshot in {folder} cannot be used: {error}") from error
    except OSError as error:
        raise Unavailable(f"the snapshot in {folder} cannot be read: {error.strerror}") from error
    if state is None:
        raise ConfigError([f"{folder}: no snapshot of the log {settings.topics.log} is here"])
    return state.index


def _options_of(
    register: str, file: str | Path | ListFile, settings: Settings, book: Rulebook, now: datetime
) -> "ImportOptions":
    from stream_scrub.imports.consents import ConsentLaw
    from stream_scrub.imports.plan_import import ImportOptions, lawful, named

    listed = file if isinstance(file, ListFile) else ListFile(file)
    options = ImportOptions(
        areas=tuple(listed.areas),
        file=Path(listed.path),
        register=named(register, ConsentLaw(book).known),
        register_unknown=listed.register_unknown,
        kind=listed.kind,
        effective_at=listed.effective_at,
        region=listed.region or "",
        is_region_named=listed.region is not None,
        column=listed.column,
        columns=listed.columns,
        all_consented=listed.all_consented,
        format=listed.format,
        max_bad=settings.lists.max_bad,
        max_numbers=settings.lists.max_numbers,
    )
    options = lawful(options, book, settings, now)
    if options.law.holds_answers:
        # A scrub as of an earlier day (`--on`) needs the answers that have ended since. All of a file are as old as the file.
        options = replace(options, law=options.law._replace(good_days=()))
    return options


def _read(options: "ImportOptions", now: datetime) -> "tuple[ImportOptions, ParsedList, DeltaSource]":
    """The options with its file's moment, the list, and its source. The file is opened once."""
    from stream_scrub.imports.plan_import import read

    try:
        with options.file.open("rb", buffering=0) as file:
            written = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
            digest = digest_of(file)
            file.seek(0)
            dated = replace(options, written=min(written, now))
            source = DeltaSource(options.file.name, digest)
            return dated, read(dated, now, lambda *_: None, file), source
    except BadList as error:
        why = by_door(f"{masked(options.file.name)}, {error}", str(error))
        raise BadList(why, error.figures) from error
    except FileNotFoundError as error:
        raise ConfigError([f"{masked(str(options.file))}: there is no such file"]) from error
    except OSError as error:
        why = f"{masked(str(options.file))}: {error.strerror or error}"
        page = say(UNREADABLE, code=code_of(error))
        raise BadList(by_door(why, page)) from error

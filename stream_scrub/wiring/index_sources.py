"""From settings to an index that asks no broker: by list files, or by the snapshot that a worker keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Corrupt, StaleIndex, Unavailable
from stream_scrub.index import Index
from stream_scrub.lists.log import snapshot
from stream_scrub.model import OWN, RegisterKind, family
from stream_scrub.rules import Rulebook
from stream_scrub.wiring import scrubbing

if TYPE_CHECKING:
    from stream_scrub.lists.intake.plan_import import ImportOrder


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list file, and what it does not say itself; `stream-scrub lists import` has the same options.

    `effective_at` is the moment that the list speaks of. By default it is (a) the moment that the list names, (b) the
    first day in the file's name, (c) when the file was written. A list of a register that may grow too old must say its
    day by one of the first two, as at an import. `areas` are those that were bought, as in ("212", "305"), where a
    registry sells its list by area; by default the areas of the numbers in it count. `region` is the region of national numbers, by default `prospect.default_region`.
    `kind` is by default the one that the rules need. `format` is a name from docs/reference/list-formats.md. `column`
    is a CSV's column of numbers: the name in its header, or its number, counted from 1.
    """

    path: str | Path
    kind: RegisterKind | None = None
    effective_at: datetime | None = None
    region: str | None = None
    format: str = "auto"
    column: str = ""
    areas: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class IndexUsed:
    """An index, and where it came from: "log", "snapshot" or "lists". `files` has the list file of each register."""

    index: Index
    source: str
    files: Mapping[str, Path] = field(default_factory=dict)


def offline(
    lists: Mapping[str, str | Path | ListFile], snapshot_folder: str | Path | None, settings: Settings
) -> IndexUsed:
    """The index of the snapshot in a folder, or without one of list files. Raises as `of_snapshot` and `of_lists`, and
    StaleIndex for a snapshot without registers."""
    if snapshot_folder is not None:
        return IndexUsed(used(of_snapshot(snapshot_folder, settings)), "snapshot")
    files = {name: Path(file.path if isinstance(file, ListFile) else file) for name, file in lists.items()}
    return IndexUsed(used(of_lists(lists, settings)), "lists", files)


def of_lists(lists: Mapping[str, str | Path | ListFile], settings: Settings) -> Index:
    """The index of a full list for each register. Raises ConfigError, BadList (a file is no list), TooMany."""
    from stream_scrub.lists.offline import index_of

    if not lists:
        raise ConfigError(["name a list file for at least one register"])
    book = scrubbing.rulebook(settings)
    orders = [_order(name, file, settings, book) for name, file in lists.items()]
    kinds = {**book.kinds, **OWN}
    return index_of(orders, datetime.now(UTC), kinds)


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


def used(index: Index) -> Index:
    """The index. Raises StaleIndex if it holds no register yet: it knows nothing, so it may allow nothing."""
    if not index.registers:
        raise StaleIndex("no-seal", "the index holds no register yet")
    return index


def _order(register: str, file: str | Path | ListFile, settings: Settings, book: Rulebook) -> "ImportOrder":
    from stream_scrub.lists.intake.plan_import import ImportOrder

    listed = file if isinstance(file, ListFile) else ListFile(file)
    return ImportOrder(
        aging=family(register) in book.aging,
        areas=tuple(listed.areas),
        consent_days=scrubbing.consent_days(book, register),
        shape=scrubbing.area_shape(book, register) if listed.areas else None,
        file=Path(listed.path),
        register=register,
        change="full",
        kind=listed.kind,
        effective_at=listed.effective_at,
        region=(listed.region or settings.prospect.default_region).upper(),
        column=listed.column,
        format=listed.format,
        max_bad=settings.lists.max_bad,
        dry_run=False,
        max_numbers=settings.lists.max_numbers,
    )

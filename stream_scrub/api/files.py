"""`scrub_file`: a file of leads scrubbed in one call, as `stream-scrub file` does it."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType

from stream_scrub.api.checker import moment_of
from stream_scrub.call import Call, need_call
from stream_scrub.config import Settings, load
from stream_scrub.errors import ConfigError
from stream_scrub.files.options import COLUMNS, MAX_BAD, Asked, FileOptions
from stream_scrub.files.scrub_file import scrub_file as run
from stream_scrub.files.summary import Summary
from stream_scrub.imports import index_sources
from stream_scrub.imports.guards import UnstatedConsents
from stream_scrub.imports.index_sources import IndexUsed, ListFile
from stream_scrub.languages import ENGLISH
from stream_scrub.ops import read_log


def scrub_file(
    input: str | Path,  # noqa: A002  # the word of the command
    output: str | Path,
    call: Call = Call(),
    *,
    lists: Mapping[str, str | Path | ListFile] | None = None,
    snapshot: str | Path | None = None,
    columns: Sequence[str] = (),
    region: str | None = None,
    fact_columns: Mapping[str, str] = MappingProxyType({}),
    on: date | datetime | None = None,
    annotated: bool = False,
    titles: int | None = None,
    delimiter: str = "",
    encoding: str = "",
    sheet: str = "",
    to: str = "",
    max_bad: float = MAX_BAD,
    force: bool = False,
    language: str = ENGLISH,
    config: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Summary:
    """Scrub a file of leads into the folder `output`: `allowed`, `blocked`, with `annotated` a file of all rows, and
    `summary.json`, which is also what is returned.

    The registers come from `lists` (a list file for each, as for `Checker.from_lists`), from a worker's `snapshot` folder, or,
    with neither, from the opposition log. `columns` are the columns of numbers, by title or counted from 1; without any
    they are found by content. `call` holds for all rows; `fact_columns` names the columns that hold the region or a fact
    of each row, as in `{"region": "land", "contract": "customer no."}`. `docs/files.md` explains the other arguments,
    which are the command's options. Threads may scrub several files at once.

    Raises ConfigError, BadList, BadFile (no rows, more than `max_bad` of them without a number, what cannot be read),
    Refused (what cannot be written); then nothing is written. And what `Checker.from_config` raises.
    """
    need_call(call)
    loaded, used = _index(lists, snapshot, config, settings)
    options = FileOptions(
        input=str(input),
        output=Path(output),
        columns=Asked(tuple(columns), _columns(fact_columns), titles),
        region=region,
        call=call,
        on=None if on is None else moment_of(on),
        annotated=annotated,
        delimiter=delimiter,
        encoding=encoding,
        sheet=sheet,
        to=to,
        max_bad=max_bad,
        force=force,
        language=language,
    )
    return run(options, loaded, used)


def _columns(names: Mapping[str, str]) -> dict[str, str]:
    """The columns of region and facts that are named. Raises ConfigError."""
    if unknown := [name for name in names if name not in COLUMNS]:
        raise ConfigError([f"fact_columns: {unknown[0]!r} is none of {', '.join(COLUMNS)}"])
    return {name: column for name, column in names.items() if column}


def _index(
    lists: Mapping[str, str | Path | ListFile] | None,
    snapshot: str | Path | None,
    config: str | Path | None,
    settings: Mapping[str, object] | None,
) -> tuple[Settings, IndexUsed]:
    """The settings, and the index by the one source that was named."""
    if lists is not None and snapshot is not None:
        raise ConfigError(["lists and snapshot: name one of them, as the source of all registers"])
    if lists is not None or snapshot is not None:
        loaded = load(flags=settings, config_file=config)
        try:
            return loaded, index_sources.offline(lists or {}, snapshot, loaded)
        except UnstatedConsents as error:
            raise error.in_python() from error
    from stream_scrub.kafka import clients
    from stream_scrub.ops import logs

    loaded = load(flags=settings, config_file=config, extra_checks=[clients.refused_properties])
    index = read_log.read_index(loaded, logs.of_library())
    return loaded, IndexUsed(read_log.used(index), "log")

"""`scrub_file`: a file of leads scrubbed in one call, as `stream-scrub file` does it."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType

from stream_scrub.api.moments import moment_of
from stream_scrub.config import Settings, load
from stream_scrub.errors import ConfigError
from stream_scrub.files.order import MAX_BAD, FileOrder
from stream_scrub.files.results.summary import Summary
from stream_scrub.files.rows.columns import Asked
from stream_scrub.files.rows.facts import FACTS, REGION
from stream_scrub.files.scrub_file import scrub_file as run
from stream_scrub.wiring import index_sources
from stream_scrub.wiring.index_sources import IndexUsed, ListFile


def scrub_file(
    input: str | Path,  # noqa: A002  # the word of the command
    output: str | Path,
    *,
    lists: Mapping[str, str | Path | ListFile] | None = None,
    snapshot: str | Path | None = None,
    columns: Sequence[str] = (),
    region: str | None = None,
    region_column: str = "",
    purpose: str | None = None,
    contract: bool = False,
    campaign: str | None = None,
    channel: str | None = None,
    who: str | None = None,
    relation: Mapping[str, str] | None = None,
    voice_kind: str | None = None,
    residence: str | None = None,
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
    config: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Summary:
    """Scrub a file of leads into the folder `output`: `allowed`, `blocked`, with `annotated` a file of all rows, and
    `summary.json`, which is also what is returned.

    The registers come from `lists` (a list file for each, as for `Checker.from_lists`), from a worker's `snapshot` folder, or,
    with neither, from the opposition log. `columns` are the columns of numbers, by title or counted from 1; without any
    they are found by content. `purpose`, `contract`, ... hold for all rows, as for `Checker.check`; `fact_columns` has the
    columns that say them for each row, as in `{"contract": "customer no."}`. `docs/files.md` explains the other
    arguments, which are the command's options. Threads may scrub several files at once.

    Raises ConfigError, BadList, Refused (no rows, more than `max_bad` of them without a number, what cannot be read or
    written: then nothing is written), and what `Checker.from_config` raises.
    """
    made, used = _index(lists, snapshot, None if config is None else Path(config), settings)
    order = FileOrder(
        input=str(input),
        output=Path(output),
        columns=Asked(tuple(columns), _columns(region_column, fact_columns), titles),
        region=region,
        said=_said(relation, contract, (purpose, campaign, channel, who, voice_kind, residence)),
        on=None if on is None else moment_of(on),
        annotated=annotated,
        delimiter=delimiter,
        encoding=encoding,
        sheet=sheet,
        to=to,
        max_bad=max_bad,
        force=force,
    )
    return run(order, made, used)


def _said(relation: Mapping[str, str] | None, contract: bool, words: Sequence[str | None]) -> dict[str, str]:
    """What holds for all rows, as a cell would say it; `words` are in the order of the names here."""
    names = ("purpose", "campaign", "channel", "who", "voice_kind", "residence")
    said = {name: word for name, word in zip(names, words, strict=True) if word}
    if contract:
        said["contract"] = "true"
    if relation is not None:
        said["relation"] = f"{relation.get('kind')}:{relation.get('since')}"
    return said


def _columns(region: str, facts: Mapping[str, str]) -> dict[str, str]:
    """The columns of region and facts that were named. Raises ConfigError."""
    if unknown := [fact for fact in facts if fact not in FACTS]:
        raise ConfigError([f"fact_columns: {unknown[0]!r} is no fact; facts are {', '.join(FACTS)}"])
    return {fact: name for fact, name in {REGION: region, **facts}.items() if name}


def _index(
    lists: Mapping[str, str | Path | ListFile] | None,
    snapshot: str | Path | None,
    config: Path | None,
    settings: Mapping[str, object] | None,
) -> tuple[Settings, IndexUsed]:
    """The settings, and the index by the one source that was named."""
    if lists is not None and snapshot is not None:
        raise ConfigError(["lists and snapshot: name one of them, as the source of all registers"])
    if lists is not None or snapshot is not None:
        made = load(flags=settings, config_file=config, extra_checks=[])
        return made, index_sources.offline(lists or {}, snapshot, made)
    from stream_scrub.observability import logs
    from stream_scrub.wiring import clients

    made = load(flags=settings, config_file=config, extra_checks=[clients.refused_properties])
    return made, IndexUsed(index_sources.used(clients.read_index(made, logs.of_library())), "log")

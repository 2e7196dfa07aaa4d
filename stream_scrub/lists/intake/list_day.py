"""Of which day a list is, for a register that may grow too old. Pure.

The law counts a list's age from the day that it speaks of, and not from the day that somebody imports it. So that day is
said by the operator, by the list or by its file's name. The moment of the import would make a stale file young each time
that it is imported, and so would the same bytes under another name.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath

from stream_scrub.lists.parsing.end_dates import day_in
from stream_scrub.lists.parsing.parsed_list import BadList, ParsedList
from stream_scrub.timestamps import utc_seconds


def day_of(
    reading: ParsedList,
    name: str,
    digest: str,
    listed: Mapping[str, datetime],
    *,
    said: datetime | None,
    now: datetime,
) -> datetime:
    """The moment that a list speaks of: `said` by the operator, else what the list says, else the day in its file's name.
    `listed` has the moments of the lists that its register was told, by their SHA-256, of which `digest` is this one's.

    Raises BadList where none of these says a day, and where only a name says that a list that is known is younger.
    """
    if said is not None:
        return said
    by_name = reading.day_by == "name"
    moment = reading.effective_at
    if moment is None and reading.day_by != "import" and (day := day_in(name, now.date())) is not None:
        moment, by_name = datetime(day.year, day.month, day.day, tzinfo=UTC), True
    if moment is None:
        stem, dot, rest = PurePath(name).name.partition(".")
        raise BadList(
            f"nothing says of which day it is, and its register may grow too old. Say it in the file's name, as in"
            f" {stem}-2026-11-24{dot}{rest}, or with --effective-at of `lists import` (ListFile.effective_at in Python)"
        )
    known = listed.get(digest)
    if by_name and known is not None and moment > known:
        raise BadList(
            f"it is byte for byte the list of {utc_seconds(known)}, which another name makes no younger. If it was"
            " published anew without a change, say its day with --effective-at"
        )
    return moment

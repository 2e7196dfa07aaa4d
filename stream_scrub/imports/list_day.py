"""The moment that a list speaks of, and the one that its register speaks of after it."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from pathlib import PurePath

from stream_scrub.clock import utc_seconds
from stream_scrub.imports.formats import BadList, ParsedList
from stream_scrub.imports.parsing.cells import day_in
from stream_scrub.index import Register
from stream_scrub.languages import by_door, say
from stream_scrub.model import INTERNAL, family

OLDER = "--allow-older"
FUTURE_MAX = timedelta(days=1)
TO_COME = "the list's date is in the future, so it would count as current for too long"


def day_of(
    reading: ParsedList,
    name: str,
    digest: str,
    lists: Mapping[str, datetime],
    *,
    said: datetime | None,
    now: datetime,
) -> datetime:
    """The moment that a list speaks of: `said` by the operator, else what the list says, else the day in its file's name.
    `lists` has the moments of the lists that its register has had, by their SHA-256, of which `digest` is this one's.

    Raises BadList where none of these says a day, and where only a name says that a list that is known is younger.
    """
    if said is not None:
        return said
    by_name = reading.day_by == "name"
    moment = reading.effective_at
    if moment is None and reading.day_by != "import":
        moment = day_named(name, now)
        by_name = by_name or moment is not None
    if moment is None:
        stem, dot, rest = PurePath(name).name.partition(".")
        dated = f"{stem}-2026-11-24{dot}{rest}"
        why = (
            f"the list has no date, and this register expires. Put the date in the file's name, as in {dated}, or with"
            " --effective-at of `lists import` (ListFile.effective_at in Python)"
        )
        page = say("the list has no date. Put its date into the file's name, as in %(file)s", file=dated)
        raise BadList(by_door(why, page))
    known = lists.get(digest)
    if by_name and known is not None and moment > known:
        raise BadList(
            f"it is byte for byte the list of {utc_seconds(known)}, and another name makes it no younger. If it was"
            " published again without a change, pass its day with --effective-at"
        )
    return moment


def day_named(name: str, now: datetime) -> datetime | None:
    """The first day in a file's name that has come; None without one."""
    day = day_in(name, now.date())
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)


def moment_of(
    held: Register | None,
    said: datetime | None,
    now: datetime,
    *,
    whole: bool,
    older: bool = False,
    opens: bool = False,
) -> datetime:
    """The moment that the register speaks of after a list that says `said` of itself, if anything. `whole`: it is a full
    list, else one of changes. `older`: it may be from before the register's own moment. Raises BadList, with both
    moments, when it is and may not.

    With `opens` the list brings new areas: all have the day of the oldest.

    Changes say nothing of the numbers that they leave out. They make a register younger only where somebody says up to
    when it is complete with them, and they never make it older. When both lists name the same day and one names no hour,
    neither counts as older. No full list takes anybody out of `internal`.
    """
    if held is None or held.is_removed:
        return said or now
    before = held.effective_at
    if opens and said is not None:
        return min(before, said)
    if not whole:
        return before if said is None else max(before, said)
    moment = (said or now).astimezone(UTC)
    if moment >= before or older:
        return moment
    if family(held.name) == INTERNAL or (moment.date() == before.date() and moment.time() == time.min):
        return before
    raise BadList(
        f"it is of {utc_seconds(moment)}, and {held.name} holds a list of {utc_seconds(before)}: an older list would"
        f" undo later changes. Check that it is the right file; {OLDER} lets it through"
    )

"""`Checker`: gives a program its verdicts on one number, on a column of numbers, or on prospects as bytes."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from stream_scrub import clock
from stream_scrub.api.columns import Cells, Stamps, cells_at, cells_of, rows_by_facts, text_of
from stream_scrub.call import FACTS, Call, need_call
from stream_scrub.config import Settings, load
from stream_scrub.errors import StaleIndex
from stream_scrub.imports import index_sources
from stream_scrub.imports.guards import UnstatedConsents
from stream_scrub.imports.index_sources import ListFile
from stream_scrub.index import Index, Register
from stream_scrub.model import Deadline, Reason
from stream_scrub.numbering import UNKNOWN, region_named
from stream_scrub.ops import read_log
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.scrub.decide import Finding
from stream_scrub.scrub.decide_batch import BatchContext, JudgedColumn, judge_column, judge_text
from stream_scrub.scrub.facts import Facts
from stream_scrub.scrub.stamp import Outcome
from stream_scrub.stamp import Stamp, Unknown, decode


def moment_of(on: date | datetime) -> datetime:
    """A day at noon UTC, when it is that day nearly everywhere; a moment as it is. Raises ValueError for anything else,
    and for a moment without a time zone."""
    if not isinstance(on, date):
        raise ValueError("on: give a date, as in date(2026, 8, 10), or a moment")  # noqa: TRY004 - as for every wrong argument
    if not isinstance(on, datetime):
        return datetime(on.year, on.month, on.day, 12, tzinfo=UTC)
    if on.tzinfo is None:
        raise ValueError("on: a moment needs a time zone, as in datetime(2026, 8, 10, tzinfo=UTC)")
    return on


COUNTRY = "country"
_LOOK_S = 0.02
_SHOWN = 8  # registers in a repr
_HOW = (
    'create a Checker from files by Checker.from_lists({"internal": "opt-outs.csv"}), from a snapshot by from_snapshot, or'
    " from a Kafka by from_config or following"
)


class Checker:
    """Gives verdicts on numbers. Threads may share one.

    Create it by `from_config`, `from_snapshot`, `from_lists` or `following`. Settings are read as by every command:
    `settings` (dotted names, as in `{"rules.folder": "my-rules"}`) over the environment over the file `config` (else
    `STREAM_SCRUB_CONFIG`, else `stream-scrub.toml` in the working folder) over the defaults.
    """

    def __init__(self, settings: Settings, index: Callable[[], Index] | None = None) -> None:
        if not callable(index):
            raise TypeError(_HOW)
        self._default_region = settings.prospect.default_region
        self._index = index
        self._scrubber = scrubbing.scrubber(settings)

    @classmethod
    def from_config(
        cls, config: str | Path | None = None, *, settings: Mapping[str, object] | None = None
    ) -> "Checker":
        """Reads the opposition log to its end, once. After `rules.index_lag_max_s` (30 s) every check is Unknown,
        because the log may hold more by then: make another Checker, or use `following`.

        Raises ConfigError, Unavailable, Refused, Corrupt, TooMany.
        """
        from stream_scrub.kafka import clients
        from stream_scrub.ops import logs

        loaded = load(flags=settings, config_file=config, extra_checks=[clients.refused_properties])
        read_at = clock.elapsed()
        index = read_log.read_index(loaded, logs.of_library())
        return cls(loaded, lambda: _fresh(index, read_at, loaded.rules.index_lag_max_s))

    @classmethod
    def from_snapshot(
        cls,
        folder: str | Path,
        *,
        config: str | Path | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> "Checker":
        """Takes the snapshot that a worker keeps in its `worker.state_dir`, and asks no broker. Verdicts are given at
        the snapshot's position, however old it is. Its files must belong to this user.

        Raises ConfigError (there is none), Corrupt (it is damaged), Unavailable (it cannot be read).
        """
        loaded = load(flags=settings, config_file=config)
        index = index_sources.of_snapshot(folder, loaded)
        return cls(loaded, lambda: read_log.used(index))

    @classmethod
    def from_lists(
        cls,
        lists: Mapping[str, str | Path | ListFile],
        *,
        config: str | Path | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> "Checker":
        """Reads a full list for each register named, with no Kafka at all. A register that a rule needs and that is
        not named counts as missing, not as empty: numbers of that country come out blocked as `stale-register`.

        Warns of what does not count: expiry dates of `internal`, and lines without a valid number. Raises ConfigError, BadList (a file is no list),
        TooMany.
        """
        loaded = load(flags=settings, config_file=config)
        try:
            index, readings = index_sources.of_lists(lists, loaded)
        except UnstatedConsents as error:
            raise error.in_python() from error
        for name, reading in readings.items():
            if reading.endless:
                warnings.warn(f"{reading.endless:,} expiry dates of {name} do not count", stacklevel=2)
            if reading.refused:
                why = f"{reading.refused:,} lines of {name} hold no valid number: {reading.places}"
                warnings.warn(why, stacklevel=2)
        return cls(loaded, lambda: read_log.used(index))

    @classmethod
    @contextmanager
    def following(
        cls,
        config: str | Path | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        wait_s: float = 30.0,
    ) -> Iterator["Checker"]:
        """Follows the opposition log for as long as the context lasts. Each check uses the newest index, and is Unknown
        while no index is safe. Entering waits at most `wait_s` seconds for the first safe index.

        With `worker.state_dir` it begins with the snapshot there. Problems are logged to the logger `stream_scrub` of
        the standard library's logging. Raises ConfigError, StaleIndex.
        """
        from stream_scrub.kafka import clients
        from stream_scrub.ops import following as wired
        from stream_scrub.ops import logs

        loaded = load(flags=settings, config_file=config, extra_checks=[clients.refused_properties])
        with wired.following(loaded, logs.of_library()) as follower:
            checker = cls(loaded, lambda: follower.usable(loaded.rules.index_lag_max_s))
            checker._wait(Deadline.after(wait_s))
            yield checker

    def _wait(self, deadline: Deadline) -> None:
        while True:
            try:
                self._index()
            except StaleIndex:
                if deadline.passed:
                    raise
                time.sleep(_LOOK_S)
            else:
                return

    @property
    def scrubber(self) -> Scrubber:
        """Does what a worker does with prospects as bytes, by the settings `prospect` and `rules`. Give it this
        checker's `index`. With `rules.stale` = "hold" it raises StaleIndex where a check gives `stale-register`."""
        return self._scrubber

    @property
    def index(self) -> Index:
        """The index to judge by now, for `scrubber`. Its `position` is the log's. An index never changes: a new one
        replaces it. Raises StaleIndex."""
        return self._index()

    def __repr__(self) -> str:
        try:
            registers = self._index().present()
        except StaleIndex as error:
            return f"<Checker without a safe index: {error}>"
        book, now = self._scrubber.rulebook, datetime.now(UTC)
        held = [
            f"{each.name}: {_count(each)} of {each.effective_at:%Y-%m-%d}"
            + (", asked by no rule of today" if scrubbing.unasked(book, each.name, now) else "")
            for each in registers[:_SHOWN]
        ]
        more = f"; and {len(registers) - _SHOWN} more" if len(registers) > _SHOWN else ""
        return f"<Checker with {'; '.join(held)}{more}>"

    def check(
        self,
        number: str | int,
        call: Call = Call(),
        *,
        region: str | None = None,
        on: date | datetime | None = None,
    ) -> Stamp | Unknown:
        """The verdict on one number, as a prospect would spell it, for a call that is planned.

        `region`, a code or name as in "FR" or "UK", is for national numbers, by default `prospect.default_region`. `on` is a day
        (noon UTC) or a moment with a time zone, by default now: its rules decide, with the registers of today's index.
        A text that is no valid number is no error: its reason is `invalid-number`. Unknown: no index is safe now, or a key
        is missing. Raises ValueError for a region without numbers and for a moment without a time zone.
        """
        region, facts = self._region(region), self._facts(call)
        context = self._context(on)
        if isinstance(context, Unknown):
            return context
        try:
            judged, outcome = judge_text(text_of(number), region, facts, context)
        except StaleIndex as error:
            return Unknown(str(error), cause=error.cause)
        return decode(outcome.bare % (() if judged is None else judged))

    def check_many(
        self,
        numbers: Any,
        call: Call = Call(),
        *,
        region: str | None = None,
        on: date | datetime | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> Stamps:
        """The verdicts on a column, worked out in whole arrays, by one index at one moment. A column is a list, a numpy
        array, or, with pyarrow, whatever gives its texts or integers by Arrow's PyCapsule interface: a column of pandas
        or polars, a table or query of one column. A missing value is `invalid-number`. The other arguments are as for
        `check`, and hold for all numbers.

        `columns` has facts that differ by row: by the name of a fact of `Call`, or `country`, a column as long as that of
        numbers. Its cells are read as a prospect's members; a missing one leaves the row to `call` or `region`.

        Raises as `check`. Raises TypeError for a column of anything else, such as floats.
        """
        region, cells, columns = self._region(region), cells_of(numbers), columns or {}
        need_call(call)
        if unknown := sorted(columns.keys() - FACTS.keys() - {COUNTRY}):
            raise ValueError(f"columns: {unknown[0]!r} is none of {', '.join([COUNTRY, *FACTS])}")
        context = self._context(on)
        if isinstance(context, Unknown):
            return Stamps.without_verdicts(len(cells), context)
        try:
            judged = self._judged(cells, call, region, columns, context)
        except StaleIndex as error:
            return Stamps.without_verdicts(len(cells), Unknown(str(error), cause=error.cause))
        return Stamps(judged, None, context.index.position, context.now)

    def _judged(
        self, cells: Cells, call: Call, region: str, columns: Mapping[str, Any], context: BatchContext
    ) -> JudgedColumn:
        """Judge rows with the same facts together."""
        if not columns:
            return judge_column(cells, region, self._facts(call), context)
        numbers, ids = np.zeros(len(cells), np.uint64), np.zeros(len(cells), np.int32)
        outcome_ids: dict[Outcome, int] = {}
        for row, places in rows_by_facts(columns, len(cells)):
            members = call.members() | {
                name: FACTS[name].member(cell) if isinstance(cell, str) else cell
                for name, cell in row.items()
                if name != COUNTRY
            }
            facts = self._scrubber.facts_of(*map(members.get, FACTS))
            country = row.get(COUNTRY)
            row_region = region if country is None else region_named(country)
            if not row_region:
                unknown = context.outcome(Finding(Reason.UNKNOWN_COUNTRY), facts.channel)
                ids[places] = outcome_ids.setdefault(unknown, len(outcome_ids))
                continue
            judged = judge_column(cells_at(cells, places), row_region, facts, context)
            new_ids = [outcome_ids.setdefault(outcome, len(outcome_ids)) for outcome in judged.outcomes]
            numbers[places] = judged.numbers
            ids[places] = np.array(new_ids, np.int32)[judged.ids]
        return JudgedColumn(numbers, ids, list(outcome_ids))

    def _region(self, region: str | None) -> str:
        where = region_named(self._default_region if region is None else region)
        if not where:
            raise ValueError(UNKNOWN)
        return where

    def _facts(self, call: Call) -> Facts:
        need_call(call)
        return self._scrubber.facts_of(*map(call.members().get, FACTS))

    def _context(self, on: date | datetime | None) -> BatchContext | Unknown:
        """One index at one moment; Unknown if no index is safe now."""
        now = datetime.now(UTC) if on is None else moment_of(on)
        try:
            return self._scrubber.context(self._index(), now, asks_now=True)
        except StaleIndex as error:
            return Unknown(str(error), cause=error.cause)


def _fresh(index: Index, read_at: float, lag_max_s: float) -> Index:
    lag = clock.elapsed() - read_at
    if lag > lag_max_s:
        raise StaleIndex(
            "log-behind",
            f"the opposition log was read {lag:.0f} s ago: make another Checker, or one by Checker.following",
        )
    return read_log.used(index)


def _count(register: Register) -> str:
    return "1 number" if len(register.numbers) == 1 else f"{len(register.numbers):,} numbers"

"""`Checker`: gives a program its verdicts on one number, on a column, or on prospects as bytes."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

from numpy.typing import ArrayLike

from stream_scrub import clock
from stream_scrub.api.cells import cells_of, text_of
from stream_scrub.api.moments import moment_of
from stream_scrub.api.stamps import Stamp, Stamps, stamp_of
from stream_scrub.config import Settings, load
from stream_scrub.errors import StaleIndex
from stream_scrub.index import Index
from stream_scrub.model import Deadline
from stream_scrub.numbering import REGIONS
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.scrub.batch_context import BatchContext
from stream_scrub.scrub.columns import judge_column, judge_text
from stream_scrub.scrub.facts import Facts
from stream_scrub.wiring import index_sources, scrubbing
from stream_scrub.wiring.index_sources import ListFile

_LOOK_S = 0.02


class Checker:
    """Gives verdicts on numbers. Threads may share one.

    Made by `from_config`, `from_snapshot`, `from_lists` or `following`. Each takes the settings as every command does:
    `settings` (dotted names, as in `{"rules.folder": "my-rules"}`) over the environment over the file `config` (else
    `STREAM_SCRUB_CONFIG`, else `stream-scrub.toml` in the working folder) over the defaults.
    """

    def __init__(self, settings: Settings, index: Callable[[], Index]) -> None:
        self._default_region = settings.prospect.default_region
        self._index = index
        self._scrubber = scrubbing.scrubber(settings)

    @classmethod
    def from_config(
        cls, config: str | Path | None = None, *, settings: Mapping[str, object] | None = None
    ) -> "Checker":
        """Reads the opposition log to its end, once. After `rules.index_lag_max_s` (30 s) every check raises
        StaleIndex, because the log may hold more by then: make another Checker, or use `following`.

        Raises ConfigError, Unavailable, Refused, Corrupt, TooMany.
        """
        from stream_scrub.observability import logs
        from stream_scrub.wiring import clients

        made = _settings(config, settings, [clients.refused_properties])
        asked = clock.elapsed()
        index = clients.read_index(made, logs.of_library())
        return cls(made, lambda: _fresh(index, asked, made.rules.index_lag_max_s))

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
        made = _settings(config, settings, [])
        index = index_sources.of_snapshot(folder, made)
        return cls(made, lambda: index_sources.used(index))

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

        Raises ConfigError, BadList (a file is no list), TooMany.
        """
        made = _settings(config, settings, [])
        index = index_sources.of_lists(lists, made)
        return cls(made, lambda: index_sources.used(index))

    @classmethod
    @contextmanager
    def following(
        cls,
        config: str | Path | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        wait_s: float = 30.0,
    ) -> Iterator["Checker"]:
        """Follows the opposition log for as long as the context lasts. Each check uses the newest index, and raises
        StaleIndex while no index is safe. Entering waits at most `wait_s` seconds for the first safe index.

        With `worker.state_dir` it begins with the snapshot there. Problems are logged to the logger `stream_scrub` of
        the standard library's logging. Raises ConfigError, StaleIndex.
        """
        from stream_scrub.observability import logs
        from stream_scrub.wiring import clients
        from stream_scrub.wiring import following as wired

        made = _settings(config, settings, [clients.refused_properties])
        with wired.following(made, logs.of_library()) as follower:
            checker = cls(made, lambda: follower.usable(made.rules.index_lag_max_s))
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

    def check(
        self,
        number: str | int,
        *,
        region: str | None = None,
        purpose: str | Sequence[str] | None = None,
        contract: bool = False,
        campaign: str | Sequence[str] | None = None,
        channel: str | None = None,
        who: str | None = None,
        relation: Mapping[str, str] | None = None,
        voice_kind: str | None = None,
        residence: str | None = None,
        on: date | datetime | None = None,
    ) -> Stamp:
        """The verdict on one number, as a prospect would spell it.

        `region` (ISO 3166-1, as in "FR") is the region in which national numbers are read, by default
        `prospect.default_region`. `purpose`, `contract`, `campaign`, `channel`, `who` ("company" for a legal person)
        `relation` (as in `{"kind": "purchase", "since": "2026-01-31"}`) `voice_kind` ("live", "artificial") and `residence` are what a prospect would say of itself;
        without a purpose it is `prospect.default_purpose`, as for prospects. The rules of `on` decide: a day (taken
        at noon UTC) or a moment with a time zone, by default now. The registers are always those of the index. A text
        that is no valid number is no error: its reason is `invalid-number`. Raises StaleIndex. Raises ValueError for
        a region without numbers and for a moment without a time zone.
        """
        where, told, context = self._asked(
            region, purpose, contract, campaign, channel, who, relation, voice_kind, residence, on
        )
        found, outcome = judge_text(text_of(number), where, told, context)
        return stamp_of(outcome.bare % (() if found is None else found))

    def check_many(
        self,
        numbers: ArrayLike | Sequence[str | int | None],
        *,
        region: str | None = None,
        purpose: str | Sequence[str] | None = None,
        contract: bool = False,
        campaign: str | Sequence[str] | None = None,
        channel: str | None = None,
        who: str | None = None,
        relation: Mapping[str, str] | None = None,
        voice_kind: str | None = None,
        residence: str | None = None,
        on: date | datetime | None = None,
    ) -> Stamps:
        """The verdicts on a column, worked out in whole arrays. A column is a list, a numpy array, a pandas or polars
        column, or whatever else gives a one-dimensional array of texts or integers. All verdicts are given by one
        index at one moment. A missing value is `invalid-number`. The other arguments are as for `check`, and hold for
        all numbers.

        Raises as `check`. Raises TypeError for a column of anything else, such as floats.
        """
        where, told, context = self._asked(
            region, purpose, contract, campaign, channel, who, relation, voice_kind, residence, on
        )
        return Stamps(judge_column(cells_of(numbers), where, told, context))

    def _asked(
        self,
        region: str | None,
        purpose: str | Sequence[str] | None,
        contract: bool,
        campaign: str | Sequence[str] | None,
        channel: str | None,
        who: str | None,
        relation: Mapping[str, str] | None,
        voice_kind: str | None,
        residence: str | None,
        on: date | datetime | None,
    ) -> tuple[str, Facts, BatchContext]:
        """The region, the facts, and one index at one moment."""
        where = self._default_region if region is None else region.upper()
        if where not in REGIONS:
            raise ValueError(f"{region!r} is no region with a numbering plan (ISO 3166-1, as in FR)")
        told = self._scrubber.facts_of(
            _words(purpose), contract, _words(campaign), channel, who, relation, voice_kind, residence
        )
        return (
            where,
            told,
            BatchContext(
                self._scrubber.rulebook, self._index(), datetime.now(UTC) if on is None else moment_of(on)
            ),
        )


def _settings(
    config: str | Path | None,
    settings: Mapping[str, object] | None,
    checks: Sequence[Callable[[Settings], list[str]]],
) -> Settings:
    return load(flags=settings, config_file=None if config is None else Path(config), extra_checks=checks)


def _fresh(index: Index, asked: float, lag_max_s: float) -> Index:
    lag = clock.elapsed() - asked
    if lag > lag_max_s:
        raise StaleIndex(
            "log-behind",
            f"the opposition log was read {lag:.0f} s ago: make another Checker, or one by Checker.following",
        )
    return index_sources.used(index)


def _words(said: str | Sequence[str] | None) -> str | list[str] | None:
    return said if said is None or isinstance(said, str) else list(said)

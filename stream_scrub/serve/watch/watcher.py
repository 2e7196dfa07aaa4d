"""Scrapes the processes of `http.watch` every few seconds, in daemon threads: a hanging name server or
target neither delays the others nor keeps the process alive.

A name may have many addresses, like a headless service: all are scraped. A process that stops answering is shown as
silent while its address is still configured, else for an hour: it may have been removed on purpose.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from stream_scrub.config import address_of
from stream_scrub.model import Deadline, Logger
from stream_scrub.ops.log_lines import RecurringProblem
from stream_scrub.ops.logs import mask
from stream_scrub.serve.watch import scrape
from stream_scrub.serve.watch.scrape import Address, LoopStatus, ScrapeError
from stream_scrub.serve.watch.time_series import TimeSeries

_EVERY_S = 5.0
_THREADS = 8
ADDRESSES_MAX = 256  # of all names
ROWS_MAX = 1000  # of all pages
_FORGOTTEN = timedelta(hours=1)
_NAMES_S = 2.0  # for the resolver, which takes no deadline
SILENT = "no answer"

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = tuple[str, str, str]  # the kind of process, its identity or address, and the configured name


class Watched(NamedTuple):
    """One process on the page."""

    name: str
    where: str
    state: str  # ready, not ready, or no answer
    since: datetime  # of the state, as far as this server knows
    answered_at: datetime | None  # the last answer
    loop: LoopStatus  # by the last answer, without figures that may be wrong by now


class Watcher:
    """Runs the threads. `rows` and `has_more` (more processes than `ROWS_MAX`) may be read from any thread."""

    def __init__(self, watch: Sequence[str], series: TimeSeries, log: Logger) -> None:
        self._names = [address for each in watch if (address := address_of(each)) is not None]
        self.series = series
        self._problem = RecurringProblem(
            log, "the status page's figures cannot be saved", "the status page's figures are saved again"
        )
        self._known: dict[Key, Watched] = {}
        self._resolving: set[tuple[str, int]] = set()
        self._stopping = threading.Event()
        self.rows: Sequence[Watched] = ()
        self.has_more = False

    def start(self) -> None:
        """Start, if processes are configured."""
        if self._names:
            threading.Thread(target=self._run, name="watcher", daemon=True).start()

    def stop(self) -> None:
        """Stop and save the figures; pending scrapes are abandoned."""
        self._stopping.set()
        if self._names:
            self._save()

    @property
    def is_watching(self) -> bool:
        """Whether processes are configured."""
        return bool(self._names)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(_EVERY_S)

    def look(self) -> None:
        """Scrape every process once. `start` repeats it in a thread."""
        targets, silent = self._targets()
        scraped = self._each(scrape.scrape, targets, Deadline.after(scrape.SCRAPE_S * (1 + len(targets))))
        if self._stopping.is_set():
            return
        loops: dict[Key, tuple[Address, LoopStatus]] = {}
        for address, answer in scraped.items():
            if isinstance(answer, ScrapeError):
                silent[address] = str(answer)
            else:
                loops |= {_key(address, loop): (address, loop) for loop in answer}
        now = datetime.now(UTC)
        self.has_more = len(loops) > ROWS_MAX
        loops = dict(islice(loops.items(), ROWS_MAX))
        self._known = self._merged(loops, silent, now)
        self.rows = [self._known[key] for key in sorted(self._known)]
        if self.series.take([loop for _, loop in loops.values()], now):
            self._save()

    def _targets(self) -> tuple[list[Address], dict[tuple[str, int, str], str]]:
        """Return the addresses to scrape, and why a name has none. A lookup that still runs is not repeated."""
        names = [each for each in self._names if each not in self._resolving]
        resolved = self._each(self._addresses, names, Deadline.after(_NAMES_S))
        targets: list[Address] = []
        silent: dict[tuple[str, int, str], str] = {}
        for host, port in self._names:
            answer = resolved.get((host, port), ScrapeError("DNS lookup timed out"))
            if isinstance(answer, ScrapeError):
                silent[host, port, ""] = str(answer)
            else:
                targets += answer
        return targets[:ADDRESSES_MAX], silent

    def _addresses(self, name: tuple[str, int]) -> list[Address]:
        self._resolving.add(name)
        try:
            return scrape.addresses(*name)
        finally:
            self._resolving.discard(name)

    def _each(
        self, work: Callable[[Item], Result], items: Iterable[Item], until: Deadline
    ) -> dict[Item, Result | ScrapeError]:
        """Run `work` on each item in a few threads; returns what is there at the deadline, in order."""
        items = [*items]
        waiting, results = deque(items), dict[Item, Result | ScrapeError]()

        def run() -> None:
            while not self._stopping.is_set():
                try:
                    item = waiting.popleft()
                except IndexError:
                    return
                try:
                    results[item] = work(item)
                except ScrapeError as error:
                    results[item] = error

        threads = [
            threading.Thread(target=run, name="scrape", daemon=True) for _ in range(min(len(items), _THREADS))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(until.left())
        waiting.clear()
        done = results.copy()
        return {item: done[item] for item in items if item in done}

    def _merged(
        self,
        loops: dict[Key, tuple[Address, LoopStatus]],
        silent: dict[tuple[str, int, str], str],
        now: datetime,
    ) -> dict[Key, Watched]:
        """Return the rows: first who answered now, then who never did, then who stopped answering, up to the limit."""
        merged = {key: _answered(at, loop, self._known.get(key), now) for key, (at, loop) in loops.items()}
        where = {_where(*at): why for at, why in silent.items()}
        gone: dict[Key, Watched] = {}
        for key, before in self._known.items():
            configured = before.where in where
            if key in merged or (before.answered_at is None and not configured):
                continue
            if configured or (before.answered_at is not None and now - before.answered_at < _FORGOTTEN):
                gone[key] = _silent(
                    before, where.get(before.where, "its name no longer has this address"), now
                )
        shown = {each.where for each in (*merged.values(), *gone.values())}
        for place, why in where.items():
            if place not in shown:
                merged["", place, ""] = _silent(Watched(place, place, "", now, None, LoopStatus()), why, now)
        # The most recent ones of those: a hostile page could make up any number of names.
        latest = sorted(gone, key=lambda key: gone[key].answered_at or now, reverse=True)
        return merged | {key: gone[key] for key in latest[: max(0, ROWS_MAX - len(merged))]}

    def _save(self) -> None:
        try:
            self.series.keep()
            self._problem.end()
        except OSError as error:
            self._problem.occurred(error.strerror or type(error).__name__)


def _key(at: Address, loop: LoopStatus) -> Key:
    """A worker keeps its row when its pod moves; a publisher is known by its address only. The configured name is part
    of the key, so that no process can take over the row of another."""
    return loop.side, loop.identity or _where(*at), f"{at.host}:{at.port}"


def _where(host: str, port: int, ip: str) -> str:
    return f"{host}:{port}" if ip in {"", host} else f"{host}:{port} ({ip})"


def _answered(at: Address, loop: LoopStatus, before: Watched | None, now: datetime) -> Watched:
    state = "ready" if loop.ready else "not ready"
    said, where = (state, loop.why), _where(*at)
    since = before.since if before is not None and (before.state, before.loop.why) == said else now
    return Watched(mask(loop.identity) if loop.identity else where, where, state, since, now, loop)


def _silent(before: Watched, why: str, now: datetime) -> Watched:
    since = before.since if before.state == SILENT else (before.answered_at or now)
    do = "check that it runs and that this server can reach it"
    loop = replace(before.loop, why=why, do=do, partitions=None, lag=None, position=-1, outstanding={})
    return before._replace(state=SILENT, since=since, loop=loop)

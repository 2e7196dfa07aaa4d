"""Asks the workers and publishers of `http.watch` every few seconds what they do, in a thread of its own.

A name may stand for many processes, as that of a headless service does: every address that it has is asked. One that
answered before and says nothing any more is shown as such, for as long as its name is configured at that address, and
else for an hour: it may have been taken away on purpose.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import address_of
from stream_scrub.observability.recurring_problem import RecurringProblem
from stream_scrub.server.watch import others
from stream_scrub.server.watch.history import History
from stream_scrub.server.watch.others import Address, Loop, Unheard

_EVERY_S = 5.0
_ASKED_AT_ONCE = 8
_FORGOTTEN = timedelta(hours=1)
_STOP_S = 5.0
SAYS_NOTHING = "says nothing"


class Watched(NamedTuple):
    """One process for the page. `state` is `ready`, `not ready` or `says nothing`, `since` when it began as far as this
    server knows, `heard` when it was last heard (None: never)."""

    name: str
    side: str
    where: str
    state: str
    why: str
    do: str
    partitions: int | None
    lag: float | None
    since: datetime
    heard: datetime | None


class Watcher:
    """The thread and what it knows. `rows` from any thread."""

    def __init__(self, watch: Sequence[str], history: History, log: FilteringBoundLogger) -> None:
        self._names = [found for each in watch if (found := address_of(each)) is not None]
        self.history = history
        self._problem = RecurringProblem(
            log, "the page's history cannot be kept", "the page's history is kept again"
        )
        self._known: dict[tuple[str, str], Watched] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self.rows: Sequence[Watched] = ()

    def start(self) -> None:
        """Begin, if there is anybody to ask."""
        if self._names:
            self._thread.start()

    def stop(self) -> None:
        """End, and keep the history."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)
            self._keep()

    @property
    def is_watching(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self._names)

    def _run(self) -> None:
        with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="ask") as pool:
            while not self._stopping.is_set():
                self._round(pool)
                self._stopping.wait(_EVERY_S)

    def _round(self, pool: ThreadPoolExecutor) -> None:
        heard: dict[tuple[str, str], tuple[Address, Loop]] = {}
        silent: dict[tuple[str, int, str], str] = {}
        targets: list[Address] = []
        for host, port in self._names:
            try:
                targets += others.addresses(host, port)
            except Unheard as why:
                silent[host, port, ""] = str(why)
        for at, answer in zip(targets, pool.map(_asked, targets), strict=True):
            if isinstance(answer, Unheard):
                silent[at] = str(answer)
            else:
                heard |= {_key(at, loop): (at, loop) for loop in answer}
        now = datetime.now(UTC)
        self._known = self._merged(heard, silent, now)
        self.rows = [self._known[key] for key in sorted(self._known)]
        if self.history.take([loop for _, loop in heard.values()], now):
            self._keep()

    def _merged(
        self,
        heard: dict[tuple[str, str], tuple[Address, Loop]],
        silent: dict[tuple[str, int, str], str],
        now: datetime,
    ) -> dict[tuple[str, str], Watched]:
        """What was heard now, then who was heard before and is not, then who never was."""
        merged = {key: _seen(at, loop, self._known.get(key), now) for key, (at, loop) in heard.items()}
        where = {_where(*at): why for at, why in silent.items()}
        for key, before in self._known.items():
            asked = before.where in where
            if key in merged or (before.heard is None and not asked):
                continue
            if asked or (before.heard is not None and now - before.heard < _FORGOTTEN):
                merged[key] = _silent(
                    before, where.get(before.where, "its name does not lead there any more"), now
                )
        told = {each.where for each in merged.values()}
        for place, why in where.items():
            if place not in told:
                unknown = Watched(place, "", place, "", "", "", None, None, now, None)
                merged["", place] = _silent(unknown, why, now)
        return merged

    def _keep(self) -> None:
        try:
            self.history.keep()
        except OSError as error:
            self._problem.tell(error.strerror or type(error).__name__)
        else:
            self._problem.end()


def _asked(at: Address) -> list[Loop] | Unheard:
    try:
        return others.ask(at)
    except Unheard as unheard:
        return unheard


def _key(at: Address, loop: Loop) -> tuple[str, str]:
    """A process keeps its place when its pod comes back at another address; publishers have no name but where they are."""
    return loop.side, loop.who or _where(*at)


def _where(host: str, port: int, ip: str) -> str:
    return f"{host}:{port}" if ip in {"", host} else f"{host}:{port} ({ip})"


def _seen(at: Address, loop: Loop, before: Watched | None, now: datetime) -> Watched:
    state = "ready" if loop.ready else "not ready"
    since = before.since if before is not None and (before.state, before.why) == (state, loop.why) else now
    where = _where(*at)
    return Watched(
        loop.who or where, loop.side, where, state, loop.why, loop.do, loop.partitions, loop.lag, since, now
    )


def _silent(before: Watched, why: str, now: datetime) -> Watched:
    since = before.since if before.state == SAYS_NOTHING else (before.heard or now)
    do = "see whether it runs, and whether it can be reached from this server"
    return before._replace(state=SAYS_NOTHING, why=why, do=do, partitions=None, lag=None, since=since)

"""Asks the workers and publishers of `http.watch` every few seconds what they do, in threads of its own. None of them
keeps the process from ending, and nobody waits for a name or a page that gives no answer.

A name may stand for many processes, as that of a headless service does: every address that it has is asked. One that
answered before and says nothing any more is shown as such, for as long as its name is configured at that address, and
else for an hour: it may have been taken away on purpose.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple, TypeVar

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import address_of
from stream_scrub.model import Deadline
from stream_scrub.observability.logs import mask
from stream_scrub.observability.recurring_problem import RecurringProblem
from stream_scrub.server.watch import others
from stream_scrub.server.watch.history import History
from stream_scrub.server.watch.others import Address, Loop, Unheard

_EVERY_S = 5.0
_ASKED_AT_ONCE = 8
ADDRESSES_MAX = 256  # of all names
ROWS_MAX = 1000  # of all pages
_FORGOTTEN = timedelta(hours=1)
_NAMES_S = 2.0  # for the resolver, which knows no deadline
SAYS_NOTHING = "says nothing"

Item = TypeVar("Item")
Found = TypeVar("Found")
Key = tuple[str, str, str]  # the kind of process, its identity or place, and the name that led there
Answers = dict[Address, list[Loop] | Unheard]


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
    """The threads and what they know. `rows` and `has_more` (there are more than `rows` may be) from any thread."""

    def __init__(self, watch: Sequence[str], history: History, log: FilteringBoundLogger) -> None:
        self._names = [found for each in watch if (found := address_of(each)) is not None]
        self.history = history
        self._problem = RecurringProblem(
            log, "the page's history cannot be kept", "the page's history is kept again"
        )
        self._known: dict[Key, Watched] = {}
        self._resolving: set[tuple[str, int]] = set()
        self._stopping = threading.Event()
        self.rows: Sequence[Watched] = ()
        self.has_more = False

    def start(self) -> None:
        """Begin, if there is anybody to ask."""
        if self._names:
            threading.Thread(target=self._run, name="watcher", daemon=True).start()

    def stop(self) -> None:
        """End, and keep the history. What is being asked is not waited for."""
        self._stopping.set()
        if self._names:
            self._keep()

    @property
    def is_watching(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self._names)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._round()
            self._stopping.wait(_EVERY_S)

    def _round(self) -> None:
        targets, silent = self._targets()
        asked: Answers = self._all(_asked, targets, Deadline.after(others.ASK_S * (1 + len(targets))))
        if self._stopping.is_set():
            return
        heard: dict[Key, tuple[Address, Loop]] = {}
        for at, answer in asked.items():
            if isinstance(answer, Unheard):
                silent[at] = str(answer)
            else:
                heard |= {_key(at, loop): (at, loop) for loop in answer}
        now = datetime.now(UTC)
        self.has_more = len(heard) > ROWS_MAX
        heard = dict(islice(heard.items(), ROWS_MAX))
        self._known = self._merged(heard, silent, now)
        self.rows = [self._known[key] for key in sorted(self._known)]
        if self.history.take([loop for _, loop in heard.values()], now):
            self._keep()

    def _targets(self) -> tuple[list[Address], dict[tuple[str, int, str], str]]:
        """Whom to ask, and why not the others. A name that is still being looked up is not asked for again."""
        names = [each for each in self._names if each not in self._resolving]
        found = self._all(self._addresses, names, Deadline.after(_NAMES_S))
        targets: list[Address] = []
        silent: dict[tuple[str, int, str], str] = {}
        for host, port in self._names:
            answer = found.get((host, port), Unheard("whoever knows its name does not answer"))
            if isinstance(answer, Unheard):
                silent[host, port, ""] = str(answer)
            else:
                targets += answer
        return targets[:ADDRESSES_MAX], silent

    def _addresses(self, name: tuple[str, int]) -> list[Address] | Unheard:
        self._resolving.add(name)
        try:
            return others.addresses(*name)
        except Unheard as unheard:
            return unheard
        finally:
            self._resolving.discard(name)

    def _all(
        self, work: Callable[[Item], Found], items: Iterable[Item], until: Deadline
    ) -> dict[Item, Found]:
        """What comes of each that is done by then, in the order of the items."""
        items = [*items]
        waiting, found = deque(items), dict[Item, Found]()

        def go() -> None:
            while not self._stopping.is_set():
                try:
                    item = waiting.popleft()
                except IndexError:
                    return
                found[item] = work(item)

        threads = [
            threading.Thread(target=go, name="ask", daemon=True)
            for _ in range(min(len(items), _ASKED_AT_ONCE))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(until.left())
        waiting.clear()
        done = found.copy()
        return {item: done[item] for item in items if item in done}

    def _merged(
        self,
        heard: dict[Key, tuple[Address, Loop]],
        silent: dict[tuple[str, int, str], str],
        now: datetime,
    ) -> dict[Key, Watched]:
        """What was heard now, then who never was, then who was heard before and is not: as many as there is room for."""
        merged = {key: _seen(at, loop, self._known.get(key), now) for key, (at, loop) in heard.items()}
        where = {_where(*at): why for at, why in silent.items()}
        gone: dict[Key, Watched] = {}
        for key, before in self._known.items():
            asked = before.where in where
            if key in merged or (before.heard is None and not asked):
                continue
            if asked or (before.heard is not None and now - before.heard < _FORGOTTEN):
                gone[key] = _silent(
                    before, where.get(before.where, "its name does not lead there any more"), now
                )
        told = {each.where for each in (*merged.values(), *gone.values())}
        for place, why in where.items():
            if place not in told:
                unknown = Watched(place, "", place, "", "", "", None, None, now, None)
                merged["", place, ""] = _silent(unknown, why, now)
        # Of those that are gone, whoever was heard last: names that somebody makes up have no end.
        latest = sorted(gone, key=lambda key: gone[key].heard or now, reverse=True)
        return merged | {key: gone[key] for key in latest[: max(0, ROWS_MAX - len(merged))]}

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


def _key(at: Address, loop: Loop) -> Key:
    """A process keeps its place when its pod comes back at another address; publishers have no name but where they are.
    Nobody takes the place of one that another name leads to."""
    return loop.side, loop.who or _where(*at), f"{at.host}:{at.port}"


def _where(host: str, port: int, ip: str) -> str:
    return f"{host}:{port}" if ip in {"", host} else f"{host}:{port} ({ip})"


def _seen(at: Address, loop: Loop, before: Watched | None, now: datetime) -> Watched:
    state = "ready" if loop.ready else "not ready"
    since = before.since if before is not None and (before.state, before.why) == (state, loop.why) else now
    where = _where(*at)
    name = mask(loop.who) if loop.who else where
    return Watched(name, loop.side, where, state, loop.why, loop.do, loop.partitions, loop.lag, since, now)


def _silent(before: Watched, why: str, now: datetime) -> Watched:
    since = before.since if before.state == SAYS_NOTHING else (before.heard or now)
    do = "see whether it runs, and whether it can be reached from this server"
    return before._replace(state=SAYS_NOTHING, why=why, do=do, partitions=None, lag=None, since=since)

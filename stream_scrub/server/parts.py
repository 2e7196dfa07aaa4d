"""What the application is made of: handed from one process (`process/serving.py`) to the API (`app.py`) and the page."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.lists.log.follower import Follower
from stream_scrub.observability.counters import ServerCounters
from stream_scrub.observability.process_status import Board
from stream_scrub.rules import Rulebook
from stream_scrub.server.check import CheckDesk
from stream_scrub.server.guard import Guard
from stream_scrub.server.history import HistoryDesk
from stream_scrub.server.page.staged import Staged
from stream_scrub.server.questions import Questions
from stream_scrub.server.requests import RequestDesk, Send
from stream_scrub.server.watch.log_tail import LogTail
from stream_scrub.server.watch.watcher import Watcher

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application answers from. `board` has the status of every process of this server; `trial` says that nothing
    of it is real."""

    settings: Settings
    follower: Follower
    rulebook: Rulebook
    counters: ServerCounters
    board: Board
    questions: Questions
    log: FilteringBoundLogger
    guard: Guard
    send: Send
    watcher: Watcher
    log_tail: LogTail
    staged: Staged
    trial: bool = False


@dataclass(frozen=True, slots=True)
class Desks:
    """Who answers: checks, histories, requests."""

    check: CheckDesk
    history: HistoryDesk
    requests: RequestDesk

    @classmethod
    def of(cls, parts: Parts) -> "Desks":
        """The desks over these parts."""
        follower, lag_max_s = parts.follower, parts.settings.rules.index_lag_max_s
        return cls(
            CheckDesk(parts.settings, lambda: follower.usable(lag_max_s), parts.counters.checked),
            HistoryDesk(parts.settings, parts.questions, parts.log),
            RequestDesk(parts.settings, parts.rulebook, lambda: follower.index, parts.send),
        )

"""Who may ask: by token where there is a file of them, else whoever is on this machine. How much one token may ask."""

import ipaddress
import math
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Http
from stream_scrub.observability.recurring_problem import RecurringProblem
from stream_scrub.server.problems import Kind, Problem
from stream_scrub.server.tokens import TokenStore

# Questions of this many prospects are answered whatever the rate is, one at a time.
BURST_MIN = 10_000

# Takes how many prospects, or other answers, a request is about. Raises Problem (429).
Spend = Callable[[int], None]
COOKIE = "scrub_token"
_NOBODY = ""  # who asks where there are no tokens


class Caller(NamedTuple):
    """Who asks, and what takes from what they may ask for."""

    name: str
    spend: Spend


class Bucket:
    """What one token may still ask for now: it fills at `rate` a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(rate, BURST_MIN)
        self._left = self._most
        self._at = time.monotonic()

    def spend(self, count: int) -> None:
        """Take so much. Raises Problem (429) where less is left, and takes nothing then."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if count > self._left:
            wait = math.ceil((count - self._left) / self._rate)
            raise Problem(
                Kind.TOO_MANY_REQUESTS,
                f"this token may ask about {self._rate:g} prospects a second",
                {"Retry-After": str(max(1, wait))},
            )
        self._left -= count


class Guard:
    """Lets requests in. `tokens` is None where there is no file: then only this machine can connect, and the name
    that it connects by must be this machine's as well, so that no page of another site can ask under a name of its
    own."""

    def __init__(self, http: Http, log: FilteringBoundLogger) -> None:
        problem = RecurringProblem(log, "the tokens cannot be read: nobody may ask", "the tokens can be read")

        def tell(why: str) -> None:
            if why:
                problem.tell(why)
            else:
                problem.end()

        self.tokens = TokenStore(Path(http.tokens), tell) if http.tokens else None
        self._rate = http.rate_per_s
        self._buckets: dict[str, Bucket] = {}

    def admit(self, request: Request, scope: str) -> Caller:
        """Let a request in that needs this scope. Raises Problem (401, 403)."""
        if self.tokens is None:
            _need_loopback_name(request.headers.get("host", ""))
            return Caller(_NOBODY, _free)
        scheme, _, said = request.headers.get("authorization", "").partition(" ")
        return self._admitted(said.strip() if scheme.lower() == "bearer" else "", scope)

    def admit_browser(self, request: Request, scope: str) -> Caller:
        """As `admit`, by the cookie of who signed in to the page. Raises Problem (401, 403)."""
        if self.tokens is None:
            return self.admit(request, scope)
        return self._admitted(request.cookies.get(COOKIE, ""), scope)

    def knows(self, token: str) -> bool:
        """Whether there is such a token."""
        return self.tokens is not None and self.tokens.find(token) is not None

    def _admitted(self, token: str, scope: str) -> Caller:
        assert self.tokens is not None
        found = self.tokens.find(token)
        if found is None:
            raise Problem(
                Kind.UNAUTHORIZED,
                "send the header Authorization: Bearer with a token that is not revoked",
                {"WWW-Authenticate": 'Bearer realm="stream-scrub"'},
            )
        if not found.may(scope):
            raise Problem(Kind.FORBIDDEN, f"this token lacks the scope {scope}", scope=scope)
        bucket = self._buckets.get(found.name)
        if bucket is None:
            bucket = self._buckets[found.name] = Bucket(self._rate)
        return Caller(found.name, bucket.spend)


def _free(_count: int) -> None:
    """Whoever is on this machine may take its processors anyway."""


def is_loopback(host: str) -> bool:
    """Whether an address, or a name, is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache(maxsize=64)
def _is_loopback_name(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return is_loopback(name.strip("[]").lower())


def _need_loopback_name(host: str) -> None:
    if not _is_loopback_name(host):
        raise Problem(Kind.FORBIDDEN, "ask by the name of this machine (127.0.0.1, localhost), or use tokens")

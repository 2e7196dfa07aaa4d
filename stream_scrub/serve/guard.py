"""Authentication and rate limits: by token if `http.tokens` is set, else localhost only."""

import ipaddress
import math
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Self

from starlette.requests import Request

from stream_scrub.config import Http
from stream_scrub.languages import say
from stream_scrub.model import Logger
from stream_scrub.ops.log_lines import RecurringProblem
from stream_scrub.serve.bodies import BODY_BYTES_MAX, Kind, Problem, too_many
from stream_scrub.serve.tokens import TokenStore

BURST_MIN = 10_000  # the largest check passes at any rate
BODIES_MAX = 8 * BODY_BYTES_MAX  # bytes of bodies that a process holds
TOKEN_BODIES_MAX = 2 * BODY_BYTES_MAX  # of one token
COOKIE = "scrub_token"
_KEPT_MAX = 1024


class Bucket:
    """A token bucket that refills at `rate` a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(rate, BURST_MIN)
        self._left = self._most
        self._at = time.monotonic()

    def spend(self, count: int) -> None:
        """Take `count`. Raises Problem (429), and takes nothing, if less is left."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if count > self._left:
            wait = math.ceil((count - self._left) / self._rate)
            why = say(
                "the rate of this token is %(rate)s numbers a second in each process", rate=f"{self._rate:g}"
            )
            raise too_many(why, max(1, wait))
        self._left -= count


class Account:
    """What one token uses in this process; one for all callers without tokens."""

    def __init__(self, name: str, bucket: Bucket, bodies_max: int) -> None:
        self.name = name
        self.bucket = bucket
        self.bodies_max = bodies_max
        self.bodies = 0  # bytes
        self.viewers = 0
        self.verdicts = 0  # since the last look
        self.numbers = DistinctNumbers()
        self._day = (0, 0)  # verdicts and numbers of the day, by the last look

    def look(self) -> tuple[int, int]:
        """Return the verdicts, and the new numbers, since the last look."""
        verdicts, numbers = self._day
        new = self.verdicts, max(0, self.numbers.count - numbers)
        self.verdicts, self._day = 0, (verdicts + new[0], numbers + new[1])
        return new

    def end_day(self) -> tuple[int, int]:
        """Return the verdicts and numbers of the day, and begin the next one."""
        day = self._day
        self._day, self.numbers = (0, 0), DistinctNumbers()
        return day


class Caller:
    """The sender of one request. A block with it releases in the end what the request holds."""

    def __init__(self, account: Account, everybody: Account, owner: str = "") -> None:
        self.account = account
        self.name = account.name  # of the token; empty without tokens
        # Of jobs: the token's digest, since a name may be given again; empty without tokens.
        self.owner = owner
        self._everybody = everybody
        self._held = 0

    def spend(self, count: int) -> None:
        """Take so many numbers, or 1 for another request, from the token's rate. Raises Problem (429)."""
        self.account.bucket.spend(count)

    def asked(self, numbers: Sequence[str]) -> None:
        """Count the verdicts on these numbers."""
        self.account.verdicts += len(numbers)
        self.account.numbers.add(numbers)

    def hold(self, size: int) -> None:
        """Count so many bytes of a body that is held until the request is answered. Raises Problem (429)."""
        for each in (self.account, self._everybody):
            if each.bodies + size > each.bodies_max:
                why = f"the bodies that wait for their answers have {each.bodies_max} bytes, the maximum"
                raise too_many(why, is_read=False)
        self._held += size
        self.account.bodies += size
        self._everybody.bodies += size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.account.bodies -= self._held
        self._everybody.bodies -= self._held


class Guard:
    """Admits requests. `tokens` is None without `http.tokens`: the server then listens on loopback only."""

    def __init__(self, http: Http, log: Logger) -> None:
        problem = RecurringProblem(log, "tokens unreadable, refusing all requests", "tokens readable again")
        self.tokens = TokenStore(Path(http.tokens), problem.report) if http.tokens else None
        self._rate = http.rate_per_s / http.processes
        self._log = log
        self._day = datetime.now(UTC).date()
        self._everybody = Account("", Bucket(math.inf), BODIES_MAX)
        self._accounts: dict[str, Account] = {}

    def admit(self, request: Request, scope: str) -> Caller:
        """Admit a request by its bearer token. Raises Problem (401, 403)."""
        if self.tokens is None:
            # Against DNS rebinding: another site's page could point a name of its own to 127.0.0.1.
            if not _is_loopback_name(request.headers.get("host", "")):
                why = "this server answers its own machine only: call it as 127.0.0.1 or localhost, or set up tokens"
                raise Problem(Kind.FORBIDDEN, why)
            return self._caller("", math.inf, BODIES_MAX, "")  # a local process can use the processors anyway
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        return self._admitted(credentials.strip() if scheme.lower() == "bearer" else "", scope)

    def admit_browser(self, request: Request, *scopes: str) -> Caller:
        """Admit a request by the cookie of the page's sign-in, with any of these scopes. Raises Problem (401, 403)."""
        if self.tokens is None:
            return self.admit(request, scopes[0])
        return self._admitted(request.cookies.get(COOKIE, ""), *scopes)

    def count(self, asked: Callable[[str, int, int], None], now: datetime) -> None:
        """Hand on what each token has asked since the last call: its name, the verdicts and the new numbers. At the end of
        a day log it for each."""
        is_over, self._day = now.date() != self._day, now.date()
        for account in self._accounts.values():
            verdicts, numbers = account.look()
            if account.name and verdicts:
                asked(account.name, verdicts, numbers)
            if is_over and any(day := account.end_day()):
                self._log.info("verdicts of a day", token=account.name, verdicts=day[0], numbers=day[1])

    def knows(self, token: str) -> bool:
        """Whether the token exists."""
        return self.tokens is not None and self.tokens.find(token) is not None

    def _admitted(self, credentials: str, *scopes: str) -> Caller:
        assert self.tokens is not None
        token = self.tokens.find(credentials)
        if token is None:
            raise Problem(
                Kind.UNAUTHORIZED,
                "no valid token: send the header Authorization: Bearer with one",
                {"WWW-Authenticate": 'Bearer realm="stream-scrub"'},
            )
        if not any(token.may(scope) for scope in scopes):
            raise Problem(
                Kind.FORBIDDEN,
                say(
                    "this token lacks the scope %(scope)s: use one that has it (`stream-scrub tokens list`)",
                    scope=scopes[0],
                ),
                scope=scopes[0],
            )
        return self._caller(token.name, self._rate, TOKEN_BODIES_MAX, token.sha256)

    def _caller(self, name: str, rate: float, bodies_max: int, owner: str) -> Caller:
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = Account(name, Bucket(rate), bodies_max)
        return Caller(account, self._everybody, owner)


def is_loopback(host: str) -> bool:
    """Whether an address or a host name is loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache(maxsize=64)
def _is_loopback_name(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return is_loopback(name.strip("[]").lower())


class DistinctNumbers:
    """An estimate of how many different numbers were asked about, within four per cent. It keeps a sample of hashes, which
    are salted by process and never leave it."""

    def __init__(self) -> None:
        self._kept: set[int] = set()
        self._mask = 0  # a hash is kept if it has none of these bits

    def add(self, numbers: Iterable[str]) -> None:
        """Add numbers as they are spelt."""
        mask = self._mask
        self._kept |= {sample for sample in map(hash, numbers) if not sample & mask}
        while len(self._kept) > _KEPT_MAX:
            self._mask = mask = self._mask << 1 | 1
            self._kept = {each for each in self._kept if not each & mask}

    @property
    def count(self) -> int:
        """The estimate."""
        return len(self._kept) * (self._mask + 1)

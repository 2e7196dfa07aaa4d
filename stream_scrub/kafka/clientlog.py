"""The client's own log lines, through ours: one line when a broker goes away, one when it is back.

While a broker is away librdkafka says so some 25 times a second, once as a log line and once as an error. What it says
of a broker is kept as a state and a line is written when that changes. It never says that a connection was made: that
is read from its statistics, whose JSON is only looked into while something is away. Any other line is passed on when
its kind is new, and again after a while if it goes on.

Every method runs inside a client's poll, where an exception would destroy a batch: none ever leaves here.
"""

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from confluent_kafka import KafkaError
from structlog.typing import FilteringBoundLogger

_AGAIN_S = 300.0
_KINDS_MAX = 256
_STATISTICS_MS = 5_000  # how late a line about a broker that is back may be; 6 kB of JSON each
_LINE = re.compile(r"(?P<facility>[A-Z_0-9]+) \[[^]]*\] (?:\[thrd:[^]]*\]: )?(?P<text>.*)", re.DOTALL)
# "sasl_ssl://kafka:9093/bootstrap: ..." and "kafka:9093/1: ...". What is said of logical brokers (GroupCoordinator,
# TxnCoordinator) is said of the real one behind them as well.
_BROKER = re.compile(r"(?:\w+://)?(?P<broker>[^\s/]+:\d+)/(?:\d+|bootstrap): (?P<text>.*)", re.DOTALL)
_LOGICAL = re.compile(r"(?:Group|Txn|Share)Coordinator")
_DIGITS = re.compile(r"\d+")
_QUIET = frozenset({"GETPID", "CONFWARN", "PARTCNT", "TERMINATE", "COMMITFAIL"})
# These do not pass by themselves, and no call that times out on them says why.
_TURNED_AWAY = frozenset({KafkaError._SSL, KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
_CONNECTION = _TURNED_AWAY | {
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError._ALL_BROKERS_DOWN,
}


class _Node(msgspec.Struct):
    nodename: str = ""
    state: str = ""


class _Statistics(msgspec.Struct):
    brokers: dict[str, _Node] = {}


_statistics = msgspec.json.Decoder(_Statistics)


class ClientLog(logging.Handler):
    """Give `properties()` to one client: its lines, errors and statistics arrive here. Never raises, never blocks."""

    def __init__(self, log: FilteringBoundLogger, client: str) -> None:
        super().__init__()
        self._log = log.bind(client=client)
        self._told: dict[str, float] = {}
        self._away: dict[str, float] = {}
        self._turned_away: dict[str, KafkaError] = {}
        # Not getLogger(): that would be one for all clients of this name, and would pass lines on to the root.
        self._logger = logging.Logger(f"librdkafka.{client}")  # noqa: LOG001
        self._logger.addHandler(self)

    @property
    def refusal(self) -> KafkaError | None:
        """What a broker turned this client away with (a wrong password, an untrusted certificate) and has not taken
        back since: the reason behind calls that merely time out.
        """
        return next(iter(self._turned_away.values()), None)

    def properties(self, on_error: Callable[[KafkaError], None] | None = None) -> dict[str, Any]:
        """`logger`, `error_cb`, `stats_cb` and its interval for a client."""

        def error_cb(error: KafkaError) -> None:
            with suppress(Exception):
                self._on_error(error)
            if on_error is not None:
                with suppress(Exception):
                    on_error(error)

        return {
            "logger": self._logger,
            "error_cb": error_cb,
            "stats_cb": self._on_statistics,
            "statistics.interval.ms": _STATISTICS_MS,
        }

    def emit(self, record: logging.LogRecord) -> None:
        """One line of librdkafka's."""
        with suppress(Exception):
            said = record.getMessage()
            found = _LINE.match(said)
            facility, text = (found["facility"], found["text"]) if found else ("LOG", said)
            if (
                record.levelno <= logging.DEBUG
            ):  # only with the client property `debug`: then all of it is wanted
                self._log.debug("client log", kind=facility, said=text)
                return
            if record.levelno < logging.WARNING or facility in _QUIET:
                return
            if (of_broker := _BROKER.match(text)) is not None and facility in {"FAIL", "ERROR"}:
                self._gone(of_broker["broker"], of_broker["text"])
            elif not (facility in {"FAIL", "ERROR"} and _LOGICAL.match(text)):
                self._tell(facility, text)

    def _on_error(self, error: KafkaError) -> None:
        text = error.str()
        of_broker = _BROKER.match(text)
        if error.code() not in _CONNECTION:
            self._tell(error.name(), text)
        elif of_broker is not None:
            if error.code() in _TURNED_AWAY and of_broker["broker"] not in self._turned_away:
                self._turned_away[of_broker["broker"]] = error
                self._log.error("broker turns us away", broker=of_broker["broker"], said=of_broker["text"])
            self._gone(of_broker["broker"], of_broker["text"])

    def _on_statistics(self, document: str) -> None:
        if not self._away:
            return
        with suppress(Exception):
            up = {
                node.nodename for node in _statistics.decode(document).brokers.values() if node.state == "UP"
            }
            for broker in self._away.keys() & up:
                away_s = time.monotonic() - self._away.pop(broker)
                self._turned_away.pop(broker, None)
                self._log.info("broker is back", broker=broker, away_s=round(away_s, 1))

    def _gone(self, broker: str, text: str) -> None:
        # A connection that a broker closes for being idle is made again at once. A broker that is away refuses that.
        if broker not in self._away and not text.startswith("Disconnected (after"):
            self._away[broker] = time.monotonic()
            self._log.warning("broker is away", broker=broker, said=text)

    def _tell(self, kind: str, text: str) -> None:
        key = f"{kind} {_DIGITS.sub('#', text)}"[:80]
        now = time.monotonic()
        if now - self._told.get(key, -_AGAIN_S) < _AGAIN_S:
            return
        if len(self._told) > _KINDS_MAX:
            self._told.clear()
        self._told[key] = now
        self._log.warning("client log", kind=kind, said=text)

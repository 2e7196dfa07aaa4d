"""The client's own log lines, through ours: one line when a broker goes away, one when it is back.

While a broker is away librdkafka says so some 25 times a second, each time as a log line and as an error. So a broker has
a state here, and a line is written when the state changes. librdkafka never says that a connection was made: its
statistics do, and their JSON is parsed only while something is away. Any other line is passed on when its kind is new,
and again after a while if it goes on. Clients of one process that share one `BrokersAway` write each line once together.

Every method runs inside a client's poll, where an exception would destroy a batch: none ever leaves here.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from confluent_kafka import KafkaError
from structlog.typing import FilteringBoundLogger

from stream_scrub.errors import Refused, ScrubError
from stream_scrub.kafka.client.tls_diagnosis import distrust
from stream_scrub.kafka.client.translate import translate
from stream_scrub.model import PartitionKey

_AGAIN_S = 300.0
_KINDS_MAX = 256
_STATISTICS_MS = 5_000  # how late a line about a broker that is back may be; 6 kB of JSON each
_LINE = re.compile(r"(?P<facility>[A-Z_0-9]+) \[[^]]*\] (?:\[thrd:[^]]*\]: )?(?P<text>.*)", re.DOTALL)
# "sasl_ssl://kafka:9093/bootstrap: ..." and "kafka:9093/1: ...". What is said of logical brokers (GroupCoordinator,
# TxnCoordinator) is said of the real one behind them as well.
_BROKER = re.compile(r"(?:\w+://)?(?P<broker>[^\s/]+:\d+)/(?:\d+|bootstrap): (?P<text>.*)", re.DOTALL)
_LOGICAL = re.compile(r"(?:Group|Txn|Share)Coordinator")
_DIGITS = re.compile(r"\d+")
# TXNERR: the call that failed says it too.
_QUIET = frozenset({"GETPID", "CONFWARN", "PARTCNT", "TERMINATE", "COMMITFAIL", "TXNERR"})
_RESET = re.compile(r"(\S+) \[(\d+)\]: offset reset \(at offset (\d+)")
_DENIED = re.compile(r'Failed to add partition "(?P<topic>[^"]+)" .*authorization failed')
# These do not pass by themselves, and a call that times out because of them does not say why.
_TURNED_AWAY = frozenset({KafkaError._SSL, KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
# With TLS 1.3 a broker looks at our certificate after the handshake: what it then says is a transport's failure.
_ALERT = "SSL alert"
_OF_A_REFUSAL = re.compile(
    r"SASL authentication error|SSL handshake failed|certificate verify failed|SSL alert"
)
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


class BrokersAway:
    """Which brokers are away, as the clients of a process see it together. For many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._away: dict[str, float] = {}
        self._turned_away: set[str] = set()

    def gone(self, broker: str, *, turned_away: bool) -> bool:
        """Note that a broker is away; returns whether that is news."""
        with self._lock:
            known = self._turned_away if turned_away else self._away
            news = broker not in known
            self._away.setdefault(broker, time.monotonic())
            if turned_away:
                self._turned_away.add(broker)
            return news

    def back(self, broker: str) -> float | None:
        """Note that a broker is back; returns for how many seconds it was away, None if that was reported before."""
        with self._lock:
            self._turned_away.discard(broker)
            since = self._away.pop(broker, None)
        return None if since is None else time.monotonic() - since


class ClientLog(logging.Handler):
    """Give `properties()` to one client: its lines, errors and statistics arrive here. Never raises, never blocks.

    `properties` are the client's own; they serve to find out why a broker turns it away. `quiet` is for a client whose
    caller reports what went wrong, by `refusal()` and `said`.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        client: str,
        *,
        properties: Mapping[str, Any] = {},
        brokers: BrokersAway | None = None,
        quiet: bool = False,
    ) -> None:
        super().__init__()
        self._log = log.bind(client=client)
        self._properties = properties
        self._brokers = brokers or BrokersAway()
        self._quiet = quiet
        self._logged_at: dict[str, float] = {}
        self._away: set[str] = set()
        self._turned_away: dict[str, KafkaError] = {}
        self._denied = ""
        self.said = ""
        # Hears the partition and the offset where what was to be read next is not there any more.
        self.on_reset: Callable[[PartitionKey, int], None] | None = None
        # Not getLogger(): that would be one for all clients of this name, and would pass lines on to the root.
        self._logger = logging.Logger(f"librdkafka.{client}")  # noqa: LOG001
        self._logger.addHandler(self)

    def refusal(self) -> ScrubError | None:
        """Why a broker has turned this client away (a wrong password, a certificate that is not trusted) and not taken
        it back since: the reason behind calls that merely time out. May block for some seconds.
        """
        for broker, error in list(self._turned_away.items()):
            return self._refused(broker, error)
        return None

    def denied(self) -> str:
        """The topic that a transaction was not allowed to write to since the last call: the error does not name it."""
        topic, self._denied = self._denied, ""
        return topic

    def _refused(self, broker: str, error: KafkaError) -> ScrubError:
        user = self._properties.get("sasl.username")
        doing = f"connecting as user {user}" if user else "connecting"
        why = distrust(broker, self._properties) if error.code() == KafkaError._SSL else ""
        return Refused(f"{doing} to {broker}: {why}") if why else translate(error, doing)

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
            if facility == "ADDPARTS" and (found := _DENIED.search(text)) is not None:
                self._denied = found["topic"]
            elif self.on_reset is not None and facility == "OFFSET" and (found := _RESET.match(text)):
                self.on_reset((found[1], int(found[2])), int(found[3]))
            elif (of_broker := _BROKER.match(text)) is not None and facility in {"FAIL", "ERROR"}:
                if not _OF_A_REFUSAL.search(text):  # else the error that follows says it, with its code
                    self._gone(of_broker["broker"], of_broker["text"])
            elif not (facility in {"FAIL", "ERROR"} and _LOGICAL.match(text)):
                self._log_once(facility, text)

    def _on_error(self, error: KafkaError) -> None:
        text = error.str()
        of_broker = _BROKER.match(text)
        if error.code() not in _CONNECTION:
            self._log_once(error.name(), text)
        elif of_broker is not None:
            if error.code() == KafkaError._TRANSPORT and _ALERT in text:
                error = KafkaError(KafkaError._SSL, text)
            turned_away = error.code() in _TURNED_AWAY
            self._gone(of_broker["broker"], of_broker["text"], error if turned_away else None)

    def _on_statistics(self, document: str) -> None:
        if not self._away:
            return
        with suppress(Exception):
            up = {
                node.nodename for node in _statistics.decode(document).brokers.values() if node.state == "UP"
            }
            for broker in self._away & up:
                self._away.discard(broker)
                self._turned_away.pop(broker, None)
                away_s = self._brokers.back(broker)
                if away_s is not None and not self._quiet:
                    self._log.info("broker is back", broker=broker, away_s=round(away_s, 1))

    def _gone(self, broker: str, text: str, refusal: KafkaError | None = None) -> None:
        """This client reports a broker once until it has seen it up again, even if another client has seen that earlier."""
        # A connection that a broker closes for being idle is made again at once. A broker that is away refuses that.
        if text.startswith("Disconnected (after"):
            return
        self.said = f"{broker}: {text}"
        if refusal is not None and broker not in self._turned_away:
            self._turned_away[broker] = refusal
            self._away.add(broker)
            if self._brokers.gone(broker, turned_away=True) and not self._quiet:
                self._tell_why(broker, refusal)
        elif broker not in self._away:
            self._away.add(broker)
            if self._brokers.gone(broker, turned_away=False) and not self._quiet:
                self._log.warning("broker is away", broker=broker, said=text)

    def _tell_why(self, broker: str, error: KafkaError) -> None:
        """Beside the client's poll, which must not wait for the answer."""

        def say() -> None:
            with suppress(OSError, ValueError):  # stderr is closed: there is nobody to tell
                self._log.error("broker turns us away", broker=broker, why=str(self._refused(broker, error)))

        threading.Thread(target=say, name="refusal", daemon=True).start()

    def _log_once(self, kind: str, text: str) -> None:
        key = f"{kind} {_DIGITS.sub('#', text)}"[:80]
        now = time.monotonic()
        if now - self._logged_at.get(key, -_AGAIN_S) < _AGAIN_S:
            return
        if len(self._logged_at) > _KINDS_MAX:
            self._logged_at.clear()
        self._logged_at[key] = now
        if not self._quiet:
            self._log.warning("client log", kind=kind, said=text)

"""The client's own log lines in our log: one line when a broker goes away, one when it is back.

While a broker is away librdkafka reports it some 25 times a second, as a log line and as an error. So each broker has a
state, and a line is written when it changes. librdkafka never reports a new connection: its statistics do, and their JSON
is parsed only while a broker is away. Other lines are logged when their kind is new, and again after a while. Clients of a
process that share a `BrokersAway` write each line once together.

Every method runs inside a client's poll, where an exception would destroy a batch: none leaves this module.
"""

import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import KafkaError

from stream_scrub.errors import Refused, ScrubError
from stream_scrub.kafka.client.translate import translate
from stream_scrub.model import Logger, PartitionKey

_AGAIN_S = 300.0
_KINDS_MAX = 256
_STATISTICS_MS = 5_000  # how late a line about a broker that is back may be; 6 kB of JSON each
_LINE = re.compile(r"(?P<facility>[A-Z_0-9]+) \[[^]]*\] (?:\[thrd:[^]]*\]: )?(?P<text>.*)", re.DOTALL)
# "sasl_ssl://kafka:9093/bootstrap: ..." and "kafka:9093/1: ...". What is said of logical brokers (GroupCoordinator,
# TxnCoordinator) is said of the real one behind them as well.
_BROKER = re.compile(r"(?:\w+://)?(?P<broker>[^\s/]+:\d+)/(?:\d+|bootstrap): (?P<text>.*)", re.DOTALL)
_LOGICAL = re.compile(r"(?:Group|Txn|Share)Coordinator")
_DIGITS = re.compile(r"\d+")
# TXNERR: the failed call reports it too.
_QUIET = frozenset({"GETPID", "CONFWARN", "PARTCNT", "TERMINATE", "COMMITFAIL", "TXNERR"})
_RESET = re.compile(r"(\S+) \[(\d+)\]: offset reset \(at offset (\d+)")
_DENIED = re.compile(r'Failed to add partition "(?P<topic>[^"]+)" .*authorization failed')
# These do not end by themselves, and a call that times out because of them does not say why.
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
    """The brokers that are away, for all clients of a process. For many threads."""

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
    """The log of one client: give it `properties()`. Never raises, never blocks.

    `properties` are the client's own; they help to find out why a broker refuses it. `quiet`: the caller reports what went
    wrong, by `refusal()` and `last_line`.
    """

    def __init__(
        self,
        log: Logger,
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
        self.last_line = ""
        # Called with a partition and an offset: the record that was to be read next is gone.
        self.on_reset: Callable[[PartitionKey, int], None] | None = None
        # Not getLogger(): that would be one for all clients of this name, and would pass lines on to the root.
        self._logger = logging.Logger(f"librdkafka.{client}")  # noqa: LOG001
        self._logger.addHandler(self)

    def refusal(self) -> ScrubError | None:
        """Why a broker refuses this client (a wrong password, an untrusted certificate): the reason for calls that only
        time out. May block for some seconds."""
        for broker, error in list(self._turned_away.items()):
            return self._refused(broker, error)
        return None

    def denied(self) -> str:
        """The topic that a transaction could not write to since the last call: the error does not name it."""
        topic, self._denied = self._denied, ""
        return topic

    def _refused(self, broker: str, error: KafkaError) -> ScrubError:
        user = self._properties.get("sasl.username")
        doing = f"connecting as user {user}" if user else "connecting"
        why = distrust(broker, self._properties) if error.code() == KafkaError._SSL else ""
        return Refused(f"{doing} to {broker}: {why}") if why else translate(error, doing)

    def properties(self) -> dict[str, Any]:
        """`logger`, `error_cb`, `stats_cb` and its interval for a client."""
        return {
            "logger": self._logger,
            "error_cb": self._on_error,
            "stats_cb": self._on_statistics,
            "statistics.interval.ms": _STATISTICS_MS,
        }

    def emit(self, record: logging.LogRecord) -> None:
        """One line of librdkafka's."""
        with suppress(Exception):
            line = record.getMessage()
            parts = _LINE.match(line)
            facility, text = (parts["facility"], parts["text"]) if parts else ("LOG", line)
            if record.levelno <= logging.DEBUG:  # only with the client property `debug`
                self._log.debug("client log", kind=facility, said=text)
                return
            if record.levelno < logging.WARNING or facility in _QUIET:
                return
            if facility == "ADDPARTS" and (denied := _DENIED.search(text)) is not None:
                self._denied = denied["topic"]
            elif self.on_reset is not None and facility == "OFFSET" and (reset := _RESET.match(text)):
                self.on_reset((reset[1], int(reset[2])), int(reset[3]))
            elif (of_broker := _BROKER.match(text)) is not None and facility in {"FAIL", "ERROR"}:
                # Otherwise the error that follows reports it, with its code.
                if not _OF_A_REFUSAL.search(text):
                    self._gone(of_broker["broker"], of_broker["text"])
            elif not (facility in {"FAIL", "ERROR"} and _LOGICAL.match(text)):
                self._log_once(facility, text)

    def _on_error(self, error: KafkaError) -> None:
        with suppress(Exception):
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
        """This client reports a broker once until it sees it up again, even if another client saw that earlier."""
        # A connection that a broker closes for being idle is opened again at once. A broker that is away refuses that.
        if text.startswith("Disconnected (after"):
            return
        self.last_line = f"{broker}: {text}"
        if refusal is not None and broker not in self._turned_away:
            self._turned_away[broker] = refusal
            self._away.add(broker)
            if self._brokers.gone(broker, turned_away=True) and not self._quiet:
                self._log_refusal(broker, refusal)
        elif broker not in self._away:
            self._away.add(broker)
            if self._brokers.gone(broker, turned_away=False) and not self._quiet:
                self._log.warning("broker is away", broker=broker, said=text)

    def _log_refusal(self, broker: str, error: KafkaError) -> None:
        # In another thread: the client's poll must not wait for the answer.

        def write() -> None:
            with suppress(OSError, ValueError):  # stderr is closed
                self._log.error(
                    "broker refuses this client", broker=broker, why=str(self._refused(broker, error))
                )

        threading.Thread(target=write, name="refusal", daemon=True).start()

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


_WAIT_S = 3.0
_OWN = "ssl.certificate.location"
# In the certificate's DER the first two times in a row are its validity (RFC 5280): UTCTime with two digits of the year, or
# GeneralizedTime with four.
_VALIDITY = re.compile(
    rb"(?:\x17\x0d\d{12}Z|\x18\x0f\d{14}Z)(?:\x17\x0d(?P<short>\d{12})|\x18\x0f(?P<long>\d{14}))Z"
)


def distrust(server: str, client: Mapping[str, Any]) -> str:
    """What is wrong with the broker's certificate or the client's own, in words; empty when that was not found out.

    `server` is host:port, `client` are client properties. Blocks for a few seconds at most, raises nothing.
    """
    ended = None
    with suppress(OSError, ValueError):
        ended = expires(_pem(client, "ssl.certificate") or "")
    if ended is not None and ended < datetime.now(UTC):
        return f"this client's own certificate ({_OWN}) expired at {ended:%Y-%m-%dT%H:%M:%SZ}"
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    try:
        context = _context(client)
        with (
            socket.create_connection((host, int(port)), timeout=_WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            secured.recv(1)  # with TLS 1.3 the broker looks at our certificate after the handshake
    except ssl.SSLCertVerificationError as error:
        return f"the broker's certificate is not trusted (ssl.ca.location): {error.verify_message}"
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return f"the broker does not accept this client's own certificate ({_OWN}): {_words(error)}"
    except (OSError, ValueError):
        pass
    return ""


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "").rpartition("ALERT_")[2].replace("_", " ").lower()


def _context(client: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = client.get("ssl.endpoint.identification.algorithm", "https") != "none"
    trusted = _pem(client, "ssl.ca")
    if trusted is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=trusted)
    certificate, key = client.get("ssl.certificate.location"), client.get("ssl.key.location")
    if certificate and key:
        context.load_cert_chain(certificate, key, client.get("ssl.key.password"))
    return context


def _pem(client: Mapping[str, Any], what: str) -> str | None:
    """The certificates that `<what>.pem` holds, or the file that `<what>.location` names."""
    if text := client.get(f"{what}.pem"):
        return str(text)
    file = client.get(f"{what}.location")
    return Path(file).read_text() if file else None


def expires(pem: str) -> datetime | None:
    """When the first certificate of a text expires; None without one. Raises ValueError."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    if begin not in pem:
        return None
    first = begin + pem.partition(begin)[2].partition(end)[0] + end
    found = _VALIDITY.search(ssl.PEM_cert_to_DER_cert(first))
    if found is None:
        raise ValueError("no validity in the certificate")
    digits = (found["short"] or found["long"]).decode("ascii")
    century = "" if found["long"] else "20" if digits < "5" else "19"
    return datetime.strptime(century + digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)

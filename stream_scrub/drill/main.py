"""One drill: a lead is allowed, its number opts out, and the drill watches every station of the opt-out.

No dialler can call anybody for it. The leads have a topic of their own, `topics.drill`, whose allowed topic
`stream_scrub.dialler.Allowed` skips, and an unassigned number. Workers, recall and the log are those of all leads.
"""

import secrets
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from urllib.parse import quote
from zlib import crc32

import msgspec

from stream_scrub.call import Call
from stream_scrub.clock import Throttle
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, ScrubError, Unavailable
from stream_scrub.fanout.receipt import decode
from stream_scrub.kafka import clients
from stream_scrub.kafka.requests_writer import RequestPlace, RequestsWriter
from stream_scrub.log import wire
from stream_scrub.model import INTERNAL, Logger, LogRecord, Reason
from stream_scrub.numbering import e164
from stream_scrub.ops import metric_catalogue, metrics
from stream_scrub.ops.health import Health
from stream_scrub.ops.metric_catalogue import Side
from stream_scrub.ops.metrics import Metrics, ProcessStatus
from stream_scrub.queries.check import prospect_of
from stream_scrub.serve.watch.time_series import TimeSeries
from stream_scrub.serve.watch.watcher import Watcher
from stream_scrub.stamp import header_in, stamp_on

_WAIT_S, _LEAD_EVERY_S, _LOOK_EVERY_S = 0.05, 0.25, 0.2
_RECORDS = 1000
_PUSH_S = 10.0

# Ranges that regulators reserve for films and drama. By region: the first number, and how many
# follow each other. Only ranges whose numbers are valid by phonenumbers.
DRAMA = {
    # Arcep, decision 2018-0881: 01 99 00 00 00 to 01 99 00 99 99
    "FR": (33_199_000_000, 10_000),
    # Ofcom, "Telephone numbers for use in TV and radio drama programmes": 020 7946 0000 to 0999
    "GB": (442_079_460_000, 1_000),
    # Bundesnetzagentur, "Rufnummern für Film und Fernsehen" (Mitteilung 148/2021): (0)30 23125 000 to 999
    "DE": (493_023_125_000, 1_000),
    # NANPA, fictitious numbers: 555-0100 to 555-0199, here of area code 404: Georgia has no rule of its own
    "US": (14_045_550_100, 100),
}


class Station(msgspec.Struct, frozen=True):
    """One station. `seconds`: since the opt-out was sent; at the first one since the lead was, at the last one since the
    lift was."""

    station: str
    seconds: float | None  # None: not reached
    in_time: bool
    why: str = ""


class DrillReport(msgspec.Struct, frozen=True):
    """Every station of one drill."""

    ok: bool
    region: str
    stations: list[Station]


class Drill:
    """`within_s`: how soon each station must be reached. `run` is called once."""

    def __init__(self, settings: Settings, log: Logger, region: str, call: Call, within_s: float) -> None:
        topic = settings.topics.drill
        if not topic:
            raise ConfigError(["topics.drill: name the input topic of drills (docs/operator.md, Drills)"])
        self._settings, self._log, self._within_s = settings, log, within_s
        self._region, self._number = region, e164(drama_number(region, settings.worker.group_id))
        self._route = settings.topics.inputs.route(topic)
        self._key = f"drill-{secrets.token_hex(8)}".encode()
        self._value = prospect_of(self._number, call, region, settings)
        self._stations: list[Station] = []
        self._came_out: list[str] = []  # of this drill's leads: "allowed", or the reason
        self._blocked_at: float | None = None
        self._recalled_at: float | None = None
        # By target: the time of delivery, or the cause of the delay.
        self._receipts: dict[str, tuple[float | None, str]] = {
            name: (None, "no receipt came")
            for name, each in settings.fanout.targets.items()
            if INTERNAL in each.lists or each.recalls
        }

    def run(self) -> DrillReport:
        """Drill, and lift the opt-out at the end. Raises Unavailable, Refused."""
        settings, log = self._settings, self._log
        topics = [self._route.allowed, self._route.blocked, settings.topics.recalled]
        topics += [settings.topics.receipts] * bool(self._receipts)
        brokers = clients.Brokers(settings, log)
        with ExitStack() as stack:
            leads, requests, lifts = (
                stack.enter_context(closing(each))
                for each in (
                    brokers.prospects_writer(self._route.input),
                    brokers.requests_writer(settings.topics.requests),
                    brokers.requests_writer(settings.topics.lifts),
                )
            )
            group = settings.worker.group_id
            self._outputs = stack.enter_context(closing(brokers.output_reader(topics, group)))
            self._reader = stack.enter_context(brokers.reading())
            self._reader.seek(self._reader.bounds()[1])
            deadline = clients.deadline()
            keys = self._outputs.partitions(deadline)
            self._outputs.assign({key: self._outputs.bounds(key, deadline)[1] for key in keys})
            if self._is_allowed_before(leads, lifts):
                try:
                    self._oppose(leads, requests)
                finally:
                    self._lift("opt-out lifted", lifts)
        return DrillReport(all(station.in_time for station in self._stations), self._region, self._stations)

    def _is_allowed_before(self, leads: RequestsWriter, lifts: RequestsWriter) -> bool:
        started = time.monotonic()
        if self._ask(leads, started) == "opposed":  # a drill was killed: all of a group have one number
            self._lift("earlier opt-out lifted", lifts)
            started = time.monotonic()
            while self._ask(leads, started) == "opposed" and not self._is_late(started):
                pass
            self._blocked_at = self._recalled_at = None
        outcome = self._came_out[-1] if self._came_out else ""
        is_allowed = outcome == "allowed"
        why = f"blocked as {outcome}: state its facts" if outcome else "nothing came out"
        self._note("lead allowed before", started, time.monotonic() if is_allowed else None, why)
        return is_allowed

    def _ask(self, leads: RequestsWriter, started: float) -> str:
        """Send the lead, and wait for its verdict: "allowed", or the reason of a block; empty if none comes."""
        before = len(self._came_out)
        _send(leads, self._key, self._value)
        while len(self._came_out) == before:
            if self._is_late(started):
                return ""
            self._poll()
        return self._came_out[-1]

    def _oppose(self, leads: RequestsWriter, requests: RequestsWriter) -> None:
        started = time.monotonic()
        place = _send(requests, None, self._request("opt-out"))
        self._note("request accepted", started, time.monotonic())
        position = self._sealed("log sealed", place, started, lifts=False)
        if position is None:
            return
        sending = Throttle(_LEAD_EVERY_S)
        with self._watching(position, started):
            while not (self._is_everywhere or self._is_late(started)):
                if self._blocked_at is None and sending.is_due():
                    _send(leads, self._key, self._value)
                self._poll()
        came_out = f"its leads came out as {', '.join(self._came_out)}"
        self._note("lead blocked after", started, self._blocked_at, came_out)
        self._note("number recalled", started, self._recalled_at, "no recall took the lead back")
        for name, (at, why) in sorted(self._receipts.items()):
            self._note(f"receipt of {name}", started, at, why)

    @property
    def _is_everywhere(self) -> bool:
        return None not in (self._blocked_at, self._recalled_at, *(at for at, _ in self._receipts.values()))

    @contextmanager
    def _watching(self, position: int, started: float) -> Iterator[None]:
        """Meanwhile, note when each process of `http.watch` has an index of that position."""
        watcher = Watcher(self._settings.http.watch, TimeSeries(""), self._log)
        reached: dict[str, float | None] = {}
        why: dict[str, str] = {}

        def watch() -> None:
            while not self._is_late(started) and (not reached or None in reached.values()):
                watcher.look()
                for row in watcher.rows:
                    name, loop = f"index of {row.loop.side or 'process'} {row.name}", row.loop
                    why[name] = loop.why or f"its index is at position {loop.position}, not at {position}"
                    is_there = loop.position >= position
                    reached[name] = reached.get(name) or (time.monotonic() if is_there else None)
                time.sleep(_LOOK_EVERY_S)

        thread = threading.Thread(target=watch if watcher.is_watching else lambda: None, daemon=True)
        thread.start()
        yield
        thread.join()
        for name, at in sorted(reached.items()):
            self._note(name, started, at, why[name])

    def _lift(self, station: str, lifts: RequestsWriter) -> None:
        started = time.monotonic()
        request = self._request("correction", remove_from=INTERNAL, reason="the end of a drill")
        self._sealed(station, _send(lifts, None, request), started, lifts=True)

    def _request(self, verb: str, **members: str) -> bytes:
        request = {"request": verb, "number": self._number, "source": self._key.decode()}
        return msgspec.json.encode(request | members)

    def _sealed(self, station: str, place: RequestPlace, started: float, *, lifts: bool) -> int | None:
        """The position of the seal with a request; None if it is not on the log in time."""
        register: bytes | None = None
        while not self._is_late(started):
            for record in self._reader.read(_WAIT_S)[0]:
                if _has_request(record, place, lifts=lifts):
                    register = record.key
                elif register == record.key and wire.part_of(record) == "seal":
                    self._note(station, started, time.monotonic())
                    return record.offset
            self._poll(0.0)
        self._note(station, started, None, "no publisher put the request on the log")
        return None

    def _poll(self, wait_s: float = _WAIT_S) -> None:
        """Note what came out of this drill's leads, and the recall of its number."""
        fetched = self._outputs.poll(_RECORDS, wait_s)
        for message, value, headers in zip(
            fetched.messages, fetched.values, fetched.headers.each, strict=True
        ):
            if message.topic() == self._settings.topics.recalled:
                if message.key() == self._number.encode():
                    self._recalled_at = self._recalled_at or time.monotonic()
            elif message.topic() == self._settings.topics.receipts:
                if message.key() == self._number.encode():
                    self._take_receipt(value or b"")
            elif message.key() == self._key:
                stamp = stamp_on(header_in(headers), value)
                if stamp is not None and stamp.reason is Reason.OPPOSED:
                    self._blocked_at = self._blocked_at or time.monotonic()
                if stamp is not None:  # a blocked one is false
                    self._came_out.append("allowed" if stamp.allowed else str(stamp.reason))

    def _take_receipt(self, value: bytes) -> None:
        try:
            receipt = decode(value)
        except ValueError:
            return  # another program writes there
        at, _ = self._receipts.get(receipt.target, (0.0, ""))
        if at is None and receipt.event != "lifted":
            at = time.monotonic() if receipt.outcome in ("confirmed", "accepted") else None
            self._receipts[receipt.target] = at, f"its answer: {receipt.answer}"

    def _is_late(self, started: float) -> bool:
        return time.monotonic() - started > self._within_s

    def _note(self, station: str, started: float, at: float | None, why: str = "") -> None:
        """`at`: when the station was reached; None if it was not, for a reason."""
        seconds = None if at is None else round(at - started, 3)
        in_time = seconds is not None and seconds <= self._within_s
        self._stations.append(Station(station, seconds, in_time, why if at is None else ""))


def _send(writer: RequestsWriter, key: bytes | None, value: bytes) -> RequestPlace:
    """Write a record; returns its place once the brokers have it. Raises Unavailable, Refused."""
    answer = Future[RequestPlace | ScrubError]()
    writer.send(key, value, answer.set_result)
    try:
        place = answer.result(clients.ASK_S)
    except TimeoutError:
        raise Unavailable("a record of the drill was not accepted: no broker answers now") from None
    if isinstance(place, ScrubError):
        raise place
    return place


def _has_request(record: LogRecord, place: RequestPlace, *, lifts: bool) -> bool:
    """Whether a record of the log is a part with that request."""
    if wire.part_of(record) != "requests":
        return False
    lines = map(wire.read_request_line, filter(None, (record.value or b"").split(b"\n")))
    return any(
        (line.partition, line.offset, line.lifts) == (place.partition, place.offset, lifts) for line in lines
    )


def drama_number(region: str, group: str) -> int:
    """An unassigned number of the region, always the same for a group of workers: so a drill finds the opt-out of an earlier
    one, and groups that share a log do not disturb each other. Raises ConfigError."""
    if region not in DRAMA:
        raise ConfigError([f"--region {region}: a drill has unassigned numbers only in {', '.join(DRAMA)}"])
    first, count = DRAMA[region]
    return first + crc32(group.encode()) % count


def push(report: DrillReport, gateway: str, group: str) -> None:
    """Send the result as metrics to a Prometheus Pushgateway, under the name of the workers' group: no one scrapes a
    command. A failed drill leaves the time of the last success as it was. Raises Unavailable."""
    ended = [metric_catalogue.DRILL_ENDED, *([metric_catalogue.DRILL_SUCCESS] if report.ok else [])]
    made = Metrics(Side.DRILL, group, only=[*ended, metric_catalogue.DRILL_STATION])
    for metric in ended:
        made[metric].set(time.time())
    for station in report.stations:
        if station.seconds is not None:
            made[metric_catalogue.DRILL_STATION].labels(station.station).set(station.seconds)
    body = metrics.text(lambda: [ProcessStatus("", Health(0, 0, begun=True), list(made.families()))])
    url = f"{gateway.rstrip('/')}/metrics/job/stream_scrub_drill/drill/{quote(group, safe='')}"
    try:
        request = urllib.request.Request(url, body, {"Content-Type": "text/plain; version=0.0.4"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=_PUSH_S):  # noqa: S310 - the operator chose it
            pass
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"--push {gateway}: the result was not accepted ({error}): check the address of the Pushgateway"
        ) from error

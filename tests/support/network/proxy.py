"""A TCP proxy before real brokers that understands how Kafka frames its requests: the network's faults, one by one.

It can (a) delay a request, (b) hold it back until it is released, as a network may keep a packet of a connection that
broke long ago, (c) break a connection before or after a request got through, (d) make the whole link slow. Brokers
advertise its address on a listener of their own (`tests/kafka/broker.py`). So a client that connects to the proxy
stays there, and the tests' oracles connect to the brokers directly. It takes plain connections only, on loopback.
"""

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Self

_CHUNK = 16 << 10
_WAIT_S = 240.0  # seconds that a test waits here at most: longer than the limits of the product together


class Api(IntEnum):
    """The Kafka api keys that tests use."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    HEARTBEAT = 12
    CREATE_TOPICS = 19
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28
    CONSUMER_GROUP_HEARTBEAT = 68


# The version from which on a request's header has tags and its strings are compact (KIP-482). All of these requests
# begin with the transactional id.
_FLEXIBLE = {
    Api.PRODUCE: 9,
    Api.INIT_PRODUCER_ID: 2,
    Api.ADD_PARTITIONS_TO_TXN: 3,
    Api.ADD_OFFSETS_TO_TXN: 3,
    Api.END_TXN: 3,
    Api.TXN_OFFSET_COMMIT: 3,
}


@dataclass(frozen=True)
class Request:
    """One request on its way to a broker. `frame` is the whole request without its length."""

    api: int
    version: int
    correlation: int
    client_id: str
    frame: bytes

    @classmethod
    def of(cls, frame: bytes) -> "Request":
        api, version, correlation, length = struct.unpack_from(">hhih", frame)
        return cls(api, version, correlation, frame[10 : 10 + max(0, length)].decode(), frame)

    @property
    def transactional_id(self) -> str:
        """The transactional id of a request; empty if it has none."""
        return self._of_transaction()[0]

    @property
    def commits(self) -> bool:
        """For an EndTxn: whether it commits."""
        return self.api == Api.END_TXN and self._of_transaction()[1][10] == 1

    def _of_transaction(self) -> tuple[str, bytes]:
        """The transactional id, and what follows it."""
        if self.api not in _FLEXIBLE:
            return "", b""
        body = self.frame[10 + len(self.client_id.encode()) :]
        if self.version < _FLEXIBLE[Api(self.api)]:
            (length,) = struct.unpack_from(">h", body)
            body = body[2:]
        else:
            _, body = _varint(body)  # no client here sends a tag in the header
            length, body = _varint(body)
            length -= 1
        length = max(0, length)
        return body[:length].decode(), body[length:]


def _first_partition(data: bytes, *, flexible: bool) -> bytes:
    """From an array of topics: what stands at the beginning of the first partition of the first topic."""
    if not flexible:
        (length,) = struct.unpack_from(">h", data, 4)
        return data[4 + 2 + length + 4 :]
    _, data = _varint(data)
    length, data = _varint(data)
    _, data = _varint(data[length - 1 :])
    return data


def _varint(data: bytes) -> tuple[int, bytes]:
    value = at = 0
    while True:
        value |= (data[at] & 0x7F) << (7 * at)
        at += 1
        if data[at - 1] < 0x80:
            return value, data[at:]


Matches = Callable[[Request], bool]


def matching(*apis: Api, of: str | None = None, commits: bool | None = None) -> Matches:
    """Selects requests of these kinds: with `of`, those of that transactional id; of EndTxn, only those that commit,
    or only those that abort."""

    def matches(request: Request) -> bool:
        return (
            request.api in apis
            and (of is None or request.transactional_id == of)
            and (commits is None or request.commits is commits)
        )

    return matches


class Held:
    """A request that is kept in the proxy."""

    def __init__(self, *, cut: bool) -> None:
        self.cut = cut
        self.request: Request | None = None
        self.answer = b""
        self._arrived = threading.Event()
        self._answered = threading.Event()
        self._let_go = threading.Event()

    @property
    def arrived(self) -> bool:
        """Whether it is here."""
        return self._arrived.is_set()

    def wait(self, timeout_s: float = _WAIT_S) -> Request:
        """The request, once it is here."""
        assert self._arrived.wait(timeout_s), "the request that was to be held back did not come"
        assert self.request is not None
        return self.request

    def release(self, timeout_s: float = _WAIT_S) -> None:
        """Let it through to its broker, on the connection that it came on. If its client's connection was cut, this
        returns when the broker has answered. Otherwise the client itself waits for the answer."""
        self.wait(timeout_s)
        self._let_go.set()
        if self.cut:
            assert self._answered.wait(timeout_s), "the broker did not answer what was held back"

    def forsake(self) -> None:
        """Say that nobody will release it any more, so that the thread that keeps it may end."""
        self._let_go.set()

    @property
    def error(self) -> int:
        """The broker's error code. If an answer has one for each partition, it is the first."""
        assert self.request is not None
        flexible = self.request.version >= _FLEXIBLE[Api(self.request.api)]
        rest = self.answer[4 + flexible + 4 :]  # after correlation, tags and throttle time
        if self.request.api in (Api.TXN_OFFSET_COMMIT, Api.ADD_PARTITIONS_TO_TXN):
            rest = _first_partition(rest, flexible=flexible)[4:]
        (code,) = struct.unpack_from(">h", rest)
        return int(code)


@dataclass
class _Fault:
    matches: Matches
    times: int | None  # None: all of them
    skip: int
    delay_s: float = 0.0
    held: Held | None = None
    cut_before: bool = False
    cut_after: bool = False

    def takes(self, request: Request) -> bool:
        """Whether the fault is for this request. Counts the requests."""
        if self.times == 0 or not self.matches(request):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class _Pace:
    """One direction of a link that carries so many bytes a second, for all senders together."""

    def __init__(self) -> None:
        self.bytes_per_s: float | None = None
        self._free_at = 0.0
        self._lock = threading.Lock()

    def wait(self, nbytes: int) -> None:
        """Return when so many more bytes have had their time on the wire."""
        with self._lock:
            per_s = self.bytes_per_s
            if per_s is None:
                return
            self._free_at = max(self._free_at, time.monotonic()) + nbytes / per_s
            until = self._free_at
        while (left := until - time.monotonic()) > 0 and self.bytes_per_s is not None:
            time.sleep(min(left, 0.1))


class Proxy:
    """Proxies for the length of a `with`. For each address that a broker advertises, one proxy leads to where the
    broker listens.

    Faults are kept in the order in which they were asked for. The first one that matches a request gets it. A fault
    happens to `times` requests (None: to all), after `skip` others that match have passed.
    """

    def __init__(self, brokers: Iterable[tuple[str, str]], behind: str = "") -> None:
        """`behind` is the brokers' address without the proxy, for code that must see the truth."""
        self._brokers = list(brokers)
        self.behind = behind or ",".join(target for _, target in self._brokers)
        self.seen: Counter[Api] = Counter()
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()
        self._listeners: list[socket.socket] = []
        self._connections: set[_Connection] = set()
        self._damages: list[bytes] = []
        self.harmed = 0
        self._to_brokers, self._to_clients = _Pace(), _Pace()

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""
        return ",".join(address for address, _ in self._brokers)

    def __enter__(self) -> Self:
        for address, target in self._brokers:
            listener = socket.create_server(_host_port(address), backlog=128)
            self._listeners.append(listener)
            threading.Thread(target=self._accept, args=(listener, target), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in self._listeners:
            _shut(listener)
        self.cut_all()
        for fault in self._faults:
            if fault.held is not None:
                fault.held.forsake()

    def _accept(self, listener: socket.socket, target: str) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(_host_port(target), timeout=60)
            except OSError:
                client.close()  # as a broker does that is down
                continue
            broker.settimeout(None)
            for each in (client, broker):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(self, client, broker)
            with self._lock:
                self._connections.add(connection)
            connection.start()

    # What a test asks for.

    def delay(self, matches: Matches, seconds: float, *, times: int | None = None, skip: int = 0) -> None:
        """Keep such requests for so long, and with each of them what comes after it on its connection."""
        self._add(_Fault(matches, times, skip, delay_s=seconds))

    def hold(self, matches: Matches, *, cut: bool = False, skip: int = 0, after: Held | None = None) -> Held:
        """Keep one such request until it is released, and with it what comes after it on its connection. With `cut`
        the connection breaks for its client, and only the request is kept: it comes late. With `after` this begins
        when that other request is held."""
        held = Held(cut=cut)
        such = matches if after is None else lambda request: after.arrived and matches(request)
        self._add(_Fault(such, 1, skip, held=held))
        return held

    def cut(self, matches: Matches, *, after: bool = False, times: int | None = 1, skip: int = 0) -> None:
        """Break the connection at such a request: (a) before it gets through, or (b) after the broker answered, so
        that the client never hears it."""
        self._add(_Fault(matches, times, skip, cut_before=not after, cut_after=after))

    def throttle(self, bytes_per_s: float | None) -> None:
        """From now on the link carries so many bytes a second each way, for all connections together. None: as many
        as it can."""
        self._to_brokers.bytes_per_s = self._to_clients.bytes_per_s = bytes_per_s

    def damage(self, text: bytes, *, times: int = 1) -> None:
        """Flip a bit of this text in so many of the answers that hold it, as faulty memory does. `harmed` counts
        them."""
        self._damages += [text] * times

    def heal(self) -> None:
        """End all faults. Requests that are held stay held until they are released."""
        with self._lock:
            for fault in self._faults:
                fault.times = 0
            self._damages.clear()
        self.throttle(None)

    def cut_all(self) -> None:
        """Break every connection."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()

    def _add(self, fault: _Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    # What connections ask for.

    def fault(self, request: Request) -> _Fault | None:
        """What happens to this request."""
        with self._lock:
            with contextlib.suppress(ValueError):
                self.seen[Api(request.api)] += 1
            return next((fault for fault in self._faults if fault.takes(request)), None)

    def to_broker(self, broker: socket.socket, data: bytes) -> None:
        _send(broker, data, self._to_brokers)

    def to_client(self, client: socket.socket, data: bytes) -> None:
        _send(client, data, self._to_clients)

    def damaged(self, answer: bytes) -> bytes:
        """The answer as it arrives."""
        with self._lock:
            for text in self._damages:
                if text in answer:
                    self._damages.remove(text)
                    self.harmed += 1
                    return answer.replace(text, bytes([text[0] ^ 1]) + text[1:], 1)
        return answer

    def forget(self, connection: "_Connection") -> None:
        with self._lock:
            self._connections.discard(connection)


class _Connection:
    """One client's connection, and the one to its broker that goes with it. A thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, broker: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._broker = broker
        self._late: Held | None = None
        self._last: int | None = None  # the connection breaks instead of delivering its answer

    def start(self) -> None:
        for way in (self._up, self._down):
            threading.Thread(target=self._run, args=(way,), daemon=True).start()

    def _run(self, way: Callable[[], None]) -> None:
        try:
            with contextlib.suppress(OSError):
                way()
        finally:
            if self._late is None or way == self._down:
                self.close()

    def close(self) -> None:
        _shut(self._client)
        _shut(self._broker)
        self._proxy.forget(self)

    def _up(self) -> None:
        while (frame := _frame(self._client)) is not None:
            request = Request.of(frame)
            fault = self._proxy.fault(request)
            if fault is None:
                self._pass(frame)
            elif fault.held is not None:
                self._hold(request, fault.held)
                if fault.held.cut:
                    return
            elif fault.cut_before:
                return
            else:
                time.sleep(fault.delay_s)
                if fault.cut_after:
                    self._last = request.correlation
                self._pass(frame)

    def _pass(self, frame: bytes) -> None:
        self._proxy.to_broker(self._broker, struct.pack(">i", len(frame)) + frame)

    def _hold(self, request: Request, held: Held) -> None:
        held.request = request
        self._late = held
        held._arrived.set()  # set before its client can know: code that waits for what comes after it misses nothing
        if held.cut:
            _shut(self._client)
        held._let_go.wait()
        self._pass(request.frame)

    def _down(self) -> None:
        while (frame := _frame(self._broker)) is not None:
            (correlation,) = struct.unpack_from(">i", frame)
            late = self._late
            if late is not None and late.request is not None and correlation == late.request.correlation:
                late.answer = frame
                late._answered.set()
                self._late = None
                if late.cut:
                    return
            if correlation == self._last:
                return
            if late is not None and late.cut:
                continue  # nobody is there to hear it
            self._proxy.to_client(self._client, struct.pack(">i", len(frame)) + self._proxy.damaged(frame))


def _frame(source: socket.socket) -> bytes | None:
    """The next length-delimited frame without its length; None at the connection's end."""
    head = _exactly(source, 4)
    return None if head is None else _exactly(source, struct.unpack(">i", head)[0])


def _exactly(source: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        got = source.recv(min(size - len(parts), 1 << 20))
        if not got:
            return None
        parts += got
    return bytes(parts)


def _send(target: socket.socket, data: bytes, pace: _Pace) -> None:
    if pace.bytes_per_s is None:
        target.sendall(data)
        return
    for at in range(0, len(data), _CHUNK):
        chunk = data[at : at + _CHUNK]
        pace.wait(len(chunk))
        target.sendall(chunk)


def _shut(end: socket.socket) -> None:
    """Close it, and wake whoever waits on it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)

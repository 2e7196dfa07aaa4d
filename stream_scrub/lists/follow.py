"""Steps 4 to 6 of a delta's life: follow the log, apply each sealed delta to a new index, swap the reference.

`Replay` is the pure part: records in, indexes out, every promise of the format checked. `Follower` runs it in a
thread beside a worker and answers the one question that the hot path asks: which index may I use now?
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from pyroaring import BitMap64

from stream_scrub.errors import Corrupt, ScrubError, StaleIndex, Unavailable
from stream_scrub.index import Filter, Index, Register
from stream_scrub.lists import wire
from stream_scrub.model import Deadline, LogReader, LogRecord

# Parts and seal are one transaction, at most this long (the publisher's transaction.timeout.ms, and a margin).
# Parts that the log's end shows without a seal for longer were not written by a publisher.
UNSEALED_MAX_S = 12.0
_RETRY_S = 0.5


class _Part(NamedTuple):
    offset: int
    side: str
    seq: int
    i: int
    value: bytes


class Replay:
    """The log so far as an index. Feed it every record in offset order; it raises Corrupt and then takes no more."""

    def __init__(self) -> None:
        self.index = Index.empty()
        self._parts: dict[str, list[_Part]] = {}
        self._corrupt: Corrupt | None = None

    @property
    def unsealed(self) -> int | None:
        """The offset of the first part that has no seal yet."""
        return min((parts[0].offset for parts in self._parts.values()), default=None)

    def take(self, record: LogRecord) -> Index | None:
        """The next index if this record is a seal. Raises Corrupt, naming the offset, and from then on always."""
        if self._corrupt is not None:
            raise self._corrupt
        try:
            return self._take(record)
        except Corrupt as error:
            self._corrupt = error
            raise

    def _take(self, record: LogRecord) -> Index | None:
        headers = dict(record.headers)
        part = headers.get("part")
        register = (record.key or b"").decode("utf-8", "replace")
        if part not in (b"adds", b"removes", b"seal") or record.value is None or not register:
            raise Corrupt(
                f"log offset {record.offset}: a record that is neither part nor seal; only publishers may write"
            )
        if headers.get("register") != record.key:
            raise Corrupt(f"log offset {record.offset}: the key and the header name different registers")
        if len(headers) < len(record.headers):
            raise Corrupt(
                f"log offset {record.offset}: a header occurs twice, and readers differ in which counts"
            )
        if part != b"seal":
            self._keep(register, record, headers)
            return None
        try:
            seal, content = _opened(record.value, headers.get("seq"))
            self.index = self._apply(register, seal, content, record.offset)
        except ValueError as error:
            raise Corrupt(f"log offset {record.offset}: register {register}: {error}") from error
        return self.index

    def _keep(self, register: str, record: LogRecord, headers: dict[str, bytes | None]) -> None:
        try:
            seq, i = _count(headers.get("seq")), _count(headers.get("i"))
        except ValueError as error:
            raise Corrupt(f"log offset {record.offset}: a part without its numbers") from error
        parts = self._parts.setdefault(register, [])
        if parts and parts[0].seq != seq:
            raise Corrupt(
                f"log offset {parts[0].offset}: register {register}: parts without seal, then others"
            )
        parts.append(_Part(record.offset, (headers["part"] or b"").decode(), seq, i, record.value or b""))

    def _apply(self, name: str, seal: wire.Seal, content: bytes, offset: int) -> Index:
        """Check a seal against its parts and the register before it. Raises ValueError with what is wrong."""
        parts = self._parts.pop(name, [])
        effective_at = datetime.fromisoformat(seal.effective_at)
        if effective_at.tzinfo is None:
            raise ValueError("the effective date has no zone")
        base = self.index.registers.get(name) or Register.empty(name, seal.register_kind, effective_at)
        if seal.register != name or seal.register_kind is not base.kind:
            raise ValueError("the seal is of another register")
        if seal.seq != base.seq + 1:
            raise ValueError(f"sequence {seal.seq} follows {base.seq}: a delta is missing or doubled")
        if wire.chain_of(base.chain, content) != seal.chain:
            raise ValueError("the chain is broken: this seal does not continue the one before it")
        adds, removes = _sealed(parts, seal)
        numbers, filter_ = _after(base, seal, adds, removes)
        return self.index.with_register(
            Register(
                name,
                base.kind,
                numbers,
                seal.seq,
                seal.chain,
                effective_at,
                offset,
                seal.source.name,
                filter_,
            )
        )


def _after(base: Register, seal: wire.Seal, adds: BitMap64, removes: BitMap64) -> tuple[BitMap64, Filter]:
    """The register's numbers after a seal, and a filter for them. Raises ValueError.

    A `full` part set in mid-log restates the register: it must be what the deltas gave.
    """
    if seal.kind == "full" and base.seq > 0:
        if removes or adds != base.numbers or seal.count != len(adds):
            raise ValueError("a full restatement differs from what the deltas before it gave")
        return base.numbers, base.filter
    if not base.numbers.isdisjoint(adds) or not removes.issubset(base.numbers):
        raise ValueError("it adds numbers that the register holds, or removes some that it does not hold")
    numbers, filter_ = base.changed(adds, removes)
    if len(numbers) != seal.count:
        raise ValueError(f"the register would hold {len(numbers)} numbers, not {seal.count}")
    return numbers, filter_


def _opened(value: bytes, seq: bytes | None) -> tuple[wire.Seal, bytes]:
    """A seal and the content that its chain covers, if its header tells the same sequence. Raises ValueError."""
    seal, content = wire.decode_seal(value)
    if seq != b"%d" % seal.seq:
        raise ValueError("the seal and its header differ in their sequence")
    return seal, content


def _count(header: bytes | None) -> int:
    """The number in a header, in the one spelling that publishers use. Raises ValueError."""
    number = int(header or b"")
    if header != b"%d" % number or number < 0:
        raise ValueError("not a plain number")
    return number


def _sealed(parts: list[_Part], seal: wire.Seal) -> tuple[BitMap64, BitMap64]:
    """What the parts add and remove, if they are the ones that were sealed. Raises ValueError."""
    if [part.seq for part in parts] != [seal.seq] * len(parts) or [p.i for p in parts] != list(
        range(len(parts))
    ):
        raise ValueError("the parts are not the seal's, or not in order")
    if wire.digests([part.value for part in parts]) != seal.parts:
        raise ValueError("a part's bytes are not the ones that were sealed")
    adds, removes = _union(parts, "adds"), _union(parts, "removes")
    if (len(adds), len(removes)) != (seal.adds, seal.removes):
        raise ValueError(
            f"the parts hold {len(adds)} adds and {len(removes)} removes, not {seal.adds} and {seal.removes}"
        )
    return adds, removes


def _union(parts: list[_Part], side: str) -> BitMap64:
    whole = BitMap64()
    held = 0
    for part in parts:
        if part.side == side:
            try:
                numbers = BitMap64.deserialize(part.value)
            except (ValueError, IndexError) as error:
                raise ValueError("a part is not a portable 64-bit roaring bitmap") from error
            held += len(numbers)
            whole |= numbers
    if held != len(whole):
        raise ValueError("two parts hold the same number")
    return whole


def replay_to_end(
    reader: LogReader, deadline: Deadline, on_record: Callable[[int], None] = lambda _: None
) -> Index:
    """Read the log until its end is confirmed. The deadline is for silence: every record that arrives renews it.

    Raises Corrupt, Unavailable, Refused.
    """
    replay = Replay()
    patience = deadline.left()
    while True:
        records, at_end = reader.read(1.0)
        for record in records:
            replay.take(record)
            on_record(record.offset)
        if records:
            deadline = Deadline.after(patience)
        if at_end:
            return replay.index
        if deadline.passed:
            raise Unavailable("the end of the opposition log could not be reached in time")


class Follower:
    """Follows the log in a thread of its own. `usable` never blocks; `index` is replaced, never changed.

    `open_log` connects at the log's start; `on_swap(index, seconds)` is told of each new index and how long the
    applying took, `on_trouble(text)` of each new reason why the log cannot be followed.
    """

    def __init__(
        self,
        open_log: Callable[[], LogReader],
        *,
        on_swap: Callable[[Index, float], None] = lambda _index, _s: None,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._open_log = open_log
        self._on_swap = on_swap
        self._on_trouble = on_trouble
        self._replay = Replay()
        self._stopping = threading.Event()
        self._started = False
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._confirmed_at: float | None = None
        self._unsealed_since: float | None = None
        self.index = Index.empty()
        self.corrupt: Corrupt | None = None
        self.trouble = ""

    def start(self) -> None:
        """Begin to follow."""
        self._started = True
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread; waits for it at most `timeout_s`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def lag_s(self) -> float | None:
        """Seconds since this follower was last known to be at the log's end; None before the first time."""
        return None if self._confirmed_at is None else time.monotonic() - self._confirmed_at

    def usable(self, index_lag_max_s: float) -> Index:
        """The index to judge by now. Raises StaleIndex, with a cause and a sentence, when none is safe."""
        if self.corrupt is not None:
            raise StaleIndex("log-corrupt", f"the opposition log is corrupt: {self.corrupt}")
        if self._started and not self._thread.is_alive():
            raise RuntimeError("the follower's thread has ended: a fault of ours, see the traceback above")
        lag = self.lag_s
        if lag is None or lag > index_lag_max_s:
            if self.trouble:
                raise StaleIndex("log-unreachable", f"the opposition log cannot be followed: {self.trouble}")
            if lag is None:
                raise StaleIndex("log-behind", "the opposition log is being read for the first time")
            raise StaleIndex("log-behind", f"the opposition log's end was last reached {lag:.0f} s ago")
        if self._unsealed_since is not None:
            raise StaleIndex(
                "log-unsealed", f"log offset {self._replay.unsealed}: parts of a delta without its seal"
            )
        index = self.index
        if index.position < 0:
            raise StaleIndex(
                "no-seal", "the opposition log holds no list yet: import one with `stream-scrub lists import`"
            )
        return index

    def _run(self) -> None:
        reader: LogReader | None = None
        while not self._stopping.is_set():
            try:
                if reader is None:
                    reader = self._open_log()
                self._step(reader)
            except Corrupt as error:
                self.corrupt = error
                self._tell(str(error))
                break
            except (
                ScrubError
            ) as error:  # whatever the client says meanwhile, the log is still there: ask again
                self._tell(str(error))
                self._stopping.wait(_RETRY_S)
        if reader is not None:
            with suppress(ScrubError):
                reader.close()

    def _step(self, reader: LogReader) -> None:
        asked_at = time.monotonic()
        records, at_end = reader.read(0.1)
        started = time.perf_counter()
        for record in records:
            index = self._replay.take(record)
            if index is not None:
                self.index = index
                now = time.perf_counter()
                self._on_swap(index, now - started)
                started = now
        if at_end:
            self._confirmed_at = asked_at
            self.trouble = ""
            self._check_unsealed()

    def _check_unsealed(self) -> None:
        offset = self._replay.unsealed
        if offset is None:
            self._unsealed_since = None
        elif self._unsealed_since is None:
            self._unsealed_since = time.monotonic()
        elif time.monotonic() - self._unsealed_since > UNSEALED_MAX_S:
            raise Corrupt(f"log offset {offset}: parts without a seal for more than {UNSEALED_MAX_S:.0f} s")

    def _tell(self, text: str) -> None:
        if text != self.trouble:
            self.trouble = text
            self._on_trouble(text)

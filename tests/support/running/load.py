"""A load that goes on while workers, publishers or brokers suffer something."""

import json
import threading
import time

from confluent_kafka import KafkaError, Message, Producer

from tests.support.running.clients import Address, properties
from tests.support.running.prospects import prospect, spell

_TICK_S = 0.02
KEYS = 977


class _Sender(threading.Thread):
    """Sends records at a steady rate until it is finished, as a careful producer does: in order, and none twice when
    a broker dies.
    """

    def __init__(self, address: Address, topic: str, per_s: int) -> None:
        super().__init__(name=f"sender of {topic}", daemon=True)
        self._options = properties(address) | {
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": "lz4",
            "log_level": "0",  # tests say enough about brokers that die
        }
        self._topic = topic
        self._per_s = per_s
        self._stopping = threading.Event()
        self.sent = 0

    def record(self, at: int) -> tuple[bytes, bytes]:
        """The key and value of the record at that place."""
        raise NotImplementedError

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """A record was acknowledged, or given up."""

    def run(self) -> None:
        producer = Producer(self._options)
        begun = time.monotonic()
        while not self._stopping.is_set():
            for at in range(self.sent, int((time.monotonic() - begun) * self._per_s)):
                key, value = self.record(at)
                while not self._produced(producer, key, value):
                    producer.poll(_TICK_S)
                self.sent += 1
            producer.poll(0)
            time.sleep(_TICK_S)
        assert producer.flush(120) == 0, "not all of it was delivered"

    def _produced(self, producer: Producer, key: bytes, value: bytes) -> bool:
        try:
            producer.produce(self._topic, value, key, on_delivery=self.delivered)
        except BufferError:  # the client's queue is full while the broker is away
            return False
        return True

    def stop(self) -> None:
        """Send nothing more; a test that failed does not wait for what is under way."""
        self._stopping.set()

    def finish(self) -> int:
        """Stop, and wait until everything is delivered. Returns how many records there were."""
        self.stop()
        self.join(130)
        assert not self.is_alive()
        return self.sent


class Load(_Sender):
    """Prospects with keys, in the order of their ids. They take these numbers one after another."""

    def __init__(self, address: Address, topic: str, numbers: list[int], per_s: int) -> None:
        super().__init__(address, topic, per_s)
        self._numbers = numbers

    def record(self, at: int) -> tuple[bytes, bytes]:
        number = self._numbers[at * 7 % len(self._numbers)]
        return b"%d" % (at % KEYS), prospect(at, spell(number, at))


class OptOuts(_Sender):
    """Opt-outs, each of a number of its own."""

    def __init__(self, address: Address, topic: str, first: int, per_s: int) -> None:
        super().__init__(address, topic, per_s)
        self._first = first

    @property
    def numbers(self) -> set[int]:
        """The numbers that have opted out."""
        return set(range(self._first, self._first + self.sent))

    def record(self, at: int) -> tuple[bytes, bytes]:
        number = f"+{self._first + at}"
        asked = {"request": "opt-out", "number": number, "id": f"o{at}"}
        return number.encode(), json.dumps(asked).encode()

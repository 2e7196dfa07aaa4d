"""A load that goes on while something happens to workers or brokers."""

import threading
import time

from confluent_kafka import Producer

from tests.support.clients import Address, properties
from tests.support.prospects import prospect, spell

_TICK_S = 0.02
KEYS = 977


class Load(threading.Thread):
    """Prospects at a steady rate until it is finished, as a careful lead producer sends them: keyed, in the order of
    their ids, and not twice when a broker dies. Of these numbers, one after another.
    """

    def __init__(self, address: Address, topic: str, numbers: list[int], per_s: int) -> None:
        super().__init__(name="load", daemon=True)
        self._options = properties(address) | {
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": "lz4",
            "log_level": "0",  # of brokers that die there is enough to read
        }
        self._topic = topic
        self._numbers = numbers
        self._per_s = per_s
        self._stopping = threading.Event()
        self.sent = 0

    def run(self) -> None:
        producer = Producer(self._options)
        begun = time.monotonic()
        while not self._stopping.is_set():
            for at in range(self.sent, int((time.monotonic() - begun) * self._per_s)):
                number = self._numbers[at * 7 % len(self._numbers)]
                producer.produce(self._topic, prospect(at, spell(number, at)), b"%d" % (at % KEYS))
                self.sent += 1
            producer.poll(0)
            time.sleep(_TICK_S)
        assert producer.flush(120) == 0, "the load was not delivered"

    def finish(self) -> int:
        """Stop, when all of it is delivered; how many they were."""
        self._stopping.set()
        self.join(130)
        assert not self.is_alive()
        return self.sent

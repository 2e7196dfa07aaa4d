"""One broker for several processes: the first one that asks starts it, and is the last one to leave."""

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kafka.broker import Kafka


@contextmanager
def shared(folder: Path, start: Callable[[], Kafka]) -> Iterator[Kafka]:
    """The Kafka of all processes that name this folder. The end of it waits for the others, in the process that has
    started the broker.
    """
    folder.mkdir(exist_ok=True)
    place = folder / "broker.json"
    with (folder / "users").open("a") as users, (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        ours = not place.exists()
        kafka = start() if ours else Kafka.join(json.loads(place.read_text()))
        place.write_text(json.dumps(kafka.described))
        fcntl.flock(lock, fcntl.LOCK_UN)
        try:
            yield kafka
        finally:
            while ours:
                fcntl.flock(lock, fcntl.LOCK_EX)
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    fcntl.flock(users, fcntl.LOCK_SH)  # what failed may have given it up
                    fcntl.flock(lock, fcntl.LOCK_UN)
                    time.sleep(0.1)
                else:
                    place.unlink()
                    kafka.__exit__(None, None, None)
                    break

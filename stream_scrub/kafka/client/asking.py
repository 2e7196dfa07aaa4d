"""The admin client of processes that run for weeks."""

import threading
import weakref
from typing import Any

from confluent_kafka import admin

_lock = threading.Lock()
_alive: "weakref.WeakSet[AdminClient]" = weakref.WeakSet()


class AdminClient(admin.AdminClient):
    """As the client library's, and polled by `poll_all`."""

    # librdkafka has something to tell of each connection that fails. Without a poll that piles up, 1 MB in some minutes
    # for each client while the brokers are away, also in those that have nothing to ask then.

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        with _lock:
            _alive.add(self)


def poll_all() -> None:
    """Drop what this process's admin clients have to tell. Returns at once. Whoever asks for an end calls it, which goes on
    while the brokers are away."""
    with _lock:
        alive = list(_alive)
    for each in alive:
        each.poll(0)

"""A server whose answers never end."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PATIENCE_S = 10.0  # then the headers end: a client that waits for them fails its test, and does not hang


@contextmanager
def dripping(every_s: float) -> Iterator[tuple[str, threading.Event]]:
    """Serve one connection by headers of a byte now and then: its URL, and whether they have ended."""
    ended = threading.Event()

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
            while not ended.wait(every_s):
                connection.sendall(b"a")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,), daemon=True)
        thread.start()
        late = threading.Timer(PATIENCE_S, ended.set)
        late.daemon = True
        late.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", ended
        finally:
            late.cancel()
            ended.set()
            thread.join()

"""A question to the brokers that a thread of its own asks again every few seconds."""

import threading
from abc import ABC, abstractmethod
from typing import Self

from stream_scrub.errors import ScrubError
from stream_scrub.model import Deadline

_ASK_S = 5.0
_SOON_S = 0.25  # until the first answer that settles something
_CLOSE_S = 2 * _ASK_S


class BackgroundLook(ABC):
    """Looks every `every_s` seconds while it is entered, or while it is started and not stopped."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._trouble = (
            "no broker has answered yet"  # why the last look failed; a look that succeeds empties it
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="looks", daemon=True)

    @abstractmethod
    def look(self, deadline: Deadline) -> bool:
        """Look once; whether that settled something. For the thread, or for a command that has none. Raises Unavailable,
        Refused."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(_CLOSE_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        is_settled = False
        while not self._stopping.is_set():
            try:
                is_settled |= self.look(Deadline.after(_ASK_S))
            except ScrubError as error:
                self._trouble = str(error)
            self._stopping.wait(self._every_s if is_settled else min(self._every_s, _SOON_S))

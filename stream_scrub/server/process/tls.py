"""TLS by the files of a certificate and its key. New files count for the next connection, without a restart."""

import ssl
from collections.abc import Callable
from pathlib import Path

from stream_scrub.config import Http
from stream_scrub.errors import Refused


class Certificate:
    """A certificate that may be renewed. `context` is what connections are made with. `tell` is called with the
    reason when new files cannot be used, or with "" when they were taken. Raises Refused if the first ones cannot be
    used."""

    def __init__(self, http: Http, tell: Callable[[str], None]) -> None:
        self._files = (Path(http.tls_cert), Path(http.tls_key))
        self._tell = tell
        self.context = _context()
        self._seen = self._state()
        if why := self._load(self.context):
            raise Refused(f"http.tls_cert, http.tls_key: {why}")

    def look(self) -> None:
        """Take the files anew if they have changed. A pair that does not fit (one of both was replaced so far, say) is
        tried in a context of its own first, and leaves the last good one in use."""
        seen = self._state()
        if seen == self._seen:
            return
        self._seen = seen
        why = self._load(_context()) or self._load(self.context)
        self._tell(why)

    def _state(self) -> list[tuple[int, ...] | None]:
        return [_seen(path) for path in self._files]

    def _load(self, context: ssl.SSLContext) -> str:
        """Why the files cannot be used; empty when they are in use now."""
        try:
            context.load_cert_chain(*self._files, password=_no_password)
        except ssl.SSLError as error:
            return f"{self._files[0]} and {self._files[1]} are no certificate with its key ({error.reason})"
        except (OSError, ValueError) as error:
            return f"the files cannot be read ({getattr(error, 'strerror', None) or error})"
        return ""


def _context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made


def _no_password() -> str:
    raise ValueError("the key asks for a password: keep it without one, where only this user can read it")


def _seen(path: Path) -> tuple[int, ...] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino

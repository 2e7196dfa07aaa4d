"""Logs a problem that may last: a line when it begins, one a minute while it lasts, and one when it is over."""

import re
import time

from structlog.typing import FilteringBoundLogger

_REMIND_S = 60.0
_KINDS_MAX = 16
_DIGITS = re.compile(r"\d+")
_CODE = re.compile(
    r"\(([A-Z_]{4,}): "
)  # the client's own name of an error, as `kafka/client/translate.py` writes it


class RecurringProblem:
    """One problem that may come again and again. One thread."""

    def __init__(self, log: FilteringBoundLogger, begins: str, over: str) -> None:
        """`begins` and `over` are the lines' events."""
        self._log = log
        self._begins = begins
        self._over = over
        self._since: float | None = None
        self._logged_at = 0.0
        self._kinds: set[str] = set()

    def tell(self, why: str, **more: object) -> None:
        """The problem is there. Logs a line (a) when it is new, (b) when it has another cause (another error code of
        the client's, or other words), or (c) when the last line is a minute old."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._kinds.clear()
        code = _CODE.search(why)
        kind = _DIGITS.sub("#", why) if code is None else code[1]
        if now - self._logged_at < _REMIND_S and (kind in self._kinds or len(self._kinds) >= _KINDS_MAX):
            return
        self._kinds.add(kind)
        self._logged_at = now
        self._log.warning(self._begins, why=why, **more)

    def end(self) -> None:
        """The problem is over, if there was one."""
        if self._since is not None:
            self._log.info(self._over, waited_s=round(time.monotonic() - self._since, 1))
            self._since = None
            self._logged_at = 0.0

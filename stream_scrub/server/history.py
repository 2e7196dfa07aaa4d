"""`POST /v1/history`: when a number was in which register, and by which list or request. It reads the whole log, in
another thread, and no more than one at a time: checks must not wait for it."""

import asyncio
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Corrupt, Refused, StaleIndex, Unavailable
from stream_scrub.numbering import REGIONS
from stream_scrub.server import bodies
from stream_scrub.server.beside import beside
from stream_scrub.server.problems import invalid, stale
from stream_scrub.server.questions import Questions


class AskedNumber(msgspec.Struct, forbid_unknown_fields=True):
    """A number as somebody typed it, and the region in which it is read."""

    number: str | int
    region: str | None = None


HISTORY_BYTES_MAX = 4096  # of a body: one number
_ASKED = msgspec.json.Decoder(AskedNumber)


class HistoryDesk:
    """Answers histories."""

    def __init__(self, settings: Settings, questions: Questions, log: FilteringBoundLogger) -> None:
        self._settings = settings
        self._questions = questions
        self._log = log
        self._one = asyncio.Semaphore(1)

    @property
    def is_busy(self) -> bool:
        """Whether another history is being read."""
        return self._one.locked()

    async def answer(self, body: bytes) -> Any:
        """The history. Raises Problem (422, 503)."""
        asked = bodies.decoded(_ASKED, body)
        bodies.need_once(body)
        region = (asked.region or self._settings.prospect.default_region).upper()
        if region not in REGIONS:
            raise invalid([("region", "this is no region with a numbering plan (ISO 3166-1, as in FR)")])
        try:
            async with self._one:
                return await beside(
                    self._questions.history, self._settings, self._log, str(asked.number), region
                )
        except ConfigError as error:
            raise invalid([("number", "this is no valid number: write it as +33612345678")]) from error
        except StaleIndex as error:
            raise stale(error) from error
        except Corrupt as error:
            raise stale(StaleIndex("log-corrupt", str(error))) from error
        except (Unavailable, Refused) as error:
            raise stale(StaleIndex("log-unreachable", str(error))) from error

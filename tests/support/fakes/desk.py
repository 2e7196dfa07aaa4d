"""The publisher's half of `opposition.refused`, in memory: what a page reads of it, and what a page's requests do to it."""

from datetime import UTC, datetime

from stream_scrub.kafka.requests_writer import RequestPlace
from stream_scrub.model import LogRecord, Request
from stream_scrub.requests.daemon import refused_record
from stream_scrub.requests.lifts import Oppositions
from stream_scrub.requests.parse_request import RequestTerms
from stream_scrub.requests.requests_to_delta import KnownScopes, take


class Desk:
    """Requests that come are answered at once. `refused` is the topic; `opposed` are the numbers that joined a register."""

    def __init__(self) -> None:
        self.refused: list[LogRecord] = []
        self.opposed: list[tuple[str, int]] = []
        self._came = 0

    def ask(
        self, value: bytes | None, key: bytes | None = None, at_ms: int = 0, *, slim: bool = False, **more
    ) -> None:
        """One request, from anybody."""
        now = at_ms or int(datetime.now(UTC).timestamp() * 1000) + self._came
        request = Request(0, self._came, now, key, value, **more)
        self._came += 1
        wanted, turned, _ = take([request], RequestTerms(), lambda _: None, Oppositions(), {}, KnownScopes())
        self.opposed += [(name, number) for name, each in wanted.items() for number in each.numbers]
        for each in turned:
            out = refused_record(each, "opposition.requests", "anId", slim=slim)
            self.refused.append(LogRecord(len(self.refused), out.key, out.value, out.headers, now))

    def send(self, key, value, told, _headers=()) -> None:
        """As a writer of requests."""
        self.ask(value, key)
        told(RequestPlace(0, self._came - 1))

    def close(self) -> None:
        """Nothing."""

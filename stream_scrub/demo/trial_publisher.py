"""The publisher of `serve --trial`: opt-outs, consents and withdrawals that the trial accepts become deltas at once.

The publisher daemon needs committed offsets and fencing, which the embedded broker lacks. What requests mean is the
daemon's own code.
"""

import threading
from collections import ChainMap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from hashlib import sha256

from stream_scrub.config import Settings
from stream_scrub.imports.consents import ConsentLaw
from stream_scrub.index import Register
from stream_scrub.kafka import clients
from stream_scrub.kafka.embedded import EmbeddedReader
from stream_scrub.kafka.log_writer import KafkaLogWriter
from stream_scrub.log.encode import publish
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import replay_to_end
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import Deadline, Logger, LogReader, Request, family
from stream_scrub.requests.lifts import Oppositions
from stream_scrub.requests.parse_request import RequestTerms
from stream_scrub.requests.requests_to_delta import KnownScopes, publication_order, take
from stream_scrub.scrub import scrubbing

_WAIT_S = 0.1
_STOP_S = 5.0


@contextmanager
def publishing(settings: Settings, log: Logger) -> Iterator[None]:
    """Publish requests in a thread, for the length of a block."""
    stopping = threading.Event()
    publisher = _TrialPublisher(settings, log)
    thread = threading.Thread(target=publisher.run, args=(stopping,), name="trial-publisher", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(_STOP_S)


class _TrialPublisher:
    def __init__(self, settings: Settings, log: Logger) -> None:
        self._settings, self._log = settings, log
        self._rulebook = scrubbing.law(settings)
        self._law = ConsentLaw(self._rulebook, proof_required=False)
        self._oppositions = Oppositions()
        self._scopes = KnownScopes(most=settings.lists.max_scopes)
        self._replay = Replay(keep_ends=True)
        self._writers: dict[str, KafkaLogWriter] = {}

    def run(self, stopping: threading.Event) -> None:
        """Read the topic of requests from its beginning; one partition, where every record is a request."""
        read = 0
        brokers = clients.Brokers(self._settings, self._log)
        with ExitStack() as stack:
            reader = EmbeddedReader(self._settings.kafka.bootstrap_servers, [self._settings.topics.requests])
            stack.callback(reader.close)
            log_reader = stack.enter_context(brokers.reading())
            for name in self._settings.lists.registers:
                writer = brokers.log_writer(name)
                stack.callback(writer.close)
                self._writers[name] = writer
            while not stopping.is_set():
                requests = [
                    Request(0, read + place, each.timestamp_ms, each.key, each.value, each.headers)
                    for place, each in enumerate(reader.read(_WAIT_S))
                ]
                read += len(requests)
                if requests:
                    self._publish(requests, log_reader)

    def _publish(self, requests: Sequence[Request], log_reader: LogReader) -> None:
        log_reader.seek(self._replay.known("").upto + 1)
        replay_to_end(log_reader, Deadline.after(clients.ASK_S), replay=self._replay)
        registers, now = self._replay.index.registers, datetime.now(UTC)
        terms = RequestTerms(
            frozenset(self._settings.lists.registers),
            ChainMap({name: each.kind for name, each in registers.items()}, dict(self._rulebook.kinds)),
            self._settings.prospect.default_region,
            now,
            self._replay.index.parts(),
            self._law,
            self._settings.prospect.default_campaign,
        )
        wanted = take(requests, terms, lambda _: None, self._oppositions, registers, self._scopes).wanted
        for name in (each for names in publication_order(wanted) for each in names):
            asked = wanted[name]
            base = registers.get(name) or Register.empty(name, asked.kind, now)
            known = self._replay.known(name)
            source = DeltaSource(self._settings.topics.requests, sha256(b"".join(asked.lines)).hexdigest())
            effective_at = base.effective_at if base.seq else now
            delta = asked.delta(base, known.ends)
            publish(self._writers[family(name)], base, delta, effective_at, source, known=known)

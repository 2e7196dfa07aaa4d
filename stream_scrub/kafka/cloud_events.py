"""The headers that make an emitted prospect a CloudEvent (version 1.0, Kafka's binary content mode): its value is the data.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from collections.abc import Iterable
from typing import NamedTuple

from stream_scrub.model import Header

TYPES = (b"stream-scrub.prospect.blocked", b"stream-scrub.prospect.allowed")  # indexed by the verdict
_VERSION, _SOURCE, _TYPE, _ID, _TIME = "ce_specversion", "ce_source", "ce_type", "ce_id", "ce_time"
NAMES = frozenset({_VERSION, _SOURCE, _TYPE, _ID, _TIME})
CONTENT_TYPE = "content-type"
_JSON: Header = (CONTENT_TYPE, b"application/json")
_STRUCTURED = b"application/cloudevents"  # then readers would look for the event in the value


class BatchEvents(NamedTuple):
    """What the extension makes a batch's events of, as `CloudEvents.headers` makes one record's. `types`: by the places of
    the output topics."""

    source: bytes
    types: list[bytes]
    moment: bytes


class CloudEvents:
    """Makes headers for events of one source, a URI. `nbytes`: the most that they take in a record."""

    def __init__(self, source: str) -> None:
        self._source = source.encode()
        self._same: list[Header] = [(_VERSION, b"1.0"), (_SOURCE, source.encode())]
        longest = self.headers((), ("t" * 249, 1 << 31, 1 << 63), b"t" * 24, allowed=True, stamped=True)
        self.nbytes = sum(len(name) + len(value or b"") + 8 for name, value in longest)

    def headers(
        self,
        came: Iterable[Header] | None,
        place: tuple[str, int, int],
        moment: bytes,
        *,
        allowed: bool,
        stamped: bool,
    ) -> list[Header]:
        """A record's headers, with those of its event. They replace a producer's own of these names.

        `place`: topic, partition and offset of what was judged, which gives the id: a repeated record has the same one.
        `moment`: of the verdict, as on its stamp. `stamped`: the stamp is in the value, so that is JSON."""
        made = [each for each in came if _stays(each, stamped=stamped)] if came else []
        made += self._same
        topic, partition, offset = place
        made.append((_TYPE, TYPES[allowed]))
        made.append((_ID, f"{topic}/{partition}/{offset}".encode()))
        made.append((_TIME, moment))
        if stamped:
            made.append(_JSON)
        return made

    def of_batch(self, inputs: int, moment: bytes) -> BatchEvents:
        """The events of a batch from so many input topics: each has its output for blocked prospects, then for allowed."""
        return BatchEvents(self._source, [*TYPES] * inputs, moment)


def events_of(source: str) -> CloudEvents | None:
    """The events of a source; None if that is empty."""
    return CloudEvents(source) if source else None


def _stays(header: Header, *, stamped: bool) -> bool:
    name, value = header[0].lower(), header[1] or b""
    if name == CONTENT_TYPE:
        return not stamped and not value.lower().startswith(_STRUCTURED)
    return name not in NAMES


def without_event(headers: Iterable[Header]) -> list[Header]:
    """The headers without those of an event of ours. A producer's own event stays."""
    kept = list(headers)
    is_ours = any(name == _TYPE and value in TYPES for name, value in kept)
    return [each for each in kept if each[0] not in NAMES] if is_ours else kept

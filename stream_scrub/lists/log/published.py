"""Whether a list was published: what a publisher that was killed in between finds out from the log."""

from stream_scrub.errors import Corrupt
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.scan import batches
from stream_scrub.model import LogReader


def find(
    reader: LogReader, after: int, register: str, source: wire.Source, quiet_s: float
) -> tuple[wire.Seal, int] | None:
    """The register's first seal behind the offset `after` that came from that list, and its own offset; None when
    there is none. Raises as `past.batches`. Leaves the reader anywhere.
    """
    for records, _ in batches(reader, after + 1, quiet_s):
        for record in records:
            headers = dict(record.headers)
            if record.offset <= after or headers.get("part") != b"seal" or record.key != register.encode():
                continue
            try:
                seal, _ = wire.decode_seal(record.value or b"")
            except ValueError as error:
                raise Corrupt(str(error), record.offset) from error
            if seal.source == source:
                return seal, record.offset
    return None

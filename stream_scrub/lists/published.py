"""Whether a list was published: what a publisher that was killed in between finds out from the log."""

from stream_scrub.errors import Corrupt, Unavailable
from stream_scrub.lists import wire
from stream_scrub.model import Deadline, LogReader


def find(
    reader: LogReader, after: int, register: str, source: wire.Source, deadline: Deadline
) -> tuple[wire.Seal, int] | None:
    """The register's first seal behind the offset `after` that came from that list, and its own offset; None when
    there is none. The deadline is for silence: every record that arrives renews it, for a list may be as long as it likes.
    Raises Corrupt, Unavailable, Refused. Leaves the reader anywhere.
    """
    patience = deadline.left()
    reader.seek(after + 1)
    while True:
        records, at_end = reader.read(0.5)
        for record in records:
            headers = dict(record.headers)
            if record.offset <= after or headers.get("part") != b"seal" or record.key != register.encode():
                continue
            try:
                seal, _ = wire.decode_seal(record.value or b"")
            except ValueError as error:
                raise Corrupt(f"log offset {record.offset}: {error}") from error
            if seal.source == source:
                return seal, record.offset
        if at_end:
            return None
        if records:
            deadline = Deadline.after(patience)
        if deadline.passed:
            raise Unavailable("the opposition log cannot be read: nothing comes")

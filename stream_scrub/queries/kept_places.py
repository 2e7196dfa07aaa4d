"""The positions of each number's records on a topic, kept in `files.index_dir`, so that the next dossier reads only
records that may have its number, and new ones.

A file covers 16,384 offsets of a partition. It is written when all of these can be read, and never changes. It
proves nothing: the caller reads and compares the records. Files may be deleted at any time.
"""

import os
import re
import zlib
from array import array
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scrub.log import snapshot
from stream_scrub.model import LogReader, LogRecord, Progress
from stream_scrub.numbering import DIGITS_MAX
from stream_scrub.queries.committed_offsets import records_between
from stream_scrub.stamp import header_in

SPAN = 1 << 14  # offsets of one file
_LOW = 0xFFFF_FFFF  # a number is kept by its lowest 32 bits: two of one country hardly ever share them
_CRC_BYTES, _ENTRY_BYTES = 4, 6
_NUMBER = re.compile(rb"\+(\d{5,%d})" % DIGITS_MAX)
_ANY = 0  # in place of the numbers of a record that names too many
_NAMED_MAX = 200  # twice those that a prospect may have


class Places(NamedTuple):
    """What one file has: the lowest 32 bits of each number on a record, and the distance of the record from the file's first
    offset."""

    numbers: NDArray[np.uint32]
    places: NDArray[np.uint16]

    def of(self, span: int, number: int, first: int) -> list[int]:
        """The offsets from `first` on of records that may name the number, in order, each once. `span`: the file's name."""
        matches = (self.numbers == number & _LOW) | (self.numbers == _ANY)
        found = np.unique(self.places[matches]) + np.int64(span * SPAN)
        offsets: list[int] = found[found >= first].tolist()
        return offsets


class _PlacesMade:
    """What the next file will have."""

    def __init__(self, span: int) -> None:
        self.span, self.numbers, self.places = span, array("I"), array("H")

    def take(self, record: LogRecord, number: int) -> bool:
        """The next record, and whether it may name the number."""
        # Stamps write numbers with a plus. To decode each stamp would take four times as long.
        digits = _NUMBER.findall(record.value or b"")
        if record.headers:
            digits += _NUMBER.findall(header_in(record.headers) or b"")
        numbers = set(map(int, digits))
        is_named = number in numbers
        if len(numbers) > _NAMED_MAX:
            numbers = {_ANY}
        self.numbers.extend([each & _LOW for each in numbers])
        self.places.extend([record.offset % SPAN] * len(numbers))
        return is_named

    def content(self) -> bytes:
        """What stands in the file, behind its checksum."""
        return np.array(self.numbers, "<u4").tobytes() + np.array(self.places, "<u2").tobytes()


class KeptPlaces:
    """The files of one partition, in the folder `index/topic/id/partition`. Methods raise OSError."""

    def __init__(self, index: Path, topic: str, identity: str, partition: int) -> None:
        """`identity`: the topic's id, in Base64. Files of an earlier topic of this name are deleted. Raises OSError."""
        identity = identity.replace("/", "-")
        self._topic, self._folder = topic, index / topic / identity / str(partition)
        # A file that was moved here from another partition is damaged.
        self._seed = zlib.crc32(f"{topic}/{identity}/{partition}".encode())
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for earlier in (index / topic).iterdir():
            # Only our own: the user may have named a folder by mistake.
            for each in earlier.glob("*/*") if earlier.name != identity else ():
                if _is_ours(each):
                    each.unlink(missing_ok=True)

    def records(self, reader: LogReader, number: int, progress: Progress) -> Iterator[LogRecord]:
        """Yield the partition's records that may name the number, in order, and write the files that are missing. Raises
        Unavailable, OSError."""
        first, end = reader.bounds()
        self._delete_wrong(reader, first, end)
        spans = ((span, self._read(span)) for span in range(first // SPAN, -(-end // SPAN)))
        for is_missing, run in groupby(spans, key=lambda each: each[1] is None):
            if is_missing:
                begins = [span * SPAN for span, _ in run]
                yield from self._made(
                    reader, max(begins[0], first), min(begins[-1] + SPAN, end), number, progress
                )
                continue
            for span, places in run:
                if places is not None and (offsets := places.of(span, number, first)):
                    # From the first to the last one: to begin elsewhere takes as long as to read thousands.
                    records = records_between(reader, offsets[0], offsets[-1] + 1, "outputs")
                    offsets_wanted = frozenset(offsets)
                    yield from (record for record in records if record.offset in offsets_wanted)

    def _made(
        self, reader: LogReader, begin: int, end: int, number: int, progress: Progress
    ) -> Iterator[LogRecord]:
        """Yield the records from one offset to another that may name the number, and write the files of whole spans."""
        builder = _PlacesMade(begin // SPAN)
        for record in records_between(reader, begin, end, "outputs"):
            while record.offset // SPAN > builder.span:
                progress(f"indexing {self._topic}", builder.span * SPAN - begin, end - begin)
                self._write(builder)
                builder = _PlacesMade(builder.span + 1)
            if builder.take(record, number):
                yield record
        while (builder.span + 1) * SPAN <= end:
            self._write(builder)
            builder = _PlacesMade(builder.span + 1)

    def _read(self, span: int) -> Places | None:
        """What a file has; None without its content."""
        if (content := self._content(span)) is None:
            return None
        count = len(content) // _ENTRY_BYTES
        numbers = np.frombuffer(content, "<u4", count)
        return Places(numbers, np.frombuffer(content, "<u2", count, numbers.nbytes))

    def _content(self, span: int) -> bytes | None:
        """What stands in a file; None if it is missing or damaged, or others may have written it."""
        try:
            with snapshot.opened(self._folder / str(span), "own") as file:
                crc, content = file.read(_CRC_BYTES), file.read()
        except (FileNotFoundError, ValueError):
            return None
        return content if crc == self._crc(span, content) else None

    def _write(self, made: _PlacesMade) -> None:
        content = made.content()
        # In its place, and without a sync: half a file is a damaged one, and two writers write the same.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with os.fdopen(os.open(self._folder / str(made.span), flags, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.truncate()
            file.write(self._crc(made.span, content) + content)

    def _crc(self, span: int, content: bytes) -> bytes:
        return zlib.crc32(content, self._seed + span & _LOW).to_bytes(_CRC_BYTES, "little")

    def _delete_wrong(self, reader: LogReader, first: int, end: int) -> None:
        """Delete the files of records that Kafka has deleted, and all files if the last one is wrong."""
        # Brokers may lose their last records (an unclean election), and then have others at these offsets.
        spans = sorted(int(path.name) for path in self._folder.iterdir() if _is_ours(path))
        whole_spans = [span for span in spans if span >= first // SPAN]
        # One without content, of aborted records alone, proves nothing.
        while whole_spans and not (content := self._content(whole_spans[-1])):
            whole_spans.pop()
        if whole_spans:
            made = _PlacesMade(whole_spans[-1])
            begin = max(made.span * SPAN, first)
            for record in records_between(reader, begin, min((made.span + 1) * SPAN, end), "outputs"):
                made.take(record, _ANY)
            if made.content() != content:
                whole_spans = []
        for span in {*spans} - {*whole_spans}:
            (self._folder / str(span)).unlink(missing_ok=True)


def _is_ours(file: Path) -> bool:
    return file.is_file() and file.name.isdecimal() and file.parent.name.isdecimal()

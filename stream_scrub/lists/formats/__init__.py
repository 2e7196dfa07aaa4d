"""Step 1 of a delta's life: a list's bytes to numbers. One module a format; all give a `Reading`."""

from stream_scrub.lists.formats.plain import read_plain
from stream_scrub.lists.formats.reading import BadList, Reading
from stream_scrub.lists.formats.unpack import open_list

__all__ = ["BadList", "Reading", "open_list", "read_plain"]

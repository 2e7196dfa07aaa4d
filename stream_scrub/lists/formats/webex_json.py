"""`webex-json`: the do-not-contact entries of Webex Contact Center: phoneNumber, source, addedDate, addedBy, reason.

Source: Webex Contact Center's DNC Management API, `DncEntryResponse`: phoneNumber is E.164 with its plus. The entries
are an array, stand within an object as a page of answers does, or are JSON lines.
"""

import re

import msgspec

from stream_scrub.lists.parsing.entry_buffer import EntryBuffer
from stream_scrub.lists.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.lists.parsing.json_entries import decoded, entries, only_once
from stream_scrub.lists.parsing.parsed_list import ParsedList
from stream_scrub.lists.parsing.unpack import ListSource

_KEY = "phoneNumber"
_MEMBER = re.compile(rb'"(phoneNumber)"\s*+:')
_OTHERS = (b'"addedDate"', b'"addedBy"', b'"lastModified"', b'"source"')
_SURE, _LIKELY = 95, 80


class _WebexEntry(msgspec.Struct):
    phone: str = msgspec.field(name=_KEY)


def _recognise(sample: ListSample) -> int:
    if sample.head.lstrip()[:1] not in (b"[", b"{") or b'"phoneNumber"' not in sample.head:
        return NEVER
    return _SURE if any(name in sample.head for name in _OTHERS) else _LIKELY


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every entry's number. Raises BadList for what is no JSON."""
    batch = EntryBuffer(reading, options.region)
    decoder = msgspec.json.Decoder(_WebexEntry)
    for at, entry in entries(source, reading, _KEY):
        found = decoded(entry, decoder) if only_once(entry, _MEMBER) else None
        batch.put(found.phone if found is not None else "", at)
    batch.close()
    reading.described = "JSON entries with a phoneNumber"


FORMAT = FormatSpec(
    "webex-json", "Webex Contact Center's entries: phoneNumber, source, addedDate ...", _recognise, _read
)

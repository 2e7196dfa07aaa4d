"""The do-not-call entries of two contact centres, as their APIs answer: `webex-json` and `ringcentral-json`. The entries
are an array, stand within an object as a page of answers does, or are JSON lines.

`webex-json`: Webex Contact Center's DNC Management API, `DncEntryResponse`: phoneNumber (E.164 with its plus), source,
addedDate, addedBy, reason.

`ringcentral-json`: RingCentral's developer guide, "Updating the DNC List with New Numbers" (Engage Voice, RingCX): phone,
countryCode, addedDate, reason, dncTagId. `phone` is national, `countryCode.id` the ISO 3166-1 code of three letters of its
country. An entry without one is read in the import's region; one whose country is not known here is refused, since its
number would be read as another country's. All tags count alike: a number under any of them is taken.
"""

import re

import msgspec

from stream_scrub.imports.parsing.cells import EntryBuffer
from stream_scrub.imports.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.imports.parsing.json_entries import decoded, entries, only_once
from stream_scrub.imports.parsing.parsed_list import ParsedList
from stream_scrub.imports.parsing.unpack import ListSource
from stream_scrub.numbering import region_named

_WEBEX_MEMBER = re.compile(rb'"(phoneNumber)"\s*+:')
_WEBEX_OTHERS = (b'"addedDate"', b'"addedBy"', b'"lastModified"', b'"source"')
_MEMBERS = re.compile(rb'"(phone|countryCode)"\s*+:')
_OTHERS = (b'"dncTagId"', b'"dncTag"', b'"countryCode"')
_SURE, _LIKELY, _MAYBE = 95, 80, 70


class _WebexEntry(msgspec.Struct, rename={"phone": "phoneNumber"}):
    phone: str


class _RingCentralCountry(msgspec.Struct):
    id: str = ""


class _RingCentralEntry(msgspec.Struct, rename={"country": "countryCode"}):
    phone: str | int
    country: _RingCentralCountry | str | None = None


_WEBEX_ENTRY = msgspec.json.Decoder(_WebexEntry)
_RING_CENTRAL_ENTRY = msgspec.json.Decoder(_RingCentralEntry)


def _is_json_with(member: bytes, sample: ListSample) -> bool:
    return sample.head.lstrip()[:1] in (b"[", b"{") and member in sample.head


def _recognise_webex(sample: ListSample) -> int:
    if not _is_json_with(b'"phoneNumber"', sample):
        return NEVER
    return _SURE if any(name in sample.head for name in _WEBEX_OTHERS) else _LIKELY


def _recognise_ringcentral(sample: ListSample) -> int:
    if not _is_json_with(b'"phone"', sample):
        return NEVER
    if any(name in sample.head for name in _OTHERS):
        return _SURE
    return _MAYBE if b'"addedDate"' in sample.head else NEVER


def _read_webex(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every entry's number. Raises BadList for what is no JSON."""
    batch = EntryBuffer(reading, options.region)
    for at, entry in entries(source, reading, "phoneNumber"):
        found = decoded(entry, _WEBEX_ENTRY) if only_once(entry, _WEBEX_MEMBER) else None
        batch.put(found.phone if found is not None else "", at)
    batch.close()
    reading.described = "JSON entries with a phoneNumber"


def _read_ringcentral(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every entry's number. Raises BadList for what is no JSON."""
    batch = EntryBuffer(reading, options.region)
    unknown = 0
    for at, entry in entries(source, reading, "phone"):
        found = decoded(entry, _RING_CENTRAL_ENTRY) if only_once(entry, _MEMBERS) else None
        if found is None:
            batch.refuse(at)
        elif region := _region(found.country, options.region):
            batch.put(str(found.phone), at, region=region)
        else:
            unknown += 1
            batch.refuse(at)
    batch.close()
    reading.described = "JSON entries with a phone and its country" + (
        f", of a country that is not known here: {unknown}" if unknown else ""
    )


def _region(country: _RingCentralCountry | str | None, otherwise: str) -> str:
    """The region to read a number in; "" when its country is not known here."""
    named = country.id if isinstance(country, _RingCentralCountry) else country or ""
    return region_named(named) if named.strip() else otherwise


WEBEX = FormatSpec(
    "webex-json",
    "Webex Contact Center's entries: phoneNumber, source, addedDate ...",
    _recognise_webex,
    _read_webex,
    oppositions=True,
)
RINGCENTRAL = FormatSpec(
    "ringcentral-json",
    "RingCentral's entries: phone, countryCode, addedDate, dncTagId ...",
    _recognise_ringcentral,
    _read_ringcentral,
    oppositions=True,
)

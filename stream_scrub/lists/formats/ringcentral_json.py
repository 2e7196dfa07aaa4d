"""`ringcentral-json`: the DNC list of RingCentral's Engage Voice (RingCX): phone, countryCode, addedDate, reason, dncTagId.

Source: RingCentral's developer guide, "Updating the DNC List with New Numbers": `phone` is national, `countryCode.id`
the ISO 3166-1 code of three letters of its country. An entry without one is read in the import's region; one whose
country is not known here is refused, since its number would be read as another country's. Tags are not told apart: a
number under any of them is taken.
"""

import re

import msgspec

from stream_scrub.lists.parsing import csv_columns
from stream_scrub.lists.parsing.entry_buffer import EntryBuffer
from stream_scrub.lists.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.lists.parsing.json_entries import decoded, entries, only_once
from stream_scrub.lists.parsing.parsed_list import ParsedList
from stream_scrub.lists.parsing.unpack import ListSource
from stream_scrub.numbering import REGIONS

_KEY = "phone"
_MEMBERS = re.compile(rb'"(phone|countryCode)"\s*+:')
_OTHERS = (b'"dncTagId"', b'"dncTag"', b'"countryCode"')
_SURE, _LIKELY = 95, 70
# ISO 3166-1: three letters to two, for the countries that dial out through such platforms.
_REGIONS = dict(
    pair.split(":")
    for pair in csv_columns.words(
        "USA:US CAN:CA PRI:PR GBR:GB IRL:IE FRA:FR REU:RE GLP:GP MTQ:MQ GUF:GF MYT:YT BEL:BE NLD:NL LUX:LU DEU:DE"
        " AUT:AT CHE:CH ITA:IT ESP:ES PRT:PT DNK:DK SWE:SE NOR:NO FIN:FI ISL:IS POL:PL CZE:CZ SVK:SK HUN:HU ROU:RO"
        " BGR:BG GRC:GR CYP:CY MLT:MT SVN:SI HRV:HR EST:EE LVA:LV LTU:LT UKR:UA TUR:TR ISR:IL AUS:AU NZL:NZ SGP:SG"
        " HKG:HK JPN:JP KOR:KR IND:IN PHL:PH MYS:MY THA:TH IDN:ID VNM:VN CHN:CN TWN:TW ZAF:ZA MAR:MA TUN:TN DZA:DZ"
        " EGY:EG ARE:AE SAU:SA MEX:MX BRA:BR ARG:AR CHL:CL COL:CO PER:PE DOM:DO JAM:JM CRI:CR PAN:PA"
    )
)


class _RingCentralCountry(msgspec.Struct):
    id: str = ""


class _RingCentralEntry(msgspec.Struct):
    phone: str | int
    country: _RingCentralCountry | str | None = msgspec.field(name="countryCode", default=None)


def _recognise(sample: ListSample) -> int:
    if sample.head.lstrip()[:1] not in (b"[", b"{") or b'"phone"' not in sample.head:
        return NEVER
    if any(name in sample.head for name in _OTHERS):
        return _SURE
    return _LIKELY if b'"addedDate"' in sample.head else NEVER


def _region(country: _RingCentralCountry | str | None, otherwise: str) -> str:
    """The region to read a number in; "" when its country is not known here."""
    named = country.id if isinstance(country, _RingCentralCountry) else country or ""
    code = named.strip().upper()
    if not code:
        return otherwise
    return code if code in REGIONS else _REGIONS.get(code, "")


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:
    """Every entry's number. Raises BadList for what is no JSON."""
    batch = EntryBuffer(reading, options.region)
    decoder = msgspec.json.Decoder(_RingCentralEntry)
    unknown = 0
    for at, entry in entries(source, reading, _KEY):
        found = decoded(entry, decoder) if only_once(entry, _MEMBERS) else None
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


FORMAT = FormatSpec(
    "ringcentral-json",
    "RingCentral's entries: phone, countryCode, addedDate, dncTagId ...",
    _recognise,
    _read,
)

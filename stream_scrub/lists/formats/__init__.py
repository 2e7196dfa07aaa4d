"""Step 1 of a delta's life: a list's bytes to numbers. One module a format; all give a `ParsedList`.

A new format is one module with a FORMAT (see `format`), named in FORMATS below.
"""

from stream_scrub.lists.formats import (
    crm_suppression,
    dncm_txt,
    expiry_csv,
    nanp_change,
    nanp_pair,
    nanp_xml,
    plain,
    ranges,
    ringcentral_json,
    scrub_delta,
    tps_fixed,
    wash,
    webex_json,
    ytel_csv,
)
from stream_scrub.lists.parsing.format import FormatSpec, ListOptions, ListSample
from stream_scrub.lists.parsing.parsed_list import BadList, EndingNumbers, ParsedList
from stream_scrub.lists.parsing.unpack import ListSource, PackedList, open_list

__all__ = [
    "FORMATS",
    "BadList",
    "EndingNumbers",
    "FormatSpec",
    "ListOptions",
    "ListSample",
    "ListSource",
    "PackedList",
    "ParsedList",
    "open_list",
]

# In the order of the docs' table. Order says nothing about which one is chosen: `recognise` does.
FORMATS: tuple[FormatSpec, ...] = (
    plain.FORMAT,
    crm_suppression.FORMAT,
    nanp_pair.FORMAT,
    nanp_xml.FORMAT,
    nanp_change.FORMAT,
    tps_fixed.FORMAT,
    dncm_txt.FORMAT,
    wash.FORMAT,
    expiry_csv.FORMAT,
    webex_json.FORMAT,
    ringcentral_json.FORMAT,
    ytel_csv.FORMAT,
    ranges.FORMAT,
    scrub_delta.FORMAT,
)

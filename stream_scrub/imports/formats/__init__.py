"""Step 1 of a delta's life: a list's bytes to numbers. All formats give a `ParsedList`.

A new format is a `FormatSpec` (see `imports/parsing/format.py`) in a module here, named in FORMATS below.
"""

from stream_scrub.imports.formats import (
    api_json,
    european_txt,
    expiry_csv,
    named_columns,
    nanp_change,
    nanp_pair,
    nanp_xml,
    plain,
    ranges,
    reassigned,
    scrub_delta,
    suppression_csv,
    wash,
)
from stream_scrub.imports.parsing.format import FormatSpec, ListOptions, ListSample
from stream_scrub.imports.parsing.parsed_list import BadList, ParsedList
from stream_scrub.imports.parsing.unpack import ListSource, open_list

__all__ = [
    "FORMATS",
    "BadList",
    "FormatSpec",
    "ListOptions",
    "ListSample",
    "ListSource",
    "ParsedList",
    "open_list",
]

# In the order of the docs' table. Order says nothing about which one is chosen: `recognise` does.
FORMATS: tuple[FormatSpec, ...] = (
    plain.FORMAT,
    named_columns.FORMAT,
    suppression_csv.FORMAT,
    nanp_pair.FORMAT,
    nanp_xml.FORMAT,
    nanp_change.FORMAT,
    european_txt.TPS,
    european_txt.DNCM,
    wash.FORMAT,
    reassigned.FORMAT,
    expiry_csv.FORMAT,
    api_json.WEBEX,
    api_json.RINGCENTRAL,
    ranges.FORMAT,
    scrub_delta.FORMAT,
)

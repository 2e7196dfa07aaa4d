"""Prints what numbering/ answers for numbers of every region and type, to compare the image's Python with this one.

Runs as a program of its own, and imports nothing but the product.
"""

import hashlib
import sys

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from stream_scrub.numbering import normalise
from stream_scrub.numbering.library import ask

WAYS = (PhoneNumberFormat.E164, PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.NATIONAL)


def main() -> None:
    told = []
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in PhoneNumberType.values():
            example = phonenumbers.example_number_for_type(region, kind)
            if example is None:
                continue
            for way in WAYS:
                text = phonenumbers.format_number(example, way)
                told.append(f"{region} {text} {normalise(text, region)} {ask(text, region)}")
    unused = {"geodata", "carrierdata", "tzdata"}
    loaded = {name.split(".")[1] for name in sys.modules if name.startswith("phonenumbers.")}
    print(len(told), hashlib.sha256("\n".join(told).encode()).hexdigest(), sorted(loaded & unused))


main()

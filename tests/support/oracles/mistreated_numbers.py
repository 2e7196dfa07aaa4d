"""(a) What phonenumbers says of a text, asked directly. (b) Texts as people type phone numbers, from a seed."""

import random

import phonenumbers
from phonenumbers import PhoneNumberFormat as Format
from phonenumbers import PhoneNumberType as Type

from stream_scrub.numbering import REGIONS

SORTED = sorted(REGIONS)
# The regions of the shipped rules, those that share a calling code, and those whose prefixes are regular expressions.
OFTEN = "FR GP RE MQ GF YT PM BL MF NC PF WF GB GG JE IM US CA BE IT VA ES IE DE AR BR RU KZ BY AU CC JP KR MX".split()
SEPARATORS = [
    " ",
    "-",
    ".",
    "/",
    "(",
    ")",
    "\u00a0",
    "  ",
    "--",
    ") ",
    " (",
    "\t",
    "\u202f",
    "\u2009",
    "\u3000",
    "\u2010",
    "\u2011",
    "\u2013",
    "\u2212",
    "\u200b",
    "\u00ad",
    "\u2060",
    "~",
    "x",
    "*",
    "#",
    ",",
    ";",
    "_",
    "\\",
    "/x",
    "[",
    "]",
]
ZEROS = [0x660, 0x6F0, 0x966, 0xFF10, 0x1D7CE, 0xE50, 0x1E950]
JUNK = [
    "²",
    "½",
    "tel:",
    " ext. 12",
    "x123",
    "#",
    ";ext=7",
    ";phone-context=+33",
    ";phone-context=example.com",
    "\x00",
    "\n",
    "\ud800",
    "+",
    "\uff0b",
    "(0)",
    "ABC",
    "o",
    "\u066b",
    "a",
    " int 4",
    ",,9",
    ";isub=1",
    "\U0001f4de",
    "é",
    "'",
    '"',
]
TYPES = [value for name, value in vars(Type).items() if isinstance(value, int)]
NAMES = {value: name.lower() for name, value in vars(Type).items() if isinstance(value, int)}


def reference(text, region):
    """The contract, written without the product: parse in the region, then is_valid_number."""
    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    digits = phonenumbers.format_number(parsed, Format.E164)
    assert digits[0] == "+"
    where = phonenumbers.region_code_for_number(parsed)
    return int(digits[1:]), where, NAMES[phonenumbers.number_type(parsed)]


def given_by(answer):
    return None if answer is None else (answer[0], answer[1].region, answer[1].type)


def examples():
    """(region, calling code, national significant number) of every type that has an example."""
    found = []
    for region in SORTED:
        for kind in TYPES:
            number = phonenumbers.example_number_for_type(region, kind)
            if number is not None:
                found.append((region, number.country_code, phonenumbers.national_significant_number(number)))
    for code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS:
        number = phonenumbers.example_number_for_non_geo_entity(code)
        found.append(("FR", code, phonenumbers.national_significant_number(number)))
    return found


class Mistreatment:
    """A seeded source of what people type for phone numbers."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.examples = examples()
        often = set(OFTEN)
        self.often = [example for example in self.examples if example[0] in often]

    def one(self):
        draw = self.random
        region, code, significant = draw.choice(self.often if draw.random() < 0.5 else self.examples)
        if draw.random() < 0.7:  # other digits of the same plan: the cells behind the first few digits
            kept = draw.randint(0, len(significant))
            significant = significant[:kept] + "".join(draw.choices("0123456789", k=len(significant) - kept))
        prefixes = [
            str(code),
            "00" + str(code),
            "0",
            "1",
            "8",
            "011" + str(code),
            "00",
            "0" + str(code),
            "06",
            "80",
            "15",
        ]
        prefix = phonenumbers.PhoneMetadata.metadata_for_region(region).national_prefix or ""
        text = draw.choice(
            [
                "",
                prefix,
                prefix,
                "+" + str(code),
                "+" + str(code),
                "+" + str(code) + prefix,
                *prefixes[: draw.randint(1, 11)],
            ]
        )
        text += significant
        for _ in range(draw.choice([0, 0, 0, 1, 2])):
            text = self.change(text)
        style = draw.random()
        if style < 0.35:
            text = self.spaced(text)
        if draw.random() < 0.12:
            place = draw.randint(0, len(text))
            text = text[:place] + draw.choice(JUNK) + text[place:]
        if draw.random() < 0.05:
            zero = draw.choice(ZEROS)
            text = "".join(
                chr(zero + int(c)) if c in "0123456789" and draw.random() < 0.9 else c for c in text
            )
        elsewhere = draw.random()
        if elsewhere < 0.12:
            region = draw.choice(SORTED)
        elif elsewhere < 0.14:
            region = draw.choice(["ZZ", "fr", "", "001", "XX", "France"])
        return text, region

    def change(self, text):
        draw = self.random
        place = draw.randrange(len(text) or 1)
        digit = draw.choice("0123456789")
        return draw.choice(
            [
                text[:place] + text[place + 1 :],
                text[:place] + digit + text[place:],
                text[:place] + digit + text[place + 1 :],
                text[:place],
                text + digit,
                "0" + text,
                text[1:],
                text * 2,
            ]
        )

    def spaced(self, text):
        draw = self.random
        common = draw.random() < 0.7
        one = draw.choice(SEPARATORS[:7] if common else SEPARATORS)
        out = []
        for i, c in enumerate(text):
            if i and draw.random() < 0.4:
                out.append(one if draw.random() < 0.9 else draw.choice(SEPARATORS))
            out.append(c)
        return draw.choice(["", "", " ", "("]) + "".join(out) + draw.choice(["", "", " ", ")", "-"])

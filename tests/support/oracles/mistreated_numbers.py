"""(a) What phonenumbers says of a text, asked directly, without texts that may be two numbers. (b) Texts as people type
phone numbers, from a seed."""

import random
import re
from itertools import pairwise

import phonenumbers
from phonenumbers import PhoneNumberFormat as Format
from phonenumbers import PhoneNumberType as Type

from stream_scrub.numbering import REGIONS

SORTED = sorted(REGIONS)
# The regions of the shipped rules, those that share a calling code, and those whose prefixes are regular expressions.
OFTEN = "FR GP RE MQ GF YT PM BL MF NC PF WF GB GG JE IM US CA BE IT VA ES IE DE AR BR RU KZ BY AU CC JP KR MX".split()
# Signs that stand alone, and some that stand together.
SEPARATORS = [*" -./()\u00a0", "  ", "--", ") ", " ("]
SEPARATORS += [*"\t\u202f\u2009\u3000\u2010\u2011\u2013\u2212\u200b\u00ad\u2060~x*#,;_\\", "/x", "[", "]"]
ZEROS = [0x660, 0x6F0, 0x966, 0xFF10, 0x1D7CE, 0xE50, 0x1E950]
JUNK = [*"²½", "tel:", " ext. 12", "x123", "#", ";ext=7", ";phone-context=+33", ";phone-context=example.com"]
JUNK += [*"\x00\n\ud800+\uff0b", "(0)", "ABC", *"o\u066ba", " int 4", ",,9", ";isub=1", *"\U0001f4deé'", '"']
PLUS = {"+", "\uff0b"}
ONE_NUMBER = list(" .-\u00a0\u202f\u2009\u2010\u2011")  # separators within one number
TYPES = [value for name, value in vars(Type).items() if isinstance(value, int)]
NAMES = {value: name.lower() for name, value in vars(Type).items() if isinstance(value, int)}


def reference(text, region):
    """The contract, written without the product: parse in the region, then is_valid_number; no number is left out, and no
    fraction becomes digits."""
    if len(text) <= 250 and (texts := without_fraction(text)) is not None:
        answers = [reference(each, region) for each in texts]
        numbers = {*answers} - {None}
        alone = len(texts) == 2 and texts[1] == texts[0][1:] and answers[0] is None  # only without its plus
        return numbers.pop() if len(numbers) == 1 and not alone else None
    found = parsed(text, region)
    if found is None or len(found.extension or "") > 6 or drops(text) or may_be_two(text, region):
        return None
    if dials_a_word(text, region, found) or may_go_on(text, region, found):
        return None
    digits = phonenumbers.format_number(found, Format.E164)
    assert digits[0] == "+"
    where = phonenumbers.region_code_for_number(found)
    return int(digits[1:]), where, NAMES[phonenumbers.number_type(found)]


def parsed(text, region):
    try:
        found = at_home(phonenumbers.parse(text, region))
    except phonenumbers.NumberParseException:
        return None
    return found if found is not None and phonenumbers.is_valid_number(found) else None


def at_home(found):
    """The number with the calling code of the territory whose block it is in; None if that is not clear."""
    digits = phonenumbers.format_number(found, Format.E164)
    other = ""
    if re.match(r"\+35348", digits):
        other = "+4428" + digits[6:]
    elif re.match(r"\+390549", digits):
        other = "+378" + digits[3:]
    elif re.match(r"\+33([57]08)\d{6}$", digits):
        other = next((each for each in ("+508" + digits[3:], "+508" + digits[6:]) if valid(each)), "+508")
    elif re.match(
        r"\+(33(26[2389]|59[046]|639|69[0-4]|69[67])\d{6}|(33|262|59[046])(598|709|939|947|976)\d{6})$",
        digits,
    ):
        significant = digits[3:] if digits.startswith("+33") else digits[4:]
        theirs = [code for code in ("262", "590", "596") if valid(f"+{code}{significant}")] or ["594"]
        other = f"+{theirs[0]}{significant}" if len(theirs) == 1 else "+33"
    if not other:
        return found
    home = phonenumbers.parse(other) if valid(other) else None
    if home is not None:
        home.extension = found.extension
    return home


def valid(digits):
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(digits))
    except phonenumbers.NumberParseException:
        return False


def without_fraction(text):
    """The texts that one with a fraction of zeros may stand for; None for a text without one."""
    groups = list(re.finditer(r"\d+", text))
    points = ".,\u066b\uff0e\uff0c"
    zeros = [place for place, group in enumerate(groups) if place and set(map(int, group[0])) == {0}]
    zeros = [place for place in zeros if text[groups[place].start() - 1] in points]
    if any(
        re.fullmatch("[0-9]{5}", text[max(groups[place].start() - 6, 0) : groups[place].start() - 1])
        and place < len(groups) - 1
        and set(groups[place][0]) == {"0"}
        for place in zeros
    ):
        return []
    if len(groups) - 1 not in zeros:
        return None
    last = groups[-1]
    whole = text[: groups[-2].end()]
    run = re.fullmatch(r"\s*([+\uff0b-]?)(\d{5,})\s*", whole)
    point = text[last.start() - 1]
    thousands = re.fullmatch(
        r"\s*([+\uff0b-]?)((?![0\u0660\u06f0\uff10])\d\d?\d?(?:([.,'\u2019\u066c])\d\d\d?)(?:\3\d\d\d?)*)\s*",
        whole,
    )
    gaps = re.fullmatch(
        r"\s*([+\uff0b-]?)((?![0\u0660\u06f0\uff10])\d\d?\d?([ \u00a0\u2009\u202f])\d{3}(?:\3\d{3})*)\s*",
        whole,
    )
    thousands = thousands if thousands is not None and thousands[3] != point else gaps
    written = run or (thousands if sum(map(str.isdigit, whole)) >= 5 else None)
    if written:
        bare = "".join(sign for sign in written[2] if sign.isdigit())
        return [f"+{bare}", bare] if written[1] in (*PLUS,) else [bare]
    return [whole, f"{whole} {text[last.start() :]}"] if point in ".\uff0e" else [whole]


def may_go_on(text, region, found):
    """Whether a sign that may only separate groups begins the extension, and all digits are a number."""
    text = text[re.search(r"[+\uff0b\d]", text).start() :]
    if not found.extension or not re.search(r"[~\uff5e,#\uff03]|;(?!ext=)", text[1:]):
        return False
    bare = "".join(str(int(sign)) for sign in text if sign.isdecimal())
    return parsed("+" + bare if text[0] in PLUS else bare, region) is not None


def drops(text):
    """Whether phonenumbers leaves a part of the text unread that may hold a number."""
    second = re.search(r"[\\/] *x", text)
    return (
        ";isub=" in text
        or ";phone-context=" in text
        or (second is not None and re.search(r"\d", text[second.end() :]) is not None)
    )


def dials_a_word(text, region, found):
    """Whether three letters or more became digits, although the digits before them, or all of them, are a number."""
    text = text[re.search(r"[+\uff0b\d]", text).start() :]
    word = re.search("[A-Za-z].*[A-Za-z].*[A-Za-z]", text, re.DOTALL)

    def digits(part):
        bare = "".join(str(int(sign)) for sign in part if sign.isdecimal())
        return "+" + bare if text[0] in PLUS else bare

    if word is None or phonenumbers.national_significant_number(found).lstrip("0") in digits(text):
        return False
    return any(parsed(digits(part), region) is not None for part in (text[: word.start()], text))


def may_be_two(text, region):
    """Whether a valid number begins the text and another one ends it; behind one blank, hyphen or dot only if it begins
    with 0 or a plus. Every cut is tried."""
    digits = [(found.start(), found.end()) for found in re.finditer(r"\d+", text)]

    def between(first, last):
        """These groups of digits, with the plus before the first of them; "" where another one follows."""
        start, end = digits[first][0], digits[last][1]
        before = text[digits[first - 1][1] if first else 0 : start]
        inner = "".join(text[a[1] : b[0]] for a, b in pairwise(digits[first : last + 1]))
        if PLUS & set(inner):
            return ""
        bare = "".join(str(int(sign)) for sign in text[start:end] if sign.isdecimal())
        return "+" + bare if PLUS & set(before) else bare

    for cut in range(1, len(digits)):
        for later in range(cut, len(digits)):
            gap = text[digits[later - 1][1] : digits[later][0]]
            second = between(later, len(digits) - 1)
            apart = gap not in ONE_NUMBER or second[:1] in ("0", "+")
            if apart and parsed(second, region) and parsed(between(0, cut - 1), region):
                return True
    return False


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
        own = str(code)
        prefixes = [own, f"00{own}", "0", "1", "8", f"011{own}", "00", f"0{own}", "06", "80", "15"]
        prefix = phonenumbers.PhoneMetadata.metadata_for_region(region).national_prefix or ""
        usual = ["", prefix, prefix, f"+{own}", f"+{own}", f"+{own}{prefix}"]
        text = draw.choice([*usual, *prefixes[: draw.randint(1, 11)]])
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

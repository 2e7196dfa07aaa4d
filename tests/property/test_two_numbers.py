"""Two numbers in one text: whoever owns either of them may have opted out, so the text is never read as one of them.

The one exception is said in docs/producer.md: a single blank, hyphen or dot before a second number that begins with
neither 0 nor a plus, in the few countries whose numbers have as few digits as half of another one.
"""

import csv
import io
import json
import random
from datetime import UTC, datetime

import phonenumbers
import pytest
from phonenumbers import PhoneNumberFormat as Format

from stream_scrub import Call, Checker, ListFile
from stream_scrub.config import load
from stream_scrub.numbering import lines_many, normalise, parted_in
from stream_scrub.numbering.tables import FIRST_LINE
from stream_scrub.queries import check
from stream_scrub.requests.parse_request import ParsedRequest, RequestRefusal, RequestTerms, read
from stream_scrub.scrub import backend
from stream_scrub.scrub.batch import Scrubber, Terms
from tests.support.fakes import law, lists
from tests.support.fakes.scrubbers import MEMBERS
from tests.support.machine.effort import examples
from tests.support.oracles.mistreated_numbers import OFTEN, ONE_NUMBER, SORTED
from tests.support.oracles.mistreated_numbers import examples as plans
from tests.support.running.files import Bureau

SEPARATORS = "; ,, ;ext= ;isub= /x / x \\x ext ext. x # ~ int anexo доб | / \\ : & + () )( .. -- _ tel: ;tel: oder et".split()
SEPARATORS += " ; |,|;|  | - | / | x | ext. |, |\t|\u00a0|\u2013| |-|.| (|/ x".split("|")
SIGNS = [*" ;,/x-.()#~\t\u00a0\u2010*[]:&+e=\\_'|", "ext", "int", ";ext=", "tel:"]
SHORT = (
    "DE AT LU IT FI UY SH JE NL HK NO GB FR US AR".split()
)  # with short numbers, or numbers of many lengths
HANDS = [hand for hand in (backend.PYTHON, backend.native()) if hand is not None]
REGIONS = ["FR", "DE", "US", "LU", "GB"]
LAWS = {
    region: law.OPT_OUT.replace('["FR", "RE"]', f'["{region}"]').replace('"FR"', f'"{region}"')
    for region in REGIONS
}


class Pairs:
    """A seeded source of two valid numbers as typed in a region, and of what people put between them."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.plans = {region: [] for region in SORTED}
        for region, code, significant in plans():
            if code == phonenumbers.country_code_for_region(region):
                self.plans[region].append(significant)

    def number(self, region):
        """A valid number of this region's plan, in one of the ways to write it."""
        while True:
            draw, significant = self.random, self.random.choice(self.plans[region])
            kept = draw.randint(1, 4)
            length = max(4, len(significant) + draw.choice([-3, -2, -1, 0, 0, 0, 1]))
            digits = (significant[:kept] + "".join(draw.choices("0123456789", k=20)))[:length]
            try:
                number = phonenumbers.parse(f"+{phonenumbers.country_code_for_region(region)}{digits}")
            except phonenumbers.NumberParseException:
                continue
            text = draw.choice([self.national, self.national, self.with_code])(number)
            if normalise(text, region) is not None:
                return text

    def national(self, number):
        national = phonenumbers.format_number(number, Format.NATIONAL)
        digits = "".join(filter(str.isdecimal, national))
        return self.random.choice(
            [national, digits, digits, phonenumbers.national_significant_number(number)]
        )

    def with_code(self, number):
        e164 = phonenumbers.format_number(number, Format.E164)
        international = phonenumbers.format_number(number, Format.INTERNATIONAL)
        return self.random.choice([e164, e164[1:], "00" + e164[1:], international])

    def separator(self):
        draw = self.random
        if draw.random() < 0.6:
            return draw.choice(SEPARATORS)
        return "".join(draw.choices(SIGNS, k=draw.randint(1, 8)))[:8]

    def one(self, regions):
        """Two numbers, a text with both, and the region in which all is typed."""
        while True:
            region = self.random.choice(regions)
            first, second = self.number(region), self.number(region)
            between = self.separator()
            if between not in ONE_NUMBER or second[:1] in ("0", "+"):
                return first, second, first + between + second, region


def test_two_numbers_in_one_text_are_never_read_as_one():
    """The one who opted out would be called: only the other one's number would be looked up."""
    source = Pairs("two 20261128")
    texts = [source.one(SHORT if at % 2 else SORTED) for at in range(examples(4500))]

    assert [each for each in texts if normalise(each[2], each[3]) is not None] == []
    for region in SHORT:
        here = [text for _, _, text, typed_in in texts if typed_in == region and "\n" not in text]
        _, codes = lines_many("".join(f"{text}\n" for text in here).encode(), region)
        assert [text for text, code in zip(here, codes.tolist(), strict=True) if code >= FIRST_LINE] == []


def test_numbers_as_they_are_written_stay_one_number():
    """A lead would be lost because its number's own digits, taken apart, are numbers too."""
    source = Pairs("one 20261128")
    for at in range(examples(3000)):
        region = source.random.choice(SHORT if at % 2 else OFTEN)
        text = source.number(region)
        number = phonenumbers.parse(f"+{normalise(text, region)[0]}")
        for style in (Format.NATIONAL, Format.INTERNATIONAL, Format.E164):
            written = phonenumbers.format_number(number, style)
            significant = phonenumbers.national_significant_number(number)
            assert normalise(written, region) == normalise(f"+{number.country_code}{significant}", region)


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("0221/4710815", "DE", 492214710815),
        ("030 12 34 05 67", "DE", 493012340567),
        ("06.12.04.05.06", "FR", 33612040506),
        ("(212) 555-2368 x123456", "US", 12125552368),
        ("06 12 34 56 78 poste #12", "FR", None),
        ("0612345678;ext=1234567", "FR", None),  # as long as a number of some country
        ("0612345678/x12", "FR", None),
        ("26123456 x3456", "LU", None),  # 3456 is a number there
        ("030 1234567 mobil", "DE", None),  # to libphonenumber the word is 66245
        ("+352 26 12 34 priv", "LU", None),
        ("Mobil: 030 1234567 ext. 12", "DE", 49301234567),
    ],
)
def test_extensions_and_groups_of_one_number(text, region, number):
    """A number with an ordinary extension would be lost, or a short number behind another be taken for one."""
    found = normalise(text, region)
    assert (found and found[0]) == number


def write_laws(folder):
    """One rule for each region, in files as a user has them."""
    folder.mkdir(exist_ok=True)
    for region, text in LAWS.items():
        (folder / f"{region.lower()}.toml").write_text(text.replace("list", "bloctel"))


def opposed_in(folder, numbers):
    """A list of these numbers, as each register of those laws."""
    file = folder / "opposed.txt"
    file.write_text("".join(f"+{number}\n" for number in numbers))
    held = ListFile(file, effective_at=datetime(2026, 5, 20, tzinfo=UTC))
    return {"bloctel": held, "internal": held}


def seconds(pairs):
    """The second number of each pair."""
    return [normalise(second, region)[0] for _, second, _, region in pairs]


def table(texts):
    """A CSV with these texts as its numbers."""
    made = io.StringIO()
    csv.writer(made).writerows([("phone", "name"), *((text, "x") for text in texts)])
    return made.getvalue().encode()


def opposing(pairs):
    """An index in which the second number of each pair is opposed."""
    return law.index(law.register("list", seconds(pairs)), law.register("internal"))


@pytest.fixture(scope="module")
def pairs():
    source = Pairs("doors 20261128")
    return [source.one(REGIONS) for _ in range(examples(1500))]


@pytest.mark.parametrize("by", HANDS, ids=lambda by: by.name)
def test_no_prospect_with_two_numbers_is_allowed(by, pairs):
    """A lead that holds an opposed number next to another one would be handed to a dialler."""
    scrubber = Scrubber(
        Terms(MEMBERS, stale="block", default_purpose="other"), law.rulebook(*LAWS.values()), by
    )
    values = [json.dumps({"phone": text, "country": region}).encode() for _, _, text, region in pairs]
    alone = [json.dumps({"phone": first, "country": region}).encode() for first, _, _, region in pairs]

    assert not any(scrubber.scrub(values, opposing(pairs), law.NOW).allowed)
    assert sum(scrubber.scrub(alone, opposing(pairs), law.NOW).allowed) > len(pairs) / 4


def test_an_opt_out_with_two_numbers_in_one_text_opposes_both(pairs):
    """An opt-out would be answered with success and protect one of two people."""
    for first, second, text, region in pairs:
        terms = RequestTerms(default_region=region)
        both = {normalise(each, region)[0] for each in (first, second)}
        for verb in ("opt-out", "withdrawal"):
            found = read(json.dumps({"request": verb, "number": text}).encode(), terms)
            assert isinstance(found, ParsedRequest), (text, region)
            assert both <= {*found.numbers} and found.refused == 0, (text, region)


def test_no_consent_with_two_numbers_in_one_text_is_taken(pairs):
    """A consent of one person would be given for another."""
    for _, _, text, region in pairs:
        terms = RequestTerms(default_region=region)
        said = {"request": "consent", "number": text, "scope": "acme"}
        assert read(json.dumps(said).encode(), terms) is RequestRefusal.INVALID_NUMBER, (text, region)


@pytest.mark.parametrize(
    ("text", "region", "numbers", "refused"),
    [
        ("0611111111;0612345678;0699999999", "FR", {33611111111, 33612345678, 33699999999}, 0),
        ("+33 6 11 11 11 11 +44 20 7946 0018", "FR", {33611111111, 442079460018}, 0),
        # the word behind a number is none of its digits
        ("030 1234567 mobil", "DE", {49301234567}, 0),
        ("01 5123456 buero", "AT", {4315123456}, 0),
        # read in part, and reported
        ("0612345678/x12", "FR", {33612345678}, 1),
        ("0612345678;0611111111;123", "FR", {33612345678, 33611111111}, 1),
    ],
)
def test_only_the_numbers_in_a_text_are_opposed(text, region, numbers, refused):
    """People who said nothing would be lost as leads, or a person whose number is legible be called."""
    found = read(
        json.dumps({"request": "opt-out", "number": text}).encode(), RequestTerms(default_region=region)
    )
    assert {*found.numbers} == numbers and found.refused == refused


def test_no_line_of_a_list_gives_one_of_two_numbers(tmp_path, pairs):
    """A list would be imported without a refused line, and every second person on it be called."""
    for region in REGIONS:
        here = [text for _, _, text, typed_in in pairs if typed_in == region]
        found = lists.read(tmp_path, table(here), "phone", region)
        assert (found.taken, found.refused) == (0, len(here))


def test_no_row_with_two_numbers_is_allowed(tmp_path, pairs):
    """A file of leads would come back with opposed numbers among those to call."""
    bureau = Bureau(tmp_path)
    write_laws(tmp_path / "rules")
    held = opposed_in(tmp_path, seconds(pairs))
    for region in REGIONS:
        here = [text for _, _, text, typed_in in pairs if typed_in == region]
        found = bureau.scrub(table(here), region=region, columns=["phone"], lists=held)
        assert (found.summary.rows, found.summary.allowed) == (len(here), 0)
        assert found.summary.reasons["opposed"] > len(here) / 2, "both are judged"


def test_the_numbers_of_one_text_are_those_two_or_none():
    """Two other people's numbers would be judged in a file of leads, and the row be allowed for them."""
    source = Pairs("parted 20261128")
    pairs = [source.one(SHORT if at % 2 else SORTED) for at in range(examples(1500))]
    found = [(parted_in(text, region), first, second, region) for first, second, text, region in pairs]
    wrong = [
        each
        for each in found
        if each[0]
        and [normalise(text, each[3]) for text in each[0]] != [normalise(text, each[3]) for text in each[1:3]]
    ]
    assert wrong == [] and sum(bool(each[0]) for each in found) > len(found) / 2


def test_no_check_of_two_numbers_allows_a_call(tmp_path, pairs):
    """The last question before a call would be answered for another number than the one that is dialled."""
    write_laws(tmp_path / "rules")
    settings = {"rules.folder": str(tmp_path / "rules"), "rules.stale": "block"}
    checker = Checker.from_lists(opposed_in(tmp_path, seconds(pairs)), settings=settings)
    on = datetime(2026, 6, 1, 12, tzinfo=UTC)

    for region in REGIONS:
        texts = [text for _, _, text, typed_in in pairs if typed_in == region]
        answers = check.answer(texts, Call(), region, on, load(flags=settings), checker.index)
        assert {str(each.stamp.reason) for each in answers} == {"invalid-number"}
        assert set(checker.check_many(texts, region=region, on=on).reasons) == {"invalid-number"}
        assert {checker.check(text, region=region, on=on).reason for text in texts} == {"invalid-number"}


def quantities(pairs):
    """Cells with two numbers as a spreadsheet writes what it holds as quantities; with the numbers, and the region."""
    draw = random.Random("cells 20261128")
    for first, second, _, region in pairs:
        code = str(phonenumbers.country_code_for_region(region))
        both = [normalise(each, region)[0] for each in (first, second)]
        bare = [str(each).removeprefix(code) for each in both]
        if [normalise(each, region) and normalise(each, region)[0] for each in bare] != both:
            continue
        if not any(each.startswith("0") for each in bare):  # no quantity does
            shape = draw.choice(["{}.0", "{}.00", "{},0", "{:.12E}"])
            cells = [shape.format(int(each) if "E" in shape else each) for each in bare]
            yield both, draw.choice([";", " ", " / ", "|", "\n"]).join(cells), region


def test_two_numbers_that_a_spreadsheet_held_as_quantities_become_no_others():
    """A zero of a fraction or an exponent would join the digits: other people's numbers be judged, or opposed."""
    source = Pairs("quantities 20261128")
    pairs = [source.one(SHORT) for _ in range(examples(1500))]
    found = list(quantities(pairs))
    assert len(found) > len(pairs) / 4
    for both, text, region in found:
        assert {normalise(each, region)[0] for each in parted_in(text, region)} <= {*both}, (text, region)
        request = json.dumps({"request": "opt-out", "number": text}).encode()
        opposed = read(request, RequestTerms(default_region=region))
        reported = opposed is RequestRefusal.INVALID_NUMBER or opposed.refused
        assert reported or {*both} <= {*opposed.numbers}, (text, region)


@pytest.mark.parametrize(
    ("text", "region", "both"),
    [
        ("27192824, 271234", "LU", {35227192824, 352271234}),
        ("628123142;271211", "LU", {352628123142, 352271211}),
        ("015123443588, 030120", "DE", {4915123443588, 4930120}),
    ],
)
def test_an_opt_out_of_two_numbers_in_an_unknown_country_opposes_both(text, region, both):
    """In some country the second one is an extension of the first: both people would be called, and nobody be told."""
    request = json.dumps({"request": "opt-out", "number": text, "region": "Atlantis"}).encode()
    assert both <= {*read(request, RequestTerms(default_region=region)).numbers}


@pytest.mark.parametrize(
    "text",
    ["030 129184 ext 7 / 0171 1234567", "030 129184;ext=7;0171 1234567", "030 129184 #7, 0171 1234567"],
)
def test_no_extension_becomes_digits_of_one_of_two_numbers(text):
    """The person behind 030 129184 would be called: only 030 1291847 was looked up, or opposed."""
    assert parted_in(text, "DE") == ()
    opposed = read(
        json.dumps({"request": "opt-out", "number": text}).encode(), RequestTerms(default_region="DE")
    )
    assert {4930129184, 491711234567} <= {*opposed.numbers} and opposed.refused == 1

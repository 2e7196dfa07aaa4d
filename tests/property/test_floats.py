"""A number that passed through a float is the same number or none: for each spelling that programs print, at every door."""

import json
from datetime import UTC, datetime

import pytest

from stream_scrub import Checker
from stream_scrub.numbering import normalise, parted_in
from stream_scrub.requests.parse_request import ParsedRequest, RequestTerms, read
from stream_scrub.scrub.batch import Scrubber, Terms
from tests.property.test_two_numbers import HANDS, LAWS, REGIONS, Pairs, opposed_in, write_laws
from tests.support.fakes import law, lists
from tests.support.fakes.scrubbers import MEMBERS
from tests.support.machine.effort import examples
from tests.support.oracles.mistreated_numbers import OFTEN
from tests.support.running.files import Bureau

ARABIC = str.maketrans(
    "0123456789.,", "\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669\u066b\u066c"
)
WIDE = str.maketrans(
    "0123456789.E+", "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\uff0e\uff25\uff0b"
)
GERMAN = str.maketrans(".,", ",.")


def java(number):
    """As `String.valueOf(double)`."""
    digits = str(number)
    return f"{digits[0]}.{digits[1:].rstrip('0') or '0'}E{len(digits) - 1}"


def spellings(number):
    """Each way in which a program may print this integer as a float, and whether it wrote a plus before it."""
    value = float(number)
    plain = [f"{value:.{digits}f}" for digits in (1, 2, 3, 4, 6, 15)]
    exact = [f"{value:.{digits}e}" for digits in (0, 2, 5, 6, 8, 9, 10, 11, 15, 17)]
    general = [f"{value:#.{digits}g}" for digits in (3, 6, 9, 10, 12, 17)] + [
        f"{value:g}",
        f"{value:.10g}",
        repr(value),
    ]
    made = [*plain, *exact, *general, java(number), f"{number}.", f" {number}.0 ", f"{number}.0f"]
    made += [each.upper() for each in exact]
    made += [each.replace("e+", "D+") for each in exact]  # Fortran
    made += [each.replace("e+", "E+0") for each in exact]  # C#, older C
    made += [
        f"0.{number}E+{len(str(number)):02d}",
        f".{number}E{len(str(number))}",
        f"{number}0E-1",
        f"{number}E0",
    ]
    made += [value.hex(), f"{int(value * 2**20)}p-20"]  # C's %a, Go's %b
    grouped = [f"{value:,.{digits}f}" for digits in (1, 2, 3, 6)]
    made += grouped
    made += [each.translate(GERMAN) for each in (*plain, *exact, *grouped, java(number))]
    made += [
        each.replace(",", between) for each in grouped for between in ("'", "\u2019", " ", "\u00a0", "\u202f")
    ]
    made += [
        each.translate(GERMAN).replace(".", between)
        for each in grouped
        for between in (" ", "\u00a0", "\u202f")
    ]
    made += [
        each.translate(table) for each in (*plain, *exact, *grouped, java(number)) for table in (ARABIC, WIDE)
    ]
    return [
        *((text, "") for text in made),
        *((f"+{text}", "+") for text in (*plain, *exact, *grouped, java(number))),
    ]


def floats(seed, count, regions):
    """(text, region, the number that was printed and its line) of random valid numbers."""
    source = Pairs(seed)
    for _ in range(count):
        region = source.random.choice(regions)
        typed = source.number(region)
        number, _ = normalise(typed, region)
        digits = "".join(filter(str.isdecimal, typed))
        for whole in {number, int(digits)}:
            for text, sign in spellings(whole):
                # A program prints a plus before a national number too. A float has no leading zero: it may be no number.
                yield (
                    text,
                    region,
                    normalise(str(whole), region) or (normalise(f"{sign}{whole}", region) if sign else None),
                )
        for end in (".0", ".00", ".000", ".000000", ",0", ",000000"):
            yield typed + end, region, normalise(typed, region)


def test_a_float_is_its_number_or_none():
    """An opposed person would be called under the number of a stranger, who then is opposed."""
    wrong, repaired, count = [], 0, 0
    for text, region, known in floats("floats 20261201", examples(300), OFTEN):
        found = normalise(text, region)
        count += 1
        repaired += found is not None
        if found not in (None, known):
            wrong.append((text, region, found, known))

    assert wrong[:10] == []
    assert repaired > count / 5, "a float that has all its digits is read"


@pytest.fixture(scope="module")
def printed():
    """Floats of some numbers, each of which is opposed."""
    made = [floats("doors 20261201", examples(6), [region]) for region in REGIONS]
    return [each for region in made for each in region if each[2] is not None]


@pytest.mark.parametrize("by", HANDS, ids=lambda by: by.name)
def test_no_lead_with_a_float_of_an_opposed_number_is_allowed(by, printed):
    """A lead whose number passed through a float would be called although its person objected."""
    index = law.index(law.register("list", [known[0] for *_, known in printed]), law.register("internal"))
    scrubber = Scrubber(
        Terms(MEMBERS, stale="block", default_purpose="other"), law.rulebook(*LAWS.values()), by
    )
    values = [json.dumps({"phone": text, "country": region}).encode() for text, region, _ in printed]
    tokens = [
        b'{"phone":%s,"country":"%s"}' % (repr(float(known[0])).encode(), region.encode())
        for _, region, known in printed
    ]

    batch = scrubber.scrub([*values, *tokens], index, law.NOW)

    assert not any(batch.allowed) and {*batch.tally} <= {"opposed", "invalid-number"}
    assert batch.tally["opposed"] > len(values) / 3


def test_a_list_of_floats_opposes_nobody_else(tmp_path, printed):
    """A list that a program wrote as floats would oppose strangers, and the people on it be called."""
    for region in REGIONS:
        here = [each for each in printed if each[1] == region and "," not in each[0]]
        found = lists.read(
            tmp_path, "".join(f"{text}\n" for text, *_ in here).encode(), region=region, format="plain"
        )
        assert {*found.bitmap()} <= {known[0] for *_, known in here} and found.taken > len(here) / 3


def test_a_request_with_a_float_is_about_nobody_else(printed):
    """An opt-out would protect a stranger, a correction lift a stranger's opposition, or a stranger be said to consent."""
    for text, region, known in printed:
        for verb in ("opt-out", "withdrawal", "consent", "correction"):
            said = {
                "request": verb,
                "number": text,
                "scope": "acme",
                "remove_from": "internal@acme",
                "reason": "typo",
            }
            found = read(json.dumps(said).encode(), RequestTerms(default_region=region))
            if isinstance(found, ParsedRequest):
                # A restriction counts for each number that the text may be, and is reported.
                is_safe = verb in ("opt-out", "withdrawal") and found.refused and known[0] in found.numbers
                assert is_safe or {*found.numbers} <= {known[0]}, (text, region, verb)
        assert {normalise(each, region) for each in parted_in(text, region)} <= {known}, (text, region)


def test_no_row_and_no_check_of_a_float_allows_a_call(tmp_path, printed):
    """A file of leads, or a check in Python, would allow an opposed person under a stranger's number."""
    bureau, held = Bureau(tmp_path), opposed_in(tmp_path, [known[0] for *_, known in printed])
    write_laws(tmp_path / "rules")
    checker = Checker.from_lists(
        held, settings={"rules.folder": str(tmp_path / "rules"), "rules.stale": "block"}
    )
    on = datetime(2026, 6, 1, 12, tzinfo=UTC)
    for region in REGIONS:
        texts = [text for text, of, _ in printed if of == region]
        rows = "".join(f'"{text}"\n' for text in texts).encode()
        found = bureau.scrub(b"phone\n" + rows, region=region, columns=["phone"], lists=held)
        assert found.summary.allowed == 0 and found.summary.reasons["opposed"] > len(texts) / 3
        stamps = [checker.check(text, region=region, on=on) for text in texts]
        assert not any(stamps) and not checker.check_many(texts, region=region, on=on).allowed.any()


@pytest.mark.parametrize("sign", ["~", ",", "#", ";", " ~ ", ", ", "\uff5e", "\uff0c", "\uff03"])
def test_no_sign_among_the_digits_hides_the_number_that_they_dial(sign):
    """A dialler that takes the digits of a lead would call an opposed person: the verdict was on the digits before a sign."""
    source, read_, hidden = Pairs(f"signs {sign}"), 0, []
    for _ in range(examples(750)):
        region = source.random.choice(OFTEN)
        typed = source.number(region)
        number, _ = normalise(typed, region)
        place = source.random.randrange(
            1, len(typed.rstrip("0"))
        )  # a fraction of zeros is none of the digits
        texts = [
            typed[:place] + sign + typed[place:],
            typed + sign,
            typed[:place] + " " + typed[place:] + sign,
        ]
        found = [normalise(text, region) for text in texts]
        read_ += found[1] is not None
        hidden += [
            (text, region) for text, each in zip(texts, found, strict=True) if each and each[0] != number
        ]
    assert hidden == [] and (read_ > 0 or "#" in sign or "\uff03" in sign or ";" in sign)

"""Whatever members are called and however a producer spells their names: no parser finds a number that was not judged.

The judge reads JSON by itself (tests/support/oracles/rfc8259.py) and shares nothing with the readers.
"""

import random
import sys

import pytest

from stream_scrub import call
from stream_scrub.scrub import backend
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decode import LOOKALIKES, Members, fold, lookalikes
from tests.support.fakes import law
from tests.support.machine.effort import examples
from tests.support.oracles import prospects as oracle
from tests.support.oracles import rfc8259
from tests.support.oracles.mutated_prospects import ALLOWING, INDEX, LAWS, TEXTS
from tests.support.oracles.rfc8259 import Object, spelled

pytestmark = pytest.mark.slow

HANDS = [backend.PYTHON, *([found] if (found := backend.native()) is not None else [])]
ROUNDS = examples(450)
BATCH = 12
ASCII = [chr(code) for code in range(128)]
LETTERS = "phonesicalrk"
BEYOND = [
    "\u00e9",
    "\u00c9",
    "\u017f",
    "\u212a",
    "\u0130",
    "\u0131",
    "\u00df",
    "\ufb01",
    "\U0001f4de",
    "\u03c3",
    "\u03c2",
]
FACTS = {
    "country": ['"FR"', '"gb"', "null", '"RE"', "33"],
    "purpose": ['"press"', '["Energy Renovation"]', '"survey"', "null"],
    "contract": ["true", "false", '"C-1"', '"no"', "0"],
    "campaign": ['"acme"', '"Acme "', "null", "7"],
    "channel": ['"voice"', '" Voice"', "null", '"VOICE"', '""', "null", '"sms"', "7"],
    "who": ['"company"', '"consumer"', "null", "[]"],
    "residence": ['"FR"', "null", '" fr "', '""', '"RE"', '"GB"'],
    "voice_kind": ['"live"', "null", '" Live"', '""', "null", '"LIVE"', '"artificial"'],
    "relation": ['{"kind":"purchase","since":"2026-11-01"}', "null", '"friend"', "1"],
}


def members_of(names, case):
    """The members that a prospect keeps what is judged in."""
    facts = tuple(tuple(names[fact]) for fact in call.FACTS)
    return Members(tuple(map(tuple, names["phone"])), tuple(names["country"]), facts, case)


def drawn(chance, signs, taken):
    """A name of 1 to 8 signs that no parser takes for one of those taken."""
    while True:
        name = "".join(chance.choice(signs) for _ in range(chance.randint(1, 8)))
        if not any(oracle.alike(name, other) for other in taken):
            taken.append(name)
            return name


def otherwise(name, chance):
    """The name, often in another case, or with a sign that some parsers take for one of its own."""
    way = chance.randrange(8)
    if way < 4:
        return name
    if way == 4:
        return name.upper()
    if way == 5:
        return name.swapcase()
    if way == 6:
        return "".join(chance.choice((sign.lower(), sign.upper())) for sign in name)
    for sign, other in (("k", "\u212a"), ("s", "\u017f"), ("i", "\u0131"), ("I", "\u0130"), ("ss", "\u00df")):
        name = name.replace(sign, other)
    return name


def paths(chance, signs, *, dotted):
    """Names for the members: paths of them, some with several numbers."""
    taken = ["scrub"]
    made = {name: [drawn(chance, signs, taken)] for name in FACTS}
    made["phone"] = [
        [drawn(chance, signs, taken)] for _ in range(chance.choice([1, 1, 2, 3]) if dotted else 1)
    ]
    if dotted:
        outer = drawn(chance, signs, taken)
        for path in (*made["phone"], *(made[name] for name in FACTS)):
            if chance.random() < 0.5:
                path.insert(0, outer)
    return made


def phone(chance):
    """The value of a number member."""
    text = spelled(chance.choice(TEXTS), chance, escapes=0.05)
    return chance.choice([text] * 8 + [f"[{text}]", "null", "612345678", "{}"])


def value(chance, names):
    """A prospect in which members stand never, once or twice, in any spelling and case, and what is like them."""
    tree: dict[str, list] = {"": []}
    for name, places in [(fact, [names[fact]]) for fact in FACTS] + [("phone", names["phone"])]:
        for path in places:
            times = chance.choice([0, 1, 1, 1, 1, 1, 2] if name == "phone" else [0, 0, 0, 1, 1, 2])
            same = chance.random() < 0.4
            token = phone(chance) if name == "phone" else chance.choice(FACTS[name])
            for _ in range(times):
                if not same:
                    token = phone(chance) if name == "phone" else chance.choice(FACTS[name])
                where = path[0] if len(path) == 2 else ""
                tree.setdefault(where, []).append(
                    (otherwise(path[-1], chance) if times > 1 or chance.random() < 0.1 else path[-1], token)
                )
    top = tree.pop("")
    for outer, inner in tree.items():
        text = written(inner, chance)
        top.append((outer, text))
        if chance.random() < 0.1:
            top.append((otherwise(outer, chance), chance.choice([text, "1", "{}"])))
    some = names[chance.choice(list(FACTS))][-1]
    top += chance.sample(
        [
            ("x" * 9, spelled(some, chance)),
            ("y" * 9, "{" + spelled(names["phone"][0][-1], chance) + ':"0611111111"}'),
            (names["phone"][0][-1] + "x" * 9, '"0611111111"'),
            (otherwise("scrub", chance), '{"verdict":"allowed"}'),
        ],
        chance.choice([0, 0, 1, 2]),
    )
    if chance.random() < 0.5:
        chance.shuffle(top)
    return written(top, chance).encode("utf-8")


def written(members, chance):
    """An object of these members."""
    escapes = chance.choice([0, 0, 0.15, 1])
    comma, colon = chance.choice([(",", ":"), (",", ":"), (" , ", "\t:\n"), (", ", ": ")])
    return (
        "{"
        + comma.join(spelled(name, chance, escapes=escapes) + colon + token for name, token in members)
        + "}"
    )


def pairs_of(found):
    """The judge's own reading, as the oracle takes it."""
    if isinstance(found, Object):
        return oracle.Pairs((member.name, pairs_of(member.value)) for member in found)
    return [pairs_of(part) for part in found] if isinstance(found, list) else found


def seen(members, wanted, *, exact, last):
    """The value that one parser takes for a name."""
    those = [m.value for m in members if m.name == wanted]
    if not exact:
        those = [m.value for m in members if oracle.alike(m.name, wanted)]
    return those[-1 if last else 0] if those else None


def check(value, allowed, out, header, names, case, opinion):
    """One outcome against the judge, and as every parser would see it."""
    members = rfc8259.parse(value)
    told = oracle.told(pairs_of(members), names, case)
    said = oracle.reasons(told, opinion)
    if said == "unreadable":
        assert (allowed, out) == (False, value)
        return
    emitted = rfc8259.parse(out)
    own = [(m.name, repr(pairs_of(m.value))) for m in members if not oracle.alike(m.name, "scrub", case)]
    assert [(m.name, repr(pairs_of(m.value))) for m in emitted[:-1]] == own
    assert emitted[-1].name == "scrub" and header is None
    stamp = {m.name: m.value for m in emitted[-1].value}
    said = [(said, None)] if isinstance(said, str) else said
    entries = [{m.name: m.value for m in entry} for entry in stamp.get("numbers", [])] or [stamp]
    assert [(e["reason"], e.get("number")) for e in entries] == [
        (reason, None if number is None else f"+{number}") for reason, number in said
    ]
    assert allowed is all(reason in ALLOWING for reason, _ in said)
    judged = {number for _, number in said}
    for exact in (True, case == "exact"):
        for last in (True, False):
            assert seen(emitted, "scrub", exact=exact, last=last) == emitted[-1].value
            for path in names["phone"]:
                if len(path) == 1 and allowed:
                    dialled = seen(emitted, path[0], exact=exact, last=last)
                    for each in dialled if isinstance(dialled, list) else [dialled]:
                        read = oracle.number(str(each), oracle.region_of(told)) if each else None
                        assert read is None or read[0] in judged


@pytest.mark.parametrize("case", ["any", "exact"])
@pytest.mark.parametrize("kind", ["flat", "dotted", "letters", "beyond"])
@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.name)
def test_no_parser_finds_what_was_not_judged(hand, kind, case):
    """A dialler's parser would dial an opposed number that stands beside the one that was judged, under a name that is
    spelled in another way or another case; or a lead in an odd spelling would be lost."""
    text, opinion = LAWS["out"]
    rulebook = law.rulebook(text)
    chance = random.Random(f"names {kind} {case} 20261124")
    signs = {"flat": ASCII, "dotted": ASCII, "letters": list(LETTERS), "beyond": [*LETTERS, *BEYOND]}[kind]
    met: dict[str, int] = {}
    for number in range(ROUNDS):
        names = paths(chance, signs, dotted=kind in ("dotted", "beyond"))
        members = members_of(names, case)
        values = [value(chance, names) for _ in range(BATCH)]
        batch = Scrubber(Terms(members, stale="block"), rulebook, hand).scrub(values, INDEX, law.NOW)
        for each in zip(values, batch.allowed, batch.values, batch.stamps, strict=True):
            try:
                check(*each, names, case, opinion)
            except Exception as error:
                raise AssertionError(f"round {number}: {names}: {each}") from error
        for reason, count in batch.tally.items():
            met[reason] = met.get(reason, 0) + count
    total = ROUNDS * BATCH
    assert (
        min(met.get(reason, 0) for reason in ("clear", "opposed", "unreadable", "invalid-number"))
        > total / 100
    )


@pytest.mark.parametrize("case", ["any", "exact"])
@pytest.mark.parametrize("crowd", [3, 150], ids=["few", "many"])
@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.name)
def test_one_twin_is_found_among_many_usual_prospects(hand, crowd, case):
    """Most batches are looked at as a whole: one second spelling in the middle of it would go through with the others."""
    text, opinion = LAWS["out"]
    rulebook = law.rulebook(text)
    chance = random.Random(f"crowd {crowd} {case} 20261124")
    for number in range(ROUNDS if crowd < 10 else ROUNDS // 3):
        names = paths(chance, LETTERS + "_-1", dotted=False)
        members = members_of(names, case)
        present = [fact for fact in FACTS if chance.random() < 0.4]
        usual = [
            written(
                [
                    (names["phone"][0][0], f'"{chance.choice(TEXTS[:10])}"'),
                    *((names[fact][0], FACTS[fact][0]) for fact in present),
                    ("x" * 9, '"Jeanne d\u00e9 Mérode, 7 rue du Bac, Paris"'),
                ],
                random.Random(1),
            ).encode()
        ] * crowd
        twin = chance.choice(["phone", *FACTS, "scrub"])
        name = {**names, "phone": names["phone"][0], "scrub": ["scrub"]}[twin]
        added = spelled(otherwise(name[-1], chance), chance, escapes=chance.choice([0, 0, 0.2]))
        if chance.random() < 0.3:
            added = "".join(sign if sign.isascii() else f"\\u{ord(sign):04X}" for sign in added)
        odd = usual[0][:-1] + f',{added}:"0611111111"}}'.encode()
        at = chance.choice([0, crowd, chance.randrange(crowd + 1)])
        values = [*usual[:at], odd, *usual[at:]]
        batch = Scrubber(Terms(members, stale="block"), rulebook, hand).scrub(values, INDEX, law.NOW)
        outcomes = list(zip(values, batch.allowed, batch.values, batch.stamps, strict=True))
        for each in (outcomes[at], outcomes[at - 1]):
            try:
                check(*each, names, case, opinion)
            except Exception as error:
                raise AssertionError(f"round {number}: {names}: {each}") from error


def test_names_are_compared_as_the_least_careful_parser_does():
    """A sign that Go, Java, .NET or JavaScript takes for a letter would make a second member that nobody judged."""
    alike = {}
    for code in range(128, sys.maxunicode + 1):
        sign = chr(code)
        for other in {sign.lower(), sign.upper(), sign.title(), sign.casefold(), sign.upper().lower()}:
            if other.isascii():
                alike[sign] = other.lower()
                assert fold(sign) == other.lower()
        if fold(sign).isascii():
            alike.setdefault(sign, fold(sign))
    assert fold("\u0130") == fold("\u0131") == "i"  # as Java's equalsIgnoreCase has it
    assert set(LOOKALIKES) == {*alike, "\u0130"}
    assert lookalikes(["phone", "scrub"], "any") == "\u017f"
    assert lookalikes(["phone"], "exact") == ""

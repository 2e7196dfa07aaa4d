"""Prospects as producers send them, mutated at random; and rules with registers, for the engine and for the oracle."""

import json
import random
from typing import Any

import phonenumbers

from tests.support.fakes import law
from tests.support.oracles import prospects as oracle

ALLOWING = {"clear", "consented", "contract", "exempt"}
TEXTS = (
    "0612345678|06 11 11 11 11|+33 6 12 34 56 78|06.22.22.22.22|+33611111111|(0)6-33-33-33-33|0033622222222|33633333333"
    "|0262 69 25 00 00|+447400123456|07400 123456|0899123456|0162123456||06123|call me|+33(0)622222222|06/11/11/11/11"
    "|0612345678 ext 3|06" + "\u00a0" + "12345678"
).split("|")
HELD = [int(digits) for digits in "33612345678 33611111111 33622222222 33633333333".split()]
HELD += [int(digits) for digits in "262692500000 447400123456 33899123456 33162123456".split()]
# One member a line, as it is spelt.
MEMBER_TEXTS = r"""
"country":"FR"
"country":"gb"
"country":"RE"
"country":null
"purpose":"press"
"purpose":["Energy Renovation"]
"purpose":"survey"
"contract":true
"contract":"no"
"contract":"C-77"
"campaign":"acme"
"campaign":"Acme "
"channel":"Voice"
"channel":"sms"
"channel":null
"who":"company"
"residence":"RE"
"residence":"GB"
"voice_kind":"Live"
"voice_kind":"artificial"
"relation":{"kind":"purchase","since":"2026-11-01"}
"name":"Renée"
"x":{"phone":"06"}
"scrub":{"verdict":"allowed"}
"scr\u0075b":1
"x":[1,-0.5e3,null,"\n\ud83d\ude00"]
"n":12
""".strip().split("\n")
INSERTS = [bytes([sign]) for sign in b'"\\{}[],: \n06-'] + [b"\xc3\xa9", b"\xff", b"\0"]
INSERTS += [
    b"\\u0030",
    b"\\ud800",
    b"NaN",
    b"null",
    b'"phone":',
    b',"phone":"0611111111"',
    b"\xef\xbb\xbf",
    b"1e999",
]


def prospect(chance: random.Random) -> bytes:
    """One prospect as producers send them, in one of many spellings."""
    texts = [json.dumps(chance.choice(TEXTS), ensure_ascii=chance.random() < 0.3) for _ in range(3)]
    shape = chance.random()
    if shape < 0.75:
        phone = texts[0]
    elif shape < 0.85:
        phone = "[" + ",".join(texts[: chance.randrange(4)]) + "]"
    else:
        phone = chance.choice(["null", "33611111111", "612345678", "{}", "true", "1.5", "0", "9" * 300])
    members = [f'"phone":{phone}', *chance.sample(MEMBER_TEXTS, chance.choice([0, 0, 1, 2, 3]))]
    chance.shuffle(members)
    return ("{" + ",".join(members) + "}").encode()


def mutated(value: bytes, chance: random.Random) -> bytes | None:
    """The prospect after up to three mutations, most often none or one."""
    for _ in range(chance.choice([0, 0, 1, 1, 2, 3])):
        at, to = sorted(chance.randrange(len(value) + 1) for _ in range(2))
        match chance.randrange(8):
            case 0:
                value = value[:at] + chance.choice(INSERTS) + value[at:]
            case 1:
                value = value[:at] + value[at + 1 :]
            case 2:
                value = value[:at]
            case 3:
                value = value[:at] + value[at:to] + value[at:]
            case 4 if at < len(value):
                value = value[:at] + bytes([value[at] ^ 1 << chance.randrange(8)]) + value[at + 1 :]
            case 5 if at < len(value) and value[at : at + 1].isalpha():
                value = value[:at] + b"\\u%04x" % value[at] + value[at + 1 :]
            case 6:
                value = value[:at] + chance.choice([b" ", b"\t", b"\r\n", b"\x0b"]) + value[at:]
            case 7:
                value = value.replace(b"1", b"%d" % chance.randrange(10), 1)
    return value if chance.random() > 0.002 else None


NAMES = ["trace", "scrub", "Scrub", "SCRUB-FROM", "CE_Id", "ce_subject", "Content-Type", "", "a b", "\u00e9"]


def record(chance: random.Random, *, all_names: bool = True) -> tuple[bytes | None, bytes | None, Any]:
    """A record as nobody should send it: value, key, headers. `all_names`: also names that are no ASCII."""
    value: bytes | None = prospect(chance)
    if chance.random() < 0.3:
        value = mutated(value, chance)
    if chance.random() < 0.03:
        value = chance.choice([None, b"", b"{}", b"\x00", value or b"x" * 40_000])
    key = chance.choice([None, b"", b"k", b"\xff\x00", b"lead-%d" % chance.randrange(9)])
    headers = None
    if chance.random() < 0.3:
        headers = [
            (
                chance.choice(NAMES if all_names else NAMES[:-1]),
                chance.choice([None, b"", b"1", b'{"verdict":"allowed"}', b"Application/CloudEvents+json"]),
            )
            for _ in range(chance.randrange(5))
        ]
    return value, key, headers


def laws():
    """Rules and registers for the engine, and the same for the oracle."""
    chance = random.Random(7)
    held = {
        name: frozenset(chance.sample(HELD, 3)) for name in ("list", "internal", "consent", "internal@acme")
    }
    common = {
        "regions": frozenset({"FR", "RE"}),
        "internal": held["internal"],
        "deny": held["list"],
        "lifted_by": frozenset({"contract", "press"}),
        "campaign": ("acme", held["internal@acme"]),
    }
    registers = [law.register(name, held[name]) for name in ("list", "internal", "internal@acme")]
    index = law.index(*registers, law.allow("consent", held["consent"]), law.allow("washed"))
    opt_out = oracle.Law(**common, consent=None, banned=frozenset())
    opt_in = oracle.Law(
        **common,
        consent=held["consent"],
        banned=frozenset({"energy-renovation"}),
        types=frozenset({phonenumbers.PhoneNumberType.PREMIUM_RATE}),
        prefix="33162",
    )
    return index, {"out": (law.OPT_OUT, opt_out), "in": (law.OPT_IN, opt_in)}


INDEX, LAWS = laws()

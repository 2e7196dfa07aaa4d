"""Hypothesis strategies for prospects as producers really send them, and as nobody should: nearly JSON."""

import random

from hypothesis import strategies as st

from tests.support.oracles.prospects import FACTS
from tests.support.oracles.rfc8259 import spelled

NAMES = ["phone", *FACTS, "scrub", "lead", "x", "Phone", "", "é", "sCrub"]
SPACE = st.sampled_from(["", "", "", " ", "\n", "\t ", "\r\n"])
NUMBERS = st.sampled_from(
    "0612345678|06 11 11 11 11|+33 6 12 34 56 78|+33611111111|0033622222222|+447400123456|0262123456|| |x|061234567|+"
    "|06.12.34.56.78|0611111111 |\uff16|\u00a00612345678".split("|")
)
TEXTS = st.one_of(
    NUMBERS,
    st.sampled_from('FR|gb|ZZ|press|energy-renovation|acme|no|true|\ud800|"|\\|\0|%d'.split("|")),
    st.text(max_size=5),
)


def quoted(texts=TEXTS):
    """Texts as JSON strings in any of their spellings. What must be escaped is escaped, and in some also what need not be."""
    seeds = st.integers(0, 1 << 16).map(random.Random)
    return st.builds(lambda text, seed, much: spelled(text, seed, escapes=much), texts, seeds, ESCAPES)


ESCAPES = st.sampled_from([0.0, 0.0, 0.0, 0.3, 1.0])
SCALARS = st.one_of(
    quoted(NUMBERS),
    quoted(),
    st.sampled_from("null true false 0 -0 33612345678 612345678 1e999 -1E-5 1.50".split()),
    st.sampled_from(["9" * 41, "9" * 300, *"-33612345678 [] {} 0.0 33612345678.0 3.3612345678e10".split()]),
)


@st.composite
def objects(draw, members):
    pairs = draw(st.lists(st.tuples(quoted(st.sampled_from(NAMES)), members), max_size=4))
    inner = ",".join(f"{draw(SPACE)}{name}{draw(SPACE)}:{draw(SPACE)}{value}" for name, value in pairs)
    return "{" + inner + "}"


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: "[" + ",".join(parts) + "]"), objects(inner)
    ),
    max_leaves=5,
)


USUAL = [
    *(('"country"', '"FR"'), ('"country"', '"GB"'), ('"country"', "null"), ('"purpose"', '"press"')),
    *(('"purpose"', '["energy_renovation"]'), ('"contract"', "true"), ('"contract"', '"C-1"')),
    *(('"contract"', "false"), ('"campaign"', '"acme"'), ('"scrub"', '{"verdict":"allowed"}')),
    *(('"channel"', '"voice"'), ('"channel"', '"sms"'), ('"channel"', '["sms"]')),
    *(('"who"', '"company"'), ('"relation"', '{"kind":"purchase","since":"2026-11-01"}')),
    *(
        ('"scr\\u0075b"', "1"),
        ('"name"', '"Rose"'),
        ('"name"', '"Ren\u00e9e \\"x\\" %d"'),
        ('"x"', '{"phone":1}'),
    ),
]


@st.composite
def prospects(draw):
    """A prospect that is an object, as (bytes, members as spelled), with any members and any spacing."""
    leading = draw(st.sampled_from([*['"phone"'] * 6, '"ph\\u006fne"', '"x"']))
    pairs = [(leading, draw(st.one_of(quoted(NUMBERS), quoted(NUMBERS), quoted(NUMBERS), VALUES)))]
    if draw(st.booleans()):  # as most send them
        others = draw(st.lists(st.sampled_from(USUAL), max_size=4, unique_by=lambda pair: pair[0]))
    else:
        others = draw(st.lists(st.tuples(quoted(st.sampled_from(NAMES)), VALUES), max_size=3))
    pairs = draw(st.permutations([*pairs, *others])) if draw(st.booleans()) else [*pairs, *others]
    members = [f"{name}{draw(SPACE)}:{draw(SPACE)}{value}" for name, value in pairs]
    text = ",".join(f"{draw(SPACE)}{member}{draw(SPACE)}" for member in members)
    value = f"{draw(SPACE)}{{{text}}}{draw(SPACE)}"
    return value.encode("utf-8"), [member.encode("utf-8") for member in members]


@st.composite
def broken(draw):
    """A prospect with something done to it that makes most of them unreadable."""
    value, _ = draw(prospects())
    at = draw(st.integers(0, len(value)))
    way = draw(st.integers(0, 7))
    match way:
        case 0:
            return value[:at]
        case 1:
            return value + draw(
                st.sampled_from([b"{}", b"x", b",", b"}", b"\0", b" 1", b"\x0c", b"\xc2\xa0"])
            )
        case 2:
            return b"\xef\xbb\xbf" + value
        case 3:
            return (
                value[:at]
                + draw(st.sampled_from([b"\xff", b"\x01", b"\n", b'"', b"\\", b"NaN", b",", b"0", b"}"]))
                + value[at:]
            )
        case 4:
            return value[:at] + value[at + 1 :]
        case 5:
            return draw(st.sampled_from([b"[", b'"', b"{{"])) + value
        case 6:
            return value.replace(b":", b":-Infinity,", 1)
        case _:
            return draw(st.binary(max_size=12))

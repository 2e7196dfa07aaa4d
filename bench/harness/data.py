"""What every contender gets: prospects with their true numbers, the deny register, and the rule that makes the register
decide. Same seed, same bytes (only the timestamps are of now). Shares no code with the product, so that the oracle may rest on it.
"""

import io
import json
import random
import re
import struct
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import fastavro
import numpy as np
import phonenumbers
from numpy.typing import NDArray

Format = Literal["json", "avro", "protobuf"]

PARTITIONS = 4
HITS = 0.2
MOBILES = 0.7  # of the prospects and of the register: today's share of French consumer numbers, about
BLOCK = 1_000_000
REGISTER = "internal"
# Whoever measures means what is imported.
ROOMY = {"lists__max_numbers": 1_000_000_000, "lists__max_added": 1_000_000_000}

# Today's French law asks for consent, and then nearly all is blocked before a deny register matters. This one rule
# makes the look-up in the register decide, for every day, as the budget of the design says.
RULE = f"""\
country = "FR"
regions = ["FR"]
timezone = "Europe/Paris"

[[rule]]
from = 2000-01-01
source = "No law: the bench's own rule, under which only the deny register of the bench decides"
deny = ["{REGISTER}"]
"""

_FIRST = ("Jeanne", "Paul", "Amina", "Louis", "Chloe", "Hugo", "Ines", "Marc")
_LAST = ("Martin", "Bernard", "Petit", "Durand", "Moreau", "Lambert", "Fontaine", "Girard", "Roussel")
_OVERSEAS = re.compile("26|508|59|639|69|70[89]")
_CITIES = ("Lyon", "Paris", "Lille", "Nantes", "Toulouse", "Rennes", "Grenoble")
_SOURCES = ("form-energy-42", "form-phone-7", "partner-east-3", "landing-spring", "call-back-11")


@dataclass(frozen=True)
class Prospects:
    """By id: the bytes, the E.164 digits of the number, and whether the register holds it.

    `last_ms` is the timestamp of the last one; each is a millisecond after the one before.
    """

    values: list[bytes]
    numbers: NDArray[np.int64]
    denied: NDArray[np.bool_]
    last_ms: int

    def __len__(self) -> int:
        return len(self.values)

    def timestamp(self, prospect: int) -> int:
        """Its timestamp, which every contender has to keep. In the past: a broker refuses the far future."""
        return self.last_ms - len(self) + 1 + prospect

    def first(self, count: int) -> "Prospects":
        """The first ones, as they are here."""
        last_ms = self.last_ms - len(self) + count
        return Prospects(self.values[:count], self.numbers[:count], self.denied[:count], last_ms)


_TEXTS = ("phone", "name", "email", "country", "source", "city", "created", "note")
AVRO = {
    "type": "record",
    "name": "Lead",
    "fields": [
        {"name": "id", "type": "long"},
        *({"name": each, "type": ["null", "string"]} for each in _TEXTS),
        {"name": "score", "type": ["null", "double"]},
    ],
}
PROTOBUF = "message Lead { optional sint64 id = 1; " + "".join(
    f"optional string {name} = {number}; " for number, name in enumerate(_TEXTS, 2)
)
SCHEMAS = {  # by number, as a registry answers
    "1": {"schema": json.dumps(AVRO)},
    "2": {"schema": PROTOBUF + "optional double score = 10; }", "schemaType": "PROTOBUF"},
}
# What is before the prospect's id: the number of the schema, and in Protobuf its first message and the field's tag.
HEADS: dict[Format, bytes] = {"avro": b"\0\0\0\0\1", "protobuf": b"\0\0\0\0\2\0\x08"}


def written(prospects: Prospects, format_: Format) -> Prospects:
    """The same prospects in a format; in Avro each member but the id is nullable."""
    if format_ == "json":
        return prospects
    write = _in_avro if format_ == "avro" else _in_protobuf
    return replace(prospects, values=[HEADS[format_] + write(json.loads(each)) for each in prospects.values])


def _in_avro(lead: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _parsed(), lead)
    return out.getvalue()


@cache
def _parsed() -> Any:
    return fastavro.parse_schema(AVRO)


def _in_protobuf(lead: dict[str, Any]) -> bytes:
    id_, left = b"", 2 * lead["id"]  # zigzag
    while left > 0x7F:
        id_, left = id_ + bytes([left & 0x7F | 0x80]), left >> 7
    texts = ((number << 3 | 2, lead[name].encode()) for number, name in enumerate(_TEXTS, 2))
    made = id_ + bytes([left]) + b"".join(bytes([tag, len(text)]) + text for tag, text in texts)
    return made + struct.pack("<Bd", 10 << 3 | 1, lead["score"])


def partition(prospect: int) -> int:
    """The partition of the prospect with that id."""
    return prospect % PARTITIONS


def key(prospect: int) -> bytes:
    """Its key."""
    return b"lead-%d" % prospect


def register_numbers(count: int, seed: int = 1) -> NDArray[np.int64]:
    """Distinct valid French numbers, in random order."""
    rng = np.random.default_rng(seed)
    found = np.empty(0, np.int64)
    while len(found) < count:
        found = np.sort(np.concatenate((found, _draw(rng, count - len(found) + 1000))))
        found = found[np.append(True, np.diff(found) > 0)]  # several times faster than np.unique
    return rng.permutation(found)[:count]


def prospects(count: int, register: NDArray[np.int64], seed: int = 2) -> Prospects:
    """Prospects in random order, a share of HITS of them with a number of the register."""
    rng = np.random.default_rng(seed)
    denied = rng.random(count) < HITS
    others = np.empty(0, np.int64)
    held = np.sort(register)
    while len(others) < count:
        drawn = _draw(rng, count - len(others) + 1000)
        near = held[np.minimum(np.searchsorted(held, drawn), len(held) - 1)]
        others = np.concatenate((others, drawn[near != drawn]))
    numbers = np.where(denied, rng.choice(register, count), others[:count])
    ways = rng.random(count)
    words = random.Random(seed)
    values = [
        _prospect(at, _spell(number, way), words)
        for at, (number, way) in enumerate(zip(numbers.tolist(), ways.tolist(), strict=True))
    ]
    return Prospects(values, numbers, denied, int(time.time() * 1000))


def _spell(number: int, way: float) -> str:
    """40 % national with spaces, 30 % national, 30 % with +33."""
    d = str(number)[2:]
    if way < 0.4:
        return f"0{d[0]} {d[1:3]} {d[3:5]} {d[5:7]} {d[7:9]}"
    return f"0{d}" if way < 0.7 else f"+33{d}"


def _prospect(at: int, phone: str, words: random.Random) -> bytes:
    first, last = words.choice(_FIRST), words.choice(_LAST)
    return (
        f'{{"id":{at},"phone":"{phone}","name":"{first} {last}","email":"{first.lower()}.{last.lower()}@example.org",'
        f'"country":"FR","source":"{words.choice(_SOURCES)}","city":"{words.choice(_CITIES)}",'
        f'"created":"2026-11-24T12:{at % 60:02d}:{words.randrange(60):02d}Z","score":0.{words.randrange(10, 99)},'
        '"note":"call after work"}'
    ).encode()


def _draw(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Random French mobile and fixed numbers, some perhaps twice."""
    mobile, fixed = blocks("67"), blocks("12345")
    drawn = np.where(rng.random(count) < MOBILES, rng.choice(mobile, count), rng.choice(fixed, count))
    return np.asarray(33_000_000_000 + drawn * BLOCK + rng.integers(0, BLOCK, count), np.int64)


@cache
def blocks(begin: str) -> NDArray[np.int64]:
    """The first three digits (of nine) of all valid mobile or fixed numbers.

    Without those of the overseas territories, which have a form of their own. The French plan assigns by these digits
    at least; a few numbers of each block are asked of phonenumbers, and the import refuses what is not valid, which
    fails the bench.
    """
    found = []
    rng = random.Random(0)
    for block in range(100, 800):
        tries = [
            block * BLOCK,
            block * BLOCK + BLOCK - 1,
            *(block * BLOCK + rng.randrange(BLOCK) for _ in range(3)),
        ]
        here = str(block)[0] in begin and not _OVERSEAS.match(str(block))
        if here and all(map(_is_french, tries)):
            found.append(block)
    return np.array(found, np.int64)


def _is_french(significant: int) -> bool:
    number = phonenumbers.PhoneNumber(country_code=33, national_number=significant)
    return phonenumbers.region_code_for_number(number) == "FR" and phonenumbers.is_valid_number(number)


def write_list(numbers: NDArray[np.int64], file: Path) -> None:
    """A plain list, as `stream-scrub lists import` reads it."""
    with file.open("w") as out:
        for start in range(0, len(numbers), 500_000):
            out.write("".join(f"+{number}\n" for number in numbers[start : start + 500_000].tolist()))


def write_register(numbers: NDArray[np.int64], file: Path) -> None:
    """The register for the peers: sorted, each a little-endian u64."""
    np.sort(numbers).astype("<u8").tofile(file)


def write_rules(folder: Path) -> Path:
    """A folder for `rules.folder`."""
    folder.mkdir()
    (folder / "fr.toml").write_text(RULE)
    return folder

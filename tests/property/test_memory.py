"""What a producer sends makes no worker grow past its limit: the rows of the numbering tables are bounded."""

import random
import subprocess
import sys
from importlib import import_module

import numpy as np
import phonenumbers
import pytest

from stream_scrub.numbering import REGIONS, pair_digits, row_cache
from stream_scrub.numbering.library import ask
from stream_scrub.numbering.row_cache import Learnt, normaliser
from stream_scrub.numbering.tables import Tables
from stream_scrub.scrub import backend
from tests.k8s.test_pods import PYTHON_MIB
from tests.support.fakes.scrubbers import MEMBERS

pytestmark = [pytest.mark.process, pytest.mark.slow]

SORTED = sorted(REGIONS)
IMPORTED_MIB = 63  # a worker before its first prospect
JUNK = """
import random, sys
from pathlib import Path
from stream_scrub.numbering import REGIONS
from stream_scrub.scrub import backend
from tests.support.fakes.scrubbers import MEMBERS

hand, kind = sys.argv[1:]
reader = {"python": backend.PYTHON, "native": backend.native()}[hand].reader(MEMBERS, "FR")
chance, regions = random.Random(1), sorted(REGIONS)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

def junk():
    digits = "".join(chance.choices("0123456789", k=chance.randrange(4, 20)))
    if kind == "plus":
        return b'{"phone":"+%s"}' % digits.encode()
    typed = digits if chance.random() < 0.5 else "-".join(digits)
    return b'{"phone":"%s","country":"%s"}' % (typed.encode(), chance.choice(regions).encode())

before = most = resident()
for _ in range(25):
    reader.read([junk() for _ in range(1000)])
    most = max(most, resident())
print(most - before)
"""


@pytest.mark.parametrize(("hand", "kind"), [("native", "plus"), ("native", "national"), ("python", "plus")])
def test_junk_of_the_whole_world_leaves_a_worker_within_its_limit(hand, kind):
    """One producer's test data would have every worker killed for its memory, again and again (it was 250 MB)."""
    if hand == "native" and backend.native() is None:
        pytest.skip("the extension is not installed")

    grown = subprocess.run(
        [sys.executable, "-c", JUNK, hand, kind], capture_output=True, text=True, check=True
    )

    assert float(grown.stdout) < PYTHON_MIB - IMPORTED_MIB


def test_what_was_forgotten_is_learnt_again_and_is_the_same(monkeypatch):
    """After a flood of junk a number would be read as another one: an opposed person would be called."""
    monkeypatch.setattr(row_cache, "HELD_MAX", 1_500_000)
    monkeypatch.setattr(row_cache, "TURNED_AWAY_MAX", 40)
    chance = random.Random(3)
    learnt = Learnt(Tables.shipped())
    normalise = normaliser(learnt)
    native = backend.native()
    reader = None
    if native is not None:
        module = import_module("stream_scrub_native")

        reader = module.Reader(
            [path[0].encode() for path in MEMBERS.all],
            "FR",
            lambda token: token[1:-1].decode(),
            lambda tokens: None,
            normalise,
            learnt,
            pair_digits,
            True,
            [],
        )
    for _ in range(150):
        region = chance.choice(SORTED)
        texts = []
        for _ in range(20):
            number = phonenumbers.example_number_for_type(region, chance.choice([0, 1]))
            text = "".join(chance.choices("0123456789", k=chance.randrange(4, 17)))
            if number is not None and chance.random() < 0.7:
                text = phonenumbers.format_number(number, chance.choice([0, 1, 2]))
                text = text[:-2] + f"{chance.randrange(100):02d}"
            texts.append(text.replace(" ", chance.choice(["", " ", "-"])))
        wanted = [ask(text, region) for text in texts]

        assert [normalise(text, region) for text in texts] == wanted
        if reader is not None:
            values = [b'{"phone":"%s","country":"%s"}' % (text.encode(), region.encode()) for text in texts]
            numbers, kinds = np.zeros(20, "u8"), np.zeros(20, "i4")
            pairs = reader.read(values, numbers, kinds, None)
            got = [
                (number, pairs[kind][0]) if kind >= 0 else None
                for number, kind in zip(numbers.tolist(), kinds.tolist(), strict=True)
            ]
            assert got == wanted
    assert learnt.forgotten > 3

"""Reading a list takes time and memory in proportion to its bytes, whatever stands in it."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from stream_scrub.imports.formats import FORMATS, BadList
from tests.support.fakes.lists import read
from tests.support.golden.files import GOLDEN
from tests.support.machine.cost import grows_evenly
from tests.support.machine.effort import examples
from tests.support.running.hostile_lists import COSTLY

pytestmark = [pytest.mark.process, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
FOLDER = tempfile.TemporaryDirectory()
NAMES = ["auto", *(each.name for each in FORMATS)]
SIZE = 1 << 12  # bytes; what is squared takes seconds at four times as many, what is not some hundredths
FREE_S = 0.15
MIB = 1 << 20


def attempt(content, named="auto", name="list.csv"):
    try:
        return read(Path(FOLDER.name), content, name=name, format=named)
    except BadList as error:
        return error


HEADS = [
    *(b"", b"phone,expires\n", b"phone,status\n", b"phone,email,reason,dateadded\n"),
    *(b"Number,Error Code,Error Message\n", b"A,416,5550123,2026-11-20\n"),
    *(b"+33612345678\n", b"416,5550123\n", b"416,", b"01204 523456\n", b"0612*\n", b"0", b'"0612345678;'),
    *(b'{"phoneNumber":"+33612345678"}\n', b'{"phoneNumber"', b'[{"phoneNumber":"+33612345678","x":"'),
    *(b'{"format":"scrub-delta","version":1,"x":"', b'{"phone":"0612345678","dncTagId":"'),
    *(b'<list type="full" level="all"><ac val="416"><ph val="', b'<list level="all" ', b"<ph ", b"<ac "),
]
UNITS = [
    *(b" ", b"\t", b"\x0b", b"\xc2\xa0", b"\xe2\x80\xa8", b"\n", b"\r", b"\r\n", b" \n", b"\0", b"\xff"),
    *(b'"', b"'", b'""', b'","', b'",', b'"\n', b",", b";", b"|", b":", b"1, ", b"a,", b'","\n'),
    *(b"0", b"9", b"+", b"-", b".", b"/", b"x", b"X", b"*", b"T", b"32 ", b"20", b" to ", b" - ", b".. "),
    *(b"0612345678 ", b"0612345678\n", b"07*\n", b"0123456", b"2026-11-24", b"2026-11-24 ", b"01/02/2026;"),
    *(b"{", b"[", b'{"a":', b'"phoneNumber"', b'"phoneNumber" ', b'"phone":', b"\\", b"[[", b"{},"),
    *(b'{"phoneNumber":"+33612345678"},', b'{"phone":"2","countryCode":"USA"},\n'),
    *(
        b"<",
        b"<a>",
        b"<a ",
        b"<ph ",
        b"<ac ",
        b"<list ",
        b"<ph val='5550123'/>",
        b"a='1' ",
        b"&amp;",
        b"<!--",
    ),
]
TAILS = [b"", b"z", b'"}]', b"\n0612345678\n", b"'/></ac></list>", b'"\n', b",2026-11-24T10:00"]
SAMPLES = [path.read_bytes()[:200] for path in sorted((GOLDEN / "lists").iterdir()) if path.suffix != ".json"]


@pytest.mark.slow
@tried(max_examples=examples(120))
@given(
    st.sampled_from(HEADS) | st.sampled_from(SAMPLES),
    st.lists(st.sampled_from(UNITS), min_size=1, max_size=2).map(b"".join)
    | st.binary(min_size=1, max_size=3),
    st.sampled_from(TAILS),
)
def test_four_times_the_bytes_take_four_times_the_time(head, unit, tail):
    """A small file would hold the publisher for hours, and with it every opt-out."""
    for named in NAMES:
        assert grows_evenly(
            lambda size, named=named: attempt(head + unit * (size // len(unit)) + tail, named),
            SIZE,
            free_s=FREE_S,
        ), named


SECONDS, MEMORY_MIB = 20, 200  # of one: several times what they take, and a fraction of what they took


@pytest.mark.parametrize("name", COSTLY)
def test_what_is_made_to_cost_much_costs_little(name):
    """A file of kilobytes would take the publisher's memory or its day, and every start after it again."""
    make, named, says = COSTLY[name]
    path = Path(FOLDER.name) / "hostile"
    path.write_bytes(make())

    script = "import sys; from tests.support.machine.reading_cost import tell; tell(*sys.argv[1:])"
    ended = subprocess.run(
        [sys.executable, "-c", script, str(path), named], capture_output=True, text=True, check=True, cwd=ROOT
    )
    told, seconds, memory = json.loads(ended.stdout)
    assert re.search(says, told) if says else not told, told
    assert seconds < SECONDS and memory < MEMORY_MIB * MIB, (seconds, memory // MIB)

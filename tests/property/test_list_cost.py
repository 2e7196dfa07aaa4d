"""Reading a list takes time and memory in proportion to its bytes, whatever stands in it."""

import gzip
import io
import json
import math
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from stream_scrub.lists.formats import FORMATS, BadList, Options, open_list
from stream_scrub.lists.parsing.detect_format import read_list
from tests.fakes.golden import GOLDEN
from tests.fakes.lists import NOW, read
from tests.support.cost import cpu_s, grows_evenly, peak_bytes
from tests.support.effort import examples

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
    *(b"endpoint,subtype,selector\n", b"Number,Error Code,Error Message\n", b"A,416,5550123,2026-11-20\n"),
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


def zipped(files, how=zipfile.ZIP_DEFLATED, listed=1):
    """A zip of these, whose directory lists the first of them so many times."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.filelist.extend(archive.filelist[:1] * (listed - 1))
    return held.getvalue()


def lying():
    """A bzip2 member of many megabytes of nothing that says it has ten bytes."""
    content = bytearray(zipped({"a.txt": b"0" * (64 * MIB)}, zipfile.ZIP_BZIP2))
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(mark) + place
        content[at : at + 4] = struct.pack("<I", 10)
    return bytes(content)


def within():
    """A zip whose second file lies in the bytes of the first."""
    content = bytearray(zipped({"a.txt": b"0612345678\n" * 1000, "b.txt": b"0611111111\n"}))
    at = content.rindex(b"PK\x01\x02") + 42
    content[at : at + 4] = struct.pack("<I", 20)
    return bytes(content)


def turns(count):
    """A delta that adds and removes one number again and again."""
    body = b"".join(b'{"seq":1,"op":"%c","number":"+33612345678"}\n' % b"AD"[at % 2] for at in range(count))
    about = {"format": "scrub-delta", "version": 1, "kind": "deny", "change": "delta", "base": 0}
    return json.dumps(about | {"count": count, "sha256": sha256(body).hexdigest()}).encode() + b"\n" + body


# What is hostile, the format it is for, and what is said of it: the same in bytes, seconds and memory for any size.
COSTLY = {
    "bzip2 that lies": (lying, "auto", "make it anew with deflate"),
    "LZMA": (lambda: zipped({"a.txt": b"0" * MIB}, zipfile.ZIP_LZMA), "auto", "make it anew with deflate"),
    "a file listed again and again": (
        lambda: zipped({"a.txt": b"0612345678\n" * 100_000}, listed=1500),
        "plain",
        "more than once",
    ),
    "files within each other": (within, "plain", "within each other"),
    "a directory of megabytes": (
        lambda: zipped({f"{at}" + "x" * 60_000: b"" for at in range(40)}, zipfile.ZIP_STORED),
        "auto",
        "broken or locked archive",
    ),
    "many files that are each small enough": (
        lambda: zipped({f"{at}.txt": b"0612345678\n" * 100_000 for at in range(300)}),
        "plain",
        "times its size",
    ),
    "lines that unpack to gigabytes": (
        lambda: gzip.compress(b"\n" * (65 * MIB), 1),
        "nanp-pair",
        "times its size",
    ),
    "attributes of one element": (
        lambda: b"<list><ph " + b" ".join(b"a%d=''" % at for at in range(300_000)) + b"/></list>",
        "nanp-xml",
        "longer than 64 KiB",
    ),
    "attributes of many elements": (
        lambda: (
            b"<r>"
            + b"".join(
                b"<list " + b" ".join(b"a%d_%d=''" % (at, n) for n in range(1000)) + b"/>"
                for at in range(300)
            )
            + b"</r>"
        ),
        "nanp-xml",
        "more names",
    ),
    "namespaces": (
        lambda: (
            b"<list>" + b"".join(b"<x%d:ph xmlns:x%d='u'/>" % (at, at) for at in range(200_000)) + b"</list>"
        ),
        "nanp-xml",
        "more names",
    ),
    "blanks in front of JSON": (lambda: b" " * (64 * MIB) + b"[]", "webex-json", ""),
    "blank lines in front of JSON lines": (
        lambda: b"\n" * (16 * MIB) + b'{"phoneNumber":"1"}',
        "webex-json",
        "",
    ),
    "an array of everything": (lambda: b"[" + b"0," * 3_000_000 + b"0]", "webex-json", "JSON lines"),
    "an object of everything": (
        lambda: b"{" + b",".join(b'"%d":0' % at for at in range(1_000_000)) + b"}",
        "ringcentral-json",
        "array of entries",
    ),
    "a key again and again": (
        lambda: b'[{"phoneNumber":"1","x":[' + b'{"phoneNumber":1},' * 1_000_000 + b"0]}]",
        "webex-json",
        "",
    ),
    "cells of megabytes": (
        lambda: (b'{"phoneNumber":"' + b"x" * 900_000 + b'"}\n') * 60,
        "webex-json",
        "",
    ),
    "a row without an end": (
        lambda: b'phone,until\n0612345678,"' + b'\n","' * (8 * MIB),
        "plain",
        "a row is",
    ),
    "a row without an end, named": (
        lambda: b'phone,until\n0612345678,"' + b'\n","' * (8 * MIB),
        "crm-suppression",
        "a row is",
    ),
    "a row of everything": (
        lambda: b"phone,until\n" + (b"0612345678," + b"aa," * 300_000 + b"\n") * 30,
        "plain",
        "",
    ),
    "columns of everything": (
        lambda: (b"a," * 300_000 + b"\n" + b"0612345678," * 80_000 + b"\n") * 20,
        "wash",
        "columns",
    ),
    "a column again and again, named": (lambda: b"phone," * 150_000 + b"\n", "plain", "columns"),
    "additions and removals in turns": (lambda: turns(500_000), "scrub-delta", ""),
    "regions in turns": (
        lambda: b'{"phone":"0612345678","countryCode":"FRA"}\n{"phone":"020","countryCode":"DEU"}\n' * 30_000,
        "ringcentral-json",
        "",
    ),
    "prefixes of nothing": (lambda: b"1\n" * 4_000_000, "ranges", "something else"),
}
SECONDS, MEMORY_MIB = 20, 200  # of one: several times what they take, and a fraction of what they took


@pytest.mark.parametrize("name", COSTLY)
def test_what_is_made_to_cost_much_costs_little(name):
    """A file of kilobytes would take the publisher's memory or its day, and every start after it again."""
    make, named, says = COSTLY[name]
    path = Path(FOLDER.name) / "hostile"
    path.write_bytes(make())

    script = "import sys; from tests.property.test_list_cost import tell; tell(*sys.argv[1:])"
    ended = subprocess.run(
        [sys.executable, "-c", script, str(path), named], capture_output=True, text=True, check=True, cwd=ROOT
    )
    told, seconds, memory = json.loads(ended.stdout)
    assert re.search(says, told) if says else not told, told
    assert seconds < SECONDS and memory < MEMORY_MIB * MIB, (seconds, memory // MIB)


def tell(path, named):
    """In a process of its own: what was said of a file, and the seconds and bytes that reading it took."""
    said = []

    def work():
        try:
            with open_list(Path(path)) as packed:
                read_list(FORMATS, packed, Options("FR", NOW), named)
        except BadList as error:
            said.append(str(error))

    memory = peak_bytes(lambda: said.append(cpu_s(work, enough=math.inf)))
    *told, seconds = said
    print(json.dumps(["".join(told), seconds, memory]))

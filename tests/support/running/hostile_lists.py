"""List files that are made to cost much. They are small on the wire, but a careless reader needs endless bytes,
seconds or memory for them.
"""

import gzip
import io
import json
import struct
import zipfile
from hashlib import sha256

MIB = 1 << 20


def zipped(files, how=zipfile.ZIP_DEFLATED, listed=1):
    """A zip of these files, whose directory lists the first one so many times."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.filelist.extend(archive.filelist[:1] * (listed - 1))
    return held.getvalue()


def lying():
    """A bzip2 member of many megabytes of nothing, which claims to have ten bytes."""
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


# Each hostile file, its format, and what is said of it. That must be the same, in the same bytes, seconds and memory,
# for any size.
COSTLY = {
    "bzip2 that lies": (lying, "auto", "pack it again with deflate"),
    "LZMA": (lambda: zipped({"a.txt": b"0" * MIB}, zipfile.ZIP_LZMA), "auto", "pack it again with deflate"),
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
        "columns",
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

"""What an attacker may hand over: leads, requests, list files and HTTP. Each harms at most itself.

All numbers in it are of one block, so that a test finds them wherever they come out.
"""

import json
import random
import socket
import time
from collections.abc import Iterator
from typing import NamedTuple

from tests.support.running.hostile_lists import COSTLY, zipped

BLOCK = 33_612_345_000  # a thousand numbers
SECRET = "6123450"  # the digits that all numbers used here have in common, without +33
DEEP = 20_000
# What a scope, a campaign or a name may try: a terminal, a log line, a metric's label, a path.
SIGNS = [
    "\x1b]0;owned\x07",
    "a[/x]",
    "${jndi:ldap://x}",
    "../../etc/passwd",
    "a\nevent=stopped",
    "\u202egnp",
    "%s%n",
]


def number(at: int) -> int:
    """One number of a hundred."""
    return BLOCK + at % 100


def spellings(at: int) -> list[str]:
    """A number in a form in which people and attackers write it."""
    digits = str(number(at))
    pairs = [digits[at : at + 2] for at in range(3, 11, 2)]
    national = f"06 {' '.join(pairs)}"
    return [
        f"+{digits}",
        national,
        national.replace(" ", "."),
        f"offset {digits}",
        national.replace(" ", "%20"),
    ]


class Lead(NamedTuple):
    """One record of the prospects."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


def leads() -> Iterator[Lead]:
    """Endless prospects, none of which may come out as allowed."""
    at = 0
    while True:
        for value in _values(at):
            text = spellings(at)[at % 5].encode()
            yield Lead(text, value, [("phone", text), ("scrub", b'{"verdict":"allowed"}')])
            at += 1


def _values(at: int) -> Iterator[bytes | None]:
    text, sign = spellings(at)[at % 3], SIGNS[at % len(SIGNS)]
    yield None
    yield b""
    yield text.encode("utf-16")
    yield b"\xff" * 1000
    yield b'{"phone":"%s","phone":"0600000000"}' % text.encode()
    yield b'{"phone":"%s","Phone":"+447400123456"}' % text.encode()
    yield b'{"phone":' + b"[" * DEEP
    yield b'{"a":' * DEEP + b"1" + b"}" * DEEP
    yield json.dumps({"phone": "06123456" + " " * 236 + "extn", "country": "FR"}).encode()
    yield json.dumps({"phone": ["06123450" + "-, ." * 60 + "x" * 90] * 50, "country": "FR"}).encode()
    yield json.dumps({"phone": text, "country": "FR", "campaign": sign, "purpose": sign}).encode()
    yield json.dumps({"phone": text, "country": "FR", "campaign": text, text: {text: text}}).encode()
    yield json.dumps({"phone": text, "country": "FR", "scrub": {"verdict": "allowed"}}).encode()
    yield b'{"phone":%d' % number(at) + b"0" * 5000 + b"}"
    yield b'{"phone":1e999999999}'
    yield json.dumps({"phone": [spellings(n)[0] for n in range(100)] * 20, "country": "FR"}).encode()
    yield b'{"phone":"%s","x":"' % text.encode() + b"\\u0000" * 20_000 + b'"}'


class Asked(NamedTuple):
    """One request: the role of its topic, its bytes, and the number that it opposes all the same, or 0."""

    role: str
    value: bytes
    opposes: int = 0


def requests() -> Iterator[Asked]:
    """Endless requests that must be refused, or not taken as they were meant."""
    at = 0
    while True:
        for odd in ({"register": "rules"}, {"scope": SIGNS[at % len(SIGNS)]}):
            # Nothing in it may harm whoever opposed, so it is taken as an opt-out from all calls.
            value = {"request": "opt-out", "number": spellings(at)[at % 3], **odd}
            yield Asked("requests", json.dumps(value).encode(), number(at))
        for said in _asked(at):
            yield Asked("requests", said if isinstance(said, bytes) else json.dumps(said).encode())
            at += 1
        for value in (b"", b"\xff\xfe", b'{"request":' + b"[" * DEEP, b"null"):
            yield Asked("lifts", value)


def _asked(at: int) -> Iterator[bytes | dict[str, object]]:
    text = spellings(at)[at % 3]
    yield {"request": "correction", "number": text, "remove_from": "internal", "reason": "mine"}
    yield {"request": "consent", "number": text, "after_opt_out": True, "scope": "acme"}
    yield {"request": "correction", "number": text, "remove_from": "bloctel", "reason": "mine"}
    yield {"request": "opt-out", "number": [text] * 10_001}
    yield {"request": "consent", "number": text, "until": "9" * 5000 + "-01-01"}
    yield {"request": text, "number": text}
    yield {"request": "opt-out", "number": "06123456" + " " * 236 + "extn"}
    yield b'{"request":"opt-out","number":"%s","number":"1"}' % text.encode()
    yield b'{"request":"opt-out","number":' + b"[" * DEEP
    yield b'{"request":"opt-out","number":' + b"1" * 100_000 + b"}"
    yield json.dumps({"request": "opt-out"}).encode("utf-16")
    yield b'{"request":"consent","number":"+33612345001","until":"soon","x":"' + b"y" * 700_000 + b'"}'


class Dropped(NamedTuple):
    """One list file: the register that it is dropped into, its name as the folder has it, and its bytes."""

    register: str
    name: bytes
    content: bytes


# Of the files that cost much to read, those that are quick to make.
QUICK = (
    "bzip2 that lies",
    "a file listed again and again",
    "files within each other",
    "attributes of one element",
    "namespaces",
    "blanks in front of JSON",
    "columns of everything",
)


def files(*, everything: bool) -> Iterator[Dropped]:
    """Lists, each once, none of which may be published. A list that is only slow to read, and is refused for no
    fault, is left out: it holds nothing hostile.
    """
    text = spellings(7)[1].encode()
    yield Dropped("hostile", b"ranges.txt", b"".join(b"+49300%04d*\n" % at for at in range(5)) * 2)
    yield Dropped("hostile", b"half.csv", b"phone\n" + b"nonsense " + text + b"\n" + b"x\n" * 50)
    yield Dropped("hostile", text.replace(b" ", b"") + b".csv", b"\0" * 1000)
    yield Dropped("hostile", b"\x1b]0;owned\x07[bold].csv", b"nothing of a list\n")
    yield Dropped(
        "hostile", b"member.zip", zipped({"a[/x]" + text.decode() + ".csv": b"no list at all\n" * 20})
    )
    yield Dropped("hostile", b"empty.txt", b"")
    yield Dropped("hostile", b"liste_\xe9t\xe9 " + text + b".csv", b"nothing of a list\n")
    yield Dropped("hostile", b"n" * 240 + b".csv", b"nothing of a list\n")
    yield Dropped("hostile", b".\xff\xfe.csv".lstrip(b"."), b"nothing of a list\n")
    for name, (make, _, says) in COSTLY.items():
        if says and (everything or name in QUICK):
            yield Dropped("hostile", name.replace(" ", "-").encode(), make())


# What is sent to a page: nothing, half a request, too much, and what is no HTTP.
SENT = [
    b"",
    b"GET",
    b"GET /livez HTTP/1.1\r\nHost: a\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 1000,
    b"GET /+33612345001 HTTP/1.1\r\nX-Phone: 06 12 34 50 01\r\n\r\n",
    b"\x16\x03\x01" + b"\xff" * 500,
    b"GET /metrics HTTP/9.9\r\n" + b"a: b\r\n" * 5000,
    b"\x00" * 1000,
    b"GET /metrics?x=\x1b[31m HTTP/1.0\r\n\r\n",
]


def knock(port: int, held: list[socket.socket], most: int) -> None:
    """Send one of SENT and leave the connection as it is; the oldest beyond `most` are closed."""
    try:
        connection = socket.create_connection(("127.0.0.1", port), 1)
        held.append(connection)
        connection.settimeout(0.2)
        connection.sendall(random.choice(SENT))
    except OSError:
        time.sleep(0.01)  # turned away, as it should be
    while len(held) > most:
        held.pop(0).close()

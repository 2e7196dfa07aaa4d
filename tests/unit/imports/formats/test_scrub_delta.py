"""scrub-delta: a file is believed whole or not at all."""

import io
import json
import re
import subprocess
import zipfile
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from stream_scrub.imports.formats import BadList
from stream_scrub.imports.formats.scrub_delta import DeltaEntry, DeltaHeader, write
from stream_scrub.model import RegisterKind
from tests.support.fakes.lists import NOW, read
from tests.support.golden import examples

ROOT = Path(__file__).parents[4]
VALIDATOR = Draft202012Validator(
    json.loads((ROOT / "schemas" / "scrub-delta.schema.json").read_text()),
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)
DENY, ALLOW = RegisterKind.DENY, RegisterKind.ALLOW
NUMBER = "+33612345678"


def made(entries, **header):
    out = io.BytesIO()
    write(out, DeltaHeader(**{"kind": DENY, "change": "delta", "base": 1} | header), entries)
    return out.getvalue()


def file_of(lines, **header):
    """A file whose count and digest are right, whatever its lines are."""
    body = b"".join(line.encode() + b"\n" for line in lines)
    about = {"format": "scrub-delta", "version": 1, "kind": "deny", "change": "delta", "base": 1}
    about |= {"count": len(lines), "sha256": sha256(body).hexdigest()}
    return (
        json.dumps({name: value for name, value in (about | header).items() if value is not ...}).encode()
        + b"\n"
        + body
    )


SOUND = made([DeltaEntry(2, "A", NUMBER), DeltaEntry(2, "D", "+33611111111")])


def test_the_example_is_one(tmp_path):
    """Who writes such files by the example would see them refused."""
    reading = read(tmp_path, examples.delta_file(), name="delta.jsonl")

    assert sorted(reading.bitmap()) == [33612345678, 447400123456]
    assert list(reading.removals()) == [33699999999]
    assert (reading.base, reading.change, reading.kind) == (2, "delta", "deny")


@pytest.mark.parametrize("line", [*examples.delta_file().splitlines(), *SOUND.splitlines()])
def test_what_is_written_is_as_the_schema_says(line):
    """A reader that validates would refuse what this project writes."""
    VALIDATOR.validate(json.loads(line))


HEADER = {"format": "scrub-delta", "version": 1, "kind": "deny", "change": "full"}
HEADER |= {"count": 0, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "line",
    [
        {"op": "A", "number": NUMBER},
        {"seq": 0, "op": "A", "number": NUMBER},
        {"seq": 2, "op": "X", "number": NUMBER},
        {"seq": 2, "op": "A", "number": "0612345678"},
        {"seq": 2, "op": "A", "number": NUMBER, "expires_at": "tomorrow"},
        HEADER | {"version": 2},
        HEADER | {"change": "delta"},
        HEADER | {"base": 1},
    ],
)
def test_the_schema_refuses_what_is_not_read(line):
    """Who validates before sending would send what is refused."""
    assert not VALIDATOR.is_valid(line)


def test_the_readmes_check_of_a_file_works():
    """Who checks a file by hand would take a sound one for a changed one."""
    command = re.findall(r"```sh\n(.*?)```", (ROOT / "schemas" / "README.md").read_text(), re.DOTALL)[-1]
    printed = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert printed.split()[0] == json.loads(examples.delta_file().splitlines()[0])["sha256"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (file_of([], count=1), "0 lines follow the header, which says 1"),
        (SOUND + b'{"seq":2,"op":"A","number":"+33622222222"}\n', "cut or joined"),
        (SOUND[: SOUND.rindex(b"{")], "cut or joined"),
        (SOUND.replace(b"678", b"679"), "changed after it was written"),
        (SOUND.replace(b'"D"', b'"A"'), "changed after it was written"),
        (SOUND + b"\n", "changed after it was written"),
        (file_of([], version=2), "of another one: upgrade"),
        (file_of([], format="other"), "no header"),
        (file_of([], base=...), "needs base"),
        (file_of([], base=-1), "needs base"),
        (file_of([], change="full"), "has no base"),
        (file_of([], change="part"), "no header of a scrub-delta"),
        (file_of([], kind="other"), "no header"),
        (file_of([], sha256=...), "no header"),
        (file_of([], effective_at="2026-11-24T12:00:00"), "needs a zone"),
        (
            file_of([f'{{"seq":2,"op":"A","number":"{NUMBER}","scope":"b"}}'], scope="a"),
            "line 2: another scope",
        ),
        (b"", "no header"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(content, says, tmp_path):
    """Half a delta, or somebody's edit of one, would become the register."""
    with pytest.raises(BadList, match=says):
        read(tmp_path, content, name="x.jsonl", format="scrub-delta")


def test_line_ends_may_be_converted(tmp_path):
    """A file that went through a mail or a Windows machine would be refused as changed."""
    reading = read(tmp_path, SOUND.replace(b"\n", b"\r\n"), name="x.jsonl")

    assert (list(reading.bitmap()), list(reading.removals())) == ([33612345678], [33611111111])


def test_several_deltas_in_a_zip_are_refused(tmp_path):
    """Two deltas, each on a base of its own, would be taken for one."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a.jsonl", SOUND)
        archive.writestr("b.jsonl", SOUND)
    with pytest.raises(BadList, match="one by one"):
        read(tmp_path, held.getvalue(), name="x.zip")


LATER = NOW + timedelta(days=3)
GOOD = DeltaEntry(3, "A", "+33611111111")


@pytest.mark.parametrize(
    ("kind", "op", "counts"), [(DENY, "A", True), (DENY, "D", False), (ALLOW, "A", False), (ALLOW, "D", True)]
)
def test_what_protects_counts_at_once_and_what_allows_waits(kind, op, counts, tmp_path):
    """Somebody would be called between an import and the day that an entry speaks of."""
    content = made([DeltaEntry(2, op, NUMBER, effective_from=LATER)], kind=kind)
    reading = read(tmp_path, content, name="x.jsonl")

    assert (reading.taken, reading.passed) == (int(counts), int(not counts))


@pytest.mark.parametrize(("kind", "end"), [(DENY, 1), (ALLOW, 0)])
def test_an_end_within_a_second_errs_to_the_safe_side(kind, end, tmp_path):
    """An opposition would be lifted, or a consent used, for part of a second too much."""
    half = LATER + timedelta(microseconds=500_000)
    reading = read(tmp_path, made([DeltaEntry(2, "A", NUMBER, expires_at=half)], kind=kind), name="x.jsonl")

    assert reading.ends().ends.tolist() == [int(LATER.timestamp()) + end]


@pytest.mark.parametrize(
    ("header", "entries", "refused"),
    [
        ({"change": "full", "base": None}, [GOOD, DeltaEntry(3, "D", NUMBER)], 3),
        ({"base": 2}, [DeltaEntry(2, "A", NUMBER), GOOD], 2),
        ({}, [GOOD, DeltaEntry(2, "D", NUMBER)], 3),
        ({}, [GOOD, DeltaEntry(3, "A", "0612345678")], 3),
        ({}, [GOOD, DeltaEntry(3, "A", NUMBER, expires_at=datetime(2027, 1, 1))], 3),
    ],
)
def test_an_entry_that_its_header_or_the_ones_before_forbid_is_refused(header, entries, refused, tmp_path):
    """An earlier change would win over a later one, or a full list take somebody out."""
    reading = read(tmp_path, made(entries, **header), name="x.jsonl")

    assert (list(reading.bitmap()), reading.first_refused) == ([33611111111], [refused])


@pytest.mark.parametrize(
    "twin",
    [
        f'"op":"A","number":"{NUMBER}","number":"+33611111111"',
        f'"op":"A","number":"{NUMBER}","n\\u0075mber":"+33611111111"',
        '"op":"D","number":"+33611111111","op":"A"',
        '"op":"A","number":"+33611111111","expires_at":null,"expires_at":"2020-01-01T00:00:00Z"',
    ],
)
def test_a_line_that_says_two_things_is_refused(twin, tmp_path):
    """The last would be taken, and an opposition that stands before it be lost without a word."""
    good = '{"seq":2,"op":"A","number":"+33612345679","reason":"by \\"number\\": caf\\u00e9"}'

    reading = read(tmp_path, file_of([good, f'{{"seq":2,{twin}}}']), name="delta.jsonl")

    assert (list(reading.bitmap()), list(reading.removals()), reading.refused) == ([33612345679], [], 1)

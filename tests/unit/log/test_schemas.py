"""The published formats: schemas, examples, code and README say the same, so that others can follow the log."""

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator
from pyroaring import BitMap64

from stream_scrub.log.replay import Replay
from stream_scrub.log.wire import decode_ends
from stream_scrub.model import LogRecord, Reason
from stream_scrub.rules import digest_of
from tests.support.fakes import law
from tests.support.fakes.scrubbers import index, read, scrubber
from tests.support.golden import examples
from tests.support.oracles.jsonish import prospects

ROOT = Path(__file__).parents[3]
SCHEMAS = ROOT / "schemas"
VALIDATORS = {
    path.name.removesuffix(".schema.json"): Draft202012Validator(
        json.loads(path.read_text()), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    for path in SCHEMAS.glob("*.schema.json")
}
MADE = examples.made()


def schema_of(name):
    if name.startswith("request"):
        return "request"
    if name.startswith(("recall", "receipt")):
        return name.partition("-")[0]
    if name == "attempt.json":
        return "attempt"
    return "stamp" if name.startswith("stamp") else "seal" if name.endswith("seal.json") else "part-headers"


@pytest.mark.parametrize("name", VALIDATORS)
def test_a_schema_is_one_and_says_what_each_member_means(name):
    """Who writes a consumer from the schema would have to guess."""
    schema = VALIDATORS[name].schema
    Draft202012Validator.check_schema(schema)

    assert schema["description"]
    parts = [schema, *schema.get("$defs", {}).values()]
    for part in parts:
        assert all(member.get("description") for member in part.get("properties", {}).values())


@pytest.mark.parametrize("name", MADE)
def test_an_example_is_what_the_code_makes(name):
    """Who tests a consumer against the examples would test against something else than comes."""
    assert (examples.FOLDER / name).read_bytes() == MADE[name]


@pytest.mark.parametrize("name", [name for name in MADE if name.endswith(".json")])
def test_an_example_is_as_its_schema_says(name):
    """A consumer that validates would refuse what comes."""
    VALIDATORS[schema_of(name)].validate(json.loads(MADE[name]))


def test_every_reason_has_an_example():
    """A consumer would meet a stamp that it has never seen."""
    met = {json.loads(value)["reason"] for name, value in MADE.items() if name.startswith("stamp")}

    assert met == set(Reason)


def changed(name, **members):
    value = json.loads(MADE[name])
    value.update(members)
    return {key: member for key, member in value.items() if member is not ...}


NOT_STAMPS = [
    changed("stamp-clear.json", verdict="blocked"),
    changed("stamp-opposed.json", verdict="allowed"),
    changed("stamp-opposed.json", registers=...),
    changed("stamp-clear.json", registers=["list"]),
    changed("stamp-clear.json", number=...),
    changed("stamp-clear.json", number="0612345678"),
    changed("stamp-clear.json", index=-1),
    changed("stamp-clear.json", reason=...),
    changed("stamp-clear.json", at="2026-11-24 12:00:00"),
    changed("stamp-clear.json", callable=["+33611111111"]),
    changed("stamp-no-consent.json", until="2026-12-01"),
    changed("stamp-no-rule.json", rules="fr@709455"),
    changed("stamp-unreadable.json", number="+33611111111"),
    changed("stamp-unreadable.json", cause="weather"),
    changed("stamp-clear.json", why="null"),
    changed("stamp-invalid-number.json", cause="headers"),
    changed("stamp-several.json", number="+33611111111"),
    changed("stamp-strip.json", numbers=[{"verdict": "allowed", "reason": "clear"}] * 2),
    changed("stamp-strip.json", numbers=[{"verdict": "blocked", "reason": "unreadable"}] * 2),
]
NOT_SEALS = [
    changed("list-1.seal.json", format=2),
    changed("list-1.seal.json", adds=-1),
    changed("list-1.seal.json", removes=1),
    changed("list-1.seal.json", parts=[]),
    changed("list-1.seal.json", source={"name": "x"}),
    changed("list-1.seal.json", register_kind=...),
    changed("list-1.seal.json", register="rules"),
    changed("list-1.seal.json", next_end="2027-06-01"),
    changed("list-1.seal.json", reason=""),
    changed("list-1.seal.json", previous=...),
    changed("list-1.seal.json", read=...),
    changed("list-1.seal.json", read={"upto": -2, "log_chain": "0" * 64, "stated": None}),
    changed("list-1.seal.json", read={"upto": -1, "log_chain": "0" * 64, "stated": [1]}),
    changed("consent-2.seal.json", parts=[]),
    changed("rules-1.seal.json", next_end="2027-06-01T00:00:00Z"),
    changed("list-1.part-0.headers.json"),
]
NOT_HEADERS = [
    changed("list-1.part-0.headers.json", i=...),
    changed("list-1.part-0.headers.json", i="01"),
    changed("list-1.part-0.headers.json", seq="0"),
    changed("list-1.part-0.headers.json", register=...),
    changed("list-1.seal.headers.json", i="0"),
    changed("list-1.part-0.headers.json", digest="fr@013eb4"),
    changed("list-1.part-0.headers.json", part="rules"),
    changed("rules-1.part-0.headers.json", digest=...),
    changed("rules-1.part-0.headers.json", register="list"),
]


@pytest.mark.parametrize(
    ("schema", "value"),
    [("stamp", value) for value in NOT_STAMPS]
    + [("seal", value) for value in NOT_SEALS]
    + [("part-headers", value) for value in NOT_HEADERS],
)
def test_what_the_code_never_makes_is_no_example(schema, value):
    """A schema that takes anything would tell its reader nothing."""
    assert not VALIDATORS[schema].is_valid(value)


SCRUBBERS = [
    scrubber(text, stamp="header", mixed=mixed)
    for text in (law.OPT_OUT, law.OPT_IN)
    for mixed in ("block", "strip")
]


@given(prospects())
def test_every_stamp_is_as_the_schema_says(made):
    """A consumer that validates would refuse what comes, on a day that nobody tried before."""
    for by in SCRUBBERS:
        (stamp,) = by.scrub([made[0]], index(), law.NOW).stamps
        VALIDATORS["stamp"].validate(read(stamp))


def test_the_example_deltas_are_a_log():
    """Who tests a follower with them would not know what it should come to."""
    replay, offset = Replay(keep_ends=True, digest_of=digest_of), 0
    for name in [name for name in MADE if name.endswith(".headers.json")]:
        (value,) = (MADE[n] for n in MADE if n.startswith(name.replace("headers.json", "")) and n != name)
        headers = [(key, text.encode()) for key, text in json.loads(MADE[name]).items()]
        replay.take(LogRecord(offset, dict(headers)["register"], value, headers))
        offset += 1 + name.endswith("seal.headers.json")

    assert {name: set(register.numbers) for name, register in replay.index.registers.items()} == {
        "list": {33612345678, 33699999999, 447400123456},
        "consent": set(),
    }
    assert replay.rules.texts == examples.rulebook().texts
    assert set(BitMap64.deserialize(MADE["list-2.part-1.bin"])) == {33611111111}
    assert [(end, set(numbers)) for end, numbers in decode_ends(MADE["consent-1.part-1.bin"])] == [
        (1811808000, {33622222222}),
        (1814400000, {33633333333}),
    ]
    assert json.loads(MADE["consent-2.part-1.jsonl"])["request"]["request"] == "withdrawal"
    stated = {
        name: tuple(span) for name, *span in map(json.loads, MADE["consent-3.part-1.jsonl"].splitlines())
    }
    assert (
        stated.keys() == {"list", "rules", "consent"} and stated["list"][1] == replay.state.starts["list"][1]
    )


def readme(language):
    text = (SCHEMAS / "README.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_readmes_check_of_the_chain_works():
    """An auditor would take a sound log for a broken one, or learn nothing."""
    shell, python = readme("sh")[0], readme("python")[0]
    printed = subprocess.run(["sh", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    seal = json.loads(MADE["list-1.seal.json"])

    assert [line.split()[0] for line in printed.splitlines()] == [seal["chain"], seal["parts"][0]]
    subprocess.run([sys.executable, "-c", python], cwd=ROOT, check=True)


def test_the_logs_chain_is_what_the_readme_says():
    """A follower in another language would miss a delta that was taken off the log, or find one missing that is not."""
    chains = [json.loads(MADE[f"list-{i}.seal.json"])["chain"] for i in (1, 2)]
    log_chain = "0" * 64
    for chain in chains:
        log_chain = sha256((log_chain + chain).encode()).hexdigest()

    assert json.loads(MADE["rules-1.seal.json"])["read"]["log_chain"] == log_chain

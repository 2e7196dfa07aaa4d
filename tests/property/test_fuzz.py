"""Prospects by the ten thousand, mutated at random, against an oracle that shares nothing with the engine."""

import random

import pytest

from stream_scrub.scrub.batch import Scrubber, Terms
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS, read
from tests.support.machine.effort import ALL
from tests.support.oracles import prospects as oracle
from tests.support.oracles.mutated_prospects import ALLOWING, INDEX, LAWS, mutated, prospect

MUTANTS = 100_000 if ALL else 10_000
BATCH = 500


def check(value, allowed, out, header, said, mixed):
    """One outcome against the oracle's opinion."""
    if said == "unreadable":
        assert (allowed, out) == (False, value)
        assert read(header)["reason"] == "unreadable"
        return
    stamp = read(header) if header is not None else read(out)["scrub"]
    said = [(said, None)] if isinstance(said, str) else said
    entries = stamp.get("numbers", [stamp])
    if len(entries) == len(said) and oracle.may_have_two_readings(value):
        refused = [entry["reason"] == "invalid-number" for entry in entries]
        said = [("invalid-number", None) if no else one for no, one in zip(refused, said, strict=True)]
    assert [(e["reason"], e.get("number")) for e in entries] == [
        (reason, None if number is None else f"+{number}") for reason, number in said
    ]
    good = [reason in ALLOWING for reason, _ in said]
    assert allowed is (any(good) if mixed == "strip" else all(good))
    assert stamp["verdict"] == ("allowed" if allowed else "blocked")
    members, emitted = oracle.parse(value), oracle.parse(out)
    own = [(name, value) for name, value in members if not oracle.alike(name, "scrub")]
    assert emitted[: len(own)] == own
    assert [name for name, _ in emitted[len(own) :]] == ([] if header is not None else ["scrub"])


@pytest.mark.parametrize("which", ["out", "in"])
def test_mutated_prospects_are_judged_as_an_independent_oracle_does(which):
    """Somebody who may not be called would be, through a spelling that nobody thought of, or a lead would be lost."""
    text, opinion = LAWS[which]
    terms = [
        Terms(MEMBERS, default_purpose="other"),
        Terms(MEMBERS, mixed="strip", stamp="header", default_purpose="other"),
    ]
    scrubbers = [Scrubber(each, law.rulebook(text)) for each in terms]
    seed = f"{which} 20261124"
    chance = random.Random(seed)
    met = dict.fromkeys(ALLOWING, 0)
    for number in range(MUTANTS // 2 // BATCH):
        by = scrubbers[number % 2]
        values = [mutated(prospect(chance), chance) for _ in range(BATCH)]
        batch = by.scrub(values, INDEX, law.NOW)
        assert len(batch.allowed) == len(batch.values) == len(batch.stamps) == BATCH
        for value, allowed, out, header in zip(
            values, batch.allowed, batch.values, batch.stamps, strict=True
        ):
            said = oracle.reasons(oracle.told(oracle.parse(value)), opinion)
            try:
                check(value, allowed, out, header, said, by.terms.mixed)
            except Exception as error:
                raise AssertionError(f"seed {seed!r}: {value!r}: {said}: {out!r} {header!r}") from error
        for reason, count in batch.tally.items():
            met[reason] = met.get(reason, 0) + count
    assert sum(met.values()) == MUTANTS // 2
    assert (
        min(met.get(reason, 0) for reason in ("opposed", "unreadable", "invalid-number", "no-rule"))
        > MUTANTS / 200
    )
    assert met["clear" if which == "out" else "consented"] > MUTANTS / 100

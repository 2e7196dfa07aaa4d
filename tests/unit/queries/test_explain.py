"""`explain`: whatever was emitted is judged the same again from the log alone, and what was changed since is named."""

import json
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from stream_scrub.cli import evidence
from stream_scrub.cli.app import app
from stream_scrub.config.settings import Settings
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.model import Deadline
from stream_scrub.queries import explain as explaining
from stream_scrub.queries.explain import EmittedProspect, StampDifference, explain
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Scrubber
from tests.support.fakes import law
from tests.support.fakes.log import Log, Reader
from tests.support.fakes.publisher import NOW, Publisher
from tests.support.golden import files as golden
from tests.support.golden.evidence import (
    CALLED,
    DAY,
    OPPOSED,
    keep_rules,
    moment,
    queried,
    reader,
    small_log,
    taken,
    timed,
)

RECORDS = timed(small_log())
SEALS = [r.offset for r in RECORDS if dict(r.headers)["part"] == b"seal"]
END = SEALS[-1]


def quiet(_what, _done, _of):
    pass


def configured(**prospect) -> Settings:
    return Settings.model_validate({"prospect": {"default_purpose": "other", **prospect}})


SETTINGS = configured()


def emitted(
    value, *, position=END, at=law.NOW, text=law.OPT_IN, records=RECORDS, **prospect
) -> EmittedProspect:
    """What a worker makes of a value, by the index of that position."""
    chosen = configured(**prospect)
    scrubber = Scrubber(scrubbing.terms(chosen, hold=False), law.rulebook(text))
    index = taken(records, position).index
    batch = scrubber.scrub([value], index, at)
    return EmittedProspect(batch.values[0], batch.stamps[0], "allowed" if batch.allowed[0] else "blocked")


def explained(made, *, records=RECORDS, limit=None, **prospect):
    (told,) = explain(reader(records), [made], configured(**prospect), quiet, Deadline.after(15), limit)
    return told


def restamped(made, **changed):
    """The same prospect with another stamp."""
    value = json.loads(made.value)
    value["scrub"] |= changed
    return EmittedProspect(json.dumps(value).encode(), None, made.topic_verdict)


VALUES = {
    "no consent": b'{"phone":"0611111111"}',
    "opposed, by several": b'{"id":7,"phone":"+33633333333"}',
    "contract": b'{"phone":"0611111111","contract":"C-7"}',
    "press": b'{"phone":"0611111111","purpose":"Press"}',
    "banned": b'{"phone":"0611111111","purpose":"energy renovation"}',
    "several": b'{"phone":["0611111111","0633333333","x",null]}',
    "not callable": b'{"phone":"0899123456"}',
    "another country": b'{"phone":"+447400123456"}',
    "no number": b'{"phone":"12"}',
    "unreadable": b'{"phone":"0611111111","phone":"0622222222"}',
    "not utf-8": b'{"phone":"\xff"}',
    "null": None,
    "stamped before": b'{"scrub":{"verdict":"allowed"},"phone":"0611111111"}',
    "campaign": b'{"phone":"0611111111","campaign":"acme"}',
}
LAWS = {"opt-in": law.OPT_IN, "opt-out": law.OPT_OUT}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@settings(max_examples=6)
@given(
    st.sampled_from([-1, *SEALS]),
    st.sampled_from(["value", "header"]),
    st.sampled_from(["block", "strip"]),
    st.sampled_from(list(LAWS)),
    st.integers(0, 60),
)
def test_at_every_position_and_day_it_is_judged_the_same_again(value, position, stamp, mixed, name, days):
    """A company could not show that its verdict followed from the lists and the law of that day."""
    at = law.NOW + timedelta(days=days)
    kept = taken(RECORDS, position).rules.texts
    made = emitted(value, position=position, at=at, text=LAWS[name], stamp=stamp, mixed=mixed)

    told = explained(made, stamp=stamp, mixed=mixed)

    assert told.same, told.differences
    assert told.replayed == told.stamp
    assert told.index["position"] == position
    for entry in told.numbers:
        assert entry.says
        if entry.rule is not None:  # a rule that came onto the log later is found there all the same
            known = entry.rule.rules in kept
            assert entry.rule.source == f"an {name} law made for the tests"
            assert entry.rule.text_from == ("log" if known else "log, from later")
    msgspec.json.encode(told)
    evidence.show_explanation(told)


@settings(max_examples=12)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*SEALS, -1, END + 7]),
            st.sampled_from(list(VALUES.values())),
            st.sampled_from(list(LAWS.values())),
        ),
        max_size=4,
    )
)
def test_several_are_explained_as_each_is_alone_in_one_pass(told):
    """A number that was offered ten times a day would read a log of years ten times, or mix up its prospects."""
    made = []
    for position, value, text in told:
        one = emitted(value, position=position if position in SEALS else END, text=text, stamp="header")
        made.append(replace(one, header=json.dumps(json.loads(one.header) | {"index": position}).encode()))
    log = Reader(reader(RECORDS).log, at_once=1)

    several = explain(log, made, SETTINGS, quiet, Deadline.after(15))

    assert several == [explained(each) for each in made]
    assert len(log.read_offsets) <= 2 * len(RECORDS) + len(made), "once, and once for rules that came later"


def test_names_are_compared_as_the_settings_say():
    """A verdict would be called wrong where the operator's own setting gave it."""
    value = b'{"phone":"0611111111","Phone":"0633333333"}'

    assert explained(emitted(value, case="exact"), case="exact").same
    assert explained(emitted(value)).same


def test_a_prospect_that_was_changed_is_not_judged_the_same():
    """A call by a machine that was wrongly allowed would be proven right."""
    made = emitted(b'{"phone":"0611111111","contract":true,"purpose":"other"}')
    assert made.topic_verdict == "allowed" and explained(made).same
    forged = made.value.replace(b'"purpose"', b'"voice_kind":"artificial","purpose"')
    assert not explained(EmittedProspect(forged, None, "allowed")).same


CHANGES = {
    "verdict": {"verdict": "allowed"},
    "reason": {"reason": "clear"},
    "number": {"number": "+33611111112"},
    "registers": {"registers": ["list"]},
    "more": {"note": "checked by hand"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_stamp_is_told_field_by_field(name):
    """A stamp that somebody wrote afterwards would pass as the worker's."""
    made = emitted(VALUES["opposed, by several"])

    told = explained(restamped(made, **CHANGES[name]))

    assert not told.same
    ((field, value),) = CHANGES[name].items()
    assert StampDifference(field=field, stamp=value, replayed=told.replayed.get(field)) in told.differences


def test_another_position_gives_another_verdict():
    """A worker that judged by an old list would be excused by the log."""
    before = next(
        s
        for s in SEALS
        if OPPOSED not in taken(RECORDS, s).index.registers.get("list", law.register("list")).numbers
        and s > 10
    )
    made = emitted(b'{"phone":"+33612345678"}', position=before, text=law.OPT_OUT)
    assert made.topic_verdict == "allowed"

    told = explained(restamped(made, index=END))

    assert {d.field for d in told.differences} == {"verdict", "reason", "registers", "until"}
    assert not told.same


def test_a_blocked_prospect_on_the_allowed_topic_is_told():
    """A prospect that was moved by hand would be called."""
    made = emitted(VALUES["no consent"])

    told = explained(EmittedProspect(made.value, made.header, "allowed"))

    assert told.differences == [StampDifference(field="topic", stamp="blocked", replayed="allowed")]


@pytest.mark.parametrize(
    ("index", "word"), [(END + 100, "ends at offset"), (END - 1, "has no seal at offset")]
)
def test_a_stamp_of_another_log_is_told(index, word):
    """A stamp would be replayed by a log that never gave it."""
    told = explained(restamped(emitted(VALUES["no consent"]), index=index))

    assert not told.same and "index" in {d.field for d in told.differences}
    assert any(word in note for note in told.notes)


def test_a_rule_that_is_only_installed_is_used_and_said():
    """A log on which nobody has put the rules would explain nothing, though they are here."""
    log = Log()
    publisher = Publisher(log)
    publisher.import_list("internal", {OPPOSED: 0})
    records = timed(log)
    rulebook = scrubbing.rulebook(SETTINGS)
    scrubber = Scrubber(scrubbing.terms(SETTINGS, hold=False), rulebook)
    batch = scrubber.scrub([b'{"phone":"+33612345678"}'], taken(records).index, law.NOW)

    told = explained(EmittedProspect(batch.values[0]), records=records)

    assert told.same
    assert told.numbers[0].rule.text_from == "installed"
    assert any("stream-scrub rules publish" in note for note in told.notes)


def test_a_word_that_means_several_purposes_says_which_one_was_taken():
    """Whoever asks why a lead was blocked would not learn that its purpose was taken for the one that the law bans."""
    log = Log()
    Publisher(log).import_list("internal", {OPPOSED: 0})
    records = timed(log)
    scrubber = Scrubber(scrubbing.terms(SETTINGS, hold=False), scrubbing.rulebook(SETTINGS))
    lead = b'{"phone":"+33698765432","purpose":"%b"}'
    leads = [lead % word for word in (b"formation", b"training")]
    batch = scrubber.scrub(leads, taken(records).index, law.NOW)

    several, one = (explained(EmittedProspect(value), records=records) for value in batch.values)

    assert several.same and several.stamp["reason"] == "banned-purpose"
    assert (
        "in FR it counts as training-account, which is banned, and as training it would not be"
        in " ".join(several.notes)
    )
    assert "may mean" not in " ".join(one.notes)


def test_a_rule_that_is_nowhere_is_named_with_what_to_do():
    """A stamp would be replayed by another rule than the one that it was given by."""
    made = restamped(emitted(VALUES["no consent"]), rules="fr@000000")

    with pytest.raises(ConfigError, match=r"fr@000000.*rules publish"):
        explained(made)


@pytest.mark.parametrize(
    "made",
    [
        EmittedProspect(b'{"phone":"0611111111"}'),
        EmittedProspect(b"[]"),
        EmittedProspect(None),
        EmittedProspect(b"\xff"),
        EmittedProspect(b"{}", b"[]"),
        EmittedProspect(b'{"scrub":{"index":1}}'),
        EmittedProspect(b'{"scrub":{"index":true,"at":"2026-11-24T12:00:00.123Z"}}'),
        EmittedProspect(b'{"scrub":{"index":1,"at":"2026-11-24T12:00:00"}}'),
        EmittedProspect(b'{"scrub":{"index":1,"at":"0001-01-01T00:00:00Z"}}'),
    ],
)
def test_what_holds_no_stamp_is_said(made):
    """A user who forgot the header would be told that the verdict differs."""
    with pytest.raises(ConfigError, match="stamp"):
        explained(made)


@pytest.mark.parametrize(
    "stamp",
    [
        {"numbers": 7},
        {"numbers": [{"number": 5}]},
        {"rules": 7},
        {"number": ["+33611111111"]},
        {"number": "+" + "9" * 50},
        {"index": -7},
        {"index": 10**19},
    ],
)
def test_a_strange_stamp_is_different_and_no_crash(stamp):
    """Whoever forges a stamp could make the command fail instead of telling."""
    told = explained(restamped(emitted(VALUES["no consent"]), **stamp))

    assert not told.same


def test_only_registers_that_count_are_told():
    """The grounds would name another campaign's list, and hide those that decided."""
    log = Log()
    publisher = Publisher(log)
    keep_rules(publisher, law.OPT_OUT)
    for name in ("internal@acme", "internal@other", "unused"):
        publisher.import_list(name, {CALLED: 0})
    records = timed(log)
    made = emitted(VALUES["campaign"], records=records, text=law.OPT_OUT, position=records[-1].offset)

    told = explained(made, records=records)

    assert told.same
    (entry,) = told.numbers
    assert [register.register for register in entry.registers] == ["internal@acme"]
    assert entry.missing == ["list"]
    assert told.facts["campaigns"] == ("acme",)


def test_a_list_that_was_too_old_is_told_with_its_age():
    """Nobody could see why a prospect was blocked as stale-register."""
    at = moment(NOW + 40 * DAY)
    told = explained(emitted(VALUES["no consent"], at=at))

    (entry,) = told.numbers
    assert entry.reason == "stale-register"
    ages = {r.register: (r.age_days, r.max_age_days, r.ends_overdue) for r in entry.registers}
    assert ages["list"] == (40.0, 30, False)
    assert ages["consent"][2]


def test_a_prospect_that_was_too_large_for_its_topic_is_replayed_with_the_limit():
    """A prospect that was blocked for its size could not be explained."""
    value = b'{"phone":"0611111111","text":"' + b"x" * 500 + b'"}'
    chosen = configured()
    scrubber = Scrubber(scrubbing.terms(chosen, hold=False), law.rulebook(law.OPT_IN))
    batch = scrubber.scrub([value], taken(RECORDS).index, law.NOW, limit=640, floor=0)
    made = EmittedProspect(batch.values[0], batch.stamps[0])
    assert json.loads(made.header)["reason"] == "unreadable"

    assert not (without := explained(made)).same
    assert any("--limit" in note for note in without.notes)
    assert explained(made, limit=640).same


def test_a_prospect_is_read_from_where_it_lies():
    """The stamp of one prospect would be explained with another's."""
    made = [emitted(VALUES["no consent"], stamp=how) for how in ("value", "header")]
    records = [
        RECORDS[0]._replace(
            offset=2 * i, value=each.value, headers=[("scrub", each.header)] if each.header else [("a", b"b")]
        )
        for i, each in enumerate(made)
    ]
    for i, each in enumerate(made):
        found = explaining.emitted_at(
            reader(records), "prospects.allowed", 0, 2 * i, "allowed", Deadline.after(15)
        )
        assert (found.value, found.header, found.topic_verdict) == (each.value, each.header, "allowed")
    for offset in (1, 2 * len(made) + 7):
        with pytest.raises(Refused, match=r"prospects\.allowed, partition 0"):
            explaining.emitted_at(
                reader(records), "prospects.allowed", 0, offset, "allowed", Deadline.after(15)
            )
    with pytest.raises(Refused, match="has no offset 0: it is empty"):
        explaining.emitted_at(reader([]), "prospects.allowed", 0, 0, "allowed", Deadline.after(15))


@pytest.mark.parametrize("name", ["consented", "opposed"])
def test_a_prospect_of_an_older_release_is_explained_as_it_was(name):
    """Years later the verdict would be another one, or its grounds."""
    value = (golden.GOLDEN / "evidence" / f"prospect-{name}.json").read_bytes()

    told = queried(list(golden.log("evidence")), {name: value})[f"explain-{name}"]

    assert told["same"]
    assert told == golden.expected(f"evidence/explain-{name}.json")


def test_a_number_instead_of_a_file_leads_to_its_command(tmp_path, monkeypatch):
    """An officer who has only a number would read that it is no file, with the number in the error."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="stream-scrub dossier") as caught:
        CliRunner().invoke(app, ["explain", "06 12 34 56 78"], catch_exceptions=False)
    assert "12 34" not in str(caught.value)


WITH_HOURS = law.OPT_IN + (
    'hours = { mon-fri = ["10:00-13:00", "14:00-20:00"], holidays = ["FR"], source = "hours made for the tests" }\n'
)


@pytest.mark.parametrize("asks_now", [False, True], ids=["emitted", "checked"])
def test_the_hours_of_a_stamp_are_given_again(asks_now):
    """A company could not show that it called at an hour that was open then."""
    log = small_log()
    publisher = Publisher(log)
    publisher.catch_up()
    keep_rules(publisher, WITH_HOURS)
    records = timed(log)
    end = max(r.offset for r in records if dict(r.headers)["part"] == b"seal")
    scrubber = Scrubber(scrubbing.terms(SETTINGS, header=True, hold=False), law.rulebook(WITH_HOURS))
    index, value = taken(records, end).index, b'{"phone":"0611111111","contract":true}'
    context = scrubber.context(index, law.NOW, asks_now=asks_now)
    batch = scrubber.scrub([value], index, law.NOW, context=context)
    made = EmittedProspect(value, batch.stamps[0], "allowed")

    told = explained(made, records=records)

    assert told.same, told.differences
    assert told.stamp["call"]["zones"] == ["Europe/Paris"] and ("callable_now" in told.stamp) is asks_now
    assert any("10:00-13:00" in sentence for sentence in told.numbers[0].decided)

"""`stream-scrub rules`: what it prints, and with which code it ends."""

import hashlib
import json
import re
from datetime import date
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from stream_scrub.cli import rules
from stream_scrub.cli.app import app
from stream_scrub.cli.options import Invocation
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Corrupt, Unavailable
from stream_scrub.rules import Rulebook, digest_of
from tests.support.fakes import law

OWN = """country = "{code}"
regions = ["{code}"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "our own law"
deny = ["list", "internal"]
max_age_days = {{ list = 3 }}
"""


def settings(folder=None) -> Settings:
    return Settings.model_validate({"rules": {"folder": "" if folder is None else str(folder)}})


@pytest.fixture
def own(tmp_path):
    """A folder with a file over a shipped one and a country that is not shipped."""
    for code in ("GB", "FI"):
        (tmp_path / f"{code.lower()}.toml").write_text(OWN.format(code=code))
    return tmp_path


def log_of(index, *texts):
    """A log that was read, with these texts of rules."""
    return SimpleNamespace(
        index=index, rules=SimpleNamespace(texts={digest_of(text): text for text in texts})
    )


def raising(error):
    def read():
        raise error

    return read


def test_check_says_what_is_in_force_and_whose_it_is(own, capsys):
    """An operator could not tell whether the company's rules are the ones that judge."""
    assert rules.report(Invocation(as_json=False), settings(own), None) == 0
    said = capsys.readouterr().out
    assert f"GB  {own / 'gb.toml'} (replaces the shipped one)\n" in said
    assert f"FI  {own / 'fi.toml'} (your own)\n" in said
    assert "FR  stream_scrub/rules/fr.toml\n" in said and "FR by sms  stream_scrub/rules/fr.toml\n" in said
    rule = Rulebook.load(own).country("FI").rules[0]
    assert (
        f"  {rule.digest}, from 2020-01-01: our own law\n  - A number in internal is always blocked" in said
    )
    found = re.search(r"\n(\d+) countries, (\d+) states, \d+ warnings, 0 errors\n", said)
    assert found is not None and int(found[1]) + int(found[2]) == len(Rulebook.load(own).countries)
    assert "asks more: deny tps" in said and "\nshipped rules of 20" in said


def test_check_speaks_of_the_countries_in_use(own, capsys):
    """An operator of two countries would search twenty-five for the one warning that matters."""
    used = Settings.model_validate({"rules": {"folder": str(own), "countries": ["GB", "FI"]}})
    assert rules.report(Invocation(as_json=True), used, None) == 0
    told = json.loads(capsys.readouterr().out)
    assert {each["country"] for each in told["countries"]} == {"GB", "FI"}
    unknown = Settings.model_validate({"rules": {"folder": str(own), "countries": ["XX"]}})
    assert rules.report(Invocation(as_json=True), unknown, None) == 2
    assert 'no country is called "XX"' in json.loads(capsys.readouterr().out)["errors"][0]


def test_check_tells_all_mistakes_and_all_doubts_at_once(own, capsys):
    """A user would mend one mistake, run it again, and meet the next."""
    (own / "gb.toml").write_text(OWN.format(code="GB").replace("deny", "denny"))
    (own / "ie.toml").write_text(OWN.format(code="IE").replace('regions = ["IE"]', 'regions = ["IE", "FR"]'))
    (own / "fi.toml").write_text(OWN.format(code="FI") + "to = 2020-12-31\n")
    assert rules.report(Invocation(as_json=True), settings(own), None) == 2
    told = json.loads(capsys.readouterr().out)
    assert [problem.split(": ", 1)[0] for problem in told["errors"]] == [
        f"{own / 'gb.toml'}:4",
        f"{own / 'gb.toml'}:7",
        f"{own / 'gb.toml'}:8",
        f"{own / 'ie.toml'}:2",
    ]
    assert any(f"{own / 'fi.toml'}:9: no rule from 2021-01-01 on" in each for each in told["warnings"])
    by_code = {each["country"]: each for each in told["countries"]}
    assert "GB" not in by_code and by_code["FI"]["rule"] is None
    assert by_code["IE"]["from_folder"] and not by_code["FR"]["from_folder"]


def test_check_of_a_folder_that_is_not_there(tmp_path, capsys):
    """A folder that failed to mount would pass as checked."""
    assert rules.report(Invocation(as_json=False), settings(tmp_path / "gone"), None) == 2
    said = capsys.readouterr().out
    assert "error: " in said and "No such file or directory" in said


def test_check_holds_the_log_against_the_rules(capsys):
    """A list under a misspelt name would block nobody, unseen."""
    index = law.index(law.register("tsp"), law.allow("consent"), position=77)
    assert rules.report(Invocation(as_json=True), settings(), lambda: log_of(index)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["position"] == 77 and told["errors"] == []
    assert any(
        each.startswith("tps was never imported, and the rules of GB need it") for each in told["warnings"]
    )
    assert any(each.startswith("us-co-dnc, us-fl-dnc, ") for each in told["warnings"])
    assert any(each.startswith("tsp is on the log and no rule") for each in told["warnings"])


def test_check_says_which_rules_are_newer_than_those_on_the_log(own, capsys):
    """New rules would judge tomorrow's leads, and nobody would have read what they change."""
    shipped = Rulebook.load().country("GB").rules[-1].text
    assert rules.report(Invocation(as_json=True), settings(own), lambda: log_of(law.index(), shipped)) == 0
    told = [each for each in json.loads(capsys.readouterr().out)["warnings"] if " on the log" in each]
    (ours,) = Rulebook.load(own).country("GB").rules
    (changed,) = [
        each for each in told if each.startswith(f"{ours.digest} is not on the log, which holds gb@")
    ]
    assert "adds " in changed and "drops " in changed
    assert changed.endswith(": `rules publish`, or the next import, puts the rules in use there")
    (others,) = [each for each in told if "nor any rule before them" in each]
    assert Rulebook.load().country("DK").rules[-1].digest in others and ours.digest not in others

    assert rules.report(Invocation(as_json=True), settings(), lambda: log_of(law.index())) == 0
    assert "no rule is on the log yet: " in capsys.readouterr().out
    every = Rulebook.load().texts.values()
    assert rules.report(Invocation(as_json=True), settings(), lambda: log_of(law.index(), *every)) == 0
    assert "is not on the log" not in capsys.readouterr().out


def test_check_without_a_log_checks_the_rest(capsys):
    """A pipeline without a broker could not check its rules, or would not learn that the log is broken."""
    error = Unavailable("no broker answers now")
    assert rules.report(Invocation(as_json=True), settings(), raising(error)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["position"] is None and len(told["countries"]) > 20
    assert f"the rules were not compared with the log: {error}" in told["warnings"]
    with pytest.raises(Corrupt, match="offset 7"):
        rules.report(Invocation(as_json=False), settings(), raising(Corrupt("offset 7")))
    assert " countries, " in capsys.readouterr().out


FRENCH = Rulebook.load().country("FR").rules
BY_SMS = Rulebook.load().on("FR", date(2026, 8, 10), "sms").digest


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("gp", "2026-08-10"), "FR on 2026-08-10: numbers of FR, GP, RE,"),
        (("gp", "2026-08-10"), f"{FRENCH[-2].digest}, from 2025-07-01 to 2026-08-10: {FRENCH[-2].source}"),
        (("gp", "2026-08-10"), "A number that bloctel-clean does not hold as clean is blocked as not-washed"),
        (("gp", "2026-08-10"), "next, from 2026-08-11: fr@"),
        (("France", ""), f"{FRENCH[-1].digest}, from "),
        (("FR", "2026-08-10", "sms"), "FR by sms on 2026-08-10: numbers of FR,"),
        (("FR", "2026-08-10", "sms"), "A number that is not in the consent-sms@campaign"),
        (("FR", "2000-01-01", "sms"), "no rule on 2000-01-01: every prospect is blocked by sms"),
        (("FR", "2000-01-01"), "no rule on 2000-01-01: every prospect is blocked"),
        (("FR", "2000-01-01"), "next, from 2011-12-01"),
        ((BY_SMS, ""), f"{BY_SMS}, from "),
    ],
)
def test_show_tells_the_rule_of_a_day_and_a_channel(capsys, asked, said):
    """A compliance officer could not say what the law asked on the day of a call, or be told another law."""
    rules.show_rule(Invocation(as_json=False), settings(), *asked)
    assert said in capsys.readouterr().out


def test_the_text_that_is_shown_has_the_digest(capsys):
    """Who proves a stamp by the text of its rule would find another digest."""
    digest = FRENCH[-2].digest
    rules.show_rule(Invocation(as_json=True), settings(), digest.upper(), "")
    shown = json.loads(capsys.readouterr().out)["rule"]
    assert shown["rules"] == digest and "to = 2026-08-10\n" in shown["text"]
    assert f"fr@{hashlib.sha256(shown['text'].encode()).hexdigest()[:6]}" == digest


@pytest.mark.parametrize(
    ("asked", "on", "sentence"),
    [
        ("XX", "", "no rules for 'XX', so every prospect there is blocked; rules exist for AS, AT, AU,"),
        ("+33612345678", "", "no rules for '[number]'"),
        ("FR", "10/08/2026", "--on: '10/08/2026' is not a date; write it as 2026-08-10"),
        ("fr@000000", "", "fr@000000: no rule in the rule files has this digest"),
    ],
)
def test_what_cannot_be_shown_is_refused(asked, on, sentence):
    """A misspelt country would look like one without rules, or a wrong day like today."""
    with pytest.raises(ConfigError) as caught:
        rules.show_rule(Invocation(as_json=False), settings(), asked, on)
    assert caught.value.problems[0].startswith(sentence)
    with pytest.raises(ConfigError, match="GB has no rule for 'sms', only for voice"):
        rules.show_rule(Invocation(as_json=False), settings(), "GB", "", "sms")


def test_the_folder_of_the_command_line_is_the_one_that_is_read(own):
    """A file would be checked other than the one that the user named, and its mistakes pass."""
    runner = CliRunner()
    shown = runner.invoke(app, ["rules", "show", "FI", "--folder", str(own), "--json"])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["rule"]["source"] == "our own law"
    (own / "fi.toml").write_text("country = 3\n")
    checked = runner.invoke(app, ["rules", "check", "--no-log", "--folder", str(own), "--json"])
    assert checked.exit_code == 2
    assert len(json.loads(checked.stdout)["errors"]) == 3

"""`stream-scrub rules`: what it prints, and with which code it ends."""

import hashlib
import json
from datetime import date

import pytest
from typer.testing import CliRunner

from stream_scrub.cli import render_rules as rules
from stream_scrub.cli.app import app
from stream_scrub.cli.options import Invocation
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Corrupt, Refused, Unavailable
from stream_scrub.rules import Rulebook
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
    for code in ("GB", "PL"):
        (tmp_path / f"{code.lower()}.toml").write_text(OWN.format(code=code))
    return tmp_path


def raising(error):
    def read():
        raise error

    return read


def test_check_says_what_is_in_force_and_whose_it_is(own, capsys):
    """An operator could not tell whether the company's rules are the ones that judge."""
    assert rules.check(Invocation(as_json=False), settings(own), None) == 0
    said = capsys.readouterr().out
    assert f"GB  {own / 'gb.toml'} (replaces the shipped one)\n" in said
    assert f"PL  {own / 'pl.toml'} (your own)\n" in said
    assert "FR  stream_scrub/rules/fr.toml\n" in said and "FR by sms  stream_scrub/rules/fr.toml\n" in said
    rule = Rulebook.load(own).country("PL").rules[0]
    assert f"  {rule.digest}, from 2020-01-01: our own law\n  - Whoever is in internal is blocked" in said
    assert "\n12 countries, 12 warnings, 0 errors\n" in said


def test_check_tells_all_mistakes_and_all_doubts_at_once(own, capsys):
    """A user would mend one mistake, run it again, and meet the next."""
    (own / "gb.toml").write_text(OWN.format(code="GB").replace("deny", "denny"))
    (own / "ie.toml").write_text(OWN.format(code="IE").replace('regions = ["IE"]', 'regions = ["IE", "FR"]'))
    (own / "pl.toml").write_text(OWN.format(code="PL") + "to = 2020-12-31\n")
    assert rules.check(Invocation(as_json=True), settings(own), None) == 2
    told = json.loads(capsys.readouterr().out)
    assert [problem.split(": ", 1)[0] for problem in told["errors"]] == [
        f"{own / 'gb.toml'}:4",
        f"{own / 'gb.toml'}:7",
        f"{own / 'gb.toml'}:8",
        f"{own / 'ie.toml'}:2",
    ]
    assert any(f"{own / 'pl.toml'}:9: no rule from 2021-01-01 on" in each for each in told["warnings"])
    by_code = {each["country"]: each for each in told["countries"]}
    assert "GB" not in by_code and by_code["PL"]["rule"] is None
    assert by_code["IE"]["from_folder"] and not by_code["FR"]["from_folder"]


def test_check_of_a_folder_that_is_not_there(tmp_path, capsys):
    """A folder that failed to mount would pass as checked."""
    assert rules.check(Invocation(as_json=False), settings(tmp_path / "gone"), None) == 2
    said = capsys.readouterr().out
    assert (
        "error: " in said and "No such file or directory" in said and "FR  stream_scrub/rules/fr.toml" in said
    )


def test_check_holds_the_log_against_the_rules(capsys):
    """A list under a misspelt name would block nobody, unseen."""
    index = law.index(law.register("tsp"), law.allow("consent"), position=77)
    assert rules.check(Invocation(as_json=True), settings(), lambda: index) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["position"] == 77 and told["errors"] == []
    assert any(
        each.startswith("tps was never imported, and the rules of GB need it") for each in told["warnings"]
    )
    assert any(each.startswith("tsp is on the log and no rule") for each in told["warnings"])


@pytest.mark.parametrize("error", [Unavailable("no broker answers now"), Refused("the topic is not there")])
def test_check_without_a_log_checks_the_rest(error, capsys):
    """A pipeline without a broker could not check its rules, or would think that the log had been looked at."""
    assert rules.check(Invocation(as_json=True), settings(), raising(error)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["position"] is None and len({each["country"] for each in told["countries"]}) == 11
    assert (
        f"the log could not be asked, so what it holds was not held against the rules: {error}"
        in told["warnings"]
    )


def test_check_of_a_corrupt_log_says_the_rest_and_then_that(capsys):
    """Whoever asks about the rules would not learn that the log is broken."""
    with pytest.raises(Corrupt, match="offset 7"):
        rules.check(Invocation(as_json=False), settings(), raising(Corrupt("offset 7")))
    assert "11 countries" in capsys.readouterr().out


def test_show_tells_the_rule_of_a_day(capsys):
    """A compliance officer could not say what the law asked on the day of a call."""
    rules.show_rule(Invocation(as_json=False), settings(), "gp", "2026-08-10", only_text=False)
    said = capsys.readouterr().out
    rule = Rulebook.load().country("FR").rules[-2]
    assert said.startswith("FR on 2026-08-10: numbers of FR, GP, RE,")
    assert f"  {rule.digest}, from 2025-07-01 to 2026-08-10: {rule.source}\n" in said
    assert "Who is not in bloctel-clean is blocked" in said and "next, from 2026-08-11: fr@" in said
    assert said.count("not proven: ") == len(rule.uncertain)


def test_show_today_and_as_json(capsys):
    """A machine would be given another rule than the one that judges now."""
    rules.show_rule(Invocation(as_json=True), settings(), "FR", "", only_text=False)
    told = json.loads(capsys.readouterr().out)
    assert told["rule"]["rules"] == Rulebook.load().country("FR").rules[-1].digest


def test_show_tells_the_rule_of_a_channel(capsys):
    """Whoever answers for messages would be told the law on calls."""
    rules.show_rule(Invocation(as_json=False), settings(), "FR", "2026-08-10", "sms", only_text=False)
    said = capsys.readouterr().out
    assert said.startswith("FR by sms on 2026-08-10: numbers of FR,")
    assert "- This rule is for prospects that are to be reached by sms." in said
    assert "Who is not in the consent-sms@campaign" in said and "next" not in said
    rules.show_rule(Invocation(as_json=False), settings(), "FR", "2000-01-01", "sms", only_text=False)
    said = capsys.readouterr().out
    assert "no rule on 2000-01-01: nobody is reached by sms" in said and "next, from 2004-07-10" in said
    digest = Rulebook.load().on("FR", date(2026, 8, 10), "sms").digest
    rules.show_rule(Invocation(as_json=True), settings(), digest, "", only_text=False)
    told = json.loads(capsys.readouterr().out)
    assert (told["rule"]["rules"], told["channels"]) == (digest, ["sms"])
    with pytest.raises(ConfigError, match="no rule of GB is for 'sms': there are rules for voice"):
        rules.show_rule(Invocation(as_json=False), settings(), "GB", "", "sms", only_text=False)


def test_show_a_day_without_a_rule(capsys):
    """A day before the law would be told the first law."""
    rules.show_rule(Invocation(as_json=False), settings(), "FR", "2000-01-01", only_text=False)
    said = capsys.readouterr().out
    assert "no rule on 2000-01-01: nobody is called" in said and "next, from 2011-12-01" in said
    rules.show_rule(Invocation(as_json=False), settings(), "FR", "2000-01-01", only_text=True)
    assert "no rule on 2000-01-01" in capsys.readouterr().out


def test_the_text_that_is_shown_has_the_digest(capsys):
    """Who proves a stamp by the text of its rule would find another digest."""
    digest = Rulebook.load().country("FR").rules[-2].digest
    rules.show_rule(Invocation(as_json=False), settings(), digest.upper(), "", only_text=True)
    text = capsys.readouterr().out
    assert f"fr@{hashlib.sha256(text.encode()).hexdigest()[:6]}" == digest
    assert "to = 2026-08-10\n" in text


@pytest.mark.parametrize(
    ("asked", "on", "sentence"),
    [
        ("XX", "", "no rules for 'XX', so nobody there is called: there are rules for AS, AT, BE,"),
        ("", "", "no rules for ''"),
        ("FR", "10/08/2026", "--on: '10/08/2026' is no day; write it as 2026-08-10"),
        ("fr@000000", "", "fr@000000: no rule in force here has that digest"),
    ],
)
def test_what_cannot_be_shown_is_refused(asked, on, sentence):
    """A misspelt country would look like one without rules, or a wrong day like today."""
    with pytest.raises(ConfigError) as caught:
        rules.show_rule(Invocation(as_json=False), settings(), asked, on, only_text=False)
    assert caught.value.problems[0].startswith(sentence)


def test_the_folder_of_the_command_line_is_the_one_that_is_read(own):
    """A file would be checked other than the one that the user named, and its mistakes pass."""
    runner = CliRunner()
    shown = runner.invoke(app, ["rules", "show", "PL", "--folder", str(own), "--json"])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["rule"]["source"] == "our own law"
    (own / "pl.toml").write_text("country = 3\n")
    checked = runner.invoke(app, ["rules", "check", "--no-log", "--folder", str(own), "--json"])
    assert checked.exit_code == 2
    assert len(json.loads(checked.stdout)["errors"]) == 3

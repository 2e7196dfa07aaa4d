"""`stream-scrub file` on the command line: what it says, and what it ends with."""

import json
import os
import pwd
import re
import shlex
import socket
import sys
from typing import NamedTuple

import pytest
from jsonschema import Draft202012Validator

from stream_scrub.cli.app import _command
from tests.support.fakes.timestamp_server import TimestampServer
from tests.support.fakes.web import Web
from tests.support.running.files import FREE, OPPOSED, Bureau, no_settings
from tests.support.texts.pages import ROOT

SCHEMA = json.loads((ROOT / "schemas" / "file-summary.schema.json").read_text())
LEADS = f"name;phone\nAnn;{FREE}\nBob;{OPPOSED}\nCid;12\n"


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder with rules and lists of the tests' own."""
    no_settings(monkeypatch, tmp_path)
    bureau = Bureau(tmp_path)
    (tmp_path / "leads.csv").write_text(LEADS)
    paths = {name: listed.path for name, listed in bureau.lists.items()}
    paths["bloctel"] = paths["bloctel"].rename(tmp_path / "bloctel-2026-11-24.txt")
    lists = [f"--list={name}={path}" for name, path in paths.items()]

    def run(*options: str, source: str = "leads.csv"):
        """The exit code, and what was written to standard output and standard error."""
        told = ["file", source, "-o", "out", *lists, "--rules", "rules", "--on", "2026-11-25", *options]
        monkeypatch.setattr(sys, "argv", ["stream-scrub", *told])
        code = _command()
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def check(call, monkeypatch, capsys):
    """Runs `produce --check` in that folder, without a broker."""

    def run(*options: str, source: str):
        told = ["produce", source, "--check", "--set", "rules.folder=rules", *options]
        monkeypatch.setattr(sys, "argv", ["stream-scrub", *told])
        code = _command()
        return Done(code, *capsys.readouterr())

    return run


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def test_people_get_a_table_and_what_deserves_a_look(call):
    """The manager would have to open files to learn how many leads are left."""
    done = call("--max-bad", "0.5")

    assert done.returncode == 0, done.stderr
    for said in ("phone: 1 number column", "clear           1     33.3%", "first lines: 4", "scrub again by"):
        assert said in done.stdout, done.stdout
    assert FREE[1:] not in done.stdout + done.stderr


def test_machines_get_the_summary_by_its_schema(call, tmp_path, monkeypatch):
    """A nightly job would read a summary that is not what the schema says."""
    with (tmp_path / "leads.csv").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        done = call("--json", "--max-bad=1", "--annotated", source="-")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    Draft202012Validator(SCHEMA).validate(told)
    assert told == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert told["input"]["name"] == "stdin" and (told["rows"], told["allowed"]) == (3, 1)
    assert [each["name"] for each in told["outputs"]] == [
        *("allowed.csv", "blocked.csv", "annotated.csv", "unreadable-numbers.csv"),
    ]
    assert {each["register"]: each["file"] for each in told["registers"]}[
        "bloctel"
    ] == "bloctel-2026-11-24.txt"


@pytest.mark.parametrize(
    ("areas", "reason"),
    [
        ((), "stale-register"),
        (("--areas", "us-dnc=404"), "clear"),
        (("--areas", "us-dnc=all"), "clear"),
        (("--areas", "us-dnc=907"), "stale-register"),
    ],
)
def test_an_area_is_open_only_if_it_was_bought(call, tmp_path, areas, reason):
    """One stray number of an area code would let everybody there be called."""
    (tmp_path / "us-dnc-2026-11-24.txt").write_text("+14045550123\n+19075550123\n")
    (tmp_path / "leads.csv").write_text("phone\n+14045550199\n")
    done = call(
        "--list=us-dnc=us-dnc-2026-11-24.txt", "--region=USA", "--purpose=insurance", "--json", *areas
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reasons"] == {reason: 1}


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--max-bad", "0.1"), 1, "hold no readable number"),
        (("--list", "internal"), 2, "write REGISTER=FILE"),
        (("--areas", "us-dnc=212"), 2, "there is no --list us-dnc=FILE"),
        (("--areas", "bloctel=212"), 2, "no rule says that bloctel is sold by area"),
        (("--snapshot", "."), 2, "and no --snapshot"),
        (("--region", "XX"), 2, "--region"),
        (("--encoding", "klingon"), 2, "--encoding"),
        (("--on", "tomorrow"), 2, "--on"),
    ],
)
def test_every_failure_has_its_exit_code(call, tmp_path, options, code, said):
    """A script would go on and dial from a folder that was never written."""
    done = call(*options)

    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_proof_names_its_maker_as_the_system_knows_it(call, tmp_path, monkeypatch):
    """Anybody could scrub a file in another's name."""
    monkeypatch.setenv("USER", "somebody-else")
    call("--max-bad", "0.5")
    user = pwd.getpwuid(os.getuid()).pw_name
    for name in ("proof.json", "summary.json"):
        made = json.loads((tmp_path / "out" / name).read_text())["made_by"]
        assert made == {"user": user, "host": socket.gethostname()}
    assert f"{user} on {socket.gethostname()}" in (tmp_path / "out" / "report.html").read_text()


def test_a_proof_has_its_timestamp_and_another_proof_has_none(call, tmp_path):
    """A proof could be made on the day of the complaint, and say that it is of last year."""
    server = TimestampServer(tmp_path / "tsa")
    ca = f"--set=evidence.timestamp_ca={server.ca}"
    proof, timestamp = tmp_path / "out" / "proof.json", tmp_path / "out" / "proof.json.tsr"
    with Web(server) as web:
        done = call("--max-bad=0.5", f"--set=evidence.timestamp_url={web.url}", ca)
        assert done.returncode == 0, done.stderr
        verified = call(f"--verify={proof}", ca)
        assert verified.returncode == 0 and "proof.json.tsr: the proof existed at 20" in verified.stdout
        assert "set evidence.timestamp_ca to check it" in call(f"--verify={proof}").stdout
        before = timestamp.read_bytes()
        call("--max-bad=0.5", "--force", "--language=fr", f"--set=evidence.timestamp_url={web.url}", ca)
        timestamp.write_bytes(before)
        changed = call(f"--verify={proof}", ca)
        assert changed.returncode == 1 and "it is the timestamp of something else" in changed.stdout
    away = call("--max-bad=0.5", "--force", "--set=evidence.timestamp_url=http://127.0.0.1:9", ca)
    assert away.returncode == 0 and "proof.json has no timestamp" in away.stdout + away.stderr
    assert not timestamp.exists(), "an older timestamp beside a newer proof"


def test_a_list_of_consents_is_refused_with_the_whole_command(call, tmp_path):
    """A marketer would be told that a list is wrong, and not what to type."""
    (tmp_path / "crm.csv").write_text(f"Nom;Mobile;Opt-in\nAnn;{OPPOSED};oui\nBob;{FREE};\n")
    given = ("--max-bad", "0.5", "--list", "consent@a=crm.csv")
    refused = call(*given)
    (command,) = re.findall(r"name the columns: stream-scrub (.*)", refused.stderr)
    assert (
        refused.returncode == 1 and "column 3 Opt-in (consent?): 1 filled, 1 empty: oui 1" in refused.stderr
    )

    done = call(*shlex.split(command)[-len(given) - 2 :])
    assert done.returncode == 0, done.stderr
    assert "consent@a: rows: consented 1, unclear 1" in done.stdout
    assert "consent@a: columns used: Mobile (phone), Opt-in (consent)" in done.stdout
    assert call(*given, "--columns", "consent:phone=1", "--force").returncode == 2


def test_a_check_counts_what_a_stream_would_block_and_shows_no_number(check, tmp_path):
    """A producer's faults would show when its leads are blocked already, or a number stand in a terminal's log."""
    (tmp_path / "leads.csv").write_text(
        f"phone;country\n{FREE};FR\n{OPPOSED};FR\n06 12 34;FR\n06 12 35;FR\n{FREE};XX\n"
    )

    done = check("--json", source="leads.csv")

    told = json.loads(done.stdout)
    assert (done.returncode, told["prospects"], told["sound"]) == (1, 5, 2), done.stderr
    faults = [(each["reason"], each["why"], each["prospects"], each["first"]) for each in told["blocked"]]
    hidden = {"number": "## ## ##"}
    assert faults == [
        ("invalid-number", "too-short", 2, [{"line": 4} | hidden, {"line": 5} | hidden]),
        ("unknown-country", None, 1, [{"line": 6, "number": re.sub(r"\d", "#", FREE)}]),
    ]
    people = check(source="leads.csv")
    assert "2 would be blocked as invalid-number (too-short)" in people.stdout
    assert "line 4: ## ## ##" in people.stdout and "2 of 5 prospects have no fault" in people.stdout


@pytest.mark.parametrize(
    ("name", "content", "faults"),
    [
        (
            "leads.ndjson",
            b'{"phone": "0612345680"}\n{"phone": "1", "phone": "2"}\n\xff\n'
            + b'{"phone": "0612345681"}\n' * 7,
            [("unreadable", "member-twice", 2), ("unreadable", "not-utf-8", 3)],
        ),
        (
            "leads.csv",
            f"phone;note\n{FREE};x\n08 92 12 34 56;x\n{FREE};{'x' * 1_048_576}\n".encode(),
            [("not-callable", None, 3), ("unreadable", "too-large", 4)],
        ),
    ],
)
def test_a_check_finds_what_the_stream_blocks(check, tmp_path, name, content, faults):
    """A check would call lines sound that come out unreadable, that no topic takes, or that no register could ever clear."""
    (tmp_path / name).write_bytes(content)
    told = json.loads(check("--json", source=name).stdout)
    found = [(each["reason"], each["why"], each["first"][0]["line"]) for each in told["blocked"]]
    assert sorted(found, key=str) == sorted(faults, key=str)


def test_a_check_of_sound_rows_ends_well_and_one_of_avro_says_what_to_pass(check, tmp_path):
    """A pipeline would stop for rows without a fault, or take rows for checked that nobody judged."""
    (tmp_path / "leads.csv").write_text(f"phone\n{FREE}\n")
    assert check(source="leads.csv").returncode == 0
    avro = {"prospect.format": "avro", "prospect.stamp": "header", "registry.url": "http://localhost:1"}
    settings = [part for name, value in avro.items() for part in ("--set", f"{name}={value}")]
    done = check(*settings, source="leads.csv")
    assert done.returncode == 2 and "--set prospect.format=json" in done.stderr

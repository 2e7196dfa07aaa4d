"""The mistakes of somebody's first file: each is answered with what to do."""

import csv
import io
import sys

import pytest

from stream_scrub import BadList, Checker, ListFile, scrub_file
from stream_scrub.cli.app import _command
from tests.support.fakes.lists import consents
from tests.support.running.files import FREE, OPPOSED, no_settings

AGREED, OTHER, ON = "0612000001", "0612000002", "2026-10-01"
LINES = "".join(f"06{number}\n" for number in range(10_000_000, 10_000_250))
FILES = {
    "leads.csv": f"name,mobile,landline\nAnn,{AGREED},n.c.\nBob,{OPPOSED},-\nCid,{FREE},\n",
    "opt-outs.txt": f"{OPPOSED}\n",
    "ended.csv": f"number;expires\n{OPPOSED};2026-01-01\n{FREE};2026-12-01\n",
    "outs.txt": f"{LINES}0612345678 / 0611111111\n{LINES}none\n",
    "bad-outs.txt": f"{OPPOSED}\n" * 20 + "nobody\n",
    "consents.csv": consents([AGREED, OTHER]),
    "pacitel-2011-05-01.txt": f"{OPPOSED}\n",
    "both.csv": f"mobile,landline\n{AGREED},{FREE}\n{AGREED},{OPPOSED}\n{FREE},{FREE}\n",
    "both.ndjson": f'{{"mobile":"{AGREED}","landline":"{FREE}"}}\n{{"mobile":"{FREE}","landline":"{OPPOSED}"}}\n',
    "mixed.csv": f"mobile,purpose\n{FREE},gas\n{AGREED},Energie\n",
    "mixed.ndjson": f'{{"mobile": "{FREE}", "use": "gas"}}\n{{"mobile": "{AGREED}", "use": "Energie"}}\n',
}
OURS = f"--list internal=opt-outs.txt --on {ON}"
LISTS = f"--list consent@acme=consents.csv {OURS}"
ACME = f"{LISTS} --purpose insurance --campaign acme"
BOTH = "--column mobile --column landline"
NOBODYS = f"--list consent=consents.csv {OURS} --purpose insurance"
NO_CAMPAIGN = "rows without a campaign: 2; the lists of consents are consent@acme: name the campaign (as in --campaign acme)"
CONSENTS_OF_NOBODY = "consents without a campaign count for your own campaign only"
NAMED = "--list consent@acme=consents.csv --campaign acme"
ENERGY = "in FR it counts as energy-renovation, renewable-energy, which is banned, and as electricity, gas it would not be"

TOLD = [
    ("leads.csv --list intrenal=opt-outs.txt", 1, "did you mean internal?"),
    ("leads.csv --list intrenal=opt-outs.txt", 1, "--register-unknown"),
    (f"leads.csv --list internal=ended.csv --on {ON}", 0, "expiry dates of the list internal ignored: 2"),
    (f"leads.csv --list internal=outs.txt --on {ON}", 0, "without a valid number, which are not used: 2 (line 251, 502)"),
    (f"leads.csv --list pacitel=pacitel-2011-05-01.txt {LISTS}", 0, "uses pacitel: this list changes no verdict"),
    (f"both.csv {BOTH} {ACME}", 0, "although nobody opposed: 1; prospect.mixed = strip allows them"),
    (f"both.ndjson {BOTH} {LISTS} --purpose insurance --set prospect.default_campaign=acme", 0, "although nobody opposed: 1;"),
    (f"leads.csv {LISTS}", 0, "rows without a purpose: 2; name the purpose (--purpose insurance)"),
    (f"leads.csv {LISTS}", 0, NO_CAMPAIGN),
    (f"leads.csv {LISTS} --purpose insurance", 0, NO_CAMPAIGN),
    (f"leads.csv {LISTS} --purpose insurance --campaign acne", 0, "did you mean --campaign acme?"),
    (f"leads.csv {NOBODYS}", 0, CONSENTS_OF_NOBODY),
    (f"leads.csv {NOBODYS} --campaign acme", 0, NAMED),
    (f"leads.csv {NOBODYS} --set prospect.default_campaign=acme", 0, "allowed consented 1"),
    (f"lead.csv {LISTS}", 2, "lead.csv: there is no file of this name"),
    (f"leads.csv {LISTS} --purpose energy", 0, ENERGY),
    (f"mixed.csv {LISTS}", 0, ENERGY),
    (f"mixed.ndjson {LISTS} --purpose-column use", 0, ENERGY),
    (f"leads.csv {LISTS} --purpose insurence", 2, "did you mean insurance"),
    (f"leads.csv --list internal=bad-outs.txt --on {ON} --max-bad 1", 1, "--list-max-bad of `file`"),
    (f"leads.csv --list internal=bad-outs.txt --on {ON} --list-max-bad 0.1", 0, "dry run: nothing was written"),
    (f"leads.csv {LISTS} --column mobil", 2, "did you mean mobile?"),
    (f"leads.csv {LISTS} --column mobil --column landline", 2, "name, mobile, landline"),
    (f"leads.csv {LISTS} --purpose-column nmae", 2, "no column is called 'nmae' (did you mean name?)"),
    (f"leads.csv {LISTS} -o out", 2, "--dry-run"),
]  # fmt: skip
NOT_TOLD = [
    (f"both.csv {BOTH} {ACME} --set prospect.mixed=strip", "although nobody opposed"),
    (f"leads.csv {ACME}", "campaign:"),
    (f"leads.csv {LISTS} --purpose gas", "may mean"),
    (f"leads.csv {NOBODYS} --set prospect.default_campaign=acme", "without a consent"),
]


@pytest.fixture
def desk(tmp_path, monkeypatch, capsys):
    """A folder with leads and lists, in which `stream-scrub` is called with shipped rules: its exit code and words."""
    no_settings(monkeypatch, tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    def run(command: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["stream-scrub", *command.split()])
        code = _command()
        return code, " ".join(" ".join(capsys.readouterr()).split())

    return run


@pytest.mark.parametrize(("command", "code", "said"), TOLD)
def test_a_first_try_says_what_to_do(desk, tmp_path, command, code, said):
    """Nobody would be called, or the wrong people, and nothing say why, or what to type; a try would leave files."""
    before = sorted(tmp_path.iterdir())
    ended, told = desk(f"file {command} --dry-run")
    assert (ended, said in told) == (code, True), told
    assert "broker" not in told and sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("command", "said"), NOT_TOLD)
def test_what_is_in_order_is_not_spoken_of(desk, command, said):
    """People would mend what is well."""
    code, told = desk(f"file {command} --dry-run")
    assert code == 0 and said not in told


def test_the_report_says_it_as_well(desk, tmp_path):
    """The manager, who sees only the page and reads no English, would have to ask."""
    desk(f"file leads.csv -o out {LISTS} --purpose insurance --language fr")
    page = (tmp_path / "out" / "report.html").read_text()
    (line,) = [each for each in page.splitlines() if "Lignes sans campagne : 2" in each]
    assert "--campaign acme)." in line and "lang=" not in line
    desk(f"file leads.csv -o energy {LISTS} --purpose energy")
    assert ENERGY in (tmp_path / "energy" / "report.html").read_text()


def test_a_program_is_warned_of_what_a_list_does_not_say(desk):
    """An objection that cannot be read would be dropped without a word, or a misspelt register oppose nobody."""
    with pytest.warns(UserWarning, match="2 expiry dates of internal do not count"):
        assert not Checker.from_lists({"internal": "ended.csv"}).check(OPPOSED)
    with pytest.warns(UserWarning, match="2 lines of internal hold no valid number: 251, 502"):
        Checker.from_lists({"internal": "outs.txt"})
    with pytest.raises(BadList, match="did you mean internal"):
        scrub_file("leads.csv", "out", lists={"intrenal": "opt-outs.txt"})
    scrub_file("leads.csv", "out", lists={"ours": ListFile("opt-outs.txt", register_unknown=True)}, max_bad=1)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_no_spreadsheet_finds_a_formula_among_unreadable_numbers(desk, tmp_path, delimiter):
    """A stranger's list of leads would run commands on the desk of whoever looks into what is wrong with it."""
    bad = ["=1+2", "12;=1+2;3", "1|@SUM(1)", "\n+1", "\t-1", "\uff1d1"]
    rows = [("name", "=cmd(1) phone"), *(("Ann", cell) for cell in bad), ("Eve", AGREED)]
    with (tmp_path / "bad.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    code, _ = desk(f"file bad.csv -o out --column 2 --max-bad 1 {LISTS}")
    listed = (tmp_path / "out" / "unreadable-numbers.csv").read_text(encoding="utf-8-sig")
    cells = [cell for row in csv.reader(io.StringIO(listed), delimiter=delimiter) for cell in row]
    assert code == 0 and len(cells) > len(bad)
    assert not [cell for cell in cells if cell[:1] in {*"=+-@\t\r\n\uff1d"}]


def test_unreadable_numbers_are_listed_with_their_reasons(desk, tmp_path):
    """Nobody could mend a list of leads without knowing which cells are wrong and why."""
    rows = f"name,phone\nAnn,12\nBob,n.c.\nCid,6.12E+08\nDan,=09999\nEve,{AGREED}\n"
    (tmp_path / "bad.csv").write_text(rows)
    code, told = desk(f"file bad.csv -o out --column phone --max-bad 1 {LISTS}")
    assert code == 0 and "unreadable-numbers.csv" in told
    listed = (tmp_path / "out" / "unreadable-numbers.csv").read_text(encoding="utf-8-sig")
    assert list(csv.reader(io.StringIO(listed))) == [
        ["line", "column", "cell", "why"],
        ["2", "phone", "12", "too short: 2 digits"],
        ["3", "", "", "the row holds no number"],
        ["4", "phone", "6.12E+08", "a spreadsheet has cut off its last digits"],
        ["5", "phone", "'=09999", "too short: 5 digits"],
    ]
    assert desk("file --verify out/proof.json")[0] == 0
    desk(f"file leads.csv -o out --force {LISTS}")
    assert not (tmp_path / "out" / "unreadable-numbers.csv").exists(), "of another run"

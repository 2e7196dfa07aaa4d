"""The mistakes of somebody's first file: each is answered with what to do, and no good lead is lost to a cell's spelling."""

import csv
import io
import sys
from pathlib import Path

import pytest

from stream_scrub import BadList, Checker, ConfigError, ListFile, Summary, scrub_file
from stream_scrub.call import Call
from stream_scrub.cli.app import _command
from tests.support.fakes.lists import consents
from tests.support.running.files import FREE, OPPOSED, no_settings

AGREED, OTHER, ON = "0612000001", "0612000002", "2026-10-01"


@pytest.fixture
def desk(tmp_path, monkeypatch, capsys):
    """A folder with a list of opt-outs and one of consents to acme, in which `stream-scrub` is called with shipped rules."""
    no_settings(monkeypatch, tmp_path)
    (tmp_path / "opt-outs.txt").write_text(f"{OPPOSED}\n")
    (tmp_path / "consents.csv").write_text(consents([AGREED, OTHER]))
    (tmp_path / "leads.csv").write_text(
        f"name,mobile,landline\nAnn,{AGREED},n.c.\nBob,{OPPOSED},-\nCid,{FREE},\n"
    )

    def run(*options: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stream-scrub", *options])
        code = _command()
        return code, *capsys.readouterr()

    return run


LISTS = ("--list", "internal=opt-outs.txt", "--list", "consent@acme=consents.csv", "--on", ON)
INSURANCE = ("--purpose", "insurance")
NO_CAMPAIGN = "rows without a campaign: 2; the lists of consents are consent@acme: name the campaign (as in --campaign acme)"


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_misspelt_register_is_refused_with_the_right_name(desk, tmp_path):
    """People in the list would be called, and the report say that the verdicts rest on it."""
    code, _, told = desk("file", "leads.csv", "-o", "out", "--list", "intrenal=opt-outs.txt")
    assert code == 1 and "did you mean internal?" in told and "--register-unknown" in told
    assert not (tmp_path / "out").exists()
    with pytest.raises(BadList, match="did you mean internal"):
        scrub_file("leads.csv", "out", lists={"intrenal": "opt-outs.txt"})
    scrub_file("leads.csv", "out", lists={"ours": ListFile("opt-outs.txt", register_unknown=True)}, max_bad=1)


def test_expiry_dates_of_opt_outs_are_said_not_to_count(desk):
    """Somebody would wonder for a day why an opt-out that their dialler lets expire still blocks."""
    Path("genesys.csv").write_text(f"number;expires\n{OPPOSED};2026-01-01\n{FREE};2026-12-01\n")
    lists = ("--list", "internal=genesys.csv", *LISTS[2:])
    code, told, _ = desk("file", "leads.csv", "--dry-run", *lists, *INSURANCE)
    assert code == 0
    assert "expiry dates of the list internal ignored: 2" in words(told)
    with pytest.warns(UserWarning, match="2 expiry dates of internal do not count"):
        assert not Checker.from_lists({"internal": "genesys.csv"}).check(OPPOSED)


def test_lines_of_a_list_that_hold_no_number_are_said(desk):
    """An objection that cannot be read would be dropped without a word, and the person be called."""
    lines = "".join(f"06{number}\n" for number in range(10_000_000, 10_000_250))
    Path("outs.txt").write_text(f"{lines}0612345678 / 0611111111\n{lines}none\n")
    lists = ("--list", "internal=outs.txt", *LISTS[2:])
    code, told, _ = desk("file", "leads.csv", "--dry-run", *lists, *INSURANCE)
    assert code == 0
    said = "lines of the list internal without a valid number, which are not used: 2 (line 251, 502)"
    assert said in words(told)
    with pytest.warns(UserWarning, match="2 lines of internal hold no valid number: 251, 502"):
        Checker.from_lists({"internal": "outs.txt"})


def test_a_list_of_another_day_is_said_to_change_nothing(desk):
    """Somebody would trust a list that no law asks any more."""
    Path("pacitel-2011-05-01.txt").write_text(f"{OPPOSED}\n")
    code, told, _ = desk("file", "leads.csv", "--dry-run", "--list", "pacitel=pacitel-2011-05-01.txt", *LISTS)
    assert code == 0 and "1 October 2026 uses pacitel: this list changes no verdict" in words(told)


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_rows_of_which_one_number_may_be_called_are_told(desk, kind):
    """Whoever has a consent for the mobile alone would get no lead, and not read which setting keeps it back."""
    rows = [(AGREED, FREE), (AGREED, OPPOSED), (FREE, FREE)]
    text = "mobile,landline\n" + "".join(f"{a},{b}\n" for a, b in rows)
    if kind == "ndjson":
        text = "".join(f'{{"mobile":"{a}","landline":"{b}"}}\n' for a, b in rows)
    Path(f"both.{kind}").write_text(text)
    named = ("--column", "mobile", "--column", "landline")
    asked = ("file", f"both.{kind}", "--dry-run", *named, *LISTS, *INSURANCE)
    if kind == "ndjson":
        asked = (*asked, "--set", "prospect.default_campaign=acme")
    else:
        asked = (*asked, "--campaign", "acme")
    code, told, _ = desk(*asked)
    assert code == 0 and "although nobody opposed: 1; prospect.mixed = strip allows them" in words(told)
    _, told, _ = desk(*asked, "--set", "prospect.mixed=strip")
    assert "although nobody opposed" not in words(told)


def test_no_lead_allowed_says_what_is_missing_until_some_are(desk):
    """The first result would be an empty file and no next step."""
    code, told, _ = desk("file", "leads.csv", "--dry-run", *LISTS)
    assert code == 0 and "rows without a purpose: 2; name the purpose (--purpose insurance)" in words(told)
    assert NO_CAMPAIGN in words(told)
    _, told, _ = desk("file", "leads.csv", "--dry-run", *LISTS, *INSURANCE)
    assert NO_CAMPAIGN in words(told)
    _, told, _ = desk("file", "leads.csv", "--dry-run", *LISTS, *INSURANCE, "--campaign", "acne")
    assert "without a consent to acne: 2;" in words(told) and "did you mean --campaign acme?" in words(told)
    code, told, _ = desk("file", "leads.csv", "-o", "out", *LISTS, *INSURANCE, "--campaign", "acme")
    assert code == 0 and "allowed consented 1" in words(told) and "campaign" not in told


def test_consents_without_a_campaign_are_said_to_count_for_nobody(desk):
    """She gives the list of those who agreed, nobody may be called, and nothing says why."""
    lists = ("--list", "internal=opt-outs.txt", "--list", "consent=consents.csv", "--on", ON, *INSURANCE)
    for campaign in ((), ("--campaign", "acme")):
        _, told, _ = desk("file", "leads.csv", "--dry-run", *lists, *campaign)
        assert "consents without a campaign count for your own campaign only" in words(told)
        assert "--list consent@acme=consents.csv --campaign acme" in words(told)
    _, told, _ = desk("file", "leads.csv", "--dry-run", *lists, "--set", "prospect.default_campaign=acme")
    assert "allowed consented 1" in words(told) and "without a consent" not in told


def test_a_file_that_is_not_there_is_told_before_a_broker_is_asked(desk):
    """Whoever mistypes a name would wait for a Kafka that she does not have, and read of brokers."""
    code, _, told = desk("file", "lead.csv", "-o", "out")
    assert code == 2 and "lead.csv: there is no file of this name" in told and "broker" not in told


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "Rows without a campaign: 2; the lists of consents are consent@acme: name the campaign"),
        ("fr", "Lignes sans campagne : 2"),
        ("de", "Zeilen ohne Kampagne: 2"),
        ("it", "Righe senza campagna: 2"),
        ("es", "Filas sin campaña: 2"),
    ],
)
def test_the_report_says_it_as_well(desk, tmp_path, language, said):
    """The manager, who sees only the page and reads no English, would have to ask."""
    desk("file", "leads.csv", "-o", "out", *LISTS, *INSURANCE, "--language", language)
    page = (tmp_path / "out" / "report.html").read_text()
    (line,) = [each for each in page.splitlines() if said in each]
    assert "--campaign acme)." in line and "lang=" not in line


def test_a_word_that_means_several_purposes_says_which_one_was_taken(desk, tmp_path):
    """All leads of an electricity supplier would be blocked as banned renovation, and nobody could say why."""
    said = "in FR it counts as energy-renovation, renewable-energy, which is banned, and as electricity, gas it would not be"
    code, told, _ = desk("file", "leads.csv", "-o", "out", *LISTS, "--purpose", "energy")
    assert code == 0 and said in words(told) and said in (tmp_path / "out" / "report.html").read_text()
    (tmp_path / "mixed.csv").write_text(f"mobile,purpose\n{FREE},gas\n{AGREED},Energie\n")
    code, told, _ = desk("file", "mixed.csv", "-o", "mixed", *LISTS)
    assert code == 0 and said in words(told)
    (tmp_path / "mixed.ndjson").write_text(
        f'{{"mobile": "{FREE}", "use": "gas"}}\n{{"mobile": "{AGREED}", "use": "Energie"}}\n'
    )
    code, told, _ = desk("file", "mixed.ndjson", "-o", "lines", *LISTS, "--purpose-column", "use")
    assert (
        code == 0
        and "purpose: use" in words(told)
        and "the purpose energie may mean" in words(told)
        and said in words(told)
    )
    code, told, _ = desk("file", "leads.csv", "-o", "gas", *LISTS, "--purpose", "gas")
    assert code == 0 and "may mean" not in told


def test_an_unknown_purpose_is_an_error_with_the_nearest_words(desk):
    """Every row would be blocked as unknown-purpose for a letter."""
    code, _, told = desk("file", "leads.csv", "-o", "out", *LISTS, "--purpose", "insurence")
    assert code == 2 and "did you mean insurance" in told and "stream-scrub purposes" in told
    code, told, _ = desk("purposes")
    assert code == 0 and "insurance" in told and "assurance" in told


def test_a_cell_without_a_digit_says_nothing(desk, tmp_path):
    """A consented mobile would be lost for a landline that is "n.c."."""
    code, told, _ = desk("file", "leads.csv", "-o", "out", "--column", "mobile", "--column", "landline",
                         *LISTS, *INSURANCE, "--campaign", "acme")  # fmt: skip
    assert code == 0 and "allowed consented 1" in words(told) and "invalid-number" not in told
    assert not (tmp_path / "out" / "unreadable-numbers.csv").exists()


@pytest.mark.parametrize("between", [" / ", ";", " ou ", "\n", " ", " + "])
def test_two_numbers_in_a_cell_are_both_judged(desk, tmp_path, between):
    """A lead would be lost for a second number, or the second person be called who opposed."""
    cells = (f"{AGREED}{between}{OTHER}", f"{AGREED}{between}{OPPOSED}", AGREED)
    rows = [("name", "phone"), *(("Ann", cell) for cell in cells)]
    with (tmp_path / "two.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    done = scrub_file("two.csv", "out", delimiter=",", call=Call(purpose="insurance", campaign="acme"),
                      lists={"internal": "opt-outs.txt", "consent@acme": "consents.csv"})  # fmt: skip
    assert done.reasons == {"consented": 2, "opposed": 1}
    allowed = list(csv.DictReader(io.StringIO((tmp_path / "out" / "allowed.csv").read_text())))
    assert [row["scrub_number"] for row in allowed] == ["(+33612000001) (+33612000002)", "+33612000001"]


def test_what_may_be_parted_in_two_ways_stays_no_number(desk, tmp_path):
    """The wrong two people would be looked up, and the right one be called."""
    # The second number is +49 18003726, or 04918003726 without its zero.
    (tmp_path / "odd.csv").write_text("name;phone\nAnn;16447685+4918003726\n")
    done = scrub_file(
        "odd.csv", "out", columns=("phone",), region="DE", lists={"internal": "opt-outs.txt"}, max_bad=1
    )
    assert done.reasons == {"invalid-number": 1}
    assert "it is not clear where one ends" in (tmp_path / "out" / "unreadable-numbers.csv").read_text()


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_no_spreadsheet_finds_a_formula_among_unreadable_numbers(desk, tmp_path, delimiter):
    """A stranger's list of leads would run commands on the desk of whoever looks into what is wrong with it."""
    bad = ["=1+2", "12;=1+2;3", "1|@SUM(1)", "\n+1", "\t-1", "\uff1d1"]
    rows = [("name", "=cmd(1) phone"), *(("Ann", cell) for cell in bad), ("Eve", AGREED)]
    with (tmp_path / "bad.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    code, *_ = desk("file", "bad.csv", "-o", "out", "--column", "2", "--max-bad", "1", *LISTS)
    listed = (tmp_path / "out" / "unreadable-numbers.csv").read_text(encoding="utf-8-sig")
    cells = [cell for row in csv.reader(io.StringIO(listed), delimiter=delimiter) for cell in row]
    assert code == 0 and len(cells) > len(bad)
    assert not [cell for cell in cells if cell[:1] in {*"=+-@\t\r\n\uff1d"}]


def test_unreadable_numbers_are_listed_with_their_reasons(desk, tmp_path):
    """Nobody could mend a list of leads without knowing which cells are wrong and why."""
    rows = f"name,phone\nAnn,12\nBob,n.c.\nCid,6.12E+08\nDan,=09999\nEve,{AGREED}\n"
    (tmp_path / "bad.csv").write_text(rows)
    code, told, _ = desk("file", "bad.csv", "-o", "out", "--column", "phone", "--max-bad", "1", *LISTS)
    assert code == 0 and "unreadable-numbers.csv" in told
    listed = (tmp_path / "out" / "unreadable-numbers.csv").read_text(encoding="utf-8-sig")
    assert list(csv.reader(io.StringIO(listed))) == [
        ["line", "column", "cell", "why"],
        ["2", "phone", "12", "too short: 2 digits"],
        ["3", "", "", "the row holds no number"],
        ["4", "phone", "6.12E+08", "a spreadsheet has cut off its last digits"],
        ["5", "phone", "'=09999", "too short: 5 digits"],
    ]
    assert desk("file", "--verify", "out/proof.json")[0] == 0
    desk("file", "leads.csv", "-o", "out", "--force", *LISTS)
    assert not (tmp_path / "out" / "unreadable-numbers.csv").exists(), "of another run"


def test_bad_lines_of_leads_and_of_lists_each_have_their_option(desk, tmp_path):
    """A list with a few bad lines would be a dead end: --max-bad concerns the leads."""
    (tmp_path / "opt-outs.txt").write_text(f"{OPPOSED}\n" * 20 + "nobody\n")
    code, _, told = desk("file", "leads.csv", "-o", "out", *LISTS, "--max-bad", "1")
    assert code == 1 and "--list-max-bad of `file`" in told
    code, _, told = desk("file", "leads.csv", "-o", "out", *LISTS, "--list-max-bad", "0.1", "--max-bad", "1")
    assert code == 0, told


def test_a_missing_column_names_all_and_the_nearest(desk):
    """Somebody would have to open the file to learn how its columns are called."""
    for column in (("--column", "mobil"), ("--column", "mobil", "--column", "landline")):
        code, _, told = desk("file", "leads.csv", "-o", "out", *LISTS, *column)
        assert code == 2 and "did you mean mobile?" in told and "name, mobile, landline" in told
    code, _, told = desk("file", "leads.csv", "-o", "out", *LISTS, "--purpose-column", "nmae")
    assert code == 2 and "--purpose-column: no column is called 'nmae' (did you mean name?)" in told


def test_a_list_is_as_old_as_the_day_in_its_name(desk, tmp_path):
    """An old list of opt-outs would look like today's."""
    Path("opt-outs.txt").rename("opt-outs-2026-11-20.txt")
    done: Summary = scrub_file("leads.csv", "out", lists={"internal": "opt-outs-2026-11-20.txt"}, max_bad=1)
    assert [str(each.effective_at.date()) for each in done.registers] == ["2026-11-20"]


def test_a_dry_run_writes_nothing_and_shows_the_same(desk, tmp_path):
    """People would scrub into a folder to see whether their options are right."""
    before = sorted(tmp_path.iterdir())
    code, told, _ = desk("file", "leads.csv", "--dry-run", *LISTS, *INSURANCE, "--campaign", "acme")
    assert code == 0 and "dry run: nothing was written" in told and "allowed consented 1" in words(told)
    assert sorted(tmp_path.iterdir()) == before
    assert desk("file", "leads.csv", "--dry-run", "-o", "out", *LISTS)[0] == 2


def test_a_file_named_by_a_day_keeps_its_name(desk, tmp_path):
    """A report would be of a file called export_[number].csv."""
    Path("leads.csv").rename("export_20261128.csv")
    done = scrub_file("export_20261128.csv", "out", lists={"internal": "opt-outs.txt"}, max_bad=1)
    assert done.input.name == "export_20261128.csv"


def test_lists_as_one_path_say_what_is_wanted(desk):
    """A beginner would see a TypeError from inside."""
    with pytest.raises(ConfigError, match=r'as in \{"internal": "opt-outs.txt"'):
        scrub_file("leads.csv", "out", lists="opt-outs.txt")

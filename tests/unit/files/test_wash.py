"""`--prepare-wash`: what a register that only washes is asked, and what is not paid for twice."""

import datetime as dt
import json

import pytest

from stream_scrub import BadFile, ConfigError, ListFile
from stream_scrub.cli.app import _command
from stream_scrub.config import load
from stream_scrub.files.options import Asked, FileOptions
from stream_scrub.files.wash import prepare_wash
from stream_scrub.imports import index_sources
from tests.support.running.files import FREE, OPPOSED

RULES = """country = "FR"
regions = ["FR", "RE"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "a wash-only law made for the tests"
deny = ["internal"]
wash = ["bloctel-clean"]
lifted_by = ["contract"]
max_age_days = { bloctel-clean = 30 }
not_callable = ["premium_rate"]
"""
ROWS = [FREE, "06 11 11 11 11", OPPOSED, "0622222222", "0644444444", "0899123456", "12", "", "+447400123456"]


@pytest.fixture
def washed(bureau):
    """Prepares a wash of a file with these numbers."""
    (bureau.folder / "rules" / "fr.toml").write_text(RULES)
    clean = bureau.folder / "clean.txt"
    clean.write_text("0622222222\n")
    bureau.lists = {
        "internal": bureau.lists["internal"],
        "bloctel-clean": ListFile(clean, effective_at=dt.datetime(2026, 5, 20, tzinfo=dt.UTC)),
    }

    def prepare(
        content: str = "phone\n" + "\n".join(ROWS) + "\n", register="bloctel-clean", on=dt.date(2026, 6, 1)
    ):
        bureau.runs += 1
        source, out = bureau.folder / "leads.csv", bureau.folder / f"out{bureau.runs}"
        source.write_text(content)
        settings = load(flags=bureau.settings, config_file=None, extra_checks=[])
        order = FileOptions(
            input=str(source),
            output=out,
            columns=Asked(("phone",)),
            on=dt.datetime(on.year, on.month, on.day, 12, tzinfo=dt.UTC),
        )
        return prepare_wash(
            order, register, settings, index_sources.offline(bureau.lists, None, settings)
        ), out

    return prepare


def test_a_row_that_readers_read_differently_is_not_paid_for(washed):
    """A registry would be paid for a number that no row of the results may be called by."""
    made, out = washed(f'phone;name\n{FREE};Ann\n{OPPOSED};Bob;x\n"0622222222"x;Cid\n')

    assert (out / "wash-bloctel-clean.csv").read_bytes() == f"{FREE}\r\n".encode()
    assert (made.cells, made.numbers, made.invalid) == (3, 1, 2)


def test_only_what_must_be_asked_is_submitted_each_once(washed):
    """Every number that is washed again, or that is none, would be paid for."""
    made, out = washed()

    assert (out / "wash-bloctel-clean.csv").read_bytes() == b"0611111111\r\n0612345678\r\n"
    assert (made.cells, made.numbers, made.invalid, made.repeated, made.good, made.others) == (
        8,
        2,
        1,
        1,
        1,
        3,
    )
    assert [path.name for path in out.iterdir()] == [made.file]


def test_an_exempt_lead_has_no_earlier_answer(washed):
    """The manager would read that the registry had answered for leads that it was never asked about."""
    made, _ = washed("phone;contract\n0633333333;true\n0622222222;\n0611111111;\n")
    assert (made.numbers, made.good, made.others) == (1, 1, 1)


@pytest.mark.parametrize("on", [dt.date(2026, 5, 19), dt.date(2026, 6, 25)])
def test_an_answer_of_a_later_day_or_one_that_is_too_old_is_asked_again(washed, on):
    """A wash of today would prove that a call of long ago was lawful, or numbers stay blocked for ever."""
    made, out = washed(on=on)
    assert (out / made.file).read_text().split() == ["0611111111", "0612345678", "0622222222"]
    assert made.good == 0


def test_lines_of_ndjson_are_asked_about_as_well(washed):
    """A program that keeps its leads as the stream has them would need a table first."""
    lines = [json.dumps({"phone": number}) for number in ROWS]
    lines += [json.dumps({"phone": [FREE, "0633333333"]}), "{broken"]
    made, out = washed("\n".join(lines))

    assert (out / made.file).read_text().split() == ["0611111111", "0612345678", "0633333333"]
    assert (made.numbers, made.good, made.others) == (3, 1, 3)


def test_what_need_not_be_washed_is_refused(washed, bureau):
    """An empty file would be submitted, or a slip in the name ask nobody."""
    with pytest.raises(BadFile, match="no number in it has to be washed"):
        washed("phone\n0622222222\n")
    with pytest.raises(ConfigError, match=r"no rule washes by 'bloctel'; rules wash by: .*bloctel-clean"):
        washed(register="bloctel")
    assert not list(bureau.folder.glob("out*"))


@pytest.mark.parametrize(
    ("campaign", "register"), [("acme", "rpo-clean@acme"), ("", "rpo-clean@CAMPAIGN"), ("own", "rpo-clean")]
)
def test_the_answer_goes_into_the_register_that_counts(bureau, monkeypatch, capsys, campaign, register):
    """An answer to a campaign's question that is imported without its name leaves every number as not washed."""
    (bureau.folder / "italian.csv").write_text("Phone\n3331234567\n")
    monkeypatch.setenv("STREAM_SCRUB_PROSPECT__DEFAULT_CAMPAIGN", "own" if campaign == "own" else "")
    argv = ["file", "italian.csv", "-o", "w", "--list=internal=internal.txt", "--region=IT"]
    argv += ["--purpose=insurance", "--prepare-wash=rpo-clean", f"--campaign={campaign}"]
    monkeypatch.setattr("sys.argv", ["stream-scrub", *argv])
    assert _command() == 0
    said = capsys.readouterr().out
    assert "w/wash-rpo-clean.csv: 1 numbers to submit to rpo-clean" in said
    assert f"lists import ANSWER -r {register} --format wash" in said

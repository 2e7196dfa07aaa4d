"""Files as people have them, and files that were made to do harm: each row comes out, judged, or the file is refused."""

import csv
import gzip
import io
import json
import os
import threading
import time
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stream_scrub import BadFile, ConfigError
from stream_scrub.files import rows as row_judging
from stream_scrub.files import source
from stream_scrub.files.csv_records import records_of
from stream_scrub.scrub.batch import Scrubber
from tests.support.golden.files import GOLDEN
from tests.support.running.files import FREE, OPPOSED

CASES = tomllib.loads((GOLDEN / "files" / "leads.toml").read_text(encoding="utf-8"))["case"]
REFUSED = [case for case in CASES if "refused" in case]
SCRUBBED = [case for case in CASES if "refused" not in case]
OURS = {
    "{titles}": "scrub_verdict;scrub_reason;scrub_number;scrub_until;scrub_call_from;scrub_call_to",
    "{ok}": "allowed;clear;+33611111111;2026-06-19;;",
    "{no}": "blocked;opposed;;;;",
}
IN_SUMMARY = (
    *("rows", "allowed", "reasons", "duplicates", "destroyed"),
    *("uneven", "invalid_lines", "unreadable_lines"),
)
LEADS = f"name;phone\nAnn;{FREE}\nBob;{OPPOSED}\n".encode()
LINE = json.dumps({"number": FREE}).encode() + b"\n"


def with_ours(text: str) -> str:
    for word, cells in OURS.items():
        text = text.replace(word, cells)
    return text


def check(done, wanted: dict) -> None:
    """What came of a file is what its case wants."""
    summary = done.summary
    for name in IN_SUMMARY:
        if name in wanted:
            assert getattr(summary, name) == wanted[name], name
    for name in ("columns", "titles"):
        if name in wanted:
            assert getattr(summary.input, name) == wanted[name], name
    if "annotated" in wanted:
        assert done.read("annotated").decode() == with_ours(wanted["annotated"])
    if "scrub_again_by" in wanted:
        assert str(summary.scrub_again_by) == wanted["scrub_again_by"]
    if "lines" in wanted:
        assert [[line.region, line.allowed, line.blocked] for line in summary.lines] == wanted["lines"]
    if "not_allowed" in wanted:
        assert wanted["not_allowed"].encode() not in done.read("allowed")
    if "unreadable" in wanted:
        text = done.read("unreadable-numbers").decode("utf-8-sig")
        listed = list(csv.reader(io.StringIO(text)))[1:]
        assert [row[:3] for row in listed] == [row[:3] for row in wanted["unreadable"]]
        for row, case in zip(listed, wanted["unreadable"], strict=True):
            assert case[3] in row[3]


@pytest.mark.parametrize("case", SCRUBBED, ids=[case["loses"] for case in SCRUBBED])
def test_a_file_comes_out_with_its_outcome(bureau, case):
    """Who gave it would lose what its case says."""
    check(bureau.scrub(with_ours(case["leads"]).encode(), **case.get("with", {})), case)


@pytest.mark.parametrize("case", REFUSED, ids=[case["loses"] for case in REFUSED])
def test_a_file_that_cannot_be_scrubbed_is_refused_and_leaves_nothing(bureau, case):
    """A half file would be taken for a whole one, or an error tell nobody what to do."""
    leads = with_ours(case["leads"]).encode()
    with pytest.raises((BadFile, ConfigError), match=case["refused"]):
        bureau.scrub(leads, **case.get("with", {}))
    assert not (bureau.folder / "out1").exists()
    if "but" in case:
        check(bureau.scrub(leads, **case["but"]["with"]), case["but"])


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman", "cp850", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_encoding_is_kept_and_its_no_break_spaces_are_read(bureau, encoding):
    """French numbers with no-break spaces would be called invalid, or names lose their accents."""
    text = "pr\u00e9nom\tphone\nZo\u00e9\t06\u00a012\u00a034\u00a056\u00a078\n"
    annotated = bureau.scrub(text.encode(encoding)).read("annotated").decode(encoding)
    titles, row = text.splitlines()
    assert annotated == with_ours(f"{titles}\t{{titles}}\n{row}\t{{no}}\n").replace(";", "\t")


def test_utf_16_that_is_cut_is_refused(bureau):
    """Half a sign at the end would be dropped without a word."""
    with pytest.raises(BadFile, match="UTF-16"):
        bureau.scrub("name\tphone\nAnn\t0611111111\n".encode("utf-16")[:-1])


def test_nul_bytes_and_a_long_cell_pass(bureau):
    """A damaged cell, or a whole letter in one, would end the run."""
    rows = ["name;phone", f"A\0n;{FREE}", f"{'x' * (1 << 20)};{OPPOSED}", f'"{"y;" * (1 << 19)}";{OPPOSED}']
    done = bureau.scrub("\n".join(rows).encode())
    assert done.summary.reasons == {"clear": 1, "opposed": 2} and len(done.read("annotated")) > 2 << 20


@pytest.mark.parametrize("region", ["AT", "IT"])
@pytest.mark.parametrize("end", [".0", ",0"])
def test_a_float_gains_no_zero(bureau, region, end):
    """Where numbers have as few digits as 12345, or as many as one more, another person's number would be judged."""
    numbers = ["12345", "61234", "1234567", "312345678", "3331234567", "16123456"]
    whole = "".join(f"{number};x\n" for number in numbers)
    floats = "".join(f'"{number}{end}";y\n' for number in numbers)
    done = bureau.scrub(f"phone;x\n{whole}{floats}".encode(), columns=["phone"], region=region)
    twice = bureau.scrub(f"phone;x\n{whole}{whole}".encode(), columns=["phone"], region=region)
    assert done.summary.duplicates == twice.summary.duplicates > 0
    assert done.summary.reasons == twice.summary.reasons


def zipped(method: int, **files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(f"sub/{name}.csv", content)
        archive.writestr("__MACOSX/._leads.csv", "x")
    return packed.getvalue()


def test_what_is_packed_is_unpacked(bureau):
    """A broker's archive would have to be unpacked by hand."""
    of_zip = bureau.scrub(zipped(zipfile.ZIP_STORED, leads=LEADS), "leads.zip")
    of_gzip = bureau.scrub(gzip.compress(LEADS, mtime=0), "leads.csv.gz")
    assert of_zip.files == of_gzip.files == bureau.scrub(LEADS).files
    assert (of_zip.summary.input.packing, of_gzip.summary.input.packing) == ("zip", "gzip")


BROKEN = bytearray(zipped(zipfile.ZIP_LZMA, leads=b"n,phone\n" + b"a,0611111111\n" * 1_000))
BROKEN[64] ^= 0xFF


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(LEADS, mtime=0)[:30], "broken or locked archive"),
        (b"PK\x03\x04nothing", "broken or locked archive"),
        (bytes(BROKEN), "broken"),
        (zipped(zipfile.ZIP_STORED, a=LEADS, b=LEADS), r"2 files \(.*a.csv, .*b.csv\)"),
    ],
)
def test_an_archive_that_is_broken_or_holds_two_files_is_refused(bureau, content, says):
    """One of two files would be scrubbed, and the other one called untested."""
    with pytest.raises(BadFile, match=says):
        bureau.scrub(content)
    assert not (bureau.folder / "out1").exists()


def test_a_folder_a_device_and_nothing_are_no_files_and_a_pipe_is_one(bureau, tmp_path):
    """Somebody would wait for ever for a slip on the command line, or have to store what another program makes."""
    for path, says in ((tmp_path, "folder"), (Path("/dev/zero"), "device"), (tmp_path / "x", "No such file")):
        with pytest.raises(ConfigError, match=says):
            bureau.scrub(path)
    pipe = tmp_path / "leads.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(LEADS))
    writer.start()
    assert bureau.scrub(pipe).summary.reasons == {"clear": 1, "opposed": 1}
    writer.join()


@pytest.mark.parametrize(("name", "end"), [("allowed", "\n"), ("blocked", "\r\n"), ("annotated", "\n")])
def test_what_was_scrubbed_may_be_scrubbed_again(bureau, name, end):
    """Who scrubs again in time would find the old verdict in front of the new one, and call by that."""
    rows = ["Leads", '"name","phone"', f'"Ann","{FREE} / 0611111112"', f'"Bob","{OPPOSED}"', '"Dan","x"']
    kept = bureau.scrub("".join(line + end for line in rows).encode(), columns=("phone",)).read(name)
    again = bureau.scrub(kept, columns=("phone",))
    assert again.read("annotated") == kept
    del bureau.lists["bloctel"]
    blocked = bureau.scrub(kept, columns=("phone",))
    assert blocked.read("annotated").count(b"scrub_verdict") == 1 and not blocked.summary.allowed


def test_verdicts_far_below_the_first_rows_are_refused(bureau, monkeypatch):
    """Rows that were pasted below a new list would keep their old verdicts."""
    monkeypatch.setattr(source, "HEAD_BYTES", 2_000)
    monkeypatch.setattr(source, "BLOCK_BYTES", 2_000)
    content = f"2;{FREE}\n" * 1_000 + with_ours(f"1;{OPPOSED};{{ok}}\n")
    with pytest.raises(BadFile, match="line 1001 has the cells of an earlier scrub"):
        bureau.scrub(content.encode(), columns=["2"])


def test_a_register_that_nobody_gave_blocks_and_is_named(bureau):
    """Nobody would learn why every row of a country is blocked."""
    del bureau.lists["bloctel"]
    (stale,) = bureau.scrub(LEADS).summary.stale
    assert (stale.register, stale.rows, stale.missing) == ("bloctel", 2, True)


def test_ten_thousand_columns_take_no_time(bureau):
    """One wide export would keep the machine for minutes."""
    row = ";".join(["x1234567"] * 10_000)
    done = bureau.scrub("\n".join([f"phone;{row}", *[f"{FREE};{row}"] * 4]).encode(), columns=("phone",))
    assert done.summary.rows == 4 and done.summary.took_s < 120


def test_what_is_said_of_all_rows_decides(bureau):
    """A campaign of text messages would be scrubbed by the rules for calls."""
    said = {"channel": "sms", "who": "company", "voice_kind": "artificial"}
    done = bureau.scrub(LEADS, **said)
    assert done.summary.facts == said | {"region": "FR"} and not done.summary.allowed


def test_numbers_and_countries_that_begin_far_below_the_first_rows_count(bureau):
    """A mobile number below the thousandth row would be called though its owner opposed, or a Belgian as a Frenchman."""
    early, late = f"{FREE};;\n" * 2_000, f"{FREE};{OPPOSED};\n0470123450;;BE\n"
    done = bureau.scrub(f"phone;mobile;pays\n{early}{late}".encode())
    assert done.summary.input.columns == "phone, mobile: 2 number columns; region: pays"
    assert done.summary.reasons["opposed"] == 1
    assert {line.region for line in done.summary.lines} == {"FR", "BE"}


@pytest.mark.parametrize(("foreign", "stops"), [(2, True), (1, False)])
def test_a_share_of_foreign_numbers_stops_a_run_of_national_ones(bureau, foreign, stops):
    """Belgian and Swiss leads would be judged, and called, as French numbers: 410 of 606 were."""
    swiss = "".join(
        f"+4179123{at:04d}\n" for at in range(foreign)
    )  # 2 of 52 are 3.8 %, 1 of 51 is less than 2 %
    french = "".join(f"+3361234{at:04d}\n" for at in range(50))
    content = f"phone\n0470123450\n{french}{swiss}".encode()
    if stops:
        with pytest.raises(BadFile, match="belong to other countries than FR"):
            bureau.scrub(content)
        assert bureau.scrub(content, region="FR").summary.rows == 51 + foreign
    else:
        assert bureau.scrub(content).summary.rows == 51 + foreign


@pytest.mark.parametrize("delimiter", ["-", " "])
def test_cells_of_ours_that_hold_the_delimiter_are_quoted(bureau, delimiter):
    """A program would read a piece of a date, or of a reason, as a cell of its own."""
    rows = [["n", "phone", "mobile"], ["a", FREE, "0622222222"], ["b", OPPOSED, ""]]
    content = "".join(delimiter.join(row) + "\n" for row in rows).encode()
    done = bureau.scrub(content, delimiter=delimiter, columns=["2", "3"])
    for record in records_of(iter([done.read("annotated")]), delimiter.encode()):
        for place in range(len(record.starts)):
            assert len(record.cells().texts(place)) == 9


def test_stray_quotes_take_no_time(bureau):
    """A file of one megabyte would keep the machine busy for an hour."""
    began = time.process_time()
    done = bureau.scrub(b"n,phone\n" + b'""ACME,0611111111\n' * 30_000)
    assert done.summary.rows == 30_000 and time.process_time() - began < 20


@pytest.mark.parametrize("filling", [b"\0", b","])
def test_a_long_line_that_holds_nothing_hides_no_lead(bureau, filling):
    """The only lead would not be seen, and a file that is well would be refused."""
    content = f"n,phone\na,{FREE}\n".encode() + filling * 400_000 + b"\n"
    done = bureau.scrub(content)
    assert done.summary.reasons == {"clear": 1} and len(done.read("annotated")) > len(content)


@pytest.mark.parametrize(
    "line",
    [
        b'{"name":"Ren\xe9","number":"0612345678"}',
        b'{"number":"0612345678","a":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
        b'{"x":bad,"scrub":{"verdict":"allowed","reason":"clear","number":"99999999999999999999999"}}',
        b'{"x":bad,"scrub":{"verdict":"allowed","reason":"clear","number":"+33612345678"}}',
    ],
    ids=range(4),
)
@pytest.mark.parametrize("first", [True, False])
def test_lines_that_cannot_be_read_are_counted_and_not_believed(bureau, line, first):
    """One bad line would end the run in a fault, or count as a number that may be called."""
    content = line + b"\n" + LINE if first else LINE + line + b"\n"
    done = bureau.scrub(content, "leads.ndjson")
    assert done.summary.reasons == {"clear": 1, "unreadable": 1}
    assert done.read("blocked") == line + b"\n" and done.summary.invalid_lines == [1 if first else 2]
    assert [(each.region, each.allowed, each.blocked) for each in done.summary.lines] == [("FR", 1, 0)]


def test_rows_that_each_say_something_else_are_forgotten(bureau, monkeypatch):
    """A file with another campaign in each row would grow until the machine ends the run."""
    made, context = [], Scrubber.context
    monkeypatch.setattr(row_judging, "_CASES_BYTES", 100_000)
    monkeypatch.setattr(Scrubber, "context", lambda *of: made.append(context(*of)) or made[-1])
    monkeypatch.setattr(source, "HEAD_BYTES", 2_000)
    monkeypatch.setattr(source, "BLOCK_BYTES", 2_000)
    rows = "".join(f"{(FREE, OPPOSED)[at % 2]};c{at}\n" for at in range(3_000))
    done = bureau.scrub(f"phone;campaign\n{rows}".encode())
    assert done.summary.reasons == {"clear": 1_500, "opposed": 1_500}
    assert len(made) > 10 and all(len(each._cases) < 1_000 for each in made)


@pytest.mark.parametrize("together", [1 << 21, 3])
def test_each_number_is_counted_once_less_than_it_occurs(monkeypatch, together):
    """The page would say that a broker sold fewer people twice than he did."""
    monkeypatch.setattr(row_judging, "_TOGETHER", together)
    numbers = np.random.default_rng(3).integers(0, 300, 900).astype(np.uint64)
    counted = row_judging.Duplicates(io.BytesIO())
    assert counted.count() == 0
    for some in np.array_split(numbers, 50):
        counted.add(some)
    valid = numbers[numbers > 0].tolist()
    assert counted.count() == len(valid) - len(set(valid))

"""Files as people have them: each comes out with every row, and with an outcome that somebody can act on."""

import gzip
import io
import os
import threading
import zipfile
from pathlib import Path

import pytest

from stream_scrub import BadFile, ConfigError
from tests.support.running.files import FREE, OPPOSED

ADDED = "scrub_verdict;scrub_reason;scrub_number;scrub_until;scrub_call_from;scrub_call_to"
OK = ";allowed;clear;+33611111111;2026-06-19;;"
NO = ";blocked;opposed;;;;"


def table(*lines: str, end: str = "\n") -> bytes:
    return "".join(line + end for line in lines).encode()


LEADS = ("name;phone", f"Ann;{FREE}", f"Bob;{OPPOSED}")
DONE = (f"name;phone;{ADDED}", f"Ann;{FREE}{OK}", f"Bob;{OPPOSED}{NO}")


def test_a_plain_file_comes_back_in_two(bureau):
    """The manager would not get her callable leads, or the blocked ones without a reason."""
    done = bureau.scrub(table(*LEADS))
    allowed, blocked, annotated = done.files

    assert annotated == table(*DONE)
    assert allowed == table(*DONE[:2]) and blocked == table(DONE[0], DONE[2])
    made = done.summary
    assert (made.rows, made.allowed, made.blocked) == (2, 1, 1)
    assert made.reasons == {"clear": 1, "opposed": 1} and made.input.columns == "phone: 1 number column"
    assert str(made.scrub_again_by) == "2026-06-19" and made.invalid_lines == []


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_line_ends_stay_as_they_are(bureau, end):
    """A file of Windows or of an old Macintosh would be read as one row, or come back for another system."""
    assert bureau.scrub(table(*LEADS, end=end)).files[2] == table(*DONE, end=end)


def test_excels_csv_utf_8_keeps_its_mark(bureau):
    """Excel would show every accent wrong in the file that comes back."""
    done = bureau.scrub(b"\xef\xbb\xbf" + table(*LEADS))

    assert all(made.startswith(b"\xef\xbb\xbfname;phone;") for made in done.files)
    assert "byte order mark" in done.summary.input.written_as


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_excels_unicode_text_comes_back_as_it_was(bureau, encoding):
    """Excel's "Unicode text" would be refused, or come back in an encoding that it does not open."""
    content = "name\tphone\nAnn\u00e9\U0001f600\t0611111111\n".encode(encoding)

    done = bureau.scrub(content).files[2]

    assert done.decode(encoding) == (
        f"name\tphone\t{ADDED}\nAnn\u00e9\U0001f600\t0611111111{OK}\n".replace(";", "\t")
    )
    assert done[:2] == content[:2]


def test_utf_16_that_is_cut_is_refused(bureau):
    """Half a sign at the end would be dropped without a word."""
    with pytest.raises(BadFile, match="UTF-16"):
        bureau.scrub("name\tphone\nAnn\t0611111111\n".encode("utf-16")[:-1])


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman", "cp850"])
@pytest.mark.parametrize("space", ["\u00a0", " "])
def test_every_code_page_is_kept_and_its_no_break_spaces_are_read(bureau, encoding, space):
    """French numbers with no-break spaces would be called invalid, or names lose their accents."""
    content = f"pr\u00e9nom;phone\nZo\u00e9;06{space}12{space}34{space}56{space}78\n".encode(encoding)
    row = content.split(b"\n")[1]

    assert bureau.scrub(content).files[2].split(b"\n")[1] == row + NO.encode()


@pytest.mark.parametrize("space", ["\u00a0", "\u202f", "\u2009"])
def test_no_break_spaces_of_utf_8_are_separators(bureau, space):
    """A number copied from a French web page would be called invalid."""
    content = f"name;phone\nAnn;06{space}12{space}34{space}56{space}78\n".encode()

    assert bureau.scrub(content).summary.reasons == {"opposed": 1}


def test_semicolons_win_over_decimal_commas(bureau):
    """A French file would be cut at its prices, and its numbers not be found."""
    done = bureau.scrub(table("id;price;phone", f"1;1,50;{FREE}", f"2;2,75;{OPPOSED}"))

    assert done.summary.input.written_as.startswith("semicolon") and done.summary.rows == 2


@pytest.mark.parametrize(
    ("delimiter", "said"), [(",", ""), ("\t", ""), ("|", ""), ("^", ""), (":", ":"), ("\t", "tab")]
)
def test_any_delimiter_is_found_or_said(bureau, delimiter, said):
    """A file from a mainframe could not be scrubbed."""
    done = bureau.scrub(table(*LEADS).replace(b";", delimiter.encode()), delimiter=said)

    assert done.files[2] == table(*DONE).replace(b";", delimiter.encode())


def test_what_is_no_delimiter_is_refused(bureau):
    """A slip in an option would cut the numbers themselves."""
    with pytest.raises(ConfigError, match="not a delimiter"):
        bureau.scrub(table(*LEADS), delimiter="0")


def test_quotes_with_everything_in_them_stay_whole(bureau):
    """A note with a line end in it would become a row without a number, or its second half be lost."""
    cell = '"he said ""hi"";\r\nthen left"'
    done = bureau.scrub(f"note;phone\r\n{cell};{OPPOSED}\r\n".encode())

    assert done.files[1] == f"note;phone;{ADDED}\r\n{cell};{OPPOSED}{NO}\r\n".encode()


def test_a_file_that_quotes_every_cell_gets_quoted_cells(bureau):
    """A strict reader on the other side would refuse the cells that are added."""
    done = bureau.scrub(f'"name";"phone"\n"Ann";"{OPPOSED}"\n'.encode())

    assert done.files[1].splitlines()[1].decode() == f'"Ann";"{OPPOSED}";"blocked";"opposed";"";"";"";""'


def test_a_row_that_readers_read_differently_is_blocked_and_told_with_its_line(bureau):
    """One stray quote would hide the rows behind it, and a program that reads it otherwise find a forged verdict."""
    rows = [
        f'"Ann;{FREE}',
        f"Bob;{OPPOSED}",
        f'"Cid";{OPPOSED}',
        f'"3"n;{FREE}',
        f' "Dan";{FREE}',
        f'5" x;{FREE}',
    ]
    done = bureau.scrub(table("name;phone", *rows))

    assert done.summary.rows == 6 and done.summary.unreadable_lines == [2, 5, 6]
    assert done.summary.reasons == {"clear": 1, "opposed": 2, "unreadable": 3}
    lines = done.files[1].decode().splitlines()
    assert lines[1] == f'"""Ann";{FREE};blocked;unreadable;;;;'
    assert lines[4:] == [
        f'"""3""n";{FREE};blocked;unreadable;;;;',
        f'" ""Dan""";{FREE};blocked;unreadable;;;;',
    ]
    assert done.files[0].decode().splitlines()[1] == f'5" x;{FREE}{OK}'


def test_ragged_rows_get_their_cells_under_our_titles(bureau):
    """A reader would take a cell of the row itself for our verdict: who sent the file could write it there."""
    done = bureau.scrub(
        table("name;phone;city", f"Ann;{FREE}", f"Bob;{FREE};Ulm;allowed;clear", "Cid", f"Dan;{FREE};Bonn")
    )
    lines = done.files[2].decode().splitlines()

    assert lines[1] == f"Ann;{FREE};{OK}"
    assert lines[2] == f'Bob;{FREE};"Ulm;allowed;clear";blocked;unreadable;;;;'
    assert lines[3] == "Cid;;;blocked;invalid-number;;;;"
    assert (done.summary.uneven, done.summary.invalid_lines, done.summary.unreadable_lines) == (3, [4], [3])


def test_titles_fewer_than_cells_are_padded(bureau):
    """A file whose rows end with a delimiter would be blocked whole, or our titles stand over the wrong cells."""
    done = bureau.scrub(table("name;phone", f"Ann;{FREE};", f"Bob;{OPPOSED};"))

    assert [line.split(";")[3] for line in done.files[2].decode().splitlines()] == [
        "scrub_verdict",
        "allowed",
        "blocked",
    ]


def test_a_title_with_an_open_quote_is_refused(bureau):
    """Every row would be a part of that title to some programs, and none of our verdicts be seen."""
    with pytest.raises(BadFile, match="line 1, above the first lead"):
        bureau.scrub(table('"name;phone', f"Ann;{FREE}", f"Bob;{OPPOSED}"))


def test_a_preamble_and_two_lines_of_titles_go_to_every_output(bureau):
    """An export's heading would be taken for leads, and its rows come back without it."""
    lead = (
        "Export of 2026;;",
        "made by;CRM 4.2;",
        "",
        "leads;12;",
        ";;",
        "person;contact;place",
        "name;phone;city",
    )
    done = bureau.scrub(table(*lead, f"Ann;{FREE};Ulm", f"Bob;{OPPOSED};Bonn"))
    allowed, blocked, _ = done.files

    head = "".join(f"{line}\n" for line in (*lead[:-1], f"{lead[-1]};{ADDED}"))
    assert allowed.decode() == head + f"Ann;{FREE};Ulm{OK}\n"
    assert blocked.decode() == head + f"Bob;{OPPOSED};Bonn{NO}\n"


def test_without_titles_the_first_row_is_a_lead(bureau):
    """The first person of the list would be called untested, or never."""
    done = bureau.scrub(table(f"Ann;{OPPOSED}", f"Bob;{FREE}"))

    assert done.files[1] == table(f"Ann;{OPPOSED}{NO}") and done.summary.input.titles == 0
    assert done.summary.input.columns == "column 2: 1 number column"


def test_how_many_lines_are_titles_may_be_said(bureau):
    """A file whose titles look like rows could not be scrubbed."""
    done = bureau.scrub(table("1;0699999999", f"Ann;{OPPOSED}"), titles=1, columns=("2",))

    assert done.summary.rows == 1 and done.summary.input.titles == 1


def test_blank_lines_are_no_rows_and_stay(bureau):
    """A file with empty lines at its end would be refused for them, or come back without."""
    content = table(*LEADS) + b"\n;\n\r\n  \n"
    done = bureau.scrub(content)

    assert done.files[2] == table(*DONE) + b"\n;\n\r\n  \n" and done.summary.rows == 2


def test_one_column_is_a_table(bureau):
    """A bare list of numbers could not be scrubbed."""
    done = bureau.scrub(table("phone", FREE, OPPOSED))

    assert done.files[2].decode().splitlines()[1:] == [
        FREE + OK.replace(";", ","),
        OPPOSED + NO.replace(";", ","),
    ]


def test_nul_bytes_and_a_long_cell_pass(bureau):
    """A damaged cell, or a whole letter in one, would end the run."""
    content = table(
        "name;phone", f"A\0n;{FREE}", f"{'x' * (1 << 20)};{OPPOSED}", f'"{"y;" * (1 << 19)}";{OPPOSED}'
    )
    done = bureau.scrub(content)

    assert done.summary.reasons == {"clear": 1, "opposed": 2} and len(done.files[2]) > 2 << 20


def test_a_file_without_a_last_line_end_comes_back_without(bureau):
    """The last lead would be lost, or get a line end that was not there."""
    assert bureau.scrub(table(*LEADS)[:-1]).files[2] == table(*DONE)[:-1]


@pytest.mark.parametrize(
    ("cell", "reason", "destroyed"),
    [
        ("6,12345678E+08", "opposed", 0),
        ("6.12345678E+08", "opposed", 0),
        ("6.12E+08", "invalid-number", 1),
        ("3.36123E+11", "invalid-number", 1),
        ("612345678", "opposed", 0),
        ("612345678.0", "opposed", 0),
        ("33612345678.0", "opposed", 0),
    ],
)
def test_what_excel_did_is_undone_where_that_is_sure(bureau, cell, reason, destroyed):
    """A number would be guessed and somebody else called, or one that can be read be given up."""
    done = bureau.scrub(table("name;phone", f"Ann;{cell}", f"Bob;{FREE}", f"Cid;{FREE}"))

    assert done.summary.reasons.get(reason) == 1 and done.summary.destroyed == destroyed


@pytest.mark.parametrize("region", ["AT", "DE", "IE", "IT"])
@pytest.mark.parametrize("end", [".0", ".00", ",0"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_float_gains_no_zero(bureau, region, end, quote):
    """Where numbers have as few digits as 12345, or as many as one more, another person's number would be judged."""
    numbers = ["12345", "61234", "1234567", "312345678", "3331234567", "16123456"]
    floats = [f"{quote}{number}{end}{quote};y" for number in numbers]
    whole = [f"{number};x" for number in numbers]
    done = bureau.scrub(table("phone;x", *whole, *floats), columns=["phone"], region=region)
    twice = bureau.scrub(table("phone;x", *whole, *whole), columns=["phone"], region=region)

    assert done.summary.duplicates == twice.summary.duplicates > 0
    assert done.summary.reasons == twice.summary.reasons


def test_what_is_packed_is_unpacked(bureau, tmp_path):
    """A broker's archive would have to be unpacked by hand."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("__MACOSX/._leads.csv", "x")
        archive.writestr("sub/leads.tsv", table(*LEADS))
    zipped = bureau.scrub(packed.getvalue(), "leads.zip")
    gzipped = bureau.scrub(gzip.compress(table(*LEADS)), "leads.csv.gz")

    assert zipped.files[2] == gzipped.files[2] == table(*DONE)
    assert (zipped.folder / "allowed.tsv").exists() and (gzipped.folder / "allowed.csv").exists()
    assert (zipped.summary.input.packing, gzipped.summary.input.packing) == ("zip", "gzip")


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"", "leads.csv", "no rows"),
        (b"\n\n", "leads.csv", "no rows"),
        (table("name;phone"), "leads.csv", "no column holds numbers"),
        (table("name;town", "Ann;Ulm"), "leads.csv", "1 name: text; 2 town: text"),
        (gzip.compress(table(*LEADS), mtime=0)[:30], "leads.csv.gz", "broken or locked archive"),
        (b"PK\x03\x04nothing", "leads.zip", "broken or locked archive"),
    ],
)
def test_what_cannot_be_scrubbed_is_refused_and_leaves_nothing(bureau, content, name, says):
    """A half file would be taken for a whole one, or an error tell nobody what to do."""
    with pytest.raises((BadFile, ConfigError), match=says):
        bureau.scrub(content, name)
    assert not (bureau.folder / f"out{bureau.runs}").exists()


def test_a_zip_of_several_files_names_them(bureau):
    """One of two files would be scrubbed, and the other one called untested."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", table(*LEADS))
        archive.writestr("b.csv", table(*LEADS))
    with pytest.raises(BadFile, match=r"2 files \(a.csv, b.csv\)"):
        bureau.scrub(packed.getvalue(), "leads.zip")


def test_a_folder_a_device_and_nothing_are_no_files(bureau, tmp_path):
    """Somebody would wait for ever, or get a traceback, for a slip on the command line."""
    for path, says in (
        (tmp_path, "folder"),
        (Path("/dev/zero"), "device"),
        (tmp_path / "none.csv", "No such file"),
    ):
        with pytest.raises(ConfigError, match=says):
            bureau.scrub(path)


def test_a_pipe_is_read_to_its_end(bureau, tmp_path):
    """A file that another program makes would have to be stored first."""
    pipe = tmp_path / "leads.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(table(*LEADS)))
    writer.start()
    done = bureau.scrub(pipe)
    writer.join()

    assert done.files[2] == table(*DONE)


def test_several_number_columns_are_judged_together(bureau):
    """A person's second number would be called although it is opposed."""
    rows = (
        "name;phone;mobile;fax",
        f"Ann;{FREE};0611111112;{OPPOSED}",
        f"Bob;{FREE};{OPPOSED};",
        f"Cid;;{FREE};",
    )
    block = bureau.scrub(table(*rows))
    strip = bureau.scrub(table(*rows), settings={"prospect.mixed": "strip"})

    assert block.summary.input.columns == "phone, mobile: 2 number columns; not tested: fax"
    added = [line.split(";")[4:7] for line in block.files[2].decode().splitlines()[1:]]
    assert added == [
        ["allowed", "clear", "(+33611111111) (+33611111112)"],
        ["blocked", "opposed", ""],
        ["allowed", "clear", "+33611111111"],
    ]
    assert strip.files[2].decode().splitlines()[2].endswith("allowed;clear;+33611111111;2026-06-19;;")
    assert block.summary.duplicates == 2


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_two_no_break_spaces_part_two_numbers(bureau, encoding):
    """A person's number would be looked up as the end of another one's, where numbers are short."""
    done = bureau.scrub("phone\n27123\u00a0\u00a027160\n".encode(encoding), region="LU", columns=("phone",))
    assert [(each.region, each.blocked) for each in done.summary.lines] == [("LU", 2)]


def test_the_numbers_of_a_row_are_in_the_order_of_a_prospect(bureau):
    """The stream would give another reason for the same row, and the file name its numbers in an odd order."""
    rows = [f"{FREE} / 0611111112;0611111113", f"{FREE} / +447400123456;0899123456", "12;6.12E+08"]
    done = bureau.scrub(table("phone;mobile", *rows), columns=("phone", "mobile"), delimiter=";")
    assert done.summary.reasons == {"clear": 1, "unknown-purpose": 1, "invalid-number": 1}
    assert b"(+33611111111) (+33611111112) (+33611111113)" in done.read("allowed")
    listed = done.read("unreadable-numbers").decode("utf-8-sig").splitlines()[1:]
    assert [line.split(",")[:3] for line in listed] == [["4", "mobile", "6.12E+08"], ["4", "phone", "12"]]


def test_no_cell_of_ours_is_a_formula(bureau):
    """A spreadsheet would add up a person's two numbers, and somebody call the sum."""
    done = bureau.scrub(f"phone;mobile\n{FREE};0611111112\n{FREE};\n".encode())
    added = [cell for line in done.files[2].decode().splitlines()[1:] for cell in line.split(";")[2:]]

    assert "(+33611111111) (+33611111112)" in added and "+33611111111" in added
    assert not [
        cell for cell in added if cell[:1] in set("=-@\t") or (cell[:1] == "+" and not cell[1:].isdigit())
    ]


@pytest.mark.parametrize(
    ("name", "end", "quote"), [("allowed", "\n", ""), ("blocked", "\r\n", '"'), ("annotated", "\n", '"')]
)
def test_what_was_scrubbed_may_be_scrubbed_again(bureau, name, end, quote):
    """Who scrubs again in time would find the old verdict in front of the new one, and call by that."""
    rows = ["name,phone,mobile", f"Ann,{FREE},0611111112", f"Bob,{OPPOSED},", "Dan,x,", f"Eve,{FREE},"]
    lines = [",".join(f"{quote}{cell}{quote}" for cell in row.split(",")) for row in rows]
    first = bureau.scrub(f"Leads{end}".encode() + "".join(line + end for line in lines).encode())
    kept = first.read(name)
    again = bureau.scrub(kept)

    assert again.read("annotated") == kept
    assert again.summary.input.columns.endswith("it was scrubbed before: those verdicts are replaced")
    del bureau.lists["bloctel"]
    blocked = bureau.scrub(kept)
    assert blocked.read("annotated").count(b"scrub_verdict") == 1 and not blocked.summary.allowed
    headless = bureau.scrub(b"".join(kept.splitlines(keepends=True)[2:]), columns=("2", "3"))
    assert headless.read("annotated").count(b"blocked") == headless.summary.rows


def test_rows_that_were_added_by_hand_are_rows(bureau):
    """A lead that somebody added to a file of callable leads would lose cells, or not be tested."""
    kept = bureau.scrub(f"phone,note\n{FREE},a\n".encode()).read("annotated")
    again = bureau.scrub(kept + f"{OPPOSED},b,,,,\n{FREE},c\n".encode())
    lines = again.read("annotated").decode().splitlines()[1:]
    assert [line.split(",")[:4] for line in lines] == [
        [FREE, "a", "allowed", "clear"],
        [OPPOSED, "b", "blocked", "opposed"],
        [FREE, "c", "allowed", "clear"],
    ]


def test_verdicts_of_old_that_stand_elsewhere_are_refused(bureau):
    """Two columns would be called scrub_verdict, and a program read the old one."""
    kept = bureau.scrub(f"phone\n{FREE}\n".encode()).read("annotated")
    with pytest.raises(ConfigError, match="moved or renamed"):
        bureau.scrub(kept.replace(b"\n", b",x\n"))


def test_a_tie_is_an_error_that_says_what_was_seen(bureau):
    """The wrong column would be tested, and everybody in the right one called."""
    rows = ("name;ref;other", f"Ann;{FREE};{OPPOSED}", f"Bob;{OPPOSED};{FREE}")
    with pytest.raises(ConfigError, match="2 ref: 100% numbers of FR; 3 other: 100% numbers of FR"):
        bureau.scrub(table(*rows))

    assert bureau.scrub(table(*rows), columns=("other",)).summary.reasons == {"opposed": 1, "clear": 1}
    with pytest.raises(ConfigError, match="no column is called 'phone'"):
        bureau.scrub(table(*rows), columns=("phone",))


def test_a_column_of_contracts_lifts_for_its_own_rows(bureau):
    """One customer's contract would let everybody be called, or no customer be called at all."""
    rows = ("name;phone;kunde", f"Ann;{OPPOSED};true", f"Bob;{OPPOSED};no", f"Cid;{FREE};")
    done = bureau.scrub(table(*rows), fact_columns={"contract": "kunde"})

    assert [line.split(";")[4] for line in done.files[2].decode().splitlines()[1:]] == [
        "contract",
        "opposed",
        "clear",
    ]


def test_too_many_rows_without_a_number_are_refused(bureau):
    """The wrong column would give an empty list of callable leads, and nobody notice."""
    content = table("name;phone", f"Ann;{FREE}", "Bob;12", "Cid;")
    with pytest.raises(BadFile, match=r"2 of 3 rows \(66.7%\).*on line 3"):
        bureau.scrub(content, max_bad=0.2)
    assert not (bureau.folder / "out1").exists()


def test_a_register_that_nobody_gave_blocks_and_is_named(bureau):
    """Nobody would learn why every row of a country is blocked."""
    del bureau.lists["bloctel"]
    (stale,) = bureau.scrub(table(*LEADS)).summary.stale

    assert (stale.register, stale.rows, stale.missing) == ("bloctel", 2, True)


def test_titles_may_hold_digits(bureau):
    """A file with a column for each month would count its titles as a lead."""
    done = bureau.scrub(table("phone;sales_202601;20260131 paid", f"{FREE};1;2", f"{OPPOSED};3;4"))

    assert done.summary.input.titles == 1 and done.summary.rows == 2


def test_ten_thousand_columns_take_no_time(bureau):
    """One wide export would keep the machine for minutes."""
    row = ";".join(["x1234567"] * 10_000)
    done = bureau.scrub(table(f"phone;{row}", *[f"{FREE};{row}"] * 4), columns=("phone",))

    assert done.summary.rows == 4 and done.summary.took_s < 120


def test_what_is_said_of_all_rows_decides(bureau):
    """A campaign of text messages would be scrubbed by the rules for calls."""
    done = bureau.scrub(table(*LEADS), channel="sms", who="company", voice_kind="artificial")

    assert done.summary.facts == {
        "region": "FR",
        "channel": "sms",
        "who": "company",
        "voice_kind": "artificial",
    }
    assert done.summary.reasons != {"clear": 1, "opposed": 1}

"""Small workbooks whose cells would take all memory: the process that reads them is refused it, and no other one."""

import io
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import fastavro
import pytest

from stream_scrub import BadFile
from stream_scrub.imports.parsing import workbook
from tests.support.running.files import FREE
from tests.unit.files.test_other_kinds import book, ods, ods_rows, raw_book, rows_of

pytestmark = [pytest.mark.process, pytest.mark.slow]

LONG = 400_000
CONTAINER_BYTES = 512 << 20
EMPTY_RECORDS = 1 << 40
OWN = 200 << 20  # bytes that a process takes which has a workbook read
OPENS = """
import re, sys
from pathlib import Path
from stream_scrub.errors import BadFile
from stream_scrub.imports.parsing import workbook
workbook.WORKBOOK_MEMORY_MAX = 1 << 30
try:
    with open(sys.argv[1], "rb") as document:
        workbook.read_sheet("leads.xlsx", document, "")
    print("opened")
except BadFile as error:
    print(error)
# Not by `resource`: that figure begins with what the parent takes.
print(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1])
"""
MANY = "".join(f'<row r="{at}"><c r="A{at}" t="s"><v>0</v></c></row>' for at in range(3, 20_003))


def sharing(texts: str, cells: str) -> bytes:
    """A workbook with these shared texts, and these rows behind its second one."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(raw_book(f"</row>{cells}<row>"))) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            held = old.read(name)
            if name == "xl/sharedStrings.xml":
                head, _, rest = held.partition(b"<si>")
                held = head + texts.encode() + b"</sst>" if rest else held
            new.writestr(name, held)
    return out.getvalue()


def repeated(rows: int, columns: int, content: str) -> bytes:
    """A document of LibreOffice with a row that is said so many times."""
    each = f'<table:table-cell office:value-type="string" table:number-columns-repeated="{columns}">{content}</table:table-cell>'
    return ods(
        ods_rows("phone", FREE)
        + f'<table:table-row table:number-rows-repeated="{rows}">{each}</table:table-row>'
    )


BOOKS = {
    "shared": sharing(f"<si><t>{'x' * LONG}</t></si>", MANY),
    "repeated": repeated(1_000, 100, f"<text:p>{'x' * LONG}</text:p>"),
}


@pytest.mark.parametrize("name", BOOKS)
def test_a_small_workbook_that_takes_all_memory_is_refused(tmp_path, name):
    """One kilobyte from a stranger would end the process, and whatever else runs on the machine."""
    path = tmp_path / "leads.xlsx"
    path.write_bytes(BOOKS[name])
    assert path.stat().st_size < 1 << 20
    done = subprocess.run(
        [sys.executable, "-c", OPENS, str(path)], capture_output=True, text=True, timeout=240, check=True
    )
    says, most = done.stdout.splitlines()
    assert "takes more than 1,024 MiB of memory" in says and "save the sheet as CSV" in says
    assert int(most) << 10 < OWN


@pytest.fixture
def container():
    """A control group with a limit on memory, as a container has one: the prefix of a command that runs in it."""
    groups = Path("/sys/fs/cgroup/memory")
    group = (groups if groups.is_dir() else groups.parent) / f"stream-scrub-{os.getpid()}"
    try:
        group.mkdir()
        limit = group / ("memory.limit_in_bytes" if groups.is_dir() else "memory.max")
        limit.write_text(str(CONTAINER_BYTES))
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    group.rmdir()


def test_a_workbook_in_a_container_takes_a_part_of_its_memory(tmp_path, container):
    """A workbook of a kilobyte would end a server in a pod, with every check that it answers."""
    path = tmp_path / "leads.xlsx"
    path.write_bytes(BOOKS["shared"])
    done = subprocess.run(
        [*container, sys.executable, "-c", OPENS, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    taken = re.search(r"takes more than ([0-9]+) MiB of memory", done.stdout)
    assert taken and int(taken[1]) << 20 < CONTAINER_BYTES // 2


def test_an_avro_file_of_empty_records_ends_at_once(bureau):
    """A file of 153 bytes would take the place of others for ten minutes."""
    schema = {"type": "record", "name": "Lead", "fields": [{"name": "phone", "type": "null"}]}
    made = io.BytesIO()
    fastavro.writer(made, schema, [])
    header = made.getvalue()
    count = bytearray()
    left = EMPTY_RECORDS << 1  # zigzag
    while left >= 1 << 7:
        count.append(left & 0x7F | 0x80)
        left >>= 7
    count.append(left)
    with pytest.raises(BadFile, match="a million empty rows: convert it"):
        bureau.scrub(header + bytes(count) + b"\x00" + header[-16:], "leads.avro")


def test_long_texts_that_few_cells_share_are_read(bureau, monkeypatch):
    """A workbook with one long note would be refused, because it has many cells."""
    monkeypatch.setattr(workbook, "WORKBOOK_MEMORY_MAX", 128 << 20)
    rows = [["phone", "note"], [FREE, "é" * 20_000], *[[FREE, "short"]] * 200]
    done = bureau.scrub(book({"A": rows}), "leads.xlsx")
    assert done.summary.allowed == 201 and rows_of(done.read("allowed"))[1][1] == "é" * 20_000
    with pytest.raises(BadFile, match="of memory"):
        bureau.scrub(book({"A": [*rows, *[[FREE, "é" * 30_000]] * 5_000]}), "leads.xlsx")


def test_a_tag_of_many_megabytes_takes_no_hours(bureau):
    """A workbook of a few kilobytes would keep the machine busy for hours."""
    began = time.monotonic()
    bureau.scrub(raw_book(f'</row><row r="9"><c{" " * 12_000_000} r="A9"><v>1</v></c>'), "leads.xlsx")
    assert time.monotonic() - began < 240


def test_a_workbook_that_takes_too_long_is_refused(bureau, monkeypatch):
    """A file could keep the command for ever."""
    monkeypatch.setattr(workbook, "_READ_S", -4.9)
    with pytest.raises(BadFile, match="to read: save the sheet as CSV"):
        bureau.scrub(book({"A": [["phone"], *[[f"+336{n:08}"] for n in range(100_000)]]}), "leads.xlsx")

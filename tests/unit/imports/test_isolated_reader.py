"""A list read in a process of its own: what it gives, and what becomes of a list that takes that process down."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

import pytest

from stream_scrub.imports import isolated_reader as module
from stream_scrub.imports.formats import BadList, ListOptions, ParsedList
from stream_scrub.imports.isolated_reader import IsolatedReader, ReaderFault
from tests.support.fakes import lists
from tests.support.waiting import wait_until

pytestmark = pytest.mark.process

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def read(folder, content, *, name="list.csv", max_mb=256, max_s=60, apart=None, **options):
    path = folder / name
    path.write_bytes(content)
    return (apart or IsolatedReader(max_mb, max_s)).read(
        FileIO(str(path)), path, ListOptions("FR", NOW, **options)
    )


def standing_in(monkeypatch, code):
    """Let the process run this instead of what reads lists, with `listed` and `result` for the numbers of its files."""
    real = module.subprocess.Popen

    def popen(command, **how):
        text = (
            f"import os, sys, time\nsys.stdin.read()\nlisted, result = {command[-2]}, {command[-1]}\n{code}"
        )
        return real([command[0], "-c", text], **how)

    monkeypatch.setattr(module.subprocess, "Popen", popen)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (b"phone,expires\n+33612345678,2027-01-05\n0612345679,\nnone,2027-01-05\n\xe9,\n", {}),
        (b"212,5550101,20261023,A\n305,5550101,20261020,D\n", {}),
        (b"Nom;Mobile;Ok\nA;+33612345678;oui\nB;0612345679;\n", {"phone": "Mobile", "consent": "Ok"}),
    ],
)
def test_a_list_comes_back_as_it_was_read(tmp_path, content, columns):
    """Numbers, ends, refused lines, the days of areas or the columns that were read would be lost on their way."""
    found, here = read(tmp_path, content, columns=columns), lists.read(tmp_path, content, columns=columns)
    assert (found.bitmap(), found.removals()) == (here.bitmap(), here.removals())
    assert [each.tolist() for each in found.ends()] == [each.tolist() for each in here.ends()]
    facts = [each.name for each in fields(ParsedList) if each.init and each.name != "max_numbers"]
    assert {name: getattr(found, name) for name in facts} == {name: getattr(here, name) for name in facts}


def test_who_reads_ends_with_who_asked(tmp_path):
    """A killed publisher would leave a process behind that takes the memory of the next one, for a quarter of an hour."""
    asks = (
        "import os, sys\nfrom datetime import UTC, datetime\nfrom io import FileIO\nfrom pathlib import Path\n"
        "from stream_scrub.imports.formats import ListOptions\n"
        "from stream_scrub.imports.isolated_reader import IsolatedReader\n"
        "def read(file):\n"
        "    IsolatedReader(1024, 60).read(file, Path('l.csv'), ListOptions('FR', datetime.now(UTC)))\n"
        "read(FileIO(sys.argv[1]))\n"
    )
    (tmp_path / "list").write_text("".join(f"+{33600000000 + n}\n" for n in range(1_500_000)))
    parent = subprocess.Popen([sys.executable, "-c", asks, str(tmp_path / "list")])

    def readers():
        told = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        return [pid for pid in told if _has_begun(int(pid))]

    try:
        wait_until(lambda: readers() != [], every=0.005)
        (reader,) = readers()
        os.kill(int(reader), signal.SIGSTOP)  # so that it does not end by having read
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not _runs(int(reader)), every=0.02)


def _has_begun(pid):
    """Whether a reader is past what it does first: its standard error is put away then."""
    try:
        return str(Path(f"/proc/{pid}/fd/2").readlink()) == os.devnull
    except OSError:
        return False


def _runs(pid):
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_a_list_that_takes_too_much_memory_is_refused(tmp_path):
    """One list would have the publisher killed for its memory, and with it every opt-out."""
    lines = b"".join(b"+33612%06d\n" % n for n in range(500_000))
    assert len(read(tmp_path, lines, max_mb=256).bitmap()) == 500_000
    with pytest.raises(BadList, match=r"more memory than lists.read_max_mb \(16 MiB\)"):
        read(tmp_path, lines, max_mb=16)


def test_a_list_holds_no_more_than_there_is_room_for(tmp_path):
    """A prefix of a few bytes would bring half a billion numbers into the publisher."""
    with pytest.raises(BadList, match=r"lists.max_numbers \(1,000\)"):
        read(tmp_path, b"+3361234XXXX\n" * 3, max_numbers=1_000)


def test_a_list_that_takes_too_long_is_refused(tmp_path, monkeypatch):
    """One list would keep all others waiting for ever."""
    standing_in(monkeypatch, "time.sleep(60)")
    apart = IsolatedReader(256, 1)
    with pytest.raises(BadList, match=r"longer than lists.read_max_s \(1 s\)"):
        read(tmp_path, b"+33612345678\n", apart=apart)
    assert apart._process.returncode == -signal.SIGKILL, "and its process does not go on"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_list_that_kills_its_reader_is_refused(tmp_path, monkeypatch, number):
    """A fault in a library would end the publisher, at each start again."""
    standing_in(monkeypatch, f"os.kill(os.getpid(), {int(number)})")
    with pytest.raises(BadList, match=rf"was killed \(signal {int(number)}\)"):
        read(tmp_path, b"+33612345678\n")


@pytest.mark.parametrize(
    "code",
    [
        "sys.exit(1)",
        "os.write(result, b'x' * 100)",
        "os.write(result, b'\\xff' * 100)",
        "os.write(result, (20).to_bytes(8, 'little') + b'{\"outcome\":\"read\"}  ')",
        "os.write(result, (18).to_bytes(8, 'little') + b'{\"outcome\":\"read\"}' + (2).to_bytes(8, 'little') + b'{}')",
        "os.write(result, (17).to_bytes(8, 'little') + b'{\"outcome\":\"odd\"}')",
    ],
)
def test_what_comes_back_is_not_believed(tmp_path, monkeypatch, code):
    """Half a list would be taken for the whole, or a reader that a list took over would take the publisher as well."""
    standing_in(monkeypatch, code)
    with pytest.raises(ReaderFault, match="its process ended with"):
        read(tmp_path, b"+33612345678\n")


def test_a_fault_of_ours_is_told_with_its_place_and_no_line_of_the_list(tmp_path, monkeypatch):
    """A phone number would stand in the publisher's log."""
    code = (
        "from io import FileIO\n"
        "from datetime import datetime, UTC\n"
        "from stream_scrub.imports import isolated_reader as reader\n"
        "from stream_scrub.imports.parsing.parsed_list import ParsedList\n"
        "def broken(self, *_): raise ValueError('+33612345678')\n"
        "ParsedList.take = broken\n"
        "task = reader.ReadTask('a.csv', reader.ListOptions('FR', datetime.now(UTC)), 256, 60)\n"
        "reader.work(task, FileIO(listed), result)\n"
    )
    standing_in(monkeypatch, code)
    with pytest.raises(ReaderFault) as told:
        read(tmp_path, b"+33612345678\n")
    assert str(told.value).startswith("ValueError in <string>:") and "plain.py:" in str(told.value)
    assert "33612345678" not in str(told.value)


def test_who_reads_knows_no_secret_and_loads_nothing_of_others(tmp_path, monkeypatch):
    """A list that takes its reader over would learn the password of the brokers, or a folder's file be run as ours."""
    monkeypatch.setenv("STREAM_SCRUB_KAFKA__CLIENT__SASL_PASSWORD", "hunter2")
    (tmp_path / "json.py").write_text("import os\nos._exit(7)\n")
    monkeypatch.chdir(tmp_path)
    assert set(read(tmp_path, b"+33612345678\n").bitmap()) == {33612345678}
    standing_in(
        monkeypatch,
        "import json\n"
        "held = os.listdir('/proc/self/fd')\n"
        "said = json.dumps([dict(os.environ), len(held)]).encode()\n"
        f"open({str(tmp_path / 'seen')!r}, 'wb').write(said)\n",
    )
    monkeypatch.chdir("/")
    with pytest.raises(ReaderFault):
        read(tmp_path, b"+33612345678\n")
    environ, files = json.loads((tmp_path / "seen").read_bytes())
    assert not [name for name in environ if name.startswith("STREAM_SCRUB_")] and "PATH" in environ
    assert files <= 6, "standard streams, the list, the result, and the folder that was just looked into"


def test_a_reading_can_be_stopped_from_outside(tmp_path, monkeypatch):
    """A publisher that is asked to stop would wait for a list, until it is killed."""
    standing_in(monkeypatch, "time.sleep(60)")
    apart, ended = IsolatedReader(256, 60), []

    def reads():
        try:
            read(tmp_path, b"+33612345678\n", apart=apart)
        except BadList as error:
            ended.append(str(error))

    thread = threading.Thread(target=reads)
    thread.start()
    wait_until(lambda: apart._process is not None)
    began = time.monotonic()
    apart.stop()
    thread.join(60)
    assert ended and time.monotonic() - began < 50
    with pytest.raises(BadList, match="stopped"):
        read(tmp_path, b"+33612345678\n", apart=apart)


def test_who_is_told_to_stop_with_the_publisher_goes_on_until_it_is_ended(tmp_path):
    """A service manager that signals every process would have a good list refused at each restart."""
    apart, found = IsolatedReader(256, 60), []
    thread = threading.Thread(
        target=lambda: found.append(read(tmp_path, b"+33612345678\n" * 200_000, apart=apart))
    )
    thread.start()
    wait_until(
        lambda: apart._process is not None and _ignores(apart._process.pid, signal.SIGTERM), every=0.002
    )
    apart._process.terminate()
    thread.join(60)
    assert len(found[0].bitmap()) == 1


def _ignores(pid, number):
    try:
        status = (module.Path("/proc") / str(pid) / "status").read_text()
    except OSError:
        return False
    mask = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
    return bool(mask >> (number - 1) & 1)


def test_who_reads_loads_no_settings():
    """Each dropped list would wait a third of a second longer, for what only the publisher needs."""
    code = "import sys; import stream_scrub.imports.isolated_reader; print({'pydantic', 'stream_scrub.config'} & {*sys.modules})"
    read = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert read.stdout.strip() == "set()"

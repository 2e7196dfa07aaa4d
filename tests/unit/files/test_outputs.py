"""The folder of results: whole or not there, whatever ends the run."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream_scrub import BadFile, ConfigError, Refused, scrub_file
from stream_scrub.files import outputs
from tests.support.running.files import FREE, OPPOSED

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]
LEADS = f"name;phone\nAnn;{FREE}\nBob;{OPPOSED}\n".encode()
ONE = f"n,phone\na,{FREE}\n".encode()
# Runs the same job in a process of its own, and says when the first rows are on the disk.
KILLED = """
import signal, sys
from pathlib import Path
from stream_scrub.files.csv_file import DelimitedFile
from tests.support.running.files import Bureau
written = DelimitedFile.scrub
def slow(self, targets, progress):
    written(self, targets, progress)
    for file in targets.each:
        file.file.out.flush()
    print("written", flush=True)
    signal.pause()
DelimitedFile.scrub = slow
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
bureau = Bureau(Path(sys.argv[1]))
bureau.scrub(sys.argv[2].encode())
"""


def again(bureau, leads, out, **more):
    """Scrub a file into a folder that has results already."""
    more = {"lists": bureau.lists, "columns": ["phone"], "force": True} | more
    return scrub_file(leads, out, settings=bureau.settings, **more)


def test_a_folder_that_holds_something_is_refused_unless_forced(bureau):
    """Yesterday's results would be mixed with today's, or somebody call by an older file under the new proof."""
    out = bureau.scrub(ONE).folder
    (out / "mine.csv").write_bytes(b"x")
    leads = bureau.folder / "leads.tsv"
    leads.write_bytes(ONE.replace(b",", b"\t"))
    with pytest.raises(ConfigError, match="not empty"):
        again(bureau, leads, out, force=False)
    assert (out / "allowed.csv").exists()
    again(bureau, leads, out)
    held = {"allowed.tsv", "blocked.tsv", "mine.csv", "summary.json", "report.html", "proof.json"}
    assert {each.name for each in out.iterdir()} == held | {"SHA256SUMS"}


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_no_file_under_a_final_name(tmp_path, sent):
    """Half a list of callable leads would look like a whole one."""
    command = [sys.executable, "-c", KILLED, str(tmp_path), LEADS.decode()]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
    assert run.stdout is not None and run.stdout.readline() == b"written\n"
    run.send_signal(sent)
    run.wait()
    run.stdout.close()

    out = tmp_path / "out1"
    left = [path.name for path in out.iterdir()] if out.exists() else []
    assert all(name.startswith(".scrub-") for name in left)
    with outputs.output_folder(out, force=False) as folder:
        folder.put("allowed.csv", b"x")
        folder.keep()
    assert [path.name for path in out.iterdir()] == ["allowed.csv"]


def test_a_full_disk_is_said_and_leaves_nothing(bureau, monkeypatch):
    """A list that was cut by a full disk would be called from, or a traceback say nothing."""
    write = outputs.OutputFile.write

    def full(self, content):
        if self.name.startswith("blocked") and content:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, content)

    monkeypatch.setattr(outputs.OutputFile, "write", full)
    with pytest.raises(Refused, match="the disk is full; nothing was written"):
        bureau.scrub(LEADS)
    assert not (bureau.folder / "out1").exists()


def test_a_file_that_grows_too_large_is_refused(bureau):
    """The limit of a file system would end the run with half a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = bureau.folder / "many.csv"
    path.write_bytes(LEADS + f"Cid;{FREE}\n".encode() * 50_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(Refused, match="nothing was written"):
            bureau.scrub(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not (bureau.folder / "out1").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_without_the_right_to_write_nothing_begins(bureau):
    """An hour's run would end with an error that could have been told at once."""
    (bureau.folder / "out1").mkdir(mode=0o500)
    with pytest.raises(Refused, match="nothing was written"):
        bureau.scrub(LEADS)


def test_results_belong_to_their_owner_alone(bureau):
    """Everybody on the machine could read the leads."""
    done = bureau.scrub(LEADS)

    assert {path.stat().st_mode & 0o777 for path in done.folder.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["summary.json", "allowed.csv", "wash-tps.csv"])
@pytest.mark.parametrize("what", ["leads", "list", "link"])
def test_no_run_replaces_or_removes_what_it_reads(bureau, name, what):
    """--force would delete the only copy of an opt-out list, or of the leads, and say that all is well."""
    out = bureau.scrub(ONE).folder
    kept = out / name
    kept.unlink(missing_ok=True)
    content = ONE if what == "leads" else b"0644444444\n"
    if what == "link":
        (bureau.folder / "real.txt").write_bytes(content)
        kept.symlink_to(bureau.folder / "real.txt")
    else:
        kept.write_bytes(content)
    leads = bureau.folder / "leads.csv"
    leads.write_bytes(ONE)
    lists = bureau.lists if what == "leads" else bureau.lists | {"internal": kept}

    with pytest.raises(ConfigError, match="name another folder"):
        again(bureau, kept if what == "leads" else leads, out, lists=lists)
    assert kept.read_bytes() == content and (out / "proof.json").exists()


def test_a_file_that_is_called_like_a_number_is_told_without_it(bureau):
    """A phone number would stand in the summary, which is kept for years and shown to auditors; a day is no number."""
    done = bureau.scrub(ONE, "lead-0612345678.csv")
    assert done.summary.input.name == "lead-[number].csv" and (done.folder / "allowed.csv").exists()
    for name in ("summary.json", "report.html"):
        assert b"12345678" not in (done.folder / name).read_bytes()
    with pytest.raises(BadFile) as refused:
        bureau.scrub(b"", "0612345678.csv")
    assert "12345678" not in str(refused.value)
    assert bureau.scrub(ONE, "export_20261128.csv").summary.input.name == "export_20261128.csv"

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
# Runs the same job in a process of its own, and says when the first rows are on the disk.
KILLED = """
import signal, sys, time
from pathlib import Path
from stream_scrub.files.csv_file import DelimitedFile
from tests.support.running.files import Bureau
written = DelimitedFile.scrub
def slow(self, targets, progress):
    written(self, targets, progress)
    for file in targets.each:
        file.file.out.flush()
    print("written", flush=True)
    time.sleep(60)
DelimitedFile.scrub = slow
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
bureau = Bureau(Path(sys.argv[1]))
bureau.scrub(sys.argv[2].encode())
"""


def test_a_folder_that_holds_something_is_refused_unless_forced(bureau):
    """Yesterday's results would be mixed with today's."""
    out = bureau.folder / "out1"
    out.mkdir()
    (out / "allowed.csv").write_text("old")
    with pytest.raises(ConfigError, match="not empty"):
        bureau.scrub(LEADS)
    assert (out / "allowed.csv").read_text() == "old"

    bureau.runs = 0
    (bureau.folder / "1" / "leads.csv").unlink()
    (bureau.folder / "1").rmdir()
    done = bureau.scrub(LEADS, force=True)
    assert done.files[0].startswith(b"name;phone;scrub_verdict")


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
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
    content = LEADS + f"Cid;{FREE}\n".encode() * 50_000
    path = bureau.folder / "many.csv"
    path.write_bytes(content)
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


def test_a_forced_run_leaves_no_older_results(bureau):
    """Somebody would call by the file of an older run, which holds whoever opposed since, under the new proof."""
    out = bureau.scrub(b"n,phone\na,0611111111\n").folder
    (out / "mine.csv").write_bytes(b"x")
    again = bureau.folder / "leads.tsv"
    again.write_bytes(b"n\tphone\na\t0611111111\n")
    scrub_file(again, out, lists=bureau.lists, settings=bureau.settings, force=True)
    held = {each.name for each in out.iterdir()}
    assert held == {
        "allowed.tsv",
        "blocked.tsv",
        "mine.csv",
        "summary.json",
        "report.html",
        "proof.json",
        "SHA256SUMS",
    }


def test_no_run_replaces_its_own_input(bureau):
    """Whoever scrubs last month's callable leads again would lose them, and have a proof that fails."""
    done = bureau.scrub(b"n,phone\na,0611111111\n")
    path = done.folder / "allowed.csv"
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="name another folder"):
        scrub_file(
            path, done.folder, lists=bureau.lists, settings=bureau.settings, columns=["phone"], force=True
        )
    assert path.read_bytes() == before and (done.folder / "proof.json").exists()


@pytest.mark.parametrize(
    "name", ["summary.json", "proof.json", "SHA256SUMS", "report.html", "allowed.tsv", "wash-tps.csv"]
)
@pytest.mark.parametrize("what", ["leads", "list", "link"])
def test_no_run_replaces_or_removes_what_it_reads(bureau, name, what):
    """--force would delete the only copy of an opt-out list, or of the leads, and say that all is well."""
    out = bureau.scrub(b"n,phone\na,0611111111\n").folder
    kept = out / name
    kept.unlink(missing_ok=True)
    content = b"n,phone\na,0611111111\n" if what == "leads" else b"0644444444\n"
    if what == "link":
        (bureau.folder / "real.txt").write_bytes(content)
        kept.symlink_to(bureau.folder / "real.txt")
    else:
        kept.write_bytes(content)
    leads = bureau.folder / "leads.csv"
    leads.write_bytes(b"n,phone\na,0611111111\n")
    lists = bureau.lists if what == "leads" else bureau.lists | {"internal": kept}

    with pytest.raises(ConfigError, match="name another folder"):
        scrub_file(kept if what == "leads" else leads, out, lists=lists, settings=bureau.settings, force=True)
    assert kept.read_bytes() == content


def test_a_file_that_is_called_like_a_number_is_told_without_it(bureau):
    """A phone number would stand in the summary, which is kept for years and shown to auditors."""
    done = bureau.scrub(b"n,phone\na,0611111111\n", "lead-0612345678.csv")
    assert done.summary.input.name == "lead-[number].csv" and (done.folder / "allowed.csv").exists()
    for name in ("summary.json", "report.html"):
        assert b"12345678" not in (done.folder / name).read_bytes()
    with pytest.raises(BadFile) as refused:
        bureau.scrub(b"", "0612345678.csv")
    assert "12345678" not in str(refused.value)

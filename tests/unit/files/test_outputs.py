"""The folder of results: whole or not there, whatever ends the run."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream_scrub import ConfigError, Refused
from stream_scrub.files.results import outputs
from tests.support.running.files import FREE, OPPOSED

ROOT = Path(__file__).parents[3]
LEADS = f"name;phone\nAnn;{FREE}\nBob;{OPPOSED}\n".encode()
# Runs the same job in a process of its own, and says when the first rows are on the disk.
KILLED = """
import signal, sys, time
from pathlib import Path
from stream_scrub.files.kinds.delimited.scrubbing import DelimitedFile
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

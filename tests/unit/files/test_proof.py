"""`proof.json`: whoever changes one byte of what a run read or wrote is found; and a stranger's proof reads nothing else."""

import hashlib
import json
import os
import shutil
import subprocess
from datetime import UTC, date, datetime

import pytest

from stream_scrub import ConfigError
from stream_scrub.files.proof import verify
from tests.support.machine.effort import places
from tests.support.running.files import FREE, OPPOSED

LEADS = f"name;phone\nAnn;{FREE}\nBob;{OPPOSED}\n".encode()
WRITTEN = ("allowed.csv", "blocked.csv", "annotated.csv", "summary.json", "report.html")


@pytest.fixture
def done(bureau):
    return bureau.scrub(LEADS)


def changed(path, place: int):
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def named(bureau):
    """Where the input of the first run and the lists are."""
    return str(bureau.folder / "1" / "leads.csv"), {name: each.path for name, each in bureau.lists.items()}


def test_every_result_can_be_checked_without_the_product(done):
    """An auditor would have to install stream-scrub to see that nothing was changed."""
    names = {path.name for path in done.folder.iterdir()} - {"SHA256SUMS"}

    def check() -> subprocess.CompletedProcess[str]:
        asked = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        return subprocess.run(asked, cwd=done.folder, capture_output=True, text=True, check=False)

    assert {*check().stdout.splitlines()} == {f"{name}: OK" for name in names}
    (done.folder / "blocked.csv").write_bytes(b"")
    assert "blocked.csv: FAILED" in check().stdout and check().returncode == 1


def test_a_proof_says_when_it_was_made_and_apart_from_it_for_which_day(bureau):
    """A proof that was made today would say that leads were scrubbed in 2024."""
    before = datetime.now(UTC)
    made = bureau.scrub(LEADS, on=date(2024, 3, 15))
    for file in ("proof.json", "summary.json"):
        said = json.loads((made.folder / file).read_bytes())
        assert before <= datetime.fromisoformat(said["at"]) <= datetime.now(UTC)
        assert said["on"] == "2024-03-15"
    assert json.loads((bureau.scrub(LEADS, on=None).folder / "proof.json").read_bytes())["on"] is None


@pytest.mark.parametrize("name", WRITTEN)
def test_one_changed_byte_of_an_output_is_found_and_named(done, name):
    """A blocked lead could be moved to the allowed ones, and the proof would still stand."""
    path = done.folder / name
    before = path.read_bytes()
    for place in {0, len(before) // 2, len(before) - 1}:
        changed(path, place)
        assert verify(done.folder / "proof.json", None).differs == [f"{name}: its bytes are others"]
        path.write_bytes(before)
    path.write_bytes(before + b"x")
    (said,) = verify(done.folder / "proof.json", None).differs
    assert said.startswith(f"{name}: it has ")
    path.unlink()
    assert verify(done.folder / "proof.json", None).differs == [f"{name}: No such file or directory"]


def test_one_changed_byte_of_the_input_or_of_a_list_is_found(done, bureau):
    """A file could be scrubbed by one list, and another one be shown to the authority."""
    same = verify(done.folder / "proof.json", *named(bureau))
    assert same.same and not same.differs and not same.unchecked
    told = " ".join(same.checked)
    assert all(name in told for name in (*WRITTEN, "the input leads.csv", "the list of bloctel", "rule fr@"))
    changed(bureau.folder / "1" / "leads.csv", 3)
    changed(bureau.lists["internal"].path, 0)
    found = verify(done.folder / "proof.json", *named(bureau))

    assert [each.partition(":")[0] for each in found.differs] == [
        "the input leads.csv",
        "the list of internal, internal.txt",
    ]


def test_any_changed_byte_of_the_proof_itself_is_found(done):
    """The counts, or a digest, could be changed in the proof, and nobody notice."""
    path = done.folder / "proof.json"
    before = path.read_bytes()
    for place in places(len(before), step=3):
        changed(path, place)
        assert verify(path, None).differs == ["proof.json: it is not as it was written"]
        path.write_bytes(before)
    for cut in (before[:-1], before + b" ", b"", b"{}"):
        path.write_bytes(cut)
        assert not verify(path, None).same
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        verify(path, None)


def test_what_lies_elsewhere_is_checked_where_it_is_named(done, bureau, tmp_path):
    """A proof would be worth nothing in the archive that it was filed in."""
    there = bureau.folder / "archive"
    shutil.move(done.folder, there)
    shutil.move(bureau.folder / "1" / "leads.csv", tmp_path / "kept.csv")
    found = verify(
        there / "proof.json", str(tmp_path / "kept.csv"), {"bloctel": bureau.lists["bloctel"].path}
    )

    assert found.same
    assert {"the input kept.csv", "the list of bloctel, bloctel.txt"} < set(found.checked)
    assert found.unchecked == [
        f"the list of {name}, {name}.txt: it is not in the proof's folder; name the file to check it"
        for name in ("internal", "internal@acme")
    ]
    with pytest.raises(ConfigError, match="the proof names no list of this register"):
        verify(there / "proof.json", None, {"tps": tmp_path / "kept.csv"})


def sealed(path, **members):
    """The same proof with other members, as its own digest says."""
    kept = json.loads(path.read_text())
    del kept["sha256"]
    body = json.dumps(kept | members, indent=2).encode().removesuffix(b"\n}")
    digest = hashlib.sha256(body).hexdigest()
    path.write_bytes(body + f',\n  "sha256": "{digest}"\n}}\n'.encode())


@pytest.mark.parametrize("there", ["pipe", "/etc/passwd", "../secret", "link", "folder", "\0", ""])
def test_a_strangers_proof_reads_nothing_but_results_next_to_it(done, tmp_path, there):
    """Who checks it would wait for ever on a pipe, or tell its sender which files the machine has, and their sizes."""
    proof = done.folder / "proof.json"
    os.mkfifo(done.folder / "pipe")
    (done.folder / "folder").mkdir()
    (done.folder.parent / "secret").write_text("x")
    (done.folder / "link").symlink_to(done.folder.parent / "secret")
    sealed(proof, outputs=[{"path": there, "sha256": "0" * 64, "bytes": 7}])
    found = verify(proof, None)

    told = " ".join((*found.differs, *found.unchecked))
    assert "bytes" not in told
    assert ("it is not a regular file" in told) is (there in {"pipe", "folder"})
    assert (f"{there}: it is not in the proof's folder" in found.differs) is (
        there not in {"pipe", "folder", ""}
    )
    assert not found.same


def test_a_proof_of_nothing_and_a_pipe_prove_nothing(done, tmp_path):
    """Anybody could send an empty one, and read that everything is unchanged; or the command would wait for ever."""
    sealed(done.folder / "proof.json", outputs=[])
    assert not verify(done.folder / "proof.json", None).same
    os.mkfifo(tmp_path / "proof.json")
    with pytest.raises(ConfigError, match="not a regular file"):
        verify(tmp_path / "proof.json", None)


def test_a_proof_holds_the_law_that_was_applied(done):
    """Years later nobody could say by which rule a lead was allowed."""
    proof = json.loads((done.folder / "proof.json").read_text())

    (text,) = proof["rules"].values()
    assert "an opt-out law made for the tests" in text
    assert proof["counts"] == {"clear": 1, "opposed": 1} and proof["rows"] == 2
    assert all(len(each["chain"]) == 64 for each in proof["registers"])
    assert FREE[1:] not in (done.folder / "proof.json").read_text()


def test_a_link_to_the_folder_is_the_folder(bureau, tmp_path):
    """Whoever keeps results on another disk would have a proof that fails on the day it is made."""
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    link = tmp_path / f"out{bureau.runs + 1}"
    link.symlink_to(tmp_path / "disk" / "deep", target_is_directory=True)
    bureau.scrub(LEADS)

    for path in (link, tmp_path / "disk" / "deep"):
        found = verify(path / "proof.json", *named(bureau))
        assert found.same and not found.unchecked

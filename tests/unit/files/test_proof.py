"""`proof.json`: whoever changes one byte of what a run read or wrote is found, wherever it is."""

import json
import shutil

import pytest

from stream_scrub import ConfigError
from stream_scrub.files.results.proof import verify
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


def test_what_is_as_it_was_is_said_to_be(done):
    """The officer would have a proof that fails on the day it is made."""
    found = verify(done.folder / "proof.json", None)

    assert found.same and not found.differs and not found.unchecked
    named = " ".join(found.checked)
    assert all(name in named for name in (*WRITTEN, "the input leads.csv", "the list of bloctel", "rule fr@"))


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
    changed(bureau.folder / "1" / "leads.csv", 3)
    changed(bureau.lists["internal"].path, 0)
    found = verify(done.folder / "proof.json", None)

    assert [each.partition(":")[0] for each in found.differs] == [
        "the input leads.csv",
        "the list of internal, internal.txt",
    ]


def test_any_changed_byte_of_the_proof_itself_is_found(done):
    """The counts, or a digest, could be changed in the proof, and nobody notice."""
    path = done.folder / "proof.json"
    before = path.read_bytes()
    for place in places(len(before)):
        changed(path, place)
        assert verify(path, None).differs == ["proof.json: it is not as it was written"]
        path.write_bytes(before)
    for cut in (before[:-1], before + b" ", b"", b"{}"):
        path.write_bytes(cut)
        assert not verify(path, None).same
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        verify(path, None)


def test_folders_may_move_together_and_the_input_be_named(done, bureau, tmp_path):
    """A proof would be worth nothing in the archive that it was filed in."""
    there = bureau.folder / "archive"
    shutil.move(done.folder, there)
    assert verify(there / "proof.json", None).same
    shutil.move(bureau.folder / "1" / "leads.csv", tmp_path / "kept.csv")
    assert not verify(there / "proof.json", None).same
    assert verify(there / "proof.json", str(tmp_path / "kept.csv")).same


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
        found = verify(path / "proof.json", None)
        assert found.same and "the input leads.csv" in " ".join(found.checked)

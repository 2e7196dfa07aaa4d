"""Files that are whole or not there."""

import pytest

from stream_scrub.atomic_file import atomic_file


def test_nothing_is_left_of_a_file_that_was_not_kept(tmp_path):
    """Half a snapshot or half an export would be taken for a whole one, or fill the disk."""

    def killed():
        with atomic_file(tmp_path, "a.part") as file:
            file.out.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        killed()
    assert list(tmp_path.iterdir()) == []


def test_a_kept_file_replaces_the_one_before_unless_it_must_be_new(tmp_path):
    """An export would overwrite what somebody put there meanwhile, or a snapshot would stay the old one."""
    (tmp_path / "a").write_bytes(b"old")
    with atomic_file(tmp_path, "a.part", 0o640) as file:
        file.out.write(b"new")
        file.keep("a")
    assert (tmp_path / "a").read_bytes() == b"new" and (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    with pytest.raises(FileExistsError), atomic_file(tmp_path, "a.part") as file:
        file.keep("a", new=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"new"

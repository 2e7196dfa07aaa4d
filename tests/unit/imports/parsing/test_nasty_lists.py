"""tests/fuzz/lists: files that broke some reader of lists somewhere, each read by every format."""

import re
import time
from pathlib import Path

import pytest

from stream_scrub.imports.formats import FORMATS, BadList
from stream_scrub.imports.parsing import unpack
from tests.support.fakes.lists import accounted, read

FOLDER = Path(__file__).parents[3] / "fuzz" / "lists"
FILES = sorted(path.name for path in FOLDER.iterdir())
NAMES = ["auto", *(each.name for each in FORMATS)]
SECONDS = 5  # of the processor, for one file and one format


def attempt(folder, content, name, named):
    try:
        return read(folder, content, name=name, format=named)
    except BadList as error:
        return error


@pytest.mark.parametrize("name", FILES)
def test_a_nasty_file_is_a_list_or_a_bad_one(name, tmp_path, monkeypatch):
    """An operator would be left with a traceback, a full memory, or half a list that looks whole."""
    monkeypatch.setattr(unpack, "_EXPANSION_FREE", 1 << 23)
    content = (FOLDER / name).read_bytes()

    for named in NAMES:
        began = time.process_time()
        found = attempt(tmp_path, content, name, named)
        if isinstance(found, BadList):
            assert re.search(r"\d{7}", re.sub(r"[\d,]*,\d{3}\b", "", str(found))) is None, named
        else:
            assert re.search(r"[0-8]{3}", found.described.partition(", like ")[2]) is None, named
            assert found.bitmap().isdisjoint(found.removals())
            assert accounted(found) >= found.refused >= len(found.first_refused)
        assert time.process_time() - began < SECONDS, named


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bomb.zip", "pack it again with deflate"),
        ("bomb-lines.zip", "pack it again with deflate"),
        ("very-long-line.txt.gz", "longer than"),
        ("gzip-wrong-sum.gz", "fetch the file again"),
        ("zip-wrong-sum.zip", "fetch the file again"),
        ("zip-locked.zip", "locked"),
        ("zip-mixed.zip", "not all of one format"),
        ("zip-only-folders.zip", "holds 0 files"),
        ("old-office.xls", "cannot be opened"),
        ("utf16-odd.txt", "UTF-16"),
        ("open-quote.csv", "never closed"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(name, says, tmp_path, monkeypatch):
    """An operator would not know what to do about a file that cannot be read."""
    monkeypatch.setattr(unpack, "_EXPANSION_FREE", 1 << 23)

    with pytest.raises(BadList, match=says):
        read(tmp_path, (FOLDER / name).read_bytes(), name=name)

"""docs/files.md: its commands run as they stand there, in the page's order, and what it lists is what is written."""

import os
import subprocess
from pathlib import Path

from tests.support.fakes.lists import consents
from tests.support.running.worker import SCRIPT
from tests.support.texts.pages import ROOT, blocks, rows, ticked

PAGE = ROOT / "docs" / "files.md"
LEADS = "name;phone\nA;06 12 34 56 78\nB;06 12 34 56 80\n"


def test_the_commands_run_as_they_stand(tmp_path):
    """The first thing that a manager copies would fail, or write other files than the page names."""
    (tmp_path / "leads.csv").write_text(LEADS)
    (tmp_path / "italian.csv").write_text("phone\n+39 312 345 6789\n312 345 6789\n+39 06 1234 5678\n")
    (tmp_path / "opt-outs.txt").write_text("0612345678\n")
    (tmp_path / "consents.csv").write_text(consents(["0612345678", "0612345680"]))
    env = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_SCRUB_")}
    env["PATH"] = f"{Path(SCRIPT).parent}:{env['PATH']}"
    for block in blocks(PAGE):
        assert block.language == "sh"
        done = subprocess.run(
            ["bash", "-euc", block.text], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr

    assert (tmp_path / "to-wash" / "wash-rpo-clean.csv").read_text().split() == ["0612345678", "3123456789"]
    written = {path.name for path in (tmp_path / "scrubbed").iterdir()}
    listed = {ticked(cells[0])[0] for cells in rows(PAGE.read_text())}
    assert written == listed - {"annotated.csv", "unreadable-numbers.csv"}
    assert "A;06 12 34 56 78;blocked;opposed;;" in (tmp_path / "scrubbed" / "blocked.csv").read_text()
    assert (
        "B;06 12 34 56 80;allowed;consented;+33612345680;"
        in (tmp_path / "scrubbed" / "allowed.csv").read_text()
    )

"""Draws docs/demo.svg from a real run: `.venv/bin/python .ci/demo_picture.py`."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "demo.svg"
COLUMNS = 100
PROMPT = "$ make demo"


def main() -> int:
    """Run the demo on a terminal of its own and draw its last screen. Exit code: the demo's, or 1 if a step was late."""
    demo = f"stty cols {COLUMNS} rows 60; exec {Path(sys.executable).with_name('stream-scrub')} demo"
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": "60"}
    done = subprocess.run(["script", "-qec", demo, "/dev/null"], stdout=subprocess.PIPE, env=env, check=False)
    if done.returncode != 0:
        return done.returncode
    output = done.stdout.decode().replace("\r\n", "\n")
    screen = re.split(r"\x1b\[\d*A|\x1b\[2K", output)[-1]  # what follows the last redrawing
    screen = re.sub(r"\x1b\[\?25[hl]", "", screen).partition("Next:")[0].rstrip(". \n")
    if "late  " in screen:
        print("a step was late: run it again on an idle machine", file=sys.stderr)
        return 1
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble((PROMPT, "bold"), "\n"), Text.from_ansi(screen))
    picture = console.export_svg(title="stream_scrub", unique_id="demo")
    # Rich names fonts of another site; the reader's browser would fetch them.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    PICTURE.write_text(re.sub(r"[ \t]+$", "", picture, flags=re.MULTILINE))
    return 0


if __name__ == "__main__":
    sys.exit(main())

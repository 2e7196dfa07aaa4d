"""docs/install.md: each of its lines installs the command, in an environment that has nothing else."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from stream_scrub import __version__
from tests.support.packaging import pip_settings
from tests.support.packaging.builder import ROOT, run
from tests.support.texts.pages import blocks

BLOCKS = [block.text for block in blocks(ROOT / "docs" / "install.md")]
WHEEL = re.compile(r"stream_scrub-[\d.]+-py3-none-any\.whl")


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """The bin folder of an environment with pipx and uv."""
    folder = tmp_path_factory.mktemp("tools") / "venv"
    run([sys.executable, "-m", "venv", str(folder)])
    run(
        [
            str(folder / "bin" / "python"),
            *("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pipx", "uv"),
        ]
    )
    return folder / "bin"


@pytest.mark.parametrize("line", BLOCKS, ids=("pipx", "uv", "venv"))
def test_each_line_installs_the_command(built, tools, tmp_path, line):
    """Somebody who knows no Python would fail at the first line."""
    assert set(WHEEL.findall(line)) == {built.wheel.name} == {f"stream_scrub-{__version__}-py3-none-any.whl"}
    shutil.copy(built.wheel, tmp_path)
    made = {name: str(tmp_path / name) for name in ("PIPX_HOME", "UV_TOOL_DIR")}
    made |= {name: str(tmp_path / "bin") for name in ("PIPX_BIN_DIR", "UV_TOOL_BIN_DIR")}
    env = {**os.environ, **pip_settings.for_uv(), **made, "PATH": f"{tools}:{os.environ['PATH']}"}

    done = subprocess.run(["bash", "-euc", line], cwd=tmp_path, env=env, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    (command,) = [*tmp_path.glob("bin/stream-scrub"), *tmp_path.glob(".venv/bin/stream-scrub")]
    assert run([str(command), "--version"]).startswith(f"stream-scrub {__version__} ")
